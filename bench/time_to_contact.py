"""How good are time to contact, range and alerts? Exact flights with the committed detector's noise.

    python bench/time_to_contact.py [--quick] [--zoom DIR] [--approaches 200] [--hours 2]

Approaches at 2 to 10 m/s and 10 to 30 Hz, a tenth of the frames lost, in rendered scenes; boxes with misses, jitter and
scores as measured of the shipped detector (offline/simulate/noise.py), growth from pixels with the errors that were
measured on rendered flights (offline/simulate/growth_noise.py). Goals: median of |relative error| of the time
to contact <= 10% and its 90th percentile <= 25% between 1 and 5 s after 8 hits; 60 to 76% of the errors within one
sigma; no approach without an alert; at most one false alert an hour; 5th percentile of the lead time at least the
stopping time + 0.5 s. Seeds are not those that anything was tuned on (--seed). The last line is one JSON object.
"""

import argparse
import csv
import json
import time
from pathlib import Path

import numpy as np

from offline.progress import track as progress
from offline.simulate.approaches import QUIET, SIZE, approach, quiet
from offline.simulate.closed_loop import KNOWN_SIZES
from offline.simulate.growth_noise import GrowthNoise
from offline.simulate.noise import SCORE, DetectorNoise
from vit_perception.avoidance.alerts import OK, AlertPolicy
from vit_perception.avoidance.camera import Camera
from vit_perception.avoidance.obstacles import ObstacleEstimator
from vit_perception.boxes import iou
from vit_perception.detector import Detections
from vit_perception.pipeline import Pipeline
from vit_perception.tracking.growth import Expansion

BLANK = np.zeros(SIZE[::-1], np.uint8)  # where boxes are all there is
HITS, BETWEEN = 8, (1.0, 5.0)  # hits of a track, true seconds to contact


class Given:
    """The pipeline's detector, for boxes that come from elsewhere."""

    nms_iou, stage_ms = 0.0, dict[str, float]()

    def __init__(self, score_threshold: float):
        self.score_threshold, self.detections = score_threshold, Detections([], [], [])

    def detect(self, image, order) -> Detections:
        return self.detections


class Onboard:
    """The onboard pipeline, with its defaults. expansion: None takes growth from boxes alone."""

    def __init__(
        self, K: np.ndarray | None, ego: bool = True, expansion: Expansion | None = None, high_score: float = SCORE
    ):
        fits = None if K is None else Camera(K[0, 0], K[1, 1], K[0, 2] + 0.5, K[1, 2] + 0.5, *SIZE)
        self.camera, self.knows_ego = fits, ego
        self.given = Given(high_score)
        self.pipeline = Pipeline(self.given, obstacles=ObstacleEstimator(KNOWN_SIZES))
        self.pipeline.camera_motion, self.pipeline.pixel_growth = False, expansion is not None
        self.pipeline.expansion = expansion or Expansion()

    def step(self, detections: Detections, stamp_s: float, ego, mount=None, image: np.ndarray = BLANK):
        """(obstacles that are seen, alert, Stopping or None)."""
        self.given.detections = detections
        ego = ego if self.knows_ego else None
        order = "mono" if image.ndim == 2 else "rgb"
        result = self.pipeline.process(image, order, stamp_s, self.camera, mount, ego)
        speed = None if ego is None else float(np.linalg.norm(ego.velocity))
        stopping = None if speed is None else self.pipeline.corridor.stopping(speed)
        return [o for o in result.obstacles if not o.remembered], result.alert, stopping


def of_target(obstacles, box):
    """The obstacle whose track is now seen where `box` (4,) is, or None."""
    boxes = np.array([o.track.box for o in obstacles]).reshape(-1, 4)
    if not len(boxes):
        return None
    overlap = iou(boxes, np.asarray(box, np.float32)[None])[:, 0]
    best = int(overlap.argmax())
    return obstacles[best] if overlap[best] >= 0.3 else None


