"""VisDrone-DET as it is published: folders images and annotations, a text file for each image.

README of github.com/VisDrone/VisDrone2018-DET-toolkit: a line is left, top, width, height (pixels from 0), score,
category, truncation, occlusion. Score 0, category 0 (ignored regions) and category 11 (others) are left alone: ignore
regions. truncation: 0 none, 1 up to half of the object. occlusion: 0 none, 1 up to half, 2 more.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from ...errors import DataError
from ..find import walk
from ..images import SUFFIXES
from ..text import decode_text
from .annotations import REGION, Annotations, Findings, Image, Label, measure

CLASSES = [
    "pedestrian",
    "people",
    "bicycle",
    "car",
    "van",
    "truck",
    "tricycle",
    "awning-tricycle",
    "bus",
    "motor",
]  # categories 1 to 10
OTHERS = len(CLASSES) + 1
NAMED = {"train": "train", "val": "val", "valid": "val", "test": "test-dev", "test-dev": "test-dev"}


def is_visdrone(root: Path, split: str) -> bool:
    folder = _folder(root, split)
    return folder is not None and any(map(_is_line, _first_lines(folder)))


def splits(root: Path) -> list[str]:
    """Names of the splits that the folder holds."""
    return [name for name in ("train", "val", "test-dev") if is_visdrone(root, name)]


def read(root: Path, split: str, findings: Findings) -> Annotations:
    """Read `split`: train, val or test-dev of VisDrone2019-DET-*, or a folder with images and annotations."""
    folder = _folder(root, split)
    if folder is None:
        known = ", ".join(splits(root)) or "none"
        raise DataError(f"no folder of split '{split}' with images and annotations in {root}; known: {known}")
    digest, images = hashlib.sha256(b"visdrone"), []
    texts = {file.stem: file for file in walk(folder / "annotations", (".txt",))}
    for number, path in enumerate(walk(folder / "images", SUFFIXES)):
        file = texts.pop(path.stem, None)
        size = measure(path, findings)
        if file is None:
            findings.fault(path, "an image has no file in annotations", "copy it there, or delete the image")
        elif size is not None:
            raw = file.read_bytes()
            digest.update(os.fsencode(path.name) + b"\0" + raw)
            images.append(Image(path, number, *size, list(_labels(file, raw, findings))))
    for file in texts.values():
        findings.warn(file, "an annotation file has no image, so its boxes are left out", "copy the image there")
    return Annotations(folder, f"{root.name}/{split}", list(CLASSES), images, digest.hexdigest(), layout="visdrone")


def _folder(root: Path, split: str) -> Path | None:
    """The folder of a split, which holds images and annotations."""
    named = NAMED.get(split, split)
    options = [root / split, *sorted(root.glob(f"VisDrone*-DET-{named}")), root / f"VisDrone2019-DET-{named}"]
    options += sorted(p for p in root.glob(f"*/VisDrone*-DET-{named}"))
    options += sorted(p / p.name for p in root.glob(f"VisDrone*-DET-{named}"))  # unpacked into a folder of its own
    return next((p for p in options if (p / "images").is_dir() and (p / "annotations").is_dir()), None)


def _first_lines(folder: Path) -> Iterator[str]:
    for file in walk(folder / "annotations", (".txt",))[:20]:
        yield from decode_text(file.read_bytes())[0].splitlines()[:1]


def _numbers(line: str) -> list[int]:
    return [int(float(v)) for v in line.strip().rstrip(",").split(",")]


def _is_line(line: str) -> bool:
    try:
        return len(_numbers(line)) == 8
    except (ValueError, OverflowError):
        return False


def _labels(file: Path, raw: bytes, findings: Findings) -> Iterator[Label]:
    for number, line in enumerate(decode_text(raw)[0].splitlines(), 1):
        if not line.strip():
            continue
        if not _is_line(line):
            what = "a line is not 'left,top,width,height,score,category,truncation,occlusion'"
            findings.fault(f"{file}:{number}", what, "download it again")
            continue
        x, y, w, h, score, category, truncated, occluded = _numbers(line)
        box = (float(x), float(y), float(x + w), float(y + h))
        if not 0 <= category <= OTHERS:
            findings.fault(f"{file}:{number}", f"unknown category {category}: 0 to {OTHERS} are known", "correct it")
        elif score == 0 or category in (0, OTHERS):
            yield Label(REGION, box, True)
        else:
            yield Label(CLASSES[category - 1], box, False, occluded, truncated)
