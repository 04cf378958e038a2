"""What an autopilot tells of a flight, with its errors: gyro and odometry with bias, white noise and a time offset."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from offline.render.camera import Camera
from vit_perception.avoidance.geometry import OPTICAL_TO_FLU, Ego, level_from_rotation, rotation_about

STEP_S = 1e-3  # over which rates are taken


@dataclass(frozen=True)
class EgoErrors:
    """gyro_deg_s: bias of each axis. direction_deg: of the velocity, each axis. speed: part of it. white: standard
    deviation from frame to frame, as a part of each bias. offset_s: the autopilot's clock is so much late: what it
    tells of the time t was true at t - offset_s. The two first are drawn with either sign, as is speed."""

    gyro_deg_s: float = 0.5
    direction_deg: float = 3.0
    speed: float = 0.1
    white: float = 0.3
    offset_s: float = 0.0


class EgoSensors:
    """One flight's sensors: the biases are drawn once.

    camera_at: t -> the camera. base_link is where the camera is, x along its optical axis.
    """

    def __init__(self, camera_at: Callable[[float], Camera], errors: EgoErrors, rng: np.random.Generator):
        self._camera_at, self._errors, self._rng = camera_at, errors, rng
        self._gyro = np.radians(errors.gyro_deg_s) * rng.choice([-1.0, 1.0], 3)
        self._turned = np.radians(errors.direction_deg) * rng.choice([-1.0, 1.0], 3)
        self._speed = 1 + errors.speed * rng.choice([-1.0, 1.0])

    def ego(self, t: float) -> Ego:
        """What is told of the time t."""
        e, rng, true = self._errors, self._rng, t - self._errors.offset_s
        now, before, after = (self._camera_at(true + dt) for dt in (0.0, -STEP_S, STEP_S))
        turned = after.rotation @ before.rotation.T  # before -> after, in the optical frame
        axis = np.array([turned[2, 1] - turned[1, 2], turned[0, 2] - turned[2, 0], turned[1, 0] - turned[0, 1]])
        rate = OPTICAL_TO_FLU @ (-axis / (4 * STEP_S))
        gyro = rate + self._gyro + e.white * np.radians(e.gyro_deg_s) * rng.normal(size=3)
        to_world = now.rotation.T @ OPTICAL_TO_FLU.T  # base_link -> world
        velocity = to_world.T @ now.velocity
        off = self._turned + e.white * np.radians(e.direction_deg) * rng.normal(size=3)
        velocity = self._speed * rotation_about(off) @ velocity
        return Ego(velocity, gyro, level_from_rotation(to_world), None, t)
