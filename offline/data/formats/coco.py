"""COCO detection files (cocodataset.org, "Data format"): bbox = [left, top, width, height] in pixels from 0.

As tools and data sets publish them: where the .json and its images may lie is in coco_layouts.py. HIT-UAV's keys
(`filename`, `annotation`) are read too.
"""

import hashlib
import json
import os
import re
from pathlib import Path

from vit_perception.images.files import LFS_POINTER, show

from ...errors import DataError
from ..find import Finder, walk
from ..images import SUFFIXES
from ..text import decode_text
from .annotations import Annotations, Findings, Image, Label, flag, measure
from .coco_layouts import find_json, image_folders, layout_of, splits, subset_of

__all__ = ["is_coco", "read", "splits"]


def is_coco(root: Path, split: str) -> bool:
    return find_json(root, split) is not None


def read(root: Path, split: str, findings: Findings) -> Annotations:
    """Read `split`: a .json in `root` (or a path), or the name of a split of one of the layouts."""
    path = find_json(root, split) or root / split
    sha256, coco = load(path)
    names = _names(path, coco["categories"], findings)
    images = _images(path, root, coco["images"], findings)
    for entry in coco["annotations"]:
        _add(path, images, entry, names, findings)
    found = [image for image in images.values() if image]
    layout = layout_of(root, path, coco)
    _tell_strays(root, path, found, findings)
    listed = [n for n in dict.fromkeys(names.values()) if n not in _groups(coco, names)]
    return Annotations(path, f"{root.name}/{split}", listed, found, sha256, layout=layout)


def _tell_strays(root: Path, path: Path, found: list[Image], findings: Findings) -> None:
    """Images of the split's own folder that its file does not list."""
    used = {image.path for image in found}
    folders = {image.path.parent for image in found}
    for folder in folders if len(folders) == 1 else ():
        own = folder.name == subset_of(path) or subset_of(path) == folder.parent.name or path.parent == folder != root
        for stray in walk(folder, SUFFIXES) if own else ():
            if stray not in used:
                what = f"an image beside those that {path.name} lists is not listed, so it is left out"
                findings.warn(stray, what, "list it, without boxes if it shows none of the classes, or delete it")


def load(path: Path) -> tuple[str, dict]:
    if not path.is_file():
        raise DataError(f"no annotation file at {path}; give the name of a COCO .json inside the data folder")
    raw = path.read_bytes()
    if raw.startswith(LFS_POINTER):
        raise DataError(f"{path} is a Git LFS pointer, not the annotations; fetch them (git lfs pull)")
    try:
        coco = json.loads(decode_text(raw)[0])
        if not isinstance(coco, dict):
            raise TypeError("it is no object")
        if "annotation" in coco and "annotations" not in coco:  # HIT-UAV
            coco["annotations"] = coco["annotation"]
        for key in ("images", "annotations", "categories"):
            if not isinstance(coco[key], list):
                raise TypeError(f"'{key}' is not a list")
    except (ValueError, TypeError, KeyError, RecursionError) as e:
        raise DataError(f"{path} is not a COCO detection file ({type(e).__name__}: {e}); export it again") from e
    return hashlib.sha256(raw).hexdigest(), coco


def identify(value) -> int | str:
    """An id as it is compared: 1, 1.0 and "1" are the same. Raises TypeError for what is none."""
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,99}", value.strip()):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"{value!r} is no id")
    return value


def _names(path: Path, categories: list, findings: Findings) -> dict:
    """{category id: class name}, in id order."""
    names: dict[int | str, str] = {}
    for c in categories:
        try:
            key, name = identify(c["id"]), c["name"]
            if isinstance(name, bool) or not isinstance(name, str | int | float) or not str(name).strip():
                raise TypeError(f"its name is {name!r}")
            if show(name) != str(name):
                raise TypeError(f"its name {name!r} holds half a character")
        except (KeyError, TypeError) as e:
            raise DataError(f"{path}: a category lacks id or name ({c!r:.80}, {e}); export it again") from e
        name = str(name).strip()
        if names.setdefault(key, name) != name:
            raise DataError(
                f"{path}: category id {key} is both '{names[key]}' and '{name}'; give each an id of its own"
            )
    if len(set(names.values())) < len(names):
        twice = sorted({n for n in names.values() if list(names.values()).count(n) > 1})
        findings.warn(path, f"several category ids are named {', '.join(twice)}", "they are read as one class")
    return dict(sorted(names.items(), key=lambda item: (isinstance(item[0], str), item[0])))


