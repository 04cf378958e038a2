"""People, cars, bicycles, poles, trees and walls on a plane, and what a camera sees of them: exact boxes, no painting.

World frame as in vehicle.py: z up, metres. The flight goes along +x.
"""

from dataclasses import dataclass

import numpy as np

from offline.render.camera import Camera

# Class indices of the detector; length, width and height in metres, and the spread of the whole size, relative.
PERSON, CAR, BICYCLE, POLE, TREE, WALL = range(6)
UNCLASSED = (POLE, TREE, WALL)  # no detector finds these
SIZES = {
    PERSON: ((0.5, 0.5, 1.7), 0.08),
    CAR: ((4.3, 1.8, 1.5), 0.08),
    BICYCLE: ((1.7, 0.5, 1.5), 0.12),
    POLE: ((0.3, 0.3, 4.0), 0.2),
    TREE: ((2.0, 2.0, 5.0), 0.2),
    WALL: ((0.3, 7.0, 3.0), 0.2),
}
HIDDEN = 0.7  # a box covered so far by a nearer one, or so far outside the image, is not seen
LEAST_PX = 10.0  # sqrt(w h) below which a detector finds nothing


@dataclass(frozen=True)
class Thing:
    """A box or, where `round`, a cylinder: size (length, width, height) m, at `start` (2,) m, moving at `velocity`."""

    kind: int
    start: np.ndarray
    size: np.ndarray
    velocity: np.ndarray
    yaw: float = 0.0

    @property
    def round(self) -> bool:
        return self.kind in (PERSON, POLE, TREE)

    def at(self, t: float) -> np.ndarray:
        return self.start + t * self.velocity

    def points(self, t: float) -> np.ndarray:
        """Points (n, 3) whose hull it is."""
        if self.round:
            angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
            rim = 0.5 * self.size[0] * np.column_stack([np.cos(angles), np.sin(angles)])
        else:
            sides = np.linspace(-0.5, 0.5, 5)
            rim = np.array([(x, y) for x in sides for y in (-0.5, 0.5)]) * self.size[:2]
            rim = rim @ _turn(self.yaw).T
        ground = rim + self.at(t)
        return np.vstack([np.column_stack([ground, np.full(len(rim), z)]) for z in (0.0, self.size[2])])

    def gap(self, position: np.ndarray, t: float) -> float:
        """Horizontal distance (m) of a point (2,) or (3,) from its outline; negative inside."""
        offset = position[:2] - self.at(t)
        if self.round:
            return float(np.linalg.norm(offset) - 0.5 * self.size[0])
        beyond = np.abs(_turn(self.yaw).T @ offset) - 0.5 * self.size[:2]
        return float(np.linalg.norm(np.maximum(beyond, 0)) + min(beyond.max(), 0.0))


def draw(rng: np.random.Generator, kind: int, start, velocity=(0.0, 0.0), yaw: float = 0.0) -> Thing:
    """A thing of `kind`, its size drawn about the mean of its kind, at least 70% of it."""
    mean, spread = SIZES[kind]
    size = np.array(mean) * max(0.7, 1 + spread * rng.normal())
    return Thing(kind, np.array(start, float), size, np.array(velocity, float), yaw)


def street(
    rng: np.random.Generator, speed: float, kinds=(PERSON, CAR, BICYCLE), bystanders: int = 3, moving: float = 0.3
) -> list[Thing]:
    """One thing in the way, 35 to 55 m ahead, and bystanders 3.5 to 10 m beside it; a part of the first ones moves.

    speed: of the vehicle in m/s, so that what crosses is in the way when the vehicle would come by.
    """
    things = []
    ahead, side = rng.uniform(35, 55), rng.uniform(-0.6, 0.6)
    kind = int(rng.choice(kinds))
    yaw = rng.choice([0.0, np.pi / 2, rng.uniform(0, 2 * np.pi)])
    if rng.random() < moving and kind not in UNCLASSED:
        pace = rng.uniform(0.7, 1.8)
        heading = rng.choice([np.pi / 2, -np.pi / 2, np.pi])  # crosses, or comes towards the vehicle
        velocity = pace * np.array([np.cos(heading), np.sin(heading)])
        things.append(draw(rng, kind, np.array([ahead, side]) - velocity * ahead / speed, velocity, heading))
    else:
        things.append(draw(rng, kind, (ahead, side), yaw=yaw))
    for _ in range(bystanders):
        place = (rng.uniform(8, 60), rng.choice([-1, 1]) * rng.uniform(3.5, 10))
        things.append(draw(rng, int(rng.choice(kinds)), place, yaw=rng.uniform(0, 2 * np.pi)))
    return things


def boxes(things: list[Thing], camera: Camera, t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the detector may find, nearest first: boxes (n, 4) px, classes (n,), indices into `things` (n,)."""
    found = []
    for index, thing in enumerate(things):
        if thing.kind in UNCLASSED:
            continue
        pixels, depth = camera.project(thing.points(t))
        if (depth < 0.1).any() or depth.min() > 80:  # partly behind the camera: it is being hit
            continue
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        whole = float(np.prod(high - low))
        low, high = np.maximum(low, 0), np.minimum(high, [camera.width, camera.height])
        if (high <= low).any() or np.prod(high - low) < max((1 - HIDDEN) * whole, LEAST_PX**2):
            continue
        found.append((float(depth.min()), np.concatenate([low, high]), thing.kind, index))
    found.sort(key=lambda f: f[0])
    seen: list = []
    for entry in found:
        if all(_covered(entry[1], nearer[1]) < HIDDEN for nearer in seen):
            seen.append(entry)
    rows = np.array([s[1] for s in seen]).reshape(-1, 4)
    return rows, np.array([s[2] for s in seen], int), np.array([s[3] for s in seen], int)


def _covered(box: np.ndarray, by: np.ndarray) -> float:
    overlap = np.maximum(np.minimum(box[2:], by[2:]) - np.maximum(box[:2], by[:2]), 0)
    return float(np.prod(overlap) / max(np.prod(box[2:] - box[:2]), 1e-9))


def _turn(yaw: float) -> np.ndarray:
    return np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
