"""Finds images that two splits share, exactly or nearly: figures on such a validation set flatter the model.

Twins have the same bytes. Near-twins have nearly the same difference hash: is the pixel to the right brighter, on a
13x12 thumbnail (Krawetz, "Kind of Like That", 2013, takes 9x8: too few bits for thermal images of low contrast).
On HIT-UAV frames one apart differ in 18 of 144 bits in the median (3 to 79: the drone moves), and the nearest training
image of another flight in 46 (34 in the nearest 5%).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from vit_perception.errors import ImageError
from vit_perception.images.files import decode_bytes, read_bytes

from ..errors import DataError
from .images import decode
from .sample import Dataset, Sample

SIDE = 12
NEAR_BITS = 28  # of 144
ROWS = 1024  # of the distance matrix at a time
SHOWN = 3
MOSTLY = 0.5  # of the images: a few copies flatter, which is warned of; figures on a set of copies mean nothing


@dataclass
class Fingerprints:
    """paths (n); sha256 of the files (n); bits: float32 (n, 144) of -1 or 1, so that products count equal bits."""

    paths: list[Path]
    sha256: np.ndarray
    bits: np.ndarray


def fingerprints(paths: list[Path]) -> Fingerprints:
    """Of all readable images among `paths`; the others are left out."""
    kept, digests, bits = [], [], []
    for path in paths:
        try:
            raw = read_bytes(path)
            image = _small(raw, path)
        except ImageError:
            continue
        thumbnail = cv2.resize(image, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA).astype(np.int16)
        kept.append(path)
        digests.append(hashlib.sha256(raw).hexdigest())
        bits.append(np.where(thumbnail[:, 1:] > thumbnail[:, :-1], 1, -1).ravel())
    return Fingerprints(kept, np.array(digests, str), np.array(bits, np.float32).reshape(-1, SIDE * SIDE))


def _small(raw: bytes, path: Path) -> np.ndarray:
    """Gray uint8, reduced where that is cheap. OpenCV reduces 16 bits to their high byte: mostly one value."""
    if raw.startswith((b"II", b"MM")) or (raw.startswith(b"\x89PNG") and raw[24:25] == b"\x10"):
        return decode(raw, path, "gray")
    return decode_bytes(raw, str(path), cv2.IMREAD_REDUCED_GRAYSCALE_8)


def nearest(a: Fingerprints, b: Fingerprints) -> tuple[np.ndarray, np.ndarray]:
    """For each image of `a`: index of the nearest in `b` and how many bits differ; int64 (len(a),) each."""
    index, distance = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for start in range(0, len(a.bits), ROWS):
        equal = a.bits[start : start + ROWS] @ b.bits.T  # (rows, len(b)): equal bits minus different ones
        best = equal.argmax(1)
        index.append(best)
        distance.append(((SIDE * SIDE - equal[np.arange(len(best)), best]) / 2).astype(np.int64))
    return np.concatenate(index), np.concatenate(distance)


@dataclass
class Leak:
    """How much of val is in train. pairs: (val, train) paths of twins and near-twins, nearest first."""

    images: int
    copies: int
    pairs: list[tuple[Path, Path]]

    @property
    def share(self) -> float:
        return len(self.pairs) / max(1, self.images)

    @property
    def mostly_copies(self) -> bool:
        """Whether figures on val would be those of the training images."""
        return self.copies > MOSTLY * self.images


def find_leak(train: Fingerprints, val: Fingerprints) -> Leak:
    if not len(train.paths) or not len(val.paths):
        return Leak(len(val.paths), 0, [])
    index, distance = nearest(val, train)
    where = {digest: i for i, digest in enumerate(train.sha256)}
    copies = [i for i, digest in enumerate(val.sha256) if digest in where]
    for i in copies:
        index[i], distance[i] = where[val.sha256[i]], -1
    near = [i for i in np.argsort(distance, kind="stable") if distance[i] <= NEAR_BITS]
    return Leak(len(val.paths), len(copies), [(val.paths[i], train.paths[index[i]]) for i in near])


def repeated(prints: Fingerprints) -> list[tuple[Path, Path]]:
    """(first, copy) of files with the same bytes within one split."""
    first: dict[str, Path] = {}
    pairs = [
        (first.setdefault(str(digest), path), path) for digest, path in zip(prints.sha256, prints.paths, strict=True)
    ]
    return [(a, b) for a, b in pairs if a != b]


def find_leaks(train: Dataset, measured: Iterable[Dataset]) -> Iterator[tuple[Dataset, Leak]]:
    """Those of `measured` of which images are, or nearly are, in train. About 1 ms an image."""
    prints = fingerprints([s.path for s in train.samples])
    for data in measured:
        leak = find_leak(prints, fingerprints([s.path for s in data.samples]))
        if leak.pairs:
            yield data, leak


def leak_warnings(train: Dataset, measured: Iterable[Dataset]) -> list[str]:
    """One sentence for each of `measured` of which images are, or nearly are, in train.

    Raises:
        DataError: most images of one of them are copies of training images.
    """
    lines = []
    for data, leak in find_leaks(train, measured):
        sentence = data.say("; ".join(describe(leak, train.name, data.name)))
        if leak.mostly_copies:
            raise DataError(sentence)
        lines.append(sentence)
    return lines


def unseen(train: Dataset, others: list[Dataset]) -> Dataset:
    """`train` without the images that one of `others` holds too, byte for byte.

    Raises:
        DataError: none is left.
    """
    held = {digest for data in others for _, digest in digests(data)}
    copies = {sample.path for sample, digest in digests(train) if digest in held}
    if len(copies) == len(train):
        names = ", ".join(d.name for d in others)
        raise DataError(train.say(f"every image of {train.name} is in {names} too: nothing to train on"))
    for number, part in enumerate(train.parts):
        if all(s.path in copies for s in train.samples if s.part == number):
            what = f"every image of {part.name} is in a validation set too: leave it out, or the validation set"
            raise DataError(train.say(what))
    left = sorted(p.name for p in copies)
    sha256 = hashlib.sha256(json.dumps([train.sha256, left]).encode()).hexdigest() if left else train.sha256
    return replace(train, samples=[s for s in train.samples if s.path not in copies], sha256=sha256)


def digests(data: Dataset) -> Iterator[tuple[Sample, str]]:
    """Each sample, and the sha256 of its image file."""
    return ((s, hashlib.sha256(s.path.read_bytes()).hexdigest()) for s in data.samples)


def describe(leak: Leak, train: str, val: str) -> tuple[str, str]:
    """What a leak is, and what to do."""
    few = ", ".join(f"{a.name} ~ {b.name}" for a, b in leak.pairs[:SHOWN])
    if leak.mostly_copies:
        what = f"{leak.copies} of {leak.images} images of {val} are copies of images that are trained on ({few})"
        return what, "split by flight or place, or leave them out of the training with --unseen"
    near = f"{len(leak.pairs)} of {leak.images} images of {val} ({leak.share:.0%}) have a near-twin in {train}"
    what = f"{near}, {leak.copies} of them a copy ({few})"
    return what, "figures on them flatter the model: split by flight or place"
