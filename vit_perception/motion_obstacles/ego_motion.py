"""How the camera turned and which way it went between two images, from the images, with what was told as the prior.

A point that stands still moves, once the turning is taken out, along the line through the focus of expansion: what it
is off that line tells of errors of the direction and of the turning (the epipolar constraint; Hartley and Zisserman,
2004, 9.6). Gauss-Newton on the direction (2) and the turning (3), with Cauchy weights.
"""

import numpy as np

from ..avoidance.geometry import norm, rotation_about

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
    """Points (n, 2) of two images in a motion: `turned` is x / z, y / z where each would be now by turning alone."""

    def __init__(self, before, now, motion):
        turned = before.dot(motion.rotation.T)
        self.ahead = turned[:, 2] > 0.2
        self.turned = turned[:, :2] / np.where(self.ahead, turned[:, 2], 1.0)[:, None]
        self.flow = now[:, :2] - self.turned
        u = motion.direction
        self.along = u[2] * self.turned - u[:2]  # a point moves along it, by the way flown / its distance
        self.length = np.sqrt((self.along**2).sum(axis=1)) + 1e-9
        unit = self.along / self.length[:, None]
        self.across = np.stack([-unit[:, 1], unit[:, 0]], axis=1)
        self.residual = (self.across * self.flow).sum(axis=1)
        self.inverse = (unit * self.flow).sum(axis=1) / self.length


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
        scale = max(LEAST_SCALE, 1.5 * float(np.median(np.abs(lines.residual))))
        weight = lines.ahead / (1.0 + (lines.residual / scale) ** 2) / (scale**2 * SHARED)
        jacobian = _jacobian(lines, motion, first)
        normal = np.diag(sigmas**-2) + (jacobian * weight[:, None]).T.dot(jacobian)
        gradient = (jacobian * weight[:, None]).T.dot(lines.residual) + off / sigmas**2
        change = -np.linalg.solve(normal, gradient)
        off = off + change
        motion = _moved(prior, first, off)
        if step > 1 and np.abs(change).max() < 1e-4:
            break
    sigma = np.sqrt(np.diag(np.linalg.inv(normal)))
    motion.direction_sigma, motion.turn_sigma = float(sigma[:2].max()), float(sigma[2:].max())
    return motion


def _basis(direction):
    """Two unit vectors (2, 3) across a direction."""
    helper = np.array([1.0, 0.0, 0.0]) if abs(direction[0]) < 0.7 else np.array([0.0, 1.0, 0.0])
    one = np.cross(direction, helper)
    one = one / norm(one)
    return np.stack([one, np.cross(direction, one)])


def _moved(prior, basis, off):
    direction = prior.direction + off[:2].dot(basis)
    rotation = rotation_about(off[2:]).dot(prior.rotation)
    return Motion(rotation, direction / norm(direction), prior.direction_sigma, prior.turn_sigma)


def _jacobian(lines, motion, basis):
    """Derivatives (n, 5) of the residuals by the five parameters of `refine`."""
    nx, ny = lines.across.T
    x, y = lines.turned.T
    inverse, out = lines.inverse, np.empty((len(x), 5))
    for i, b in enumerate(basis):
        out[:, i] = inverse * (nx * (b[0] - b[2] * x) + ny * (b[1] - b[2] * y))
    # How a small turn about x, y, z moves a point (Longuet-Higgins and Prazdny, 1980).
    gain = -1.0 - inverse * motion.direction[2]
    out[:, 2] = gain * (nx * (-x * y) + ny * (-1 - y * y))
    out[:, 3] = gain * (nx * (1 + x * x) + ny * (x * y))
    out[:, 4] = gain * (ny * x - nx * y)
    return out
