"""Bundle + engine -> boxes: letterbox, infer, decode, non-maximum suppression, box voting.

The offline evaluation uses this file too, so what was evaluated is what flies.
"""

import time

import cv2
import numpy as np

from . import slices
from .boxes import iou
from .errors import EngineError, ImageError
from .images.formats import to_gray
from .images.look import Look

MAX_CANDIDATES = 1000  # boxes that enter NMS; the best-scored are kept
VOTE = 0.5  # share of a kept box's score that gives its rivals a vote on where it is
MAX_LOG_SIZE = 6.0  # exp(6) strides: larger than any image, and finite


class Detections:
    """What one image holds: boxes (n, 4) float32 x1 y1 x2 y2 in pixels, scores (n,) float32, classes (n,) int64."""

    __slots__ = ("boxes", "scores", "classes")

    def __init__(self, boxes, scores, classes):
        self.boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        self.scores = np.asarray(scores, np.float32).reshape(-1)
        self.classes = np.asarray(classes, np.int64).reshape(-1)

    def __len__(self):
        return len(self.scores)


class Letterbox:
    """Fits any image into the model's input: scaled to fit, top-left aligned, the rest left at the mean (zero).

    Args:
        spec: the bundle's `input`: width, height, color, mean, std.

    Attributes:
        invert (bool): dark and bright are exchanged on the way.
        filled: (height, width) of the batch that the newest image takes.
    """

    def __init__(self, spec):
        self.width, self.height, self.color = spec["width"], spec["height"], spec["color"]
        self._gain = [1.0 / (255.0 * std) for std in spec["std"]]  # (u8 / 255 - mean) / std = u8 * gain + offset
        self._offset = [-float(mean) / std for mean, std in zip(spec["mean"], spec["std"])]
        self.batch = np.zeros((1, len(self._gain), self.height, self.width), np.float32)
        self.invert, self.filled = False, (self.height, self.width)
        self._gray = self._scaled = None  # written anew by every image; another size replaces them
        self._halves = []  # so are these: half the size, a quarter, ...

    def __call__(self, image, order):
        """Returns (batch, scale): float32 (1, C, H, W), which the next call overwrites; model pixels per source pixel.

        Args:
            image: uint8 (H, W) if order is 'mono', (H, W, 3) if it is 'rgb' or 'bgr'.
        """
        if image.dtype != np.uint8 or image.ndim != (2 if order == "mono" else 3) or not image.size:
            raise ImageError("order '{}' does not fit an image of {} {}".format(order, image.dtype, image.shape))
        height, width = image.shape[:2]
        scale = min(self.width / float(width), self.height / float(height))
        w = min(self.width, max(1, int(round(width * scale))))
        h = min(self.height, max(1, int(round(height * scale))))
        if self.color == "gray" and order != "mono":
            image = self._gray = to_gray(image, order, self._gray)
        image = self._halve(image, scale)
        if (h, w) != image.shape[:2]:
            image = self._scaled = cv2.resize(image, (w, h), self._scaled, interpolation=cv2.INTER_LINEAR)
        if (h, w) != self.filled:
            self.batch[:] = 0.0
            self.filled = (h, w)
        self._fill(image, order, self.batch[0, :, :h, :w])
        return self.batch, scale

    def _halve(self, image, scale):
        """Halve until linear interpolation skips no pixel, and with it no small person: from half the size on.

        Means of 2 x 2 pixels are several times as fast as OpenCV's area interpolation by any other factor. An odd last
        row or column is left out: less than a pixel of the model's input.
        """
        done = 0
        while scale <= 0.5:
            height, width = max(1, image.shape[0] // 2), max(1, image.shape[1] // 2)
            if done == len(self._halves):
                self._halves.append(None)
            even, out = image[: 2 * height, : 2 * width], self._halves[done]
            image = self._halves[done] = cv2.resize(even, (width, height), out, interpolation=cv2.INTER_AREA)
            scale, done = 2 * scale, done + 1
        return image

    def _fill(self, image, order, out):
        """Normalise the image's planes into `out`, float32 (C, h, w), in the model's order: one pass for each."""
        planes = [image] * len(out) if image.ndim == 2 else cv2.split(image)
        for i, plane in enumerate(planes[::-1] if order == "bgr" else planes):
            gain, offset = self._gain[i], self._offset[i]
            if self.invert:  # (255 - u8) * gain + offset
                gain, offset = -gain, offset + 255.0 * gain
            cv2.addWeighted(plane, gain, plane, 0.0, offset, out[i], cv2.CV_32F)


def grid_points(width, height, strides):
    """Centres and strides of the head's points, float32 (N, 3) rows x, y, stride in model pixels.

    Order: level by level as in `strides`, each level row by row, as the head flattens its maps.
    """
    levels = []
    for s in strides:
        ys, xs = np.mgrid[0 : height // s, 0 : width // s].astype(np.float32)
        levels.append(np.stack([(xs + 0.5) * s, (ys + 0.5) * s, np.full_like(xs, s)], -1).reshape(-1, 3))
    return np.concatenate(levels)


def decode_boxes(raw, points):
    """(dx, dy, log w, log h) in strides around their points -> x1 y1 x2 y2 in model pixels; (n, 4) each."""
    stride = points[:, 2:]
    centers = points[:, :2] + raw[:, :2] * stride
    half = 0.5 * np.exp(np.minimum(raw[:, 2:], MAX_LOG_SIZE)) * stride
    return np.concatenate([centers - half, centers + half], 1)


def nms(boxes, scores, classes, overlap):
    """Class-wise greedy non-maximum suppression; returns the kept indices, best score first."""
    if len(boxes) == 0:
        return np.zeros(0, np.int64)
    # Classes are moved apart so that one pass serves all of them.
    shifted = boxes + (classes * (float(np.abs(boxes).max()) * 2 + 1))[:, None].astype(np.float32)
    order = np.argsort(-scores, kind="mergesort")
    x1, y1, x2, y2 = shifted[order].T
    area = (x2 - x1) * (y2 - y1)
    w = np.minimum(x2[:, None], x2) - np.maximum(x1[:, None], x1)
    h = np.minimum(y2[:, None], y2) - np.maximum(y1[:, None], y1)
    inter = np.maximum(w, 0) * np.maximum(h, 0)
    apart = inter <= overlap * (area[:, None] + area - inter)
    keep, free = [], np.ones(len(order), bool)
    for i in range(len(order)):
        if free[i]:
            keep.append(i)
            free &= apart[i]
    return order[keep]


def vote(kept, boxes, scores, classes, overlap):
    """Box voting (Gidaris and Komodakis, arXiv 1505.01749): averages the boxes of all points that saw the object.

    Args:
        kept: indices of the boxes that suppression left. boxes, scores, classes: those that `kept` indexes.
        overlap: from it on a box of the same class, and of at least VOTE times the score, has a vote.

    Returns:
        (len(kept), 4): the mean of those who vote, weighted by score.
    """
    votes = (iou(boxes[kept], boxes) > overlap) & (classes[kept][:, None] == classes)  # (k, n)
    weights = np.where(votes & (scores >= VOTE * scores[kept][:, None]), scores, 0)
    weights[np.arange(len(kept)), kept] = scores[kept]  # at least its own, whatever overlap says
    return weights.dot(boxes) / weights.sum(1, keepdims=True)


class Detector:
    """A bundle's model on one engine. The thresholds may be changed between calls.

    Args:
        bundle: a `vit_perception.bundles.bundle.Bundle`.
        engine: what `open_engine` returned for it.
        score_threshold, nms_iou, max_detections: None takes the bundle's.

    Attributes:
        input (dict): the bundle's: what its images are to be.
        invert_image (bool): whether dark and bright are exchanged first, for a camera that shows warm things dark.
        slices (str): how large images are cut, see slices.py; ValueError if it is set to what that does not know.
        slices_per_frame (int): so many of the slices are looked at in one image, in turn; 0: all.
        looked_at, passed_over (list of (x1, y1, x2, y2)): slices that the last image was, and was not, looked at in.
        look (Look or None): compares the images with those that the model was trained on, if the bundle tells of them.
        stage_ms (dict): milliseconds of letterbox, infer and decode in the last call.
    """

    def __init__(self, bundle, engine, score_threshold=None, nms_iou=None, max_detections=None):
        limits = bundle.thresholds
        self.score_threshold = limits["score"] if score_threshold is None else score_threshold
        self.nms_iou = limits["nms_iou"] if nms_iou is None else nms_iou
        self.max_detections = limits["max_detections"] if max_detections is None else max_detections
        self.input = bundle.input
        self.stage_ms = {}
        self._engine = engine
        self.slices, self.slices_per_frame = "1x1", 0
        self.looked_at, self.passed_over, self._next_slice = [], [], 0
        self._letterbox = Letterbox(bundle.input)
        self.look = Look(bundle.input) if "look" in bundle.input else None
        self._points = grid_points(bundle.input["width"], bundle.input["height"], bundle.head["strides"])
        self._classes = len(bundle.labels)
        if tuple(engine.input_shape) != self._letterbox.batch.shape:
            raise EngineError(
                "the engine takes {} but bundle.json says {}; write the bundle again".format(
                    tuple(engine.input_shape), self._letterbox.batch.shape
                )
            )

    @property
    def invert_image(self):
        return self._letterbox.invert

    @invert_image.setter
    def invert_image(self, value):
        self._letterbox.invert = value

    @property
    def slices(self):
        return self._slices

    @slices.setter
    def slices(self, text):
        self._grid, self._slices = slices.parse(text), text

    def detect(self, image, order):
        """Find objects in one image: in each of its slices, or those whose turn it is, and in the whole.

        Args:
            image: uint8 (H, W) if order is 'mono', (H, W, 3) if it is 'rgb' or 'bgr'.

        Returns:
            Detections in pixels of `image`, clipped to it, best score first.

        Raises:
            ImageError: image and order do not fit together. EngineError: the engine failed, or gave no numbers.
        """
        height, width = image.shape[:2]
        self.stage_ms = dict.fromkeys(("letterbox", "infer", "decode"), 0.0)
        parts = []
        every = slices.plan(self._grid, width, height, self.input["width"], self.input["height"])
        self.looked_at, self.passed_over = slices.in_turn(every, self.slices_per_frame, self._next_slice)
        self._next_slice = (self._next_slice + len(self.looked_at)) % max(1, len(every))
        for x1, y1, x2, y2 in self.looked_at:
            found = self._look_at(image[y1:y2, x1:x2].copy(), order)
            boxes = found.boxes + np.array([x1, y1, x1, y1], np.float32)
            keep = slices.uncut(boxes, (x1, y1, x2, y2), width, height)
            parts.append((boxes[keep], found.scores[keep], found.classes[keep]))
        whole = self._look_at(image, order, judge=True)
        return self._merge(parts, whole) if parts else whole

    def _look_at(self, image, order, judge=False):
        """Detections in one image as a whole. judge: compare it with the training images."""
        t0 = time.perf_counter()
        batch, scale = self._letterbox(image, order)
        if judge and self.look is not None:
            self.look.add(batch[0], *self._letterbox.filled)
        t1 = time.perf_counter()
        outputs = self._engine.infer(batch)
        t2 = time.perf_counter()
        result = self.decode(outputs, scale, image.shape[1], image.shape[0])
        t3 = time.perf_counter()
        for name, seconds in (("letterbox", t1 - t0), ("infer", t2 - t1), ("decode", t3 - t2)):
            self.stage_ms[name] += 1e3 * seconds
        return result

    def _merge(self, parts, whole):
        """One of each object: those of the slices, then what the whole image shows beside them."""
        boxes, scores, classes = (np.concatenate(arrays) for arrays in zip(*parts))
        keep = nms(boxes, scores, classes, self.nms_iou)
        boxes, scores, classes = boxes[keep], scores[keep], classes[keep]
        new = slices.not_seen_yet(whole.boxes, whole.classes, boxes, classes)
        boxes, scores = np.concatenate([boxes, whole.boxes[new]]), np.concatenate([scores, whole.scores[new]])
        classes = np.concatenate([classes, whole.classes[new]])
        best = np.argsort(-scores, kind="mergesort")[: self.max_detections]
        return Detections(boxes[best], scores[best], classes[best])

    def decode(self, outputs, scale, width, height):
        """Raw outputs -> Detections in a source image of `width` x `height`.

        Raises:
            EngineError: outputs of wrong shapes, or not finite: taken as they are, NaN would say that nothing is there.
        """
        logits, raw = outputs["logits"][0], outputs["boxes"][0]  # (N, K), (N, 4)
        if logits.shape != (len(self._points), self._classes) or raw.shape != (len(self._points), 4):
            raise EngineError(
                "the model gives logits {} and boxes {} but bundle.json says {} points and {} classes; "
                "write the bundle again".format(logits.shape, raw.shape, len(self._points), self._classes)
            )
        if not (np.isfinite(logits).all() and np.isfinite(raw).all()):
            raise EngineError("the engine gives values that are not finite; prove it again: restart the node")
        t = min(max(self.score_threshold, 1e-6), 1 - 1e-6)
        low = VOTE * t  # so that what is found over a threshold does not depend on it
        point, cls = np.nonzero(logits >= np.log(low / (1 - low)))  # logits: sigmoid only for the few kept
        scores = 1.0 / (1.0 + np.exp(-logits[point, cls].astype(np.float32)))
        if len(scores) > MAX_CANDIDATES:
            top = np.argsort(-scores, kind="mergesort")[:MAX_CANDIDATES]
            point, cls, scores = point[top], cls[top], scores[top]
        boxes = decode_boxes(raw[point].astype(np.float32), self._points[point]) / scale
        limits = [width, height, width, height]
        boxes = np.clip(boxes, 0, limits).astype(np.float32)
        ok = np.isfinite(boxes).all(1) & (boxes[:, 2] - boxes[:, 0] > 0.5) & (boxes[:, 3] - boxes[:, 1] > 0.5)
        boxes, scores, cls = boxes[ok], scores[ok], cls[ok]
        able = np.flatnonzero(scores >= t)
        keep = able[nms(boxes[able], scores[able], cls[able], self.nms_iou)][: self.max_detections]
        voted = np.clip(vote(keep, boxes, scores, cls, self.nms_iou), 0, limits)  # a mean, but a rounded one
        return Detections(voted, scores[keep], cls[keep])
