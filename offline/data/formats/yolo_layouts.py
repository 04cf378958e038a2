"""Where YOLO data sets keep their class names, their splits and their labels.

The layouts are those of docs.ultralytics.com (data.yaml), docs.roboflow.com (train/images + train/labels, or labels
beside the images) and docs.cvat.ai ("YOLO 1.1": obj.data, obj.names, train.txt with paths as darknet saw them).
"""

import os
from functools import lru_cache
from pathlib import Path

import yaml

from vit_perception.images.files import LFS_POINTER, show

from ...errors import DataError
from ..text import decode_text, read_lines
from .annotations import Findings

DESCRIPTIONS = ("data.yaml", "data.yml", "dataset.yaml")
NAME_FILES = ("obj.names", "classes.txt", "labels/classes.txt", "_darknet.labels", "train/_darknet.labels")
USUAL = ("train", "val", "valid", "test")
NO_LISTS = ("classes.txt", "requirements.txt", "readme.txt", "readme.dataset.txt", "readme.roboflow.txt")


class _Plain(yaml.BaseLoader):
    """Values as they are written: YAML takes yes, no, on, off for booleans, 1.10 for a number, 12:30 for seconds."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((k for k in keys if keys.count(k) > 1), None)
        if twice is not None:
            raise yaml.YAMLError(f"'{twice}' is there twice")
        return super().construct_mapping(node, deep)


def is_yolo(root: Path, split: str) -> bool:
    return any((root / name).is_file() for name in DESCRIPTIONS + NAME_FILES)


def layout_of(root: Path) -> str:
    """The name of the layout, of FORMATS in read.py."""
    if (root / "obj.names").is_file():
        return "cvat-yolo"
    said = _description(root)
    return "roboflow-yolo" if "roboflow" in said or (root / "train" / "_darknet.labels").is_file() else "yolo"


def splits(root: Path) -> list[str]:
    """Names of the splits that the folder holds."""
    said = _description(root)
    described = [k for k in ("train", "val", "test") if said.get(k)]
    folders = [p.name for p in (root / "images").glob("*") if p.is_dir()]
    folders += [n for n in USUAL if (root / n).is_dir()]
    lists = [p.name for p in root.glob("*.txt") if p.name.lower() not in NO_LISTS]
    return sorted({*described, *folders, *lists})


def _description(root: Path) -> dict:
    """data.yaml; empty if there is none."""
    path = next((root / n for n in DESCRIPTIONS if (root / n).is_file()), None)
    if path is None:
        return {}
    raw = path.read_bytes()
    if raw.startswith(LFS_POINTER):
        raise DataError(f"{path} is a Git LFS pointer, not the description; fetch it (git lfs pull)")
    try:
        found = yaml.load(decode_text(raw)[0], Loader=_Plain)  # builds texts, lists and mappings only
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise DataError(f"{path} is not YAML ({' '.join(str(e).split())}); correct it") from e
    if not isinstance(found, dict):
        raise DataError(f"{path} is no mapping with names, train and val; correct it")
    return found


def class_names(root: Path, findings: Findings) -> list[str]:
    """Names of the classes in their order. Raises DataError."""
    said = _description(root)
    names = said.get("names")
    if isinstance(names, dict) and sorted(names) == sorted(map(str, range(len(names)))):
        names = [name for _, name in sorted(names.items(), key=lambda item: int(item[0]))]
    if names is None:
        path = next((root / n for n in NAME_FILES if (root / n).is_file()), None)
        if path is None:
            raise DataError(f"{root} names no classes; write them into data.yaml (names: [...]) or classes.txt")
        names = read_lines(path, findings)
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n.strip() for n in names):
        raise DataError(f"names in the data.yaml of {root} is no list and no {{0: name, 1: name, ...}}; correct it")
    names = [name.strip() for name in names]
    if odd := next((name for name in names if show(name) != name), None):
        raise DataError(f"the class name {odd!r} in {root} holds half a character; correct it")
    if len(set(names)) < len(names):
        raise DataError(f"{root} gives one name to two classes ({', '.join(names)}); correct data.yaml or classes.txt")
    count = said.get("nc", str(len(names)))
    if count != str(len(names)):
        findings.warn(root, f"data.yaml says nc: {count} but names {len(names)} classes", "the names count: correct it")
    return names


def places(root: Path, split: str) -> list[Path]:
    """Folders and lists that make up a split. Raises DataError."""
    said = _description(root)
    entries = said.get(split) or said.get({"val": "valid", "valid": "val"}.get(split, split))
    base = root / str(said.get("path") or "")
    if not entries:
        folders = (root / "images" / split, root / split, root / f"{split}.txt", root / f"obj_{split}_data")
        place = next((p for p in folders if p.exists()), None)
        if place is None:
            known = ", ".join(splits(root)) or "none"
            raise DataError(f"no split '{split}' in {root}; name a folder of images or a list of them; known: {known}")
        return [place]
    found = []
    for entry in entries if isinstance(entries, list) else [entries]:
        name = str(entry).replace("\\", "/")
        inside = name.replace("../", "")  # some exports count from a folder below the one of data.yaml
        options = [base / name, root / name, root / inside]
        options += [root / split / "images", root / split] if split in USUAL else []  # a path of another computer
        place = next((p for p in options if p.exists()), None)
        if place is None:
            raise DataError(f"data.yaml says {split}: {entry}, but there is no {options[0]}; correct it")
        found.append(place)
    return found


def label_file(image: Path) -> Path:
    """labels/... for images/... (the last folder of that name), or beside the image; the suffix in any case."""
    parts = list(image.parts)
    if "images" in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index("images")
        file = Path(*parts[:last], "labels", *parts[last + 1 :]).with_suffix(".txt")
        if file.parent.is_dir():
            return _in_any_case(file)
    return _in_any_case(image.with_suffix(".txt"))


def _in_any_case(file: Path) -> Path:
    """`file`, or the one in its folder whose suffix differs in case alone."""
    known = _texts(file.parent, _changed(file.parent))
    return file.parent / known.get(file.stem, file.name)


@lru_cache(maxsize=64)
def _texts(folder: Path, changed: float) -> dict[str, str]:
    """{stem: name} of the text files of a folder, .txt before .TXT."""
    names = sorted(n for n in os.listdir(folder) if n.lower().endswith(".txt")) if changed else []
    return {n[:-4]: n for n in names}  # sorted: lower case comes last, and wins


def _changed(folder: Path) -> float:
    try:
        return os.stat(folder).st_mtime_ns or 1
    except OSError:
        return 0
