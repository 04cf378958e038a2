"""Measure a detector's noise on labelled flights: where offline/simulate/noise.json comes from.

    python -m offline.simulate.measure_noise --data DIR [--val val_flights.json --also val.json] [--model models/NAME]

Objects of more than CLOSE_PX are not in the data: those rows come from windows of its images, enlarged around one
object each. Resampled pixels show no new detail: a true close object may be found more easily, or be stranger.
Errors of matched boxes (IoU over .3) against the labels, by size. What stays with an object is told from what jitters
by pairs of neighbouring frames (file names PREFIX_NUMBER, at most 16 apart), whose labels match after one common shift.
Jitter of sizes is the change of the DETECTED ones, so the labels do not enter; sizes that truly change count as jitter.
What stays is sqrt(size^2 - size_jitter^2 - label_jitter^2). At the bundle's weak score.
Rates and errors are those of --val; pairs come from --also too, for there are few. Writes
offline/simulate/noise.json, unless --out names another file; the last line is the same as one JSON object.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from offline.data import read_dataset, read_image
from offline.errors import one_sentence
from offline.files import write_text
from vit_perception.boxes import iou
from vit_perception.bundles.bundle import open_bundle
from vit_perception.detector import Detector
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

from .noise import QUANTILES

BINS = (0, 20, 40, 57, 100, 140, 190, 260)  # px
CLOSE_PX, ENLARGED = 100, 4.0  # rows from here on are measured on images enlarged by up to ENLARGED
MATCH, SAME = 0.3, 0.5  # overlaps: of detection and label; of labels after the shift
FIRST, DRIFT = (20, 50), 0.4  # px; log of the growth between two views of an object
MOST_VIEWS = 2  # objects of an image
SHAKE_PX, NOISE = 0.7, 2.0  # standard deviations of a camera's shake and noise (of 255)
APART, SHIFT = 16, 150  # frame numbers; px


@dataclass
class Frame:
    """One image: labels (n, 4), detections (m, 4), {label: detection}, scores and classes (m,), detections that are
    false."""

    prefix: str
    number: int
    labels: np.ndarray
    boxes: np.ndarray
    matches: dict[int, int]
    scores: np.ndarray
    classes: np.ndarray
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
        frames.append(
            seen(detector, sample, read_image(sample, bundle.input["color"], bundle.input), sample.boxes, sample.ignore)
        )
    return sorted(frames, key=lambda f: (f.prefix, f.number))


def look_closely(detector: Detector, bundle, data) -> list[Frame]:
    """One view of each object that ENLARGED makes large enough: its image, enlarged around it to a drawn size."""
    frames, rng = [], np.random.default_rng(0)
    for sample in data.samples:
        image = read_image(sample, bundle.input["color"], bundle.input)
        side = np.array(image.shape[1::-1])
        for box, size in zip(sample.boxes, sizes(sample.boxes), strict=True):
            least, most = max(CLOSE_PX / size, 1.0), min(BINS[-1] / size, ENLARGED)
            if most <= least:
                continue
            zoom = float(np.exp(rng.uniform(np.log(least), np.log(most))))
            move = np.clip(0.5 * side - zoom * 0.5 * (box[:2] + box[2:]), (1 - zoom) * side, 0)
            view, label = _moved(image, box, zoom, move)
            frames.append(seen(detector, sample, view, label[None], []))
    return frames


def lengths(detector: Detector, bundle, data, bias: float) -> dict:
    """Over how much growth (log) what stays with an object is forgotten: of the size's error, and of its score.

    Two views of each object of FIRST px, alike but for DRIFT of growth, camera shake and noise, and two without growth:
    of a change that is forgotten over a length L, exp(-growth / L) is left. bias: its standard deviation.
    """
    rng, rows = np.random.default_rng(1), []
    for sample in data.samples:
        image = read_image(sample, bundle.input["color"], bundle.input)
        for box in sample.boxes[(sizes(sample.boxes) >= FIRST[0]) & (sizes(sample.boxes) < FIRST[1])][:MOST_VIEWS]:
            start = float(np.exp(rng.uniform(0, DRIFT)))
            found = [best(detector, *enlarged(rng, image, box, start * np.exp(g))) for g in (0, 0, DRIFT)]
            if all(f is not None for f in found):
                rows.append(found)
    grown, score = np.array(rows).transpose(2, 1, 0)  # (3 views, n) each
    drifted = max(np.var(grown[2] - grown[0]) - np.var(grown[1] - grown[0]), 1e-4)
    kept = np.corrcoef(score[2], score[0])[0, 1] / np.corrcoef(score[1], score[0])[0, 1]
    return {
        "drift_views": len(rows),
        "bias_length": float(-DRIFT / np.log(max(1 - drifted / (2 * bias**2), 0.05))),
        "ease_length": float(-DRIFT / np.log(np.clip(kept, 0.05, 0.99))),
    }


def enlarged(rng, image: np.ndarray, box: np.ndarray, zoom: float) -> tuple[np.ndarray, np.ndarray]:
    """The image and the box (4,), enlarged about the box's middle, with a camera's shake and noise."""
    move = (1 - zoom) * 0.5 * (box[:2] + box[2:]) + rng.normal(0, SHAKE_PX, 2)
    view, label = _moved(image, box, zoom, move)
    return np.clip(view + rng.normal(0, NOISE, view.shape), 0, 255).astype(np.uint8), label


def _moved(image: np.ndarray, box: np.ndarray, zoom: float, move: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Image and box (4,), pixels p at zoom p + move, of the same size as before."""
    side = np.array(image.shape[1::-1])
    x, y = move + 0.5 * zoom - 0.5  # OpenCV's pixel centres are at whole numbers, boxes count edges
    warp = np.array([[zoom, 0, x], [0, zoom, y]])
    view = cv2.warpAffine(image, warp, (int(side[0]), int(side[1])), borderMode=cv2.BORDER_REPLICATE)
    return view, np.clip(zoom * box + np.tile(move, 2), 0, np.tile(side, 2)).astype(np.float32)


