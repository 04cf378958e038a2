"""What vanishes near is remembered where it must be now; what left the view, or was far, is not."""

import math

import numpy as np
import pytest
from known_obstacles import obstacle

from vit_perception.avoidance.corridor import Corridor
from vit_perception.avoidance.geometry import Ego
from vit_perception.avoidance.memory import MOST, Memory
from vit_perception.avoidance.scan import make_scan

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
            corridor.assess(kept, ego)
            answers.append([(o.threatens, o.ttc_s) for o in kept])
        return answers

    answers = leaves(looks=3)
    assert answers[9] == [(True, pytest.approx(1.1, abs=0.01))] and answers[-1] == []
    assert leaves(looks=2)[0] == []


@pytest.mark.parametrize(("threatens", "speed", "kept"), [(True, 2.0, True), (False, 2.0, False), (True, 0.0, False)])
def test_a_detector_that_loses_what_is_flown_into_does_not_clear_it(threatens, speed, kept):
    memory, ego = Memory(), Ego((speed, 0.0, 0.0), (0.0, 0.0, 0.0))
    for i in range(3):
        car = obstacle((14.0 - 0.2 * i, 0, 0), 2.0, 0.1 * i)  # beyond near_m, and beyond 5 s of flight
        car.track.hits = 3 + i
        memory.update([car], 0.1 * i, *IMAGE, ego)
        car.threatens = threatens
    answer = memory.update([], 1.2, *IMAGE, ego)
    assert bool(answer) == kept
    if kept:  # at 13.6 m then, its sigma of 1.36 m nearer, and 2 m flown since
        assert answer[0].position == pytest.approx([13.6 - 1.36 - 2.0, 0.0, 0.0]) and answer[0].ttc_s is None


@pytest.mark.parametrize("velocity", [(0.0, 0.0, 0.0), (-1.0, 0.0, 0.0), None])
def test_a_camera_that_looks_back_has_a_memory_too(velocity):
    ego = None if velocity is None else Ego(velocity, (0.0, 0.0, 0.0))
    ahead = (280, 200, 360, 300)
    assert watch((-3.4, 0.3, 0), ego, 1.0, box=ahead)[-1], "nothing was passed"


@pytest.mark.parametrize("speed", [-0.5, -1.5, -2.5])
def test_what_is_backed_off_from_was_not_passed(speed):
    """A vehicle that bounces off what it met comes back to it. In 5 s it is over where the vehicle flies on."""
    answers = watch((2.4, 0.4, -0.3), Ego((speed, 0.0, 0.0), (0.0, 0.0, 0.0)), 5.5, width=2.0)
    assert answers[0] and answers[9] and answers[48] and (bool(answers[-1]) == (speed > -1.0))


@pytest.mark.parametrize("speed", [0.0, 0.6, -0.5, 3.0])
@pytest.mark.parametrize(("box", "y", "width"), [
    ((-51, 120, 386, 400), 0.4, 3.4),  # covers the middle of the image
    ((0, 120, 300, 400), 1.3, 1.6),  # its edge is half a metre beside the middle, and the vehicle .8 m wide
    ((340, 120, 640, 400), -1.3, 1.6),
])  # fmt: skip
def test_what_touches_the_side_and_reaches_into_the_way_has_not_left(speed, box, y, width):
    ego = Ego((speed, 0.0, 0.0), (0.0, 0.0, 0.0))
    assert len(watch((2.4, y, -0.3), ego, 0.1, box=box, width=width)[0]) == 1
    assert len(watch((2.4, 2.0 * y, -0.3), ego, 0.1, box=box, width=0.5)[0]) == (1 if abs(y) < 1 else 0)


