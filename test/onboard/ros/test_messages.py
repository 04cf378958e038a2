"""Results to messages and back, and the fields of older vision_msgs."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed (make setup)")

from geometry_msgs.msg import Pose, PoseWithCovariance, Vector3  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from vit_perception.avoidance.alerts import Alert  # noqa: E402
from vit_perception.avoidance.obstacles import Obstacle  # noqa: E402
from vit_perception.avoidance.scan import make_scan  # noqa: E402
from vit_perception.detector import Detections  # noqa: E402
from vit_perception.ros import messages  # noqa: E402

RESULT = SimpleNamespace(
    detections=Detections([[1, 2, 11, 32], [100.25, 50.5, 110.75, 60]], [0.9, 0.4], [1, 0]),
    tracks=[SimpleNamespace(detection=1, id=7), SimpleNamespace(detection=-1, id=8)],
)


def test_detections_survive_the_way_there_and_back():
    header = Header(frame_id="cam")
    header.stamp.sec = 5
    msg = messages.detections_message(header, RESULT, ["0", "1"])
    boxes, scores, class_ids, ids = messages.read_detections(msg)
    np.testing.assert_array_equal(boxes, RESULT.detections.boxes)
    np.testing.assert_allclose(scores, [0.9, 0.4], rtol=1e-6)
    assert (class_ids, ids) == (["1", "0"], ["", "7"])
    assert msg.header == msg.detections[1].header == header
    empty = messages.detections_message(header, SimpleNamespace(detections=Detections([], [], []), tracks=[]), [])
    assert messages.read_detections(empty)[0].shape == (0, 4)


class Foxy:
    """The interface of vision_msgs in Foxy: Pose2D center, results[i].id, tracking_id."""

    class Detection2D:
        def __init__(self, header):
            center = SimpleNamespace(x=0.0, y=0.0, theta=0.0)
            self.header, self.results = header, []
            self.bbox = SimpleNamespace(center=center, size_x=0.0, size_y=0.0)
            self.is_tracking, self.tracking_id = False, ""

    class ObjectHypothesisWithPose:
        def __init__(self):
            self.id, self.score = "", 0.0

    @staticmethod
    def posed_hypothesis():
        return SimpleNamespace(id="", score=0.0, pose=PoseWithCovariance())

    @staticmethod
    def detection_3d(header, results):
        bbox = SimpleNamespace(center=Pose(), size=Vector3())
        return SimpleNamespace(header=header, results=results, bbox=bbox, tracking_id="")


def test_foxy_fields(monkeypatch):
    monkeypatch.setattr(messages, "Detection2D", Foxy.Detection2D)
    monkeypatch.setattr(messages, "ObjectHypothesisWithPose", Foxy.ObjectHypothesisWithPose)
    monkeypatch.setattr(messages, "Detection2DArray", lambda header: SimpleNamespace(header=header, detections=[]))
    msg = messages.detections_message(Header(), RESULT, ["0", "1"])
    assert (msg.detections[1].bbox.center.x, msg.detections[1].results[0].id) == (105.5, "0")
    boxes, _, class_ids, ids = messages.read_detections(msg)
    np.testing.assert_array_equal(boxes, RESULT.detections.boxes)
    assert (class_ids, ids) == (["1", "0"], ["", "7"])


def located(number, position, covariance):
    track = SimpleNamespace(id=number, class_index=1, score=0.75, box=np.array([10, 20, 30, 60], np.float32))
    obstacle = Obstacle(track)
    obstacle.position, obstacle.covariance, obstacle.sector = position, covariance, (0.1, 0.3)
    return obstacle


def test_obstacles_are_those_with_a_position_in_base_link():
    covariance = np.array([[4.0, 0.5, 0.1], [0.5, 1.0, 0.2], [0.1, 0.2, 0.25]])
    obstacles = [
        located(7, np.array([6.0, -8.0, 0.5]), covariance),
        located(8, None, None),
        located(9, np.array([np.nan, 0.0, 0.0]), covariance),
    ]
    stamp = Header().stamp
    stamp.sec = 5
    msg = messages.obstacles_message(stamp, "base_link", obstacles, ["0", "1"])
    assert (msg.header.frame_id, msg.header.stamp.sec) == ("base_link", 5)
    (d,) = msg.detections
    result = d.results[0]
    assert (d.id, result.hypothesis.class_id, result.hypothesis.score) == ("7", "1", 0.75)
    for position in (result.pose.pose.position, d.bbox.center.position):
        assert (position.x, position.y, position.z) == (6.0, -8.0, 0.5)
    assert result.pose.pose.orientation.w == d.bbox.center.orientation.w == 1.0
    np.testing.assert_array_equal(np.reshape(result.pose.covariance, (6, 6))[:3, :3], covariance)
    assert not np.reshape(result.pose.covariance, (6, 6))[3:].any()
    assert d.bbox.size.x == pytest.approx(2 * np.sqrt(100.25) * np.tan(0.1))
    assert d.bbox.size.z == pytest.approx(2 * d.bbox.size.x)  # the box is twice as high as wide
    assert messages.read_obstacles(msg) == ([(6.0, -8.0, 0.5)], ["1"], ["7"])
    assert messages.obstacles_message(stamp, "base_link", [], []).detections == []


def test_obstacles_with_foxy_fields(monkeypatch):
    monkeypatch.setattr(messages, "Detection3D", lambda header, results: Foxy.detection_3d(header, results))
    monkeypatch.setattr(messages, "ObjectHypothesisWithPose", Foxy.posed_hypothesis)
    monkeypatch.setattr(messages, "Detection3DArray", lambda: SimpleNamespace(header=Header(), detections=[]))
    msg = messages.obstacles_message(Header().stamp, "base_link", [located(7, np.ones(3), None)], ["0", "1"])
    (d,) = msg.detections
    assert (d.tracking_id, d.results[0].id, d.results[0].pose.pose.position.x) == ("7", "1", 1.0)
    assert messages.read_obstacles(msg) == ([(1.0, 1.0, 1.0)], ["1"], ["7"])


def test_stamps_keep_their_nanoseconds():
    stamp = Header().stamp
    messages.seconds_to_stamp(1234.25, stamp)
    assert (stamp.sec, stamp.nanosec) == (1234, 250000000)
    assert messages.stamp_to_seconds(stamp) == 1234.25
    messages.seconds_to_stamp(0.9999999999, stamp)
    assert stamp.nanosec < 1000000000


def test_scan_geometry():
    msg = messages.scan_message(Header().stamp, "base_link_frd", make_scan([]), 0.5, 40.0, 0.1)
    assert len(msg.ranges) == 72
    assert msg.angle_max - msg.angle_min == pytest.approx(np.radians(355), abs=1e-5)
    assert msg.angle_min + 36 * msg.angle_increment == pytest.approx(0, abs=1e-5)


def test_alert_leaves_out_what_is_not_known():
    obstacle = Obstacle(SimpleNamespace(id=3, class_index=1))
    obstacle.ttc_s, obstacle.ttc_sigma_s = 1.5, 0.2
    msg = messages.alert_message(Alert(2, obstacle), ["person", "car"], "node: obstacle")
    values = {v.key: v.value for v in msg.values}
    assert msg.level == b"\x02"
    assert values == {
        "threat": "HIGH",
        "class": "car",
        "track_id": "3",
        "ttc_s": "1.50",
        "ttc_sigma_s": "0.20",
    }
    clear = messages.alert_message(Alert(cleared=True), [], "node: obstacle")
    assert clear.level == b"\x00" and clear.values[0].value == "NONE"


def test_an_alert_by_motion_says_so():
    obstacle = Obstacle(SimpleNamespace(id=1000003, class_index=1))
    obstacle.ttc_s, obstacle.ttc_sigma_s = 1.5, 0.2
    msg = messages.alert_message(Alert(1, obstacle), ["person", "obstacle"], "node: obstacle")
    assert msg.message == "obstacle 1000003 by motion: ttc_s 1.50"
