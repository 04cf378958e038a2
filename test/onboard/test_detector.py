"""vit_perception.detector: letterbox, decode and NMS, against hand-computed cases."""

import cv2
import numpy as np
import pytest

from vit_perception.detector import Detector, Letterbox, decode_boxes, grid_points, nms, vote
from vit_perception.errors import EngineError, ImageError

GRAY = {"width": 64, "height": 32, "color": "gray", "mean": [0.5], "std": [0.25]}
RGB = {"width": 64, "height": 32, "color": "rgb", "mean": [0.1, 0.2, 0.3], "std": [0.5, 1.0, 0.25]}


class Answer:
    """An engine whose answer the test chooses; it stands in for a network, not for the code under test."""

    name, precision, reason = "answer", "fp32", "test"

    def __init__(self, spec, logits, boxes):
        self.input_shape = (1, len(spec["mean"]), spec["height"], spec["width"])
        self.outputs = {"logits": logits[None].astype(np.float32), "boxes": boxes[None].astype(np.float32)}

    def infer(self, batch):
        return self.outputs


class Plain:
    """What a detector reads of a bundle."""

    def __init__(self, spec=GRAY, labels=("a", "b")):
        self.input, self.labels, self.head = spec, list(labels), {"strides": [8]}
        self.thresholds = {"score": 0.5, "nms_iou": 0.5, "max_detections": 10}


def detector(logits=None, boxes=None):
    n = len(grid_points(64, 32, [8]))
    logits = np.full((n, 2), -9.0) if logits is None else logits
    boxes = np.zeros((n, 4)) if boxes is None else boxes
    return Detector(Plain(), Answer(GRAY, logits, boxes))


def test_letterbox_normalises_and_leaves_the_mean_outside():
    box = Letterbox(GRAY)
    batch, scale = box(np.full((16, 16), 255, np.uint8), "mono")
    assert scale == 2.0
    np.testing.assert_allclose(batch[0, 0, :, :32], 2.0, atol=1e-6)  # (1 - 0.5) / 0.25
    assert (batch[0, 0, :, 32:] == 0).all()
    batch, _ = box(np.zeros((32, 64), np.uint8), "mono")
    np.testing.assert_allclose(batch, -2.0, atol=1e-6)
    batch, _ = box(np.zeros((32, 32), np.uint8), "mono")  # nothing of the larger image is left over
    assert (batch[0, 0, :, 32:] == 0).all()


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_letterbox_keeps_the_channel_order_of_the_model(order):
    image = np.zeros((32, 64, 3), np.uint8)
    image[..., 0 if order == "rgb" else 2] = 255  # pure red
    batch, scale = Letterbox(RGB)(image, order)
    assert scale == 1.0
    np.testing.assert_allclose(batch[0, :, 5, 5], [(1 - 0.1) / 0.5, -0.2, -0.3 / 0.25], atol=1e-6)


@pytest.mark.parametrize(("shape", "order"), [((4, 4, 3), "mono"), ((4, 4), "bgr"), ((0, 4), "mono")])
def test_order_and_shape_must_agree(shape, order):
    with pytest.raises(ImageError, match="does not fit"):
        Letterbox(GRAY)(np.zeros(shape, np.uint8), order)


def test_points_are_cell_centres_level_by_level():
    points = grid_points(16, 8, [4, 8])
    assert points.shape == (8 + 2, 3)
    assert points[0].tolist() == [2, 2, 4] and points[4].tolist() == [2, 6, 4]
    assert points[8:].tolist() == [[4, 4, 8], [12, 4, 8]]


def test_decode_is_centre_offset_and_log_size_in_strides():
    raw = np.array([[0.5, -0.25, np.log(2), np.log(0.5)], [0, 0, 99, 0]], np.float32)
    boxes = decode_boxes(raw, np.array([[20, 12, 8], [4, 4, 8]], np.float32))
    np.testing.assert_allclose(boxes[0], [16, 8, 32, 12], atol=1e-5)
    assert np.isfinite(boxes[1]).all()


