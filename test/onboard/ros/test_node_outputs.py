"""What the node publishes beside detections, scan and alert, over real DDS."""

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
pytest.importorskip("onnx", reason="onnx is not installed (make setup)")

from flight import HEIGHT, WIDTH, positions, running, stamps_of, start, white_blocks  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402

from vit_perception.ros import flight_messages  # noqa: E402

BLACK = np.zeros((HEIGHT, WIDTH), np.uint8)
AHEAD = white_blocks((3, 2), (4, 2))  # two people side by side, 10.6 m ahead


@pytest.fixture
def flown(client, bundle, log):
    """A client connected to a running node."""
    with running("node", log, model=bundle):
        client.connect()
        yield client


def test_obstacles_have_positions_ids_and_the_images_stamp(flown):
    flown.calibrate()
    flown.fly(AHEAD, 0.6)
    assert flown.fly_until(AHEAD, lambda: flown.messages("obstacles")[-1].detections)
    msg, detections = flown.messages("obstacles")[-1], flown.messages("detections")[-1]
    assert msg.header.frame_id == "base_link"
    assert flown.wait(lambda: stamps_of(flown, "obstacles") <= stamps_of(flown, "detections"))
    assert {d.id for d in msg.detections} == {d.id for d in detections.detections} == {"1", "2"}
    for d, (x, y, z) in zip(msg.detections, positions(flown), strict=True):
        assert x == pytest.approx(10.6, rel=0.15) and abs(y) == pytest.approx(x * 0.08, rel=0.05) and abs(z) < 1.0
        covariance = np.reshape(d.results[0].pose.covariance, (6, 6))[:3, :3]
        assert np.linalg.eigvalsh(covariance).min() > 0
    flown.forget()
    flown.fly(BLACK, 0.5)
    assert flown.fly_until(BLACK, lambda: flown.messages("obstacles")[-1].detections == [])


