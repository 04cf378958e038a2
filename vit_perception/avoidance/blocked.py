"""The scan that stops an autopilot which flies on when it hears nothing: every ray of the view is near. No NumPy.

ArduCopter forgets an obstacle 1 to 1.75 s after the last message and flies on at full speed; a blocked scan stops it
within 1.5 s (flown in its simulation, from 3.9 m/s). PX4 needs none: it brakes and holds when the scan falls silent.
"""

import math

BINS = 72
VIEW_DEG = 90.0  # around where the camera looks, until its real view is known; what was told of more is blocked, too
FARTHEST_M = 2.0  # that was flown: a blocked scan that is farther away may not stop the vehicle

SILENT, BLOCKED = "silent", "blocked"
ON_STALE = (SILENT, BLOCKED)


class BlockedScan:
    """Knows the rays that the camera sees, and those of which it ever told something.

    Args:
        yaw_deg: where the camera looks in the body, right positive: until its real view is known.
    """

    def __init__(self, yaw_deg=0.0):
        side = math.radians(0.5 * VIEW_DEG)
        self._told = set()
        self._view = _rays(math.radians(yaw_deg) - side, math.radians(yaw_deg) + side)

    def look(self, sector):
        """Take the camera's real view: (left, right) bearings, radians, or None: it does not see its own height."""
        if sector is not None:
            self._view = _rays(*sector)

    def hear(self, ranges, in_view=()):
        """Take a scan.

        Args:
            ranges: 72 metres as of `vit_perception.avoidance.scan.make_scan`; NaN tells nothing.
            in_view: `marks` of the BlockedScan of who made it; empty: not told.
        """
        self._told.update(i for i, value in enumerate(ranges[:BINS]) if value == value)
        if len(in_view) == BINS:
            self._view = {i for i, value in enumerate(in_view) if value > 0} or self._view

    def marks(self):
        """list of 72 floats: 1 where the camera looks, else 0."""
        return [1.0 if i in self._view else 0.0 for i in range(BINS)]

    def is_one(self, ranges, range_min):
        """Whether a scan of 72 metres is a blocked one: everything where the camera looks is at range_min."""
        return all(ranges[i] <= range_min + 1e-3 for i in self._view)

    def ranges(self, range_min):
        """list of 72 floats, metres: `range_min` in the view, NaN elsewhere."""
        near = self._view | self._told
        return [float(range_min) if i in near else float("nan") for i in range(BINS)]


def _rays(left, right):
    """The rays that bearings from left clockwise to right touch."""
    first, last = (int(math.floor((math.degrees(b) + 180.0) / 5.0 + 0.5)) for b in (left, right))
    return {i % BINS for i in range(first, min(last, first + BINS - 1) + 1)}
