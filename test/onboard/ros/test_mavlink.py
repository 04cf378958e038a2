"""The link as a process, between real DDS and a scripted autopilot (a stand-in) on UDP."""

import math
import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
pytest.importorskip("onnx", reason="onnx is not installed (make setup)")
pytest.importorskip("pymavlink", reason="pymavlink is the user's own, and not installed: pip install pymavlink")

from flight import PERSON, running, start  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from scripted_autopilot import ScriptedAutopilot  # noqa: E402
from sensor_msgs.msg import NavSatFix, Range  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402

from vit_perception.ros.qos import BEST_EFFORT_NEWEST  # noqa: E402


def is_blocked(msg):
    return set(msg.distances[27:46]) == {50}


def known_of_the_vehicle(client):
    """What the node's newest diagnostics say that it knows of the vehicle."""
    values = [v for m in client.messages("diagnostics") for s in m.status for v in s.values if v.key == "ego"]
    return values[-1].value if values else ""


def silences(autopilot):
    """What the pilot was told of a silent node, and of its return, in order."""
    texts = [m.text for m in autopilot.kinds("STATUSTEXT")]
    return [text for text in texts if "silent" in text or "watching" in text]


def test_node_link_and_guard_stop_the_autopilot_whatever_dies(client, bundle, log, tmp_path):
    blocked = {"on_stale": "blocked", "publish_clear": True}
    for topic, kind in (("odometry", Odometry), ("height", Range), ("fix", NavSatFix), ("armed", Bool)):
        client.listen(topic, kind, BEST_EFFORT_NEWEST)
    with (
        ScriptedAutopilot(armed=True) as autopilot,
        running("mavlink", tmp_path / "link", mavlink_url=autopilot.url, on_stale="blocked"),
        running("guard", tmp_path / "guard", on_stale="blocked"),
    ):
        node = start("node", log, model=bundle, height_source="range", **blocked)
        try:
            client.connect()
            client.calibrate()
            scans = lambda: autopilot.kinds("OBSTACLE_DISTANCE")  # noqa: E731
            assert client.wait(lambda: client.fly(PERSON, 1.0) or (scans() and not is_blocked(scans()[-1])))
            told = lambda: all(client.messages(t) for t in ("height", "fix", "armed", "odometry"))  # noqa: E731
            fast = lambda: math.isfinite(client.messages("odometry")[-1].twist.twist.linear.x)  # noqa: E731
            assert client.wait(lambda: told() and fast())
            odometry = client.messages("odometry")[-1]
            assert odometry.child_frame_id == "base_link" and odometry.twist.twist.angular.z == pytest.approx(-0.03)
            twist, q = odometry.twist.twist.linear, odometry.pose.pose.orientation
            assert math.hypot(twist.x, twist.y, twist.z) == pytest.approx(math.hypot(3, 4, 0.5), abs=1e-4)
            assert q.x**2 + q.y**2 + q.z**2 + q.w**2 == pytest.approx(1.0)
            assert client.messages("height")[-1].range == pytest.approx(5.12)
            fix = client.messages("fix")[-1]
            assert fix.latitude == pytest.approx(47.3) and fix.status.status == 0
            assert client.messages("armed")[-1].data is True
            assert client.wait(lambda: "velocity" in known_of_the_vehicle(client), 8.0)
            # The guard, up first, said that the node is silent: that it watches again is told 5 s later (TEXT_S).
            assert client.wait(lambda: not silences(autopilot) or "watching" in silences(autopilot)[-1], 8.0)
            node.kill()
            node.wait()
            autopilot.heard.clear()
            died = time.monotonic()
            assert client.wait(lambda: any(is_blocked(m) for m in autopilot.kinds("OBSTACLE_DISTANCE")), 8.0)
            print(f"the autopilot hears blocked {time.monotonic() - died:.2f} s after kill -9")
            assert client.wait(lambda: any("silent" in m.text for m in autopilot.kinds("STATUSTEXT")), 8.0)
            autopilot.armed = False
            assert client.wait(lambda: "the vehicle is disarmed" in said_by(client, "guard"))
            client.spin(0.3)  # until what was under way is there
            autopilot.heard.clear()
            client.spin(0.5)
            assert autopilot.kinds("OBSTACLE_DISTANCE") == [], "disarmed: silence keeps it from arming"
        finally:
            if node.poll() is None:
                node.kill()
            node.wait()


