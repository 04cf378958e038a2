"""The scan that stops an autopilot which flies on when it hears nothing: every ray of the view is near. No NumPy.

ArduCopter forgets an obstacle 1 to 1.75 s after the last message and flies on at full speed; a blocked scan stops it
within 1.5 s (flown in its simulation, from 3.9 m/s). PX4 needs none: it brakes and holds when the scan falls silent.
"""

import math

BINS = 72
DEFAULT_VIEW_RAD = math.radians(90.0)  # of a camera that nothing is known of yet
LEAST_RAYS = 3
FARTHEST_M = 2.0  # that was flown: a blocked scan that is farther away may not stop the vehicle

SILENT, BLOCKED = "silent", "blocked"
ON_STALE = (SILENT, BLOCKED)


def blocked_ranges(range_min, view=None, ahead=0.0, seen=()):
    """72 ranges as of `vit_perception.avoidance.scan.make_scan`: near in the view, NaN elsewhere.

    Args:
        range_min: metres, of the scan: so near everything is.
        view: (left, right) bearings of what the camera sees, radians; None: 90 degrees around `ahead`.
        ahead: bearing of where the camera looks, right positive.
        seen: indices of rays of which something was told before: they are in the view, too.

    Returns:
        list of 72 floats, metres.
    """
    if view is None:
        view = (ahead - 0.5 * DEFAULT_VIEW_RAD, ahead + 0.5 * DEFAULT_VIEW_RAD)
    first, last = (int(math.floor(math.degrees(angle + math.pi) / 5.0 + 0.5)) for angle in view)
    if last - first + 1 < LEAST_RAYS:
        first, last = (first + last) // 2 - 1, (first + last) // 2 + 1
    ranges = [float("nan")] * BINS
    for i in list(range(first, min(last, first + BINS - 1) + 1)) + list(seen):
        ranges[i % BINS] = float(range_min)
    return ranges
