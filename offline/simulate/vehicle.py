"""A point-mass multirotor: it does what is asked of it as far as speed, acceleration and jerk allow.

World frame: x, y level, z up (right-handed), metres; yaw counter-clockwise. Body: FLU (REP 103).
"""

from dataclasses import dataclass, field

import numpy as np

from vit_perception.avoidance.geometry import rotation_x, rotation_y, rotation_z

GRAVITY = 9.81  # m/s^2


@dataclass
class Vehicle:
    """State and limits. max_speed m/s, max_acceleration m/s^2, max_jerk m/s^3, radius m (propellers included)."""

    position: np.ndarray = field(default_factory=lambda: np.array([0.0, 0.0, 1.2]))
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(3))
    acceleration: np.ndarray = field(default_factory=lambda: np.zeros(3))
    yaw: float = 0.0
    yaw_rate: float = 0.0
    max_speed: float = 15.0
    max_acceleration: float = 5.0
    max_jerk: float = 20.0
    radius: float = 0.4
    _before: tuple[np.ndarray, float, float] | None = None  # acceleration and yaw before the last step, its duration

    def step(self, wanted: np.ndarray, dt: float) -> None:
        """Fly `dt` seconds with the acceleration `wanted` (3,) m/s^2, world frame, within the limits."""
        self._before = self.acceleration, self.yaw, dt
        wanted = _limit(np.asarray(wanted, float), self.max_acceleration)
        self.acceleration = self.acceleration + _limit(wanted - self.acceleration, self.max_jerk * dt)
        velocity = _limit(self.velocity + self.acceleration * dt, self.max_speed)
        self.position = self.position + 0.5 * (self.velocity + velocity) * dt
        self.velocity = velocity
        self.yaw += self.yaw_rate * dt

    @property
    def level(self) -> np.ndarray:
        """Rotation (3, 3) body -> level frame: a multirotor leans the way it accelerates."""
        return _level(self.acceleration, self.yaw)

    @property
    def body_to_world(self) -> np.ndarray:
        """Rotation (3, 3)."""
        return rotation_z(self.yaw) @ self.level

    @property
    def turning(self) -> np.ndarray:
        """Rates (3,) rad/s about the body's axes, over the last step."""
        if self._before is None:
            return np.zeros(3)
        acceleration, yaw, dt = self._before
        turned = (rotation_z(yaw) @ _level(acceleration, yaw)).T @ self.body_to_world
        axis = np.array([turned[2, 1] - turned[1, 2], turned[0, 2] - turned[2, 0], turned[1, 0] - turned[0, 1]])
        return axis / (2 * dt)


def _level(acceleration: np.ndarray, yaw: float) -> np.ndarray:
    ahead, left, _ = rotation_z(-yaw) @ acceleration
    return rotation_y(np.arctan2(ahead, GRAVITY)) @ rotation_x(-np.arctan2(left, GRAVITY))


def _limit(vector: np.ndarray, length: float) -> np.ndarray:
    norm = float(np.linalg.norm(vector))
    return vector if norm <= length else vector * (length / norm)
