"""Groups to obstacles that stay: one filter each, which the vehicle's motion moves on and every image corrects.

An obstacle stands still: its place in base_link moves as the vehicle does, seen or not. What is near is lost from
sight, for points grow out of the image, and is still there.
"""

import math
from typing import Set

import numpy as np

from ..avoidance.geometry import cross, norm
from ..avoidance.obstacles import Obstacle
from . import FIRST_ID

SCORE = 0.2  # below that of any detection
SAME_RAD, SAME_RATIO = math.radians(6.0), 1.6  # a group is an obstacle's up to this angle and ratio of distances
GAIN = 0.35  # least weight of a new measurement: neighbours in time share most of their errors
LEAST_SIGMA = 0.12  # of the distance, as a part: what the benchmark found (bench/unclassed.py)
CONFIRM, OF = 3, 5  # groups in so many of the last images make an obstacle; none in all of them end it
TOO_NEAR_S = 1.2  # to contact: from then on its points are lost from sight, and it is not
LOST_S = 1.0  # for so long what was that near is told of, beside what it takes to reach it
STILL_S = 60.0  # for so long what is known when the vehicle stops: nothing has changed then (memory.hold_still_s)
HOVERS_MPS = 0.5  # corridor.min_speed_mps: a slower vehicle hits nothing
ASIDE_M = 0.3  # what is so much farther aside than the way does not threaten any more
MOST = 20  # obstacles


class MotionTrack:
    """What `Obstacle` wants to know of a track, for one that no detector made. Attributes as of `tracking.Track`."""

    __slots__ = ("id", "class_index", "score", "mean_score", "box", "velocity", "detection", "hits", "stamp_s")

    def __init__(self, track_id, class_index, box, stamp_s):
        self.id, self.class_index, self.box, self.stamp_s = track_id, class_index, box, stamp_s
        self.score = self.mean_score = SCORE
        self.velocity = np.zeros(4, np.float32)
        self.detection, self.hits = -1, 0


class _Followed:
    def __init__(self, track, place, part, half_rad):
        self.track, self.place, self.part, self.half_rad = track, place, part, half_rad
        self.seen = [True]  # in which of the last images it was
        self.until_s = 0.0  # seconds that are left to tell of it, seen or not
        self.confirmed = self.near = self.waits = self.stands = False