def fly_approach(seed: int, ego: bool) -> dict:
    """Rows of (true ttc, ttc, sigma), of (true range, range, sigma), and the first alert's time before contact."""
    flight = approach(seed)
    noise, rng, growth = (
        DetectorNoise(*SIZE),
        np.random.default_rng([seed, 79]),
        GrowthNoise(np.random.default_rng([seed, 84])),
    )
    onboard = Onboard(flight.K, ego, growth)
    policy = AlertPolicy()  # of the target alone: nothing else may raise its alert, or stand before it
    ttc, ranges, alerts, before, last, seen = [], [], [], None, 0.0, 0
    for view in flight.views:
        dt = 0.1 if before is None else view.stamp_s - before
        before = view.stamp_s
        detections = noise.apply(view.boxes, view.classes, rng, dt, view.ids)
        growth.see(*noise.with_clutter(view.boxes, view.ids))
        obstacles, _, stopping = onboard.step(detections, view.stamp_s, view.ego, view.mount)
        target = next((s for s in view.truths if s.track_id == flight.target), None)
        if target is None:
            continue
        last = view.stamp_s + target.ttc_s  # when contact is
        found = of_target(obstacles, target.box)
        seen += found is not None
        if policy.update([] if found is None else [found], stopping).level > OK:
            alerts.append(view.stamp_s)
        if found is None or found.track.hits < HITS:
            continue
        if BETWEEN[0] <= target.ttc_s <= BETWEEN[1]:
            sigma = np.nan if found.ttc_s is None else found.ttc_sigma_s
            ttc.append((target.ttc_s, np.nan if found.ttc_s is None else found.ttc_s, sigma))
            if found.range_m is not None:
                ranges.append((target.range_m, found.range_m, found.range_sigma_m, target.centre_m, target.class_index))
    stops = onboard.pipeline.corridor.stopping(flight.speed).time_s
    lead = last - alerts[0] if alerts else None
    return {
        "ttc": ttc,
        "seen": seen,
        "range": ranges,
        "lead": lead,
        "stopping": stops,
        "speed": flight.speed,
        "fps": flight.fps,
    }


def fly_quiet(kind: str, seed: int, duration: float, ego: bool, false_positives: float = 1.0) -> int:
    """How many alerts began in a flight that comes near nothing."""
    K, views = quiet(kind, seed, duration)
    noise = DetectorNoise(*SIZE, false_positives=false_positives)
    rng, growth = np.random.default_rng([seed, 80]), GrowthNoise(np.random.default_rng([seed, 85]))
    onboard = Onboard(K, ego, growth)
    count, level, before = 0, OK, 0.0
    for view in views:
        detections = noise.apply(view.boxes, view.classes, rng, view.stamp_s - before, view.ids)
        before = view.stamp_s
        growth.see(*noise.with_clutter(view.boxes, view.ids))
        _, alert, _ = onboard.step(detections, view.stamp_s, view.ego, view.mount)
        count += alert.level > OK and level == OK
        level = alert.level
    return count


def zoom(folder: Path, draws: int = 20) -> dict:
    """The clips of real texture: their exact boxes with `draws` draws of the detector's jitter, uncalibrated."""
    rows = {}
    for clip in ("zoom_car_a", "zoom_car_b"):
        with open(folder / clip / "gt.csv", newline="") as file:
            truth = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        errors: list[float] = []
        alarms = 0
        for draw in range(draws):
            found, alarm = fly_zoom(truth, draw)
            errors += found
            alarms += alarm
        median = round(float(np.median(errors)), 4) if errors else None
        rows[clip] = {"median_rel_err": median, "draws": draws, "with_alarm": alarms}
    return rows


