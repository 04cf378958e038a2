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
from ..data.masks import read_mask
from ..data.masks.table import IGNORE
from . import sensor as sensors
from .copy_paste import Objects, area, clip, cut, paste
from .dense_loss import DenseLoss

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
        sensor: shares of the crops that look as if other cameras had made them.
        dense: what is asked of a dense head, where the data has masks; it goes with the batches.

    Of several sets in one (`data.parts`) each crop, all of a mosaic and what is pasted into it come from one alone: the
    classes that it does not label may be anywhere in it.
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
        sensor: sensors.Sensor | None = None,
        dense: DenseLoss | None = None,
    ):
        self.data, self.color, self.crop, self.batch, self.scale = (
            data,
            spec["color"],
            tuple(crop),
            batch,
            tuple(scale),
        )
        self._spec, self.dense = spec, dense
        self.mosaic, self.photometric, self.seed, self.close = mosaic, photometric, seed, close
        self.sensor = sensor or sensors.Sensor()
        parts = [[i for i, s in enumerate(data.samples) if s.part == n] for n in range(max(1, len(data.parts)))]
        self._images = parts  # numbers of the samples of each set
        self._shares = np.cumsum([part.share for part in data.parts])
        self._objects = [Objects(data, images) for images in parts] if objects or pasted else []
        self._on_object, self._pasted = objects, pasted
        self.places = range(batch)  # of the batch, that this loader makes
        self._mean = np.asarray(spec["mean"], np.float32).reshape(-1, 1, 1)
        self._std = np.asarray(spec["std"], np.float32).reshape(-1, 1, 1)
        self._fill = [float(255 * m) for m in spec["mean"]]
        self._cache: dict[int, np.ndarray] = {}
        self._masks: dict[int, np.ndarray] = {}
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
        """The batch of `step`: images (B, C, h, w); boxes (B, M, 4), labels (B, M; -1 pads), ignore (B, I, 4).

        Of data with masks also mask (B, h, w) uint8: classes, 255 where nothing is said.
        With `sensor` also clean (B, C, h, w): the images as the teacher's camera shows them. Of several sets also
        unlabelled and told, bool (B, K): classes that a crop's set does not label, and those that the teacher tells.
        """
        rngs = [np.random.default_rng((self.seed, step, i)) for i in self.places]
        parts = [self._part(rng) for rng in rngs]
        crops = [self._crop(rng, mosaic, part) for rng, part in zip(rngs, parts, strict=True)]
        batch = {
            "images": _stack([c[0] for c in crops]),
            "boxes": torch.from_numpy(_pad([c[2] for c in crops], 0.0)),
            "labels": torch.from_numpy(_pad([c[3] for c in crops], -1)),
            "ignore": torch.from_numpy(_pad([c[4] for c in crops], 0.0)),
        }
        if self.data.segments:
            batch["mask"] = torch.from_numpy(np.stack([c[5] for c in crops]))
        if self.sensor.looks():
            batch["clean"] = _stack([c[1] for c in crops])
        return batch | self._words(parts)

    def _part(self, rng) -> int:
        """Number of the set that a crop is taken from."""
        if len(self._images) == 1:
            return 0
        return min(int(np.searchsorted(self._shares, rng.random() * self._shares[-1])), len(self._images) - 1)

    def _words(self, parts: list[int]) -> dict[str, torch.Tensor]:
        """What is said about the classes of crops from the sets `parts`; {} if there is one set."""
        if not self.data.parts:
            return {}
        unlabelled = np.zeros((len(parts), len(self.data.labels)), bool)
        told = np.ones_like(unlabelled)
        for n, part in enumerate(self.data.parts[p] for p in parts):
            unlabelled[n, list(part.unlabelled)] = True
            if part.teacher != "all":
                told[n] = unlabelled[n] & (part.teacher == "unlabelled")
        words = {"unlabelled": torch.from_numpy(unlabelled), "told": torch.from_numpy(told)}
        if specialists := self.data.specialists():
            names = ["", *specialists]
            words["taught_by"] = torch.tensor([names.index(self.data.parts[p].taught_by) for p in parts])
        return words

    def _crop(self, rng, mosaic: float, part: int):
        if self.close and rng.random() < self.close:
            crop = self._one(rng, self.crop, part, zoom=float(np.exp(rng.uniform(0, np.log(CLOSE)))))
        else:
            crop = self._mosaic(rng, part) if rng.random() < mosaic else self._one(rng, self.crop, part)
        return self._finish(rng, *crop)

    def _image(self, index: int) -> np.ndarray:
        image = self._cache.get(index)
        if image is None:
            image = read_image(self.data.samples[index], self.color, self._spec)
            if self._room > image.nbytes:
                self._room -= image.nbytes
                self._cache[index] = image
        return image

    def _mask(self, index: int) -> np.ndarray:
        """The mask of a sample; of data without masks a pixel that nobody looks at."""
        if not self.data.segments:
            return np.full((1, 1), IGNORE, np.uint8)
        mask = self._masks.get(index)
        if mask is None:
            mask = read_mask(self.data.samples[index])
            if self._room > mask.nbytes:
                self._room -= mask.nbytes
                self._masks[index] = mask
        return mask

    def _one(self, rng, size, part: int, zoom=1.0):
        """A crop of `size` = (w, h) from a random image of a set: image, boxes, classes, ignore regions, mask."""
        box = None
        if self._objects and self._on_object and rng.random() < self._on_object:
            index, box = self._objects[part].draw(rng)
        else:
            index = self._images[part][int(rng.integers(len(self._images[part])))]
        image, sample = self._image(index), self.data.samples[index]
        scale = zoom * float(np.exp(rng.uniform(*np.log(self.scale))))
        scales = scale * np.array(sensors.aspect(rng, self.sensor))  # along x and y
        full = sample.width, sample.height
        room = [(min(0.0, c - s * f), max(0.0, c - s * f)) for c, s, f in zip(size, scales, full, strict=True)]
        if box is None:
            tx, ty = (rng.uniform(*r) for r in room)
        else:  # its centre lies anywhere but at the very edge
            middle = scales * 0.5 * (sample.boxes[box, :2] + sample.boxes[box, 2:])
            tx, ty = (
                float(np.clip(rng.uniform(0.1, 0.9) * c - m, *r)) for c, m, r in zip(size, middle, room, strict=True)
            )
        half = 0.5 * scales - 0.5  # OpenCV's pixel centres are at whole numbers, boxes count edges
        warp = np.array([[scales[0], 0, tx + half[0]], [0, scales[1], ty + half[1]]], np.float64)
        interpolation = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
        image = cv2.warpAffine(
            image, warp, size, flags=interpolation, borderMode=cv2.BORDER_CONSTANT, borderValue=self._fill
        )
        nearest = {"flags": cv2.INTER_NEAREST, "borderMode": cv2.BORDER_CONSTANT, "borderValue": IGNORE}
        mask = cv2.warpAffine(self._mask(index), warp, size, **nearest)
        move = np.array([tx, ty, tx, ty], np.float32)
        scales = np.tile(scales, 2).astype(np.float32)
        boxes, classes, ignore = sample.boxes * scales + move, sample.classes, sample.ignore * scales + move
        if self._objects and self._pasted:
            boxes, classes = self._paste(rng, self._objects[part], image, boxes, classes, ignore, scale)
        return *clip_boxes(image, boxes, classes, ignore), mask

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

    def _mosaic(self, rng, part: int):
        """Four crops around a random centre: more objects, more contexts, more sizes per step (Bochkovskiy et al.)."""
        w, h = self.crop
        cx, cy = int(w * rng.uniform(0.3, 0.7)), int(h * rng.uniform(0.3, 0.7))
        canvas = np.empty((h, w) if self.color == "gray" else (h, w, 3), np.uint8)
        mask, parts = np.empty((h, w), np.uint8), []
        for x1, y1, x2, y2 in ((0, 0, cx, cy), (cx, 0, w, cy), (0, cy, cx, h), (cx, cy, w, h)):
            image, boxes, classes, ignore, shown = self._one(rng, (x2 - x1, y2 - y1), part, zoom=0.8)
            canvas[y1:y2, x1:x2], mask[y1:y2, x1:x2] = image, shown
            move = np.array([x1, y1, x1, y1], np.float32)
            parts.append((boxes + move, classes, ignore + move))
        return (canvas, *(np.concatenate(p) for p in zip(*parts, strict=True)), mask)

    def _finish(self, rng, image, boxes, classes, ignore, mask):
        boxes, ignore = boxes.copy(), ignore.copy()
        h, w = image.shape[:2]
        for axis, size in ((0, w), (1, h)):
            if rng.random() < 0.5:
                image, mask = np.flip(image, 1 - axis), np.flip(mask, 1 - axis)
                for b in (boxes, ignore):
                    b[:, [axis, axis + 2]] = size - b[:, [axis + 2, axis]]
        x = image.astype(np.float32)
        x = x[None] if x.ndim == 2 else x.transpose(2, 0, 1)
        x = sensors.photometric(rng, x / 255, self.photometric)
        seen = sensors.apply(rng, x, self.sensor)
        return (seen - self._mean) / self._std, (x - self._mean) / self._std, boxes, classes, ignore, mask


def clip_boxes(image, boxes, classes, ignore):
    """Clip to the image; boxes that are mostly outside become ignore regions, vanished ones go."""
    h, w = image.shape[:2]
    limit = np.array([w, h, w, h], np.float32)
    (clipped, visible), (regions, _) = clip(boxes, 0, limit), clip(ignore, 0, limit)
    small = (np.minimum(clipped[:, 2] - clipped[:, 0], clipped[:, 3] - clipped[:, 1]) < 2) | (visible < MIN_VISIBLE)
    regions = np.concatenate([regions[area(regions) > 0], clipped[small & (area(clipped) > 0)]])
    return image, clipped[~small], classes[~small], regions.astype(np.float32)


def _stack(images: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).contiguous(memory_format=torch.channels_last)


def _pad(rows: list[np.ndarray], value) -> np.ndarray:
    """Stack arrays of different lengths, at least one row long, padded with `value`."""
    length = max(1, *(len(r) for r in rows))
    out = np.full((len(rows), length, *rows[0].shape[1:]), value, rows[0].dtype)
    for target, row in zip(out, rows, strict=True):
        target[: len(row)] = row
    return out
