"""A guard for a dead node: hears the scan and, when it stops, publishes the blocked scan until the node is back.

A process of its own, started by launch with the node. Neither NumPy nor OpenCV, and no code of the node's.
A guard's scan has scan_time 0: nobody scanned. So two guards do not take each other for the node.
"""

import math
import sys
import time

from rcl_interfaces.msg import ParameterEvent
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter

from ... import parameters
from ...avoidance.blocked import BINS, BLOCKED, BlockedScan
from ...errors import PerceptionError
from ..node_parameters import declare
from ..process import run
from .armed import BlockedEnds, import_message

NAMES = (
    "on_stale", "guard_after_s", "scan_frame", "scan_rate_hz", "range_min_m", "range_max_m", "obstacles.camera_yaw_deg",
    "publish_px4", "publish_mavros",
)  # fmt: skip
LINK = "mavlink"  # the program's node name
LIVE = ("on_stale", "range_min_m", "range_max_m")  # what the node may change in flight
OK, ERROR = b"\x00", b"\x02"
CRITICAL, INFO = 2, 6  # MAV_SEVERITY
TIMER_S = 0.05
LATE_S = 0.2  # a timer that comes so late: this process itself stood still, and scans wait to be heard
PATIENCE_S = 0.15  # for them


class Guard(Node):
    """Blocks the scan while on_stale is blocked; otherwise only says that the node fell silent.

    Args:
        stop: threading.Event that ends the program.

    Raises:
        PerceptionError: the parameters contradict each other, or a message package is missing.
    """

    def __init__(self, stop):
        no_service = Parameter("start_type_description_service", value=False)  # services import NumPy
        super().__init__("guard", start_parameter_services=False, enable_rosout=False, parameter_overrides=[no_service])
        self.values = declare(self, [s for s in parameters.SPECS if s.name in NAMES])
        problem = parameters.check_blocked(self.values)
        if problem:
            raise PerceptionError(problem)
        self._messages()
        self._blocked = BlockedScan(self.values["obstacles.camera_yaw_deg"])
        self._publisher = self.create_publisher(self._scan_type, "obstacle_scan", 10)
        self.create_subscription(self._scan_type, "obstacle_scan", self._on_scan, 10)
        self.create_subscription(ParameterEvent, "/parameter_events", self._on_event, 100)
        self._diagnostics = self.create_publisher(self._array_type, "/diagnostics", 10)
        self._ends = BlockedEnds(self, (import_message("std_msgs", "Bool"), import_message("mavros_msgs", "State")))
        self._text = self._px4 = None
        self._optional()
        self._heard, self._ever = time.monotonic(), False
        self._silent, self._sent, self._told, self._said = False, 0.0, 0.0, ""
        self._watched, self._patient = time.monotonic(), 0.0
        self.failures = 0
        self.create_timer(TIMER_S, self._watch, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _messages(self):
        self._scan_type = import_message("sensor_msgs", "LaserScan")
        self._array_type = import_message("diagnostic_msgs", "DiagnosticArray")
        self._status_type = import_message("diagnostic_msgs", "DiagnosticStatus")

    def _optional(self):
        if self.values["publish_mavros"]:
            kind = import_message("mavros_msgs", "StatusText")
            if kind is None:
                raise PerceptionError("publish_mavros needs the message package mavros_msgs, which is not installed")
            self._text = (kind, self.create_publisher(kind, "/mavros/statustext/send", 10))
        if self.values["publish_px4"] and self.values["on_stale"] == BLOCKED:
            from .px4_blocked import Px4Blocked  # with NumPy, which that message needs

            self._px4 = Px4Blocked(self)

    def _on_scan(self, msg):
        if msg.scan_time <= 0.0:  # of a guard
            return
        self._heard, self._ever = time.monotonic(), True
        self._blocked.hear(msg.ranges, msg.intensities)  # first: a node that starts anew may know less of its view
        if len(msg.ranges) == BINS and not self._blocked.is_one(msg.ranges, msg.range_min):
            self._ends.released = False  # the node's own blocked scan is no end of what the pilot released

    def _on_event(self, event):
        """Follow the node's parameters: those of whoever stands in this namespace and has them, but for the link.

        A link that starts anew declares what it was launched with, whatever was changed in flight.
        """
        namespace, _, name = event.node.rpartition("/")
        if namespace != self.get_namespace().rstrip("/") or name == LINK:
            return
        changed = list(event.new_parameters) + list(event.changed_parameters)
        new = {p.name: Parameter.from_parameter_msg(p).value for p in changed if p.name in LIVE}
        new = {name: value for name, value in new.items() if isinstance(value, type(self.values[name]))}
        if new and not parameters.check_blocked(dict(self.values, **new)):
            self.values.update(new)

    def _watch(self):
        now = time.monotonic()
        if now - self._watched > LATE_S and now > self._patient + 1.0:  # at most once a second, on a busy board
            self._patient = now + PATIENCE_S
        self._watched = now
        if now < self._patient:
            return
        silent_s = now - self._heard
        self._silent = silent_s > self.values["guard_after_s"]
        ended = self._ends.why()
        blocking = self._silent and self.values["on_stale"] == BLOCKED and not ended
        if blocking and now - self._sent >= 1.0 / self.values["scan_rate_hz"] - 0.5 * TIMER_S:
            self._sent = now
            self._publish()
        said = "watching"
        if self._silent:
            said = "the node is silent" + (
                ": blocked" if blocking else ", not blocked: " + (ended or "on_stale silent")
            )
        if said != self._said or now - self._told >= 1.0:
            self._say(said, silent_s, now)

    def _publish(self):
        stamp, v = self.get_clock().now().to_msg(), self.values
        msg = self._scan_type(
            angle_min=-math.pi, angle_max=-math.pi + 71 * math.radians(5.0), angle_increment=math.radians(5.0),
            range_min=v["range_min_m"], range_max=v["range_max_m"], ranges=self._blocked.ranges(v["range_min_m"]),
        )  # fmt: skip
        msg.header.stamp, msg.header.frame_id = stamp, v["scan_frame"]
        self._publisher.publish(msg)
        if self._px4 is not None:
            self._px4.publish(stamp, msg.ranges)

    def _say(self, said, silent_s, now):
        """On /diagnostics once a second and at each change; to the pilot at each change."""
        status = self._status_type(level=ERROR if self._silent else OK, message=said)
        status.name = "{}: guard".format(self.get_fully_qualified_name().lstrip("/"))
        if self._silent:
            status.message += " ({:.1f} s{})".format(silent_s, "" if self._ever else ", not heard yet")
        msg = self._array_type(status=[status])
        msg.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(msg)
        if self._text is not None and said != self._said and (self._said or self._silent):
            kind, publisher = self._text
            text = kind(severity=CRITICAL if self._silent else INFO, text="obstacles: {}".format(said)[:50])
            text.header.stamp = msg.header.stamp
            publisher.publish(text)
        self._told, self._said = now, said

    def close(self):
        """Nothing runs beside the executor."""

    def failed(self, error):
        """Count an exception that a callback raised into the executor."""
        self.failures += 1
        self.get_logger().error("a callback failed: {!r}".format(error), throttle_duration_sec=5.0)


def main(args=None):
    """Run the guard until SIGINT or SIGTERM. Returns the exit code."""
    return run("guard", Guard, args)


if __name__ == "__main__":
    sys.exit(main())
