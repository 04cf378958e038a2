"""sensor_msgs/Image and CompressedImage -> pixels: a view of the message where its layout allows, else one conversion.

docs/inputs.md lists the encodings and what becomes of them.
"""

import cv2
import numpy as np

from ..errors import ImageError
from .compressed import decode
from .formats import BAYER, FORMATS
from .high_bit_depth import to_uint8

MAX_SIDE = 16384  # pixels; OpenCV's own functions end at 32767


class ImageReader:
    """Reads image messages of any supported encoding.

    Args:
        values: parameters by name, read anew for every image: use_cv_bridge (at the start only) and, for images of 16
            bits and floats, those of `high_bit_depth.*`.

    Raises:
        ImageError: use_cv_bridge is set and cv_bridge cannot be imported.
    """

    def __init__(self, values):
        self._values = values
        self._bridge = _open_bridge() if values.get("use_cv_bridge") else None

    def read(self, msg):
        """Pixels of a message.

        Args:
            msg: anything with the fields of sensor_msgs/Image, or of CompressedImage (which has no `width`). `data` is
                an array.array('B'), bytes or uint8 array.

        Returns:
            (image, order): uint8 (H, W) with order 'mono', or (H, W, 3) with order 'rgb' or 'bgr'. A view of
            the message's memory, which it keeps alive, for mono8, rgb8, bgr8, 8UC1 and 8UC3; else its own memory.

        Raises:
            ImageError: the encoding is not supported, or the message does not fit together. One sentence.
        """
        if not hasattr(msg, "width"):
            return self._read_compressed(msg)
        layout = _layout(msg.encoding)
        image, code = _pixels(msg, layout), layout.code
        if self._bridge is not None and _suits_bridge(msg, layout):
            image = _ask_bridge(self._bridge, msg, layout)
            code = code if layout.dtype != "u1" else None
        try:
            if layout.dtype != "u1":
                image = to_uint8(image, self._values)
            if code is not None:
                image = cv2.cvtColor(image, code)
        except cv2.error as e:
            raise ImageError("{} image cannot be converted: {}".format(msg.encoding, _line(e))) from e
        return image, layout.order

    def _read_compressed(self, msg):
        image, encoding = decode(msg)
        if image.dtype != np.uint8:
            image = to_uint8(image, self._values)
        if image.ndim == 3:
            return image, "rgb" if encoding == "rgb" else "bgr"
        mosaic = encoding.rstrip("0123456789")
        if mosaic in BAYER:  # png keeps the mosaic, and format tells
            return cv2.cvtColor(image, BAYER[mosaic]), "bgr"
        return image, "mono"


def view(msg):
    """As `ImageReader.read`, of encodings that need no conversion: never a copy, no parameters."""
    layout = _layout(msg.encoding)
    if layout.dtype != "u1" or layout.code is not None:
        raise ImageError("image encoding '{}' cannot be seen without a conversion".format(msg.encoding))
    return _pixels(msg, layout), layout.order


def _layout(encoding):
    try:
        return FORMATS[encoding]
    except KeyError:
        known = ", ".join(sorted(FORMATS))
        text = "image encoding '{}' is not supported; publish one of: {}"
        raise ImageError(text.format(_line(encoding)[:60], known)) from None


def _pixels(msg, layout):
    """The message's memory as (H, W) or (H, W, channels); of planar ones (3 H / 2, W). Every size is checked here."""
    width, height, step = msg.width, msg.height, msg.step
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        text = "image is {} x {} pixels, not 1 to {} each way; check the camera driver"
        raise ImageError(text.format(width, height, MAX_SIDE))
    if ("w" in layout.even and width % 2) or ("h" in layout.even and height % 2):
        raise ImageError("{} image is {} x {} pixels, which must be even".format(msg.encoding, width, height))
    dtype = np.dtype((">" if getattr(msg, "is_bigendian", 0) else "<") + layout.dtype)
    pixel = dtype.itemsize * layout.channels
    if step < width * pixel:
        raise ImageError(
            "image step is {} bytes but {} pixels of {} need {}; check the camera driver".format(
                step, width, msg.encoding, width * pixel
            )
        )
    rows = height * 3 // 2 if layout.planar else height
    if len(msg.data) != step * rows:
        raise ImageError(
            "image data has {} bytes but {} rows of {} are {}; check the camera driver".format(
                len(msg.data), rows, step, step * rows
            )
        )
    shape = (rows, width) if layout.channels == 1 else (rows, width, layout.channels)
    strides = (step, pixel) if layout.channels == 1 else (step, pixel, dtype.itemsize)
    try:
        return np.ndarray(shape, dtype, buffer=msg.data, strides=strides)
    except (TypeError, ValueError):  # a list, or an array of something else
        text = "image data is no array of bytes but a {}"
        raise ImageError(text.format(type(msg.data).__name__)) from None


def _suits_bridge(msg, layout):
    """Whether cv_bridge reads it right: rows padded by parts of a pixel it shears, big-endian images it may refuse."""
    pixel = np.dtype(layout.dtype).itemsize * layout.channels
    return layout.cv_bridge is not None and msg.step % pixel == 0 and not getattr(msg, "is_bigendian", 0)


def _ask_bridge(bridge, msg, layout):
    try:
        return bridge.imgmsg_to_cv2(msg, layout.cv_bridge)
    except Exception as e:  # cv_bridge raises what Boost, OpenCV and NumPy raise
        raise ImageError("cv_bridge cannot convert a {} image: {}".format(msg.encoding, _line(e))) from e


def _open_bridge():
    try:
        from cv_bridge import CvBridge

        return CvBridge()
    except Exception as e:  # built against another NumPy it raises more than ImportError
        text = "use_cv_bridge is set but cv_bridge cannot be used ({}); install it or set use_cv_bridge to false"
        raise ImageError(text.format(_line(e))) from e


def _line(what):
    return " ".join(str(what).split())
