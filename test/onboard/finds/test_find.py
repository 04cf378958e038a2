"""Looks into places: what many looks improve and what they do not."""

import numpy as np
import pytest
from search_flights import CAMERA, DOWN, box_of

from vit_perception.avoidance.geometry import rotation_x, rotation_y, rotation_z
from vit_perception.finds.find import Find
from vit_perception.finds.poses import Pose
from vit_perception.finds.sighting import COUNT, LASTING, STEP_S, Sigmas, View, sightings

NAMES = [name for name, _ in LASTING]


def look(position=(0.0, 0.0, 30.0), yaw=0.3, person=(18.0, 8.0), sigmas=None, velocity=(6.0, 0.0)):
    rotation = rotation_z(yaw) @ rotation_y(0.05) @ rotation_x(-0.03)
    position, velocity = np.array(position), np.array([*velocity, 0.0])

    def pose(dt=0.0, turn=None, move=(0.0, 0.0, 0.0)):
        p = position + dt * velocity + move
        return Pose(p[:2], rotation if turn is None else turn @ rotation, p[2])

    box = box_of(person, position, rotation)
    found = sightings(View(CAMERA, DOWN, pose()), (pose(-STEP_S), pose(STEP_S)), [box], [0.85], sigmas or Sigmas())
    return found, box, pose


def test_an_exact_look_gives_the_exact_place():
    found, _, _ = look()
    assert found.places[0] == pytest.approx([18.0, 8.0], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "error", "change"),
    [
        ("heading", 0.02, {"turn": rotation_z(0.02)}),
        ("position_east", 1.0, {"move": (1.0, 0.0, 0.0)}),
        ("position_north", 1.0, {"move": (0.0, 1.0, 0.0)}),
        ("height", 0.5, {"move": (0.0, 0.0, 0.5)}),
        ("clock", 0.1, {"dt": 0.1}),
    ],
)
def test_every_lasting_error_moves_the_place_as_its_column_says(name, error, change):
    """The columns against the geometry itself: the same box placed with a wrong pose."""
    sigma = {"heading": np.radians(5.0), "height": 0.5, "clock": 0.1}.get(name, 1.5)
    found, box, pose = look()
    wrong = sightings(View(CAMERA, DOWN, pose(**change)), (None, None), [box], [0.85], Sigmas()).places[0]
    expected = found.lasting[0][:, NAMES.index(name)] / sigma * error
    assert wrong - found.places[0] == pytest.approx(expected, abs=0.05 * float(np.hypot(*expected)) + 0.01)


def test_tilts_move_the_place_as_their_columns_say():
    found, box, pose = look()
    for name, turn in (("mount_roll", rotation_x(0.01)), ("attitude_pitch", rotation_y(0.01))):
        right = pose()
        tilted = Pose(right.position, right.rotation @ turn, right.height_m)
        wrong = sightings(View(CAMERA, DOWN, tilted), (None, None), [box], [0.85], Sigmas()).places[0]
        expected = found.lasting[0][:, NAMES.index(name)] / np.radians(1.0) * 0.01
        assert wrong - found.places[0] == pytest.approx(expected, abs=0.03)


def test_the_horizon_says_nothing():
    flat = Pose((0.0, 0.0), np.identity(3), 30.0)
    ahead = type(DOWN).from_angles()
    boxes = [[310, 250, 330, 262], [0, 0, 20, 20]]
    found = sightings(View(CAMERA, ahead, flat), (None, None), boxes, [0.85] * 2, Sigmas())
    assert np.isnan(found.places).all()


def filtered(looks):
    find = None
    for stamp, (found, _, _) in looks:
        values = (found.places[0], found.noise[0], found.lasting[0])
        if find is None:
            find = Find(1, "person", stamp, *values)
        else:
            find.look(stamp, *values)
    return find


