"""How right class maps are, measured with the onboard code at the resolution of the masks.

The class map that the node publishes is enlarged to the mask's size, so that what a coarse head cannot show counts as
wrong. mIoU is the mean over the classes that the masks hold of intersection / union, each over all pixels of the set.
Boundary F1: a boundary pixel of a class is right where the other map has one of that class within 0.75% of the image's
diagonal (Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013), here counted over
the set. Pixels of no class are left out everywhere.
"""

import cv2
import numpy as np

from vit_perception.detector import Letterbox
from vit_perception.segmentation.class_map import class_map

from ..data import Dataset, read_image
from ..data.masks import read_mask
from ..data.masks.table import IGNORE
from ..progress import track

NEAR = 0.0075  # of the image's diagonal


class MaskScores:
    """Counts over a set of images. counts[a, b]: pixels of class a that were taken for b."""

    def __init__(self, classes: int):
        self.counts = np.zeros((classes, classes), np.int64)
        self._borders = np.zeros(
            (classes, 4), np.int64
        )  # right and all of what was said; found and all of what is there
        self.images = 0

    def add(self, truth: np.ndarray, said: np.ndarray) -> None:
        """truth, said: uint8 (H, W); truth may hold IGNORE."""
        classes = len(self.counts)
        known = truth != IGNORE
        pairs = truth[known].astype(np.int64) * classes + said[known]
        self.counts += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
        radius = max(1, round(NEAR * float(np.hypot(*truth.shape))))
        reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        judged = cv2.erode(known.astype(np.uint8), np.ones((3, 3), np.uint8))  # beside a pixel of no class is no border
        for c in set(np.unique(truth[known])) | set(np.unique(said[known])):
            mine, theirs = (_border(m == c) & judged for m in (said, truth))
            hits = (mine & cv2.dilate(theirs, reach), mine, theirs & cv2.dilate(mine, reach), theirs)
            self._borders[c] += [int(h.sum()) for h in hits]
        self.images += 1

    def figures(self, labels: list[str]) -> dict:
        """{"miou", "pixel_accuracy", "boundary_f1", "per_class": {label: {"iou", "pixels"}}, "images", "confusion"};
        None where nothing of it is in the set. confusion: rows what is there, columns what was said, pixels."""
        there, said, both = self.counts.sum(1), self.counts.sum(0), np.diag(self.counts)
        present = there > 0
        iou = both / np.maximum(there + said - both, 1)
        right, all_said, found, all_there = self._borders.T
        precision, recall = right / np.maximum(all_said, 1), found / np.maximum(all_there, 1)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
        some = bool(present.any())
        return {
            "miou": _round(iou[present].mean()) if some else None,
            "pixel_accuracy": _round(both.sum() / there.sum()) if some else None,
            "boundary_f1": _round(f1[present].mean()) if some else None,
            "per_class": {
                label: {"iou": _round(iou[c]) if present[c] else None, "pixels": int(there[c])}
                for c, label in enumerate(labels)
            },
            "images": self.images,
            "confusion": {"labels": labels, "counts": self.counts.tolist()},
        }


class Segmenter:
    """Images -> class maps, as the node makes them. engine: anything with `infer`. spec: the bundle's `input`."""

    def __init__(self, engine, spec: dict):
        self.engine, self.input, self._letterbox = engine, spec, Letterbox(spec)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """image: uint8 (H, W) or (H, W, 3) RGB, as `read_image` gives it -> uint8 (h', w')."""
        batch, _ = self._letterbox(image, "mono" if image.ndim == 2 else "rgb")
        logits = self.engine.infer(batch)["classes"][0]
        return class_map(logits, self._letterbox, image.shape[1], image.shape[0])


def measure_masks(segmenter: Segmenter, data: Dataset, label: str = "evaluate") -> dict:
    """What `MaskScores.figures` tells of `data`'s images that have a mask."""
    scores = MaskScores(len(data.segments))
    for s in track([s for s in data.samples if s.mask is not None], label):
        said = segmenter(read_image(s, segmenter.input["color"], segmenter.input))
        scores.add(read_mask(s), cv2.resize(said, (s.width, s.height), interpolation=cv2.INTER_NEAREST))
    return scores.figures(data.segments)


def beside_boxes(masks: dict) -> dict:
    """The figures of masks under names that the detector's do not take."""
    return {
        {"per_class": "mask_classes", "confusion": "mask_confusion"}.get(k, k): v
        for k, v in masks.items()
        if k != "images"
    }


def in_words(figures: dict) -> str:
    """The headline figures of a detector, of masks or of both."""
    names = {"map": "mAP", "map50": "mAP50", "miou": "mIoU", "boundary_f1": "boundary F1"}
    return ", ".join(
        f"{name} {figures[k]:.3f}" if figures[k] is not None else f"{name} -"
        for k, name in names.items()
        if k in figures
    )


MERITS = {"detect": "mAP50", "segment": "mIoU", "both": "mean of mAP50 and mIoU"}  # what a run chooses by, by its task


def merit(figures: dict) -> float:
    """The one figure that choices are made by: mAP50 of a detector, mIoU of masks, their mean of both."""
    parts = [figures[k] or 0.0 for k in ("map50", "miou") if k in figures]
    return sum(parts) / len(parts)


def worst(found: dict[str, dict]) -> str:
    """Of {set: figures} the one of the lowest `merit`."""
    return min(found, key=lambda name: merit(found[name]))


def _border(inside: np.ndarray) -> np.ndarray:
    """bool (H, W) -> uint8: pixels inside that touch what is not; the image's edge is no border."""
    return (inside & (cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)).astype(np.uint8)


def _round(value) -> float:
    return round(float(value), 4)
