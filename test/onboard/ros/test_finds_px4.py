"""Finds from PX4's own topics, with the real px4_msgs over real DDS; without them the node refuses the parameter."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
pytest.importorskip("onnx", reason="onnx is not installed (make setup)")

from flight import NAME, WIDTH, running, start, white_blocks  # noqa: E402
from sensor_msgs.msg import NavSatFix  # noqa: E402

from vit_perception.ros import px4_pose  # noqa: E402

needs_px4 = pytest.mark.skipif(px4_pose.VehicleAttitude is None, reason="px4_msgs lacks VehicleAttitude (make setup)")
ORIGIN, HEIGHT_M, GROUND_M = (47.4, 8.5), 20.0, 410.0


def quaternion(heading_deg, pitch_deg=0.0):
    """w, x, y, z of a vehicle (forward, right, down) to north, east, down, nose up by pitch."""
    h, p = math.radians(heading_deg) / 2, math.radians(pitch_deg) / 2
    return [
        math.cos(h) * math.cos(p), -math.sin(h) * math.sin(p), math.cos(h) * math.sin(p), math.sin(h) * math.cos(p)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("heading", "pitch", "forward"),
    [(0, 0, (0, 1, 0)), (90, 0, (1, 0, 0)), (225, 0, (-math.sqrt(0.5), -math.sqrt(0.5), 0)), (0, 30, (0, 0.866, 0.5))],
)
def test_attitude_becomes_a_rotation_from_base_link_to_enu(heading, pitch, forward):
    msg = SimpleNamespace(q=quaternion(heading, pitch), timestamp_sample=1_700_000_000_250_000)
    ((name, (stamp_s, rotation)),) = px4_pose.of_attitude(msg)
    assert name == "add_orientation" and stamp_s == 1_700_000_000.25
    np.testing.assert_allclose(rotation @ (1, 0, 0), forward, atol=1e-3)
    up = rotation @ (0, 0, 1)
    assert up[2] == pytest.approx(math.cos(math.radians(pitch))) and np.linalg.det(rotation) == pytest.approx(1)


def position(**changes):
    values = {"lat": 47.4, "lon": 8.5, "alt": 430.0, "alt_ellipsoid": 478.0, "eph": 0.8, "terrain_alt": 410.0}
    values |= {"terrain_alt_valid": True, "timestamp_sample": 2_000_000}
    return SimpleNamespace(**{**values, **changes})


def test_position_tells_height_where_the_ground_is_known_and_says_where_not():
    said = []
    listen = lambda kind, text: said.append(text)  # noqa: E731
    calls = dict(px4_pose.of_position(position(), True, listen))
    assert calls == {"add_fix": (2.0, 47.4, 8.5, 478.0, 0.8), "add_height": (2.0, 20.0)} and not said
    assert [c[0] for c in px4_pose.of_position(position(), False, listen)] == ["add_fix"]
    assert [c[0] for c in px4_pose.of_position(position(terrain_alt_valid=False), True, listen)] == ["add_fix"]
    assert px4_pose.of_position(position(lat_lon_valid=False), True, listen) == []
    assert ["PX4 does not know its height above ground" in said[0], "position is not valid" in said[1]] == [True, True]
    assert px4_pose.of_position(position(eph=float("nan")), True, listen)[0][1][4] is None


@needs_px4
def test_a_person_becomes_a_find_from_px4s_topics_alone(client, bundle, log, tmp_path):
    options = {"finds.heading_source": "px4", "finds.folder": str(tmp_path), "obstacles.camera_pitch_deg": -45.0}
    with running("node", log, model=bundle, **options):
        client.connect()
        where = client.node.create_publisher(px4_pose.VehicleGlobalPosition, px4_pose.POSITION, 10)
        how = client.node.create_publisher(px4_pose.VehicleAttitude, px4_pose.ATTITUDE, 10)
        client.listen(NAME + "/find", NavSatFix, 50)
        client.calibrate()
        assert client.wait(lambda: where.get_subscription_count() and how.get_subscription_count())
        assert client.wait(lambda: client.node.count_publishers(NAME + "/find") > 0)

        def tell():
            now = client.node.get_clock().now().nanoseconds // 1000
            msg = px4_pose.VehicleGlobalPosition(lat=ORIGIN[0], lon=ORIGIN[1], alt=GROUND_M + HEIGHT_M)
            msg.timestamp = msg.timestamp_sample = now
            msg.lat_lon_valid = msg.alt_valid = msg.terrain_alt_valid = True
            msg.terrain_alt, msg.eph, msg.alt_ellipsoid = GROUND_M, 0.8, 478.0
            where.publish(msg)
            turned = px4_pose.VehicleAttitude(q=np.array(quaternion(90.0), np.float32))
            turned.timestamp = turned.timestamp_sample = now
            how.publish(turned)

        client.fly(white_blocks((4, 3)), 2.5, rate=15.0, each=tell)
        on = lambda: client.fly(white_blocks((4, 3)), 0.3, rate=15.0, each=tell)  # noqa: E731
        assert client.wait(lambda: client.messages("find") or on(), 10.0), log.read_text()
        s, (u, v) = math.sqrt(0.5), (72.0 - WIDTH / 2, 56.0 - 48.0)
        reach = (0.85 - HEIGHT_M) / (-s - s * v / 100.0)
        fix = client.messages("find")[-1]
        assert fix.longitude == pytest.approx(ORIGIN[1] + reach * (s - s * v / 100.0) / 75430, abs=1e-5)
        assert fix.latitude == pytest.approx(ORIGIN[0] - reach * u / 100.0 / 111190, abs=1e-5)
        assert fix.altitude == pytest.approx(458.0, abs=0.1)


@pytest.mark.skipif(px4_pose.VehicleAttitude is not None, reason="px4_msgs is installed")
def test_without_px4_msgs_the_node_says_so(bundle, log):
    process = start("node", log, model=bundle, **{"finds.heading_source": "px4"})
    assert process.wait(30) == 1
    assert "finds.heading_source: px4 needs the message package px4_msgs, which is not installed" in log.read_text()
