"""Measure a bundle on labelled images with the very code that flies.

    python -m offline.evaluate --model models/NAME --data DIR --val F.json [--ignore DontCare] [--classes A,B]
                               [--format coco|yolo|voc] [--precision fp32|int8] [--score 0.01]

COCO mean average precision (mAP over IoU .50:.95, mAP50). Ignore regions count as COCO's crowd: what is found there is
neither right nor wrong. The last line is one JSON object.
"""

import argparse
import contextlib
import io
import json
import logging
from pathlib import Path

import numpy as np
import torch

from vit_perception.bundle import open_bundle
from vit_perception.detector import Detections, Detector
from vit_perception.engines import BACKENDS, PRECISIONS, open_engine

from .data import FORMATS, Dataset, read_dataset, read_image
from .errors import DataError, one_sentence
from .progress import track

EVALUATION_SCORE = 0.01  # the whole precision-recall curve counts, not one working point


class TorchEngine:
    """A torch model behind the engine interface, to measure a stage before it is exported."""

    name, precision, reason = "torch", "fp32", "offline"

    def __init__(self, model, width: int, height: int):
        self.model = model.eval()
        self.input_shape = (1, model.config()["channels"], height, width)

    def infer(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            logits, boxes = self.model(torch.from_numpy(batch).contiguous(memory_format=torch.channels_last))
        return {"logits": logits.numpy(), "boxes": boxes.numpy()}

    def close(self) -> None:
        pass


def coco_metrics(data: Dataset, results: list[Detections]) -> dict:
    """COCO figures of `results`, one per image of `data`, class indices those of `data.labels`.

    Returns:
        {"map", "map50", "per_class": {label: {"ap", "ap50", "boxes"}}, "images"}; a class without boxes has None.
    """
    precision = _precision(data, results)  # (IoU, recall, class)
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
    score, score50 = precision[:, :, present].mean(), precision[0][:, present].mean()
    return {"map": _round(score), "map50": _round(score50), "per_class": per_class, "images": len(data)}


def precision_recall(data: Dataset, results: list[Detections]) -> dict[str, np.ndarray]:
    """Curves at IoU .5: {label: precision (101,) at recalls 0, .01, ... 1}, of the classes that have boxes in `data`.

    The precision at a recall is the best at that recall or any higher one, as COCO interpolates it; its mean is AP50.
    """
    curves = _precision(data, results)[0]  # (recall, class)
    return {
        label: curves[:, c] for c, label in enumerate(data.labels) if any((s.classes == c).any() for s in data.samples)
    }


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
    """COCOeval's precision at all areas and 100 detections per image: (10 IoUs, 101 recalls, classes)."""
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
    results = [detector.detect(read_image(s, color), order) for s in track(data.samples, label)]
    return [keep_classes(r, labels, data.labels) for r in results]


def evaluate(detector: Detector, labels: list[str], color: str, data: Dataset, label: str = "evaluate") -> dict:
    """Run `detector` (classes `labels`) over `data` and score what `data.labels` names."""
    return coco_metrics(data, detect(detector, labels, color, data, label))


def _round(value) -> float:
    return round(float(value), 4)


def pick_classes(wanted: str | None, labels: list[str]) -> list[str]:
    """'A,B' -> ['A', 'B'], all labels if None. Raises DataError for a class the model does not have."""
    classes = wanted.split(",") if wanted else list(labels)
    for c in classes:
        if c not in labels:
            raise DataError(f"the model knows no class '{c}'; it knows: {', '.join(labels)}")
    return classes


def print_table(metrics: dict) -> None:
    print(f"{'class':<16}{'boxes':>7}{'AP':>8}{'AP50':>8}")
    for label, row in metrics["per_class"].items():
        cells = "".join(f"{row[k]:>8.3f}" if row[k] is not None else f"{'-':>8}" for k in ("ap", "ap50"))
        print(f"{label:<16}{row['boxes']:>7}{cells}")
    print(f"{'all':<16}{'':>7}{metrics['map']:>8.3f}{metrics['map50']:>8.3f}")


@one_sentence
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m offline.evaluate", description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="folder of the bundle")
    parser.add_argument("--data", required=True, type=Path, help="folder with the images and their labels")
    parser.add_argument("--val", required=True, help="split to measure on: COCO .json, YOLO or VOC split")
    parser.add_argument("--format", choices=sorted(FORMATS), help="how the data is labelled (default: found out)")
    parser.add_argument("--ignore", action="append", default=[], metavar="CLASS", help="class of ignore regions")
    parser.add_argument("--classes", help="comma-separated labels that count (default: all of the model's)")
    parser.add_argument("--backend", default="onnxruntime", choices=BACKENDS, help="default: onnxruntime")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="default: auto")
    parser.add_argument("--score", type=float, default=EVALUATION_SCORE, help="score threshold (default %(default)s)")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    bundle = open_bundle(args.model)
    classes = pick_classes(args.classes, bundle.labels)
    data = read_dataset(args.data, args.val, args.format, tuple(args.ignore), classes)
    print(data.summary())
    engine = open_engine(bundle, args.backend, args.precision)
    detector = Detector(bundle, engine, score_threshold=args.score)
    metrics = evaluate(detector, bundle.labels, bundle.input["color"], data)
    engine.close()
    print_table(metrics)
    print(
        json.dumps(
            {"model": bundle.name, "backend": engine.name, "precision": engine.precision, "data": data.name} | metrics
        )
    )


if __name__ == "__main__":
    main()
