"""The camera: directions, distortion, K or P, binning and region of interest."""

import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from vit_perception.avoidance.camera import Camera

K = [400.0, 0.0, 320.0, 0.0, 410.0, 240.0, 0.0, 0.0, 1.0]
P = [380.0, 0.0, 315.0, -12.0, 0.0, 390.0, 245.0, 0.0, 0.0, 0.0, 1.0, 0.0]
LENSES = [
    ("plumb_bob", [-0.3, 0.1, 0.001, -0.002, 0.0]),
    ("plumb_bob", [0.1, -0.05, 0.0, 0.0]),
    ("rational_polynomial", [0.5, 0.1, 0.0, 0.0, 0.01, 0.4, 0.2, 0.01]),
    ("equidistant", [0.05, -0.01, 0.002, 0.0]),
]


def info(k=K, d=(), model="plumb_bob", p=P, binning=(0, 0), roi=(0, 0, 0, 0)):
    x, y, w, h = roi
    region = SimpleNamespace(x_offset=x, y_offset=y, width=w, height=h)
    return SimpleNamespace(
        k=k, d=list(d), p=p, distortion_model=model,
        width=640, height=480, binning_x=binning[0], binning_y=binning[1], roi=region,
    )  # fmt: skip


def image_of(rays, model, d):
    """Pixels of directions, by OpenCV's forward model."""
    k, zero = np.reshape(K, (3, 3)), np.zeros(3)
    if model == "equidistant":
        return cv2.fisheye.projectPoints(np.array([rays]), zero, zero, k, np.array(d))[0][0]
    return cv2.projectPoints(np.array(rays), zero, zero, k, np.array(d))[0][:, 0]


def test_bearing_is_right_positive_and_elevation_up_positive():
    camera = Camera.from_info(info())
    assert camera.bearing(320) == 0
    assert camera.bearing(720) == pytest.approx(math.pi / 4)
    assert camera.bearing(0) < 0
    assert camera.elevation(240) == 0
    assert camera.elevation(0) == pytest.approx(math.atan2(240, 410))
    left, right = camera.field_of_view()
    assert (left, right) == pytest.approx((-math.atan(0.8), math.atan(0.8)))


@pytest.mark.parametrize(
    "k", [[0.0] * 9, [math.nan] * 9, [400.0, 0, 320, 0, 0.0, 240, 0, 0, 1], [-1.0, 0, 0, 0, 1, 0, 0, 0, 1], []]
)
def test_uncalibrated_is_none(k):
    assert Camera.from_info(info(k)) is None


def test_distortion_without_numbers_is_none():
    assert Camera.from_info(info(d=[math.nan] * 5)) is None


def test_rectified_images_have_p_and_no_distortion():
    camera = Camera.from_info(info(d=LENSES[0][1]), rectified=True)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (380, 390, 315, 245)
    assert camera.distortion is None and camera.ignored == ""
    assert Camera.from_info(info(p=[0.0] * 12), rectified=True) is None
    assert Camera.from_info(info(p=[]), rectified=True) is None


@pytest.mark.parametrize(("model", "d"), LENSES)
def test_rays_undo_the_lens(model, d):
    rays = np.array([[0.7, 0.5, 1], [-0.5, 0.1, 1], [0, 0, 1], [0.0, -0.55, 1]])
    camera = Camera.from_info(info(d=d, model=model))
    found = camera.rays(image_of(rays, model, d))
    assert found == pytest.approx(rays, abs=1e-5)
    assert camera.ignored == "" and found.dtype == np.float64


@pytest.mark.parametrize(("model", "d"), LENSES[:1])
def test_a_lens_that_bends_changes_bearings_near_the_edge(model, d):
    bent, ideal = Camera.from_info(info(d=d, model=model)), Camera.from_info(info())
    assert bent.bearing(640) > ideal.bearing(640) + math.radians(2)  # a barrel squeezes the edge


