"""The class map of an image: argmax, the letterbox's padding cut away, what covers what."""

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed (make setup)")

from segment_bundle import CLASSES, COLORS, LABELS, make_segment_bundle, picture  # noqa: E402

from vit_perception.bundles.bundle import open_bundle  # noqa: E402
from vit_perception.engines import open_engine  # noqa: E402
from vit_perception.errors import EngineError  # noqa: E402
from vit_perception.letterbox import Letterbox  # noqa: E402
from vit_perception.segmentation.class_map import class_map, shares  # noqa: E402
from vit_perception.segmentation.overlay import Overlay  # noqa: E402
from vit_perception.segmentation.segmenter import Segmenter  # noqa: E402

SPEC = {"width": 64, "height": 48, "color": "gray", "mean": [0.5], "std": [1.0]}


def letterbox_of(width, height):
    box = Letterbox(SPEC)
    box(np.zeros((height, width), np.uint8), "mono")
    return box


def random_logits(classes=10, height=6, width=8, seed=3):
    return np.random.default_rng(seed).normal(size=(classes, height, width)).astype(np.float32)


def test_each_pixel_gets_the_class_of_its_largest_logit():
    logits = random_logits(255)
    mask = class_map(logits, letterbox_of(640, 480), 640, 480)
    assert mask.dtype == np.uint8 and mask.shape == (6, 8)
    np.testing.assert_array_equal(mask, logits.argmax(0))


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ((640, 480), (6, 8)),
        ((640, 240), (3, 8)),  # half of the input is padding
        ((200, 400), (6, 3)),
        ((640, 200), (3, 8)),  # 20 rows of the input: the third row of the mask covers half a row of padding
        ((64, 8), (1, 8)),
        ((100000, 10), (1, 8)),
    ],
)
def test_the_padding_is_cut_away(size, shape):
    logits = random_logits()
    mask = class_map(logits, letterbox_of(*size), *size)
    np.testing.assert_array_equal(mask, logits.argmax(0)[: shape[0], : shape[1]])


def test_a_mask_is_never_larger_than_its_image():
    logits = random_logits()
    mask = class_map(logits, letterbox_of(4, 3), 4, 3)
    assert mask.shape == (3, 4)
    np.testing.assert_array_equal(mask, cv2.resize(logits.argmax(0).astype(np.uint8), (4, 3), interpolation=0))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused_inside_the_image_alone(value):
    logits = random_logits()
    logits[4, 5, 1] = value
    with pytest.raises(EngineError, match="values that are not finite"):
        class_map(logits, letterbox_of(640, 480), 640, 480)
    assert class_map(logits, letterbox_of(640, 240), 640, 240).shape == (3, 8)
    logits = random_logits()
    logits[4, 5, 1] = -np.inf  # never the largest
    assert class_map(logits, letterbox_of(640, 480), 640, 480).shape == (6, 8)


def test_shares_are_those_of_the_pixels():
    mask = np.array([[0, 0, 2], [0, 2, 4]], np.uint8)
    assert shares(mask, 6) == pytest.approx([1 / 2, 0, 1 / 3, 0, 1 / 6, 0])


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("task", ["segment", "both"])
def test_a_bundle_gives_the_classes_of_an_image(tmp_path, task, stride):
    """A real engine, and images of other sizes and orders than the model's input."""
    bundle = open_bundle(make_segment_bundle(tmp_path / task, task, stride))
    segmenter = Segmenter(bundle, open_engine(bundle, "onnxruntime"))
    cells = np.random.default_rng(5).integers(0, len(CLASSES), (6, 8))
    expected = np.kron(cells, np.ones((8 // stride, 8 // stride), int))
    for width, height in ((64, 48), (640, 480)):
        image = picture(cells, width, height)
        for given, order in ((image, "mono"), (np.dstack([image] * 3), "bgr")):
            np.testing.assert_array_equal(segmenter.segment(given, order), expected)
    assert set(segmenter.stage_ms) == {"letterbox", "infer"}


def test_the_picture_shows_each_class_in_its_colour_and_names_what_is_seen():
    cells = np.zeros((6, 8), np.uint8)
    cells[:, 4:] = 3
    canvas = np.full((480, 640, 3), 100, np.uint8)
    overlay = Overlay(cells, LABELS, COLORS, 0.5)
    overlay.blend(canvas)
    for x, i in ((100, 0), (500, 3)):
        np.testing.assert_allclose(canvas[400, x], 50 + 0.5 * np.array(COLORS[i][::-1]), atol=1)
    assert (canvas[:, :320] == canvas[0, 0]).all() and (canvas[:, 320:] == canvas[0, 320]).all()
    bare = canvas.copy()
    overlay.legend(canvas)
    changed = np.argwhere((canvas != bare).any(2))
    assert changed[:, 1].min() > 400 and changed[:, 0].max() < 60, "two lines in the upper right corner"
    for i in (0, 3):
        assert (canvas[:60, 400:] == COLORS[i][::-1]).all(2).sum() > 20
    assert not (canvas[:60, 400:] == COLORS[1][::-1]).all(2).any(), "a class that is not seen has no line"
