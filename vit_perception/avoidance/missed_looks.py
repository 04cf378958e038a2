"""Missed looks: what is remembered was a ghost, or has gone, if the detector would surely find it where it must be.

A look counts where the box would be whole in view, covered by nothing that is seen, and no larger than one that the
detector found before: nobody knows whether it finds what is larger. How surely it would be found tells the track: the
part of its frames in which it was.
"""

import math
from collections import deque
from typing import Deque

import numpy as np

from ..slices import passed_over
from .geometry import norm, rotation_about

GROWN = 1.3  # a box may be so much larger than the ones that were found: it was remembered nearer than it was seen
HALVED = 0.5  # of the part of frames in which it was found: a pose may suit the detector worse than the ones before
CHANCE = 1e-3  # that so many looks miss what is there: then it is not
LOOK_S = 0.1  # looks that follow each other faster tell less: what was missed is missed again in the next frame
COVERED = 0.3  # part of the box that something seen may hide
BACK_S = 4.0  # so long views are kept: what is in the way for longer was small and far away
# sqrt(w h) of what a look finds at least: uav_thermal misses 17% of what is so large (offline/simulate/noise.json).
LEAST_PX = 15.0
OUTWEIGHS = 4  # a chance of 0.3 to be found against 0.02 of a ghost at this place; a miss halves it, about
# Chance that what is found near, where looks showed nothing, came from behind a cover and is no ghost: a guess. Such
# looks count for no more than that.
EMERGES = 0.003
# sqrt(w h), px: what appeared is looked for up to this size, however small it was found. uav_thermal misses 12% of what
# is 110 px large, 8% of 160 px and 6% of 220 px (the same file; enlarged images).
LARGE_PX = 200.0


class View:
    """Where the camera looks in one frame. camera: `Camera`; mount: `Mount`; boxes: list of (4,) that are seen now.

    slices: of the image, those that were looked at and those that were passed over: nobody looked there.
    """

    def __init__(self, camera, mount, boxes, border_px, slices=((), ())):
        self._camera, self._mount, self._boxes, self._border_px = camera, mount, boxes, border_px
        self._slices = slices

    def finds(self, position, width, height):
        """Whether anything is found where a box `width` x `height` px of what is at `position` (3,) would be.

        None: it would not be whole in view, or nobody looked there. What is found may stand before it.
        """
        x, y, z = self._mount.rotation.T.dot(position - self._mount.translation).tolist()
        if z <= 0.0:
            return None
        c, border = self._camera, self._border_px
        pixel = c.pixels([(x / z, y / z)])[0].tolist()
        if pixel[0] != pixel[0]:
            return None
        u, v = pixel
        box = (u - 0.5 * width, v - 0.5 * height, u + 0.5 * width, v + 0.5 * height)
        inside = box[0] > border and box[1] > border and box[2] < c.width - border and box[3] < c.height - border
        if not inside or (self._slices[1] and passed_over(np.array([box]), *self._slices)[0]):
            return None
        return any(_covers(other, box) for other in self._boxes)


class MissedLooks:
    """Counts the looks that miss one object, before it was found first and since it was found last. track: its `Track`.

    before: looks in the past that would have found it where it was found first: `PastViews.looks`.
    """

    def __init__(self, track, before=0):
        self.before, self.distance_m, self._spent = before, 0.0, 0.0
        self._learn(track)

    def _learn(self, track):
        found = track.hits / max(track.frames, track.hits, 1)
        self._look = -math.log(1.0 - HALVED * found)  # of the chance that it is there, the logarithm a look takes away
        known = track.frames > 0
        self._largest = (
            GROWN * track.proven_px / max(math.sqrt(track.found[0] * track.found[1]), 1e-3) if known else 0.0
        )

    def found(self, track, distance_m):
        """It was found in this frame: the looks since it was found last say nothing any more. 0 m: no range."""
        self.distance_m, self._spent = distance_m, 0.0
        self._learn(track)

    def look(self, view, position, box, scale, dt):
        """One frame. box: (width, height) px that it would have now, `scale` times the ones that it had."""
        known = scale <= self._largest or (self.appeared and box[0] * box[1] <= LARGE_PX * LARGE_PX)
        if known and view.finds(position, *box) is False:
            self._spent += min(dt / LOOK_S, 1.0) * self._look

    @property
    def appeared(self):
        """Whether it surely was not where it was found first."""
        return self.before * self._look >= -math.log(EMERGES)

    @property
    def enough(self):
        """Whether it surely is not there."""
        return self._spent + min(self.before * self._look, -math.log(EMERGES)) > -math.log(CHANCE)


class PastViews:
    """The views of the last BACK_S, and from where they were taken: did they show the place of what is found now?"""

    def __init__(self):
        # (stamp_s, rotation (3, 3) and place (3,) of base_link in a frame that stands, View)
        self._views: Deque[tuple] = deque()
        self._rotation, self._place = np.eye(3), np.zeros(3)

    def add(self, stamp_s, view, dt, velocity, turning):
        """Take a frame's View, dt after the last one. view None: nobody knows where earlier views were taken from."""
        if view is None:
            self._views.clear()
            return
        self._place = self._place + dt * self._rotation.dot(velocity)
        self._rotation = self._rotation.dot(rotation_about(dt * np.asarray(turning, np.float64)))
        if not self._views or stamp_s - self._views[-1][0] >= LOOK_S:
            self._views.append((stamp_s, self._rotation, self._place, view))
        while stamp_s - self._views[0][0] > BACK_S:
            self._views.popleft()

    def looks(self, position, box, before_s):
        """How many looks before before_s missed what is at `position` (3,) in base_link now, `box` (w, h) px large.

        Each that found something there, which is seldom a ghost twice, outweighs OUTWEIGHS of them.
        """
        place, distance, looks = self._place + self._rotation.dot(position), norm(position), 0
        for stamp_s, rotation, then, view in self._views:
            seen_from = rotation.T.dot(place - then)
            scale = distance / max(norm(seen_from), 0.1)
            w, h = scale * box[0], scale * box[1]
            if stamp_s < before_s and w * h >= LEAST_PX * LEAST_PX:
                found = view.finds(seen_from, w, h)
                looks += 0 if found is None else -OUTWEIGHS if found else 1
        return max(looks, 0)


def _covers(other, box):
    x1, y1, x2, y2 = box
    w, h = min(x2, other[2]) - max(x1, other[0]), min(y2, other[3]) - max(y1, other[1])
    return w > 0 and h > 0 and w * h > COVERED * (x2 - x1) * (y2 - y1)
