"""Where the vehicle was when an image was taken: positions, orientations and heights, each between two messages.

Nothing is carried on beyond the newest message: an image waits until the messages after it have come.
"""

import math
from bisect import bisect_right
from collections import deque
from typing import Any, Deque, List

import numpy as np

KEPT = 600  # messages of each kind: a minute at 10 Hz, 3 s at 200 Hz
LONGEST_GAP_S = {"position": 2.5, "orientation": 0.5, "height": 1.0}  # fixes come at 1 Hz and faster
NAMES = {"position": "position (fix)", "orientation": "orientation with heading", "height": "height above ground"}
WAIT_S = 1.5  # for so long an image waits for messages after it
LATE_S = 2.0  # an image so much older than the newest pose when it comes: the clocks differ
JUMP_MPS = 60.0  # a position that asks for more speed than this is a jump, not a flight
JUMP_M = 5.0  # and moves at least so far: noise at a high rate is none


class Pose:
    """The vehicle at one moment.

    Attributes:
        position (2,): of base_link, metres east and north. rotation (3, 3): base_link -> ENU.
        height_m (float): of base_link above the ground. position_sigma_m (float or None): as the receiver tells it.
    """

    __slots__ = ("position", "rotation", "height_m", "position_sigma_m")

    def __init__(self, position, rotation, height_m, position_sigma_m=None):
        self.position, self.rotation = np.array(position, np.float64), np.array(rotation, np.float64)
        self.height_m, self.position_sigma_m = height_m, position_sigma_m


class _Series:
    """Values by stamp, the newest KEPT ones; what repeats a stamp is left out."""

    def __init__(self, gap_s):
        self._gap_s = gap_s
        self._stamps: List[float] = []
        self._values: List[Any] = []

    def add(self, stamp_s, value):
        if self._stamps and clock_was_set(self._stamps[-1], stamp_s):
            self.clear()  # what came before belongs to another time
        i = bisect_right(self._stamps, stamp_s)
        if i and self._stamps[i - 1] == stamp_s:
            return
        self._stamps.insert(i, stamp_s)
        self._values.insert(i, value)
        if len(self._stamps) > KEPT:
            del self._stamps[0], self._values[0]

    def clear(self):
        del self._stamps[:], self._values[:]

    @property
    def newest_s(self):
        return self._stamps[-1] if self._stamps else None

    @property
    def oldest_s(self):
        return self._stamps[0] if self._stamps else None

    @property
    def newest(self):
        return self._values[-1] if self._values else None

    def around(self, stamp_s):
        """(value before, value after, weight of the second), or None."""
        i = bisect_right(self._stamps, stamp_s)
        if i and self._stamps[i - 1] == stamp_s:
            return self._values[i - 1], self._values[i - 1], 0.0
        if not 0 < i < len(self._stamps):
            return None
        before, after = self._stamps[i - 1], self._stamps[i]
        if after - before > self._gap_s:
            return None
        return self._values[i - 1], self._values[i], (stamp_s - before) / (after - before)


