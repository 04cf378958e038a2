"""Layouts of pixels: what each encoding of a sensor_msgs/Image is, and what becomes of it. docs/inputs.md explains."""

from collections import namedtuple

import cv2

# dtype: of one sample, 'u1', 'u2' (scaled to 8 bits) or 'f4' (scaled too). channels: samples in a pixel.
# order: of the result, 'mono', 'rgb' or 'bgr'. code: OpenCV's conversion to it, or None: taken as it is.
# even: 'w' or 'wh' must be even numbers. planar: half as many rows of chroma follow the rows of luma.
# cv_bridge: what to ask cv_bridge for, or None: it does not know the encoding, or not in every release.
Format = namedtuple("Format", "dtype channels order code even planar cv_bridge")


def _plain(order, channels, dtype="u1"):
    return Format(dtype, channels, order, None, "", False, "passthrough")


def _converted(code, channels, order="bgr", even="", planar=False, cv_bridge="bgr8"):
    return Format("u1", channels, order, code, even, planar, cv_bridge)


def _bayer(code, dtype="u1"):
    return Format(dtype, 1, "bgr", code, "", False, "bgr8" if dtype == "u1" else "passthrough")


# OpenCV names a mosaic after its second row and column, ROS after its first.
BAYER = {
    "bayer_rggb": cv2.COLOR_BayerBG2BGR,
    "bayer_bggr": cv2.COLOR_BayerRG2BGR,
    "bayer_gbrg": cv2.COLOR_BayerGR2BGR,
    "bayer_grbg": cv2.COLOR_BayerGB2BGR,
}

_UYVY, _YUYV = cv2.COLOR_YUV2BGR_UYVY, cv2.COLOR_YUV2BGR_YUY2

FORMATS = {
    "mono8": _plain("mono", 1),
    "8UC1": _plain("mono", 1),
    "rgb8": _plain("rgb", 3),
    "bgr8": _plain("bgr", 3),
    "8UC3": _plain("bgr", 3),
    "rgba8": _converted(cv2.COLOR_RGBA2RGB, 4, order="rgb", cv_bridge="rgb8"),
    "bgra8": _converted(cv2.COLOR_BGRA2BGR, 4),
    "8UC4": _converted(cv2.COLOR_BGRA2BGR, 4, cv_bridge=None),
    "mono16": _plain("mono", 1, "u2"),
    "16UC1": _plain("mono", 1, "u2"),
    "rgb16": _plain("rgb", 3, "u2"),
    "bgr16": _plain("bgr", 3, "u2"),
    "32FC1": _plain("mono", 1, "f4"),
    "yuv422": _converted(_UYVY, 2, even="w"),
    "uyvy": _converted(_UYVY, 2, even="w", cv_bridge=None),
    "yuv422_yuy2": _converted(_YUYV, 2, even="w"),
    "yuyv": _converted(_YUYV, 2, even="w", cv_bridge=None),
    "nv12": _converted(cv2.COLOR_YUV2BGR_NV12, 1, even="wh", planar=True, cv_bridge=None),
    "nv21": _converted(cv2.COLOR_YUV2BGR_NV21, 1, even="wh", planar=True, cv_bridge=None),
}
for _name, _code in BAYER.items():
    FORMATS[_name + "8"] = _bayer(_code)
    FORMATS[_name + "16"] = _bayer(_code, "u2")


def to_gray(image, order, out=None):
    """uint8 (H, W, 3), order 'rgb' or 'bgr' -> uint8 (H, W), written to `out` if that is given and fits."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY if order == "rgb" else cv2.COLOR_BGR2GRAY, out)
