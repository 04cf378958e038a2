"""Logits of each pixel -> the class of each pixel. The offline evaluation uses this file too.

The argmax is taken here and not in the model: every output of an engine is float32, and the golden check compares
logits.
"""

import cv2
import numpy as np

from ..errors import EngineError


def class_map(logits, letterbox, source_width, source_height):
    """The class of each pixel of a source image, at the head's own resolution, uint8 (h', w').

    It covers the source image: its pixel (row, column) is the image's at (row + 0.5) * height / h' and
    (column + 0.5) * width / w', up to one pixel of the map where the head's pixels do not divide the image. It is never
    larger than the image.

    Args:
        logits: float32 (C, h, w), C at most 255, of the whole input of the model.
        letterbox: the `Letterbox` that scaled the image: its width, height and `filled`.
        source_width, source_height: of the image, pixels.

    Raises:
        EngineError: a pixel has no finite logit that is the largest.
    """
    filled_height, filled_width = letterbox.filled
    rows = -(-filled_height * logits.shape[1] // letterbox.height)  # the last ones cover the image's border
    columns = -(-filled_width * logits.shape[2] // letterbox.width)
    inside = logits[:, :rows, :columns]
    if not np.isfinite(inside.max(0)).all():  # a maximum keeps what is no number
        raise EngineError("the engine gives values that are not finite; prove it again: restart the node")
    found = inside.argmax(0).astype(np.uint8)
    if rows > source_height or columns > source_width:
        size = (min(columns, source_width), min(rows, source_height))
        found = cv2.resize(found, size, interpolation=cv2.INTER_NEAREST)
    return found


def shares(mask, count):
    """Share of each of `count` classes in a class map: list of `count` floats that add up to 1."""
    return (np.bincount(mask.ravel(), minlength=count) / float(mask.size)).tolist()