def test_an_alert_becomes_a_text(client, tmp_path):
    from diagnostic_msgs.msg import DiagnosticStatus

    alerts = client.node.create_publisher(DiagnosticStatus, "vit_perception/alert", 10)
    with ScriptedAutopilot() as autopilot, running("mavlink", tmp_path / "link", mavlink_url=autopilot.url):
        assert client.wait(lambda: alerts.get_subscription_count() > 1, 10.0), "this client and the link"
        for level, text in ((b"\x02", "person 1, 2.5 s"), (b"\x02", "person 1, 2.4 s"), (b"\x00", "clear")):
            alerts.publish(DiagnosticStatus(level=level, message=text))
            client.spin(0.1)
        assert client.wait(lambda: len(autopilot.kinds("STATUSTEXT")) >= 2, 3.0), autopilot.kinds("STATUSTEXT")
        assert [(m.severity, m.text) for m in autopilot.kinds("STATUSTEXT")] == [
            (2, "person 1, 2.5 s"), (6, "obstacle: clear")
        ]  # fmt: skip


def test_what_is_not_this_vehicles_or_no_scan_of_ours_does_not_reach_the_autopilot(client, tmp_path):
    """Two vehicles in one DDS domain, and a lidar's scan that begins straight ahead on our topic."""
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
    from sensor_msgs.msg import LaserScan

    said = client.node.create_publisher(DiagnosticArray, "/diagnostics", 10)
    scans = client.node.create_publisher(LaserScan, "/drone1/obstacle_scan", 10)
    ours = {"angle_min": -math.pi, "angle_increment": math.radians(5), "range_min": 0.5, "range_max": 40.0}
    log, remap = tmp_path / "link", {"__ns": "/drone1"}
    with ScriptedAutopilot() as autopilot, running("mavlink", log, remap, mavlink_url=autopilot.url):
        assert client.wait(lambda: scans.get_subscription_count() > 0, 10.0)

        def speak():
            for who in ("drone2/guard", "guard", "drone1/guard"):
                status = DiagnosticStatus(level=b"\x02", name=who + ": guard", message=who)
                said.publish(DiagnosticArray(status=[status]))
            for wrong in ({"angle_min": 0.0}, {"range_max": math.nan}, {"range_min": math.inf}, {}):
                scans.publish(LaserScan(ranges=[3.0 if wrong else 7.0] * 72, **{**ours, **wrong}))
            client.spin(0.2)
            return autopilot.kinds("OBSTACLE_DISTANCE") and autopilot.kinds("STATUSTEXT")

        assert client.wait(speak, 5.0)
        assert {m.distances[0] for m in autopilot.kinds("OBSTACLE_DISTANCE")} == {700}
        assert {m.text for m in autopilot.kinds("STATUSTEXT")} == {"obstacles: drone1/guard"}
        assert client.wait(lambda: "connected to ArduPilot" in link_says(client), 3.0)
    assert "it is not sent" in log.read_text() and "ArduPilot answers on" in log.read_text()


def test_a_pilot_in_flight_is_told_that_neither_node_nor_guard_speak(client, tmp_path):
    from sensor_msgs.msg import LaserScan

    scans = client.node.create_publisher(LaserScan, "obstacle_scan", 10)
    ours = {"angle_min": -math.pi, "angle_increment": math.radians(5), "range_min": 0.5, "range_max": 40.0}
    with ScriptedAutopilot() as autopilot, running("mavlink", tmp_path / "link", mavlink_url=autopilot.url):
        assert client.wait(lambda: "connected" in link_says(client), 10.0)
        client.spin(2.5)
        assert autopilot.kinds("STATUSTEXT") == [], "on the ground silence is no matter"
        autopilot.armed = True
        assert client.wait(lambda: "no scan arrives" in link_says(client), 4.0)

        def texts():
            return [(m.severity, m.text) for m in autopilot.kinds("STATUSTEXT")]

        def speak():
            scans.publish(LaserScan(ranges=[7.0] * 72, **ours))
            client.spin(0.1)

        assert client.wait(lambda: speak() or len(texts()) >= 2)
        assert texts() == [(2, "obstacles: no scan arrives: nobody looks"), (6, "obstacles: scans arrive again")]


def said_by(client, part):
    """The newest status of a part on /diagnostics, or ''."""
    said = [s.message for m in client.messages("diagnostics") for s in m.status if s.name.endswith(part)]
    return said[-1] if said else ""


def link_says(client):
    return said_by(client, "link")


def test_a_line_that_is_not_there_yet_ends_nothing(client, tmp_path):
    with running("mavlink", tmp_path / "link", mavlink_url="/dev/ttyNONE:57600"):
        assert client.wait(lambda: "is not open" in link_says(client), 10.0)
    assert (tmp_path / "link").read_text().count("is the cable in") == 1, "said once"


def test_a_wrong_url_ends_it_with_one_sentence(tmp_path):
    process = start("mavlink", tmp_path / "log", mavlink_url="com7")
    assert process.wait(15) == 1
    assert "'com7' is no MAVLink URL" in (tmp_path / "log").read_text()
