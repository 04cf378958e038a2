"""Results to messages and back, and the fields of older vision_msgs."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed (make setup)")

from std_msgs.msg import Header  # noqa: E402

from vit_perception import messages  # noqa: E402
from vit_perception.alerts import Alert  # noqa: E402
from vit_perception.detector import Detections  # noqa: E402
from vit_perception.obstacles import Obstacle, make_scan  # noqa: E402

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


def test_foxy_fields(monkeypatch):
    monkeypatch.setattr(messages, "Detection2D", Foxy.Detection2D)
    monkeypatch.setattr(messages, "ObjectHypothesisWithPose", Foxy.ObjectHypothesisWithPose)
    monkeypatch.setattr(messages, "Detection2DArray", lambda header: SimpleNamespace(header=header, detections=[]))
    msg = messages.detections_message(Header(), RESULT, ["0", "1"])
    assert (msg.detections[1].bbox.center.x, msg.detections[1].results[0].id) == (105.5, "0")
    boxes, _, class_ids, ids = messages.read_detections(msg)
    np.testing.assert_array_equal(boxes, RESULT.detections.boxes)
    assert (class_ids, ids) == (["1", "0"], ["", "7"])


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