def test_a_camera_that_looks_aside_has_its_own_way_and_the_course_is_one_too():
    box, aside = (0, 120, 300, 400), (0.0, 1.0, 0.0)
    for axis, velocity, kept in (
        (aside, (0.0, 0.0, 0.0), 1), ((1.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), 1),
    ):  # fmt: skip
        memory, o, ego = Memory(), obstacle((0.3, 2.4, 0.0), 0.0, 0.0), Ego(velocity, (0.0, 0.0, 0.0))
        o.track.hits, o.track.box = 10, np.array(box, np.float32)
        memory.update([o], 0.0, *IMAGE, ego, axis)
        assert len(memory.update([], 0.1, *IMAGE, ego, axis)) == kept


def test_what_is_seen_again_straight_behind_is_itself():
    memory = Memory()
    assert watch((-3.0, 0.05, 0), None, 0.2, memory, width=2.0, box=(280, 200, 360, 300))[-1]
    again = obstacle((-3.0, -0.05, 0), 0.0, 0.3, width=2.0, track_id=2)
    assert len(memory.update([again], 0.3, *IMAGE)) == 1


def test_stamps_that_stand_still_do_not_keep_it_for_ever():
    for comes in (False, True):
        memory, o = Memory(), obstacle((3.0, 0, 0), 1.0, 0.0)
        o.track.hits, o.threatens = 10, True
        if comes:
            o.track.box[[0, 2]] = 600, 640
        for _ in range(4):
            memory.update([o], 0.0, *IMAGE)
        answers = [memory.update([], 0.0, *IMAGE) for _ in range(60)]
        assert answers[0] and not answers[-1]


@pytest.mark.parametrize("speed", [0.6, 1.5])
def test_a_vehicle_that_is_held_up_by_what_it_remembers_does_not_forget_it(speed):
    memory, o = Memory(), obstacle((3.0, 0, 0), 0.0, 0.0, width=2.0)
    o.track.hits = 10
    memory.update([o], 0.0, *IMAGE, Ego((speed, 0.0, 0.0), (0.0, 0.0, 0.0)))
    for i in range(100):  # braked in front of it, a vehicle swings
        answer = memory.update([], 0.1 * (i + 1), *IMAGE, Ego((speed * (-1) ** i, 0.0, 0.0), (0.0, 0.0, 0.0)))
    assert answer