@pytest.mark.skipif(flight_messages.ObstacleDistance is None, reason="px4_msgs is not installed (make setup)")
def test_px4_gets_what_the_scan_says_and_falls_silent_with_it(client, bundle, log):
    client.listen(
        "/fmu/in/obstacle_distance",
        flight_messages.ObstacleDistance,
        QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT),
    )
    with running("node", log, model=bundle, publish_px4=True):
        client.connect()
        client.fly(AHEAD, 0.3)
        assert client.messages("obstacle_distance") == [], "not calibrated: nothing is known of space"
        client.calibrate()
        client.fly(AHEAD, 1.2)
        assert client.fly_until(AHEAD, lambda: len(client.messages("obstacle_distance")) >= 8)
        client.spin(0.2)  # until what was under way is here
        scans, told = client.messages("obstacle_scan"), client.messages("obstacle_distance")
        assert abs(len(told) - len(scans)) <= 1
        # The newest of one may not have arrived yet, so they are paired by their stamps.
        stamps = {s.header.stamp.sec * 1000000 + s.header.stamp.nanosec // 1000: s for s in scans}
        paired = [m for m in told if m.timestamp in stamps]
        assert len(paired) >= len(told) - 1
        scan, msg = stamps[paired[-1].timestamp], paired[-1]
        ahead = np.roll(np.array(scan.ranges), -36)
        np.testing.assert_allclose(msg.distances[np.isfinite(ahead)], 100 * ahead[np.isfinite(ahead)], atol=1.01)
        assert set(msg.distances[~np.isfinite(ahead)]) == {65535}
        client.spin(0.8)
        client.forget()
        client.spin(0.7)
        assert client.messages("obstacle_distance") == client.messages("obstacle_scan") == []


@pytest.mark.skipif(flight_messages.StatusText is None, reason="mavros_msgs is not installed")
def test_mavros_gets_one_text_a_change_and_a_sign_of_life(client, bundle, log):
    client.listen("/mavros/statustext/send", flight_messages.StatusText)
    client.listen("/mavros/companion_process/status", flight_messages.CompanionProcessStatus)
    with running("node", log, model=bundle, publish_mavros=True, **{"alerts.warn_range_m": 15.0}):
        client.connect()
        client.calibrate()
        client.received["status"].clear()  # how long the start takes is not known
        begun = time.monotonic()
        client.fly(AHEAD, 1.0)
        assert client.fly_until(AHEAD, lambda: len(client.messages("send")) == 1)
        client.fly(BLACK, 1.0)
        assert client.fly_until(BLACK, lambda: len(client.messages("send")) == 2)
        client.spin(1.5)
        assert client.wait(lambda: client.messages("status")[-1].state == 5), "critical: no image"
        seconds = time.monotonic() - begun
    texts, states = client.messages("send"), [m.state for m in client.messages("status")]
    assert [m.severity for m in texts] == [4, 6]
    assert texts[0].text.startswith("LOW: person") and texts[1].text == "obstacle: clear"
    assert abs(len(states) - seconds) <= 1.5 and 4 in states, "once a second, active before"


def test_markers_are_there_for_whoever_looks(flown):
    from visualization_msgs.msg import MarkerArray

    flown.calibrate()
    flown.fly(AHEAD, 0.5)
    flown.listen("/vit_perception/markers", MarkerArray)
    assert flown.wait(lambda: flown.node.count_subscribers("/vit_perception/markers") > 0)
    assert flown.fly_until(AHEAD, lambda: flown.messages("markers"), images=12)
    assert {m.ns for m in flown.messages("markers")[-1].markers} == {"", "obstacles", "labels"}


def test_the_debug_image_is_there_for_whoever_looks(flown):
    from sensor_msgs.msg import CompressedImage, Image

    flown.fly(AHEAD, 0.3)
    flown.listen("/vit_perception/debug_image", Image)
    flown.listen("/vit_perception/debug_image/compressed", CompressedImage)
    assert flown.wait(lambda: flown.node.count_subscribers("/vit_perception/debug_image") > 0)
    begun = time.monotonic()
    flown.fly(AHEAD, 1.0, frame_id="front")

    def several():
        return len(flown.messages("debug_image")) >= 2 and flown.messages("compressed")

    assert flown.fly_until(AHEAD, several, frame_id="front")
    pictures, stamps = flown.messages("debug_image"), [m.header.stamp for m in flown.messages("detections")]
    assert len(pictures) <= 5 * (time.monotonic() - begun) + 2, "at debug.max_rate_hz"
    assert pictures[-1].header.frame_id == "front" and pictures[-1].header.stamp in stamps
    assert flown.messages("compressed")[-1].format.startswith("bgr8; jpeg")


def test_the_last_seconds_become_a_bag(client, bundle, log, tmp_path):
    from vit_perception.recording.bag import open_bag

    folder = tmp_path / "bags"
    with running("node", log, model=bundle, **{"dump.seconds": 5.0, "dump.folder": folder}):
        client.connect()
        client.calibrate()
        client.fly(AHEAD, 1.0)
        stamp = client.send_now(AHEAD)
        assert client.wait(lambda: stamp in stamps_of(client, "obstacles"))  # nothing is under way
        answer = client.ask("/vit_perception/dump")
    assert answer.success, answer.message
    (path,) = folder.iterdir()
    assert str(path) in answer.message
    counts = open_bag(str(path)).counts
    assert counts["/image_raw"] == counts["/vit_perception/detections"] == counts["/vit_perception/obstacles"] > 10
    assert counts["/camera_info"] == counts["/vit_perception/label_info"] == 1 and counts["/obstacle_scan"] > 5


@pytest.mark.parametrize(
    ("parameter", "package", "kind"),
    [("publish_px4", "px4_msgs", "ObstacleDistance"), ("publish_mavros", "mavros_msgs", "StatusText")],
)
def test_a_message_package_that_is_missing_is_told_in_one_sentence(bundle, log, parameter, package, kind):
    if getattr(flight_messages, kind) is not None:
        pytest.skip(f"{package} is installed")
    process = start("node", log, model=bundle, **{parameter: True})
    assert process.wait(20) == 1
    (line,) = log.read_text().strip().splitlines()
    assert line == f"vit_perception: {parameter} needs the message package {package}, which is not installed"
