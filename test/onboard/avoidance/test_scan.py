"""The scan as the autopilots read it.

The autopilots' readers are in test/helpers/autopilot_readers.py.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from autopilot_readers import ardupilot_faces, mavros_distances, obstacle, px4_map, random_obstacles

from vit_perception.avoidance.geometry import Mount, level_from_angles
from vit_perception.avoidance.scan import clear_range, horizon_in_view, make_scan

UNKNOWN = 65535
CASES = 1500
f32 = np.float32


def outside(angle, left, right):
    """Degrees from `angle` to the sector from left clockwise to right; 0 inside."""
    ahead = (angle - left) % 360
    return 0.0 if ahead <= right - left else min(ahead - (right - left), 360 - ahead)


def test_every_autopilot_recovers_sector_and_distance_of_one_obstacle_all_around():
    rng = np.random.default_rng(0)
    for left, right, distance in random_obstacles(rng, CASES):
        message = mavros_distances(make_scan([obstacle(left, right, distance)]), 0.5, 40.0)
        expected = min(max(distance, 0.5), 40.0)
        said = (left, right, distance)

        filled = px4_map(message)
        hit = [10.0 * i for i in range(36) if filled[i] != UNKNOWN]
        assert hit and all(filled[int(a / 10)] == pytest.approx(100 * expected, abs=1) for a in hit), said
        assert all(a in hit for a in np.arange(0, 360, 10.0) if outside(a, left, right) <= 2.5), said
        assert all(outside(a, left, right) < 12.5 for a in hit), said

        faces = ardupilot_faces(message)
        for angle in (left, 0.5 * (left + right), right):
            assert faces[int((angle + 22.5) % 360 / 45)][0] == pytest.approx(expected, abs=0.011), said
        for nearest, yaw in faces.values():
            assert nearest == pytest.approx(expected, abs=0.011) and outside(yaw, left, right) <= 7.5 + 1e-3, said


def test_the_nearest_of_several_obstacles_is_never_hidden():
    rng = np.random.default_rng(1)
    for _ in range(CASES):
        many = list(random_obstacles(rng, int(rng.integers(1, 6))))
        message = mavros_distances(make_scan([obstacle(*m) for m in many]), 0.5, 40.0)
        filled, faces = px4_map(message), ardupilot_faces(message)
        for left, right, distance in many:
            limit = 100 * min(max(distance, 0.5), 40.0)
            for i in range(36):
                assert filled[i] <= limit + 1 or outside(10.0 * i, left, right) > 0, many
            assert faces[int((left + 22.5) % 360 / 45)][0] * 100 <= limit + 1, many
        nearest = min(max(min(m[2] for m in many), 0.5), 40.0)
        assert min(filled) == pytest.approx(100 * nearest, abs=1)
        assert min(d for d, _ in faces.values()) == pytest.approx(nearest, abs=0.011)


@pytest.mark.parametrize(("left", "right"), [(175, 185), (-185, -175), (175, -175)])
def test_an_obstacle_behind_lies_across_the_wrap_around(left, right):
    message = mavros_distances(make_scan([obstacle(left, right, 7.0)]), 0.5, 40.0)
    filled = px4_map(message)
    assert {i for i in range(36) if filled[i] == 700} == {17, 18, 19} and set(filled) == {700, UNKNOWN}
    assert list(ardupilot_faces(message)) == [4]


def test_a_sector_of_the_whole_turn_fills_every_ray():
    assert np.all(make_scan([obstacle(-200, 160, 3.0)]) == 3.0)
    assert np.all(make_scan([obstacle(-300, 300, 3.0)]) == 3.0)


@pytest.mark.parametrize("range_max", [5.0, 12.3, 25.7, 30.0, 40.0, 40.3, 99.9, 250.0, 600.0])
def test_clear_is_no_obstacle_for_anybody(range_max):
    scan = make_scan([], (math.radians(-30), math.radians(30)), 0.5, range_max, publish_clear=True)
    message = mavros_distances(scan, 0.5, range_max)
    assert message.max_distance < max(d for d in message.distances if d != UNKNOWN) < UNKNOWN
    assert ardupilot_faces(message) == {}
    filled = px4_map(message)
    assert [i for i in range(36) if filled[i] != UNKNOWN] == [0, 1, 2, 34, 35]  # one ray may shift, 27.5 stays inside
    assert float(clear_range(range_max)) == pytest.approx(range_max + 0.01, abs=1e-4)


def test_nothing_known_is_unknown_everywhere():
    message = mavros_distances(make_scan([]), 0.5, 40.0)
    assert set(message.distances) == {UNKNOWN} and ardupilot_faces(message) == {}


def test_what_has_no_usable_numbers_is_unknown_and_never_clear():
    view = (math.radians(-60), math.radians(60))
    for distance in (None, math.nan, math.inf):
        scan = make_scan([obstacle(-1, 1, distance)], view, publish_clear=True)
        assert np.isnan(scan[35:38]).all() and np.isfinite(scan[[33, 39]]).all()
    no_sector = SimpleNamespace(sector=(math.nan, 1.0), range_m=3.0, position=None, covariance=None)
    assert np.isnan(make_scan([no_sector])).all()


def test_heights_are_kept_unless_a_parameter_says_otherwise():
    above, near = obstacle(-1, 1, 9.0, height=12.0), obstacle(-1, 1, 9.0, height=3.0)
    assert make_scan([above])[36] == 9.0
    assert np.isnan(make_scan([above], max_height_difference=5.0)[36])
    assert make_scan([near], max_height_difference=5.0)[36] == 9.0
    unsure = obstacle(-1, 1, 9.0, height=5.9)  # sigma 0.5 m
    assert make_scan([unsure], max_height_difference=5.0)[36] == 9.0
    unknown = obstacle(-1, 1, 9.0)
    assert make_scan([unknown], max_height_difference=5.0)[36] == 9.0


class Pinhole:
    """90 degrees wide and 73.7 high."""

    width, height = 800, 600

    def rays(self, points):
        return np.column_stack([(points - [400, 300]) / 400, np.ones(len(points))])


@pytest.mark.parametrize("yaw", [0, 30, -120, 180])
def test_the_horizon_in_view_follows_the_mount(yaw):
    left, right = np.degrees(horizon_in_view(Pinhole(), Mount.from_angles(yaw)))
    assert right - left == pytest.approx(90, abs=1.1)
    assert (0.5 * (left + right) - yaw + 180) % 360 == pytest.approx(180, abs=0.6)


def test_a_camera_that_looks_down_sees_no_way_ahead():
    assert horizon_in_view(Pinhole(), Mount.from_angles(pitch_deg=-30)) is not None
    assert horizon_in_view(Pinhole(), Mount.from_angles(pitch_deg=-45)) is None
    assert horizon_in_view(Pinhole(), Mount.from_angles(pitch_deg=-90)) is None
    nose_down = level_from_angles(0.0, math.radians(-30))  # the vehicle adds to the mount
    assert horizon_in_view(Pinhole(), Mount.from_angles(pitch_deg=-20), nose_down) is None
    assert horizon_in_view(Pinhole(), Mount.from_angles(pitch_deg=30), nose_down) is not None


def known(scan):
    return {i: float(scan[i]) for i in np.flatnonzero(np.isfinite(scan))}


def test_it_has_72_unknown_rays_when_nothing_is_known():
    scan = make_scan([])
    assert scan.shape == (72,) and scan.dtype == np.float32 and np.isnan(scan).all()


@pytest.mark.parametrize(
    ("left", "right", "rays"),
    [
        (-1, 1, [35, 36, 37]),  # straight ahead, and one more on each side
        (-2.4, 2.4, [35, 36, 37]),
        (-2.6, 2.6, [34, 35, 36, 37, 38]),
        (9, 11, [37, 38, 39]),  # right is clockwise: higher index
        (-11, -9, [33, 34, 35]),
        (89, 91, [53, 54, 55]),  # the right side
        (-91, -89, [17, 18, 19]),  # the left side
        (179, 181, [71, 0, 1]),  # straight back wraps
        (-181, -179, [71, 0, 1]),
        (2.6, 7.4, [36, 37, 38]),
    ],
)
def test_rays_are_exact(left, right, rays):
    assert known(make_scan([obstacle(left, right, 7.0)])) == dict.fromkeys(rays, 7.0)


def test_the_nearest_wins_and_ranges_are_clamped():
    scan = make_scan([obstacle(-1, 1, 9.0), obstacle(4, 6, 5.0)])
    assert known(scan) == {35: 9.0, 36: 5.0, 37: 5.0, 38: 5.0}
    assert make_scan([obstacle(-1, 1, 0.1)], range_min=0.5)[36] == 0.5
    assert make_scan([obstacle(-1, 1, 99.0)], range_max=40.0)[36] == 40.0


def test_clear_only_on_request_only_in_view():
    view = (math.radians(-22.5), math.radians(22.5))
    assert np.isnan(make_scan([], view, publish_clear=False)).all()
    clear = make_scan([], view, range_max=40.0, publish_clear=True)
    assert known(clear) == pytest.approx(dict.fromkeys(range(32, 41), 40.01), abs=1e-5)
    assert all(r > 40.0 for r in known(clear).values())
    narrower = make_scan([], (math.radians(-22.4), math.radians(22.4)), publish_clear=True)
    assert sorted(known(narrower)) == list(range(33, 40))  # a ray half out of view is unknown
    assert np.isnan(make_scan([], None, publish_clear=True)).all()


def test_what_is_detected_without_range_is_unknown_and_hides_no_range():
    view = (math.radians(-22.5), math.radians(22.5))
    scan = make_scan([obstacle(-1, 1, None), obstacle(4, 6, 5.0)], view, publish_clear=True)
    assert np.isnan(scan[35])
    assert scan[36] == scan[37] == scan[38] == 5.0
    assert scan[34] > 40.0
    uncalibrated = SimpleNamespace(sector=None, range_m=None)
    assert np.isnan(make_scan([uncalibrated])).all()