def _groups(coco: dict, names: dict) -> set[str]:
    """Names that only group others: Roboflow lists its project so, with id 0 and no boxes."""
    above = [c.get("supercategory") for c in coco["categories"] if c["name"] != c.get("supercategory")]
    used = {str(a.get("category_id")).removesuffix(".0") for a in coco["annotations"] if isinstance(a, dict)}
    return {
        names[identify(c["id"])]
        for c in coco["categories"]
        if c.get("supercategory") == "none" and c["name"] in above and str(identify(c["id"])) not in used
    }


def _images(path: Path, root: Path, entries: list, findings: Findings) -> dict:
    """{image id: image}; None for one that has a fault."""
    images: dict[int | str, Image | None] = {}
    folders, finder, owners = image_folders(root, path), Finder(findings), dict[str, int | str]()
    for entry in entries:
        try:
            name, key = str(entry["file_name"] if "file_name" in entry else entry["filename"]), identify(entry["id"])
            sides = [entry.get(k) for k in ("width", "height")]
            size = None if None in sides else (int(float(sides[0])), int(float(sides[1])))
        except (KeyError, TypeError, ValueError, OverflowError):
            what = "an image entry lacks file_name, id, width or height"
            findings.fault(f"{path} ({entry!r:.120})", what, "export it again")
            continue
        if key in images:
            what = "an image id is listed twice"
            findings.fault(f"{path}, image {key}", what, "give every image an id of its own")
            continue
        images[key] = None
        file = finder.find(folders, name)
        if file is None:
            places = " nor in ".join(map(str, folders))
            findings.fault(name, f"an image that {path.name} names is neither in {places}", "copy it there or drop it")
            continue
        owner = owners.setdefault(os.path.normpath(file), key)
        if owner != key:
            what = "a file is listed under two ids, so its boxes are divided among them"
            findings.fault(f"{name} (ids {owner} and {key})", what, "list it once, with all its boxes")
        elif found := measure(file, findings, size):
            images[key] = Image(file, len(images) - 1 if isinstance(key, str) else key, *found)
    return images


def _add(path: Path, images: dict, entry, names: dict, findings: Findings) -> None:
    """Give the annotation `entry` to its image."""
    try:
        key, category = identify(entry["image_id"]), identify(entry["category_id"])
        if not isinstance(entry["bbox"], list):
            raise TypeError(f"bbox is {entry['bbox']!r:.40}, no list")
        x, y, w, h = (float(v) for v in entry["bbox"])
        attributes = entry.get("attributes") if isinstance(entry.get("attributes"), dict) else {}
        crowd = flag(entry.get("iscrowd", 0)) or flag(entry.get("ignore", 0))
        hidden = int(flag(attributes.get("occluded", 0)))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as e:
        what = "an annotation lacks image_id, category_id or 4 numbers in bbox, or its iscrowd is neither 0 nor 1"
        findings.fault(f"{path} ({entry!r:.120}; {e})", what, "export it again")
        return
    image, name = images.get(key), names.get(category)
    if key not in images:
        where = f"{path}, annotation {entry.get('id')}"
        findings.fault(where, "an annotation belongs to an image that is not listed", "list it or drop the annotation")
    elif name is None:
        what = f"annotations have category id {category!r:.40}, which is not listed"
        findings.fault(path, what, "add it to 'categories'")
    elif image:
        image.labels.append(Label(name, (x, y, x + w, y + h), crowd, hidden))
