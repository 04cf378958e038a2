"""Everything the node publishes, and when: plain results in, topics out."""

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import LaserScan
from vision_msgs.msg import Detection2DArray, Detection3DArray
from visualization_msgs.msg import MarkerArray

from . import flight_messages, messages
from .alerts import OK
from .errors import PerceptionError

BEST_EFFORT_NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)  # matches any other side
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
PX4_TOPIC = "/fmu/in/obstacle_distance"


class Publishers:
    """The node's outputs.

    Args:
        node: the rclpy node. values: its parameters by name, watched: they change in flight.
        labels: the bundle's class names. model: its name.

    Raises:
        PerceptionError: a parameter asks for messages whose package is not installed.
    """

    def __init__(self, node, values, labels, model):
        self._node, self._values, self._all_labels, self._model = node, values, labels, model
        self._class_ids = labels if values["class_id_as_name"] else [str(i) for i in range(len(labels))]
        self._alert_level = OK
        self._detections = node.create_publisher(Detection2DArray, "~/detections", 5)
        self._obstacles = node.create_publisher(Detection3DArray, "~/obstacles", 5)
        self._labels = node.create_publisher(messages.LabelInfo or messages.VisionInfo, "~/label_info", LATCHED)
        self._scan = node.create_publisher(LaserScan, "obstacle_scan", 10)
        self._alert = node.create_publisher(DiagnosticStatus, "~/alert", 10)
        self._markers = node.create_publisher(MarkerArray, "~/markers", 1)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._px4 = self._text = self._companion = None
        if values["publish_px4"]:
            kind = _installed(flight_messages.ObstacleDistance, "publish_px4", "px4_msgs")
            self._px4 = node.create_publisher(kind, PX4_TOPIC, BEST_EFFORT_NEWEST)
        if values["publish_mavros"]:
            text = _installed(flight_messages.StatusText, "publish_mavros", "mavros_msgs")
            self._text = node.create_publisher(text, "/mavros/statustext/send", 10)
            companion = flight_messages.CompanionProcessStatus
            self._companion = node.create_publisher(companion, "/mavros/companion_process/status", 10)

    def labels(self):
        """The class map and the threshold, for whoever subscribes, now or later."""
        threshold = self._values["score_threshold"]
        self._labels.publish(messages.label_message(self._now(), self._all_labels, threshold, self._model))

    def result(self, header, result):
        """What one frame gave, under the header of its image."""
        base_frame, stamp = self._values["base_frame"], header.stamp
        self._detections.publish(messages.detections_message(header, result, self._class_ids))
        self._obstacles.publish(messages.obstacles_message(stamp, base_frame, result.obstacles, self._class_ids))
        self._publish_alert(result.alert)
        if self._markers.get_subscription_count() > 0:
            markers = flight_messages.markers_message(stamp, base_frame, result.obstacles, self._all_labels)
            self._markers.publish(markers)

    def _publish_alert(self, alert):
        """Each frame while active, once on clear; the pilot's text only when the level changes."""
        if alert.level or alert.cleared:
            msg = messages.alert_message(alert, self._all_labels, self._name("obstacle"))
            self._alert.publish(msg)
            if self._text is not None and alert.level != self._alert_level:
                text = "{}: {}".format(alert.threat, msg.message) if alert.level else "obstacle: clear"
                self._text.publish(flight_messages.status_text_message(self._now(), alert.level, text))
        self._alert_level = alert.level

    def end_alert(self, text):
        """Images stopped during an alert: say so once, for nobody knows any more."""
        if self._alert_level:
            self._alert_level = OK
            self._alert.publish(messages.status(self._name("obstacle"), messages.STALE, text, {}))

    def scan(self, stamp, ranges):
        """The scan, to mavros and to PX4 alike. Not called at all while it must be silent."""
        v = self._values
        limits = (v["range_min_m"], v["range_max_m"])
        self._scan.publish(
            messages.scan_message(stamp, v["scan_frame"], ranges, limits[0], limits[1], 1.0 / v["scan_rate_hz"])
        )
        if self._px4 is not None:
            self._px4.publish(flight_messages.obstacle_distance_message(stamp, ranges, *limits))

    def diagnostics(self, level, text, values, starting):
        """The node's health, once a second."""
        now = self._now()
        status = messages.status(self._name("detector"), level, text, values)
        self._diagnostics.publish(messages.diagnostics_message(now, [status]))
        if self._companion is not None:
            self._companion.publish(flight_messages.companion_status_message(now, level, starting))

    def _name(self, what):
        return "{}: {}".format(self._node.get_fully_qualified_name().lstrip("/"), what)

    def _now(self):
        return self._node.get_clock().now().to_msg()


def _installed(kind, parameter, package):
    if kind is None:
        raise PerceptionError("{} needs the message package {}, which is not installed".format(parameter, package))
    return kind
