"""Masks for a data set: found, held against a class table, and attached to the samples."""

import colorsys
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vit_perception.images.files import show

from ...errors import DataError
from ..formats.annotations import Findings
from ..formats.masks import MaskFolder, masks_beside
from ..read import NO_RULES, Rules, read_annotations
from ..sample import Dataset, Sample
from .polygons import draw_polygons, read_polygons
from .source import Scheme, read_classes
from .table import IGNORE, TABLES, ClassTable, find_table, read_table

COUNTED = 200  # masks whose pixels are counted


@dataclass(frozen=True)
class MaskFile:
    """A mask in a file of its own."""

    path: Path
    scheme: Scheme

    def read(self, size: tuple[int, int]) -> np.ndarray:
        return read_classes(self.path, self.scheme, size)


@dataclass(frozen=True)
class Drawn:
    """A mask that COCO's segmentations make."""

    path: Path  # of the image
    annotations: list[dict]
    becomes: dict[str, int]

    def read(self, size: tuple[int, int]) -> np.ndarray:
        return draw_polygons(self.annotations, self.becomes, self.path, size)


def read_mask(sample: Sample) -> np.ndarray:
    """uint8 (H, W) of the image's size: the class of each pixel, 255 where none is said. Raises DataError."""
    if sample.mask is None:
        return np.full((sample.height, sample.width), IGNORE, np.uint8)
    return sample.mask.read((sample.width, sample.height))


def read_masked(
    root: Path,
    split: str,
    format: str | None = None,
    ignore: tuple[str, ...] = (),
    segments: list[str] | None = None,
    rules: Rules = NO_RULES,
    findings: Findings | None = None,
) -> Dataset:
    """The images of a split with their masks; boxes, if there are any, are left out.

    Args:
        ignore: classes whose pixels nobody is judged on. segments: classes wanted, in order; None: those of the table.
        rules: its class_map merges classes. findings: takes what is told, which is else logged.

    Raises:
        DataError: with one sentence: what is wrong, where, what to do.
    """
    told = findings or Findings()
    found = read_annotations(root, split, format, told)
    none = np.zeros((0, 4), np.float32)
    samples = [Sample(i.path, i.id, i.width, i.height, none, np.zeros(0, np.int64), none) for i in found.images]
    if not samples:
        raise DataError(f"{found.source} lists no images; nothing to train or evaluate on")
    data = Dataset(show(found.name), [], samples, found.sha256)
    data = attach_masks(data, root, split, ignore, segments, rules, told)
    if findings is None:
        told.tell()
    return data


def attach_masks(
    data: Dataset,
    root: Path,
    split: str,
    ignore: tuple[str, ...] = (),
    segments: list[str] | None = None,
    rules: Rules = NO_RULES,
    findings: Findings | None = None,
) -> Dataset:
    """Give the samples of `data`, read from `split` of `root`, their masks; arguments as of `read_masked`."""
    told = findings or Findings()
    folders = masks_beside(root, split)
    polygons = None if folders else read_polygons(root, split)
    table = polygons[0] if polygons else table_of(root, split)
    becomes, names = classes_of(table, ignore, segments, rules.class_map)
    if folders:
        _attach_files(data, MaskFolder(folders), Scheme(table, becomes), told)
        told.warn_of_pages(s.mask.path for s in data.samples if isinstance(s.mask, MaskFile))
    elif polygons:
        values = dict(zip(table.names, becomes, strict=True))
        for s in data.samples:
            s.mask = Drawn(s.path, polygons[1].get(s.id, []), values)
    data.segments, data.colors = names, _colors(table, becomes, len(names))
    data.sha256 = _sha256(data, table, becomes)
    if findings is None:
        told.tell()
    return data