def test_a_hundred_looks_do_not_shrink_what_lasts():
    """From one place: the told sigma stays that of the lasting errors, which a plain Kalman filter divides by ten."""
    one = look(velocity=(0.0, 0.0))
    find = filtered([(0.1 * i, one) for i in range(100)])
    vehicle = one[0].lasting[0]
    constant = [NAMES.index(n) for n in ("heading", "mount_roll", "mount_pitch", "clock", "posture")]
    least = vehicle[:, constant] @ vehicle[:, constant].T
    assert np.linalg.eigvalsh(find.covariance[:2, :2] - least).min() > -1e-9
    assert find.sigma_m > 0.7 * np.sqrt(np.sqrt(np.linalg.det(one[0].covariance(0))))


def test_looks_from_the_other_side_do():
    """A heading that is wrong moves the place to the left, and from the other side to the right."""
    sigmas = Sigmas(position_m=0.1, height_m=0.1, heading_deg=5.0, attitude_deg=0.1, mount_deg=0.1, clock_s=0.01)
    there = look((0.0, 8.0, 30.0), 0.0, sigmas=sigmas, velocity=(0.0, 0.0))
    back = look((36.0, 8.0, 30.0), np.pi, sigmas=sigmas, velocity=(0.0, 0.0))
    one_side = filtered([(0.1 * i, there) for i in range(20)])
    both = filtered([(0.1 * i, there) for i in range(20)] + [(2.0 + 0.1 * i, back) for i in range(20)])
    assert both.sigma_m < 0.6 * one_side.sigma_m


def test_the_told_covariance_is_that_of_the_errors():
    """Monte Carlo: every lasting error drawn by its sigma; the filter's covariance holds what comes out."""
    rng, sigmas, distances = np.random.default_rng(3), Sigmas(), []
    for _ in range(200):
        heading, east, north = rng.normal(0, np.radians(5)), *rng.normal(0, 1.5, 2)
        pitch, roll = np.hypot(np.radians(1), np.radians(1)) * rng.normal(size=2)
        up, find = rng.normal(0, 0.5), None
        for i in range(30):
            position, rotation = np.array([0.6 * i, 0.0, 30.0]), rotation_z(0.3) @ rotation_y(0.05)
            box = box_of((18.0, 8.0), position, rotation)
            if box is None:
                continue
            box = box + 20 * 0.053 * np.tile(rng.normal(size=2), 2)
            wrong = rotation_z(heading) @ rotation @ rotation_y(pitch) @ rotation_x(roll)
            pose = Pose(position[:2] + (east, north), wrong, 30.0 + up)
            found = sightings(View(CAMERA, DOWN, pose), (None, None), [box], [0.85], sigmas)
            values = (found.places[0], found.noise[0], found.lasting[0])
            if find is None:
                find = Find(1, "person", 0.0, *values)
            else:
                find.look(0.1 * i, *values)
        off = find.state[:2] - (18.0, 8.0)
        distances.append(off @ np.linalg.solve(find.covariance[:2, :2], off))
    within = np.mean(np.array(distances) < 1), np.mean(np.array(distances) < 4)
    assert 0.33 < within[0] < 0.60 and 0.80 < within[1] < 0.97, within


def test_who_walks_is_followed_and_predicted():
    find, rng = None, np.random.default_rng(1)
    for i in range(40):
        place = np.array([1.2 * 0.1 * i, 5.0]) + rng.normal(0, 0.05, 2)
        noise, lasting = 0.05**2 * np.eye(2), np.zeros((2, COUNT))
        lasting[:, 0] = 1.0
        if find is None:
            find = Find(1, "person", 0.0, place, noise, lasting)
        else:
            find.look(0.1 * i, place, noise, lasting)
    assert find.walks and find.state[2] == pytest.approx(1.2, abs=0.25)
    state, covariance, _ = find.predicted(3.9 + 10.0)
    assert state[0] == pytest.approx(1.2 * 13.9, abs=4.0) and covariance[0, 0] > find.covariance[0, 0] + 1.0


def test_who_stands_is_expected_where_he_stood():
    found = look(velocity=(0.0, 0.0))
    find = filtered([(0.1 * i, found) for i in range(20)])
    assert not find.walks
    state, covariance, _ = find.predicted(120.0)
    assert state[:2] == pytest.approx(find.state[:2]) and covariance[0, 0] < find.covariance[0, 0] + 4.0
