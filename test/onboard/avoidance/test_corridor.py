"""The corridor: what will be hit threatens, what will be passed does not, and what cannot be told does."""

import math

import numpy as np
import pytest
from known_obstacles import obstacle

from vit_perception.avoidance.corridor import Corridor
from vit_perception.avoidance.geometry import Ego, rotation_z

DT = 0.1


def judged(
    start, own=(0.0, 0.0, 0.0), other=(0.0, 0.0, 0.0), seconds=1.0, turn=0.0, knows=True, gyro=True, corridor=None,
    above_ground=None, **kw
):  # fmt: skip
    """Verdict after `seconds` of watching one object from `start` (world = base_link at time 0), as the vehicle flies
    with `own` m/s, `above_ground` m high, and turns left with `turn` rad/s, and the object moves with `other` m/s.
    """
    corridor = corridor or Corridor()
    start, own, other = (np.array(v, float) for v in (start, own, other))
    for i in range(round(seconds / DT) + 1):
        t = i * DT
        to_body = rotation_z(-turn * t)
        away = start + t * (other - own)
        closing = -float(away @ (other - own)) / float(np.linalg.norm(away))
        o = obstacle(to_body @ away, closing, 100.0 + t, **kw)
        ego = Ego(to_body @ own if knows else None, (0, 0, turn) if gyro else None, np.eye(3), above_ground)
        corridor.assess([o], ego)
    return o.threatens


def test_what_is_ahead_threatens_and_what_is_beside_does_not():
    assert judged((20, 0, 0), own=(5, 0, 0)) is True
    assert judged((20, 4, 0), own=(5, 0, 0)) is False
    assert judged((20, 0, -8), own=(5, 0, 0)) is False  # far below: flown over


def test_the_corridor_lies_along_the_flight_not_along_the_camera():
    sideways = 5 * np.array([math.cos(0.5), math.sin(0.5), 0])
    assert judged((20, 0, 0), own=sideways) is False
    assert judged(4 * sideways, own=sideways) is True
    assert judged((12, 0, 0), own=(0, 0, 3)) is False  # climbing past it
    assert judged((-8, 0, 0), own=(5, 0, 0)) is False  # left behind


def test_an_object_as_wide_as_the_gap_threatens():
    assert judged((20, 2.5, 0), own=(5, 0, 0), width=0.5) is False
    assert judged((20, 2.5, 0), own=(5, 0, 0), width=4.5) is True


def test_what_walks_into_the_way_threatens_before_it_is_there():
    # 4 s to go; it is 6 m beside the way and walks 1.5 m/s: there when the vehicle is, or long gone the other way.
    assert judged((25, 7.5, 0), own=(5, 0, 0), other=(0, -1.5, 0)) is True
    assert judged((25, 7.5, 0), own=(5, 0, 0), other=(0, 1.5, 0)) is False


@pytest.mark.parametrize("turn", [0.0, math.radians(60)])
def test_a_hovering_vehicle_is_threatened_by_what_comes_to_it_only(turn):
    watch = {"turn": turn, "seconds": 0.8}
    assert judged((12, 8, 0), other=(0, -4, 0), **watch) is False  # passes in front, 12 m away
    assert judged((20, 6, 0), other=(-5, 0, 0), **watch) is False  # passes by, 6 m beside
    assert judged((9, 0, 0), **watch) is False  # stands
    assert judged((20, 6, 0), other=(-5, -1.5, 0), **watch) is True  # comes straight here


def test_what_drives_on_the_ground_does_not_come_up():
    low, hover = (20, 0, -12), (0.0, 0.0, 0.0)
    straight = -0.25 * np.array(low)  # an apparent course, as noise would have it
    assert judged(low, hover, straight) is False
    assert judged(low, hover, straight, corridor=Corridor(others_fly=True)) is True
    assert judged((20, 0, -12), own=(0, 0, -3), other=(-5, 0, 0)) is True  # the vehicle descends into its way


def test_a_range_that_is_too_short_does_not_lift_what_drives_off_the_ground():
    """By its size at half of its distance, so at half of its depth below: where the height is known, that is told."""
    low = {"start": (4, 0, -2.2), "other": (-2, 0, 1.1)}  # truly 8 m away and 4.4 m below the vehicle
    assert judged(**low) is True
    assert judged(above_ground=5.2, **low) is False
    assert judged(above_ground=3.0, **low) is True  # it may be as high as that
    assert judged((4, 0, 0), other=(-2, 0, 0), above_ground=5.2) is True  # at the vehicle's height: on a hill


