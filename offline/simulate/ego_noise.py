"""What an autopilot tells of a flight, with its errors: gyro and odometry with bias, white noise and a time offset."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from offline.render.camera import Camera
from vit_perception.avoidance.geometry import OPTICAL_TO_FLU, Ego, level_from_rotation, rotation_about

# What an autopilot tells of the gyro is low-passed: PX4's IMU_GYRO_CUTOFF is 40 Hz by default, of a Butterworth filter
# of second order (ArduPilot's INS_GYRO_FILTER is 20 Hz). Of vibration near that, the rate of the moment is in it.
CUTOFF_HZ = 40.0
STEP_S, STEPS = 2e-3, 15  # over which rates are taken, and how many of them the filter remembers


def _impulse_response() -> np.ndarray:
    """(STEPS,): weights of the rates of the last steps, the newest first."""
    x = 2 * np.pi * CUTOFF_HZ * (np.arange(STEPS) + 0.5) * STEP_S / np.sqrt(2)
    weights = np.exp(-x) * np.sin(x)
    return weights / weights.sum()


WEIGHTS = _impulse_response()


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
        now = self._camera_at(true)
        seen = [now.rotation] + [self._camera_at(true - k * STEP_S).rotation for k in range(1, STEPS + 1)]
        turned = np.stack([after @ before.T for after, before in zip(seen, seen[1:], strict=False)])  # optical frame
        axes = turned[:, [2, 0, 1], [1, 2, 0]] - turned[:, [1, 2, 0], [2, 0, 1]]
        rate = OPTICAL_TO_FLU @ (WEIGHTS @ axes / (-2 * STEP_S))
        gyro = rate + self._gyro + e.white * np.radians(e.gyro_deg_s) * rng.normal(size=3)
        to_world = now.rotation.T @ OPTICAL_TO_FLU.T  # base_link -> world
        velocity = to_world.T @ now.velocity
        off = self._turned + e.white * np.radians(e.direction_deg) * rng.normal(size=3)
        velocity = self._speed * rotation_about(off) @ velocity
        return Ego(velocity, gyro, level_from_rotation(to_world), None, t)
