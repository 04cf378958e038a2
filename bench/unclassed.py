"""What has no class, told by motion: how early, how well, how often for nothing? Rendered flights, and real images.

    python bench/unclassed.py [--quick] [--seed 0] [--data DIR] [--results FILE] [--share K/N]

Approaches at 2 to 6 m/s to walls, poles, trees and facades, textured and flat, thermal and colour; flights that meet
nothing: low over ground, past things and yawing, turning, hovering, survey, search, climb, descent. Gyro and odometry
with the errors of offline/simulate/ego_noise.py; boxes of people, cars and bicycles are given, as the detector would
(bench/parts/unclassed_flights.py). Images are 320 x 256, the size that the algorithm works at; its time is taken on
640 x 512. An approach counts if the vehicle comes within 1.8 s of something; it is warned of at the first WARN or
ERROR of the node's alert policy. An alert is false if it begins while nothing in the way is nearer than 5 s.
Every fourth flight is also flown with one knob changed. --data: the folder with tartanair, hit_uav and zoom
(their SOURCES.md); without, no real part. A flight's figures go to --results as a line: a run that was stopped goes on
there, and several with --share 0/2 and 1/2 share the work. The last line is one JSON object.
"""

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np

from bench.parts import unclassed_flights as flights
from bench.parts.unclassed_real import real_part
from bench.parts.unclassed_watch import CLOCK_MS, Watch, score
from offline.errors import one_sentence
from offline.progress import track as progress
from offline.simulate.ego_noise import EgoErrors, EgoSensors

KINDS, LOOKS = ("Wall", "Pole", "Tree", "Facade"), ("thermal", "color")
APPROACHES, FLAT, HARD = 104, 24, 12
HARDER = ("rolling shutter", "vibration", "rolling shutter, vibration")  # HARD textured approaches each
NEGATIVE_S, LOW_FLIGHTS, OTHER_FLIGHTS = 20.0, 12, 4  # of each kind
ROLLING_S, VIBRATION_DEG = 0.02, 0.15
KNOB_EVERY = 4
# What a variant changes: attributes of `MotionObstacles`, what the vehicle tells, errors of that.
VARIANTS: dict[str, dict] = {
    "default": {},
    "motion not refined": {"refined": False},
    "boxes not left out": {"masked": False},
    "2 points": {"least_points": 2},
    "5 points": {"least_points": 5},
    "no gyro": {"without": ("angular_velocity",)},
    "no velocity": {"without": ("velocity",)},
    "gyro 20 ms late": {"errors": EgoErrors(offset_s=0.02)},
    "gyro 50 ms late": {"errors": EgoErrors(offset_s=0.05)},
    "errors 3 times as large": {"errors": EgoErrors(1.5, 9.0, 0.1)},
}


