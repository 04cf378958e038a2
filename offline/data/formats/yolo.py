"""YOLO txt folders: for each image a text file with lines `class cx cy w h`, fractions of the image's size.

Class names come from data.yaml (`names`, a list or {index: name}), else from obj.names or classes.txt. An image without
a text file shows nothing, as one with an empty file does. Layouts (yolo_layouts.py): images/train + labels/train,
train/images + train/labels, images + labels with lists of image files, or text files beside their images.
"""

import hashlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

from vit_perception.images.files import LFS_POINTER

from ..find import Finder, walk
from ..images import SUFFIXES
from ..text import decode_text, read_names
from .annotations import Annotations, Findings, Image, Label, measure
from .yolo_layouts import class_names, is_yolo, label_file, layout_of, places, splits

__all__ = ["is_yolo", "label_file", "read", "splits"]
IN_PIXELS = 2.0  # no fraction is as large, even of a box that reaches out of the image


def read(root: Path, split: str, findings: Findings) -> Annotations:
    """Read `split`: train, val or test of data.yaml, a folder of images, or a .txt list of image files."""
    names = class_names(root, findings)
    digest, images = hashlib.sha256("\n".join(names).encode()), []
    owners: dict[Path, Path] = {}
    for number, path in enumerate(_image_files(root, split, findings, owners)):
        size = measure(path, findings)
        if size is None:
            continue
        file = label_file(path)
        raw = file.read_bytes() if file.is_file() else b""
        if not file.is_file():
            findings.warn(path, "an image has no label file, so it is taken to show nothing", "else label it")
        digest.update(os.fsencode(path.name) + b"\0" + raw)
        labels = list(_labels(file, raw, size, names, findings))
        images.append(Image(path, number, *size, labels))
    return Annotations(root / split, f"{root.name}/{split}", names, images, digest.hexdigest(), layout=layout_of(root))


def _image_files(root: Path, split: str, findings: Findings, owners: dict[Path, Path]) -> list[Path]:
    """Images of a split, in the order of its list or by name."""
    found: list[Path] = []
    for place in places(root, split):
        if place.is_dir():
            folder = place / "images" if (place / "images").is_dir() else place
            inside = walk(folder, SUFFIXES)
            _tell_strays(folder, inside, findings)
            found += inside
        else:
            found += _listed(root, place, findings)
    unique = {os.path.normpath(path): path for path in reversed(found)}
    kept = [path for path in dict.fromkeys(found) if unique[os.path.normpath(path)] is path]
    for path in kept:
        first = owners.setdefault(label_file(path), path)
        if first != path:
            what = f"two images share one label file ({first.name} is the other)"
            findings.warn(path, what, "give them names of their own")
    return kept


def _tell_strays(folder: Path, images: list[Path], findings: Findings) -> None:
    """Label files of the folder whose image is missing: their boxes are lost, and nothing else tells."""
    used, around = {label_file(path) for path in images}, label_file(folder / "x.png").parent
    for file in walk(around, (".txt",)) if around.is_dir() else ():
        if file not in used and _is_label(file):
            what = "a label file has no image, so its boxes are left out"
            findings.warn(file, what, f"copy the image there, as {' '.join(SUFFIXES)}, or delete the file")
    for path in walk(folder, UNREAD):
        findings.warn(path, "an image is of a kind that is not read", "convert it to jpg or png")


UNREAD = (".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".raw", ".dng", ".seq", ".fff", ".csv", ".npy")


def _is_label(file: Path) -> bool:
    """Whether a text file begins as labels do."""
    try:
        with file.open("rb") as f:
            words = decode_text(f.read(400))[0].split("\n")[0].split()
        return len(words) >= 5 and all(math.isfinite(float(w)) for w in words[:5])
    except (OSError, ValueError):
        return False


def _listed(root: Path, path: Path, findings: Findings) -> Iterator[Path]:
    finder = Finder(findings)
    for name in read_names(path, findings):
        file = finder.find((path.parent, root, root / "images"), name)
        if file is None:
            what = f"an image that {path.name} lists is neither beside it nor in {root} nor in {root / 'images'}"
            findings.fault(name, what, "copy it there or drop it")
        else:
            yield file


def _labels(file: Path, raw: bytes, size: tuple[int, int], names: list[str], findings: Findings) -> Iterator[Label]:
    width, height = size
    if raw.startswith(LFS_POINTER):
        findings.fault(file, "a Git LFS pointer is in the place of a label file", "git lfs pull")
        return
    for number, line in enumerate(decode_text(raw)[0].splitlines(), 1):
        values = line.split()
        if not values:
            continue
        where = f"{file}:{number}"
        try:
            index, (cx, cy, w, h) = float(values[0]), (float(v) for v in values[1:])
        except ValueError:
            findings.fault(where, "a line is not 'class cx cy w h'", "export boxes, not segments or results")
            continue
        if not (index.is_integer() and 0 <= index < len(names)):
            known = f"0 to {len(names) - 1} are named"
            findings.fault(where, f"unknown class id {values[0]}: {known}", "name it in data.yaml or classes.txt")
        elif max(abs(cx), abs(cy), abs(w), abs(h)) > IN_PIXELS and math.isfinite(cx + cy + w + h):
            findings.fault(where, "coordinates are no fractions of the image", "divide by its width and height")
        else:
            box = (cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height
            yield Label(names[int(index)], box)
