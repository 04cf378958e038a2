"""YOLO txt folders: for each image a text file with lines `class cx cy w h`, fractions of the image's size.

Class names come from data.yaml (`names`, a list or {index: name}), else from classes.txt. An image without a text file
shows nothing, as one with an empty file does. Layouts: images/train + labels/train, train/images + train/labels,
images + labels with lists of image files, or text files beside their images.
"""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import yaml

from ..errors import DataError
from .annotations import Annotations, Findings, Image, Label, measure
from .images import is_image

CLASS_FILES = ("data.yaml", "data.yml", "classes.txt", "labels/classes.txt")
IN_PIXELS = 2.0  # no fraction is as large, even of a box that reaches out of the image


def is_yolo(root: Path, split: str) -> bool:
    return any((root / name).is_file() for name in CLASS_FILES)


def splits(root: Path) -> list[str]:
    """Names of the splits that the folder holds."""
    described = [k for k in ("train", "val", "test") if _description(root).get(k)]
    folders = [p.name for p in (root / "images").glob("*") if p.is_dir()]
    lists = [p.name for p in root.glob("*.txt") if p.name != "classes.txt"]
    return sorted({*described, *folders, *lists})


def read(root: Path, split: str, findings: Findings) -> Annotations:
    """Read `split`: train, val or test of data.yaml, a folder of images, or a .txt list of image files."""
    names = _names(root)
    digest, images = hashlib.sha256("\n".join(names).encode()), []
    for number, path in enumerate(_image_files(root, split, findings)):
        size = measure(path, findings)
        if size is None:
            continue
        file = label_file(path)
        raw = file.read_bytes() if file.is_file() else b""
        digest.update(path.name.encode() + b"\0" + raw)
        labels = list(_labels(file, raw, size, names, findings))
        images.append(Image(path, number, *size, labels))
    return Annotations(root / split, f"{root.name}/{split}", names, images, digest.hexdigest())


def label_file(image: Path) -> Path:
    """labels/... for images/... (the last folder of that name), or beside the image."""
    parts = list(image.parts)
    if "images" in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index("images")
        file = Path(*parts[:last], "labels", *parts[last + 1 :]).with_suffix(".txt")
        if file.parent.is_dir():
            return file
    return image.with_suffix(".txt")


def _description(root: Path) -> dict:
    """data.yaml; empty if there is none."""
    path = next((root / n for n in CLASS_FILES[:2] if (root / n).is_file()), None)
    if path is None:
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as e:
        raise DataError(f"{path} is not YAML ({' '.join(str(e).split())}); correct it") from e
    if not isinstance(found, dict):
        raise DataError(f"{path} is no mapping with names, train and val; correct it")
    return found


def _names(root: Path) -> list[str]:
    names = _description(root).get("names")
    if isinstance(names, dict) and sorted(map(str, names)) == sorted(map(str, range(len(names)))):
        names = [name for _, name in sorted(names.items(), key=lambda item: int(item[0]))]
    if names is None:
        path = next((root / n for n in CLASS_FILES[2:] if (root / n).is_file()), None)
        if path is None:
            raise DataError(f"{root} names no classes; write them into data.yaml (names: [...]) or classes.txt")
        names = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        names = [name for name in names if name]
    if not isinstance(names, list) or not names:
        raise DataError(f"names in the data.yaml of {root} is no list and no {{0: name, 1: name, ...}}; correct it")
    names = [str(name) for name in names]
    if len(set(names)) < len(names):
        raise DataError(f"{root} gives one name to two classes ({', '.join(names)}); correct data.yaml or classes.txt")
    return names


def _image_files(root: Path, split: str, findings: Findings) -> list[Path]:
    """Images of a split, in the order of its list or by name."""
    found: list[Path] = []
    for place in _places(root, split):
        if place.is_dir():
            folder = place / "images" if (place / "images").is_dir() else place
            found += sorted(p for p in folder.rglob("*") if is_image(p))
        else:
            found += _listed(root, place, findings)
    return list(dict.fromkeys(found))


def _places(root: Path, split: str) -> list[Path]:
    """Folders and lists that make up a split."""
    description = _description(root)
    said = description.get(split)
    base = root / str(description.get("path") or "")
    if said is None:
        options = [root / "images" / split, root / split, root / f"{split}.txt"]
        place = next((p for p in options if p.exists()), None)
        if place is None:
            known = ", ".join(splits(root)) or "none"
            raise DataError(f"no split '{split}' in {root}; name a folder of images or a list of them; known: {known}")
        return [place]
    places = []
    for entry in said if isinstance(said, list) else [said]:
        inside = str(entry).replace("../", "")  # some exports count from a folder below the one of data.yaml
        options = [base / str(entry), root / str(entry), root / inside]
        place = next((p for p in options if p.exists()), None)
        if place is None:
            raise DataError(f"data.yaml says {split}: {entry}, but there is no {options[0]}; correct it")
        places.append(place)
    return places


def _listed(root: Path, path: Path, findings: Findings) -> Iterator[Path]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name = line.strip()
        if not name:
            continue
        options = (path.parent / name, root / name, root / "images" / name)
        file = next((p for p in options if p.is_file()), None)
        if file is None:
            what = f"an image that {path.name} lists is neither beside it nor in {root} nor in {root / 'images'}"
            findings.fault(name, what, "copy it there or drop it")
        else:
            yield file


def _labels(file: Path, raw: bytes, size: tuple[int, int], names: list[str], findings: Findings) -> Iterator[Label]:
    width, height = size
    for number, line in enumerate(raw.decode("utf-8", errors="replace").splitlines(), 1):
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
