"""How far away points are, from their motion about the focus of expansion: motion stereo with one camera."""

import numpy as np

from .ego_motion import Lines, middle

NEAR_PX, PER_FLOW = 0.6, 0.2  # how far off its line a point may lie: pixels, and part of its flow. The focus of
# expansion is wrong by 1 to 3 degrees: what is near and flows far is far off its line too, and must not be dropped.
LEAST_NOISE, MOST_NOISE = 1.0, 12.0  # grey levels of a pixel: what it is taken for at least, and at most
FLOOR_PX = 0.08  # no point is followed better
MIN_DIRECTION_SIGMA = np.radians(0.5)  # the refinement thinks too well of itself where points are few
MIN_TURN_SIGMA = np.radians(0.03)


class Points:
    """Points with their distance.

    Attributes (n points):
        rays (n, 3): directions in the newest image, optical frame, z = 1.
        inverse (n,): way of the camera between the images / depth of the point.
        own (n,): its standard deviation by what is the point's alone. sigma (n,): with what is wrong with the motion.
        lean (n, 2): how it changes with a shift of the points by the motion's error, per radian: what is wrong for all
            of them alike has opposite signs on both sides of the focus of expansion.
        shift (n,): standard deviation of that shift, each axis, radians.
        near (n,) bool: they are ahead and near their line. good (n,) bool: and known well enough.
        agree (float): part of the points that are near their line.
    """

    __slots__ = ("rays", "inverse", "own", "sigma", "lean", "shift", "near", "good", "agree")

    def __init__(self, before, now, motion, tensors, focal, max_sigma):
        """before, now: (n, 3) directions. motion: `Motion`. tensors: (n, 3), of `Texture.inverse_tensors`. focal: px.
        max_sigma: standard deviation of the distance, as a part of it, up to which a point is good."""
        lines = Lines(before, now, motion)
        self.rays, self.inverse = now, lines.inverse
        off, flow = focal * np.abs(lines.residual), focal * np.abs(lines.inverse) * lines.length
        near = lines.ahead & (off < NEAR_PX + PER_FLOW * flow)
        self.agree = float(near.mean()) if len(near) else 0.0
        # An edge holds a point across itself only. Where it runs towards the focus of expansion a point slides along
        # it, exactly along its line: no residual tells, but the structure tensor does.
        held_across = _variance(tensors, lines.across_x, lines.across_y)
        noise = middle(off[near] / np.sqrt(held_across[near])) / 0.67 if near.any() else MOST_NOISE
        noise = min(max(noise, LEAST_NOISE), MOST_NOISE)
        along_x, along_y = lines.across_y, -lines.across_x
        pixel = np.sqrt(noise**2 * _variance(tensors, along_x, along_y) + FLOOR_PX**2) / focal
        direction = max(motion.direction_sigma, MIN_DIRECTION_SIGMA)
        turn = max(motion.turn_sigma, MIN_TURN_SIGMA)
        self.own = pixel / lines.length
        self.shift = np.sqrt(turn**2 + (lines.inverse * direction) ** 2)
        self.lean = np.stack([along_x, along_y], axis=1) / lines.length[:, None]
        self.sigma = np.sqrt(self.own**2 + (self.shift / lines.length) ** 2)
        self.near = near
        self.good = near & (self.sigma < max_sigma * self.inverse)


def _variance(tensors, x, y):
    """Of a followed point along unit vectors (x, y), (n,) each, for pixel noise of one grey level: px^2."""
    return np.maximum(tensors[:, 0] * x * x + 2 * tensors[:, 1] * x * y + tensors[:, 2] * y * y, 1e-9)
