"""sensor_msgs/Image -> NumPy view, without a copy."""

import numpy as np

from .errors import ImageError

# ROS encoding -> (channel order, channels)
ENCODINGS = {"rgb8": ("rgb", 3), "bgr8": ("bgr", 3), "mono8": ("mono", 1)}


def view(msg):
    """View of an image message's pixels, rows padded or not.

    Args:
        msg: anything with sensor_msgs/Image's width, height, step (bytes per row), encoding and data.

    Returns:
        (image, order): uint8 (H, W) with order 'mono', or (H, W, 3) with order 'rgb' or 'bgr'. The array
        shares the message's memory and keeps it alive.

    Raises:
        ImageError: the encoding is not supported, or size, step and data do not fit together.
    """
    if msg.encoding not in ENCODINGS:
        known = ", ".join(sorted(ENCODINGS))
        raise ImageError("image encoding '{}' is not supported; publish one of: {}".format(msg.encoding, known))
    order, channels = ENCODINGS[msg.encoding]
    width, height, step = msg.width, msg.height, msg.step
    if width <= 0 or height <= 0:
        raise ImageError("image is {} x {} pixels; check the camera driver".format(width, height))
    if step < width * channels:
        raise ImageError(
            "image step is {} bytes but {} pixels of {} need {}; check the camera driver".format(
                step, width, msg.encoding, width * channels
            )
        )
    if len(msg.data) != step * height:
        raise ImageError(
            "image data has {} bytes but {} rows of {} are {}; check the camera driver".format(
                len(msg.data), height, step, step * height
            )
        )
    shape = (height, width) if channels == 1 else (height, width, channels)
    strides = (step, 1) if channels == 1 else (step, channels, 1)
    return np.ndarray(shape, np.uint8, buffer=msg.data, strides=strides), order
