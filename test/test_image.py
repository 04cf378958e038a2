"""Image messages as camera drivers send them, good and bad."""

import array
from types import SimpleNamespace

import numpy as np
import pytest

from vit_perception.errors import ImageError
from vit_perception.image import view


def message(image, encoding, padding=0, **changes):
    """The fields of a sensor_msgs/Image, rows padded with 99 by `padding` bytes."""
    height, width = image.shape[:2]
    rows = image.reshape(height, -1)
    padded = np.concatenate([rows, np.full((height, padding), 99, np.uint8)], axis=1)
    fields = {
        "width": width,
        "height": height,
        "step": padded.shape[1],
        "encoding": encoding,
        "data": array.array("B", padded.tobytes()),
    }
    return SimpleNamespace(**{**fields, **changes})


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "order", "channels"), [("rgb8", "rgb", 3), ("bgr8", "bgr", 3), ("mono8", "mono", 1)]
)
def test_view_gives_the_pixels_without_a_copy(encoding, order, channels, padding):
    shape = (6, 7) if channels == 1 else (6, 7, channels)
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    msg = message(image, encoding, padding)
    seen, seen_order = view(msg)
    assert seen_order == order
    np.testing.assert_array_equal(seen, image)
    msg.data[0] ^= 255  # shared memory: a change of the message shows in the view
    assert seen.reshape(-1)[0] == image.reshape(-1)[0] ^ 255


def test_view_keeps_the_memory_alive():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    seen, _ = view(message(image, "mono8"))
    np.testing.assert_array_equal(seen, image)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"encoding": "16UC1"}, "mono8"),
        ({"encoding": ""}, "encoding"),
        ({"step": 20}, "step"),
        ({"step": 0}, "step"),
        ({"step": 24}, "data"),
        ({"width": 0}, "0 x 6"),
        ({"height": 0}, "7 x 0"),
        ({"height": 5}, "data"),
        ({"height": 7}, "data"),
        ({"data": array.array("B")}, "0 bytes"),
        ({"data": array.array("B", b"x" * 125)}, "125 bytes"),
    ],
)
def test_view_refuses_with_one_sentence(changes, word):
    with pytest.raises(ImageError, match=word) as error:
        view(message(np.zeros((6, 7, 3), np.uint8), **{"encoding": "rgb8", **changes}))
    assert "\n" not in str(error.value)
