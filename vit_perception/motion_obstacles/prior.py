"""How the camera moved as odometry and gyro tell it, with what the images showed of their errors."""

import math

import numpy as np

from ..avoidance.geometry import cross, norm, rotation_about
from .ego_motion import Motion

GYRO_SIGMA_RAD_S, NO_GYRO_RAD_S = math.radians(0.6), math.radians(8.0)
DIRECTION_SIGMA, NO_DIRECTION = math.radians(3.0), math.radians(10.0)  # of the velocity's
LEARNT = 8  # images after which what was carried halves the sigmas
CARRY = 0.3  # of what the refinement found, for the next image
MOST_CARRIED, MOST_TURN_CARRIED = math.radians(10.0), math.radians(3.0)  # rad, rad/s
# A gyro is asked when an image is taken. Where the frame vibrates it tells the rate of that instant, which says nothing
# of how the camera turned in between; a wrong sign or delay does no better. How far it was off the images lately, root
# mean square over about MEMORY images, is its sigma. Above ASTRAY, twice what a bias of a degree a second on each axis
# makes, the images alone tell the turning: as well, bench/unclassed.py's row "no gyro" says.
MEMORY, ASTRAY_RAD_S = 10, math.radians(3.0)


class Prior:
    """What is told of the motion, weighed by how well it fitted the images until now.

    Attributes:
        rate (3,): rad/s in base_link, how the camera turned lately by the images.
        astray (bool): what the gyro tells does not fit the images: it is not used.
    """

    def __init__(self):
        self.reset()

    def reset(self):
        """Forget what was learnt."""
        self._direction, self._gyro, self._images = np.zeros(3), np.zeros(3), np.zeros(3)
        self._count, self._off_rad_s, self.rate = 0, 0.0, np.zeros(3)

    @property
    def astray(self):
        return self._off_rad_s > ASTRAY_RAD_S

    def motion(self, turned, direction, dt, gyro, velocity):
        """Motion since an earlier image.

        Args:
            turned: (3, 3) as the gyro told, earlier -> newest. direction: (3,) of flight, optical frame. dt: s.
            gyro, velocity: bool, whether they were told, and the gyro is not astray. Without a gyro it turns on as it
                did, without a velocity `direction` is a guess.
        """
        known = 0.5 if self._count >= LEARNT else 1.0
        return Motion(
            self._turned(turned, dt, gyro),
            rotation_about(self._direction).dot(direction),
            known * DIRECTION_SIGMA if velocity else NO_DIRECTION,
            dt * (max(known * GYRO_SIGMA_RAD_S, self._off_rad_s) if gyro else NO_GYRO_RAD_S),
        )

    def _turned(self, turned, dt, gyro):
        return rotation_about(dt * self._gyro).dot(turned) if gyro else rotation_about(dt * self._images)

    def learn(self, prior, refined, turned, dt, gyro, mount):
        """Keep a part of what the refinement found, for biases stay. prior, refined: Motion. mount: `Mount`."""
        self._count += 1
        off = norm(_turn_of(refined.rotation.dot(self._turned(turned, dt, True).T))) / dt
        mean = self._off_rad_s**2 + (off**2 - self._off_rad_s**2) / MEMORY
        self._off_rad_s = min(math.sqrt(mean), NO_GYRO_RAD_S)
        self._direction = _limited(self._direction + CARRY * cross(prior.direction, refined.direction), MOST_CARRIED)
        change = CARRY / dt * _turn_of(refined.rotation.dot(prior.rotation.T))
        if gyro:
            self._gyro = _limited(self._gyro + change, MOST_TURN_CARRIED)
        else:
            self._images = _limited(self._images + change, MOST_TURN_CARRIED)
        self.rate = mount.rotation.dot(-_turn_of(refined.rotation) / dt)

    def doubt(self):
        """Nothing fits the images: the gyro may be what is wrong, so the next image is looked at without."""
        self._off_rad_s = NO_GYRO_RAD_S


def _turn_of(rotation):
    """The turn (3,) in radians of a small rotation (3, 3)."""
    r = rotation
    return 0.5 * np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])


def _limited(vector, length):
    size = norm(vector)
    return vector if size <= length else vector * (length / size)
