"""Position and velocity of boxes: Kalman filters of many boxes at once, and the camera motion that carries them."""

import numpy as np

MIN_SIZE = 1.0  # px
# What is only predicted keeps its shape: 0.5 s ahead an object at 20 m, closed in on at 20 m/s, is twice as large, and
# noise in the velocity of a width alone would make it a line.
MOST_GROWTH = 2.0  # of a size since it was last detected, and as much of shrinking
MOST_SQUEEZE = 1.25  # of width over height since then
# The filter's noise, as parts of a box's width or height: the best of those tried on rendered flights.
MEASURED = 0.2  # standard deviation of a detection's centre and size, what correlates over time included
MEASURED_PX = 0.5  # and that much in any case
ACCELERATION = 1.0  # change of velocity within a second, sizes per second
VELOCITY = 2.0  # standard deviation of a new track's velocity, sizes per second
VELOCITY_IN_IMAGE = 10.0  # the same while the camera's motion is not known
LEAST_DEPTH = 0.5  # what a turn brings nearer to the image plane than this part of its depth is out of sight: it stays


class BoxFilter:
    """Constant-velocity Kalman filters of many boxes: of each, centre x, y and size w, h, all four on their own.

    Noise is a part of the box's size, so that near and far objects are treated alike. Bar-Shalom et al.: Estimation
    with applications to tracking and navigation, 2001, 6.2 (white-noise acceleration).

    Attributes:
        state (n, 4), velocity (n, 4): pixels, pixels per second.
    """

    def __init__(self):
        self.state, self.velocity = np.zeros((0, 4)), np.zeros((0, 4))
        self._seen = np.zeros((0, 2))  # sizes after the last detection, carried by the camera's motion
        self._flow = None  # the camera's motion between the newest two images: homography (3, 3), seconds
        self._stands = False  # whether that is the motion of what stands
        self._p, self._c, self._v = np.zeros((3, 0, 4))  # variances of state and velocity, and their covariance c

    def boxes(self):
        """x1, y1, x2, y2: float32 (n, 4)."""
        half = 0.5 * self.state[:, 2:]
        return np.concatenate([self.state[:, :2] - half, self.state[:, :2] + half], axis=1).astype(np.float32)

    def move(self, motion, dt, stands=True):
        """Carry all boxes along with the camera's motion of `dt` seconds.

        Args:
            motion: homography (3, 3) from pixels of the previous image to pixels of this one, or None if unknown.
            stands: it carries what stands. False: only what is far away, for the camera did not only turn.
        """
        before, stood = self._flow, self._stands
        if motion is None or not np.isfinite(motion).all():
            motion = self._flow = None
        elif dt > 0:
            self._flow = motion, dt
        self._stands = stands and self._flow is not None
        # Velocities are relative to the background while its motion is known, else to the image that turned, or was.
        if (before is None) != (self._flow is None) or stood != self._stands:
            self.velocity = self.velocity + (self._carried(before) - self._carried(self._flow))
            if self._stands:
                self._expect_at_rest()
        if motion is None:
            return
        state, turned, size = _through(motion, self.state)
        moved = (turned * self.velocity[:, None, :2]).sum(axis=2)
        self._seen = self._seen * size
        self.state, self.velocity = state, np.concatenate([moved, self.velocity[:, 2:] * size], axis=1)

    def _expect_at_rest(self):
        """What is now known to be seen by a moving camera mostly stands: the prior velocity of a track, once."""
        gain = self._v / (self._v + (VELOCITY * self._scale()) ** 2)
        self.velocity = (1 - gain) * self.velocity
        self._c, self._v = (1 - gain) * self._c, (1 - gain) * self._v

    def image_velocity(self):
        """Velocity in the image, the camera's motion included: float32 (n, 4), pixels per second."""
        return (self.velocity + self._carried(self._flow)).astype(np.float32)

    def _carried(self, flow):
        """What a motion (homography, seconds) adds to the velocity of every box: (n, 4)."""
        if flow is None:
            return np.zeros_like(self.state)
        return (_through(flow[0], self.state)[0] - self.state) / flow[1]

    def predict(self, dt):
        """Go `dt` seconds on, dt >= 0."""
        self.state = self.state + dt * self.velocity
        grown = np.minimum(np.maximum(self.state[:, 2:] / self._seen, 1 / MOST_GROWTH), MOST_GROWTH)
        common = np.sqrt(grown[:, :1] * grown[:, 1:])
        squeeze = np.sqrt(MOST_SQUEEZE)
        grown = np.minimum(np.maximum(grown, common / squeeze), common * squeeze)
        self.state[:, 2:] = np.maximum(self._seen * grown, MIN_SIZE)
        q = (ACCELERATION * self._scale()) ** 2
        self._p = self._p + 2 * dt * self._c + dt**2 * self._v + dt**3 / 3 * q
        self._c = self._c + dt * self._v + dt**2 / 2 * q
        self._v = self._v + dt * q

    def correct(self, indices, boxes):
        """Detections `boxes` (k, 4) of the filters `indices` (k,)."""
        residual = _center_size(boxes) - self.state[indices]
        r = (MEASURED * self._scale()[indices] + MEASURED_PX) ** 2
        p, c = self._p[indices], self._c[indices]
        gain, gain_v = p / (p + r), c / (p + r)
        self.state[indices] += gain * residual
        self.state[indices, 2:] = np.maximum(self.state[indices, 2:], MIN_SIZE)
        self._seen[indices] = self.state[indices, 2:]
        self.velocity[indices] += gain_v * residual
        self._v[indices] -= gain_v * c
        self._p[indices], self._c[indices] = (1 - gain) * p, (1 - gain) * c

    def add(self, boxes):
        """New filters at `boxes` (k, 4), at rest."""
        state = _center_size(boxes)
        scale = np.tile(np.maximum(state[:, 2:], MIN_SIZE), 2)
        self.state = np.concatenate([self.state, state])
        self._seen = np.concatenate([self._seen, np.maximum(state[:, 2:], MIN_SIZE)])
        self.velocity = np.concatenate([self.velocity, np.zeros_like(state)])
        self._p = np.concatenate([self._p, (MEASURED * scale + MEASURED_PX) ** 2])
        self._c = np.concatenate([self._c, np.zeros_like(state)])
        self._v = np.concatenate([self._v, ((VELOCITY if self._stands else VELOCITY_IN_IMAGE) * scale) ** 2])

    def keep(self, indices):
        """Keep these filters, in this order."""
        self.state, self.velocity = self.state[indices], self.velocity[indices]
        self._seen = self._seen[indices]
        self._p, self._c, self._v = self._p[indices], self._c[indices], self._v[indices]

    def _scale(self):
        """What the noise is a part of: w, h, w, h (n, 4)."""
        return np.tile(self.state[:, 2:], 2)


def _center_size(boxes):
    return np.concatenate([0.5 * (boxes[:, :2] + boxes[:, 2:]), boxes[:, 2:] - boxes[:, :2]], axis=1)


def _through(homography, state):
    """State (n, 4) moved by a homography (3, 3); its Jacobian (n, 2, 2) there, and the change of sizes (n, 1)."""
    points = np.concatenate([state[:, :2], np.ones((len(state), 1))], axis=1).dot(homography.T)
    seen = points[:, 2:] > LEAST_DEPTH
    depth = np.where(seen, points[:, 2:], 1.0)
    centers = np.where(seen, points[:, :2] / depth, state[:, :2])
    jacobian = (homography[:2, :2] - centers[:, :, None] * homography[2, :2]) / depth[:, :, None]
    jacobian = np.where(seen[:, :, None], jacobian, np.eye(2))
    size = np.where(seen, np.sqrt(abs(np.linalg.det(homography)) / depth**3), 1.0)
    return np.concatenate([centers, state[:, 2:] * size], axis=1), jacobian, size
