"""What the node adds to the bare engine, from the publication of an image to the reception of its detections.

    python -m tools.ros_environment python bench/node_overhead.py [--seconds 8] [--rounds 5] [--quick] [--no-naive]
        [--by-motion]

A camera process publishes rendered flights, best effort, and hears the detections; the node is a process; this process
calls the same engine on the same images at the same rate. Blocks of these alternate, so that all see the same machine;
medians of the rounds are told. Frame rates are such that the engine keeps up: what an overloaded node does is
overload.py's question. The naive node (parts/naive_node.py) has the transports and the QoS that ROS gives by default.
--by-motion: in alternation too, the same node that looks for obstacles without a class.
The last line is one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np

from bench.parts.rig import ROOT, programs, render, start_node
from vit_perception.bundles.bundle import open_bundle
from vit_perception.detector import Detector
from vit_perception.engines import open_engine

VGA, HD = ((640, 512), "thermal"), ((1280, 720), "color")
FULL_HD, UHD = ((1920, 1080), "color"), ((3840, 2160), "color")
# name: model, threads of the engine, (size, look), crowd, frames a second
CASES = {
    "640x512": ("uav_thermal", 0, VGA, False, 30.0),
    "one thread": ("uav_thermal", 1, VGA, False, 30.0),
    "1280x720": ("uav_thermal", 0, HD, False, 30.0),
    "1920x1080": ("uav_thermal", 1, FULL_HD, False, 10.0),
    "3840x2160": ("uav_thermal", 1, UHD, False, 4.0),
    "slow engine": ("uav_thermal_large", 1, VGA, False, 10.0),
    "crowd": ("uav_thermal", 0, VGA, True, 15.0),
}
STAGES = ("letterbox", "infer", "decode", "motion", "track", "publish_detections")
LATER = ("growth", "obstacles", "unclassed", "alerts", "publish")  # detections are out by then
DEFAULT_TRANSPORTS = """<?xml version="1.0" encoding="UTF-8"?>
<profiles xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"><transport_descriptors>
<transport_descriptor><transport_id>shm</transport_id><type>SHM</type></transport_descriptor>
<transport_descriptor><transport_id>udp</transport_id><type>UDPv4</type>
<interfaceWhiteList><address>127.0.0.1</address></interfaceWhiteList></transport_descriptor></transport_descriptors>
<participant profile_name="default_transports" is_default_profile="true"><rtps><userTransports>
<transport_id>shm</transport_id><transport_id>udp</transport_id></userTransports>
<useBuiltinTransports>false</useBuiltinTransports></rtps></participant></profiles>
"""


class Bare:
    """The engine alone, called as often as there are frames."""

    def __init__(self, model: str, threads: int, frames: np.ndarray):
        bundle = open_bundle(ROOT / "models" / model)
        self.engine = open_engine(bundle, "onnxruntime", threads=threads)
        letterbox = Detector(bundle, self.engine).letterbox
        self.batches = [letterbox(f, "mono" if f.ndim == 2 else "bgr")[0].copy() for f in frames]

    def block(self, seconds: float, hz: float) -> list[float]:
        """Milliseconds of each call."""
        took, start = [], time.monotonic()
        for i in range(round(seconds * hz)):
            time.sleep(max(0.0, start + i / hz - time.monotonic()))
            t0 = time.perf_counter()
            self.engine.infer(self.batches[i % len(self.batches)])
            took.append(1e3 * (time.perf_counter() - t0))
        return took


class Side:
    """A node and its camera. block() flies and returns what the camera process says, with the node's CPU and RSS."""

    def __init__(self, stack, folder, name, frames_file, reliable, script, environment, **parameters):
        label = f"{name}_{len(list(folder.iterdir()))}"
        self.node = start_node(stack, folder / f"{label}.node", label, script, environment, **parameters)
        self.log = folder / f"{label}.camera"
        command = [sys.executable, str(ROOT / "bench" / "parts" / "rig.py"), str(frames_file), label]
        command += ["reliable" if reliable else "best_effort", name]
        with open(self.log, "wb") as errors:
            self.camera = stack.enter_context(
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
                )
            )

    def block(self, seconds: float, hz: float) -> dict:
        cpu, t0 = self.node.cpu_s, time.monotonic()
        self.camera.stdin.write(json.dumps({"seconds": seconds, "hz": hz}) + "\n")
        self.camera.stdin.flush()
        line = self.camera.stdout.readline()
        if not line:
            sys.exit(f"error: a process failed:\n{self.log.read_text()[-2000:]}{self.node.log.read_text()[-2000:]}")
        used = (self.node.cpu_s - cpu) / (time.monotonic() - t0)
        return json.loads(line) | {"cpu": used, "rss_mb": self.node.rss_mb}


