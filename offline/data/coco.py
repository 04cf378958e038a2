"""COCO detection files (cocodataset.org, "Data format"): bbox = [left, top, width, height] in pixels from 0."""

import hashlib
import json
from pathlib import Path

from ..errors import DataError
from .annotations import Annotations, Findings, Image, Label, measure


def is_coco(root: Path, split: str) -> bool:
    return split.endswith(".json")


def splits(root: Path) -> list[str]:
    """Names of the splits that the folder holds."""
    return sorted(p.name for p in root.glob("*.json"))


def read(root: Path, split: str, findings: Findings) -> Annotations:
    """Read `split`, a .json in `root` (or a path); images lie in root/images or root."""
    path = root / split
    sha256, coco = _load(path)
    names = _names(path, coco["categories"])
    images = _images(path, root, coco["images"], findings)
    for entry in coco["annotations"]:
        _add(path, images, entry, names, findings)
    found = [image for image in images.values() if image]
    return Annotations(path, f"{root.name}/{path.name}", list(dict.fromkeys(names.values())), found, sha256)


def _load(path: Path) -> tuple[str, dict]:
    if not path.is_file():
        raise DataError(f"no annotation file at {path}; give the name of a COCO .json inside the data folder")
    raw = path.read_bytes()
    try:
        coco = json.loads(raw)
        for key in ("images", "annotations", "categories"):
            if not isinstance(coco[key], list):
                raise TypeError(f"'{key}' is not a list")
    except (ValueError, TypeError, KeyError) as e:
        raise DataError(f"{path} is not a COCO detection file ({type(e).__name__}: {e}); export it again") from e
    return hashlib.sha256(raw).hexdigest(), coco


def _names(path: Path, categories: list) -> dict:
    """{category id: class name}, in id order."""
    try:
        return {c["id"]: str(c["name"]) for c in sorted(categories, key=lambda c: c["id"])}
    except (KeyError, TypeError) as e:
        raise DataError(f"{path}: a category lacks id or name; export it again") from e


def _images(path: Path, root: Path, entries: list, findings: Findings) -> dict[int, Image | None]:
    """{image id: image}; None for one that has a fault."""
    images: dict[int, Image | None] = {}
    for entry in entries:
        try:
            name, key, size = str(entry["file_name"]), entry["id"], (int(entry["width"]), int(entry["height"]))
            twice = key in images
        except (KeyError, TypeError, ValueError, OverflowError):
            what = "an image entry lacks file_name, id, width or height"
            findings.fault(f"{path} ({entry!r:.120})", what, "export it again")
            continue
        if twice:
            what = "an image id is listed twice"
            findings.fault(f"{path}, image {key}", what, "give every image an id of its own")
            continue
        images[key] = None
        file = next((p for p in (root / "images" / name, root / name) if p.is_file()), None)
        if file is None:
            what = f"an image that {path.name} names is neither in {root / 'images'} nor in {root}"
            findings.fault(name, what, "copy it there or drop it")
        elif measure(file, findings, size):
            images[key] = Image(file, key, *size)
    return images


def _add(path: Path, images: dict, entry, names: dict, findings: Findings) -> None:
    """Give the annotation `entry` to its image."""
    try:
        known, category = entry["image_id"] in images, entry["category_id"]
        image, name = images.get(entry["image_id"]), names.get(category)
        x, y, w, h = (float(v) for v in entry["bbox"])
    except (KeyError, TypeError, ValueError):
        what = "an annotation lacks image_id, category_id or 4 numbers in bbox"
        findings.fault(f"{path} ({entry!r:.120})", what, "export it again")
        return
    if not known:
        where = f"{path}, annotation {entry.get('id')}"
        findings.fault(where, "an annotation belongs to an image that is not listed", "list it or drop the annotation")
    elif name is None:
        what = f"annotations have category id {category!r:.40}, which is not listed"
        findings.fault(path, what, "add it to 'categories'")
    elif image:
        image.labels.append(Label(name, (x, y, x + w, y + h), bool(entry.get("iscrowd"))))
