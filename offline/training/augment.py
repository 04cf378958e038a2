"""Training crops: random scale and position, on objects or anywhere, mosaic, objects pasted in, flips, and the changes
of light and sensor that flights bring.

Crop i of batch `step` follows from (seed, step, i) alone: a resumed run sees exactly the batches it would have seen,
and processes that share out a batch make the crops that one process would have made.
"""

import contextlib
import copy
import queue
import threading
from collections.abc import Iterator

import cv2
import numpy as np
import torch

from ..data import Dataset, read_image
from .copy_paste import Objects, area, clip, cut, paste

MIN_VISIBLE = 0.4  # a box of which a crop leaves less becomes an ignore region
CLOSE = 4.0  # how much further a close crop may be enlarged
CACHE_BYTES = 3 << 30


class Loader:
    """Batches of augmented crops, prepared one ahead in a thread.

    Args:
        data: what to draw from. spec: the bundle's `input` (color, mean, std, high_bit_depth).
        crop: (width, height), multiples of 32. batch: crops per batch.
        scale: (low, high) of the random zoom. mosaic: probability. photometric: strength, 0 is off.
        seed: with the step and the place in the batch, it determines a crop.
        objects: share of the crops that are placed on an object (training/copy_paste.py), the others lie anywhere.
        pasted: up to so many further objects are pasted into a crop, and into each part of a mosaic.
        close: share of the crops that are enlarged by up to CLOSE more; those are no mosaics.
    """

    def __init__(
        self,
        data: Dataset,
        spec: dict,
        crop,
        batch: int,
        scale,
        mosaic: float,
        photometric: float,
        seed: int,
        objects: float = 0.0,
        pasted: int = 0,
        close: float = 0.0,
    ):
        self.data, self.color, self.crop, self.batch, self.scale = (
            data,
            spec["color"],
            tuple(crop),
            batch,
            tuple(scale),
        )
        self._spec = spec
        self.mosaic, self.photometric, self.seed, self.close = mosaic, photometric, seed, close
        self._objects = Objects(data) if objects or pasted else None
        self._on_object, self._pasted = objects, pasted
        self.places = range(batch)  # of the batch, that this loader makes
        self._mean = np.asarray(spec["mean"], np.float32).reshape(-1, 1, 1)
        self._std = np.asarray(spec["std"], np.float32).reshape(-1, 1, 1)
        self._fill = [float(255 * m) for m in spec["mean"]]
        self._cache: dict[int, np.ndarray] = {}
        self._room = CACHE_BYTES

    def share(self, rank: int, count: int) -> "Loader":
        """A loader of the same batches that makes only the rank-th of `count` equal parts of each."""
        part = copy.copy(self)
        size = self.batch // count
        part.places = range(rank * size, (rank + 1) * size)
        return part

    def batches(self, start: int, stop: int, mosaic_until: int) -> Iterator[dict[str, torch.Tensor]]:
        """Batches of steps start..stop-1; mosaic is switched off from step `mosaic_until`."""
        ready: queue.Queue = queue.Queue(maxsize=3)
        halt = threading.Event()

        def work():
            try:
                for step in range(start, stop):
                    if halt.is_set():
                        return
                    ready.put(self.make(step, self.mosaic if step < mosaic_until else 0.0))
            except BaseException as e:  # handed to the consumer, which raises it
                ready.put(e)

        thread = threading.Thread(target=work, name="loader", daemon=True)
        thread.start()
        try:
            for _ in range(start, stop):
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            halt.set()
            while thread.is_alive():  # it may be waiting for room in the queue
                with contextlib.suppress(queue.Empty):
                    ready.get(timeout=0.1)

    def make(self, step: int, mosaic: float) -> dict[str, torch.Tensor]:
        """The batch of `step`: images (B, C, h, w); boxes (B, M, 4), labels (B, M; -1 pads), ignore (B, I, 4)."""
        crops = [self._crop(np.random.default_rng((self.seed, step, i)), mosaic) for i in self.places]
        images = torch.from_numpy(np.stack([c[0] for c in crops]))
        return {
            "images": images.contiguous(memory_format=torch.channels_last),
            "boxes": torch.from_numpy(_pad([c[1] for c in crops], 0.0)),
            "labels": torch.from_numpy(_pad([c[2] for c in crops], -1)),
            "ignore": torch.from_numpy(_pad([c[3] for c in crops], 0.0)),
        }

    def _crop(self, rng, mosaic: float):
        if self.close and rng.random() < self.close:
            crop = self._one(rng, self.crop, zoom=float(np.exp(rng.uniform(0, np.log(CLOSE)))))
        else:
            crop = self._mosaic(rng) if rng.random() < mosaic else self._one(rng, self.crop)
        return self._finish(rng, *crop)

    def _image(self, index: int) -> np.ndarray:
        image = self._cache.get(index)
        if image is None:
            image = read_image(self.data.samples[index], self.color, self._spec)
            if self._room > image.nbytes:
                self._room -= image.nbytes
                self._cache[index] = image
        return image

    def _one(self, rng, size, zoom=1.0):
        """A crop of `size` = (w, h) from a random image: image, boxes, classes, ignore regions."""
        box = None
        if self._objects and self._on_object and rng.random() < self._on_object:
            index, box = self._objects.draw(rng)
        else:
            index = int(rng.integers(len(self.data)))
        image, sample = self._image(index), self.data.samples[index]
        scale = zoom * float(np.exp(rng.uniform(*np.log(self.scale))))
        full = sample.width, sample.height
        room = [(min(0.0, c - scale * f), max(0.0, c - scale * f)) for c, f in zip(size, full, strict=True)]
        if box is None:
            tx, ty = (rng.uniform(*r) for r in room)
        else:  # its centre lies anywhere but at the very edge
            middle = scale * 0.5 * (sample.boxes[box, :2] + sample.boxes[box, 2:])
            tx, ty = (
                float(np.clip(rng.uniform(0.1, 0.9) * c - m, *r)) for c, m, r in zip(size, middle, room, strict=True)
            )
        half = 0.5 * scale - 0.5  # OpenCV's pixel centres are at whole numbers, boxes count edges
        warp = np.array([[scale, 0, tx + half], [0, scale, ty + half]], np.float64)
        interpolation = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
        image = cv2.warpAffine(
            image, warp, size, flags=interpolation, borderMode=cv2.BORDER_CONSTANT, borderValue=self._fill
        )
        move = np.array([tx, ty, tx, ty], np.float32)
        boxes, classes, ignore = sample.boxes * scale + move, sample.classes, sample.ignore * scale + move
        if self._objects and self._pasted:
            boxes, classes = self._paste(rng, self._objects, image, boxes, classes, ignore, scale)
        return clip_boxes(image, boxes, classes, ignore)

    def _paste(self, rng, objects: Objects, image, boxes, classes, ignore, scale):
        """Paste objects into `image`, beside what is there -> all boxes and classes."""
        for _ in range(int(rng.integers(self._pasted + 1))):
            index, which = objects.draw(rng)
            patch, copies, held = cut(self._image(index), self.data.samples[index].boxes, which)
            placed = paste(rng, image, np.concatenate([boxes, ignore]), patch, copies, scale)
            if placed is not None:
                boxes = np.concatenate([boxes, placed])
                classes = np.concatenate([classes, self.data.samples[index].classes[held]])
        return boxes, classes

    def _mosaic(self, rng):
        """Four crops around a random centre: more objects, more contexts, more sizes per step (Bochkovskiy et al.)."""
        w, h = self.crop
        cx, cy = int(w * rng.uniform(0.3, 0.7)), int(h * rng.uniform(0.3, 0.7))
        canvas = np.empty((h, w) if self.color == "gray" else (h, w, 3), np.uint8)
        parts = []
        for x1, y1, x2, y2 in ((0, 0, cx, cy), (cx, 0, w, cy), (0, cy, cx, h), (cx, cy, w, h)):
            image, boxes, classes, ignore = self._one(rng, (x2 - x1, y2 - y1), zoom=0.8)
            canvas[y1:y2, x1:x2] = image
            move = np.array([x1, y1, x1, y1], np.float32)
            parts.append((boxes + move, classes, ignore + move))
        return (canvas, *(np.concatenate(p) for p in zip(*parts, strict=True)))

    def _finish(self, rng, image, boxes, classes, ignore):
        boxes, ignore = boxes.copy(), ignore.copy()
        h, w = image.shape[:2]
        for axis, size in ((0, w), (1, h)):
            if rng.random() < 0.5:
                image = np.flip(image, 1 - axis)
                for b in (boxes, ignore):
                    b[:, [axis, axis + 2]] = size - b[:, [axis + 2, axis]]
        x = image.astype(np.float32)
        x = x[None] if x.ndim == 2 else x.transpose(2, 0, 1)
        x = photometric(rng, x / 255, self.photometric)
        return (x - self._mean) / self._std, boxes, classes, ignore


