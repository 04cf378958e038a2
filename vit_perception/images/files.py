"""Image files -> arrays, whatever they are called and however deep they are: for replay, training and evaluation."""

import cv2
import numpy as np

from ..errors import ImageError
from .compressed import cut_off

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp")  # in any case
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def read_file(path):
    """Pixels of an image file as they were stored, turned as Exif says, without alpha.

    The file is read by Python, not by OpenCV: a name that is no UTF-8 makes cv2.imread crash.

    Returns:
        uint8, uint16 or float32 (other depths: radiometric TIFF), (H, W), or BGR (H, W, 3).

    Raises:
        ImageError: it cannot be read or decoded. One sentence.
    """
    return decode_bytes(read_bytes(path), show(path))


def read_bytes(path):
    """The bytes of an image file. Raises ImageError: it cannot be read, or is empty."""
    try:
        with open(str(path), "rb") as f:
            data = f.read()
    except (OSError, ValueError) as e:
        raise ImageError("cannot read {} ({})".format(show(path), getattr(e, "strerror", None) or e)) from None
    if not data:
        raise ImageError("{} is empty".format(show(path)))
    return data


def decode_bytes(data, name, flags=cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH):
    """As `read_file`, of the bytes of a file; name: what to call it. flags: OpenCV's."""
    if data.startswith(LFS_POINTER):
        raise ImageError("{} is a Git LFS pointer, not the image; fetch it (git lfs pull)".format(name))
    if cut_off(data):
        raise ImageError("{} is cut off after {} bytes".format(name, len(data)))
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as e:  # more pixels than OpenCV takes
        raise ImageError("cannot decode {}: {}".format(name, " ".join(str(e).split())[:160])) from None
    if image is None or image.ndim not in (2, 3):
        raise ImageError("cannot decode {}: damaged, or no image that OpenCV knows".format(name))
    if image.ndim == 3 and image.shape[2] != 3:
        image = image[:, :, 0] if image.shape[2] < 3 else image[:, :, :3].copy()
    return image if image.dtype in (np.uint8, np.uint16) else image.astype(np.float32)


def show(path):
    """A path as text that any terminal and file takes: bytes that are no UTF-8 as \\xb2."""
    try:
        return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character that stands for no byte, as JSON and YAML can spell it
        return str(path).encode("utf-8", "backslashreplace").decode("utf-8")
