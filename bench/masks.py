"""What masks cost the node: detections with and without a subscriber of the masks, and the argmax by itself.

    python -m tools.ros_environment python bench/masks.py [--model models/NAME] [--stride 4] [--classes 10]
        [--seconds 8] [--rounds 5] [--quick]

A camera process publishes rendered flights of 640x512, best effort, and hears the detections, and of the last side the
masks too. Three sides take turns in each round, so that all see the same machine: the detector as it ships, the
same with a dense head that nobody listens to, and with a subscriber. The dense head is a stand-in of the size of a
trained one (parts/dense_head.py), unless --model names a bundle of task both; then the first side is left out. The last
line is one JSON object.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from bench.parts.dense_head import with_masks
from bench.parts.rig import ROOT, programs, render, start_node
from vit_perception.bundles.bundle import open_bundle
from vit_perception.letterbox import Letterbox
from vit_perception.segmentation.class_map import class_map

SIZE, HZ, FRAMES = (640, 512), 6.0, 24  # so slow that a busy machine keeps up: what is asked is what masks add
ARGMAX_CALLS = 200


class Side:
    """A node with its camera process; block() flies and returns what the camera says, with the node's CPU."""

    def __init__(self, stack, folder: Path, name: str, model: Path, frames: Path, masks: bool):
        self.masks, self.blocks = masks, []
        self.node = start_node(stack, folder / f"{name}.node", name, model=model, threads=1)
        self.log = folder / f"{name}.camera"
        command = [sys.executable, str(ROOT / "bench" / "parts" / "rig.py"), str(frames), name, "best_effort"]
        with open(self.log, "wb") as errors:
            self.camera = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
            )

    def block(self, seconds: float, record: bool) -> None:
        cpu = self.node.cpu_s
        self.camera.stdin.write(json.dumps({"seconds": seconds, "hz": HZ, "masks": self.masks}) + "\n")
        self.camera.stdin.flush()
        line = self.camera.stdout.readline()
        if not line:
            sys.exit(f"error: a process failed:\n{self.log.read_text()[-2000:]}{self.node.log.read_text()[-2000:]}")
        if record:
            block = json.loads(line)
            self.blocks.append(block | {"cpu_ms": 1e3 * (self.node.cpu_s - cpu) / max(1, len(block["ms"]))})

    def middle(self, field) -> float:
        """Median over the blocks of what `field` takes of one."""
        return float(np.median([field(b) for b in self.blocks]))

    def ms(self, q: float) -> float:
        """Median of the blocks' q-th percentiles, from an image's publication to its detections."""
        return self.middle(lambda b: np.percentile(b["ms"], q) if b["ms"] else np.nan)

    def stage(self, name: str) -> float:
        return self.middle(lambda b: float(b["diagnostics"].get(f"{name}_ms_p50") or "nan"))


def argmax_ms(classes: int, stride: int) -> float:
    """Median milliseconds of `class_map` for 640x512, on random logits, one thread."""
    box = Letterbox({"width": SIZE[0], "height": SIZE[1], "color": "gray", "mean": [0.5], "std": [0.2]})
    shape = (classes, SIZE[1] // stride, SIZE[0] // stride)
    logits, took = np.random.default_rng(1).normal(size=shape).astype(np.float32), []
    for _ in range(ARGMAX_CALLS):
        t0 = time.perf_counter()
        class_map(logits, box, *SIZE)
        took.append(1e3 * (time.perf_counter() - t0))
    return float(np.median(took))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, help="a bundle of task both (default: a detector with a stand-in head)")
    parser.add_argument("--stride", type=int, default=4, choices=(4, 8), help="of the stand-in")
    parser.add_argument("--classes", type=int, default=10, help="of the stand-in")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a block")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round of short blocks")
    args = parser.parse_args(argv)
    if args.quick:
        args.seconds, args.rounds = 3.0, 1
    cv2.setNumThreads(1)
    figures = {f"argmax_ms_{c}_classes_stride_{s}": argmax_ms(c, s) for c in (10, 14) for s in (4, 8)}
    for name, value in figures.items():
        print(f"{name:<34}{value:>8.2f}")
    with programs() as (stack, folder):
        detector, sides = ROOT / "models" / "uav_thermal", {}
        model = args.model.resolve() if args.model else with_masks(detector, folder / "b", args.stride, args.classes)
        if open_bundle(model).task != "both":
            sys.exit(f"error: {model} is not of task both; give one that detects and segments")
        gray = open_bundle(model).input["color"] == "gray"
        frames = folder / "frames.npy"
        np.save(frames, render(SIZE, "thermal" if gray else "color", FRAMES))
        if not args.model:
            sides["detector"] = Side(stack, folder, "detector", detector, frames, masks=False)
        sides["nobody_looks"] = Side(stack, folder, "nobody", model, frames, masks=False)
        sides["subscriber"] = Side(stack, folder, "subscriber", model, frames, masks=True)
        for i in range(-1, args.rounds):
            print(f"\rround {i + 1} of {args.rounds}", end="", file=sys.stderr, flush=True)
            for side in sides.values():
                side.block(args.seconds if i >= 0 else 2.0, record=i >= 0)
        print(file=sys.stderr)
    report(sides, figures)


def report(sides: dict[str, Side], figures: dict[str, float]) -> None:
    print(f"{'':<14}{'detections ms':>15}{'p95':>8}{'CPU ms':>9}{'mask stage ms':>15}{'mask after ms':>15}{'masks':>7}")
    for name, side in sides.items():
        after = side.middle(lambda b: np.median(b["mask_after_ms"]) if b["mask_after_ms"] else np.nan)
        masks = sum(len(b["mask_after_ms"]) for b in side.blocks) / sum(len(b["ms"]) for b in side.blocks)
        cpu = side.middle(lambda b: b["cpu_ms"])
        print(
            f"{name:<14}{side.ms(50):>15.2f}{side.ms(95):>8.2f}{cpu:>9.2f}{side.stage('segmentation'):>15.2f}"
            f"{after:>15.2f}{masks:>7.0%}"
        )
        figures |= {f"{name}_ms": side.ms(50), f"{name}_ms_p95": side.ms(95), f"{name}_cpu_ms": cpu}
    looked, alone = sides["subscriber"], sides["nobody_looks"]
    figures["subscriber_adds_ms"] = looked.ms(50) - alone.ms(50)
    figures["subscriber_adds_cpu_ms"] = figures["subscriber_cpu_ms"] - figures["nobody_looks_cpu_ms"]
    figures["mask_stage_ms"] = looked.stage("segmentation")
    figures["mask_after_ms"] = looked.middle(lambda b: np.median(b["mask_after_ms"]) if b["mask_after_ms"] else np.nan)
    print(json.dumps({k: None if np.isnan(v) else round(v, 3) for k, v in figures.items()}))


if __name__ == "__main__":
    main()
