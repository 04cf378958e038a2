"""Pixels: read them, measure them."""

from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from ..errors import DataError
from .sample import Dataset, Sample

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
EXIF_ORIENTATION, FIRST_TURNED = 0x0112, 5  # orientations 5..8 swap width and height; OpenCV obeys them


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
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)  # OpenCV decides: it reads the pixels, and turns what it will
    return None if pixels is None else (pixels.shape[1], pixels.shape[0])


def _is_turned(image: PIL.Image.Image) -> bool:
    """Whether it says that width and height are to be swapped; a damaged one says nothing."""
    try:
        return image.getexif().get(EXIF_ORIENTATION, 1) >= FIRST_TURNED
    except Exception:  # in a PNG that may stand behind the pixels
        return False


def is_sound(path: Path) -> bool:
    """Decode the whole image. OpenCV would fill with grey what a cut JPEG lacks, so Pillow judges what it knows."""
    try:
        with PIL.Image.open(path) as image:
            image.load()
        return True
    except PIL.UnidentifiedImageError:
        return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) is not None
    except Exception:  # damaged files raise nearly anything
        return False


def read_image(sample: Sample, color: str) -> np.ndarray:
    """uint8 (H, W) for color 'gray', (H, W, 3) RGB for 'rgb'. Raises DataError if unreadable or of another size."""
    image = cv2.imread(str(sample.path), cv2.IMREAD_GRAYSCALE if color == "gray" else cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"cannot read image {sample.path}; replace it or drop it from the annotations")
    if image.shape[:2] != (sample.height, sample.width):
        raise DataError(
            f"{sample.path} is {image.shape[1]}x{image.shape[0]} but its annotation says "
            f"{sample.width}x{sample.height}; boxes would be wrong, export the annotations again"
        )
    if sample.invert:
        image = cv2.bitwise_not(image)
    return image if color == "gray" else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def detect_color(data: Dataset) -> str:
    """'gray' if the first images hold one channel (or three equal ones), else 'rgb'."""
    for s in data.samples[:8]:
        image = cv2.imread(str(s.path), cv2.IMREAD_COLOR)
        if image is None:
            raise DataError(f"cannot read image {s.path}; replace it or drop it from the annotations")
        if (image[..., 0] != image[..., 1]).any() or (image[..., 1] != image[..., 2]).any():
            return "rgb"
    return "gray"


def pixel_statistics(data: Dataset, color: str, count: int = 64) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of pixels scaled to 0..1, over `count` images spread over the set."""
    counts = np.zeros((1 if color == "gray" else 3, 256))  # of every value: exact sums, and one image in memory
    for s in data.spread(count).samples:
        pixels = read_image(s, color).reshape(-1, len(counts))
        counts += [np.bincount(channel, minlength=256) for channel in pixels.T]
    values, shares = np.arange(256) / 255, counts / counts.sum(1, keepdims=True)
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(1))
    return [round(float(v), 4) for v in mean], [round(max(float(v), 1e-3), 4) for v in std]
