"""How the camera turned and which way it went between two images, from the images, with what was told as the prior.

A point that stands still moves, once the turning is taken out, along the line through the focus of expansion: what it
is off that line tells of errors of the direction and of the turning (the epipolar constraint; Hartley and Zisserman,
2004, 9.6). Gauss-Newton on the direction (2) and the turning (3), with Cauchy weights.
"""

import numpy as np

from ..avoidance.geometry import cross, norm, rotation_about

STEPS = 5
LEAST_SCALE = 1.2e-3  # of a residual, rad: 0.35 px of an image 320 px and 65 degrees wide
SHARED = 6.0  # neighbours share their errors: so many points tell as much as one


class Motion:
    """The camera's motion between an earlier image and the newest.

    Attributes:
        rotation (3, 3): directions in the earlier camera's frame -> in the newest one's.
        direction (3,): unit vector of the way that it went, in the newest camera's optical frame.
        direction_sigma, turn_sigma (float): of each axis, radians.
    """

    __slots__ = ("rotation", "direction", "direction_sigma", "turn_sigma")

    def __init__(self, rotation, direction, direction_sigma, turn_sigma):
        self.rotation, self.direction = rotation, direction
        self.direction_sigma, self.turn_sigma = direction_sigma, turn_sigma


class Lines:
    """Points of two images in a motion, each attribute (n,): plain rows are several times as fast as (n, 2).

    Attributes:
        ahead (bool): it is in front of the camera. x, y: where it would be now by turning alone, as x / z and y / z.
        flow_x, flow_y: from there to where it is. length: of the vector along which it moves, by the way flown / its
        distance. across_x, across_y: unit vector across that. residual: of the flow, across it. inverse: way flown /
        distance.
    """

    def __init__(self, before, now, motion):
        x, y, z = motion.rotation.dot(before.T)
        self.ahead = z > 0.2
        z = np.where(self.ahead, z, 1.0)
        self.x, self.y = x / z, y / z
        self.flow_x, self.flow_y = now[:, 0] - self.x, now[:, 1] - self.y
        u = motion.direction
        along_x, along_y = u[2] * self.x - u[0], u[2] * self.y - u[1]
        self.length = np.sqrt(along_x * along_x + along_y * along_y) + 1e-9
        self.across_x, self.across_y = -along_y / self.length, along_x / self.length
        self.residual = self.across_x * self.flow_x + self.across_y * self.flow_y
        self.inverse = (self.across_y * self.flow_x - self.across_x * self.flow_y) / self.length


def refine(before, now, prior, steps=STEPS):
    """The motion that fits the points best.

    Args:
        before, now: (n, 3) directions of points in the two images, optical frame, z = 1 in `now`.
        prior: Motion as it was told, with its sigmas. steps: of Gauss-Newton.

    Returns:
        Motion; with no points, the prior.
    """
    if len(now) == 0:
        return prior
    motion, first = prior, _basis(prior.direction)
    off = np.zeros(5)  # from the prior: direction along the two of the basis, turning about x, y, z
    sigmas = np.array([prior.direction_sigma] * 2 + [prior.turn_sigma] * 3)
    normal = np.diag(sigmas**-2)
    for step in range(steps):
        lines = Lines(before, now, motion)
        scale = max(LEAST_SCALE, 1.5 * middle(np.abs(lines.residual)))
        weight = lines.ahead / (1.0 + (lines.residual / scale) ** 2) / (scale**2 * SHARED)
        jacobian = _jacobian(lines, motion, first)
        weighted = weight * jacobian
        normal = np.diag(sigmas**-2) + weighted.dot(jacobian.T)
        gradient = weighted.dot(lines.residual) + off / sigmas**2
        change = -np.linalg.solve(normal, gradient)
        off = off + change
        motion = _moved(prior, first, off)
        if step > 1 and np.abs(change).max() < 1e-4:
            break
    sigma = np.sqrt(np.diag(np.linalg.inv(normal)))
    motion.direction_sigma, motion.turn_sigma = float(sigma[:2].max()), float(sigma[2:].max())
    return motion


def middle(values):
    """The median of (n,) values, n > 0, or its neighbour: several times as fast as np.median."""
    half = len(values) // 2
    return float(np.partition(values, half)[half])


def _basis(direction):
    """Two unit vectors (2, 3) across a direction."""
    helper = np.array([1.0, 0.0, 0.0]) if abs(direction[0]) < 0.7 else np.array([0.0, 1.0, 0.0])
    one = cross(direction, helper)
    one = one / norm(one)
    return np.stack([one, cross(direction, one)])


def _moved(prior, basis, off):
    direction = prior.direction + off[:2].dot(basis)
    rotation = rotation_about(off[2:]).dot(prior.rotation)
    return Motion(rotation, direction / norm(direction), prior.direction_sigma, prior.turn_sigma)


def _jacobian(lines, motion, basis):
    """Derivatives (5, n) of the residuals by the five parameters of `refine`."""
    nx, ny, x, y, inverse = lines.across_x, lines.across_y, lines.x, lines.y, lines.inverse
    out = np.empty((5, len(x)))
    for i, b in enumerate(basis):
        out[i] = inverse * (nx * (b[0] - b[2] * x) + ny * (b[1] - b[2] * y))
    # How a small turn about x, y, z moves a point (Longuet-Higgins and Prazdny, 1980).
    gain = -1.0 - inverse * motion.direction[2]
    xn, yn = gain * nx, gain * ny
    out[2] = -yn - y * (x * xn + y * yn)
    out[3] = xn + x * (x * xn + y * yn)
    out[4] = x * yn - y * xn
    return out