def test_what_is_very_near_threatens_but_not_from_far_below_nor_by_a_range_that_tells_nothing():
    climbing = Ego((0, 0, 2.0), (0, 0, 0))
    for position, sigma, near in (((1, 0, -0.5), 0.5, True), ((1, 0, -8), 0.5, False), ((1, 0, -0.5), 4.0, False)):
        o = obstacle(position, 0.0, 1.0)
        o.range_m, o.range_sigma_m, o.covariance = 1.0, sigma, sigma**2 * np.eye(3)
        Corridor(keep_m=1.5).assess([o], climbing)
        assert o.threatens is near


@pytest.mark.parametrize("below", [0.3, 0.8, 1.2])
def test_what_is_near_and_straight_below_threatens_though_its_horizontal_range_is_nothing(below):
    o = obstacle((0.02, 0, -below), 0.0, 1.0)
    o.range_m, o.range_sigma_m, o.covariance = 0.02, 0.05, np.diag([0.05, 0.05, 0.6]) ** 2
    Corridor(keep_m=1.5).assess([o], Ego((0, 0, 0), (0, 0, 0)))
    assert o.threatens is True


def test_without_a_gyro_the_course_is_unknown_and_what_closes_in_threatens():
    assert judged((20, 6, 0), other=(-5, 0, 0), gyro=False) is True
    assert judged((20, 6, 0), other=(0, 5, 0), gyro=False) is False  # does not close in


def test_with_the_velocity_unknown_the_corridor_is_around_the_optical_axis():
    unknown = {"knows": False, "gyro": False}
    assert judged((15, 0, 0), own=(5, 0, 0), **unknown) is True
    assert judged((15, 8, 0), own=(5, 0, 0), **unknown) is False
    assert judged((8, 0, 0), **unknown) is False  # ahead, but it does not come nearer
    corridor = Corridor()
    o = obstacle((0, 15, 0), 5.0, 1.0)
    corridor.assess([o], None, (0.0, 1.0, 0.0))  # a camera that looks left
    assert o.threatens is True


@pytest.mark.parametrize("known", [{}, {"knows": False}, {"knows": False, "gyro": False}])
def test_what_cannot_be_told_threatens(known):
    assert judged((15, 0, 0), own=(5, 0, 0), ranged=False, **known) is True
    assert judged((15, 6, 0), own=(5, 0, 0), calibrated=False, ranged=False, **known) is True


def test_without_range_the_course_tells_what_will_be_passed():
    assert judged((15, 8, 0), own=(5, 0, 0), ranged=False) is False
    assert judged((15, 8, 0), own=(5, 0, 0), ranged=False, gyro=False) is False  # range from speed and time to contact


def test_what_is_very_near_threatens_whatever_it_does():
    assert judged((1.2, 0.5, 0), other=(0, 0.2, 0), seconds=0.0) is True


def test_a_box_that_stops_growing_at_the_image_border_goes_on_threatening():
    corridor, unknown = Corridor(), Ego()
    for i in range(30):
        distance = max(6.0 - 0.4 * i, 2.0)  # from 2 m on the box fills the image and stays as it is
        o = obstacle((distance, 0, 0), 4.0 if distance > 2 else 0.0, 0.1 * i)
        corridor.assess([o], unknown)
    assert o.threatens is True


def beside(turning, steady, seconds=0.8):
    """Verdict on something 6 m ahead and 4 m to the right, said to be there in 2 s, while 3 m/s are flown ahead: its
    line of sight turns by `turning` times what it would if it stood there.
    """
    corridor, velocity, position = Corridor(), np.array([3.0, 0.0, 0.0]), np.array([6.0, -4.0, 0.0])
    for i in range(round(seconds / DT) + 1):
        o = obstacle(position, 3.6, 100.0 + i * DT)
        stands = 3.0 * 4.0 / 52.0  # rad/s: v sin(bearing) / distance
        angle = math.atan2(4.0, 6.0) + turning * stands * i * DT
        o.rays, o.steady = np.array([[math.cos(angle), -math.sin(angle), 0.0]] * 3), steady
        corridor.assess([o], Ego(velocity, (0.0, 0.0, 0.0)))
    return o.threatens


def test_what_stands_beside_the_way_is_passed_though_its_inner_edge_lies_farther():
    """A parked car, cut by the image's side: its far end turns slower than what stands at its middle."""
    assert beside(turning=1.0, steady=0) is False
    assert beside(turning=0.4, steady=1) is False
    assert beside(turning=0.0, steady=1) is True  # keeps its bearing: it moves, and comes


def test_a_predicted_box_keeps_a_threat_but_makes_none():
    ahead, ego = (10.0, 0.0, 0.0), Ego((5.0, 0.0, 0.0), (0.0, 0.0, 0.0))

    def verdict(corridor, detected, remembered=False, t=1.0):
        o = obstacle(ahead, 5.0, t)
        o.track.detection, o.remembered = 0 if detected else -1, remembered
        corridor.assess([o], ego)
        return o.threatens

    corridor = Corridor()
    assert verdict(corridor, detected=False) is False
    assert verdict(corridor, detected=True, t=1.1) is True
    assert verdict(corridor, detected=False, t=1.2) is True
    assert verdict(Corridor(), detected=False, remembered=True) is True  # it was seen there