class Followed:
    """All obstacles without a class.

    Attributes:
        class_index (int): of theirs, one behind the model's labels.
    """

    def __init__(self):
        self.class_index = 0
        self._next_id = FIRST_ID
        self.reset()

    def reset(self):
        """Forget all; ids go on counting."""
        self._all = []

    def move(self, dt, velocity, turning, axis):
        """The vehicle moved on by `dt` seconds. velocity, turning: (3,) in base_link, m/s and rad/s.

        axis: (3,) of the camera: what is behind its plane was passed.
        """
        for one in self._all:
            one.place = one.place - dt * (velocity + cross(turning, one.place))
            one.until_s -= dt
        self._all = [o for o in self._all if float(o.place.dot(axis)) > 0]

    def wait(self, stands):
        """An image told nothing. stands: because the vehicle does."""
        for one in self._all:
            if stands and not one.stands:
                one.until_s = STILL_S
            one.waits, one.stands = True, stands
        self._all = [o for o in self._all if o.confirmed and o.until_s > 0]

    def correct(self, seen, stamp_s, speed, new=True):
        """Take the groups of an image.

        Args:
            seen: list of (place (3,) m in base_link, sigma of its distance as a part of it, half its width in radians,
                box (4,) px of the image).
            new: whether they may make an obstacle; else they only correct those that are known.
        """
        if not new:
            self._all = [o for o in self._all if o.confirmed]
        taken: Set[int] = set()
        for place, part, half_rad, box in seen:
            one = self._nearest(place, taken)
            if one is None:
                if len(self._all) >= MOST or not new:
                    continue
                one = _Followed(MotionTrack(self._next_id, self.class_index, box, stamp_s), place, part, half_rad)
                self._next_id += 1
                self._all.append(one)
            else:
                # On inverse distances, of which the errors are even.
                before, now = 1.0 / norm(one.place), 1.0 / norm(place)
                weight = max(GAIN, one.part**2 / (one.part**2 + part**2))
                ray = (1 - weight) * one.place * before + weight * place * now
                one.place = ray / norm(ray) / (before + weight * (now - before))
                one.part = math.sqrt((1 - weight) ** 2 * one.part**2 + weight**2 * part**2)
                one.half_rad = 0.5 * (one.half_rad + half_rad)
                one.seen.append(True)
                one.confirmed = one.confirmed or sum(one.seen[-OF:]) >= CONFIRM
            one.track.box, one.track.stamp_s = box, stamp_s
            one.track.hits += 1
            one.until_s = LOST_S + (TOO_NEAR_S if norm(one.place) < TOO_NEAR_S * speed else 0.0)
            taken.add(one.track.id)
        for one in self._all:
            if one.track.id not in taken and new:
                one.seen.append(False)
            one.seen = one.seen[-OF:]
            one.waits = one.stands = False
            # Time is no reason to forget what is too near to be seen.
            one.near = one.near or (one.confirmed and norm(one.place) < TOO_NEAR_S * speed)
        self._all = [o for o in self._all if any(o.seen) or (o.near and o.until_s > 0)]

    def _nearest(self, place, taken):
        distance, best, least = norm(place), None, SAME_RAD
        for one in self._all:
            if one.track.id in taken:
                continue
            own = norm(one.place)
            angle = math.acos(max(-1.0, min(1.0, float(one.place.dot(place)) / max(own * distance, 1e-9))))
            angle -= one.half_rad
            if angle < least and 1 / SAME_RATIO < own / distance < SAME_RATIO:
                best, least = one, angle
        return best

    def obstacles(self, velocity, ranged, half_width_m):
        """list of Obstacle of what is confirmed; without `ranged` the time to contact alone is told, no distance.

        velocity: (3,) m/s in base_link. half_width_m: of the way.
        """
        speed = norm(velocity)
        return [_obstacle(o, velocity, speed, ranged, half_width_m) for o in self._all if o.confirmed]


def _threatens(one, velocity, speed, half_width_m):
    """Whether the vehicle, flying straight on, comes by it as near as its way is wide."""
    if speed < HOVERS_MPS:
        return False
    course = velocity / speed
    ahead = float(one.place.dot(course))
    aside = norm(one.place - ahead * course) - norm(one.place) * math.tan(min(one.half_rad, 1.0))
    return ahead > 0 and aside < half_width_m + ASIDE_M + one.part * aside


def _obstacle(one, velocity, speed, ranged, half_width_m):
    o = Obstacle(one.track)
    x, y, z = one.place.tolist()
    flat, distance = math.hypot(x, y), norm(one.place)
    part = max(one.part, LEAST_SIGMA)
    o.bearing, o.elevation = math.atan2(-y, x), math.atan2(z, flat)
    o.sector = (o.bearing - one.half_rad, o.bearing + one.half_rad)
    ray = one.place / max(distance, 1e-6)
    o.rays = np.stack([ray, ray, ray])
    o.remembered = one.waits or not one.seen[-1]
    o.threatens = _threatens(one, velocity, speed, half_width_m)
    if speed >= HOVERS_MPS and float(one.place.dot(velocity)) > 0:
        o.ttc_s = max(float(one.place.dot(velocity)) / speed**2, 0.05)
        o.ttc_sigma_s = part * o.ttc_s
    if ranged:
        o.position, o.range_m, o.range_sigma_m = one.place.copy(), flat, part * flat
        along, wide = np.outer(ray, ray), math.tan(max(one.half_rad, 0.01)) * distance
        o.covariance = (part * distance) ** 2 * along + wide**2 * (np.eye(3) - along)
    return o
