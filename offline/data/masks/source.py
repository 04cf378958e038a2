"""The pixels of a mask's file, as class indices.

A palette PNG is read by its colours where the class table has colours, else by its indices; a file of one channel by
its indices; RGB by its colours. Index 255 without a class is ignored, as VOC's borders are.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import PIL.Image

from vit_perception.images.files import show

from ...errors import DataError
from .table import IGNORE, ClassTable

UNKNOWN = -1
COLORS, INDICES = 1 << 24, 1 << 16


@dataclass(frozen=True)
class Scheme:
    """A class table, and the class that each of its rows becomes: IGNORE for what nobody is judged on."""

    table: ClassTable
    becomes: tuple[int, ...]

    @cached_property
    def by_color(self) -> np.ndarray:
        """int16 (2^24,): class of r << 16 | g << 8 | b, UNKNOWN for those of no class."""
        known = np.full(COLORS, UNKNOWN, np.int16)
        for color, value in zip(self.table.colors, self.becomes, strict=True):
            if color is not None:
                known[color[0] << 16 | color[1] << 8 | color[2]] = value
        return known

    @cached_property
    def by_index(self) -> np.ndarray:
        """int16 (65537,): class of an index; the last one is UNKNOWN, for what is no index."""
        known = np.full(INDICES + 1, UNKNOWN, np.int16)
        known[IGNORE] = IGNORE
        known[list(self.table.indices)] = self.becomes
        return known

    @property
    def has_colors(self) -> bool:
        return all(color is not None for color in self.table.colors)


def raw_mask(path: Path, scheme: Scheme) -> tuple[np.ndarray, np.ndarray]:
    """What the file holds (H, W), whole numbers; and int16 of the same shape: classes, UNKNOWN where there is none.

    Raises:
        DataError: it cannot be read, or its colours mean nothing without colours in the table.
    """
    try:
        with PIL.Image.open(path) as image:
            if image.mode == "P" and scheme.has_colors:
                return _palette_mask(image, scheme)
            if image.mode in ("RGBA", "LA", "CMYK", "YCbCr"):
                image = image.convert("RGB")
            pixels = np.asarray(image)
    except Exception as e:  # damaged files raise nearly anything
        raise DataError(f"cannot read the mask {show(path)} ({e}); replace it") from e
    if pixels.ndim == 3:
        if not scheme.has_colors:
            raise DataError(
                f"{show(path)} is a mask of colours, but {scheme.table.source} has none; add the columns r,g,b"
            )
        r, g, b = (pixels[..., k].astype(np.int32) for k in range(3))
        values = r << 16 | g << 8 | b
        return values, scheme.by_color[values]
    if pixels.dtype.kind == "f" and not ((pixels == np.round(pixels)) & (np.abs(pixels) < 1 << 31)).all():
        raise DataError(f"the pixels of the mask {show(path)} are no whole numbers; export the indices of the classes")
    values = pixels.astype(np.int32)
    return values, scheme.by_index[np.where((values < 0) | (values > INDICES), INDICES, values)]


def _palette_mask(image: PIL.Image.Image, scheme: Scheme) -> tuple[np.ndarray, np.ndarray]:
    """As `raw_mask`, of a palette image: by the colours of its palette."""
    palette = np.zeros(768, np.int32)
    entries = image.getpalette("RGB") or []
    palette[: len(entries)] = entries
    r, g, b = palette.reshape(256, 3).T
    colors = r << 16 | g << 8 | b
    classes = scheme.by_color[colors]
    if classes[IGNORE] == UNKNOWN:
        classes[IGNORE] = IGNORE
    indices = np.asarray(image)
    return colors[indices], classes[indices]


def strange(values: np.ndarray, classes: np.ndarray, colors: bool) -> list[tuple[str, int]]:
    """[(what no class has: '(12, 0, 3)' or '17', pixels)], the commonest first."""
    found, counts = np.unique(values[classes == UNKNOWN], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(named(int(found[i]), colors), int(counts[i])) for i in order]


def named(value: int, colors: bool) -> str:
    return f"({value >> 16}, {value >> 8 & 255}, {value & 255})" if colors else str(value)


def is_colored(path: Path, scheme: Scheme) -> bool:
    """Whether its pixels are compared by colour."""
    with PIL.Image.open(path) as image:
        return image.mode not in ("L", "1", "I", "I;16", "F") and (image.mode != "P" or scheme.has_colors)


def read_classes(path: Path, scheme: Scheme, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W): the class of each pixel, or IGNORE. size: (width, height) of its image.

    Raises:
        DataError: another size than the image, or a colour that no class has.
    """
    values, classes = raw_mask(path, scheme)
    if classes.shape[::-1] != size:
        raise DataError(
            f"the mask {show(path)} is {classes.shape[1]}x{classes.shape[0]}, its image {size[0]}x{size[1]}; "
            "export it at the image's size"
        )
    if (classes == UNKNOWN).any():
        odd = strange(values, classes, is_colored(path, scheme))
        raise DataError(
            f"the mask {show(path)} has {sum(n for _, n in odd)} pixels of {len(odd)} colours or indices that no class "
            f"of {scheme.table.source} has, e.g. {odd[0][0]}; add them to the table, or run offline.data check"
        )
    return classes.astype(np.uint8)