def test_bad_values_are_no_knowledge():
    corridor = Corridor()
    o = obstacle((15, 0, 0), 5.0, 1.0)
    assert corridor.assess([o], Ego((math.nan, 0, 0), (math.inf, 0, 0))) is None
    assert o.threatens is True
    assert corridor.assess([], Ego((3.0, 4.0, 0.0))).speed_mps == 5.0


def test_stamps_that_repeat_or_jump_break_nothing():
    corridor, ego = Corridor(), Ego((5, 0, 0), (0, 0, 0.3))
    for t in (1.0, 1.0, 1.1, 0.5, 0.6, 99.0, 99.1):
        o = obstacle((15, 0, 0), 5.0, t)
        corridor.assess([o], ego)
        assert o.threatens is True


def test_stopping_distance_and_time():
    stopping = Corridor(reaction_s=0.5, deceleration_mps2=4.0).stopping(8.0)
    assert stopping.time_s == pytest.approx(0.5 + 2.0)
    assert stopping.distance_m == pytest.approx(4.0 + 8.0)


def test_agrees_with_geometry_over_random_flights():
    """Standing objects: outside the corridor by 1 m and more it must not threaten, inside it must."""
    rng = np.random.default_rng(4)
    vehicle = Corridor()
    for _ in range(150):
        speed, heading = rng.uniform(2, 9), rng.uniform(-0.5, 0.5)
        own = speed * np.array([math.cos(heading), math.sin(heading), 0.0])
        start = np.array([rng.uniform(12, 25), rng.uniform(-10, 10), 0.0])
        seconds = 0.5
        away = start - seconds * own
        along = float(away @ own) / speed
        miss = abs(float(np.cross(own, away)[2])) / speed
        limit = 0.25 + 0.5 * vehicle.width_m + vehicle.margin_m
        sigma = 0.1 * miss + 0.1
        if along > 2 and miss < limit:
            assert judged(start, own, seconds=seconds) is True, (start, own)
        elif miss > limit + sigma + 1.0:
            assert judged(start, own, seconds=seconds) is False, (start, own)


@pytest.mark.parametrize(("speed", "threatens"), [(4.0, False), (2.0, True), (0.0, True)])
def test_what_flies_along_ahead_is_not_hit(speed, threatens):
    """The vehicle flies 4 m/s: what leads the way as fast threatens nobody, nor does a spot on the lens."""

    def whole(corridor):
        for i in range(11):
            o = obstacle((6.0 + 0.1 * i * (speed - 4.0), 0, 0), 0.0, 100.0 + 0.1 * i)
            o.whole = True
            corridor.assess([o], Ego((4.0, 0, 0), (0, 0, 0), np.eye(3), None))
        return o.threatens

    assert whole(Corridor()) is threatens


def test_a_box_that_the_border_cuts_grows_no_more_and_threatens():
    corridor = Corridor()
    for i in range(11):
        o = obstacle((6.0, 0, 0), 0.0, 100.0 + 0.1 * i)  # not whole
        corridor.assess([o], Ego((4.0, 0, 0), (0, 0, 0), np.eye(3), None))
    assert o.threatens is True


def test_a_range_that_is_wrong_moves_an_edge_along_its_own_line_of_sight():
    """A car 12 m ahead and 3.9 m aside, 4.2 m wide: 1.8 m of room. Its range is uncertain by 2.4 m."""

    def verdict(aside):
        o = obstacle((12.0, aside, 0.0), 0.0, 100.0, width=4.2, height=1.5)
        position = o.position / o.range_m
        o.range_sigma_m = 0.2 * o.range_m
        o.covariance = o.range_sigma_m**2 * np.outer(position, position) + 0.01 * np.eye(3)
        Corridor().assess([o], Ego((3.0, 0, 0), (0, 0, 0), np.eye(3), None))
        return o.threatens

    assert verdict(3.9) is False and verdict(3.0) is True


def test_who_turns_sideways_gets_narrower_and_still_threatens():
    """6.3 m ahead of a vehicle at 1 m/s, from 0.65 to 0.3 m wide in 0.6 s: its area shrinks, its height does not."""
    corridor, threats = Corridor(), []
    for i in range(16):
        width = 0.65 - 0.35 * min(max(i - 4, 0) / 9.0, 1.0)
        o = obstacle((6.3 - i / 15.0, 0, 0), 0.0, 100.0 + i / 15.0, width=width, height=1.7)
        o.whole = True
        corridor.assess([o], Ego((1.0, 0, 0), (0, 0, 0), np.eye(3), None))
        threats.append(o.threatens)
    assert all(threats)
