"""A box seen from the vehicle: its rays, angular size and slopes. Frames and bearings as in obstacles.py."""

import math

import numpy as np

from .contact import angular_size
from .geometry import norm, wrap

MOVES_MPS = 1.0  # slower than this, the velocity says nothing of where the vehicle is heading
STEEP = 0.1  # horizontal part of a ray that looks so steeply up or down that it has no bearing


class BoxView:
    """One box seen from the vehicle.

    Attributes:
        mount (Mount): of the camera. heading (3,): unit vector of where the vehicle is going, in base_link.
        rays (9, 3): unit vectors in base_link to its centre, the middles of the left, right, upper and lower edge, and
            the corners. slopes (list of 9): theirs against gravity, negative below the horizon.
        wide, tall: angular size, as `vit_perception.avoidance.contact.angular_size` tells it.
    """

    __slots__ = ("mount", "heading", "rays", "wide", "tall", "slopes")

    def __init__(self, mount, heading, rays, wide, tall, slopes):
        self.mount, self.heading, self.rays = mount, heading, rays
        self.wide, self.tall, self.slopes = wide, tall, slopes

    def direction(self):
        """(bearing, elevation, sector)."""
        forward, left, up = self.rays[0].tolist()
        bearing, elevation = math.atan2(-left, forward), math.atan2(up, math.hypot(forward, left))
        flat = np.hypot(self.rays[:, 0], self.rays[:, 1])
        if flat.min() < STEEP:
            return bearing, elevation, (bearing - math.pi, bearing + math.pi)
        aside = [wrap(a - bearing) for a in np.arctan2(-self.rays[1:, 1], self.rays[1:, 0]).tolist()]
        return bearing, elevation, (bearing + min(aside), bearing + max(aside))

    def height(self, ego):
        """Of the camera above the ground, metres; None where that, or the attitude, is not known."""
        if ego is None or ego.level is None or ego.height_m is None:
            return None
        return ego.height_m + float(ego.level[2].dot(self.mount.translation))

    def angle_sigma(self, pixels, sigma_px, sigma):
        """Standard deviation of the box's centre, radians."""
        return math.sqrt(self.wide * self.tall) * math.hypot(sigma, sigma_px / pixels)


def views_of(boxes, camera, mount, ego):
    """One BoxView for each box (n, 4) of an image of `camera` on `mount`; ego None: level, going where it looks."""
    x1, y1, x2, y2 = boxes.T
    u, v = 0.5 * (x1 + x2), 0.5 * (y1 + y2)
    points = [(u, v), (x1, v), (x2, v), (u, y1), (u, y2), (x1, y1), (x2, y1), (x1, y2), (x2, y2)]
    rays = camera.rays(np.array(points).transpose(2, 0, 1).reshape(-1, 2))
    rays = (rays / np.sqrt((rays * rays).sum(axis=1))[:, None]).dot(mount.rotation.T).reshape(len(boxes), 9, 3)
    wide, tall = angular_size(rays[:, 1], rays[:, 2]), angular_size(rays[:, 3], rays[:, 4])
    level = None if ego is None else ego.level
    upright = rays if level is None else rays.dot(np.transpose(level))
    slopes = upright[:, :, 2] / np.maximum(np.hypot(upright[:, :, 0], upright[:, :, 1]), 1e-6)
    heading = _heading(mount, ego)
    return [BoxView(mount, heading, *values) for values in zip(rays, wide.tolist(), tall.tolist(), slopes.tolist())]


def _heading(mount, ego):
    """The velocity's direction, or the optical axis if it is unknown."""
    if ego is not None and ego.velocity is not None:
        speed = norm(ego.velocity)
        if speed > MOVES_MPS:
            return ego.velocity / speed
    return mount.rotation[:, 2]
