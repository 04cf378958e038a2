"""Results -> what flight stacks and ground stations show and act on: PX4, mavros, RViz and Foxglove.

px4_msgs and mavros_msgs are optional: without them their classes are None here, and the node refuses the parameters
that need them.
"""

import math

import numpy as np
from geometry_msgs.msg import Point
from visualization_msgs.msg import Marker, MarkerArray

from ..avoidance.alerts import ERROR, OK, WARN
from ..avoidance.scan import ANGLE_INCREMENT, BINS
from ..palette import OF_THREAT, rgba

try:
    from px4_msgs.msg import ObstacleDistance
except ImportError:
    ObstacleDistance = None
try:
    from mavros_msgs.msg import CompanionProcessStatus, State, StatusText
except ImportError:
    CompanionProcessStatus = State = StatusText = None

BODY_FRD = 12  # MAV_FRAME_BODY_FRD
UNKNOWN_CM = 65535
SEVERITIES = {OK: 6, WARN: 4, ERROR: 2}  # MAV_SEVERITY INFO, WARNING, CRITICAL, by level
STATUSTEXT_CHARS = 50  # what one MAVLink STATUSTEXT holds
MAV_STATE_BOOT, MAV_STATE_ACTIVE, MAV_STATE_CRITICAL = 1, 4, 5
OBSTACLE_AVOIDANCE = 196  # MAV_COMP_ID_OBSTACLE_AVOIDANCE


def obstacle_distance_message(stamp, ranges, range_min, range_max):
    """px4_msgs/ObstacleDistance of a scan, as PX4's uXRCE-DDS client takes it on /fmu/in/obstacle_distance.

    Args:
        stamp: of the image; PX4 needs it on the ROS system clock, from which its client converts.
        ranges: (72,) of `avoidance.scan.make_scan`, whose first ray looks back; here the first looks ahead.
        range_min, range_max: metres.
    """
    # Cut to whole centimetres, as mavros cuts them: `avoidance.scan.range_end`.
    low, high = (min(max(int(100.0 * float(np.float32(m))), 0), UNKNOWN_CM - 2) for m in (range_min, range_max))
    known = np.isfinite(ranges)
    metres = np.where(known, ranges, 0.0).astype(np.float64)
    cm = np.clip(np.floor(100.0 * metres + 1e-3), low, high)
    cm[metres > range_max + 0.005] = high + 1
    cm[~known] = UNKNOWN_CM
    msg = ObstacleDistance(frame=BODY_FRD, sensor_type=0, min_distance=low, max_distance=high)
    msg.timestamp = 1000000 * stamp.sec + stamp.nanosec // 1000
    msg.increment, msg.angle_offset = math.degrees(ANGLE_INCREMENT), 0.0
    msg.distances = np.roll(cm, -(BINS // 2)).astype(np.uint16)
    return msg


def status_text_message(stamp, level, text):
    """mavros_msgs/StatusText of an alert: what a pilot reads at the ground station."""
    msg = StatusText(severity=SEVERITIES[level], text=text[:STATUSTEXT_CHARS])
    msg.header.stamp = stamp
    return msg


def companion_status_message(stamp, level, starting):
    """mavros_msgs/CompanionProcessStatus: is somebody looking? Critical while diagnostics are ERROR."""
    state = MAV_STATE_BOOT if starting else MAV_STATE_CRITICAL if level >= ERROR else MAV_STATE_ACTIVE
    msg = CompanionProcessStatus(state=state, component=OBSTACLE_AVOIDANCE)
    msg.header.stamp = stamp
    return msg


def markers_message(stamp, base_frame, obstacles, labels):
    """MarkerArray for RViz and Foxglove in base_link: what was there before is deleted.

    A ball of one sigma around each ranged obstacle and its text; a line along the bearing of one without range.
    Red threatens, orange is not judged, green passes.
    """
    markers = [_marker(stamp, base_frame, 0, Marker.CUBE)]
    markers[0].action = Marker.DELETEALL
    for o in obstacles:
        colour = rgba(OF_THREAT[o.threatens], 0.6)
        if o.position is not None and np.isfinite(o.position).all():
            ball = _marker(stamp, base_frame, o.track.id, Marker.SPHERE, "obstacles", colour)
            _put(ball.pose.position, o.position)
            sigmas = np.zeros(3) if o.covariance is None else np.sqrt(np.maximum(np.diag(o.covariance), 0.0))
            ball.scale.x, ball.scale.y, ball.scale.z = np.maximum(2 * sigmas, 0.5).tolist()
            text = _marker(stamp, base_frame, o.track.id, Marker.TEXT_VIEW_FACING, "labels", (1.0, 1.0, 1.0, 1.0))
            _put(text.pose.position, o.position + np.array([0.0, 0.0, 1.0]))
            text.scale.z, text.text = 0.8, _label(o, labels)
            markers += [ball, text]
        elif o.bearing is not None and math.isfinite(o.bearing):
            line = _marker(stamp, base_frame, o.track.id, Marker.LINE_STRIP, "bearings", colour)
            line.scale.x = 0.05
            line.points = [Point(), Point(x=20.0 * math.cos(o.bearing), y=-20.0 * math.sin(o.bearing))]
            markers.append(line)
    return MarkerArray(markers=markers)


def _marker(stamp, frame, number, kind, space="", colour=(1.0, 1.0, 1.0, 1.0)):
    msg = Marker(type=kind, id=number, ns=space, action=Marker.ADD)
    msg.header.stamp, msg.header.frame_id = stamp, frame
    msg.pose.orientation.w = 1.0
    msg.color.r, msg.color.g, msg.color.b, msg.color.a = colour
    msg.lifetime.sec = 1  # a node that dies leaves no obstacles on the screen
    return msg


def _put(point, position):
    point.x, point.y, point.z = (float(v) for v in position)


def _label(o, labels):
    parts = ["{} {}".format(labels[o.track.class_index], o.track.id)]
    if o.range_m is not None:
        parts.append("{:.1f} m".format(o.range_m))
    if o.ttc_s is not None:
        parts.append("{:.1f} s".format(o.ttc_s))
    return ", ".join(parts)
