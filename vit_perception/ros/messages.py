"""Plain results <-> ROS messages. What differs between the distributions' vision_msgs lives here alone."""

import math

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from sensor_msgs.msg import LaserScan
from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    Detection3D,
    Detection3DArray,
    ObjectHypothesisWithPose,
)

from ..avoidance.geometry import norm
from ..avoidance.scan import ANGLE_INCREMENT, ANGLE_MIN, BINS
from ..motion_obstacles import by_motion

try:  # vision_msgs 4.1: Humble and later
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:
    LabelInfo = None
    from vision_msgs.msg import VisionInfo

STALE = 3  # DiagnosticStatus.STALE as a number


def type_name(kind):
    """'sensor_msgs/msg/Image' of the class sensor_msgs.msg.Image."""
    return "{}/msg/{}".format(kind.__module__.partition(".")[0], kind.__name__)


def stamp_to_seconds(stamp):
    """builtin_interfaces/Time -> float seconds (to 0.3 microseconds in this century)."""
    return stamp.sec + 1e-9 * stamp.nanosec


def seconds_to_stamp(seconds, stamp):
    """Write float seconds into a builtin_interfaces/Time; returns it."""
    whole = int(math.floor(seconds))
    stamp.sec, stamp.nanosec = whole, min(int(round((seconds - whole) * 1e9)), 999999999)
    return stamp


def detections_message(header, result, class_ids):
    """Detection2DArray of one frame, the empty one included.

    Args:
        header: of the image; it becomes the header of the array and of each detection.
        result: `vit_perception.pipeline.FrameDetections` or `Result`.
        class_ids: list of str, what to publish as class_id by class index.
    """
    found = result.detections
    ids = {t.detection: str(t.id) for t in result.tracks}  # -1 (coasting) is no index
    centers = (0.5 * (found.boxes[:, :2] + found.boxes[:, 2:])).tolist()
    sizes = (found.boxes[:, 2:] - found.boxes[:, :2]).tolist()
    scores, classes = found.scores.tolist(), found.classes.tolist()
    msg = Detection2DArray(header=header)
    msg.detections = [
        _detection(header, centers[i], sizes[i], scores[i], class_ids[classes[i]], ids.get(i, ""))
        for i in range(len(found))
    ]
    return msg


def _detection(header, center, size, score, class_id, track_id):
    msg = Detection2D(header=header)
    position = getattr(msg.bbox.center, "position", msg.bbox.center)  # Foxy and Galactic: geometry_msgs/Pose2D
    position.x, position.y = center
    msg.bbox.size_x, msg.bbox.size_y = size
    msg.results = [_hypothesis(class_id, score)]
    setattr(msg, _track_field(msg), track_id)
    return msg


def _hypothesis(class_id, score):
    msg = ObjectHypothesisWithPose()
    inner, field = _class_field(msg)
    setattr(inner, field, class_id)
    inner.score = score
    return msg


def _class_field(result):
    """(message, name of its field) of the class in an ObjectHypothesisWithPose; the score is in that message too."""
    inner = getattr(result, "hypothesis", result)  # Foxy has no inner message
    return inner, "class_id" if hasattr(inner, "class_id") else "id"


def _track_field(detection):
    return "id" if hasattr(detection, "id") else "tracking_id"


def obstacles_message(stamp, base_frame, obstacles, class_ids):
    """Detection3DArray of the obstacles whose position is known, the empty one included.

    Args:
        stamp: of the image. base_frame: FLU, of positions (metres) and covariances (metres squared).
        obstacles: list of `vit_perception.avoidance.obstacles.Obstacle`; the ids are those of ~/detections.
        class_ids: list of str, what to publish as class_id by class index.
    """
    msg = Detection3DArray()
    msg.header.stamp, msg.header.frame_id = stamp, base_frame
    ranged = [o for o in obstacles if o.position is not None and np.isfinite(o.position).all()]
    msg.detections = [_detection_3d(msg.header, o, class_ids[o.track.class_index]) for o in ranged]
    return msg


def _detection_3d(header, o, class_id):
    result = _hypothesis(class_id, o.track.score)
    position = result.pose.pose.position
    position.x, position.y, position.z = (float(v) for v in o.position)
    covariance = np.zeros((6, 6))  # x, y, z and rotations about them: those stay zero, nothing is known of them
    if o.covariance is not None:
        covariance[:3, :3] = o.covariance
    result.pose.covariance = covariance.ravel()
    msg = Detection3D(header=header, results=[result])
    msg.bbox.center.position = position
    size = _size(o)
    msg.bbox.size.x, msg.bbox.size.y, msg.bbox.size.z = size[0], size[0], size[1]
    setattr(msg, _track_field(msg), str(o.track.id))
    return msg


