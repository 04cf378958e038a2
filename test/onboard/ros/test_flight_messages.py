"""Messages for PX4, mavros and the screen. Real message packages; what is not installed is skipped."""

import math
import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("visualization_msgs.msg", reason="visualization_msgs is not installed (make setup)")

from autopilot_readers import ardupilot_faces, mavros_distances, obstacle, px4_map, random_obstacles  # noqa: E402
from builtin_interfaces.msg import Time  # noqa: E402

from tools.ros_messages.generate import type_hashes  # noqa: E402
from vit_perception.avoidance.obstacles import Obstacle  # noqa: E402
from vit_perception.avoidance.scan import make_scan  # noqa: E402
from vit_perception.palette import THREATENS, rgba  # noqa: E402
from vit_perception.ros import flight_messages  # noqa: E402

needs_px4 = pytest.mark.skipif(flight_messages.ObstacleDistance is None, reason="px4_msgs is not installed")
STAMP = Time(sec=12, nanosec=345678901)
UNKNOWN = 65535


HASHES = [
    ("px4_msgs", "ObstacleDistance", "8e67aa053587cf93a4cb62428de6d58f5842da83ebcf2cd2ca67849d11a582c8"),
    ("px4_msgs", "VehicleAttitude", "9af74ac6c01335f3a8612e3579d4eaa89a9d81550d933ed057f5d6252dc7e50c"),
    ("px4_msgs", "VehicleGlobalPosition", "cf9a06f6a8c328f7200984e3aabc0fb76fde3b1fa693baff68ebaf162d2fdc60"),
    ("nav_msgs", "Odometry", "3cc97dc7fb7502f8714462c526d369e35b603cfc34d946e3f2eda2766dfec6e0"),
    ("tf2_msgs", "TFMessage", "e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087"),
]


@pytest.mark.parametrize(("package", "message", "expected"), HASHES)
def test_type_hashes_equal_upstreams(package, message, expected):
    """Only then does what is built against the real package understand ours."""
    hashes = type_hashes(package)
    if message not in hashes:
        pytest.skip(f"{package}/{message} is not built in this environment (make setup)")
    assert hashes[message] == "RIHS01_" + expected


@needs_px4
def test_px4_message_has_the_fields_of_the_contract():
    scan = make_scan([obstacle(88, 92, 7.5)], (-0.5, 0.5), 0.5, 40.0, True)
    msg = flight_messages.obstacle_distance_message(STAMP, scan, 0.5, 40.0)
    assert (msg.timestamp, msg.frame, msg.increment, msg.angle_offset) == (12345678, 12, 5.0, 0.0)
    assert (msg.min_distance, msg.max_distance, len(msg.distances)) == (50, 4000, 72)
    assert msg.distances[0] == 4001 and msg.distances[18] == 750  # clear ahead, an obstacle to the right
    assert msg.distances[36] == UNKNOWN == msg.distances[54]


@needs_px4
def test_px4_reads_the_same_map_from_both_ways_in():
    """uXRCE-DDS and mavros: the same distances in the same directions; rays may differ by a centimetre."""
    rng = np.random.default_rng(3)
    for _ in range(500):
        obstacles = [obstacle(*o) for o in random_obstacles(rng, 3)]
        range_max = float(rng.choice([12.3, 40.0, 99.9]))
        scan = make_scan(obstacles, (-0.7, 0.7), 0.5, range_max, bool(rng.integers(2)))
        direct = flight_messages.obstacle_distance_message(STAMP, scan, 0.5, range_max)
        relayed = mavros_distances(scan, 0.5, range_max)
        np.testing.assert_allclose(px4_map(direct), px4_map(relayed), atol=1)
        direct = SimpleNamespace(**{n: getattr(direct, n) for n in direct.get_fields_and_field_types()})
        direct.distances = direct.distances.tolist()
        assert ardupilot_faces(direct).keys() >= ardupilot_faces(relayed).keys()


@needs_px4
@pytest.mark.parametrize("range_max", [5.0, 40.3, 600.0])
def test_px4_clear_is_one_more_than_the_largest_distance(range_max):
    scan = make_scan([obstacle(90, 90, 10 * range_max)], (-0.5, 0.5), 0.5, range_max, True)
    msg = flight_messages.obstacle_distance_message(STAMP, scan, 0.5, range_max)
    assert msg.distances[0] == msg.max_distance + 1 and msg.distances[18] == msg.max_distance


def seen(number, position, threatens, bearing=0.1):
    obstacle = Obstacle(SimpleNamespace(id=number, class_index=0))
    obstacle.position, obstacle.covariance = position, None if position is None else np.diag([4.0, 1.0, 0.0])
    obstacle.threatens, obstacle.bearing, obstacle.ttc_s = threatens, bearing, 2.5
    return obstacle


def test_markers_show_every_obstacle_and_wipe_the_old_ones():
    from visualization_msgs.msg import Marker

    obstacles = [seen(3, np.array([9.0, -1.0, 0.5]), True), seen(4, None, None), seen(5, None, None, bearing=None)]
    wipe, ball, text, line = flight_messages.markers_message(STAMP, "base_link", obstacles, ["person"]).markers
    assert wipe.action == Marker.DELETEALL
    assert (ball.header.frame_id, ball.header.stamp, ball.id, ball.type) == ("base_link", STAMP, 3, Marker.SPHERE)
    assert (ball.pose.position.x, ball.pose.position.y) == (9.0, -1.0)
    assert (ball.color.r, ball.color.g, ball.color.b) == pytest.approx(rgba(THREATENS)[:3])
    assert (ball.scale.x, ball.scale.y, ball.scale.z) == (4.0, 2.0, 0.5)
    assert text.text == "person 3, 2.5 s" and text.ns != ball.ns
    assert math.atan2(-line.points[1].y, line.points[1].x) == pytest.approx(0.1)  # right is -y
    assert len(flight_messages.markers_message(STAMP, "base_link", [], []).markers) == 1


def test_a_pilots_text_fits_one_statustext(monkeypatch):
    """With stand-ins for the two messages: mavros_msgs is no part of the environment."""

    class Message(SimpleNamespace):
        def __init__(self, **values):
            super().__init__(header=SimpleNamespace(stamp=None), **values)

    monkeypatch.setattr(flight_messages, "StatusText", Message)
    monkeypatch.setattr(flight_messages, "CompanionProcessStatus", Message)
    msg = flight_messages.status_text_message(STAMP, 2, "x" * 80)
    assert (msg.severity, len(msg.text), msg.header.stamp) == (2, 50, STAMP)
    assert [flight_messages.status_text_message(STAMP, n, "").severity for n in (0, 1)] == [6, 4]
    states = [flight_messages.companion_status_message(STAMP, *s).state for s in ((0, False), (2, False), (1, True))]
    assert states == [4, 5, 1]


@needs_px4
def test_a_message_a_scan_costs_little(record_property):
    scan = make_scan([obstacle(-5, 5, 9.0)])
    t0 = time.perf_counter()
    for _ in range(50):
        flight_messages.obstacle_distance_message(STAMP, scan, 0.5, 40.0)
    ms = 20 * (time.perf_counter() - t0)
    record_property("ms", ms)
    assert ms < 5
