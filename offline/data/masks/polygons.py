"""COCO's segmentations, polygons and run lengths, as masks of classes.

What no annotation covers is of the class BACKGROUND, the first. Where annotations overlap the smaller one is on top.
"""

from pathlib import Path

import numpy as np

from vit_perception.images.files import show

from ...errors import DataError
from ..formats import coco
from ..formats.coco_layouts import find_json
from .table import IGNORE, ClassTable

BACKGROUND = "background"


def read_polygons(root: Path, split: str) -> tuple[ClassTable, dict[int, list[dict]]] | None:
    """The classes of a COCO .json and its annotations with a segmentation, by the id of their image.

    None if it is no COCO set, or has none. Raises DataError.
    """
    path = find_json(root, split)
    if path is None:
        return None
    sha256, content = coco.load(path)
    names = list(dict.fromkeys(str(c["name"]).strip() for c in content["categories"] if "name" in c))
    of_id = {coco.identify(c["id"]): str(c["name"]).strip() for c in content["categories"]}
    keys = [coco.identify(i["id"]) for i in content["images"]]
    ids = {key: n if isinstance(key, str) else key for n, key in enumerate(keys)}  # as the reader of boxes has them
    found: dict[int, list[dict]] = {n: [] for n in ids.values()}
    count = 0
    for entry in content["annotations"]:
        try:
            image, name = ids[coco.identify(entry["image_id"])], of_id[coco.identify(entry["category_id"])]
        except (KeyError, TypeError):
            continue  # what is wrong with it the reader of boxes tells
        if entry.get("segmentation"):
            found[image].append({"name": name, "segmentation": entry["segmentation"]})
            count += 1
    if not count:
        return None
    table = [BACKGROUND, *(n for n in names if n != BACKGROUND)]
    return ClassTable(tuple(table), (None,) * len(table), tuple(range(len(table))), str(path), sha256), found


def draw_polygons(annotations: list[dict], becomes: dict[str, int], where: Path, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W): classes. becomes: class of each name. Raises DataError for a segmentation that is none."""
    from pycocotools import mask as rle

    width, height = size
    out = np.full((height, width), becomes.get(BACKGROUND, IGNORE), np.uint8)
    drawn = []
    for entry in annotations:
        shape = entry["segmentation"]
        try:
            if isinstance(shape, list):
                packed = rle.merge(rle.frPyObjects(shape, height, width))
            elif isinstance(shape["counts"], list):
                packed = rle.frPyObjects(shape, height, width)
            else:
                packed = {"size": shape["size"], "counts": shape["counts"].encode()}
            bits = rle.decode(packed)
            if bits.shape != (height, width):
                raise ValueError(f"it is {bits.shape[1]}x{bits.shape[0]}, the image {width}x{height}")
        except Exception as e:  # pycocotools raises several kinds
            raise DataError(
                f"{show(where)}: a segmentation of {entry['name']} is neither polygons nor run lengths ({e}); "
                "export the annotations again"
            ) from e
        drawn.append((int(bits.sum()), becomes[entry["name"]], bits.astype(bool)))
    for _, value, bits in sorted(drawn, key=lambda each: -each[0]):
        out[bits] = value
    return out
