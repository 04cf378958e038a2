"""Measure a detector's noise on labelled flights: where the constants of offline/simulate/noise.py come from.

    python -m offline.simulate.measure_noise --data DIR --val val_flights.json [--model models/A --model models/B]

Errors of matched boxes (IoU over .3) against the labels, by size. What stays with an object is told from what jitters
by pairs of neighbouring frames (file names PREFIX_NUMBER, at most 8 apart), whose labels match after one common shift.
Jitter of sizes is the change of the DETECTED ones, so the labels do not enter; sizes that truly change count as jitter.
What stays is sqrt(size^2 - size_jitter^2 - label_jitter^2). The last line is one JSON object.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offline.data import read_dataset, read_image
from offline.errors import one_sentence
from vit_perception.bundle import open_bundle
from vit_perception.detector import Detector
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine
from vit_perception.tracker import iou

BINS = (0, 20, 40, 57, 100)  # px
MATCH, SAME = 0.3, 0.5  # overlaps: of detection and label; of labels after the shift
APART, SHIFT = 8, 150  # frame numbers; px


@dataclass
class Frame:
    """One image: labels (n, 4), detections (m, 4), {label: detection}, scores (m,), detections that are false."""

    prefix: str
    number: int
    labels: np.ndarray
    boxes: np.ndarray
    matches: dict[int, int]
    scores: np.ndarray
    false: list[int]


def pairs(a: np.ndarray, b: np.ndarray, least: float) -> list[tuple[int, int]]:
    """Index pairs of boxes (n, 4) and (m, 4), best overlap first, each used once."""
    overlap, found = iou(a, b), []
    while overlap.size and overlap.max() >= least:
        i, j = (int(k) for k in np.unravel_index(int(overlap.argmax()), overlap.shape))
        found.append((i, j))
        overlap[i], overlap[:, j] = 0, 0
    return found


def sizes(boxes: np.ndarray) -> np.ndarray:
    return np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))


def look(detector: Detector, bundle, data) -> list[Frame]:
    frames = []
    for sample in data.samples:
        image = read_image(sample, bundle.input["color"])
        found = detector.detect(image, "mono" if image.ndim == 2 else "rgb")
        labels = np.asarray(sample.boxes, np.float32).reshape(-1, 4)
        matches = dict(pairs(labels, found.boxes, MATCH))
        rest = [i for i in range(len(found)) if i not in set(matches.values())]
        ignored = np.asarray(sample.ignore, np.float32).reshape(-1, 4)
        rest = [i for i in rest if not _inside(found.boxes[i], ignored)]
        prefix, _, number = Path(sample.path).stem.rpartition("_")
        frames.append(Frame(prefix, int(number), labels, found.boxes, matches, found.scores, rest))
    return sorted(frames, key=lambda f: (f.prefix, f.number))


def _inside(box: np.ndarray, regions: np.ndarray) -> bool:
    overlap = np.maximum(np.minimum(box[2:], regions[:, 2:]) - np.maximum(box[:2], regions[:, :2]), 0)
    return bool((np.prod(overlap, axis=1) > 0.5 * np.prod(box[2:] - box[:2])).any())


def same_objects(a: Frame, b: Frame) -> list[tuple[int, int]]:
    """Labels of two neighbouring frames that one common shift brings together; none if too few are."""
    best: list[tuple[int, int]] = []
    centres = [0.5 * (f.labels[:, :2] + f.labels[:, 2:]) for f in (a, b)]
    for p in centres[0]:
        for q in centres[1]:
            shift = np.tile(q - p, 2)
            if np.abs(shift).max() <= SHIFT:
                best = max(best, pairs(a.labels + shift, b.labels, SAME), key=len)
    return best if len(best) >= max(2, 0.5 * min(len(a.labels), len(b.labels))) else []


def errors(label: np.ndarray, box: np.ndarray) -> np.ndarray:
    """x, y as parts of the label's width and height, log w, log h."""
    side = label[2:] - label[:2]
    centre = 0.5 * (box[:2] + box[2:] - label[:2] - label[2:])
    return np.concatenate([centre / side, np.log((box[2:] - box[:2]) / side)])