class Case:
    """One engine and one size of images: the bare engine, the node, and naive nodes."""

    def __init__(self, stack, folder, name, naive, by_motion):
        model, threads, (size, look), crowd, self.hz = CASES[name]
        frames = render(size, look, 24, crowd)
        frames_file = folder / f"{name.replace(' ', '_')}.npy"
        np.save(frames_file, frames)
        self.bare = Bare(model, threads, frames)
        given = {"model": ROOT / "models" / model, "threads": threads}
        script = ("-m", "vit_perception.node")
        self.sides = {"node": Side(stack, folder, "vit_perception", frames_file, False, script, None, **given)}
        if by_motion:
            more = {"motion_obstacles.enabled": "true"}
            side = Side(stack, folder, "vit_perception", frames_file, False, script, None, **given, **more)
            self.sides["node, by motion"] = side
        defaults = folder / "default_transports.xml"
        defaults.write_text(DEFAULT_TRANSPORTS)
        profiles = {f"{p}_DEFAULT_PROFILES_FILE": str(defaults) for p in ("FASTRTPS", "FASTDDS")}
        script, environment = ("bench/parts/naive_node.py",), os.environ | profiles
        for annotate in (False, True) if naive else ():
            key = "naive" + (" + picture" if annotate else "")
            given["annotate"] = annotate
            self.sides[key] = Side(stack, folder, "naive", frames_file, True, script, environment, **given)
        self.engine_ms: list[float] = []  # of every round
        self.blocks: dict[str, list[dict]] = {key: [] for key in self.sides}

    def round(self, seconds: float, record: bool) -> None:
        for key, side in self.sides.items():
            before = self.bare.block(seconds, self.hz)
            block = side.block(seconds, self.hz)
            if record:
                engine = float(np.median(before))
                self.engine_ms.append(engine)
                self.blocks[key].append(block | {"added": [ms - engine for ms in block["ms"]]})

    def added(self, key: str, q: float = 50) -> float:
        """Median of the rounds' q-th percentile of the added time, ms."""
        found = [np.percentile(b["added"], q) for b in self.blocks[key] if b["added"]]
        return float(np.median(found)) if found else float("nan")

    def middle(self, key: str, field) -> float:
        return float(np.median([field(b) for b in self.blocks[key]]))


def print_case(name: str, case: Case) -> None:
    engine = np.median(case.engine_ms)
    print(f"\n{name}: engine alone {engine:.1f} ms, {case.hz:.0f} Hz")
    print(f"  {'':<16}{'added ms':>9}{'p95':>8}{'of engine':>11}{'answered':>10}{'boxes':>7}{'CPU':>6}{'RSS MB':>8}")
    for key, blocks in case.blocks.items():
        answered = sum(len(b["ms"]) for b in blocks) / sum(b["sent"] for b in blocks)
        print(
            f"  {key:<16}{case.added(key):>9.1f}{case.added(key, 95):>8.1f}{case.added(key) / engine:>11.0%}"
            f"{answered:>10.1%}{case.middle(key, lambda b: b['boxes']):>7.0f}"
            f"{case.middle(key, lambda b: b['cpu']):>6.2f}{max(b['rss_mb'] for b in blocks):>8.0f}"
        )
    print("  stages, ms (p50): " + ", ".join(f"{k} {v:.2f}" for k, v in stage_table(case).items()))


def stage_table(case: Case) -> dict[str, float]:
    """Where the node's time goes: medians of the rounds, ms. Transports from stamps: one clock, one machine."""

    def value(key):
        return case.middle("node", lambda b: float(b["diagnostics"].get(f"{key}_ms_p50") or "nan"))

    table, later = ({name: value(name) for name in names} for names in (STAGES, LATER))
    whole = case.middle("node", lambda b: float(np.median(b["ms"] or [float("nan")])))
    first = {
        "transport in": value("latency") - value("response"),
        "wait": value("response") - sum([*table.values(), *later.values()]),
    }
    out = whole - (value("latency") - sum(later.values()))
    return first | table | {"transport out": out} | {f"later: {k}": v for k, v in later.items()}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a block")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round of short blocks, 640x512 alone")
    parser.add_argument("--case", action="append", choices=CASES, help="only these")
    parser.add_argument("--no-naive", action="store_true", help="leave out the naive node")
    parser.add_argument("--by-motion", action="store_true", help="beside it, with motion_obstacles.enabled")
    args = parser.parse_args(argv)
    if args.quick:
        args.seconds, args.rounds, args.case = 3.0, 1, args.case or ["640x512"]
    figures: dict[str, float] = {}
    for name in args.case or CASES:
        if not (ROOT / "models" / CASES[name][0]).is_dir():
            print(f"{name}: left out, models/{CASES[name][0]} does not ship; make it with its recipe (docs/models.md)")
            continue
        with programs() as (stack, folder):
            case = Case(stack, folder, name, not args.no_naive, args.by_motion)
            case.round(2.0, record=False)  # engines, transports and caches get warm
            for i in range(args.rounds):
                print(f"\r{name}: round {i + 1} of {args.rounds}", end="", file=sys.stderr, flush=True)
                case.round(args.seconds, record=True)
            print(file=sys.stderr)
        print_case(name, case)
        key = "" if name == "640x512" else "_" + name.replace(" ", "_")
        engine = float(np.median(case.engine_ms))
        figures |= {
            f"added_ms_median{key}": case.added("node"),
            f"added_ms_p95{key}": case.added("node", 95),
            f"added_ratio{key}": case.added("node") / engine,
            f"engine_ms{key}": engine,
            f"cpu{key}": case.middle("node", lambda b: b["cpu"]),
            f"rss_mb{key}": max(b["rss_mb"] for b in case.blocks["node"]),
        }
        if args.by_motion:
            side = "node, by motion"
            figures[f"by_motion_added_ms_median{key}"] = case.added(side)
            figures[f"by_motion_cpu{key}"] = case.middle(side, lambda b: b["cpu"])
            figures[f"by_motion_rss_mb{key}"] = max(b["rss_mb"] for b in case.blocks[side])
            took = case.middle(side, lambda b: float(b["diagnostics"].get("unclassed_ms_p50") or "nan"))
            figures[f"by_motion_unclassed_ms_p50{key}"] = took
        if not args.no_naive:
            figures[f"naive_added_ms_median{key}"] = case.added("naive + picture")
            figures[f"naive_no_picture_added_ms_median{key}"] = case.added("naive")
    print(json.dumps({k: round(v, 3) for k, v in figures.items()}))


if __name__ == "__main__":
    main()