def _attach_files(data: Dataset, masks: MaskFolder, scheme: Scheme, findings: Findings) -> None:
    owners: dict[Path, Path] = {}
    for s in data.samples:
        found = masks.of(s.path)
        if not found:
            remedy = "draw it, or take the image out of the split"
            findings.fault(s.path, f"an image has no mask in {show(masks.folder)}", remedy)
        elif len(found) > 1:
            names = " and ".join(show(path.name) for path in found[:2])
            findings.fault(s.path, f"an image has {len(found)} masks, {names}", "keep the one that counts")
        elif (first := owners.setdefault(found[0], s.path)) != s.path:
            what = f"an image would share the mask {show(found[0])} with {show(first)}"
            findings.fault(s.path, what, "put masks into folders that are called as those of the images are")
        else:
            s.mask = MaskFile(found[0], scheme)


def table_of(root: Path, split: str) -> ClassTable:
    """The classes that the masks of a split show. Raises DataError."""
    folders = masks_beside(root, split)
    if folders is None:
        polygons = read_polygons(root, split)
        if polygons is None:
            raise DataError(
                f"{root} has no masks of '{split}': neither a folder masks with a file for each image, nor a COCO file "
                "with segmentations; add them, or set task=detect in the recipe"
            )
        return polygons[0]
    folder = folders.masks
    path = next(filter(None, map(find_table, (root, folder, folder.parent))), None)
    if path is None:
        raise DataError(
            f"{root} has masks and no class table; write {TABLES[0]} there: a header name,r,g,b and a row for each "
            "class (name,index if the masks hold indices)"
        )
    return read_table(path)


def classes_of(
    table: ClassTable, ignore: tuple[str, ...], segments: list[str] | None, class_map: dict[str, str]
) -> tuple[tuple[int, ...], list[str]]:
    """What each row of the table becomes, and the names of the classes. Raises DataError for a name that is none."""
    for name in class_map:
        if segments is None and name not in table.names:
            raise DataError(f"map names '{name}', but {table.source} has: {', '.join(table.names)}")
    mapped = [class_map.get(name, name) for name in table.names]
    names = segments or [n for n in dict.fromkeys(mapped) if n not in ignore]
    if not names:
        raise DataError(f"{table.source} leaves no class once {', '.join(ignore)} is ignored")
    if len(names) == 1 and segments is None:
        raise DataError(
            f"{table.source} leaves one class, {names[0]}, and nothing to tell it from; add a row for the rest"
        )
    lost = [n for n in dict.fromkeys(mapped) if n not in names and n not in ignore]
    if lost:
        raise DataError(
            f"{table.source} has '{lost[0]}', which is none of the classes ({', '.join(names)}); map it to one of them "
            "or ignore it"
        )
    return tuple(names.index(n) if n in names else IGNORE for n in mapped), list(names)


def _colors(table: ClassTable, becomes: Iterable[int], count: int) -> list[tuple[int, int, int]]:
    """A colour for each class: the table's, else evenly spread ones."""
    spread = (colorsys.hsv_to_rgb(n * 0.618034 % 1, 0.75, 0.95) for n in range(count))
    colors = [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in spread]
    for color, value in reversed(list(zip(table.colors, becomes, strict=True))):  # the first of those that are merged
        if color is not None and value != IGNORE:
            colors[value] = color
    return colors


def _sha256(data: Dataset, table: ClassTable, becomes: tuple[int, ...]) -> str:
    """Of the annotations, the table and the masks' names and sizes: their pixels would take minutes to hash."""
    files = [
        (s.path.name, s.mask.path.name, s.mask.path.stat().st_size) if isinstance(s.mask, MaskFile) else s.path.name
        for s in data.samples
    ]
    return hashlib.sha256(json.dumps([data.sha256, table.sha256, becomes, files]).encode()).hexdigest()


def pixel_counts(data: Dataset, count: int = COUNTED) -> np.ndarray:
    """Pixels of each class in up to `count` masks, evenly spread: int64 (len(data.segments),). Raises DataError."""
    total = np.zeros(256, np.int64)
    masked = Dataset(data.name, data.labels, [s for s in data.samples if s.mask is not None], data.sha256)
    for s in masked.spread(count).samples:
        total += np.bincount(read_mask(s).ravel(), minlength=256)
    return total[: len(data.segments)]