def test_nms_keeps_the_best_and_other_classes():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [30, 30, 40, 40]], np.float32)
    scores, classes = np.array([0.8, 0.9, 0.5, 0.1], np.float32), np.array([0, 0, 1, 0])
    assert nms(boxes, scores, classes, 0.5).tolist() == [1, 2, 3]
    assert nms(boxes[:0], scores[:0], classes[:0], 0.5).tolist() == []


def test_boxes_of_one_object_vote_on_where_it_is():
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [0, 2, 10, 12], [0, 0, 10, 10], [30, 30, 40, 40]], np.float32)
    scores, classes = np.array([0.8, 0.4, 0.39, 0.8, 0.2], np.float32), np.array([0, 0, 0, 1, 0])
    kept = nms(boxes, scores, classes, 0.5)
    voted = vote(kept, boxes, scores, classes, 0.5)
    assert kept.tolist() == [0, 3, 4]  # box 1 has half of box 0's score and a vote, box 2 less and none
    np.testing.assert_allclose(voted[0], [2 / 3, 0, 32 / 3, 10], atol=1e-5)
    np.testing.assert_allclose(voted[1:], boxes[3:], atol=1e-5)  # another class, and nobody near
    np.testing.assert_allclose(vote(kept, boxes, scores, classes, 1.0), boxes[kept], atol=1e-5)
    assert (
        vote(kept[:0], boxes, scores, classes, 0.5).shape
        == vote(kept[:0], boxes[:0], scores[:0], classes[:0], 0.5).shape
        == (0, 4)
    )


def test_what_is_found_over_a_threshold_does_not_depend_on_it():
    rng = np.random.default_rng(5)
    logits, boxes = rng.normal(-1, 2, (32, 2)), np.concatenate([rng.normal(0, 0.5, (32, 2)), np.ones((32, 2))], 1)
    source, image = detector(logits, boxes), np.zeros((32, 64), np.uint8)
    source.max_detections = 100
    found = {}
    for source.score_threshold in (0.02, 0.3, 0.6):
        found[source.score_threshold] = source.detect(image, "mono")
    for t in (0.3, 0.6):
        n = len(found[t])
        assert 0 < n < len(found[0.02])
        # But for the last bit of votes: a sum over more boxes may be taken in another order.
        np.testing.assert_allclose(found[t].boxes, found[0.02].boxes[:n], rtol=1e-6)
        np.testing.assert_array_equal(found[t].scores, found[0.02].scores[:n])


def test_boxes_come_back_in_source_pixels_and_clipped():
    logits, boxes = np.full((32, 2), -9.0), np.zeros((32, 4))
    logits[0, 1] = 3.0  # point (4, 4): box of 16 x 16 around it, a quarter of it outside
    boxes[0, 2:] = np.log(2)
    logits[31, 0] = 2.0  # point (60, 28), in the letterbox's padding for a square image
    found = detector(logits, boxes).detect(np.zeros((64, 64), np.uint8), "mono")
    assert found.classes.tolist() == [1]
    np.testing.assert_allclose(found.boxes, [[0, 0, 24, 24]], atol=1e-4)  # scale 1/2 undone
    assert found.scores[0] == pytest.approx(1 / (1 + np.exp(-3.0)), rel=1e-6)


def test_thresholds_may_change_between_calls():
    logits = np.full((32, 2), -9.0)
    logits[0, 0], logits[20, 0] = 3.0, 0.5
    flying = detector(logits)
    image = np.zeros((32, 64), np.uint8)
    assert len(flying.detect(image, "mono")) == 2
    flying.score_threshold = 0.9
    assert len(flying.detect(image, "mono")) == 1
    flying.score_threshold = 1.0
    assert len(flying.detect(image, "mono")) == 0


def test_nothing_gives_a_valid_empty_result():
    assert detector().detect(np.zeros((32, 64), np.uint8), "mono").boxes.shape == (0, 4)