def best(detector: Detector, image: np.ndarray, label: np.ndarray) -> tuple[float, float] | None:
    """Error of the log of the size, and logit of the score, of what was found where the label is."""
    found = detector.detect(image, "mono" if image.ndim == 2 else "rgb")
    matched = pairs(label[None], found.boxes, MATCH)
    if not matched:
        return None
    d = matched[0][1]
    score = np.clip(found.scores[d], 1e-3, 1 - 1e-3)
    return float(errors(label, found.boxes[d])[2:].mean()), float(np.log(score / (1 - score)))


def seen(detector: Detector, sample, image: np.ndarray, boxes, ignore) -> Frame:
    """What the detector says of one image with labels `boxes` (n, 4), outside the regions `ignore` (m, 4)."""
    found = detector.detect(image, "mono" if image.ndim == 2 else "rgb")
    labels, ignored = (np.asarray(b, np.float32).reshape(-1, 4) for b in (boxes, ignore))
    matches = dict(pairs(labels, found.boxes, MATCH))
    rest = [i for i in range(len(found)) if i not in set(matches.values()) and not _inside(found.boxes[i], ignored)]
    prefix, _, number = Path(sample.path).stem.rpartition("_")
    return Frame(prefix, int(number), labels, found.boxes, matches, found.scores, found.classes, rest)


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


def measure(frames: list[Frame], more: list[Frame], close: list[Frame]) -> dict:
    """What offline/simulate/noise.py reads, of frames in the order of their flights; `more` give pairs only, `close`
    the objects of more than CLOSE_PX."""
    every = frames + close
    static = np.array(
        [[*errors(f.labels[i], f.boxes[d]), f.scores[d], _size(f, i)] for f in every for i, d in f.matches.items()]
    )
    missed = np.array([[size, i not in f.matches] for f in every for i, size in enumerate(sizes(f.labels))])
    moves, again, false_again = changes(frames, more)
    rows = [_bin(static, missed, moves, low, high) for low, high in zip(BINS, BINS[1:], strict=False)]
    false = {k: np.concatenate([v(f) for f in frames]) for k, v in _FALSE.items()}
    return {k: [row[k] for row in rows] for k in rows[0]} | {
        "missed_again": float(np.mean(again)),
        "aspect_correlation": float(np.corrcoef(moves[:, 2], moves[:, 3])[0, 1]),
        "false_per_image": len(false["score"]) / len(frames),
        "false_size_px": _quantiles(false["size"]),
        "false_score": _quantiles(false["score"]),
        "false_classes": (np.bincount(false["class"], minlength=3)[:3] / max(len(false["class"]), 1)).tolist(),
        "false_again": float(np.mean(false_again)),
    }


_FALSE = {
    "size": lambda f: sizes(f.boxes[f.false]),
    "score": lambda f: f.scores[f.false],
    "class": lambda f: f.classes[f.false].astype(np.int64),
}


