"""Approaches on real images with the real detector: objects of a data set, enlarged as flying up to them would.

    python bench/enlarged.py --data hit_uav [--val val_flights.json] [--model models/NAME]
    python bench/enlarged.py --quick       # rendered images, a few flights: only the machinery

What bench/time_to_contact.py draws from measured noise happens here: misses, jitter and scores are the detector's, and
stay with an object as they do. Each flight enlarges an image about one of its objects, MOST times in all, from FROM_S
seconds before contact on, at HZ images a second, with a camera's shake and noise; the time to contact is exact. Objects
have FIRST px at the start, so 80 to 200 at the end. Resampled pixels show no new detail; pictures stay flat, and that
flatters growth from pixels. Neither calibration nor motion is told. An approach is missed if its object raises no alert
until the last image, FROM_S / MOST before contact. `boxes_alone` has the same without growth from pixels. The last line
is one JSON object.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from time_to_contact import BETWEEN, HITS, Onboard, of_target

from offline.data import read_dataset, read_image
from offline.errors import DataError, one_sentence
from offline.progress import track as progress
from offline.render import CLASSES, write_dataset
from offline.simulate.measure_noise import FIRST, enlarged, sizes
from vit_perception.avoidance.alerts import OK, AlertPolicy
from vit_perception.bundles.bundle import open_bundle
from vit_perception.detector import Detector
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine
from vit_perception.tracking.growth import Expansion

FROM_S, MOST, HZ = 6.0, 4.0, 15.0


def objects(data, count: int) -> list[tuple]:
    """(sample, box, class index) of `count` objects, as many of each class as there are, drawn alike in every run."""
    rng, found = np.random.default_rng(0), []
    classes = range(len(data.labels))
    for c in classes:
        boxes = [(s, b, c) for s in data.samples for b, k in zip(s.boxes, s.classes, strict=True) if k == c]
        fits = [x for x in boxes if FIRST[0] <= sizes(x[1][None])[0] <= FIRST[1]]
        found += [fits[i] for i in rng.permutation(len(fits))[: -(-count // len(classes))]]
    if not found:
        raise DataError(f"{data.name} holds no object of {FIRST[0]:g} to {FIRST[1]:g} px; give another --val")
    return found


class Chain:
    """The onboard chain on one approach: images with the object, (true, told) times to contact, the first alert's."""

    def __init__(self, high_score: float, expansion: Expansion | None):
        self.onboard = Onboard(None, expansion=expansion, high_score=high_score)
        self.policy = AlertPolicy()  # of the target alone
        self.seen, self.images, self.told, self.lead = 0, 0, list[tuple[float, float]](), None

    def step(self, detections, stamp: float, left: float, view: np.ndarray, label: np.ndarray) -> None:
        obstacles, _, stopping = self.onboard.step(detections, stamp, None, image=view)
        target = of_target(obstacles, label)
        self.images += 1
        self.seen += target is not None and target.track.detection >= 0
        level = self.policy.update([] if target is None else [target], stopping).level
        self.lead = left if self.lead is None and level > OK else self.lead
        if target is not None and target.track.hits >= HITS and BETWEEN[0] <= left <= BETWEEN[1]:
            self.told.append((left, np.nan if target.ttc_s is None else target.ttc_s))


def fly(detector: Detector, high_score: float, image: np.ndarray, box: np.ndarray, seed: int) -> tuple[Chain, Chain]:
    """One approach, with growth from pixels and without."""
    rng, chains = np.random.default_rng([seed, 82]), (Chain(high_score, Expansion()), Chain(high_score, None))
    for stamp in np.arange(0, FROM_S * (1 - 1 / MOST), 1 / HZ).tolist():
        left = FROM_S - stamp
        zoom = FROM_S / left
        view, label = enlarged(rng, image, box, zoom)
        detections = detector.detect(view, "mono" if view.ndim == 2 else "rgb")
        for chain in chains:
            chain.step(detections, stamp, left, view, label)
    return chains


def figures(flights: list[Chain]) -> dict:
    pairs = np.array([p for f in flights for p in f.told]).reshape(-1, 2)
    known = pairs[np.isfinite(pairs[:, 1])]
    error = np.abs(known[:, 1] / known[:, 0] - 1)
    leads = [f.lead for f in flights if f.lead is not None]
    return {
        "approaches": len(flights),
        "missed": len(flights) - len(leads),
        "of_these_hardly_detected": sum(f.lead is None and f.seen < HITS for f in flights),
        "images_with_the_object": round(sum(f.seen for f in flights) / sum(f.images for f in flights), 4),
        "told": round(len(known) / max(len(pairs), 1), 4),
        "median_rel_err": round(float(np.median(error)), 4) if len(error) else None,
        "p90_rel_err": round(float(np.percentile(error, 90)), 4) if len(error) else None,
        "lead_time_p5_s": round(float(np.percentile(leads, 5)), 3) if leads else None,
    }


@one_sentence
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with labelled images (default: rendered ones)")
    parser.add_argument("--val", default="val_flights.json")
    parser.add_argument("--ignore", action="append", default=["DontCare"], metavar="CLASS")
    parser.add_argument("--model", type=Path, default=Path("models/uav_thermal"), help="bundle (default %(default)s)")
    parser.add_argument("--approaches", type=int, default=90)
    parser.add_argument("--quick", action="store_true", help="a few flights")
    args = parser.parse_args(argv)
    bundle = open_bundle(args.model)
    score = bundle.thresholds["score"]
    weak = bundle.thresholds.get("weak_score", score)
    detector = Detector(bundle, OnnxRuntimeEngine(bundle.file("fp32")), score_threshold=weak)
    count = 6 if args.quick else args.approaches
    flights: list[tuple[int, Chain, Chain]] = []
    with tempfile.TemporaryDirectory() as folder:
        root, val, labels = args.data, args.val, bundle.labels
        if root is None:
            root, val = write_dataset(folder, train=1, val=24, size=(640, 512)), "val.json"
            labels = [label for label in labels if label in CLASSES]
        data = read_dataset(root, val, None, tuple(args.ignore), labels)
        for i, (sample, box, c) in enumerate(progress(objects(data, count), "approaches")):
            flights.append((c, *fly(detector, score, read_image(sample, bundle.input["color"], bundle.input), box, i)))
    classes = {label: [f for k, f, _ in flights if k == c] for c, label in enumerate(data.labels)}
    per_class = {label: figures(some) for label, some in classes.items() if some}
    result = {"model": bundle.name} | figures([f for _, f, _ in flights])
    result |= {"boxes_alone": figures([f for _, _, f in flights]), "per_class": per_class}
    for key, value in result.items():
        print(f"{key:<28}{value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
