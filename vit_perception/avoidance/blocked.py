"""The scan that stops an autopilot which flies on when it hears nothing: every ray of the view is near. No NumPy.

ArduCopter forgets an obstacle 1 to 1.75 s after the last message and flies on at full speed; a blocked scan stops it
within 1.5 s (flown in its simulation, from 3.9 m/s). PX4 needs none: it brakes and holds when the scan falls silent.
"""

import math

BINS = 72
VIEW_DEG = 90.0  # around where the camera looks; what was told of more is blocked, too
FARTHEST_M = 2.0  # that was flown: a blocked scan that is farther away may not stop the vehicle

SILENT, BLOCKED = "silent", "blocked"
ON_STALE = (SILENT, BLOCKED)


class BlockedScan:
    """Knows the rays that the camera sees: those around where it looks, and those of which it ever told something.

    Args:
        yaw_deg: where the camera looks in the body, right positive.
    """

    def __init__(self, yaw_deg=0.0):
        first, last = (int(math.floor((180.0 + yaw_deg + side * 0.5 * VIEW_DEG) / 5.0 + 0.5)) for side in (-1, 1))
        self._view = {i % BINS for i in range(first, last + 1)}
        self._rays = set(self._view)

    def hear(self, ranges):
        """Take a scan: 72 metres as of `vit_perception.avoidance.scan.make_scan`; NaN tells nothing."""
        self._rays.update(i for i, value in enumerate(ranges[:BINS]) if value == value)

    def is_one(self, ranges, range_min):
        """Whether a scan of 72 metres is a blocked one: everything where the camera looks is at range_min."""
        return all(ranges[i] <= range_min + 1e-3 for i in self._view)

    def ranges(self, range_min):
        """list of 72 floats, metres: `range_min` in the view, NaN elsewhere."""
        return [float(range_min) if i in self._rays else float("nan") for i in range(BINS)]