@pytest.mark.parametrize("where", ["logits", "boxes"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_no_number_is_an_error_and_not_an_empty_sky(where, value):
    arrays = {"logits": np.full((32, 2), -9.0), "boxes": np.zeros((32, 4))}
    arrays[where][17, 1] = value
    with pytest.raises(EngineError, match="not finite"):
        detector(**arrays).detect(np.zeros((32, 64), np.uint8), "mono")


def test_large_outputs_are_boxes_within_the_image():
    wild = detector(np.full((32, 2), 5.0), np.full((32, 4), 1e30))
    found = wild.detect(np.zeros((32, 64), np.uint8), "mono")
    assert np.isfinite(found.boxes).all() and found.boxes.min(initial=0) >= 0 and found.boxes.max(initial=0) <= 64


def half(planes):
    """Means of 2 x 2 pixels, rounded up; of a single row or column, of 2, rounded to even, as OpenCV does."""
    a = planes.astype(np.uint16)
    a = a[: max(1, len(a) // 2 * 2), : max(1, a.shape[1] // 2 * 2)]
    rows = a[::2] + a[1::2] if len(a) > 1 else 2 * a
    both = rows[:, ::2] + rows[:, 1::2] if rows.shape[1] > 1 else 2 * rows
    return ((both + 2) // 4 if 1 not in planes.shape[:2] else np.rint(both / 4)).astype(np.uint8)


def expected(image, order, spec):
    """What the letterbox computes, step by step at full size, in float64."""
    if spec["color"] == "gray":
        codes = {"rgb": cv2.COLOR_RGB2GRAY, "bgr": cv2.COLOR_BGR2GRAY}
        planes = image if order == "mono" else cv2.cvtColor(image, codes[order])
    else:
        planes = {"mono": lambda: np.stack([image] * 3, 2), "rgb": image.copy, "bgr": image[..., ::-1].copy}[order]()
    scale = min(64 / image.shape[1], 32 / image.shape[0])
    w, h = (max(1, round(n * scale)) for n in image.shape[1::-1])
    while scale <= 0.5:
        planes, scale = half(planes), 2 * scale
    if (h, w) != planes.shape[:2]:
        planes = cv2.resize(planes, (w, h), interpolation=cv2.INTER_LINEAR)
    planes = planes.reshape(h, w, -1).transpose(2, 0, 1)
    batch = np.zeros((len(spec["mean"]), 32, 64))
    mean, std = (np.reshape(spec[k], (-1, 1, 1)) for k in ("mean", "std"))
    batch[:, :h, :w] = (planes / 255.0 - mean) / std
    return batch


SIZES = [(32, 64), (64, 128), (1, 1), (1, 300), (300, 1), (200, 150), (32, 32), (32, 64), (33, 65)]


def test_one_letterbox_takes_all_sizes_and_orders_in_turn():
    rng = np.random.default_rng(0)
    for spec in (GRAY, RGB):
        box = Letterbox(spec)
        for height, width in [
            (32, 64),
            (64, 128),
            (1, 1),
            (1, 300),
            (300, 1),
            (200, 150),
            (32, 32),
            (32, 64),
            (33, 65),
        ]:
            for order in ("mono", "bgr", "rgb"):
                padded = rng.integers(0, 256, (height, width + 3, 3), np.uint8)
                image = padded[:, :width, 0].copy() if order == "mono" else padded[:, :width]  # rows with a gap
                batch, _ = box(image, order)
                grey_levels = (
                    np.abs(batch[0] - expected(image, order, spec)) * 255 * np.reshape(spec["std"], (-1, 1, 1))
                )
                assert grey_levels.max() < 0.01


def test_model_and_manifest_must_agree():
    with pytest.raises(EngineError, match="bundle.json says"):
        detector(np.zeros((31, 2)), np.zeros((31, 4))).detect(np.zeros((32, 64), np.uint8), "mono")
    with pytest.raises(EngineError, match="the engine takes"):
        Detector(Plain(RGB), Answer(GRAY, np.zeros((32, 2)), np.zeros((32, 4))))
