"""Range by size and by ground: exact geometry, and sigmas that are what the errors are."""

import math

import numpy as np
import pytest

from vit_perception.avoidance.ranging import fuse, range_from_ground, range_from_size


def slopes(distance, height, camera_height):
    """Of top and bottom of an upright object of `height` m that stands on the ground."""
    return (height - camera_height) / distance, -camera_height / distance


@pytest.mark.parametrize("camera_height", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("distance", [3.0, 10.0, 40.0])
def test_a_thin_object_seen_from_the_side_is_exact(distance, camera_height):
    top, bottom = slopes(distance, 1.7, camera_height)
    found, sigma = range_from_size(top, bottom, 0.0, (1.7, 0.17), 0.0)
    assert found == pytest.approx(distance)
    assert sigma == pytest.approx(0.1 * distance)


def test_errors_of_size_and_box_add_up():
    _, sigma = range_from_size(0.1, -0.1, 0.0, (2.0, 0.2), 0.05)
    assert sigma == pytest.approx(10.0 * math.hypot(0.1, 0.05))


@pytest.mark.parametrize("down_deg", [20, 35, 50])
def test_looking_down_the_depth_is_taken_out_and_sigma_grows(down_deg):
    """A box 1.7 m high, 0.5 m wide and deep: from above its silhouette is taller than its height alone."""
    camera, height, half = 10.0, 1.7, 0.25
    d = camera / math.tan(math.radians(down_deg))
    top, bottom = (height - camera) / (d + half), -camera / (d - half)  # far upper edge, near lower edge
    width = 2 * half / math.hypot(d, camera)
    found, sigma = range_from_size(top, bottom, width, (height, 0.15), 0.05)
    assert abs(found - d) < sigma
    assert found == pytest.approx(d, rel=0.2)
    assert sigma / found > math.hypot(0.15 / height, 0.05)


def test_steeply_from_above_size_says_nothing():
    """Of a car seen from 80 degrees above, the picture shows the roof."""
    assert range_from_size(-4.5, -5.5, 0.4, (1.5, 0.2), 0.05) is None


@pytest.mark.parametrize(("top", "bottom", "height"), [(0.1, 0.1, 1.7), (-0.1, 0.1, 1.7), (0.1, -0.1, 0.0)])
def test_nonsense_has_no_range(top, bottom, height):
    assert range_from_size(top, bottom, 0.1, (height, 0.1), 0.05) is None


def test_an_unsure_attitude_widens_the_range_of_what_is_below():
    level, tilted = (range_from_size(-0.4, -0.6, 0.1, (1.7, 0.1), 0.02, s)[1] for s in (0.0, 0.1))
    assert tilted > 1.1 * level


def test_the_ground_is_met_where_it_is():
    found, sigma = range_from_ground(-0.5, 10.0, 0.0, math.radians(1))
    assert found == pytest.approx(20.0)
    # By differences: a degree more or less.
    ends = [10.0 / math.tan(math.atan(0.5) + math.radians(s)) for s in (-0.5, 0.5)]
    assert sigma == pytest.approx(ends[0] - ends[1], rel=0.01)
    assert range_from_ground(-0.5, 10.0, 1.0, 0.0)[1] == pytest.approx(2.0)


@pytest.mark.parametrize("slope", [0.3, 0.0, -0.01, -0.05])
def test_near_the_horizon_and_above_there_is_no_ground(slope):
    assert range_from_ground(slope, 10.0, 0.3, math.radians(1)) is None


@pytest.mark.parametrize("height", [0.0, -3.0, math.nan])
def test_without_a_height_there_is_no_ground(height):
    assert range_from_ground(-0.5, height, 0.3, 0.01) is None


def test_fused_ranges_weigh_by_variance():
    assert fuse(None, None) is None
    assert fuse((5.0, 1.0), None) == fuse(None, (5.0, 1.0)) == (5.0, 1.0)
    found, sigma = fuse((10.0, 1.0), (12.0, 2.0))
    assert found == pytest.approx(10.4)
    assert sigma == pytest.approx(math.sqrt(0.8))


def test_contradicting_ranges_give_the_nearer_one_with_the_larger_sigma():
    """Something on a roof: its foot is not where the ground is."""
    assert fuse((10.0, 1.0), (30.0, 2.0)) == fuse((30.0, 2.0), (10.0, 1.0)) == (10.0, 2.0)


def test_fused_sigma_is_calibrated():
    rng = np.random.default_rng(0)
    rows = [fuse((20 + rng.normal() * 2.0, 2.0), (20 + rng.normal() * 1.5, 1.5)) for _ in range(2000)]
    assert np.mean([abs(d - 20) <= s for d, s in rows]) == pytest.approx(0.68, abs=0.04)