def stands_before(position, width, box, seconds, rate=10):
    """What is left of an obstacle that a vehicle stands before, stick held, `seconds` after the detector lost it."""
    memory, o, still = Memory(), obstacle(position, 0.0, 0.0, width=width), Ego((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    o.track.hits, o.track.box = 30, np.array(box, np.float32)
    memory.update([o], 0.0, *IMAGE, still)
    for i in range(int(seconds * rate)):
        answer = memory.update([], (i + 1) / rate, *IMAGE, still)
    return memory, answer


@pytest.mark.parametrize("box", [(100, 60, 520, 470), (-51, 120, 386, 400)])  # fills the image; cut by its side
def test_time_alone_does_not_let_go_of_what_the_detector_cannot_see_right_ahead(box):
    """A car was hit at 3.8 m/s after 7 s of waiting."""
    memory, answer = stands_before((2.4, 0.2, -0.3), 2.0, box, 600.0, rate=2)
    assert len(answer) == 1
    # The pilot backs off, to where it would be seen whole, and it is not there: then it is forgotten as in flight.
    back = [memory.update([], 600.0 + 0.1 * i, *IMAGE, Ego((-2.0, 0.0, 0.0), (0.0, 0.0, 0.0))) for i in range(1, 90)]
    assert len(back[20]) == 1 and back[-1] == []


def test_looks_that_do_not_find_it_where_it_would_be_seen_whole_do():
    assert stands_before((4.5, 0.0, -0.3), 0.5, (300, 180, 340, 330), 59.0)[1]
    assert not stands_before((4.5, 0.0, -0.3), 0.5, (300, 180, 340, 330), 61.0)[1]


def test_straight_flight_without_it_in_sight_forgets_what_was_far_aside():
    """Held up is who gets nowhere: 3 m/s on and on is flight, whatever the speed of the moment."""
    memory, o = Memory(), obstacle((15.0, 4.0, 0), 0.0, 0.0)
    o.track.hits = 10
    memory.update([o], 0.0, *IMAGE, Ego((3.0, 0.0, 0.0), (0.0, 0.0, 0.0)))
    answers = [memory.update([], 0.1 * i, *IMAGE, Ego((2.0 + 1.5 * (i % 2), 0.0, 0.0), None)) for i in range(1, 60)]
    assert answers[10] and not answers[-1]


def test_what_stands_behind_it_does_not_replace_it():
    """A person is remembered at 3 m, and the car 15 m behind takes the same directions: both are in the scan."""
    memory, still = Memory(), Ego((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    watch((3.0, 0, 0), still, 0.2, memory)
    car = obstacle((18.0, 0, 0), 0.0, 0.3, width=6.0, track_id=2)
    answer = memory.update([car], 0.3, *IMAGE, still)
    assert len(answer) == 2 and make_scan(answer)[36] == pytest.approx(2.7, abs=0.01)
    nearer = obstacle((3.6, 0, 0), 0.0, 0.4, track_id=3)
    assert len(memory.update([nearer], 0.4, *IMAGE, still)) == 1


def test_images_that_come_twice_each_do_not_use_it_up():
    memory, hovering, o = Memory(), Ego((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)), obstacle((3.0, 0, 0), 0.0, 0.0)
    o.track.hits = 10
    memory.update([o], 0.0, *IMAGE, hovering)
    assert all(memory.update([], i // 2 / 30.0, *IMAGE, hovering) for i in range(1, 600))


@pytest.mark.parametrize("motion", [(-0.35, 0.0, 0.0), (0.0, -0.35, 0.0), (0.0, 0.35, 0.0), (0.0, 0.0, 0.4)])
@pytest.mark.parametrize("turned", [0.0, 3.0])
def test_a_gust_does_not_clear_the_way(motion, turned):
    """What was ahead is passed when it lies behind, not as soon as the vehicle moves away from it or aside."""
    still, memory, o = (0.0, 0.0, 0.0), Memory(), obstacle((3.0, 0.02, -0.3), 0.0, 0.0, width=2.0)
    o.track.hits = 10
    memory.update([o], 0.0, *IMAGE, Ego(still, still))
    rates = [(0.0, 0.0, turned)] * 10 + [still] * 10  # half a turn: then ahead is where it came from
    assert all(memory.update([], 0.1 * (i + 1), *IMAGE, Ego(still, r)) for i, r in enumerate(rates))
    assert memory.update([], 2.1, *IMAGE, Ego(motion, still)) and memory.update([], 2.2, *IMAGE, Ego(still, still))


def test_what_vanishes_straight_below_is_kept_though_it_has_no_horizontal_range():
    memory, o = Memory(), obstacle((3.0, 0, 0), 0.0, 0.0)
    o.track.hits, o.range_m, o.position = 10, 0.0, np.array([0.0, 0.0, -3.0])
    memory.update([o], 0.0, *IMAGE)
    assert memory.update([], 0.1, *IMAGE)[0].position == pytest.approx([0.0, 0.0, -3.0])


def test_a_ghost_that_was_flown_into_is_not_there_for_long_while_the_vehicle_hovers():
    def kept(hits):
        memory, o = Memory(), obstacle((14.0, 0, 0), 0.0, 0.0)
        o.track.hits, o.threatens = hits, True
        for i in range(2):
            memory.update([o], 0.1 * i, *IMAGE, Ego((2.0, 0.0, 0.0), (0.0, 0.0, 0.0)))
        memory.update([], 0.2, *IMAGE, Ego((2.0, 0.0, 0.0), (0.0, 0.0, 0.0)))
        return bool(memory.update([], 10.0, *IMAGE, Ego((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))))

    assert not kept(4) and kept(10)


def test_no_more_than_so_many_are_kept():
    memory, many = Memory(), [obstacle((3.0, 0.0, 0), 0.0, 0.0, width=0.01, track_id=i) for i in range(MOST + 20)]
    for o in many:
        o.track.hits = 10
    memory.update(many, 0.0, *IMAGE)
    assert len(memory.update([], 0.1, *IMAGE)) == MOST


def test_what_left_the_view_when_its_time_was_over_comes_no_more():
    memory, ego = Memory(), Ego((1.5, 0.0, 0.0), (0.0, 0.0, 0.0))
    for i in range(5):
        walker = obstacle((4.0, -3.4, 0), 2.5, 0.0)
        walker.track.hits, walker.track.box[[0, 2]], walker.ttc_s = 10, (600, 640), 0.3
        walker.track.detection = 0 if i < 4 else -1  # coasts, for longer than its time to contact
        memory.update([walker], (0.0, 0.1, 0.2, 0.3, 0.8)[i], *IMAGE, ego)
        walker.threatens = True
    assert memory.update([], 0.9, *IMAGE, ego) == []


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


STILL = (0.0, 0.0, 0.0)


def left_of(phases, step=0.1, ranged=True):
    """What is left of what fills the image 2.4 m ahead after phases of (velocity, turning, seconds)."""
    memory, o, t = Memory(), obstacle((2.4, 0, 0), 0.0, 0.0, width=2.0, ranged=ranged), 0.0
    o.track.hits, o.track.box = 30, np.array((100, 60, 520, 470), np.float32)
    memory.update([o], t, *IMAGE, Ego(STILL, STILL))
    for velocity, turning, seconds in phases:
        for _ in range(round(seconds / step)):
            t += step
            answer = memory.update([], t, *IMAGE, Ego(velocity, turning))
    return answer


def test_what_has_no_range_is_kept_before_a_vehicle_that_stands_and_not_for_ever_by_one_that_flew_away():
    """Its rays turn with the vehicle; where it is after a flight nobody knows. It blocked all flights, for ever."""
    assert left_of([(STILL, STILL, 150.0)], ranged=False)
    turned = left_of([(STILL, (0.0, 0.0, 0.5), 2.0)], ranged=False)[0]  # left, so it is to the right
    assert turned.bearing == pytest.approx(1.0) and sum(turned.sector) == pytest.approx(2.0)
    for phases in ([((-3.0, 0.0, 0.0), STILL, 9.0)], [((3.0, 0.0, 0.0), STILL, 9.0)], [
        (STILL, (0.0, 0.0, 0.5), math.pi), (STILL, STILL, 61.0)
    ]):  # fmt: skip
        assert left_of(phases, ranged=False) == []


@pytest.mark.parametrize("phases, step", [
    ([((0.0, 0.0, 2.0), STILL, 5.0), (STILL, STILL, 61.0)], 0.1),  # climbed 10 m above it, from where it would be seen
    ([(STILL, None, 61.0)], 0.1),  # nobody knows how the vehicle turned
    ([(STILL, STILL, 62.0)], 2.0),  # nor where it was between these images
])  # fmt: skip
def test_time_lets_go_where_nobody_knows_that_it_is_still_ahead(phases, step):
    assert left_of(phases, step) == []


def test_who_stood_before_a_disarmed_vehicle_is_no_obstacle_for_ever():
    memory, answer = stands_before((1.2, 0.0, -0.3), 0.5, (250, 0, 390, 512), 30.0)
    memory.disarmed = True
    later = [memory.update([], 30.0 + 0.1 * i, *IMAGE, Ego(STILL, STILL)) for i in range(1, 620)]
    assert answer and later[0] and later[-1] == []


def test_what_the_top_of_the_image_cuts_is_not_seen_whole_either():
    """A camera that looks 20 degrees down, and a car 4 m ahead."""
    assert stands_before((4.0, 0.0, -0.3), 1.8, (270, 0, 500, 200), 300.0, rate=2)[1]
