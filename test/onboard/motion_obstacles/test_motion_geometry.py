"""The parts of obstacles by motion on exact points: refinement, distances with their sigmas, groups, filters."""

import numpy as np
import pytest

from vit_perception.avoidance.geometry import rotation_about
from vit_perception.motion_obstacles.ego_motion import Lines, Motion, refine
from vit_perception.motion_obstacles.followed import CONFIRM, OF, Followed
from vit_perception.motion_obstacles.groups import Way, make_groups
from vit_perception.motion_obstacles.parallax import Points

FOCAL, WAY_M = 250.0, 1.2
AHEAD, UP = np.array([0.0, 0.0, 1.0]), np.array([0.0, -1.0, 0.0])


def points_of(places, direction, turn, noise_px=0.0, seed=0):
    """Directions (n, 3) of places (n, 3) m in the newest camera's frame, before and now."""
    rotation = rotation_about(np.array(turn))
    earlier = (places + WAY_M * direction).dot(rotation)  # newest = rotation . earlier - way
    before, now = earlier / earlier[:, 2:], places / places[:, 2:]
    before[:, :2] += noise_px / FOCAL * np.random.default_rng(seed).normal(size=(len(places), 2))
    return before, now, rotation


def scattered(n=300, seed=1):
    rng = np.random.default_rng(seed)
    depth = rng.uniform(4, 40, n)
    return np.column_stack([rng.uniform(-0.6, 0.6, n) * depth, rng.uniform(-0.5, 0.5, n) * depth, depth])


def unit(v):
    return np.array(v, float) / np.linalg.norm(v)


def degrees_between(a, b):
    return np.degrees(np.arccos(np.clip(np.dot(a, b), -1, 1)))


def test_the_motion_is_found_from_a_prior_that_is_off():
    direction, turn = unit([0.05, -0.1, 1.0]), [0.02, -0.05, 0.01]
    before, now, rotation = points_of(scattered(), direction, turn, noise_px=0.2)
    prior = Motion(
        rotation_about(np.radians([0.2, -0.2, 0.2])).dot(rotation), unit([0.1, -0.03, 1.0]),
        np.radians(3), np.radians(0.3),
    )  # fmt: skip
    assert degrees_between(prior.direction, direction) > 4
    found = refine(before, now, prior)
    assert degrees_between(found.direction, direction) < 0.5
    assert np.degrees(np.linalg.norm(found.rotation - rotation)) < 0.2
    assert found.direction_sigma < np.radians(1)


def test_movers_do_not_pull_the_motion_away():
    direction = unit([0.0, 0.0, 1.0])
    before, now, rotation = points_of(scattered(), direction, [0, 0, 0], noise_px=0.2)
    before[:60, 0] += 0.05  # a fifth of the points moves aside
    found = refine(before, now, Motion(rotation, unit([0.04, 0.0, 1.0]), np.radians(3), np.radians(0.3)))
    assert degrees_between(found.direction, direction) < 0.7


def test_without_points_the_prior_stays():
    prior = Motion(np.eye(3), AHEAD, 0.05, 0.01)
    assert refine(np.zeros((0, 3)), np.zeros((0, 3)), prior) is prior


def test_inverse_distances_are_exact_and_sigmas_cover_the_noise():
    places = scattered()
    tensors = np.tile([1e-3, 0.0, 1e-3], (len(places), 1))
    before, now, rotation = points_of(places, AHEAD, [0.01, 0.02, 0.0])
    motion = Motion(rotation, AHEAD, 1e-4, 1e-5)
    assert np.allclose(Lines(before, now, motion).inverse, WAY_M / places[:, 2], rtol=1e-6)
    before, now, _ = points_of(places, AHEAD, [0.01, 0.02, 0.0], noise_px=0.15)
    points = Points(before, now, motion, tensors, FOCAL, 0.5)
    far = np.hypot(*(places[:, :2] / places[:, 2:]).T) > 0.1
    z = (points.inverse - WAY_M / places[:, 2])[far] / points.sigma[far]
    assert 0.3 < np.std(z) < 1.2 and points.agree > 0.95
    assert not points.good[~far].all()


def test_an_edge_towards_the_focus_of_expansion_is_not_believed():
    places = np.column_stack([np.full(50, 1.0), np.linspace(-0.1, 0.1, 50), np.full(50, 8.0)])
    before, now, rotation = points_of(places, AHEAD, [0, 0, 0], noise_px=0.05)
    motion = Motion(rotation, AHEAD, 1e-4, 1e-5)
    along, across = ([[0.3, 0.0, 1e-4]], [[1e-4, 0.0, 0.3]])  # the covariance is long along the line, or across it
    held, slides = (Points(before, now, motion, np.tile(t, (50, 1)), FOCAL, 0.5) for t in (across, along))
    assert slides.own.mean() > 3 * held.own.mean() and slides.sigma.mean() > 3 * held.sigma.mean()