def fly_zoom(truth: list[dict], seed: int) -> tuple[list[float], bool]:
    """Relative errors of the time to contact, and whether there was an alert."""
    noise, rng = DetectorNoise(640, 480, false_positives=0), np.random.default_rng([seed, 81])
    growth = GrowthNoise(np.random.default_rng([seed, 86]), (640, 480))
    onboard, errors, alarm, before = Onboard(None, expansion=growth), [], False, truth[0]["t_s"]
    for row in truth:
        box = [row["x"], row["y"], row["x"] + row["w"], row["y"] + row["h"]]
        detections = noise.apply([box], [1], rng, row["t_s"] - before, [1])
        before = row["t_s"]
        growth.see([box], [1])
        obstacles, alert, _ = onboard.step(detections, row["t_s"], None, image=BLANK[:480])
        alarm |= alert.level > OK
        true = row["ttc_s_signed"]
        told = [o.ttc_s for o in obstacles if o.track.hits >= HITS and o.ttc_s is not None]
        errors += [abs(t / true - 1) for t in told if BETWEEN[0] <= true <= BETWEEN[1]]
    return errors, alarm


def figures(flights: list[dict]) -> dict:
    ttc = np.array([r for f in flights for r in f["ttc"]]).reshape(-1, 3)
    told = ttc[np.isfinite(ttc[:, 1])]
    ranges = np.array([r for f in flights for r in f["range"]]).reshape(-1, 5)
    error, off = np.abs(told[:, 1] / told[:, 0] - 1), np.abs(ranges[:, 1] - ranges[:, 0])
    leads = np.array([f["lead"] for f in flights if f["lead"] is not None])
    spare = np.array([f["lead"] - f["stopping"] for f in flights if f["lead"] is not None])
    return {
        "approaches": len(flights),
        "told": _round(len(told) / max(len(ttc), 1)),
        "median_rel_err": _round(np.median(error)),
        "p90_rel_err": _round(np.percentile(error, 90)),
        "within_1_sigma": _round((np.abs(told[:, 1] - told[:, 0]) <= told[:, 2]).mean()),
        "range_median_rel_err": _round(np.median(off / ranges[:, 0])),
        "range_within_1_sigma": _round((off <= ranges[:, 2]).mean()),
        "missed": sum(f["lead"] is None for f in flights),
        "of_these_hardly_detected": sum(f["lead"] is None and f["seen"] < HITS for f in flights),
        "lead_time_p5_s": _round(np.percentile(leads, 5)) if len(leads) else None,
        "lead_beyond_stopping_p5_s": _round(np.percentile(spare, 5)) if len(spare) else None,
    }


def _round(value) -> float:
    return round(float(value), 4)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--approaches", type=int, default=200)
    parser.add_argument(
        "--hours", type=float, default=2.0, help="of flights that approach nothing (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first flight")
    parser.add_argument("--no-ego", action="store_true", help="the vehicle tells nothing of its motion")
    parser.add_argument("--zoom", type=Path, metavar="DIR", help="folder with zoom_car_a and zoom_car_b")
    parser.add_argument("--quick", action="store_true", help="a few flights")
    args = parser.parse_args(argv)
    count, hours = (4, 0.005) if args.quick else (args.approaches, args.hours)
    ego, began = not args.no_ego, time.monotonic()
    flights = [fly_approach(args.seed + i, ego) for i in progress(range(count), "approaches")]
    result = figures(flights)
    each, alerts = 20.0, 0
    jobs = [(QUIET[i % 3], args.seed + i) for i in range(max(3, round(hours * 3600 / each)))]
    kinds = dict.fromkeys(QUIET, 0)
    for kind, seed in progress(jobs, "quiet flights"):
        begun = fly_quiet(kind, seed, each, ego)
        kinds[kind] += begun
        alerts += begun
    flown = len(jobs) * each / 3600
    result |= {"false_alerts_per_hour": _round(alerts / flown), "hours": _round(flown), "false_alerts": kinds}
    if args.zoom:
        result["zoom"] = zoom(args.zoom)
    for key, value in result.items():
        print(f"{key:<28}{value}")
    result["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
