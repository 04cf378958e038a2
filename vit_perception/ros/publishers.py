"""Publishes every topic of the node but the debug image: plain results in, messages out."""

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import LaserScan
from vision_msgs.msg import Detection2DArray, Detection3DArray
from visualization_msgs.msg import MarkerArray

from ..avoidance.alerts import OK
from ..avoidance.blocked import BlockedScan
from ..errors import PerceptionError
from . import flight_messages, messages
from .qos import BEST_EFFORT_NEWEST, LATCHED
from .topics import Topics

PX4_TOPIC = "/fmu/in/obstacle_distance"


class Publishers:
    """The node's outputs, from configuration to clean-up.

    Args:
        node: the rclpy node. values: its parameters by name, watched: they change in flight.
        labels: the bundle's class names. model: its name.
        warn: warn(kind, sentence), which throttles.
        keep: keep(topic, message, latched) is called with what is published for flight stacks and navigation; or None.

    Raises:
        PerceptionError: a parameter asks for messages whose package is not installed.
    """

    def __init__(self, node, values, labels, model, warn, keep):
        self._node, self._values, self._all_labels, self._model = node, values, labels, model
        self._keep, self._topics = keep, Topics(node, warn, keep)
        self._class_ids = labels if values["class_id_as_name"] else [str(i) for i in range(len(labels))]
        self._alert_level, self._blocked = OK, BlockedScan(values["obstacles.camera_yaw_deg"])
        self._detections = self._topics.create(Detection2DArray, "~/detections", 5)
        self._obstacles = self._topics.create(Detection3DArray, "~/obstacles", 5)
        self._labels = self._topics.create(messages.LabelInfo or messages.VisionInfo, "~/label_info", LATCHED)
        self._scan = self._topics.create(LaserScan, "obstacle_scan", 10)
        self._alert = self._topics.create(DiagnosticStatus, "~/alert", 10)
        self._markers = self._topics.create(MarkerArray, "~/markers", 1)
        self._px4 = self._text = None
        if values["publish_px4"]:
            kind = installed(flight_messages.ObstacleDistance, "publish_px4", "px4_msgs")
            self._px4 = self._topics.create(kind, PX4_TOPIC, BEST_EFFORT_NEWEST)
        if values["publish_mavros"]:
            kind = installed(flight_messages.StatusText, "publish_mavros", "mavros_msgs")
            self._text = self._topics.create(kind, "/mavros/statustext/send", 10)

    def close(self):
        """Take the topics away."""
        self._topics.close()

    def subscribers(self):
        """{last part of a topic's name: how many subscribers it has found}."""
        return self._topics.subscribers()

    def labels(self, threshold):
        """Publish the class map and the threshold, latched: late subscribers get them too."""
        msg = messages.label_message(self._now(), self._all_labels, threshold, self._model)
        self._topics.send(self._labels, msg, latched=True)

    def detections(self, header, seen):
        """Publish a `FrameDetections` under the header of its image."""
        self._topics.send(self._detections, messages.detections_message(header, seen, self._class_ids))

    def result(self, header, result, fresh):
        """Publish the rest of one frame's result under the header of its image; the alert only if it is fresh."""
        base_frame, stamp = self._values["base_frame"], header.stamp
        if self._keep is not None or self._obstacles.get_subscription_count() > 0:
            obstacles = messages.obstacles_message(stamp, base_frame, result.obstacles, self._class_ids)
            self._topics.send(self._obstacles, obstacles)
        if fresh:
            self._publish_alert(result.alert)
        if self._markers.get_subscription_count() > 0:
            markers = flight_messages.markers_message(stamp, base_frame, result.obstacles, self._all_labels)
            self._markers.publish(markers)

    def _publish_alert(self, alert):
        """Each frame while active, once on clear; the pilot's text only when the level changes."""
        if alert.level or alert.cleared:
            msg = messages.alert_message(alert, self._all_labels, status_name(self._node, "obstacle"))
            self._topics.send(self._alert, msg)
            if self._text is not None and alert.level != self._alert_level:
                text = "{}: {}".format(alert.threat, msg.message) if alert.level else "obstacle: clear"
                self._text.publish(flight_messages.status_text_message(self._now(), alert.level, text))
        self._alert_level = alert.level

    def end_alert(self, text):
        """Images stopped during an alert: publish one STALE, since nobody knows any more what is ahead."""
        if self._alert_level:
            self._alert_level = OK
            self._topics.send(
                self._alert, messages.status(status_name(self._node, "obstacle"), messages.STALE, text, {})
            )

    def scan(self, stamp, ranges, limits):
        """Publish the scan for mavros and PX4. The caller calls this only while the scan is fresh.

        limits: (range_min, range_max) with which it was made: what is clear depends on them.
        """
        v = self._values
        self._blocked.hear(ranges)
        scan = messages.scan_message(
            stamp, v["scan_frame"], ranges, limits[0], limits[1], 1.0 / v["scan_rate_hz"], self._blocked.marks()
        )
        self._topics.send(self._scan, scan)
        if self._px4 is not None:
            self._px4.publish(flight_messages.obstacle_distance_message(stamp, ranges, *limits))

    def look(self, sector):
        """Take the camera's view, (left, right) bearings or None: what a blocked scan closes."""
        self._blocked.look(sector)

    def blocked_scan(self):
        """The scan of a camera that tells nothing, where on_stale asks for one: everything in its view is near."""
        v = self._values
        ranges = np.array(self._blocked.ranges(v["range_min_m"]), np.float32)
        self.scan(self._now(), ranges, (v["range_min_m"], v["range_max_m"]))

    def _now(self):
        return self._node.get_clock().now().to_msg()


class Diagnostics:
    """The node's health on /diagnostics, in every lifecycle state, and to mavros if `publish_mavros`.

    Not through diagnostic_updater: its timer follows the ROS clock, and would stop with simulated time.

    Args:
        node: the rclpy node. values: its parameters by name.

    Raises:
        PerceptionError: publish_mavros is set without mavros_msgs.
    """

    def __init__(self, node, values):
        self._node, self._companion = node, None
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        if values["publish_mavros"]:
            kind = installed(flight_messages.CompanionProcessStatus, "publish_mavros", "mavros_msgs")
            self._companion = node.create_publisher(kind, "/mavros/companion_process/status", 10)

    def publish(self, level, text, values, starting):
        """Once a second: level 0 to 3, one sentence, {key: text}, whether the engine is still being opened."""
        now = self._node.get_clock().now().to_msg()
        status = messages.status(status_name(self._node, "detector"), level, text, values)
        self._diagnostics.publish(messages.diagnostics_message(now, [status]))
        if self._companion is not None:
            self._companion.publish(flight_messages.companion_status_message(now, level, starting))


def status_name(node, what):
    """The name of a DiagnosticStatus: of the node and of what it is about."""
    return "{}: {}".format(node.get_fully_qualified_name().lstrip("/"), what)


def installed(kind, parameter, package):
    """`kind`, a message's class; PerceptionError if it is None."""
    if kind is None:
        raise PerceptionError("{} needs the message package {}, which is not installed".format(parameter, package))
    return kind
