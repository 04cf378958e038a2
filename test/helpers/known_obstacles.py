"""Obstacles as the estimator would tell them, without noise."""

import math

import numpy as np

from vit_perception.avoidance.obstacles import Obstacle
from vit_perception.tracking.tracker import Track

FOCAL = 400.0


def obstacle(position, closing, t, width=0.5, height=1.7, ranged=True, calibrated=True, track_id=1):
    """An obstacle as the estimator would tell it, without noise: position (3,) m in base_link, closing speed m/s."""
    distance = float(np.linalg.norm(position))
    track = Track(track_id, 0, t)
    track.detection, track.stamp_s = 0, t
    w, h = FOCAL * width / distance, FOCAL * height / distance
    u, v = 320 - FOCAL * position[1] / max(position[0], 0.1), 256 - FOCAL * position[2] / max(position[0], 0.1)
    track.box = np.array([u - w / 2, v - h / 2, u + w / 2, v + h / 2], np.float32)
    o = Obstacle(track)
    if closing > 0 and distance / closing < 20:
        o.ttc_s, o.ttc_sigma_s = distance / closing, 0.1 * distance / closing
    if calibrated:
        o.bearing, half = math.atan2(-position[1], position[0]), math.atan2(width / 2, distance)
        o.elevation = math.atan2(position[2], math.hypot(position[0], position[1]))
        o.sector = (o.bearing - half, o.bearing + half)
        o.rays = np.array([position] * 3, float) / distance
        if ranged:
            o.range_m, o.range_sigma_m, o.position = distance, 0.1 * distance, np.array(position, float)
            o.covariance = np.outer(position, position) * 0.01 + 0.01 * np.eye(3)
    return o
