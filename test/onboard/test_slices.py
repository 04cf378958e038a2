"""Large images in slices: every pixel is covered, no object is found twice, none is lost at a seam."""

import cv2
import numpy as np
import pytest

from vit_perception import parameters, slices
from vit_perception.detector import Detector, grid_points
from vit_perception.pipeline import Pipeline
from vit_perception.tracking.tracker import Tracker

SPEC = {"width": 192, "height": 128, "color": "gray", "mean": [0.0], "std": [1.0]}


class BlobEngine:
    """Finds bright blobs of 4 to 40 pixels exactly, at the nearest of the head's points, as a trained model would."""

    input_shape, name, reason, precision = (1, 1, 128, 192), "blobs", "", "fp32"

    def __init__(self):
        self.points, self.calls = grid_points(192, 128, [8]), 0

    def infer(self, batch):
        self.calls += 1
        logits = np.full((1, len(self.points), 1), -9.0, np.float32)
        boxes = np.zeros((1, len(self.points), 4), np.float32)
        count, _, stats, _ = cv2.connectedComponentsWithStats(np.uint8(batch[0, 0] > 0.5))
        for x, y, w, h, _ in stats[1:count]:
            if min(w, h) >= 4 and max(w, h) <= 40:
                middle = np.array([x + 0.5 * w, y + 0.5 * h])
                best = np.square(self.points[:, :2] - middle).sum(1).argmin()
                logits[0, best] = 3.0
                boxes[0, best] = [*((middle - self.points[best, :2]) / 8), np.log(w / 8), np.log(h / 8)]
        return {"logits": logits, "boxes": boxes}


class Plain:
    labels, input, head = ["Person"], SPEC, {"strides": [8]}
    thresholds = {"score": 0.5, "nms_iou": 0.5, "max_detections": 100}


def detector(text):
    found = Detector(Plain(), BlobEngine())
    found.slices = text
    return found


def picture(*objects, size=(768, 512)):
    image = np.zeros(size[::-1], np.uint8)
    for x, y, w, h in objects:
        image[y : y + h, x : x + w] = 255
    return image


def boxes(text, image):
    return sorted(np.round(detector(text).detect(image, "mono").boxes).astype(int).tolist())


def corners(*objects):
    return sorted([x, y, x + w, y + h] for x, y, w, h in objects)


@pytest.mark.parametrize(
    ("text", "size"), [("3x2", (768, 512)), ("auto", (768, 512)), ("8x8", (640, 480)), ("2x1", (97, 64))]
)
def test_slices_cover_every_pixel_and_overlap(text, size):
    plan = slices.plan(slices.parse(text), *size, 192, 128)
    seen = np.zeros(size[::-1], int)
    for x1, y1, x2, y2 in plan:
        assert 0 <= x1 < x2 <= size[0] and 0 <= y1 < y2 <= size[1]
        seen[y1:y2, x1:x2] += 1
    assert seen.min() == 1 and seen.max() > 1


def test_auto_gives_the_model_every_pixel_and_leaves_small_images_alone():
    assert len(slices.plan(None, 768, 512, 192, 128)) == 25
    for x1, y1, x2, y2 in slices.plan(None, 768, 512, 192, 128):
        assert (x2 - x1, y2 - y1) == (192, 128)
    assert slices.plan(None, 192, 128, 192, 128) == slices.plan(None, 220, 140, 192, 128) == []
    assert slices.plan(None, 768, 128, 192, 128)[0][3] == 128  # wide, but not high


def test_small_objects_are_found_in_slices_alone_and_each_once():
    small = [(20, 30, 6, 8), (400, 200, 5, 9), (680, 460, 8, 8)]
    assert boxes("1x1", picture(*small)) == []  # a quarter of their size is too small
    assert boxes("auto", picture(*small)) == corners(*small)
    assert np.abs(np.array(boxes("4x4", picture(*small))) - corners(*small)).max() <= 1  # its slices are scaled


