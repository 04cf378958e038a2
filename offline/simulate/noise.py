"""The committed detector's noise, put on exact boxes.

    noise = DetectorNoise()
    for boxes, classes, ids in frames:
        detections = noise.apply(boxes, classes, rng, dt, ids)

noise.json holds what offline/simulate/measure_noise.py measured of the detector that ships: which, on what, how often.
What stays with an object is the rest of the variance less the labels' own jitter, so it holds what stays wrong with
the labels. The largest objects there are 100 px; how often larger ones are found, how well and with what scores was
measured on enlarged images. What changes from frame to frame is theirs in proportion to their size: a guess.
"""

import json
from dataclasses import dataclass
from math import erf, sqrt
from pathlib import Path

import numpy as np

from vit_perception.detector import Detections, nms

MEASURED = json.loads((Path(__file__).parent / "noise.json").read_text(encoding="utf-8"))
SCORE = MEASURED["score"]  # what starts a track; what is weaker, down to the bundle's weak_score, only continues one
# Columns belong to these sizes sqrt(w h), px; between them linear, beyond them as at the end.
SIZE_PX = MEASURED["size_px"]
# Standard deviations, parts of the box's size (position) or of its width and height (log).
SIZE_JITTER, SIZE_BIAS = MEASURED["size_jitter"], MEASURED["size_bias"]
POSITION_JITTER, POSITION_BIAS = MEASURED["position_jitter"], MEASURED["position_bias"]
MISS = MEASURED["miss"]
ASPECT_CORRELATION = MEASURED["aspect_correlation"]  # of the errors of log width and log height
# Rendered flights at 15 Hz: the jitter of 11 to 22 px objects correlates by 0.37 to 0.0 from frame to frame, that of
# larger ones by 0.0 to 0.12.
JITTER_TIME_S = 0.05
# What was missed is missed again in the neighbouring frame with about 0.7: part of it stays with the object.
MISS_STAYS = 0.6
NMS_IOU = MEASURED["nms_iou"]
# Scores of what was found, a row for each size; scores and sizes of what is false.
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
SCORES = np.array(MEASURED["scores"])
FALSE_PER_IMAGE = MEASURED["false_per_image"]  # of 640 x 512
FALSE_SIZES, FALSE_SCORES = MEASURED["false_size_px"], MEASURED["false_score"]
FALSE_CLASSES = np.divide(MEASURED["false_classes"], sum(MEASURED["false_classes"]))  # Person, Car, Bicycle
FALSE_AGAIN = MEASURED["false_again"]  # found at the same place in the neighbouring frame: clutter, not noise
FALSE_LIFE_S = 2.0  # how long such clutter stays in view; a guess


# Over how much growth (log) half or so of what stays with an object changes: it does not look the same from near.
BIAS_LENGTH, EASE_LENGTH = MEASURED["bias_length"], MEASURED["ease_length"]


@dataclass
class _Object:
    """What stays with one object: bias (4,), the jitter's state (4,), its ease of being found and that one's jitter;
    and the size (px) that it had."""

    size: float

    bias: np.ndarray
    jitter: np.ndarray
    ease: float
    mood: float