def groups_of(places, noise_px=0.05, least=3, direction=AHEAD):
    before, now, rotation = points_of(places, direction, [0, 0, 0], noise_px)
    tensors = np.tile([1e-4, 0.0, 1e-4], (len(places), 1))
    points = Points(before, now, Motion(rotation, direction, np.radians(0.5), 1e-4), tensors, FOCAL, 0.5)
    pixels = FOCAL * now[:, :2] + [160, 128]
    return make_groups(pixels, points, Way(direction, UP, WAY_M, 0.9, 0.75), least, FOCAL, 0.4)


def plate(x, y, z, width=1.0, height=1.0, n=40, seed=2):
    rng = np.random.default_rng(seed)
    return np.column_stack(
        [x + rng.uniform(-0.5, 0.5, n) * width, y + rng.uniform(-0.5, 0.5, n) * height, np.full(n, z)]
    )


def test_a_plate_ahead_is_one_group_at_its_distance():
    found = groups_of(np.vstack([plate(0, 0, 9.0), scattered(150) + [0, 0, 30.0]]))
    assert len(found) == 1 and found[0].place[2] == pytest.approx(9.0, rel=0.05)
    assert found[0].sigma < 0.2 and abs(found[0].place[0]) < 0.3


def test_a_pole_is_known_by_what_stands_out_above_the_way():
    pole = plate(0, -1.4, 9.0, width=0.15, height=2.6)
    found = groups_of(pole)
    assert found and found[0].place[2] == pytest.approx(9.0, rel=0.06)


def column(x, low, high, z, n=14):
    return np.column_stack([np.full(n, x) + np.tile([-0.06, 0.06], n // 2), np.linspace(low, high, n), np.full(n, z)])


def test_a_mast_is_known_by_what_stands_out_above_where_nothing_shows_behind_it():
    mast = column(0.1, -2.6, -1.0, 9.0)  # from 1.0 m above the height of flight on: nothing of it in the way
    found = groups_of(mast)
    assert found and found[0].place[2] == pytest.approx(9.0, rel=0.06) and abs(found[0].place[1]) < 0.8
    through = column(0.1, -0.9, 0.9, 30.0)  # of what is far behind, seen where the mast would hide it
    assert groups_of(np.vstack([mast, through])) == []
    assert groups_of(mast + [1.6, 0, 0]) == []  # beside the way
    assert groups_of(plate(0, -1.8, 9.0, width=2.0, height=1.6)) == []  # a sign that hangs above: no mast


@pytest.mark.parametrize(
    "places",
    [
        plate(2.5, 0, 9.0),  # beside the way
        plate(0, -3.2, 9.0, height=0.8),  # above it
        np.column_stack([plate(0, 0, 1)[:, 0], np.full(40, 1.5), np.linspace(3, 15, 40)]),  # the ground 1.5 m below
        plate(0, 0.55, 9.0, height=0.4),  # below the vehicle's belly: ground, most likely
        plate(0, 0, 9.0, width=0.1, height=0.1),  # too small
        plate(0, 0, 9.0)[:2],  # too few
    ],
)
def test_what_is_not_in_the_way_or_too_little_is_no_group(places):
    assert groups_of(places) == []


def test_three_of_five_images_make_an_obstacle_and_none_of_five_end_it():
    followed, velocity = Followed(), np.array([4.0, 0, 0])
    place, told = np.array([16.0, 0, 0]), []
    for k in range(20):
        followed.move(0.1, velocity, np.zeros(3), np.array([1.0, 0, 0]))
        place = place - [0.4, 0, 0]
        seen = [(place, 0.1, 0.05, np.zeros(4))] if k in (0, 2, 3) else []
        followed.correct(seen, 0.1 * k, 4.0)
        told.append(len(followed.obstacles(velocity, True, 0.9)))
    assert CONFIRM == 3 and OF == 5
    assert told[:3] == [0, 0, 0] and told[3:8] == [1] * 5 and not any(told[8:])


def test_the_filter_averages_and_its_distance_falls_with_the_flight():
    rng, followed, velocity = np.random.default_rng(1), Followed(), np.array([4.0, 0, 0])
    errors = []
    for k in range(25):
        followed.move(0.1, velocity, np.zeros(3), np.array([1.0, 0, 0]))
        true = 18 - 0.4 * (k + 1)
        followed.correct(
            [(np.array([true * np.exp(0.15 * rng.normal()), 0, 0]), 0.15, 0.05, np.zeros(4))], 0.1 * k, 4.0
        )
        found = followed.obstacles(velocity, True, 0.9)
        errors += [found[0].range_m / true - 1] if found else []
    assert len(errors) > 15 and np.std(errors) < 0.12


def test_what_comes_to_lie_beside_the_way_threatens_no_more():
    followed, velocity = Followed(), np.array([4.0, 0, 0])
    for k in range(4):
        followed.correct([(np.array([10.0, 0.2, 0]), 0.1, 0.03, np.zeros(4))], 0.1 * k, 4.0)
    assert followed.obstacles(velocity, True, 0.9)[0].threatens
    aside = np.array([2.0, 3.5, 0])
    assert not followed.obstacles(aside, True, 0.9)[0].threatens
    assert not followed.obstacles(np.zeros(3), True, 0.9)[0].threatens
