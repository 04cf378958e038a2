"""When a blocked scan ends, though the camera is not back: the vehicle is disarmed, or the pilot releases it. No NumPy.

A vehicle that lands disarms by itself. While nothing is known of it, it counts as flying.
"""

import importlib
import importlib.util
import os
import sys
import time
import types

from ..qos import BEST_EFFORT_NEWEST

MAX_AGE_S = 5.0  # of what the autopilot said: mavros and the link tell it once a second


def import_message(package, name):
    """The class of a message without its package's other ones, of which some import NumPy; None if not installed.

    Args:
        package, name: as in sensor_msgs/LaserScan.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    folder = package + ".msg"
    if folder not in sys.modules and sys.version_info >= (3, 7):  # from there on a module's attributes may come late
        bare = types.ModuleType(folder)
        bare.__path__ = [os.path.join(path, "msg") for path in found.submodule_search_locations]
        setattr(bare, "__getattr__", lambda kind: _one(folder, kind))  # noqa: B010
        sys.modules[folder] = bare
    try:
        return getattr(importlib.import_module(folder), name)
    except (ImportError, AttributeError):
        return None


def _one(folder, kind):
    snake = "".join("_" + c.lower() if c.isupper() else c for c in kind)
    try:
        return getattr(importlib.import_module(folder + "." + snake), kind)
    except ImportError:
        raise AttributeError(kind) from None


class BlockedEnds:
    """Hears what ends a blocked scan.

    Topics: armed (std_msgs/Bool), state (mavros_msgs/State, where installed), release_blocked (std_msgs/Bool): true
    ends it until the next scan that is none.

    Args:
        node: the rclpy node. kinds: (Bool, State or None), the messages' classes.
    """

    def __init__(self, node, kinds):
        boolean, state = kinds
        self.released = False
        self._armed, self._heard = None, 0.0
        self._subscriptions = [
            node.create_subscription(boolean, "armed", lambda m: self._take(m.data), BEST_EFFORT_NEWEST),
            node.create_subscription(boolean, "release_blocked", self._release, 1),
        ]
        if state is not None:
            self._subscriptions.append(node.create_subscription(state, "state", self._take_state, BEST_EFFORT_NEWEST))

    def hear(self):
        """Take what has arrived, from within a callback that lasts long: the executor takes nothing meanwhile."""
        for subscription in self._subscriptions:
            taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
            while taken is not None:
                subscription.callback(taken[0])
                taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)

    def _take(self, armed):
        self._armed, self._heard = bool(armed), time.monotonic()

    def _take_state(self, msg):
        if msg.connected:  # mavros says "disarmed" when it loses the autopilot: that tells nothing
            self._take(msg.armed)

    def _release(self, msg):
        self.released = bool(msg.data)

    @property
    def disarmed(self):
        """Whether the vehicle surely is."""
        return self._armed is False and time.monotonic() - self._heard <= MAX_AGE_S

    def why(self):
        """Why nothing is blocked now: one phrase, or ''."""
        if self.released:
            return "released by the pilot"
        if self.disarmed:
            return "the vehicle is disarmed"
        return ""
