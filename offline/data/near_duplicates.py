"""Finds images that two splits share, exactly or nearly: figures on such a validation set flatter the model.

Twins have the same bytes. Near-twins have nearly the same difference hash: is the pixel to the right brighter, on a
13x12 thumbnail (Krawetz, "Kind of Like That", 2013, takes 9x8: too few bits for thermal images of low contrast).
On HIT-UAV frames one apart differ in 18 of 144 bits in the median (3 to 79: the drone moves), and the nearest training
image of another flight in 46 (34 in the nearest 5%).
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from vit_perception.errors import ImageError
from vit_perception.images.files import decode_bytes, read_bytes

from ..errors import DataError
from .images import decode
from .sample import Dataset

SIDE = 12
NEAR_BITS = 28  # of 144
ROWS = 1024  # of the distance matrix at a time
SHOWN = 3


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


def leak_warning(train: Dataset, val: Dataset) -> str | None:
    """One sentence if images of val are, or nearly are, in train; None if not. About 1 ms an image."""
    leak = find_leak(fingerprints([s.path for s in train.samples]), fingerprints([s.path for s in val.samples]))
    return describe(leak, train.name, val.name) if leak.pairs else None


def unseen(train: Dataset, others: list[Dataset]) -> Dataset:
    """`train` without the images that one of `others` holds too, byte for byte.

    Raises:
        DataError: none is left.
    """
    held = {digest for data in others for _, digest in _digests(data)}
    copies = {path for path, digest in _digests(train) if digest in held}
    if len(copies) == len(train):
        raise DataError(
            f"every image of {train.name} is in {', '.join(d.name for d in others)} too: nothing to train on"
        )
    left = sorted(p.name for p in copies)
    sha256 = hashlib.sha256(json.dumps([train.sha256, left]).encode()).hexdigest() if left else train.sha256
    return replace(train, samples=[s for s in train.samples if s.path not in copies], sha256=sha256)


def _digests(data: Dataset) -> Iterator[tuple[Path, str]]:
    return ((s.path, hashlib.sha256(s.path.read_bytes()).hexdigest()) for s in data.samples)


def describe(leak: Leak, train: str, val: str) -> str:
    few = ", ".join(f"{a.name} ~ {b.name}" for a, b in leak.pairs[:SHOWN])
    return (
        f"{len(leak.pairs)} of {leak.images} images of {val} ({leak.share:.0%}) have a near-twin in {train}, "
        f"{leak.copies} of them a copy ({few}); figures on them flatter the model: split by flight or place"
    )
