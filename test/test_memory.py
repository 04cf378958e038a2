"""What vanishes near is remembered where it must be now; what left the view, or was far, is not."""

import math

import numpy as np
import pytest
from test_corridor import obstacle

from vit_perception.corridor import Corridor
from vit_perception.geometry import Ego
from vit_perception.memory import Memory
from vit_perception.scan import make_scan

IMAGE = (640, 512)


def watch(position, ego, seconds, memory=None, box=None, hits=10, **kw):
    """The memory's answers after the object at `position` vanished at time 0, every 0.1 s for `seconds`."""
    memory = memory or Memory()
    o = obstacle(position, 0.0, 0.0, **kw)
    o.track.hits = hits
    if box is not None:
        o.track.box = np.array(box, np.float32)
    memory.update([o], 0.0, *IMAGE, ego)
    return [memory.update([], 0.1 * (i + 1), *IMAGE, ego) for i in range(round(seconds / 0.1))]


def test_a_car_that_fills_the_image_stays_in_front():
    hovering = Ego((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    answers = watch((2.0, 0, 0), hovering, 20.0, box=(0, 0, 640, 512), width=4.0)
    assert all(len(a) == 1 for a in answers)
    scan = make_scan(answers[-1], (-0.6, 0.6), publish_clear=True)
    assert scan[36] == pytest.approx(1.8, abs=0.01)  # its sigma nearer than it was


def test_it_comes_nearer_as_the_vehicle_flies_and_ends_behind():
    answers = watch((5.0, 1.0, 0), Ego((5.0, 0.0, 0.0), (0.0, 0.0, 0.0)), 1.5)
    near = answers[4][0]  # 0.1 of its range is its sigma: kept at (4.5, 0.9)
    assert near.position == pytest.approx([2.0, 0.9, 0.0]) and near.bearing == pytest.approx(-math.atan2(0.9, 2.0))
    assert near.sector[0] < near.bearing < near.sector[1] and answers[-1] == []


def test_it_turns_with_the_vehicle():
    quarter = watch((4.0, 0.0, 0.0), Ego((0.0, 0.0, 0.0), (0.0, 0.0, 0.5)), 1.0)[-1][0]  # turns left
    assert quarter.bearing == pytest.approx(0.5, abs=0.02)  # so it is to the right now


def test_far_things_and_those_that_left_at_the_side_are_forgotten():
    assert watch((20.0, 0, 0), None, 0.3)[0] == []
    assert watch((3.0, 2.0, 0), None, 0.3, box=(0, 100, 90, 400))[0] == []


def test_what_was_hardly_seen_is_no_obstacle_for_long():
    assert watch((3.0, 0, 0), None, 0.3, hits=5)[0] == [] and watch((3.0, 0, 0), None, 0.3, hits=6)[0] != []


def test_without_knowledge_of_the_vehicle_it_stays_for_a_moment():
    answers = watch((3.0, 0, 0), None, 7.0)
    assert answers[0][0].range_m == pytest.approx(2.7) and answers[48] and answers[-1] == []


def test_seen_again_it_is_itself_and_a_small_thing_in_front_does_not_replace_it():
    for width, left in ((2.0, 1), (0.3, 2)):
        memory = Memory()
        watch((3.0, 0, 0), None, 0.2, memory, width=2.0)
        again = obstacle((3.0, 0, 0), 0.0, 0.3, width=width, track_id=2)
        assert len(memory.update([again], 0.3, *IMAGE)) == left


def test_its_own_track_found_again_replaces_it_wherever_it_is():
    memory = Memory()
    watch((3.0, 0, 0), None, 0.2, memory)
    assert len(memory.update([obstacle((3.0, 2.0, 0), 0.0, 0.3)], 0.3, *IMAGE)) == 1


def test_a_stamp_that_goes_back_forgets():
    memory = Memory()
    watch((3.0, 0, 0), None, 0.2, memory)
    assert memory.update([], -5.0, *IMAGE) == []


def test_what_left_the_view_on_a_collision_course_comes_until_its_time_is_over():
    def leaves(looks):
        memory, corridor, ego = Memory(), Corridor(), Ego((1.5, 0.0, 0.0), (0.0, 0.0, 0.0))
        for i in range(5):
            walker = obstacle((4.0, -3.4, 0), 2.5, 0.0)  # 2.1 s to go
            walker.track.hits, walker.track.box[[0, 2]] = 10, (600, 640)
            memory.update([walker], 0.1 * (i - 4), *IMAGE, ego)
            walker.threatens = i >= 5 - looks
        answers = []
        for i in range(30):
            kept = memory.update([], 0.1 * (i + 1), *IMAGE, ego)
            corridor.judge(kept, ego)
            answers.append([(o.threatens, o.ttc_s) for o in kept])
        return answers

    answers = leaves(looks=3)
    assert answers[9] == [(True, pytest.approx(1.1, abs=0.01))] and answers[-1] == []
    assert leaves(looks=2)[0] == []


def test_what_was_lost_is_kept_where_it_was_seen_not_where_its_box_drifted():
    memory, ego = Memory(), Ego((2.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    seen, drifted = obstacle((6.0, 0, 0), 0.0, 0.0), obstacle((3.0, 1.0, 0), 0.0, 0.5)
    seen.track.hits = drifted.track.hits = 10
    drifted.track.detection = -1
    memory.update([seen], 0.0, *IMAGE, ego)
    memory.update([drifted], 0.5, *IMAGE, ego)
    kept = memory.update([], 1.0, *IMAGE, ego)
    # 6 m less 2 m flown, and its sigma nearer.
    assert len(kept) == 1 and kept[0].remembered and kept[0].position == pytest.approx([4.0 - 0.6, 0.0, 0.0], abs=0.1)