@pytest.mark.parametrize(
    ("model", "d", "why"),
    [
        ("thin_prism_9", [0.1] * 9, "distortion model 'thin_prism_9' is not known"),
        ("", [0.1] * 5, "distortion model '' is not known"),
        ("plumb_bob", [0.1] * 3, "distortion model plumb_bob takes 4, 5, 8, 12 or 14 coefficients, not 3"),
        ("plumb_bob", [0.1] * 15, "distortion model plumb_bob takes 4, 5, 8, 12 or 14 coefficients, not 15"),
        ("equidistant", [0.1] * 5, "distortion model equidistant takes 4 coefficients, not 5"),
    ],
)
def test_a_lens_that_cannot_be_undone_is_named_and_left_uncorrected(model, d, why):
    camera = Camera.from_info(info(d=d, model=model))
    assert camera.ignored == why
    assert camera.rays([(720, 240)]) == pytest.approx(np.array([[1, 0, 1]]))


@pytest.mark.parametrize(
    ("model", "d", "same"),
    [
        ("plumb_bob", [-0.38, 0.16, 0.0, 0.0, -0.03] + 3 * [0.0], ("plumb_bob", [-0.38, 0.16, 0.0, 0.0, -0.03])),
        ("plumb_bob", [-0.38, 0.16] + 13 * [0.0], ("plumb_bob", [-0.38, 0.16, 0.0, 0.0])),
        ("plumb_bob", [-0.3, 0.1], ("plumb_bob", [-0.3, 0.1, 0.0, 0.0])),
        ("plumb_bob", [-0.3], ("plumb_bob", [-0.3, 0.0, 0.0, 0.0])),
        ("plumb_bob", LENSES[2][1], LENSES[2]),  # the name of one, the numbers of the other
        ("rational_polynomial", LENSES[0][1], LENSES[0]),
        ("rational_polynomial", LENSES[2][1] + 6 * [0.0], LENSES[2]),
        ("equidistant", LENSES[3][1] + [0.0], LENSES[3]),
        ("fisheye", LENSES[3][1] + 4 * [0.0], LENSES[3]),
        ("equidistant", LENSES[3][1][:3], LENSES[3]),
    ],
)
def test_coefficients_that_are_not_sent_or_zero_make_no_difference(model, d, same):
    camera, expected = Camera.from_info(info(d=d, model=model)), Camera.from_info(info(d=same[1], model=same[0]))
    points = [(40, 30), (320, 470), (600, 240)]
    assert camera.rays(points) == pytest.approx(expected.rays(points)) and camera.ignored == ""
    assert abs(camera.bearing(620) - Camera.from_info(info()).bearing(620)) > 0.005


def test_14_coefficients_are_taken_as_opencv_has_them():
    d = LENSES[2][1] + [0.01, -0.005, 0.02, 0.004, 0.03, -0.02]
    rays = np.array([[0.6, 0.4, 1], [-0.5, 0.1, 1], [0, 0, 1]])
    assert Camera.from_info(info(d=d, model="rational_polynomial")).rays(image_of(rays, "", d)) == pytest.approx(
        rays, abs=1e-4
    )


def test_an_equidistant_lens_bends_without_coefficients_too():
    camera = Camera.from_info(info(d=[0.0] * 4, model="equidistant"))
    assert camera.bearing(320 + 400) == pytest.approx(1.0), "an image's radius is the angle times the focal length"


def test_all_zero_coefficients_are_no_distortion():
    camera = Camera.from_info(info(d=[0.0] * 5, model="whatever"))
    assert camera.distortion is None and camera.ignored == ""


def test_no_points_no_rays():
    assert Camera.from_info(info(d=LENSES[0][1])).rays(np.zeros((0, 2))).shape == (0, 3)


@pytest.mark.parametrize(("model", "d"), [("plumb_bob", []), *LENSES])
def test_binning_and_roi_keep_directions(model, d):
    """A point of the full image has the same direction in the binned cut-out of it, whatever the lens."""
    full = Camera.from_info(info(d=d, model=model))
    cut = Camera.from_info(info(d=d, model=model, binning=(2, 2), roi=(100, 60, 400, 300)))
    assert (cut.width, cut.height) == (200, 150)
    assert cut.fits(200, 150) and not cut.fits(640, 480)
    points = np.array([(100, 60), (333, 211), (500, 360)], float)
    assert cut.rays((points - (100, 60)) / 2) == pytest.approx(full.rays(points))


def test_messages_without_distortion_fields_are_taken():
    message = info()
    del message.d, message.distortion_model
    assert Camera.from_info(message).bearing(320) == 0