def changes(*flights: list[Frame]) -> tuple[np.ndarray, list[bool], list[bool]]:
    """What differs between neighbouring frames.

    Returns:
        (n, 7) of each object found in both: change of its place's error (2), of the log of its detected size (2), of
        its label's (2), and its size; of each missed object, whether it is missed again; of each false detection,
        whether there is one at its place again.
    """
    moves, again, false_again = [], [], []
    for a, b in (pair for frames in flights for pair in zip(frames, frames[1:], strict=False)):
        if a.prefix != b.prefix or b.number - a.number > APART:
            continue
        same = same_objects(a, b)
        for i, j in same:
            if i not in a.matches:
                again.append(j not in b.matches)
            elif j in b.matches:
                one, two = a.boxes[a.matches[i]], b.boxes[b.matches[j]]
                place = errors(a.labels[i], one)[:2] - errors(b.labels[j], two)[:2]
                grown = np.log((two[2:] - two[:2]) / (one[2:] - one[:2]))
                wrong = np.log((b.labels[j, 2:] - b.labels[j, :2]) / (a.labels[i, 2:] - a.labels[i, :2]))
                moves.append([*place, *grown, *wrong, _size(a, i)])
        if same:
            shift = np.median([b.labels[j, :2] - a.labels[i, :2] for i, j in same], axis=0)
            moved = a.boxes[a.false] + np.tile(shift, 2).astype(np.float32)
            overlap = iou(moved, b.boxes[b.false])
            false_again += (overlap.max(1, initial=0) >= MATCH).tolist()
    return np.array(moves), again, false_again


def _bin(static: np.ndarray, missed: np.ndarray, moves: np.ndarray, low: float, high: float) -> dict:
    """Figures of the objects from `low` to `high` px; beyond CLOSE_PX what changes between frames is as just below."""
    of = static[(static[:, -1] >= low) & (static[:, -1] < high)]
    step = moves[(moves[:, -1] >= min(low, BINS[BINS.index(CLOSE_PX) - 1])) & (moves[:, -1] < high)]
    place, size = of[:, :2].var(axis=0).mean(), of[:, 2:4].var(axis=0).mean()
    place_jitter, size_jitter, label_jitter = (step[:, k : k + 2].var(axis=0).mean() / 2 for k in (0, 2, 4))
    return {
        "size_px": float(np.median(of[:, -1])),
        "objects": len(of),
        "pairs": len(step),
        "miss": float(missed[(missed[:, 0] >= low) & (missed[:, 0] < high), 1].mean()),
        "position_jitter": float(np.sqrt(place_jitter)),
        "position_bias": float(np.sqrt(max(place - place_jitter, 0))),
        "size_jitter": float(np.sqrt(size_jitter)),
        "size_bias": float(np.sqrt(max(size - size_jitter - label_jitter, 0))),
        "label_jitter": float(np.sqrt(label_jitter)),
        "scores": _quantiles(of[:, 4]),
    }


def _size(frame: Frame, label: int) -> float:
    return float(sizes(frame.labels[label : label + 1])[0])


def _quantiles(values) -> list[float]:
    return np.quantile(values, QUANTILES).tolist() if len(values) else [0.5] * len(QUANTILES)


@one_sentence
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with labelled images")
    parser.add_argument("--val", default="val_flights.json")
    parser.add_argument("--also", default="val.json", help="split for more pairs (default %(default)s)")
    parser.add_argument("--ignore", action="append", default=["DontCare"], metavar="CLASS")
    parser.add_argument("--model", type=Path, default=Path("models/uav_thermal"), help="bundle (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "noise.json", help="default %(default)s")
    args = parser.parse_args(argv)
    bundle = open_bundle(args.model)
    score = bundle.thresholds["score"]
    weak = bundle.thresholds.get("weak_score", score)
    data, more = (read_dataset(args.data, v, None, tuple(args.ignore), bundle.labels) for v in (args.val, args.also))
    known = {s.path for s in data.samples}
    more.samples = [s for s in more.samples if s.path not in known]
    detector = Detector(bundle, OnnxRuntimeEngine(bundle.file("fp32")), score_threshold=min(weak, score))
    about = {
        "model": bundle.name,
        "data": data.name,
        "pairs_from": more.name,
        "images": len(data),
        "score": score,
        "weak_score": weak,
        "nms_iou": bundle.thresholds["nms_iou"],
    }
    views = look(detector, bundle, data), look(detector, bundle, more), look_closely(detector, bundle, data)
    result = measure(*views)
    result |= lengths(detector, bundle, data, result["size_bias"][BINS.index(FIRST[0])])
    result = {k: np.round(v, 4).tolist() for k, v in result.items()}
    for key, value in result.items():
        print(f"{key:<20}", np.round(value, 3))
    write_text(args.out, json.dumps(about | result, indent=1) + "\n")
    print(json.dumps(about | result))


if __name__ == "__main__":
    main()