def jobs(quick: bool, seed: int) -> list[dict]:
    """Every flight: {group, kind, look, seed, knobs}."""
    found = []

    def add(group, number, kinds):
        for i in range(number):
            kind, look = kinds[i % len(kinds)], LOOKS[(i // len(kinds)) % 2]
            at = 1_000_000 * seed + 10_000 * len({f["group"] for f in found} | {group}) + 100_000 + i
            knobs = (i // len(kinds)) % KNOB_EVERY == 0 and not quick
            found.append({"group": group, "kind": kind, "look": look, "seed": at, "knobs": knobs})

    few = 4 if quick else 0
    add("textured", few or APPROACHES, KINDS)
    add("flat", few or FLAT, KINDS)
    for group in HARDER:
        add(group, 0 if quick else HARD, KINDS)
    add("low", few or LOW_FLIGHTS * len(flights.LOW), flights.LOW)
    others = [k for k in flights.NEGATIVES if k not in flights.LOW]
    add("low, vibration", 0 if quick else HARD, flights.LOW)
    add("other", few or OTHER_FLIGHTS * len(others), others)
    # In any order, so that what is there of a run that is not over says something of all.
    return [found[i] for i in np.random.default_rng(1).permutation(len(found))]


def fly(job: dict, quick: bool) -> list[dict]:
    """The figures of one flight, one row for each variant."""
    seed, look, group = job["seed"], job["look"], job["group"]
    vibration = VIBRATION_DEG if "vibration" in group else 0.0
    if job["kind"] in flights.NEGATIVES:
        sequence = flights.negative(seed, job["kind"], look, 4.0 if quick else NEGATIVE_S, vibration_deg=vibration)
    else:
        readout = ROLLING_S if "rolling shutter" in group else 0.0
        sequence = flights.approach(
            seed, job["kind"], look, group != "flat", readout_s=readout, vibration_deg=vibration
        )
    wanted = {n: v for n, v in VARIANTS.items() if n == "default" or (job["knobs"] and group in ("textured", "low"))}
    watches, sensors = {}, {}
    for name, changes in wanted.items():
        watches[name] = Watch(sequence.camera_at(0.0), **{k: v for k, v in changes.items() if k != "errors"})
        errors = changes.get("errors") or EgoErrors()
        sensors[name] = EgoSensors(sequence.camera_at, errors, np.random.default_rng([seed, 71]))
    for frame in sequence.frames:
        for name, watch in watches.items():
            watch.step(frame, sensors[name].ego(frame.stamp_s))
    return [dict(job, variant=name, fps=sequence.fps, **watch.row()) for name, watch in watches.items()]


def timing(quick: bool, seed: int) -> list[float]:
    """Milliseconds a frame on 640 x 512 images, of this thread."""
    found: list[float] = []
    for i, kind in enumerate(KINDS[: 1 if quick else 4]):
        sequence = flights.approach(900_000 + 1_000_000 * seed + i, kind, LOOKS[i % 2], True, (640, 512))
        watch = Watch(sequence.camera_at(0.0))
        sensors = EgoSensors(sequence.camera_at, EgoErrors(), np.random.default_rng([seed, 71]))
        for _, frame in zip(range(30 if quick else 75), sequence.frames, strict=False):
            watch.step(frame, sensors.ego(frame.stamp_s))
        found += watch.ms[5:]
    return found


def figures(rows: list[dict], ms: list[float]) -> dict:
    """The keys of the JSON object. A flight that two processes flew counts once."""
    rows = list({(r["group"], r["seed"], r["variant"]): r for r in rows}.values())

    def of(group: str, variant: str = "default") -> list[dict]:
        return [r for r in rows if r["group"] == group and r["variant"] == variant]

    result = score(of("textured"))
    low, other = of("low"), of("other")
    result |= {"minutes": _minutes(low + other), "low_minutes": _minutes(low)}
    result |= {"false_per_minute": _rate(low), "false_low": sum(r["false"] for r in low)}
    result |= {"false_other": sum(r["false"] for r in other), "minutes_active": _minutes(low + other, "active")}
    if ms:
        result["ms_per_frame_median"] = round(float(np.median(ms)), 2)
        result["ms_per_frame_p95"] = round(float(np.percentile(ms, 95)), 2)
    result["flat"], result["by_kind"] = score(of("flat")), {}
    for kind in KINDS:
        result["by_kind"][kind] = score([r for r in of("textured") if r["kind"] == kind])
    for group in HARDER:
        result[group] = score(of(group))
    low = of("low, vibration")
    result["vibration"] |= {"false": sum(r["false"] for r in low), "low_minutes": _minutes(low)}
    result["knobs"] = {}
    flown = [{r["seed"] for r in rows if r["variant"] == name} for name in VARIANTS]
    every = set.intersection(*flown)  # the same flights for each
    for name in VARIANTS:
        low, approached = ([r for r in of(group, name) if r["seed"] in every] for group in ("low", "textured"))
        if approached:
            result["knobs"][name] = score(approached) | {"false_per_minute": _rate(low), "low_minutes": _minutes(low)}
    return result


def _minutes(rows: list[dict], key: str = "frames") -> float:
    return round(sum(r[key] / r["fps"] for r in rows) / 60, 2)


def _rate(rows: list[dict]) -> float | None:
    minutes = sum(r["frames"] / r["fps"] for r in rows) / 60
    return round(sum(r["false"] for r in rows) / minutes, 2) if minutes else None


def _table(result: dict) -> None:
    print(f"{'':<26}{'n':>4}{'2 s':>7}{'1.5 s':>7}{'any':>7}{'error':>8}{'p90':>7}{'1 sigma':>9}{'false/min':>11}")
    named = [("textured", result), ("flat", result["flat"])]
    named += [(k, result[k]) for k in HARDER]
    named += [(k, v) for part in ("by_kind", "knobs") for k, v in result[part].items()]
    keys = ("warned_2s", "warned_1s5", "warned", "tau_median_rel_err", "tau_p90_rel_err", "within_1_sigma")
    for name, row in named:
        if row["approaches"]:
            widths = zip(keys, (7, 7, 7, 8, 7, 9), strict=True)
            cells = "".join(f"{'' if row[k] is None else format(row[k], '.2f'):>{w}}" for k, w in widths)
            print(f"{name:<26}{row['approaches']:>4}{cells}{row.get('false_per_minute', '') or '':>11}")


@one_sentence
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few short flights")
    parser.add_argument("--seed", type=int, default=0, help="other flights than those of another number")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with tartanair, hit_uav and zoom")
    parser.add_argument("--results", type=Path, metavar="FILE", help="figures of each flight, to go on from")
    parser.add_argument("--figures", action="store_true", help="of what --results holds; fly nothing")
    parser.add_argument("--share", default="0/1", metavar="K/N", help="fly only every N-th flight, from the K-th on")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    part, _, parts = args.share.partition("/")
    if not (part.isdigit() and parts.isdigit() and int(part) < int(parts)):
        parser.error(f"--share {args.share}: give K/N with K below N, for example 0/2")
    began, rows, wanted = time.monotonic(), [], jobs(args.quick, args.seed)
    if args.results and args.results.exists():
        rows = [json.loads(line) for line in args.results.read_text().splitlines()]
    done = {(r["group"], r["seed"]) for r in rows}
    left = (
        []
        if args.figures
        else [j for i, j in enumerate(wanted) if i % int(parts) == int(part) and (j["group"], j["seed"]) not in done]
    )
    for job in progress(left, "flights"):
        new = fly(job, args.quick)
        rows += new
        if args.results:
            with open(args.results, "a") as file:  # one write of whole lines: several processes may add
                file.write("".join(json.dumps(r) + "\n" for r in new))
    if not args.figures and len({(r["group"], r["seed"]) for r in rows}) < len(wanted):
        print(f"{len(left)} flights flown; others share the rest: run again without --share for the figures.")
        return
    result = figures(rows, timing(args.quick, args.seed))
    _table(result)
    if args.data:
        result["real"] = real_part(args.data)
    result["clock_ms"] = CLOCK_MS
    result["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
