"""Shadows on flat ground."""

import cv2
import numpy as np

from .camera import Camera
from .painter import NEAR, SHIFT, to_fixed
from .palette import Climate
from .scene import Pose

SMALL = 8.0  # px; an object of a smaller radius casts one shadow, not one for each part
FAINT = 2.0  # px; smaller ones cast none


def cast(ground: np.ndarray, camera: Camera, poses: list[Pose], t: float, climate: Climate) -> None:
    """Darken ground (H, W) or (H, W, 3) uint8 in place where the sun is hidden.

    Each convex part of each object throws the convex hull of its vertices, moved along the sun's rays.
    """
    if not poses or climate.shade > 0.97:
        return
    mask = np.zeros(ground.shape[:2], np.uint8)
    slope = np.append(climate.sun[:2] / climate.sun[2], 1.0)
    for pose, pixels_per_metre in _near(camera, poses, slope):
        mesh = pose.instance.mesh(t)
        world = mesh.vertices @ pose.rotation.T + pose.position
        pixels, depth = camera.project(world - world[:, 2:] * slope)
        corners, size = to_fixed(pixels), pixels_per_metre * pose.instance.radius
        for first, last in mesh.parts if size > SMALL else ((0, len(world)),):
            if depth[first:last].min() > NEAR:
                cv2.fillConvexPoly(mask, cv2.convexHull(corners[first:last]), 255, cv2.LINE_8, SHIFT)
    cv2.copyTo(cv2.convertScaleAbs(ground, alpha=climate.shade), mask, ground)


def _near(camera: Camera, poses: list[Pose], slope: np.ndarray) -> list[tuple[Pose, float]]:
    """Poses whose shadow may fall into the image, with the pixels per metre there."""
    middles = np.stack([pose.centre for pose in poses])
    inside = camera.to_camera(middles - middles[:, 2:] * slope)
    radii = np.array([pose.instance.radius for pose in poses]) * np.hypot(1, np.hypot(*slope[:2]))
    tangent = np.array([camera.width, camera.height]) / 2 / np.array([camera.K[0, 0], camera.K[1, 1]])
    limit = tangent * np.maximum(inside[:, 2:], 0) + radii[:, None] * np.sqrt(1 + tangent**2)
    scale = camera.K[0, 0] / np.maximum(inside[:, 2], 0.5)
    kept = (np.abs(inside[:, :2]) < limit).all(axis=1) & (inside[:, 2] > 0.5) & (scale * radii > FAINT)
    return [(poses[k], float(scale[k])) for k in np.flatnonzero(kept)]
