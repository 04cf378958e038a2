"""Missed looks: what would surely be found where it is remembered, and is not, is forgotten soon; nothing else is."""

import math

import numpy as np
import pytest
from known_obstacles import FOCAL, obstacle

from vit_perception.avoidance.camera import Camera
from vit_perception.avoidance.geometry import Ego, Mount
from vit_perception.avoidance.memory import Memory

CAMERA, MOUNT = Camera(FOCAL, FOCAL, 320, 256, 640, 512), Mount.from_angles()
HOVERS = Ego((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), np.eye(3), 1.5)
POSITION = (4.0, 0.2, 0.0)


def seconds_kept(
    position=POSITION, found=1.0, shrink=1.0, ego=HOVERS, others=(), camera=CAMERA, mount=MOUNT, box=None, most=8.0,
    fps=10.0, slices=((), ()),
):  # fmt: skip
    """How long an object is remembered that was detected in `found` of 20 frames, `shrink` smaller before, then never.

    others: obstacles that are detected all the time.
    """
    memory, o = Memory(), obstacle(position, 0.0, 0.0)
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
