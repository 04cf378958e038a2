"""One remembered obstacle: where it must be now, how long it lasts, and whether it is seen again."""

import math

import numpy as np

from .geometry import norm, wrap
from .obstacles import Obstacle

FRAMES = 50  # while stamps do not advance nobody knows the time: it lasts for so many frames
LARGEST = 0.5  # sigma, as a part of the range: beyond, a near end says nothing
FARTHER_SIGMAS = 3.0  # of what is remembered, which was moved nearer by one; 2 of what is seen
BACKED_OFF = 0.7  # of the size that it was lost with: what the image's side cut is whole again, about
PASSED = -0.5  # cosine between the course and where it is: behind the vehicle, not only abeam of a swerve


class Kept:
    """An obstacle of the past, moved along.

    spent: 1 is as long as it may last. frames: in a row whose stamp did not advance. comes: its time to contact, or 0.
    way (3,): to where it was when it was kept, turned with the vehicle, not shifted. cut: by the image's side or top.
    missed: its `MissedLooks`, counted so far.
    """

    def __init__(self, obstacle, comes, cut, missed):
        self.obstacle, self.comes = _copy(obstacle), obstacle.ttc_s if comes else 0.0
        self.spent, self.frames, self.way = 0.0, 0, obstacle.position
        self._cut, self._kept_m = cut, None if obstacle.position is None else norm(obstacle.position)
        if not comes:  # what is ahead is judged by its place
            self.obstacle.ttc_s = self.obstacle.ttc_sigma_s = None
        self.missed = missed
        self._start_m = 0.0  # where it is remembered; 0: without a position
        if obstacle.position is not None:
            off = obstacle.range_sigma_m / max(obstacle.range_m, 1e-6)
            share = 1.0 - off if off <= LARGEST else 1.0
            self.obstacle.position, self.obstacle.range_m = share * obstacle.position, share * obstacle.range_m
            self._start_m = norm(self.obstacle.position)

    @property
    def cut(self):
        """Whether the image's border cuts it still: the vehicle has not backed off from where it was lost."""
        return self._cut and self._scale() > BACKED_OFF

    def box_now(self):
        """Width and height, pixels, that its box would have where it is now."""
        x1, y1, x2, y2 = self.obstacle.track.box.tolist()
        return self._scale() * (x2 - x1), self._scale() * (y2 - y1)

    def _scale(self):
        # Not by the horizontal range: a vehicle that climbed away from it would see it, too.
        return 1.0 if self._kept_m is None else self._kept_m / max(norm(self.obstacle.position), 0.1)

    def look(self, view, dt):
        """Count a missed look, if this frame was one."""
        if self._start_m > 0:
            scale = self._start_m / max(norm(self.obstacle.position), 0.1)
            w, h = self.obstacle.track.found  # its box drifted since
            self.missed.look(view, self.obstacle.position, (scale * w, scale * h), scale, dt)

    def age(self, dt, unseen_s, hold_s):
        """dt: since the frame before. unseen_s: of it, how long the detector would have seen it."""
        self.spent += dt / self.comes if self.comes else unseen_s / hold_s
        self.frames = 0 if dt > 0 else self.frames + 1

    def move(self, dt, velocity, turning):
        self.obstacle = moved(self.obstacle, dt, velocity, turning)
        if turning is not None and self.way is not None:
            self.way = self.way - dt * np.cross(turning, self.way)

    def lasts(self, course):
        """course: the vehicle's velocity (3,) in base_link while it is known and moves, or None."""
        passed = not self.comes and _is_behind(self.obstacle.position, course) and float(self.way.dot(course)) > 0
        return self.spent < 1.0 and self.frames < FRAMES and not passed and not self.missed.enough

    def seen_again(self, now):
        """now: {track id: Obstacle} of the frame."""
        return any(self.is_same(o) for o in now.values())

    def is_same(self, o):
        """Whether an obstacle of this frame is what was kept."""
        return self.obstacle.track.id == o.track.id or _same(self.obstacle, o)


def _is_behind(position, course):
    """Whether what is at `position` (3,) lies behind a vehicle on this course; None: unknown, or it hovers."""
    if position is None or course is None:
        return False
    return float(position.dot(course)) < PASSED * norm(position) * norm(course)


def moved(old, dt, velocity, turning):
    """Where it is in base_link `dt` seconds on, if it stands still; velocity None: where it was.

    Without a position it turns alone.
    """
    new = _copy(old)  # what was handed out stays as it was
    if old.ttc_s is not None:
        new.ttc_s = old.ttc_s - dt
    if old.position is None and old.sector is not None and turning is not None:
        turned = dt * float(turning[2])  # to the left is positive, and bearings are clockwise
        new.bearing, new.sector = old.bearing + turned, (old.sector[0] + turned, old.sector[1] + turned)
    if velocity is None or old.position is None:
        return new
    turning = np.zeros(3) if turning is None else turning
    position = old.position - dt * (velocity + np.cross(turning, old.position))
    new.position, new.range_m = position, max(math.hypot(position[0], position[1]), 0.1)
    new.bearing = math.atan2(-position[1], position[0])
    new.elevation = math.atan2(position[2], new.range_m)
    half = min(0.5 * (old.sector[1] - old.sector[0]) * old.range_m / new.range_m, 0.5 * math.pi)
    new.sector = (new.bearing - half, new.bearing + half)
    return new


def _copy(obstacle):
    copy = Obstacle(obstacle.track)
    copy.remembered = True
    for name in (
        "bearing", "elevation", "sector", "range_m", "range_sigma_m", "position", "covariance",
        "ttc_s", "ttc_sigma_s", "ghost", "threatens", "appeared",
    ):  # fmt: skip
        setattr(copy, name, getattr(obstacle, name))
    return copy


def _same(kept, seen):
    """Whether `seen` is what was kept: it takes at least half of its directions, and is not surely farther.

    A small thing inside is not, nor is what stands behind it.
    """
    if seen.track.detection < 0 or kept.sector is None or seen.sector is None:
        return False
    if kept.range_m is not None and seen.range_m is not None:
        nearest = seen.range_m - 2 * seen.range_sigma_m
        if nearest > kept.range_m + FARTHER_SIGMAS * kept.range_sigma_m:
            return False
    turned = kept.bearing + wrap(seen.bearing - kept.bearing) - seen.bearing  # whole turns, across straight back
    shared = min(kept.sector[1], seen.sector[1] + turned) - max(kept.sector[0], seen.sector[0] + turned)
    return shared >= 0.5 * (kept.sector[1] - kept.sector[0])
