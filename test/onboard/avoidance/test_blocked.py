"""The blocked scan, and the ends of the range, as the autopilots read them."""

import math
import subprocess
import sys

import numpy as np
import pytest
from autopilot_readers import ardupilot_faces, mavros_distances, obstacle

from vit_perception.avoidance import blocked, scan


def test_it_closes_the_view_and_what_was_told_before_and_nothing_else():
    scan_ = blocked.BlockedScan()
    assert set(ardupilot_faces(of(scan_))) == {0, 1, 7}
    told = np.full(72, np.nan, np.float32)
    told[0] = 12.0
    scan_.hear(told)
    faces = ardupilot_faces(of(scan_))
    assert {0, 1, 7, 4} == set(faces) and all(d == pytest.approx(0.5) for d, _ in faces.values())
    assert math.isnan(scan_.ranges(0.5)[18]) and len(told) == scan.BINS == blocked.BINS


def of(blocked_scan):
    """The message that an autopilot gets of it."""
    return mavros_distances(np.array(blocked_scan.ranges(0.5), np.float32), 0.5, 40.0)


@pytest.mark.parametrize("yaw_deg", [-180.0, -115.0, 0.0, 57.0, 180.0])
def test_it_is_90_degrees_where_the_camera_looks(yaw_deg):
    near = np.flatnonzero(np.isfinite(blocked.BlockedScan(yaw_deg).ranges(0.5)))
    offs = (5.0 * near - 180.0 - yaw_deg + 180.0) % 360.0 - 180.0
    assert np.abs(offs).max() <= 47.5 and len(near) >= 18


def rays(blocked_scan):
    return np.flatnonzero(np.isfinite(blocked_scan.ranges(0.5))).tolist()


def test_it_follows_the_cameras_real_view_and_keeps_what_was_told():
    scan_ = blocked.BlockedScan()
    scan_.look((math.radians(60.0), math.radians(120.0)))
    assert rays(scan_) == list(range(48, 61)), "it looks to the right: nothing ahead is known any better than ever"
    scan_.look((math.radians(150.0), math.radians(210.0)))
    assert rays(scan_) == [*range(7), *range(66, 72)], "across straight back"
    scan_.look((-math.pi, math.pi))
    assert len(rays(scan_)) == 72
    scan_.look(None)
    assert len(rays(scan_)) == 72, "a camera that looks down tells no other view"


def test_another_process_learns_the_view_from_the_marks():
    node, guard = blocked.BlockedScan(), blocked.BlockedScan()
    node.look((math.radians(60.0), math.radians(120.0)))
    guard.hear([math.nan] * 72, node.marks())
    assert rays(guard) == rays(node) and guard.is_one(node.ranges(0.5), 0.5)
    guard.hear([math.nan] * 72, [])
    guard.hear([math.nan] * 72, [0.0] * 72)
    assert rays(guard) == rays(node), "an older node marks nothing"


def test_the_guard_needs_no_numpy_for_it():
    code = "import sys; import vit_perception.avoidance.blocked; assert 'numpy' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_what_is_clamped_to_the_end_never_reads_more_than_the_limit():
    """For every limit in whole centimetres: mavros' arithmetic would make "seen, far" of it "nothing"."""
    for cm in range(100, 60001, 1):
        limit = 0.01 * cm
        end = float(np.float32(np.float64(np.float32(scan.range_end(limit))) * 100))
        assert int(end) <= int(float(np.float32(limit)) * 100), limit
    ranges = scan.make_scan([obstacle(-5, 5, 200.0)], (-0.6, 0.6), 0.5, 5.02, publish_clear=True)
    message = mavros_distances(ranges, 0.5, 5.02)
    assert message.distances[36] == message.max_distance and message.distances[31] > message.max_distance


def test_what_has_no_range_is_put_in_where_unknown_counts_as_free():
    unranged = obstacle(-5, 5, None)
    assert np.isnan(scan.make_scan([unranged])[36])
    ranges = scan.make_scan([unranged], unranged_width=0.4)
    assert ranges[36] == pytest.approx(0.4 / math.radians(10.0), rel=1e-3)


def test_a_blocked_scan_is_known_by_its_view_whatever_else_is_near():
    own, other = blocked.BlockedScan(), blocked.BlockedScan()
    told = np.full(72, np.nan, np.float32)
    told[0] = 12.0
    other.hear(told)
    assert own.is_one(other.ranges(0.5), 0.5) and other.is_one(own.ranges(0.5), 0.5)
    assert not own.is_one([math.nan] * 72, 0.5), "nothing was seen: a good scan"
    one_is_far = other.ranges(0.5)
    one_is_far[36] = 4.0
    assert not own.is_one(one_is_far, 0.5)