class Poses:
    """Collects messages of the vehicle and tells its pose at any moment between them.

    Args:
        offset_s: added to image stamps before poses are looked up: known difference of the clocks.
    """

    def __init__(self, offset_s=0.0):
        self.offset_s = offset_s
        self._series = {name: _Series(gap) for name, gap in LONGEST_GAP_S.items()}
        self._suspects: Deque[tuple] = deque(maxlen=3)  # positions that jumped, until they agree with each other

    def add_position(self, stamp_s, east, north, sigma_m=None):
        """A position, metres. Returns what is wrong with it as a sentence, or ''; one that jumps waits for two more."""
        series, value = self._series["position"], (np.array([east, north]), sigma_m)
        last, since = series.newest, 0.0 if series.newest_s is None else stamp_s - series.newest_s
        if last is not None and 0 < since < 3600.0 and _jumps(last[0], value[0], since):
            said = "the position jumped by {:.0f} m in {:.1f} s: it is not believed until three agree"
            text = said.format(float(np.hypot(*(value[0] - last[0]))), since)
            self._suspects.append((stamp_s, value))
            agree = len(self._suspects) == 3 and not any(
                _jumps(a[1][0], b[1][0], b[0] - a[0]) for a, b in zip(list(self._suspects), list(self._suspects)[1:])
            )
            if not agree:
                return text
            series.clear()
            for stamp, one in self._suspects:
                series.add(stamp, one)
            self._suspects.clear()
            return "the position jumped and stays there: finds from before and after it may not fit together"
        self._suspects.clear()
        series.add(stamp_s, value)
        return ""

    def forget_positions(self):
        """What came was of another map."""
        self._series["position"].clear()
        self._suspects.clear()

    def add_orientation(self, stamp_s, rotation):
        """A rotation (3, 3) base_link -> ENU."""
        self._series["orientation"].add(stamp_s, np.array(rotation, np.float64))

    def add_height(self, stamp_s, height_m):
        """Height of base_link above the ground, metres."""
        self._series["height"].add(stamp_s, float(height_m))

    def at(self, stamp_s):
        """Pose at the image stamp `stamp_s`, or None: `missing` tells what there is not."""
        found = {name: s.around(stamp_s + self.offset_s) for name, s in self._series.items()}
        if any(f is None for f in found.values()):
            return None
        (a, b, w), (r, q, v), (h, g, u) = (found[n] for n in ("position", "orientation", "height"))
        sigmas = [s for s in (a[1], b[1]) if s is not None]
        position, height = a[0] + w * (b[0] - a[0]), h + u * (g - h)
        return Pose(position, between(r, q, v), height, max(sigmas) if sigmas else None)

    def waits(self, stamp_s):
        """Whether messages after this image stamp may still come."""
        when = stamp_s + self.offset_s
        ends = [s.newest_s for s in self._series.values()]
        known = [e for e in ends if e is not None]
        return bool(known) and min(known) <= when < max(known) + WAIT_S and len(known) == len(ends)

    def ahead_s(self, stamp_s):
        """Seconds by which the newest messages of all kinds are newer than an image stamp; -inf without any."""
        ends = [s.newest_s for s in self._series.values() if s.newest_s is not None]
        return min(ends) - (stamp_s + self.offset_s) if ends else -float("inf")

    def begun(self, stamp_s):
        """Whether messages of every kind came before an image stamp."""
        return all(s.oldest_s is not None and s.oldest_s <= stamp_s + self.offset_s for s in self._series.values())

    def absent(self):
        """What has not come at all, as a clause, or ''."""
        absent = [NAMES[n] for n in sorted(self._series, reverse=True) if self._series[n].newest_s is None]
        return "no {} has come".format(", no ".join(absent)) if absent else ""

    def missing(self, stamp_s):
        """Why there is no pose at an image stamp: a clause."""
        absent = self.absent()
        if absent:
            return absent
        when = stamp_s + self.offset_s
        ages = {n: when - s.newest_s for n, s in self._series.items()}
        silent = [n for n in sorted(ages, reverse=True) if ages[n] > WAIT_S]
        if silent and len(silent) < len(ages):
            names = " and the ".join(NAMES[n] for n in silent)
            return "the newest {} is {:.1f} s older than the image".format(names, max(ages[n] for n in silent))
        lead = self.ahead_s(stamp_s)
        if not -WAIT_S <= lead <= LATE_S:
            text = "image stamps are {:.1f} s {} the vehicle's: synchronise the clocks, or set finds.clock_offset_s"
            return text.format(abs(lead), "behind" if lead > 0 else "ahead of")
        late = [NAMES[n] for n, s in self._series.items() if s.around(when) is None]
        verb = "has" if len(late) == 1 else "have"
        return "the {} {} a gap at the image's stamp".format(" and the ".join(late), verb)


def clock_was_set(before_s, now_s):
    """Whether two stamps that follow each other are of a clock that was set between them."""
    return not -60.0 < now_s - before_s < 3600.0


def between(first, second, part):
    """Rotation (3, 3) `part` of the way from one to the other, about a fixed axis."""
    if part <= 0.0:
        return first
    turn = second.dot(first.T)
    axis = 0.5 * np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    sine = float(np.sqrt(axis.dot(axis)))
    angle = math.atan2(sine, 0.5 * (float(np.trace(turn)) - 1.0))
    if sine < 1e-9:
        return first
    x, y, z = (axis / sine).tolist()
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turned = part * angle
    return (np.eye(3) + math.sin(turned) * cross + (1.0 - math.cos(turned)) * cross.dot(cross)).dot(first)


def _jumps(a, b, seconds):
    distance = float(np.hypot(*(b - a)))
    return distance > max(JUMP_M, JUMP_MPS * seconds)
