"""What the node tells by motion of things without a class, where there are no images: in `MotionObstacles`' place.

How often it finds a thing in an image and how well it knows its distance are those of textured rendered approaches at
2 to 6 m/s and 15 images a second (24 flights of bench/parts/unclassed_flights.py, seeds 1000 to 1005): flat things are
found far less. What it tells for nothing is not here: bench/unclassed.py counts that.
"""

from math import atan2, exp, sqrt

import numpy as np

from offline.simulate.vehicle import Vehicle
from offline.simulate.world import POLE, TREE, WALL, Thing
from vit_perception.avoidance.geometry import norm
from vit_perception.motion_obstacles.watcher import STANDS, WATCHING, MotionObstacles

TTC_S = [1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4.5]  # middles of what was measured; farther away, nothing is told
# Part of the images in which it is found.
FOUND = {
    WALL: [1.0, 1.0, 1.0, 1.0, 1.0, 0.93, 0.64],
    POLE: [0.79, 0.71, 0.48, 0.36, 0.24, 0.19, 0.19],
    TREE: [1.0, 1.0, 1.0, 1.0, 0.96, 0.80, 0.66],
}
ERROR = [0.04, 0.04, 0.05, 0.07, 0.09, 0.12, 0.12]  # standard deviation of the distance's logarithm, and what is told
STAYS = 0.72  # of what makes it found or not, from image to image
KEEPS = exp(-1 / 4)  # of its error: images are compared over four
FARTHEST_S = 5.0


class SimulatedMotion(MotionObstacles):
    """`see`, then `update`, for every image."""

    def __init__(self, things: list[Thing], rng: np.random.Generator):
        super().__init__(enabled=True)
        self._things = [x for x in things if x.kind in FOUND]
        self._rng = rng
        self._found = [False] * len(self._things)
        self._errors = rng.normal(size=len(self._things))
        self._vehicle, self._t, self._last = Vehicle(), 0.0, 0.0

    def see(self, vehicle: Vehicle, t: float) -> None:
        """The truth at the next image."""
        self._vehicle, self._t = vehicle, t

    def update(self, image, order, stamp_s, camera, mount, ego, boxes, half_width_m, half_height_m):
        """As `MotionObstacles.update`; it looks at the things instead of the image."""
        if not self.enabled:
            return []
        velocity = np.zeros(3) if ego is None or ego.velocity is None else ego.velocity
        turning = np.zeros(3) if ego is None or ego.angular_velocity is None else ego.angular_velocity
        self.followed.move(self._t - self._last, velocity, turning, mount.rotation[:, 2])
        self._last, speed = self._t, norm(velocity)
        if speed < self.min_speed_mps or ego is None:
            self.followed.wait(True)
            self.state = STANDS
        else:
            self.followed.correct(self._found_in(camera, half_width_m), stamp_s, speed)
            self.state = WATCHING
        return self.followed.obstacles(velocity, True, half_width_m)

    def _found_in(self, camera, half_width_m) -> list:
        seen = []
        for k, thing in enumerate(self._things):
            to_body = self._vehicle.body_to_world.T
            points = (thing.points(self._t) - self._vehicle.position) @ to_body.T
            course = to_body @ self._vehicle.velocity
            speed = norm(course)
            course = course / max(speed, 1e-6)
            ahead = points @ course
            side = np.cross(course, [0.0, 0.0, 1.0])
            aside = points @ side
            far = float(ahead.min())
            ttc = far / max(speed, 0.1)
            left, right = camera.field_of_view()
            looked = left < atan2(-course[1], course[0]) < right and far > 0.3 and ttc < FARTHEST_S
            meets = aside.min() < half_width_m and aside.max() > -half_width_m
            chance = float(np.interp(ttc, TTC_S, FOUND[thing.kind])) if looked and meets else 0.0
            stays = STAYS + (1 - STAYS) * chance if self._found[k] else (1 - STAYS) * chance
            self._found[k] = bool(chance and self._rng.random() < stays)
            self._errors[k] = KEEPS * self._errors[k] + sqrt(1 - KEEPS**2) * self._rng.normal()
            if self._found[k]:
                part = float(np.interp(ttc, TTC_S, ERROR))
                low, high = max(aside.min(), -half_width_m), min(aside.max(), half_width_m)
                place = far * exp(part * self._errors[k]) * (course + 0.5 * (low + high) / far * side)
                half_rad = max(atan2(0.5 * (high - low), far), 0.01)
                seen.append((place, part, half_rad, np.array([300, 200, 340, 300], np.float32)))
        return sorted(seen, key=lambda s: norm(s[0]))[:3]
