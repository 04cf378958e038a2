"""How accurate detections are: COCO figures, recall at a false-positive rate, working points, curves.

COCO mean average precision (mAP over IoU .50:.95, mAP50), and what a search asks (working_point.py): the recall at half
a false positive per image; precision, recall, false positives and confusions at the bundle's own threshold. Ignore
regions count as COCO's crowd: what is found there is neither right nor wrong.
"""

import contextlib
import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from vit_perception.detector import Detections, Detector
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

from ..data import Dataset, read_image
from ..model.dense_head import output_names
from ..progress import track
from .subsets import Grouping
from .working_point import confusion, recall_at, working_point

TIED = 0.05  # share of the detections; the scores of a float model hardly ever agree
EVALUATION_SCORE = 0.01  # the whole precision-recall curve counts, not one working point


class TorchEngine:
    """A torch model behind the engine interface, to measure a stage before it is exported."""

    name, precision, reason = "torch", "fp32", "offline"

    def __init__(self, model, width: int, height: int):
        self.model, self._names = model.eval(), output_names(model.config())
        self.input_shape = (1, model.config()["channels"], height, width)

    def infer(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            outputs = self.model(torch.from_numpy(batch).contiguous(memory_format=torch.channels_last))
        return {name: value.numpy() for name, value in zip(self._names, outputs, strict=True)}

    def close(self) -> None:
        pass


def variant_engine(path: Path, variant: str) -> OnnxRuntimeEngine:
    """One of a bundle's files, to measure it: TensorRT's int8 is rounded in float, as no CPU computes it."""
    return OnnxRuntimeEngine(str(path), "int8" if variant == "int8_trt" else variant, rounded=variant == "int8_trt")


def make_detector(engine, labels: list[str], spec: dict, strides: list[int], thresholds: dict) -> Detector:
    """The onboard detector, with EVALUATION_SCORE, around a model that is in no bundle yet.

    Args:
        spec, strides, thresholds: what its bundle will hold as `input`, `head.strides` and `thresholds`.
    """
    bundle = SimpleNamespace(labels=labels, input=spec, head={"strides": strides}, thresholds=thresholds)
    return Detector(bundle, engine, score_threshold=EVALUATION_SCORE)


def coco_metrics(data: Dataset, results: list[Detections]) -> dict:
    """COCO figures of `results`, one per image of `data`, class indices those of `data.labels`.

    Returns:
        {"map", "map50", "per_class": {label: {"ap", "ap50", "boxes"}}, "images"}; a class without boxes has None.
    """
    return _coco_metrics(data, _precision(data, results))


def _coco_metrics(data: Dataset, precision: np.ndarray) -> dict:
    per_class, present = {}, []
    for c, label in enumerate(data.labels):
        boxes = sum(int((s.classes == c).sum()) for s in data.samples)
        ap, ap50 = precision[:, :, c].mean(), precision[0, :, c].mean()
        per_class[label] = {
            "ap": _round(ap) if boxes else None,
            "ap50": _round(ap50) if boxes else None,
            "boxes": boxes,
        }
        present += [c] if boxes else []
    score, score50 = (_round(p[..., present].mean()) if present else None for p in (precision, precision[0]))
    return {"map": score, "map50": score50, "per_class": per_class, "images": len(data)}


def precision_recall(data: Dataset, results: list[Detections]) -> dict[str, np.ndarray]:
    """Curves at IoU .5: {label: precision (101,) at recalls 0, .01, ... 1}, of the classes that have boxes in `data`.

    The precision at a recall is the best at that recall or any higher one, as COCO interpolates it; its mean is AP50.
    """
    return _curves(data, _precision(data, results))


def _curves(data: Dataset, precision: np.ndarray) -> dict[str, np.ndarray]:
    return {label: precision[0, :, c] for c, label in enumerate(data.labels) if data.counts()[c]}


def _coco_boxes(data: Dataset, results: list[Detections]) -> tuple[list[dict], list[dict]]:
    """Labels and detections as pycocotools wants them; ignore regions are crowds of every class."""
    truth: list[dict] = []
    found: list[dict] = []
    for image, (sample, result) in enumerate(zip(data.samples, results, strict=True)):
        rows = [(c, b, 0) for c, b in zip(sample.classes, sample.boxes, strict=True)]
        rows += [(c, b, 1) for c in range(len(data.labels)) for b in sample.ignore]
        for c, b, crowd in rows:
            entry = _coco_box(image, c, b)
            truth.append(entry | {"id": len(truth) + 1, "iscrowd": crowd, "area": entry["bbox"][2] * entry["bbox"][3]})
        for c, b, score in zip(result.classes, result.boxes, result.scores, strict=True):
            found.append(_coco_box(image, c, b) | {"score": float(score)})
    return truth, found


def _coco_box(image: int, category, box) -> dict:
    x1, y1, x2, y2 = (float(v) for v in box)
    return {"image_id": image, "category_id": int(category), "bbox": [x1, y1, x2 - x1, y2 - y1]}


def _precision(data: Dataset, results: list[Detections]) -> np.ndarray:
    """COCOeval's precision at all areas: (10 IoUs, 101 recalls, classes).

    It counts the best 100 detections of an image and class, as COCO does, but all where there are more: a detector that
    may find 300 things in an image is measured on 300.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found = _coco_boxes(data, results)
    if not found:
        return np.zeros((10, 101, len(data.labels)))
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i, "width": s.width, "height": s.height} for i, s in enumerate(data.samples)],
            "annotations": truth,
            "categories": [{"id": c, "name": label} for c, label in enumerate(data.labels)],
        }
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(found), "bbox")
        run.params.maxDets = [1, 10, max(100, *(len(r) for r in results))]
        run.evaluate()
        run.accumulate()
    return run.eval["precision"][:, :, :, 0, 2]


def keep_classes(result: Detections, labels: list[str], wanted: list[str]) -> Detections:
    """Detections of the `wanted` labels only, their class indices those of `wanted`."""
    index = np.array([wanted.index(label) if label in wanted else -1 for label in labels])[result.classes]
    return Detections(result.boxes[index >= 0], result.scores[index >= 0], index[index >= 0])


def detect(detector: Detector, labels: list[str], color: str, data: Dataset, label: str) -> list[Detections]:
    """What `detector` (classes `labels`) finds of `data.labels` on every image; class indices are those of `data`."""
    order = "mono" if color == "gray" else "rgb"
    results = [detector.detect(read_image(s, color, detector.input), order) for s in track(data.samples, label)]
    return [keep_classes(r, labels, data.labels) for r in results]


def evaluate(detector: Detector, labels: list[str], color: str, data: Dataset, label: str = "evaluate") -> dict:
    """Run `detector` (classes `labels`) over `data` and score what `data.labels` names."""
    return coco_metrics(data, detect(detector, labels, color, data, label))


def measure(
    detector: Detector,
    labels: list[str],
    color: str,
    data: Dataset,
    score: float,
    grouping: Grouping | None = None,
    label: str = "evaluate",
    results: list[Detections] | None = None,
) -> dict:
    """`evaluate`, and all that `figures` tells, of the whole of `data` and of each group of its images.

    Args:
        detector: with a low threshold, EVALUATION_SCORE, so that the whole curve is seen.
        score: the working point. Detections over it are what a detector with that threshold gives: suppression and the
            limit of detections go best score first.
        results: what this detector has already found on `data`.

    Returns:
        What `figures` returns, and "groups": {grouping: {group: the same without "curves" and "confusion"}}; a group
        without boxes has None for its mAP. "remarks": sentences, see `remarks`.

    Raises:
        DataError: `grouping` does not fit the file names; before any image is read.
    """
    groupings = (grouping or Grouping()).split(data)
    if results is None:
        results = detect(detector, labels, color, data, label)
    found = figures(data, results, score) | {"groups": {}}
    found["remarks"] = remarks(data, results, detector.max_detections)
    for name, groups in groupings.items():
        found["groups"][name] = {}
        for group, images in groups.items():
            part = replace(data, samples=[data.samples[i] for i in images])
            row = figures(part, [results[i] for i in images], score)
            found["groups"][name][group] = {k: v for k, v in row.items() if k not in ("curves", "confusion")}
    return found


def remarks(data: Dataset, results: list[Detections], max_detections: int) -> list[str]:
    """What the figures cannot tell: a sentence each."""
    found = []
    full = sum(len(s.boxes) > max_detections for s in data.samples)
    if full:
        found.append(
            f"{full} {'image holds' if full == 1 else 'images hold'} more objects than the {max_detections} detections "
            "that an image may have (thresholds.max_detections): the rest counts as missed"
        )
    scores = np.concatenate([r.scores for r in results]) if results else np.zeros(0)
    _, counts = np.unique(scores, return_counts=True)
    tied = int(counts[counts > 1].sum())
    if tied > TIED * len(scores):
        found.append(
            f"{tied} of {len(scores)} detections have the very score of another one: their order, and with it the "
            "average precision, is by chance"
        )
    missing = [label for label, n in zip(data.labels, data.counts(), strict=True) if not n]
    if missing:
        found.append(f"{data.name} has no {', '.join(missing)}: nothing is known of how well they are found")
    return found


def figures(data: Dataset, results: list[Detections], score: float) -> dict:
    """What `coco_metrics` returns, and:

    "recall_at": see working_point.recall_at. "working_point": {"score"} and what working_point.working_point returns.
    "confusion": {"labels": the classes and background, "counts": rows what is there, columns what was said}.
    "curves": {label: precision at recalls 0, .01, ... 1}, see precision_recall.
    """
    precision = _precision(data, results)
    counts = confusion(data, results, score)
    return _coco_metrics(data, precision) | {
        "recall_at": recall_at(data, results),
        "working_point": {"score": score} | working_point(counts, data.labels, len(data)),
        "confusion": {"labels": [*data.labels, "background"], "counts": counts.tolist()},
        "curves": {label: np.round(p, 3).tolist() for label, p in _curves(data, precision).items()},
    }


def _round(value) -> float:
    return round(float(value), 4)