class DetectorNoise:
    """Misses, jitter, scores and false positives. One instance is one flight: it remembers the objects by their ids.

    Args:
        width, height: of the image, px.
        strength: multiplies jitter and bias. misses, false_positives: multiply their rates; 0 is none.
    """

    def __init__(
        self,
        width: int = 640,
        height: int = 512,
        strength: float = 1.0,
        misses: float = 1.0,
        false_positives: float = 1.0,
    ):
        self.width, self.height = width, height
        self.strength, self.misses, self.false_positives = strength, misses, false_positives
        self._objects: dict[int, _Object] = {}
        self._clutter: list[tuple[int, np.ndarray, int]] = []  # id, box (4,), class; their ids are negative
        self._made = 0

    def apply(self, boxes, classes, rng: np.random.Generator, dt: float, ids=None) -> Detections:
        """Detections of one frame, best score first.

        Args:
            boxes: (n, 4) x1, y1, x2, y2 px, exact and clipped to the image. classes: (n,).
            dt: seconds since the frame before; errors correlate over JITTER_TIME_S.
            ids: (n,) whose errors stay with them; None: by their place in `boxes`.
        """
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        names = [int(i) for i in (range(len(boxes)) if ids is None else ids)]
        found = [
            self._detect(box, int(c), self._object(name, rng, dt, _size(box)), rng, self.misses * at(MISS, _size(box)))
            for box, c, name in zip(boxes, classes, names, strict=True)
        ]
        found += self._false(rng, dt)
        rows = np.array([f for f in found if f is not None], np.float64).reshape(-1, 6)
        kept = rows[nms(rows[:, :4].astype(np.float32), rows[:, 4], rows[:, 5], NMS_IOU)]
        return Detections(kept[:, :4], kept[:, 4], kept[:, 5])

    def with_clutter(self, boxes, ids) -> tuple[np.ndarray, list[int]]:
        """Boxes (n, 4) and ids of a frame, and those of the clutter in it, which stands still in the image."""
        names, places = [c[0] for c in self._clutter], [c[1] for c in self._clutter]
        both = np.concatenate([np.reshape(boxes, (-1, 4)), np.reshape(places, (-1, 4))])
        return both, [int(i) for i in ids] + names

    def _object(self, name: int, rng: np.random.Generator, dt: float, size: float) -> _Object:
        if name not in self._objects:
            self._objects[name] = _Object(size, _errors(rng), _errors(rng), rng.normal(), rng.normal())
        one = self._objects[name]
        grown, one.size = abs(np.log(max(size, 1.0) / max(one.size, 1.0))), size
        keep = np.exp(-grown / BIAS_LENGTH)
        one.bias = keep * one.bias + sqrt(1 - keep**2) * _errors(rng)
        keep = np.exp(-grown / EASE_LENGTH)
        one.ease = keep * one.ease + sqrt(1 - keep**2) * rng.normal()
        keep = np.exp(-max(dt, 0.0) / JITTER_TIME_S)
        one.jitter = keep * one.jitter + sqrt(1 - keep**2) * _errors(rng)
        one.mood = keep * one.mood + sqrt(1 - keep**2) * rng.normal()
        return one

    def _detect(self, box, class_index: int, one: _Object, rng, miss: float, scores=None):
        """x1, y1, x2, y2, score, class of one object, or None if it is missed."""
        quantile = _normal_cdf(sqrt(MISS_STAYS) * one.ease + sqrt(1 - MISS_STAYS) * one.mood)
        if quantile < miss:
            return None
        size = _size(box)
        if scores is None:
            scores = [at(column, size) for column in SCORES.T]
        score = np.interp((quantile - miss) / max(1 - miss, 1e-9), QUANTILES, scores)
        w, h = box[2] - box[0], box[3] - box[1]
        place = at(POSITION_BIAS, size) * one.bias[:2] + at(POSITION_JITTER, size) * one.jitter[:2]
        grown = at(SIZE_BIAS, size) * one.bias[2:] + at(SIZE_JITTER, size) * one.jitter[2:]
        centre = 0.5 * (box[:2] + box[2:]) + self.strength * place * (w, h)
        half = 0.5 * np.array([w, h]) * np.exp(self.strength * grown)
        limit = [self.width, self.height]
        noisy = np.concatenate([np.clip(centre - half, 0, limit), np.clip(centre + half, 0, limit)])
        if noisy[2] - noisy[0] <= 0.5 or noisy[3] - noisy[1] <= 0.5:
            return None
        return [*noisy, score, class_index]

    def _false(self, rng: np.random.Generator, dt: float) -> list:
        """Clutter comes and goes; where it stands it is found in part of the frames."""
        wanted = self.false_positives * FALSE_PER_IMAGE / FALSE_AGAIN
        gone = 1 - np.exp(-max(dt, 0.0) / FALSE_LIFE_S)
        stays = [c for c in self._clutter if rng.random() >= gone]
        for name in {c[0] for c in self._clutter} - {c[0] for c in stays}:
            self._objects.pop(name, None)
        births = rng.poisson(wanted * (gone if self._made else 1.0))
        self._clutter = stays + [self._clutter_box(rng) for _ in range(births)]
        return [
            self._detect(box, c, self._object(name, rng, dt, _size(box)), rng, 1 - FALSE_AGAIN, FALSE_SCORES)
            for name, box, c in self._clutter
        ]

    def _clutter_box(self, rng: np.random.Generator) -> tuple[int, np.ndarray, int]:
        self._made += 1
        size = np.interp(rng.random(), QUANTILES, FALSE_SIZES)
        aspect = np.exp(rng.normal(0, 0.3))
        half = 0.5 * size * np.array([aspect, 1 / aspect])
        centre = rng.uniform(half, np.maximum([self.width, self.height] - half, half + 1e-6))
        return -self._made, np.concatenate([centre - half, centre + half]), int(rng.choice(3, p=FALSE_CLASSES))


def _errors(rng: np.random.Generator) -> np.ndarray:
    """Unit normal errors of x, y, log w, log h; the last two correlate."""
    e = rng.normal(size=4)
    e[3] = ASPECT_CORRELATION * e[2] + sqrt(1 - ASPECT_CORRELATION**2) * e[3]
    return e


def at(values, size: float) -> float:
    return float(np.interp(size, SIZE_PX, values))


def _size(box) -> float:
    return sqrt(max((box[2] - box[0]) * (box[3] - box[1]), 1e-9))


def _normal_cdf(x: float) -> float:
    return 0.5 * (1 + erf(x / sqrt(2)))
