"""Pinhole camera over a flat world.

World frame: ENU, metres, x east, y north, z up, ground at z = 0. Camera frame: optical, x right, y down, z
forward. Projected coordinates follow OpenCV and ROS: the centre of the top left pixel is (0, 0).
"""

from dataclasses import dataclass, field, replace

import numpy as np


def intrinsics(width: int, height: int, hfov: float) -> np.ndarray:
    """K (3, 3) of an ideal lens with square pixels; hfov is the horizontal field of view in radians."""
    focal = 0.5 * width / np.tan(0.5 * hfov)
    return np.array([[focal, 0, 0.5 * (width - 1)], [0, focal, 0.5 * (height - 1)], [0, 0, 1]])


def attitude(yaw: float, tilt: float, roll: float = 0.0) -> np.ndarray:
    """Rotation (3, 3) from world to camera, angles in radians.

    yaw: heading of the optical axis, counter-clockwise from east (REP 103). tilt: angle of the optical axis
    below the horizon, 0 looks ahead and pi/2 straight down. roll: clockwise turn of the camera about its
    optical axis.
    """
    sin_y, cos_y, sin_t, cos_t = np.sin(yaw), np.cos(yaw), np.sin(tilt), np.cos(tilt)
    right = np.array([sin_y, -cos_y, 0.0])
    forward = np.array([cos_y * cos_t, sin_y * cos_t, -sin_t])
    down = np.cross(forward, right)
    sin_r, cos_r = np.sin(roll), np.cos(roll)
    return np.stack([cos_r * right + sin_r * down, cos_r * down - sin_r * right, forward])


@dataclass(frozen=True)
class Camera:
    """Intrinsics and pose: K (3, 3), position (3,) m, rotation (3, 3) world to camera, velocity (3,) m/s,
    world frame.
    """

    K: np.ndarray
    width: int
    height: int
    position: np.ndarray
    rotation: np.ndarray
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World points (n, 3) in the camera frame (n, 3)."""
        return (points - self.position) @ self.rotation.T

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Camera-frame points (n, 3) with z > 0 as pixel coordinates (n, 2)."""
        focal = np.array([self.K[0, 0], self.K[1, 1]])
        return points[:, :2] / points[:, 2:] * focal + self.K[:2, 2]

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World points (n, 3) -> pixel coordinates (n, 2) and depths (n,) along the optical axis, in metres.

        Coordinates of points at or behind the camera (depth <= 0) have no meaning.
        """
        inside = self.to_camera(np.asarray(points, np.float64))
        depth = inside[:, 2].copy()
        inside[:, 2] = np.where(np.abs(depth) < 1e-9, 1e-9, depth)
        return self.to_pixels(inside), depth

    def ground_homography(self) -> np.ndarray:
        """H (3, 3) with pixel ~ H (x, y, 1) for points (x, y, 0) of the ground."""
        columns = np.column_stack([self.rotation[:, 0], self.rotation[:, 1], -self.rotation @ self.position])
        return self.K @ columns

    def scaled(self, factor: int) -> "Camera":
        """The same view in an image `factor` times as large, pixel areas aligned."""
        shift = 0.5 * (factor - 1)
        scale = np.array([[factor, 0, shift], [0, factor, shift], [0, 0, 1.0]])
        return replace(self, K=scale @ self.K, width=self.width * factor, height=self.height * factor)