def measure(flights: list[list[Frame]]) -> dict:
    """Figures of the flights of several models, pooled; lists have one value per bin of size."""
    frames = [f for flight in flights for f in flight]
    static = np.array(
        [
            [*errors(f.labels[i], f.boxes[d]), sizes(f.labels[i : i + 1])[0]]
            for f in frames
            for i, d in f.matches.items()
        ]
    )
    missed = np.array([[size, i not in f.matches] for f in frames for i, size in enumerate(sizes(f.labels))])
    steps, again = [], []
    for flight in flights:
        for a, b in zip(flight, flight[1:], strict=False):
            if a.prefix != b.prefix or b.number - a.number > APART:
                continue
            for i, j in same_objects(a, b):
                if i not in a.matches:
                    again.append(j not in b.matches)
                elif j in b.matches:
                    one, two = a.boxes[a.matches[i]], b.boxes[b.matches[j]]
                    place = errors(a.labels[i], one)[:2] - errors(b.labels[j], two)[:2]
                    grown = np.log((two[2:] - two[:2]) / (one[2:] - one[:2]))
                    wrong = np.log((b.labels[j, 2:] - b.labels[j, :2]) / (a.labels[i, 2:] - a.labels[i, :2]))
                    steps.append([*place, *grown, *wrong, sizes(a.labels[i : i + 1])[0]])
    moves = np.array(steps)
    rows: dict = {
        key: []
        for key in (
            "size_px",
            "objects",
            "pairs",
            "miss",
            "position",
            "position_jitter",
            "size",
            "size_jitter",
            "label_jitter",
        )
    }
    for low, high in zip(BINS, BINS[1:], strict=False):
        of, step = (t[(t[:, -1] >= low) & (t[:, -1] < high), :-1] for t in (static, moves))
        rows["size_px"].append(float(np.median(static[(static[:, -1] >= low) & (static[:, -1] < high), -1])))
        rows["objects"].append(len(of))
        rows["pairs"].append(len(step))
        rows["miss"].append(float(missed[(missed[:, 0] >= low) & (missed[:, 0] < high), 1].mean()))
        rows["position"].append(float(np.sqrt(np.mean(of[:, :2].var(axis=0)))))
        rows["size"].append(float(np.sqrt(np.mean(of[:, 2:].var(axis=0)))))
        rows["position_jitter"].append(float(np.sqrt(np.mean(step[:, :2].var(axis=0)) / 2)))
        rows["size_jitter"].append(float(np.sqrt(np.mean(step[:, 2:4].var(axis=0)) / 2)))
        rows["label_jitter"].append(float(np.sqrt(np.mean(step[:, 4:].var(axis=0)) / 2)))
    rows["missed_again"] = float(np.mean(again))
    rows["aspect_correlation"] = float(np.corrcoef(moves[:, 2], moves[:, 3])[0, 1])
    rows["false_per_image"] = float(np.mean([len(f.false) for f in frames]))
    rows["false_size_px"] = np.percentile(
        np.concatenate([sizes(f.boxes[f.false]) for f in frames]), (5, 25, 50, 75, 95)
    ).tolist()
    rows["false_score"] = np.percentile(
        np.concatenate([f.scores[f.false] for f in frames]), (5, 25, 50, 75, 95)
    ).tolist()
    return rows


@one_sentence
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with labelled images")
    parser.add_argument("--val", default="val_flights.json")
    parser.add_argument("--ignore", action="append", default=["DontCare"], metavar="CLASS")
    parser.add_argument("--model", type=Path, action="append", help="bundles (default hit_uav_fast and hit_uav_quick)")
    args = parser.parse_args(argv)
    flights = []
    for folder in args.model or [Path("models/hit_uav_fast"), Path("models/hit_uav_quick")]:
        bundle = open_bundle(folder)
        data = read_dataset(args.data, args.val, None, tuple(args.ignore), bundle.labels)
        flights.append(look(Detector(bundle, OnnxRuntimeEngine(bundle.file("fp32"))), bundle, data))
    result = measure(flights)
    for key, value in result.items():
        print(f"{key:<20}", np.round(value, 3))
    print(json.dumps({k: np.round(v, 4).tolist() for k, v in result.items()}))


if __name__ == "__main__":
    main()
