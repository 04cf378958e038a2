"""Missed looks: what is remembered was a ghost, or has gone, if the detector would surely find it where it must be.

A look counts where the box would be whole in view, covered by nothing that is seen, and no larger than one that the
detector found before: nobody knows whether it finds what is larger. How surely it would be found tells the track: the
part of its frames in which it was.
"""

import math

import numpy as np

from ..slices import passed_over

GROWN = 1.3  # a box may be so much larger than the ones that were found: it was remembered nearer than it was seen
HALVED = 0.5  # of the part of frames in which it was found: a pose may suit the detector worse than the ones before
CHANCE = 1e-3  # that so many looks miss what is there: then it is not
LOOK_S = 0.1  # looks that follow each other faster tell less: what was missed is missed again in the next frame
COVERED = 0.3  # part of the box that something seen may hide


class View:
    """Where the camera looks in one frame. camera: `Camera`; mount: `Mount`; boxes: list of (4,) that are seen now.

    slices: of the image, those that were looked at and those that were passed over: nobody looked there.
    """

    def __init__(self, camera, mount, boxes, border_px, slices=((), ())):
        self._camera, self._mount, self._boxes, self._border_px = camera, mount, boxes, border_px
        self._slices = slices

    def shows(self, position, width, height):
        """Whether a box `width` x `height` px of what is at `position` (3,) in base_link is whole in view."""
        x, y, z = self._mount.rotation.T.dot(position - self._mount.translation).tolist()
        if z <= 0.0:
            return False
        c, border = self._camera, self._border_px
        u, v = c.fx * x / z + c.cx, c.fy * y / z + c.cy
        box = (u - 0.5 * width, v - 0.5 * height, u + 0.5 * width, v + 0.5 * height)
        inside = box[0] > border and box[1] > border and box[2] < c.width - border and box[3] < c.height - border
        if not inside or passed_over(np.array([box]), *self._slices)[0]:
            return False
        return not any(_covers(other, box) for other in self._boxes)


class MissedLooks:
    """Counts the missed looks at one remembered obstacle. track: its `Track`."""

    def __init__(self, track):
        found = track.hits / max(track.frames, track.hits, 1)
        self._look = -math.log(1.0 - HALVED * found)  # of the chance that it is there, the logarithm a look takes away
        known = track.frames > 0
        self._largest = (
            GROWN * track.proven_px / max(math.sqrt(track.found[0] * track.found[1]), 1e-3) if known else 0.0
        )
        self._spent = 0.0

    def look(self, view, position, box, scale, dt):
        """One frame. box: (width, height) px that it would have now, `scale` times the ones that it had."""
        if scale <= self._largest and view.shows(position, *box):
            self._spent += min(dt / LOOK_S, 1.0) * self._look

    @property
    def enough(self):
        """Whether it surely is not there."""
        return self._spent > -math.log(CHANCE)


def _covers(other, box):
    x1, y1, x2, y2 = box
    w, h = min(x2, other[2]) - max(x1, other[0]), min(y2, other[3]) - max(y1, other[1])
    return w > 0 and h > 0 and w * h > COVERED * (x2 - x1) * (y2 - y1)