def finds_message(stamp, frame_id, finds):
    """Detection3DArray of `vit_perception.finds.find.Find`s: places on the ground in the ENU frame `frame_id`.

    class_id is the class's name; of the 6 x 6 covariance only east and north are known.
    """
    msg = Detection3DArray()
    msg.header.stamp, msg.header.frame_id = stamp, frame_id
    for find in finds:
        result = _hypothesis(find.label, find.score)
        position = result.pose.pose.position
        position.x, position.y = float(find.state[0]), float(find.state[1])
        covariance = np.zeros((6, 6))
        covariance[:2, :2] = find.covariance[:2, :2]
        result.pose.covariance = covariance.ravel()
        detection = Detection3D(header=msg.header, results=[result])
        detection.bbox.center.position = position
        setattr(detection, _track_field(detection), str(find.id))
        msg.detections.append(detection)
    return msg


def _size(o):
    """(width, height) in metres that the box covers at the obstacle's distance; its depth is not seen."""
    if o.sector is None:
        return 0.0, 0.0
    width = 2 * norm(o.position) * math.tan(0.5 * min(o.sector[1] - o.sector[0], 2.0))
    x1, y1, x2, y2 = (float(v) for v in o.track.box)
    return width, width * (y2 - y1) / max(x2 - x1, 1.0)


def read_detections(msg):
    """Detection2DArray -> (boxes, scores, class ids, track ids).

    boxes: (n, 4) float32 x1 y1 x2 y2 in pixels; scores: (n,) float32; ids: lists of str.
    """
    boxes, scores = [], []
    for d in msg.detections:
        position = getattr(d.bbox.center, "position", d.bbox.center)
        w, h = 0.5 * d.bbox.size_x, 0.5 * d.bbox.size_y
        boxes.append((position.x - w, position.y - h, position.x + w, position.y + h))
        scores.append(_class_field(d.results[0])[0].score)
    class_ids, ids = _read_ids(msg)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), class_ids, ids


def read_obstacles(msg):
    """Detection3DArray -> (positions, class ids, track ids).

    positions: list of (x, y, z), metres, in the message's frame; ids: lists of str.
    """
    positions = [d.results[0].pose.pose.position for d in msg.detections]
    return ([(p.x, p.y, p.z) for p in positions],) + _read_ids(msg)


def _read_ids(msg):
    """(class ids, track ids) of a Detection2DArray or Detection3DArray."""
    class_ids = [getattr(*_class_field(d.results[0])) for d in msg.detections]
    return class_ids, [getattr(d, _track_field(d)) for d in msg.detections]


def label_message(stamp, labels, score_threshold, model):
    """The class map: LabelInfo, or VisionInfo with the map as text where vision_msgs is older than 4.1."""
    if LabelInfo is None:
        text = ", ".join("{}: {}".format(i, label) for i, label in enumerate(labels))
        msg = VisionInfo(method=model, database_location=text)
    else:
        classes = [VisionClass(class_id=i, class_name=label) for i, label in enumerate(labels)]
        msg = LabelInfo(class_map=classes, threshold=float(score_threshold))
    msg.header.stamp = stamp
    return msg


def scan_message(stamp, frame_id, ranges, range_min, range_max, scan_time, in_view=()):
    """LaserScan of 72 rays, CLOCKWISE as mavros takes it (a plain LaserScan is counter-clockwise).

    in_view: 72 intensities, 1 where the camera looks, else 0: so the guard knows what to block. mavros skips them.
    """
    msg = LaserScan(
        angle_min=ANGLE_MIN,
        angle_max=ANGLE_MIN + (BINS - 1) * ANGLE_INCREMENT,
        angle_increment=ANGLE_INCREMENT,
        scan_time=scan_time,
        range_min=float(range_min),
        range_max=float(range_max),
        ranges=ranges.tolist(),
        intensities=list(in_view),
    )
    msg.header.stamp, msg.header.frame_id = stamp, frame_id
    return msg


def alert_message(alert, labels, name):
    """DiagnosticStatus of an alert; a value that is not known is left out."""
    values = {"threat": alert.threat}
    text = "clear"
    if alert.obstacle is not None:
        o = alert.obstacle
        values["class"], values["track_id"] = labels[o.track.class_index], str(o.track.id)
        if o.ttc_s is not None:
            values["ttc_s"], values["ttc_sigma_s"] = "{:.2f}".format(o.ttc_s), "{:.2f}".format(o.ttc_sigma_s)
        if o.range_m is not None:
            values["range_m"] = "{:.1f}".format(o.range_m)
        if o.bearing is not None:
            values["bearing_deg"] = "{:.1f}".format(math.degrees(o.bearing))
        known = ["{} {}".format(k, values[k]) for k in ("ttc_s", "range_m", "bearing_deg") if k in values]
        how = " by motion" if by_motion(o) else ""
        text = "{} {}{}: {}".format(values["class"], values["track_id"], how, ", ".join(known))
    return status(name, alert.level, text, values)


def status(name, level, message, values):
    """DiagnosticStatus from plain values; `level` is 0 OK, 1 WARN, 2 ERROR, 3 STALE."""
    pairs = [KeyValue(key=k, value=str(v)) for k, v in values.items()]
    return DiagnosticStatus(
        level=bytes([level]), name=name, message=message, hardware_id="vit_perception", values=pairs
    )


def diagnostics_message(stamp, statuses):
    """DiagnosticArray of `statuses`."""
    msg = DiagnosticArray(status=statuses)
    msg.header.stamp = stamp
    return msg
