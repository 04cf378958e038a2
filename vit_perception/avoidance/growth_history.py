"""The history of one track's size: how it grew, seen whole or cut off by the image's border."""

import math
from collections import deque
from typing import Deque

from .contact import ContactFilter
from .plausible import MOST_LOOKS

TOUCHES, LEAVES = 2.0, 5.0  # a box this many times its noise from the image border touches it, has left it
RESHAPED = 0.7  # log(width / height); no object changes its shape so much at once, so it is another one, or a part
NEWEST = 5  # looks of which most must say that it is a ghost
UNITS = 64  # detections back to which the growth of pixels may reach


class GrowthHistory:
    """How one track grew, its shape, and its last range seen whole.

    Args:
        noise_time_s: as `ContactFilter` takes it.

    Attributes:
        growth, foot (ContactFilter): of the size; of the distance to where it stands.
        range (tuple or None): (range, sigma) of the last view that was whole in height, metres.
    """

    def __init__(self, noise_time_s):
        self.growth = ContactFilter(noise_time_s)
        self.foot = ContactFilter(noise_time_s)
        self.range = None
        self._noise_time_s, self._was_cut = noise_time_s, [False, False]
        self._looks = self._impossible = 0
        self._newest: Deque[bool] = deque(maxlen=NEWEST)
        self._aspect = None  # log(width / height), slowly following
        self._by_height = False  # whether sizes are heights: its width was never seen
        self._units: Deque[tuple] = deque(maxlen=UNITS)  # (stamp, size per pixel) of the last detections

    def look(self, impossible):
        """Count a look at the whole box: whether nothing of its class can be there."""
        self._looks, self._impossible = self._looks + 1, self._impossible + impossible
        self._newest.append(impossible)

    def is_ghost(self):
        """Whether nearly all of its looks say so, and most of the newest: what was up a slope may be ahead at last."""
        nearly_all = self._looks > 0 and self._impossible >= MOST_LOOKS * self._looks
        return nearly_all and 2 * sum(self._newest) > len(self._newest)

    def cut(self, box, image, border_px, noise_px):
        """Whether the box is cut off by the image's (sides, top or bottom); once it was, until it is well inside."""
        for axis in (0, 1):
            margin = max(border_px, noise_px * (LEAVES if self._was_cut[axis] else TOUCHES))
            self._was_cut[axis] = box[axis] <= margin or box[axis + 2] >= image[axis] - margin
        return self._was_cut

    def add(self, stamp_s, wide, tall, cut_x, cut_y, noise):
        """Take a view; returns the size that it was, or None if too much of the object is cut off."""
        aspect, seen = self._aspect, math.log(wide / tall)
        if not (cut_x or cut_y):
            if aspect is not None and abs(seen - aspect) > RESHAPED:
                self.growth, aspect = ContactFilter(self._noise_time_s), None
            elif aspect is None and self._by_height:
                self.growth.rescale(math.exp(0.5 * seen))
            self._by_height = False
            self._aspect = seen if aspect is None else aspect + 0.15 * (seen - aspect)
            size = math.sqrt(wide * tall)
        elif cut_y and (cut_x or aspect is None):
            return None
        else:  # the side that is whole, with the shape that was seen before: truncation would fake a change of size
            # Never seen whole, an object at the side still shows how tall it is; one at the bottom, not how wide.
            shape, self._by_height = aspect or 0.0, aspect is None
            size = tall * math.exp(0.5 * shape) if cut_x else wide * math.exp(-0.5 * shape)
            noise *= 1.3
        self.growth.add(stamp_s, size, noise)
        return size

    def grow(self, stamp_s, growth, size, pixels, noise):
        """Take a track's growth in pixels. What the border cuts grows too: never seen whole, its first size is as good
        as another. size, pixels: of the box; their ratio changes where the camera turns.
        """
        self._units.append((stamp_s, size / pixels))
        before = [] if growth is None else [u for s, u in self._units if abs(stamp_s - growth[2] - s) < 1e-3]
        if before:
            if not self.growth.hits:
                self.growth.add(stamp_s, size, noise)
            self.growth.grow(stamp_s, growth[0] * size / pixels / before[0], growth[1], growth[2])
