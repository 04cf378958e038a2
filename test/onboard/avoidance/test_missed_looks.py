"""Missed looks: what would surely be found where it is remembered, and is not, is forgotten soon; nothing else is."""

import math

import numpy as np
import pytest
from known_obstacles import FOCAL, obstacle

from vit_perception.avoidance.camera import Camera
from vit_perception.avoidance.geometry import Ego, Mount
from vit_perception.avoidance.memory import Memory
from vit_perception.avoidance.missed_looks import View

CAMERA, MOUNT = Camera(FOCAL, FOCAL, 320, 256, 640, 512), Mount.from_angles()
HOVERS = Ego((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), np.eye(3), 1.5)
POSITION = (4.0, 0.2, 0.0)


def seconds_kept(
    position=POSITION, found=1.0, shrink=1.0, ego=HOVERS, others=(), camera=CAMERA, mount=MOUNT, box=None, most=8.0,
    fps=10.0, slices=((), ()), empty_s=0.0,
):  # fmt: skip
    """How long an object is remembered that was detected in `found` of 20 frames, `shrink` smaller before, then never.

    others: obstacles that are detected all the time. empty_s: for how long its place was looked at before.
    """
    memory, o = Memory(), obstacle(position, 0.0, 0.0)
    for i in range(round(empty_s * fps)):
        memory.update(list(others), i / fps - empty_s, 640, 512, ego, camera=camera, mount=mount, slices=slices)
    if box is not None:
        o.track.box = np.array(box, np.float32)
    last = o.track.box.copy()
    middle, half = 0.5 * (last[:2] + last[2:]), 0.5 * (last[2:] - last[:2])
    o.track.hits = 0
    for i in range(20):
        o.track.missed += 1
        if (i + 1) * found >= o.track.hits + 1 or i == 19:
            size = 1.0 if i == 19 else shrink
            o.track.hit(np.concatenate([middle - size * half, middle + size * half]), 0.7, 0, 0.0)
    assert memory.update([o, *others], 0.0, 640, 512, ego, camera=camera, mount=mount)
    for i in range(round(most * fps)):
        t = (i + 1) / fps
        kept = memory.update(list(others), t, 640, 512, ego, camera=camera, mount=mount, slices=slices)
        if not any(k.remembered for k in kept):
            return t
    return math.inf


def test_what_was_found_in_each_frame_and_is_found_no_more_was_looked_for_enough_within_two_seconds():
    assert 0.9 <= seconds_kept() <= 2.0


def test_the_rarer_it_was_found_the_longer_it_is_looked_for():
    assert seconds_kept(found=1.0) < seconds_kept(found=0.6) < seconds_kept(found=0.3)


def test_more_images_a_second_do_not_make_more_evidence():
    assert seconds_kept(fps=30.0) == pytest.approx(seconds_kept(fps=10.0), abs=0.2)


@pytest.mark.parametrize(
    "why",
    [
        {"camera": None},
        {"position": (0.3, 4.0, 0.0), "box": (300, 200, 340, 300)},  # beside the vehicle, out of view
        {"box": (0, 60, 630, 500)},  # it fills the image
        {"box": (0, 120, 340, 380), "position": (2.4, 0.9, -0.1)},  # the border cuts it, and it reaches into the way
        {"slices": ([(0, 0, 200, 512)], [(150, 0, 640, 512)])},
        {"shrink": 0.6},  # never found at this size: perhaps it is too large to be found
        {"ego": Ego((0.0, 0.0, 0.0), None, np.eye(3), 1.5)},  # nobody knows how the vehicle turned
    ],
    ids=[
        "uncalibrated", "out of view", "too large", "cut", "in a slice that was passed over", "larger than ever found",
        "turning unknown",
    ],
)  # fmt: skip
def test_a_look_that_could_not_find_it_does_not_count(why):
    assert seconds_kept(**why, most=4.0) == math.inf


def test_what_hides_behind_another_is_not_looked_for():
    before = obstacle((2.0, 0.1, 0.0), 0.0, 0.0, width=0.3, height=1.0, track_id=2)
    before.sector = (before.bearing - 0.01, before.bearing + 0.01)  # no part of its directions: it does not replace it
    assert seconds_kept(others=[before], most=4.0) == math.inf


def test_a_vehicle_that_turned_away_looks_elsewhere():
    turned = Ego((0.0, 0.0, 0.0), (0.0, 0.0, 2.0), np.eye(3), 1.5)
    assert seconds_kept(ego=turned, most=1.0) == math.inf


def test_what_appeared_where_looks_showed_nothing_is_forgotten_sooner_when_looks_show_nothing_again():
    assert 0.2 <= seconds_kept(empty_s=3.0) <= 0.6 * seconds_kept()
    assert seconds_kept(empty_s=3.0) == seconds_kept(empty_s=30.0)  # it may have come from behind a cover


def test_looks_elsewhere_and_looks_that_could_not_show_it_are_no_looks_before():
    assert seconds_kept(empty_s=3.0, slices=([(0, 0, 200, 512)], [(150, 0, 640, 512)]), most=4.0) == math.inf
    before = obstacle((2.0, 0.1, 0.0), 0.0, 0.0, width=0.3, height=1.0, track_id=2)
    before.sector = (before.bearing - 0.01, before.bearing + 0.01)
    memory, o = Memory(), obstacle(POSITION, 0.0, 3.0)
    for i in range(30):  # something hides the place
        memory.update([before], 0.1 * i, 640, 512, HOVERS, camera=CAMERA, mount=MOUNT)
    memory.update([o], 3.0, 640, 512, HOVERS, camera=CAMERA, mount=MOUNT)
    assert not o.appeared