def test_no_object_is_lost_or_doubled_wherever_it_lies():
    """One object at every place along a line that crosses all seams."""
    for x in range(0, 750, 5):
        thing = (x, 2 * x // 3, 9, 11)
        assert boxes("auto", picture(thing)) == corners(thing), x


def test_large_objects_come_from_the_whole_image_and_in_one_piece():
    large, small = (200, 120, 120, 140), (660, 20, 7, 7)
    found = boxes("auto", picture(large, small))
    assert len(found) == 2 and found[1] == corners(small)[0]
    assert np.abs(np.array(found[0]) - corners(large)[0]).max() <= 4  # of a pixel of the scaled image


def test_it_costs_one_inference_a_slice_and_tells_the_time_of_all():
    sliced = detector("3x2")
    sliced.detect(picture(), "mono")
    assert sliced._engine.calls == 7 and set(sliced.stage_ms) == {"letterbox", "infer", "decode"}
    assert len(sliced.detect(picture(), "mono")) == 0


def test_colour_images_are_sliced_too():
    thing = (400, 200, 6, 9)
    image = np.repeat(picture(thing)[..., None], 3, 2)
    assert np.round(detector("auto").detect(image, "bgr").boxes).astype(int).tolist() == corners(thing)


@pytest.mark.parametrize("text", ["", "2", "2x", "0x2", "9x1", "2x2x2", "all", "2 x 2", "-1x2"])
def test_what_slices_cannot_be_is_refused_in_one_sentence(text):
    values = {s.name: s.default for s in parameters.SPECS}
    assert parameters.check(values) == ""
    assert "COLUMNSxROWS" in parameters.check(dict(values, slices=text))
    with pytest.raises(ValueError, match="COLUMNSxROWS"):
        detector("1x1").slices = text


def test_the_node_and_replay_set_it_at_run_time():
    pipeline, thing = Pipeline(detector("1x1")), (400, 200, 6, 9)
    assert len(pipeline.process(picture(thing), "mono", 1.0).detections) == 0
    pipeline.configure({"slices": "auto"})
    assert len(pipeline.process(picture(thing), "mono", 1.1).detections) == 1


def in_turn(text, count):
    found = detector(text)
    found.slices_per_frame = count
    return found


@pytest.mark.parametrize("count", [1, 2, 5])
def test_slices_in_turn_cost_so_many_inferences_and_show_everything_in_a_round(count):
    found, image = in_turn("4x4", count), picture()
    seen = []
    for _ in range(-(-16 // count)):
        before = found._engine.calls
        found.detect(image, "mono")
        assert found._engine.calls - before == count + 1  # and the whole
        assert len(found.looked_at) == count and len(found.looked_at) + len(found.passed_over) == 16
        seen += found.looked_at
    assert set(seen) == set(slices.plan((4, 4), 768, 512, 192, 128))


def test_all_slices_are_looked_at_where_fewer_exist_than_asked_for():
    found = in_turn("2x2", 9)
    found.detect(picture(), "mono")
    assert len(found.looked_at) == 4 and not found.passed_over


def tracks(count, pictures):
    """(id, whether it was detected) of the confirmed tracks after each picture, at 15 Hz, with a grid of 2x2."""
    found, tracker = in_turn("2x2", count), Tracker(high_score=0.5)
    shown = []
    for i, image in enumerate(pictures):
        detections = found.detect(image, "mono")
        confirmed = tracker.update(detections, i / 15.0, slices=(found.looked_at, found.passed_over))
        shown.append([(t.id, t.detection >= 0) for t in confirmed])
    return shown


def test_tracks_carry_what_is_passed_over():
    small = picture((200, 100, 8, 8))  # invisible in the whole: 2 pixels in the model's input
    shown = tracks(1, [small] * 40)
    first = next(i for i, t in enumerate(shown) if t)
    assert first <= 12  # three rounds confirm it
    assert all([n for n, _ in t] == [1] for t in shown[first:])  # and it stays one
    assert sum(detected for t in shown[first:] for _, detected in t) == (len(shown) - first) // 4


def test_a_track_that_is_missed_ends_as_fast_in_time_that_counts():
    small, empty = picture((200, 100, 8, 8)), picture()
    gone = tracks(1, [small] * 20 + [empty] * 60)[20:]
    left = next(i for i, t in enumerate(gone) if not t)
    assert 8 <= left <= 40  # 0.5 s of missed looks, in one of four images
    all_at_once = tracks(0, [small] * 20 + [empty] * 60)[20:]
    assert next(i for i, t in enumerate(all_at_once) if not t) == 7


def test_a_ghost_of_one_look_is_never_confirmed():
    assert not any(tracks(1, [picture((200, 100, 8, 8))] + [picture()] * 20))
