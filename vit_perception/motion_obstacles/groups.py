"""Points that stand together in the vehicle's way: one is noise, several at one distance are an obstacle.

Of a thing straight ahead, the points in the vehicle's narrow way lie close to the focus of expansion, where parallax is
small. Its distance comes from what is seen of it around the way; that it reaches into the way, from points in it.
"""

import math
from typing import List

import numpy as np

from ..avoidance.geometry import cross, norm

# Beyond the way's sides, above it and below it, where points tell of the distance too. Not of the ground.
ASIDE_M, ABOVE_M, BELOW_M = 1.0, 2.0, 0.3
TOGETHER_PX = 40.0  # of an image 320 px wide: how far apart two points of one obstacle may be seen
SAME_DISTANCE = 0.3  # and how different their distances may be, as a part
STEP = 1.04  # where nothing begins, the next group is looked for so much farther away: bounds the time
SHARED = 2.0  # so many neighbouring points tell as much as one
MAX_SIGMA = 0.3  # of a group's distance, as a part
IN_WAY = 2  # points of a group that must lie in the way itself
SURE, BEHIND = 3.0, 0.25  # sigmas by which they are nearer than what is so much farther away (part of its inverse)
FITS = 2.0  # sigmas that they may differ from the group's distance
REACHES_M = -0.25  # against the height of flight: what stays below the vehicle's belly is ground taken for too near
# A mast, as wide as a window of `flow`, shows too little of itself in the way. It is known by what stands out above:
# so many points, so many times as tall as wide, narrow, and from not higher above the way on.
MAST_POINTS, MAST_TALL, MAST_LEAST_PX, MAST_GAP_M, MAST_BESIDE_PX = 4, 2.5, 4.0, 0.7, 3.0
MOST = 3  # groups of an image


class Group:
    """One obstacle in one image.

    Attributes:
        box (4,): x1, y1, x2, y2 around its points, pixels of the small image. place (3,): metres in the optical frame.
        sigma (float): of its distance, as a part. half_rad (float): half of its width in the way.
        points (int): how many agree.
    """

    __slots__ = ("box", "place", "sigma", "half_rad", "points")

    def __init__(self, box, place, sigma, half_rad, points):
        self.box, self.place, self.sigma, self.half_rad, self.points = box, place, sigma, half_rad, points


class Way:
    """What the vehicle will fly through, in the optical frame.

    Args:
        direction (3,): of flight. up (3,): against gravity. metres: that the camera flew between the images.
        half_width_m, half_height_m: of the way.
    """

    def __init__(self, direction, up, metres, half_width_m, half_height_m):
        side = cross(direction, up)
        if norm(side) < 0.05:  # straight up or down: any side
            side = cross(direction, np.array([0.0, 1.0, 0.0]))
        self.direction, self.side = direction, side / norm(side)
        self.top = cross(self.side, direction)
        self.metres, self.half = metres, (half_width_m, half_height_m)

    def slopes(self, rays):
        """(aside, above), (n,) each, per metre ahead, and how far ahead one metre of depth is (n,)."""
        ahead = np.maximum(rays.dot(self.direction), 1e-3)
        return rays.dot(self.side) / ahead, rays.dot(self.top) / ahead, ahead


