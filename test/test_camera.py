"""The pinhole model: directions, range from known height, binning and region of interest."""

import math
from types import SimpleNamespace

import pytest

from vit_perception.camera import Camera

K = [400.0, 0.0, 320.0, 0.0, 410.0, 240.0, 0.0, 0.0, 1.0]


def info(k=K, binning=(0, 0), roi=(0, 0, 0, 0)):
    x, y, w, h = roi
    region = SimpleNamespace(x_offset=x, y_offset=y, width=w, height=h)
    return SimpleNamespace(k=k, width=640, height=480, binning_x=binning[0], binning_y=binning[1], roi=region)


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
    "k", [[0.0] * 9, [math.nan] * 9, [400.0, 0, 320, 0, 0.0, 240, 0, 0, 1], [-1.0, 0, 0, 0, 1, 0, 0, 0, 1]]
)
def test_uncalibrated_is_none(k):
    assert Camera.from_info(info(k)) is None


def test_binning_and_roi_keep_directions():
    """A point of the full image has the same direction in the binned cut-out of it."""
    full = Camera.from_info(info())
    cut = Camera.from_info(info(binning=(2, 2), roi=(100, 60, 400, 300)))
    assert (cut.width, cut.height) == (200, 150)
    assert cut.fits(200, 150) and not cut.fits(640, 480)
    for u, v in [(100, 60), (333, 211), (500, 360)]:
        assert cut.bearing((u - 100) / 2) == pytest.approx(full.bearing(u))
        assert cut.elevation((v - 60) / 2) == pytest.approx(full.elevation(v))


def test_range_and_its_sigma():
    """A 1.7 m person 20 m ahead and 10 m to the right: horizontal distance sqrt(20^2 + 10^2)."""
    camera = Camera.from_info(info())
    u, h = 320 + 400 * 10 / 20, 410 * 1.7 / 20
    distance, sigma = camera.range_from_height((u - 5, 100, u + 5, 100 + h), 1.7, 0.17, 1.5)
    assert distance == pytest.approx(math.hypot(20, 10))
    assert sigma == pytest.approx(distance * math.hypot(0.1, 1.5 / h))