@pytest.mark.parametrize("speed", [0.0, 4.0])
def test_a_look_before_shows_the_place_from_where_the_vehicle_was(speed):
    ego, memory = Ego((speed, 0.0, 0.0), (0.0, 0.0, 0.0), np.eye(3), 1.5), Memory()
    for i in range(30):
        memory.update([], 0.1 * i, 640, 512, ego, camera=CAMERA, mount=MOUNT)
    o = obstacle((6.0, 0.2, 0.0), 0.0, 3.0)
    o.track.hit(o.track.box, 0.7, 0, 3.0)
    memory.update([o], 3.0, 640, 512, ego, camera=CAMERA, mount=MOUNT)
    assert o.appeared


def test_what_the_vehicle_turned_to_did_not_appear():
    memory, turns = Memory(), Ego((0.0, 0.0, 0.0), (0.0, 0.0, 1.0), np.eye(3), 1.5)
    for i in range(30):  # 3 rad
        memory.update([], 0.1 * i, 640, 512, turns, camera=CAMERA, mount=MOUNT)
    o = obstacle(POSITION, 0.0, 3.0)
    o.track.hit(o.track.box, 0.7, 0, 3.0)
    memory.update([o], 3.0, 640, 512, turns, camera=CAMERA, mount=MOUNT)
    assert not o.appeared


def test_a_track_that_coasts_where_looks_show_nothing_is_gone_and_comes_back_with_its_next_detection():
    memory = Memory()
    for i in range(30):
        memory.update([], 0.1 * i, 640, 512, HOVERS, camera=CAMERA, mount=MOUNT)
    o, states = obstacle(POSITION, 0.0, 3.0), []
    for i in range(12):
        if i < 6 or i == 11:
            o.track.hit(o.track.box, 0.7, 0, 3.0 + 0.1 * i)
        else:
            o.track.detection = -1
        memory.update([o], 3.0 + 0.1 * i, 640, 512, HOVERS, camera=CAMERA, mount=MOUNT)
        states.append(o.gone)
    assert not any(states[:7]) and all(states[8:11]) and not states[11]  # one missed look is not enough


def test_what_appeared_is_looked_for_at_sizes_at_which_it_was_never_found_too():
    assert seconds_kept(empty_s=3.0, shrink=0.6, most=4.0) < 1.0 < seconds_kept(shrink=0.6, most=4.0)


def test_what_was_found_there_now_and_then_did_not_appear():
    def appeared(found_in):
        memory, o = Memory(), obstacle(POSITION, 0.0, 3.5)
        for i in range(30):
            boxes = [o.track.box] if i in found_in else []
            memory.update([], 0.1 * i, 640, 512, HOVERS, camera=CAMERA, mount=MOUNT, boxes=boxes)
        o.track.hit(o.track.box, 0.7, 0, 3.5)
        memory.update([o], 3.5, 640, 512, HOVERS, camera=CAMERA, mount=MOUNT)
        return o.appeared

    assert appeared(()) and appeared((3,)) and not appeared((3, 8, 14, 21, 27))


def test_what_was_remembered_and_is_found_as_another_track_did_not_appear():
    memory = Memory()
    old, new = obstacle(POSITION, 0.0, 0.0, track_id=1), obstacle(POSITION, 0.0, 0.0, track_id=2)
    for i in range(10):
        old.track.hit(old.track.box, 0.7, 0, 0.1 * i)
        memory.update([old], 0.1 * i, 640, 512, HOVERS, camera=CAMERA, mount=MOUNT)
    for i in range(10, 19):
        assert memory.update([], 0.1 * i, 640, 512, HOVERS, camera=CAMERA, mount=MOUNT)
    new.track.start_s = 1.9
    new.track.hit(new.track.box, 0.7, 0, 1.9)
    assert memory.update([new], 1.9, 640, 512, HOVERS, camera=CAMERA, mount=MOUNT) == [new] and not new.appeared


@pytest.mark.parametrize(
    ("distortion", "model"), [((-0.35, 0.1, 0.0, 0.0, 0.0), "plumb_bob"), ((0.0,) * 4, "equidistant")]
)
def test_a_look_knows_the_lens(distortion, model):
    """30 degrees aside a pinhole would be 20 pixels off: what is found there would count as missed."""
    camera = Camera(400.0, 400.0, 320.0, 256.0, 640, 512, distortion, model)
    position = np.array([10.0, -10.0 * math.tan(math.radians(30.0)), 0.0])
    u, v = camera.pixels([(math.tan(math.radians(30.0)), 0.0)])[0]
    assert abs(u - (320.0 + 400.0 * math.tan(math.radians(30.0)))) > 15.0
    assert camera.rays([(u, v)])[0, 0] == pytest.approx(math.tan(math.radians(30.0)), abs=1e-3)
    there = [u - 10.0, v - 20.0, u + 10.0, v + 20.0]
    assert View(camera, MOUNT, [there], 2.0).finds(position, 20.0, 40.0) is True
    assert View(camera, MOUNT, [[u + 15.0, v - 20.0, u + 35.0, v + 20.0]], 2.0).finds(position, 20.0, 40.0) is False


def test_where_the_model_of_the_lens_does_not_hold_there_is_no_look():
    camera = Camera(400.0, 400.0, 320.0, 256.0, 640, 512, (-0.35, 0.0, 0.0, 0.0, 0.0))
    assert np.isnan(camera.pixels([(1.8, 0.0)])).all()
    assert View(camera, MOUNT, [], 2.0).finds(np.array([5.0, -9.0, 0.0]), 20.0, 40.0) is None