def make_groups(pixels, points, way, least, focal, min_size_m):
    """Groups in the way, the nearest first; only the distance ahead parts them.

    Args:
        pixels: (n, 2) of the points in the small image. points: `Points`. way: `Way`.
        least: points of a group that are seen together. focal: px.
        min_size_m: extent of a group: what is smaller at its distance is farther away and moves by itself.
    """
    aside, above, ahead = way.slopes(points.rays)
    inverse, sigma = points.inverse / ahead, points.sigma / ahead  # of the distance ahead, in ways of the camera
    own = points.own / ahead
    metres = way.metres / np.where(points.good, inverse, 1.0)
    height = metres * above
    wide = (np.abs(metres * aside) < way.half[0] + ASIDE_M) & (height < way.half[1] + ABOVE_M)
    wide &= height > -way.half[1] - BELOW_M
    index = np.flatnonzero(points.good & wide)
    index = index[np.argsort(metres[index])]
    distance, number = metres[index], np.arange(len(index))
    ends = np.searchsorted(distance, distance * (1 + SAME_DISTANCE))
    x, y = pixels[index].T
    together = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2 < TOGETHER_PX**2
    together &= (number >= number[:, None]) & (number < ends[:, None])
    enough = together.sum(axis=1) >= least
    found: List[Group] = []
    first = 0
    while first <= len(index) - least and len(found) < MOST:
        last, group = int(ends[first]), None
        if enough[first]:
            members = index[first:last]
            mean, spread = _fit(points, members, ahead, inverse, sigma)
            far = way.metres / mean
            # Those in the way, were they as far as the group: none that says to be much farther.
            inside = (np.abs(far * aside) < way.half[0]) & (np.abs(far * above) < way.half[1]) & points.near
            inside &= (inverse > 0.5 * mean) & (np.abs(inverse - mean) < FITS * sigma) & (sigma < mean)
            both = np.union1d(members, np.flatnonzero(inside))
            seen = pixels[both]
            size_m = float((seen.max(axis=0) - seen.min(axis=0)).max()) / focal * far
            reaches = far * float(above[both].max()) > REACHES_M
            if spread < MAX_SIGMA * mean and size_m > min_size_m and reaches:
                shown = np.flatnonzero(inside)
                if len(shown) >= IN_WAY and _is_there(points, shown, ahead, inverse, sigma, mean):
                    group = _group(seen, way, far, aside[shown], above[shown], spread / mean)
                elif _is_mast(pixels, members, way, far, aside, above, inverse + 2 * own < (1 - BEHIND) * mean):
                    low = np.minimum(above[members], way.half[1] / far)  # it reaches down into the way
                    group = _group(seen, way, far, aside[members], low, spread / mean)
        if group is not None:
            found.append(group)
            first = last
        elif enough[first]:
            first = max(first + 1, int(np.searchsorted(distance, distance[first] * STEP)))
        else:
            first += 1
    return found


def _fit(points, members, ahead, inverse, sigma):
    """(mean, standard deviation) of the inverse distance ahead of a group."""
    weight = sigma[members] ** -2
    total = weight.sum()
    own = SHARED * float((weight**2 * (points.own[members] / ahead[members]) ** 2).sum()) / total**2
    shift = weight * points.shift[members] / ahead[members]
    lean = (shift[:, None] * points.lean[members]).sum(axis=0) / total
    return float((weight * inverse[members]).sum() / total), math.sqrt(own + float(lean.dot(lean)))


def _is_there(points, inside, ahead, inverse, sigma, mean):
    """Whether the points in the way tell by themselves that something is at the group's distance, not far behind."""
    own, spread = _fit(points, inside, ahead, inverse, sigma)
    return own - SURE * spread > BEHIND * mean


def _is_mast(pixels, members, way, far, aside, above, behind):
    """Whether a group is a mast that reaches down into the way: nothing is seen behind it, where it would hide it.

    behind: bool of every point, whether it surely is farther.
    """
    column = pixels[members]
    left, right = float(column[:, 0].min()), float(column[:, 0].max())
    tall = float(column[:, 1].max() - column[:, 1].min())
    if len(members) < MAST_POINTS or tall < MAST_TALL * max(right - left, MAST_LEAST_PX):
        return False
    lowest = far * float(above[members].min())
    if far * float(np.abs(aside[members]).max()) > way.half[0] or lowest > way.half[1] + MAST_GAP_M:
        return False
    hidden = np.abs(pixels[:, 0] - 0.5 * (left + right)) <= 0.5 * (right - left) + MAST_BESIDE_PX
    return not (hidden & behind & (far * np.abs(above) < way.half[1])).any()


def _group(seen, way, far, aside, above, sigma):
    middle = 0.5 * (aside.min() + aside.max())
    place = far * (way.direction + middle * way.side + float(np.mean(above)) * way.top)
    box = np.concatenate([seen.min(axis=0), seen.max(axis=0)])
    return Group(box, place, sigma, math.atan(0.5 * (aside.max() - aside.min())), len(seen))
