"""Objects of the training set, drawn so that rare classes are not rare, and pasted into crops where there was nothing.

A random crop of a flight holds few objects, and of rare classes hardly any: crops placed on drawn objects and copies
among other surroundings (Kisantal et al., "Augmentation for small object detection", arXiv 1902.07296) teach more per
step, and that an object is not its background.
"""

from dataclasses import replace

import cv2
import numpy as np

from ..data import Dataset

MARGIN = 0.2  # of an object's shorter side, and MARGIN_PIXELS: what is copied of its surroundings, to fade out in
MARGIN_PIXELS = 2.0
FADE = 0.15  # of a patch's shorter side: the rim over which it fades out
ZOOM = 0.2  # log of how much larger or smaller than its new surroundings a copy may be
COMPLETE = 0.6  # share of a neighbour's box that the copy must hold for the neighbour to be labelled too


class Objects:
    """All labelled objects on `images` (numbers of samples; None: all); a class with n of them is drawn as often as
    the root of n says."""

    def __init__(self, data: Dataset, images: list[int] | None = None):
        images = list(range(len(data))) if images is None else images
        self._places = [(i, k) for i in images for k in range(len(data.samples[i].boxes))]
        counts = replace(data, samples=[data.samples[i] for i in images]).counts()
        weights = np.array([counts[data.samples[i].classes[k]] ** -0.5 for i, k in self._places])
        self._cumulated = np.cumsum(weights) / max(weights.sum(), 1e-9)

    def __len__(self) -> int:
        return len(self._places)

    def draw(self, rng) -> tuple[int, int]:
        """Number of an image, and of a box in it."""
        return self._places[min(len(self) - 1, int(np.searchsorted(self._cumulated, rng.random())))]


def clip(boxes: np.ndarray, low, high) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) clipped to corners `low` and `high`, 4 numbers each, and the share of each one's area left (n,)."""
    clipped = np.clip(boxes, low, high)
    return clipped, area(clipped) / np.maximum(area(boxes), 1e-6)


def area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)


def cut(image: np.ndarray, boxes: np.ndarray, which: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The surroundings of box `which` -> patch (h, w[, 3]); the boxes (n, 4) it holds, clipped to it; their indices."""
    h, w = image.shape[:2]
    x1, y1, x2, y2 = boxes[which]
    margin = MARGIN_PIXELS + MARGIN * min(x2 - x1, y2 - y1)
    left, top = int(max(0, x1 - margin)), int(max(0, y1 - margin))
    right, bottom = int(min(w, x2 + margin + 1)), int(min(h, y2 + margin + 1))
    start, end = np.array([[left, top] * 2, [right, bottom] * 2], np.float32)
    inside, share = clip(boxes, start, end)
    held = np.flatnonzero(share >= COMPLETE)
    return image[top:bottom, left:right], inside[held] - start, held


def paste(rng, image: np.ndarray, taken: np.ndarray, patch: np.ndarray, boxes: np.ndarray, scale: float):
    """Put a copy of `patch` somewhere into `image`, which changes, mirrored or not.

    Its brightness is moved so that its rim is as bright as what it covers, and it fades out towards its edges.

    Args:
        taken: (n, 4) boxes of `image` that it may not cover. boxes: (m, 4) in the patch. scale: of the image's pixels.

    Returns:
        (m, 4) the boxes in the image; None if it is too large, or what it would cover is taken.
    """
    h, w = image.shape[:2]
    zoom = scale * float(np.exp(rng.uniform(-ZOOM, ZOOM)))
    ph, pw = (max(4, round(side * zoom)) for side in patch.shape[:2])
    if pw >= w or ph >= h:
        return None
    x, y = int(rng.integers(0, w - pw + 1)), int(rng.integers(0, h - ph + 1))
    if ((taken[:, :2] < [x + pw, y + ph]) & (taken[:, 2:] > [x, y])).all(1).any():
        return None
    stretch = np.array([pw / patch.shape[1], ph / patch.shape[0]] * 2, np.float32)
    boxes = boxes * stretch
    patch = cv2.resize(patch, (pw, ph), interpolation=cv2.INTER_AREA if zoom < 0.7 else cv2.INTER_LINEAR)
    patch = patch.astype(np.float32)
    if rng.random() < 0.5:
        patch = patch[:, ::-1]
        boxes[:, [0, 2]] = pw - boxes[:, [2, 0]]
    covered = image[y : y + ph, x : x + pw].astype(np.float32)
    rim = np.minimum.outer(_from_edge(ph), _from_edge(pw)) / max(1.0, FADE * min(ph, pw))
    shift = np.median(covered, (0, 1)) - np.median(patch[rim < 1], 0)
    share = np.clip(rim, 0, 1).astype(np.float32).reshape(ph, pw, *[1] * (patch.ndim - 2))
    image[y : y + ph, x : x + pw] = np.clip(covered + share * (patch + shift - covered), 0, 255)
    return boxes + np.array([x, y, x, y], np.float32)


def _from_edge(n: int) -> np.ndarray:
    """How many pixels the middle of each of n pixels is from the nearer end."""
    places = np.arange(n) + 0.5
    return np.minimum(places, n - places)
