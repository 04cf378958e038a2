"""The largest circle of flat classes: by hand-made ground, seen through real cameras."""

import math

import cv2
import numpy as np
import pytest

from vit_perception.avoidance.camera import Camera
from vit_perception.avoidance.geometry import Ego, Mount, level_from_angles
from vit_perception.errors import PerceptionError
from vit_perception.segmentation.landing import LARGEST, Ground, find_place, flat_classes

WIDTH, HEIGHT, STRIDE = 640, 512, 4
FLAT = np.array([False, True])
DOWN = Mount.from_angles(pitch_deg=-90.0)
LEVEL = Ego(level=np.eye(3), height_m=10.0)
MIDDLE, SEARCH, NEEDED, SIGMA = (0.5, 0.5), 5.0, 0.9, 0.1
PINHOLE = Camera(500, 500, 320, 256, WIDTH, HEIGHT)
LENSES = {
    "ideal": PINHOLE,
    "plumb_bob": Camera(500, 500, 320, 256, WIDTH, HEIGHT, [-0.25, 0.08, 0.001, -0.001, 0.0], "plumb_bob"),
    "fisheye": Camera(300, 300, 320, 256, WIDTH, HEIGHT, [0.02, -0.01, 0.003, -0.001], "equidistant"),
}


def seen_from(camera, mount, ego, flat):
    """The class map of a ground on which flat(x, y) says what is flat; x, y (n,) metres in the level frame."""
    u, v = np.meshgrid((np.arange(WIDTH // STRIDE) + 0.5) * STRIDE, (np.arange(HEIGHT // STRIDE) + 0.5) * STRIDE)
    rays = camera.rays(np.stack([u.ravel(), v.ravel()], 1)).dot(ego.level.dot(mount.rotation).T)
    at = ego.level.dot(mount.translation)
    t = (ego.height_m + at[2]) / -np.minimum(rays[:, 2], -1e-9)
    hit = flat(at[0] + t * rays[:, 0], at[1] + t * rays[:, 1]) & (rays[:, 2] < -1e-3)
    return hit.reshape(u.shape).astype(np.uint8)


def disc(x, y, radius):
    return lambda gx, gy: (gx - x) ** 2 + (gy - y) ** 2 < radius**2


def look(mask, camera=PINHOLE, mount=DOWN, ego=LEVEL, point=MIDDLE, search=SEARCH, needed=NEEDED, sigma=SIGMA):
    return find_place(mask, FLAT, camera, mount, ego, point, search, needed, sigma)


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("tilt", [(0.0, -90.0), (15.0, -70.0), (-20.0, -45.0)])
def test_the_circle_is_where_the_flat_ground_is_and_no_larger(lens, tilt):
    roll, pitch = tilt
    camera, mount = LENSES[lens], Mount.from_angles(pitch_deg=pitch, translation=(0.1, 0.0, -0.2))
    ego = Ego(level=level_from_angles(math.radians(roll), math.radians(5.0)), height_m=10.0)
    middle = Ground(camera, mount, ego).of_pixel(WIDTH / 2, HEIGHT / 2)
    x, y = middle + (1.0, -0.8)
    place = look(seen_from(camera, mount, ego, disc(x, y, 2.0)), camera, mount, ego)
    at = ego.level.dot(place.position)
    assert at[2] == pytest.approx(-10.0)
    assert math.hypot(at[0] - x, at[1] - y) + place.radius_m <= 2.0 + 0.05, "the circle lies in the disc"
    assert 1.2 < place.radius_m < 2.0, "less half a cell, and a pixel of the mask where it is largest"
    u, v = place.pixel
    ray = camera.rays([(u, v)])[0]
    direct = mount.rotation.T.dot(place.position - mount.translation)
    np.testing.assert_allclose(ray[:2], direct[:2] / direct[2], atol=0.01)


def test_no_point_of_the_circle_is_of_another_class():
    """Blotches at random: every circle that is told is checked against the ground itself."""
    rng = np.random.default_rng(0)
    told = 0
    for _ in range(12):
        blotches = rng.uniform((-5, -6, 0.1), (5, 6, 1.2), (12, 3))

        def flat(x, y, blotches=blotches):
            return ~np.any([disc(*b)(x, y) for b in blotches], axis=0)

        mask = seen_from(PINHOLE, DOWN, LEVEL, flat)
        try:
            place = look(mask, needed=0.5, sigma=0.0)
        except PerceptionError:
            continue
        told += 1
        angle = np.linspace(0, 2 * math.pi, 100)
        for part in (1.0, 0.7, 0.3, 0.0):
            x, y = (place.position[i] + part * place.radius_m * f(angle) for i, f in ((0, np.cos), (1, np.sin)))
            assert flat(x, y).all()
    assert told >= 8


def test_of_large_places_the_nearest_to_the_point_is_taken_and_of_small_ones_the_largest():
    everywhere = np.ones((HEIGHT // STRIDE, WIDTH // STRIDE), np.uint8)
    place = look(everywhere)
    assert place.radius_m == pytest.approx(LARGEST * NEEDED)
    assert np.hypot(*place.position[:2]) < 0.2 and place.radius_sigma_m == pytest.approx(place.radius_m * 0.01)
    two = seen_from(PINHOLE, DOWN, LEVEL, lambda x, y: disc(0, 0, 1.3)(x, y) | disc(2.5, 3, 1.9)(x, y))
    np.testing.assert_allclose(look(two).position[:2], (2.5, 3), atol=0.3)
    np.testing.assert_allclose(look(two, search=1.0).position[:2], (0, 0), atol=0.3)
    right = look(two, search=1.0, point=(0.5 - 3 * 50 / WIDTH, 0.5 - 2.5 * 50 / HEIGHT))
    np.testing.assert_allclose(right.position[:2], (2.5, 3), atol=0.3)


@pytest.mark.parametrize("search", [0.0, 0.01, 0.3])
def test_a_search_of_less_than_a_cell_looks_at_the_point_itself(search):
    mask = seen_from(PINHOLE, DOWN, LEVEL, disc(0, 0, 1.3))
    place = look(mask, search=search)
    np.testing.assert_allclose(place.position[:2], (0, 0), atol=search + 1e-6)
    with pytest.raises(PerceptionError, match="the largest circle has 0.00 m, give or take 0.00 m"):
        look(mask, search=search, point=(0.9, 0.9))


def test_what_the_image_does_not_show_is_not_flat():
    """The circle must lie in the picture: 12.8 m x 10.2 m of ground."""
    place = look(np.ones((HEIGHT // STRIDE, WIDTH // STRIDE), np.uint8), needed=3.0, point=(0.9, 0.1))
    assert abs(place.position[0]) + place.radius_m <= 5.12 + 0.05
    assert abs(place.position[1]) + place.radius_m <= 6.4 + 0.05


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"camera": None}, "the camera is not calibrated"),
        ({"ego": None}, "the height above ground is not known; see height_source"),
        ({"ego": Ego(level=np.eye(3))}, "the height above ground is not known"),
        ({"ego": Ego(height_m=9.0)}, "the vehicle's attitude is not known"),
        ({"mount": Mount.from_angles(translation=(0, 0, -20))}, "puts the camera -10.00 m above it"),
        ({"mount": Mount.from_angles()}, "at landing.point the camera does not look down"),
        ({"mount": Mount.from_angles(pitch_deg=90)}, "at landing.point the camera does not look down"),
        (
            {"needed": 1.4},
            r"within 5.0 m of the point the largest circle has [01].\d\d m, give or take 0.01 m; the vehicle",
        ),
        ({"sigma": 2.5}, r"the largest circle has 1.\d\d m, give or take 0.\d\d m; the vehicle needs 0.90 m"),
        ({"point": (0.9, 0.9), "search": 0.5}, "the largest circle has 0.00 m"),
        ({"mask": np.zeros((128, 160), np.uint8)}, "not one pixel is of a class of landing.classes"),
    ],
)
def test_why_there_is_no_place_is_said_in_one_sentence(changes, says):
    mask = seen_from(PINHOLE, DOWN, LEVEL, disc(0, 0, 1.3))
    assert look(mask).radius_m > 1.0
    with pytest.raises(PerceptionError, match=says) as e:
        look(**({"mask": mask} | changes))
    assert str(e.value).startswith("no landing place: ") and "\n" not in str(e.value)


def test_names_of_flat_classes_are_found_in_any_case_and_checked():
    labels = ["Ground", "road", "tree"]
    assert flat_classes(["ROAD", " ground"], labels).tolist() == [True, True, False]
    for names, says in ((["grass"], "landing.classes names 'grass', but"), ([], "names no class"), ([""], "names no")):
        with pytest.raises(PerceptionError, match=says):
            flat_classes(names, labels)


def test_a_large_search_stays_quick():
    """The grid has at most 512 cells each way, however far is searched."""
    mask = np.ones((HEIGHT // STRIDE, WIDTH // STRIDE), np.uint8)
    ticks = cv2.getTickCount()
    place = look(mask, LENSES["plumb_bob"], ego=Ego(level=np.eye(3), height_m=60.0), search=100.0, sigma=0.5)
    assert place.radius_m > NEEDED
    assert (cv2.getTickCount() - ticks) / cv2.getTickFrequency() < 3.0
