"""The program `mavlink`: the scan and the alerts to an autopilot by MAVLink, its state to the node. Instead of mavros.

A process of its own: it goes on while the node is dead, so that the guard's scan arrives.
"""

import math
import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import LaserScan, NavSatFix, NavSatStatus, Range
from std_msgs.msg import Bool

from ... import parameters
from ...autopilot.link import Link
from ...avoidance.blocked import BINS, BLOCKED
from ..messages import seconds_to_stamp, stamp_to_seconds
from ..node_parameters import declare
from ..process import run
from ..qos import BEST_EFFORT_NEWEST

try:
    from nav_msgs.msg import Odometry
except ImportError:
    Odometry = None

NAMES = ("on_stale", "base_frame")
SEVERITIES = {0: 6, 1: 4, 2: 2, 3: 4}  # MAV_SEVERITY by level of a DiagnosticStatus
SILENT_S = 2.0  # without a scan: neither node nor guard speak, and an ArduCopter in flight tells nobody
TEXT_S = 5.0  # the same text of /diagnostics is not sent again sooner
TOLD = (": guard", ": detector")  # whose changes on /diagnostics a pilot reads


class Mavlink(Node):
    """obstacle_scan and alerts out; odometry, height, fix and armed in.

    Args:
        stop: threading.Event that ends the program.

    Raises:
        PerceptionError: mavlink_url is wrong, or pymavlink is missing.
    """

    def __init__(self, stop):
        super().__init__("mavlink")
        self.values = declare(self, [s for s in parameters.SPECS if s.name in NAMES])
        url = self.declare_parameter("mavlink_url", "udpout:127.0.0.1:14551").value
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._level, self._told = 0, {}
        self._own = (self.get_namespace().strip("/") + "/").lstrip("/")  # other vehicles' parts may be heard, too
        self.failures = 0
        self._armed = self.create_publisher(Bool, "armed", 1)
        self._height = self.create_publisher(Range, "height", BEST_EFFORT_NEWEST)
        self._fix = self.create_publisher(NavSatFix, "fix", BEST_EFFORT_NEWEST)
        self._odometry = Odometry and self.create_publisher(Odometry, "odometry", BEST_EFFORT_NEWEST)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._scan_at, self._began, self._deaf = None, time.monotonic(), False
        self.link = Link(url, self._on_state, self._on_problem, self.values["on_stale"] == BLOCKED, self._now)
        self.create_subscription(LaserScan, "obstacle_scan", self._on_scan, 10)
        self.create_subscription(DiagnosticStatus, "vit_perception/alert", self._on_alert, 10)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.create_timer(1.0, self._report, clock=self._steady)

    def _now(self):
        return 1e-9 * self.get_clock().now().nanoseconds

    # In the executor's thread

    def _on_scan(self, msg):
        if not _is_ours(msg):
            text = "obstacle_scan has no 72 rays of 5 degrees from straight back, or no limits: it is not sent"
            self.get_logger().warning(text, throttle_duration_sec=5.0)
            return
        self._scan_at = time.monotonic()
        self.link.send_scan(msg.ranges, msg.range_min, msg.range_max, stamp_to_seconds(msg.header.stamp))

    def _on_alert(self, msg):
        level = ord(msg.level)
        if level != self._level:
            self._level = level
            self.link.send_text(SEVERITIES.get(level, 4), msg.message if level else "obstacle: clear")

    def _on_diagnostics(self, msg):
        """A part of this vehicle that goes wrong, or comes back, is told to the pilot."""
        for status in msg.status:
            part, level, now = status.name, ord(status.level), time.monotonic()
            before, at = self._told.get(part, (0, -TEXT_S))
            if (
                part.endswith(TOLD)
                and part.startswith(self._own)
                and (level >= 2) != (before >= 2)
                and (level > before or now - at >= TEXT_S)
            ):
                self._told[part] = (level, now)
                self.link.send_text(SEVERITIES.get(level, 4), "obstacles: " + status.message)

    def _watch_scan(self):
        """Tell the pilot of an armed vehicle that no scan arrives, and that it does again. Returns whether it is so."""
        c = self.link.connection
        silent = time.monotonic() - (self._scan_at or self._began) > SILENT_S
        deaf = silent and c is not None and bool(c.armed)
        if deaf and not self._deaf:
            self.link.send_text(SEVERITIES[2], "obstacles: no scan arrives: nobody looks")
        elif self._deaf and not silent:
            self.link.send_text(SEVERITIES[0], "obstacles: scans arrive again")
        self._deaf = deaf
        return deaf

    def _report(self):
        fine, text = self.link.summary()
        if self._watch_scan():
            fine, text = False, text + "; no scan arrives"
        status = DiagnosticStatus(level=b"\x00" if fine else b"\x02", message=text)
        status.name = "{}: link".format(self.get_fully_qualified_name().lstrip("/"))
        sync = self.link.sync
        values: Any = dict(self.link.counts, clock_jumps=sync.jumps, callback_failures=self.failures)
        if sync.round_trip_s is not None:
            values["round_trip_ms"] = "{:.1f}".format(1e3 * sync.round_trip_s)
        if self._scan_at is not None:
            values["scan_age_s"] = "{:.1f}".format(time.monotonic() - self._scan_at)
        status.values = [KeyValue(key=k, value=str(v)) for k, v in values.items()]
        msg = DiagnosticArray(status=[status])
        msg.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(msg)

    # In the link's thread; publishers may be used from any

    def _on_problem(self, kind, sentence):
        if kind == "connected":
            self.get_logger().info(sentence)
        else:
            self.get_logger().warning(sentence)

    def _on_state(self, what, state):
        if what == "armed":
            self._armed.publish(Bool(data=bool(state)))
        elif what == "odometry" and self._odometry is not None:
            self._publish_odometry(*state.odometry() or (None,) * 5)
        elif what == "height":
            stamp, metres, least, most = state.height()
            msg = Range(radiation_type=Range.INFRARED, min_range=least, max_range=most, range=metres)
            self._publish(self._height, msg, stamp)
        elif what == "fix":
            stamp, latitude, longitude, altitude = state.fix()
            msg = NavSatFix(latitude=latitude, longitude=longitude, altitude=altitude)
            msg.status.status = NavSatStatus.STATUS_FIX  # newer messages begin with STATUS_UNKNOWN: no finds
            self._publish(self._fix, msg, stamp)

    def _publish_odometry(self, stamp, quaternion, rates, position, velocity):
        if stamp is None:
            return
        msg = Odometry(child_frame_id=self.values["base_frame"])
        nan = (math.nan,) * 3
        q, p = msg.pose.pose.orientation, msg.pose.pose.position
        q.x, q.y, q.z, q.w = quaternion
        p.x, p.y, p.z = position or nan
        v, w = msg.twist.twist.linear, msg.twist.twist.angular
        v.x, v.y, v.z = velocity or nan
        w.x, w.y, w.z = rates
        msg.header.frame_id = "odom"
        self._publish(self._odometry, msg, stamp)

    def _publish(self, publisher, msg, stamp):
        seconds_to_stamp(stamp, msg.header.stamp)
        publisher.publish(msg)

    def close(self):
        """End the link's thread."""
        self.link.close()

    def failed(self, error):
        """Count an exception that a callback raised into the executor."""
        self.failures += 1
        self.get_logger().error("a callback failed: {!r}".format(error), throttle_duration_sec=5.0)


def _is_ours(scan):
    """Whether a LaserScan has the rays that OBSTACLE_DISTANCE is told to have, and limits that it can hold."""
    rays = len(scan.ranges) == BINS and abs(math.degrees(scan.angle_increment) - 5.0) < 0.01
    return rays and abs(scan.angle_min + math.pi) < 0.01 and 0.0 <= scan.range_min < scan.range_max < math.inf


def main(args=None):
    """Run the link until SIGINT or SIGTERM. Returns the exit code."""
    return run("mavlink", Mavlink, args)


if __name__ == "__main__":
    sys.exit(main())
