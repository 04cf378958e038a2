"""Pixels: read them, measure them."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from vit_perception.errors import ImageError
from vit_perception.images.files import SUFFIXES, decode_bytes, read_bytes, read_file, show
from vit_perception.images.high_bit_depth import conversion, to_uint8
from vit_perception.images.pages import count_pictures

from ..errors import DataError
from .sample import Dataset, Sample

EXIF_ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # these swap width and height; OpenCV obeys them, and no others
PAGED = (".tif", ".tiff", ".png", ".webp")  # formats that may hold several pictures; OpenCV takes the first
GRAY = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH


def is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def image_size(path: Path) -> tuple[int, int] | None:
    """(width, height) as read_image gives it, from the file's header alone; None if it is no image."""
    try:
        with PIL.Image.open(path) as image:
            if not _is_turned(image):
                return image.size
            if image.format == "JPEG":
                return image.size[::-1]
    except Exception:  # whatever Pillow does not know or does not like
        pass
    try:
        pixels = read_file(path)  # OpenCV decides: it reads the pixels, and turns what it will
    except ImageError:
        return None
    return pixels.shape[1], pixels.shape[0]


def pictures_in(path: Path) -> int:
    """How many pictures a file holds, of which `read_image` takes the first; from its headers alone."""
    if path.suffix.lower() not in PAGED:
        return 1
    try:
        with path.open("rb") as f:
            return count_pictures(f)
    except (OSError, ValueError):
        return 1


def _is_turned(image: PIL.Image.Image) -> bool:
    """Whether it says that width and height are to be swapped; a damaged one says nothing."""
    try:
        return image.getexif().get(EXIF_ORIENTATION, 1) in TURNED
    except Exception:  # in a PNG that may stand behind the pixels
        return False


@dataclass(frozen=True)
class Pixels:
    """What an image holds: depth, e.g. 'uint16'; the lowest and the highest value, inf and -inf if no pixel is a finite
    number; and whether it is in colour."""

    depth: str
    low: float
    high: float
    colored: bool


def examine(path: Path) -> Pixels | None:
    """An image's pixels, decoded as a whole.

    None if it is damaged: OpenCV would fill with grey what a cut JPEG lacks, so Pillow judges what it knows.
    """
    try:
        with PIL.Image.open(path) as image:
            image.load()
    except PIL.UnidentifiedImageError:
        pass
    except Exception:  # damaged files raise nearly anything
        return None
    try:
        pixels = read_file(path)
    except ImageError:
        return None
    finite = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (np.inf, -np.inf)
    return Pixels(pixels.dtype.name, low, high, is_colored(pixels))


def read_image(sample: Sample, color: str, spec: dict | None = None) -> np.ndarray:
    """The pixels of a sample as the detector is fed them.

    Args:
        color: 'gray' or 'rgb'. spec: the bundle's `input`: its high_bit_depth says how images of 16 bits and floats
            become 8 bits (vit_perception/images/high_bit_depth.py); None: its default.

    Returns:
        uint8 (H, W) for color 'gray', (H, W, 3) RGB for 'rgb'.

    Raises:
        DataError: unreadable or of another size.
    """
    try:
        image = decode(read_bytes(sample.path), sample.path, color, spec)
    except ImageError as e:
        raise DataError(f"cannot read image: {e}; replace it or drop it from the annotations") from e
    if image.shape[:2] != (sample.height, sample.width):
        raise DataError(
            f"{show(sample.path)} is {image.shape[1]}x{image.shape[0]} but its annotation says "
            f"{sample.width}x{sample.height}; boxes would be wrong, export the annotations again"
        )
    return cv2.bitwise_not(image) if sample.invert else image


def decode(data: bytes, path: Path, color: str, spec: dict | None = None) -> np.ndarray:
    """As `read_image`, of a file's bytes and whatever its size. Raises ImageError."""
    image = decode_bytes(data, show(path), GRAY) if color == "gray" else decode_bytes(data, show(path))
    if image.dtype != np.uint8:  # as the node does: first to 8 bits, then to gray
        image = to_uint8(decode_bytes(data, show(path)), conversion(spec or {}))
    if color == "gray":
        return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.ndim == 3 else cv2.COLOR_GRAY2RGB)


def is_colored(pixels: np.ndarray) -> bool:
    """Whether the channels of an image (H, W) or (H, W, 3) differ anywhere."""
    floats = pixels.dtype.kind == "f"
    return pixels.ndim == 3 and not all(
        np.array_equal(pixels[..., 0], pixels[..., c], equal_nan=floats) for c in (1, 2)
    )


def pixel_statistics(
    data: Dataset, color: str, count: int = 64, spec: dict | None = None
) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of pixels scaled to 0..1, over `count` images spread over the set.

    color, spec: as for `read_image`.
    """
    counts = np.zeros((1 if color == "gray" else 3, 256))  # of every value: exact sums, and one image in memory
    for s in data.spread(count).samples:
        pixels = read_image(s, color, spec).reshape(-1, len(counts))
        counts += [np.bincount(channel, minlength=256) for channel in pixels.T]
    values, shares = np.arange(256) / 255, counts / counts.sum(1, keepdims=True)
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(1))
    return [round(float(v), 4) for v in mean], [round(max(float(v), 1e-3), 4) for v in std]
