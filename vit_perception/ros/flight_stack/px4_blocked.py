"""A guard's scan for PX4, where it was asked for: px4_msgs needs NumPy."""

import numpy as np

from .. import flight_messages
from ..publishers import PX4_TOPIC, installed
from ..qos import BEST_EFFORT_NEWEST


class Px4Blocked:
    """Publishes blocked ranges as px4_msgs/ObstacleDistance. node: the guard, with its values."""

    def __init__(self, node):
        kind = installed(flight_messages.ObstacleDistance, "publish_px4", "px4_msgs")
        self._publisher = node.create_publisher(kind, PX4_TOPIC, BEST_EFFORT_NEWEST)
        self._values = node.values  # followed: they change in flight

    def publish(self, stamp, ranges):
        """stamp: builtin_interfaces/Time. ranges: 72 metres."""
        ranges = np.array(ranges, np.float32)
        limits = self._values["range_min_m"], self._values["range_max_m"]
        self._publisher.publish(flight_messages.obstacle_distance_message(stamp, ranges, *limits))