def photometric(rng, x: np.ndarray, strength: float) -> np.ndarray:
    """Gamma, contrast, brightness, blur and noise on (C, H, W) in 0..1: what thermal cameras change at will."""
    if strength <= 0:
        return x
    mean = x.mean()
    x = np.clip((x - mean) * np.exp(rng.normal(0, 0.25 * strength)) + mean + rng.normal(0, 0.08 * strength), 0, 1)
    if rng.random() < 0.5:
        x = x ** np.float32(np.exp(rng.normal(0, 0.3 * strength)))
    if rng.random() < 0.2 * strength:
        x = np.stack([cv2.GaussianBlur(c, (3, 3), rng.uniform(0.4, 1.0)) for c in x])
    if rng.random() < 0.5:
        noise = rng.standard_normal(x.shape, np.float32)
        x = x + noise * np.float32(rng.uniform(0, 0.04) * strength)
    return np.clip(x, 0, 1).astype(np.float32)


def clip_boxes(image, boxes, classes, ignore):
    """Clip to the image; boxes that are mostly outside become ignore regions, vanished ones go."""
    h, w = image.shape[:2]
    limit = np.array([w, h, w, h], np.float32)
    (clipped, visible), (regions, _) = clip(boxes, 0, limit), clip(ignore, 0, limit)
    small = (np.minimum(clipped[:, 2] - clipped[:, 0], clipped[:, 3] - clipped[:, 1]) < 2) | (visible < MIN_VISIBLE)
    regions = np.concatenate([regions[area(regions) > 0], clipped[small & (area(clipped) > 0)]])
    return image, clipped[~small], classes[~small], regions.astype(np.float32)


def _pad(rows: list[np.ndarray], value) -> np.ndarray:
    """Stack arrays of different lengths, at least one row long, padded with `value`."""
    length = max(1, *(len(r) for r in rows))
    out = np.full((len(rows), length, *rows[0].shape[1:]), value, rows[0].dtype)
    for target, row in zip(out, rows, strict=True):
        target[: len(row)] = row
    return out
