"""A scene: the ground, and instances of models that stand or move on it as functions of time.

Nothing keeps state between calls: a pose is a function of t (s), so a scene can be stepped, replayed and read
anywhere.
"""

import math
from dataclasses import dataclass

import numpy as np

from .ground import Ground, Layout, Road, draw_layout
from .mesh import Mesh
from .models import Model, library
from .palette import LOOKS, Climate, draw_climate, object_levels

CLASSES = ("Person", "Car", "Bicycle")  # what a detector learns; every other kind is clutter or an obstacle
REACH = 42.0  # objects stand within this many metres of the origin
SPAN = 160.0  # m; what moves along a road starts again after this way


@dataclass(frozen=True)
class Motion:
    """From `start` (2,) m with heading yaw (rad) at speed (m/s), turning at turn_rate (rad/s); wraps on
    straight roads.
    """

    start: np.ndarray
    yaw: float
    speed: float = 0.0
    turn_rate: float = 0.0
    wraps: bool = False

    def at(self, t: float) -> tuple[np.ndarray, float, int]:
        """Position (2,), heading and lap number at time t."""
        if self.speed == 0:
            return self.start, self.yaw, 0
        if self.turn_rate:
            yaw, radius = self.yaw + self.turn_rate * t, self.speed / self.turn_rate
            arc = np.array([math.sin(yaw) - math.sin(self.yaw), math.cos(self.yaw) - math.cos(yaw)])
            return self.start + radius * arc, yaw, 0
        way = self.speed * t
        lap = math.floor((way + SPAN / 2) / SPAN) if self.wraps else 0
        return self.start + (way - lap * SPAN) * np.array([math.cos(self.yaw), math.sin(self.yaw)]), self.yaw, lap


class Instance:
    """One object: `model` is its meshes over one stride, stretched by scale (3,); levels its palette
    (materials, C).

    low, high (3,) bound it in its own frame over the whole stride; radius (m) is that of a sphere about its
    middle.
    """

    def __init__(self, track_id: int, kind: str, model: Model, scale: np.ndarray, levels: np.ndarray, motion: Motion):
        self.track_id, self.kind, self.levels, self.motion = track_id, kind, levels, motion
        self.low, self.high = model.low * scale, model.high * scale
        self.middle = 0.5 * (self.low + self.high)
        self.radius = float(np.linalg.norm(self.high - self.middle))
        self._model, self._scale = model, scale
        self._cadence = motion.speed / (1.5 if kind == "Person" else 4.5)  # strides, or turns of the pedals, a second
        self._meshes: dict[int, Mesh] = {}
        self._rest = self._pose(0.0) if motion.speed == 0 else None

    def mesh(self, t: float) -> Mesh:
        count = len(self._model.poses)
        index = int((t * self._cadence + 0.37 * self.track_id) * count) % count
        if index not in self._meshes:
            self._meshes[index] = self._model.poses[index].scaled(self._scale)
        return self._meshes[index]

    def pose(self, t: float) -> "Pose":
        return self._rest or self._pose(t)

    def _pose(self, t: float) -> "Pose":
        position, yaw, lap = self.motion.at(t)
        sin, cos = math.sin(yaw), math.cos(yaw)
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
        foot = np.append(position, 0.0)
        return Pose(
            self,
            foot,
            turn,
            self.motion.speed * turn[:, 0],
            self.track_id + 1000 * lap,
            foot + turn @ self.middle,
        )


@dataclass(frozen=True)
class Pose:
    """Where an instance is: position (3,) m of its foot, rotation (3, 3) own frame to world, velocity (3,)
    m/s.
    """

    instance: Instance
    position: np.ndarray
    rotation: np.ndarray
    velocity: np.ndarray
    track_id: int
    centre: np.ndarray


class Scene:
    """Ground and instances of one place in one look. The same seed gives the same geometry in both looks.

    density scales how many objects stand there; 0 leaves the ground bare, for scenes built by `add` alone.
    houses: some stand there too; it is another scene then. hot: its ground is as warm as people or warmer (palette.py).
    Raises ValueError for an unknown look.
    """

    def __init__(self, seed: int, look: str = "thermal", density: float = 1.0, houses: bool = False, hot: bool = False):
        if look not in LOOKS:
            raise ValueError(f"look {look!r} is unknown: use one of {', '.join(LOOKS)}.")
        self.look = look
        self._rng, self._colour_rng = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2])
        self.layout: Layout = draw_layout(self._rng)
        self.climate: Climate = draw_climate(look, self._colour_rng, hot)
        self.ground = Ground(self.layout, self.climate, seed)
        self.instances: list[Instance] = []
        self._taken: list[tuple[float, float, float]] = []
        self._count = 0
        if houses:
            _houses(self, self._rng)
        _populate(self, self._rng, density)

    def poses(self, t: float) -> list[Pose]:
        return [instance.pose(t) for instance in self.instances]

    def add(
        self, kind: str, motion: Motion, clearance: float | None = None, style: int | None = None
    ) -> Instance | None:
        """Add an object of `kind`; with a clearance (m), only if nothing stands so close, else None."""
        x, y = float(motion.start[0]), float(motion.start[1])
        if clearance is not None and self._taken:
            taken = np.array(self._taken)
            if (np.hypot(x - taken[:, 0], y - taken[:, 1]) < clearance + taken[:, 2]).any():
                return None
        models = library()[kind]
        pick = int(self._rng.integers(len(models)))
        size = self._rng.uniform(0.92, 1.1) if kind in CLASSES else self._rng.uniform(0.75, 1.35)
        scale = size * self._rng.uniform(0.95, 1.05, 3)
        if kind == "Wall":
            scale[1] = self._rng.uniform(0.4, 1.5)
        self._count += 1
        model = models[pick if style is None else style % len(models)]
        levels = object_levels(kind, motion.speed > 0, self.climate, self._colour_rng)
        instance = Instance(self._count, kind, model, scale, levels, motion)
        self.instances.append(instance)
        half = 0.5 * (instance.high - instance.low)
        if kind == "Wall":
            along = np.array([-np.sin(motion.yaw), np.cos(motion.yaw)])
            for s in np.linspace(-half[1], half[1], 5):
                self._taken.append((*(motion.start + s * along), half[1] / 4))
        else:
            self._taken.append((x, y, float(max(half[0], half[1])) if kind in ("Car", "House") else 0.4))
        return instance

    def clear(self, start: np.ndarray, stop: np.ndarray, width: float, until: float = 12.0) -> None:
        """Remove every object that comes within `width` metres of the segment start..stop (2,) by the time
        `until` (s).
        """
        way = stop - start
        times = np.arange(0, until, 0.5)

        def gap(instance: Instance) -> float:
            moments = times if instance.motion.speed else times[:1]
            points = np.stack([instance.motion.at(t)[0] for t in moments])
            s = np.clip((points - start) @ way / (way @ way), 0, 1)
            least = float(np.linalg.norm(points - start - s[:, None] * way, axis=1).min())
            return least - (instance.radius if instance.kind == "House" else min(instance.radius, 5.0))

        self.instances = [instance for instance in self.instances if gap(instance) > width]


def _populate(scene: Scene, rng: np.random.Generator, density: float) -> None:
    def count(low: int, high: int) -> int:
        return int(round(density * rng.integers(low, high + 1)))

    if density <= 0:
        return
    road = scene.layout.roads[0]
    for lot in scene.layout.lots:
        _park(scene, lot, rng)
    for _ in range(count(4, 9)):
        _anywhere(scene, "Wall", rng, 5.0)
    for side in (-1, 1):
        kind = str(rng.choice(["Tree", "Tree", "Pole"]))
        for s in np.arange(-REACH, REACH, rng.uniform(7, 14)):
            at = road.at(s + rng.uniform(-1, 1), side * (road.width / 2 + 1.2))
            scene.add("Pole" if rng.random() < 0.25 else kind, Motion(at, road.yaw + side * np.pi / 2), 1.0)
    for _ in range(count(10, 24)):
        _anywhere(scene, "Car", rng, 2.8)
    for _ in range(count(6, 10)):
        _rack(scene, rng)
    for _ in range(count(12, 30)):
        _anywhere(scene, "Tree", rng, 2.0)
    for _ in range(count(8, 16)):
        _anywhere(scene, "Clutter", rng, 0.8)
    for _ in range(count(3, 6)):
        _anywhere(scene, "Pole", rng, 0.5)
    _traffic(scene, rng, density)
    for _ in range(count(20, 32)):
        _group(scene, rng)
    for _ in range(count(12, 22)):
        _cycle(scene, rng)


def _houses(scene: Scene, rng: np.random.Generator) -> None:
    """Up to five houses along the first road's directions, off every road and parking lot."""
    for _ in range(int(rng.integers(2, 6))):
        point = rng.uniform(-REACH, REACH, 2)
        roads = all(abs((point - r.point) @ r.left) > r.width / 2 + 7 for r in scene.layout.roads)
        lots = all(np.linalg.norm(point - lot.at(lot.width / 2, 0)) > lot.width / 2 + 9 for lot in scene.layout.lots)
        if roads and lots:
            yaw = scene.layout.roads[0].yaw + int(rng.integers(4)) * np.pi / 2
            scene.add("House", Motion(point, yaw), 8.0)


def _anywhere(scene: Scene, kind: str, rng: np.random.Generator, clearance: float) -> None:
    road = scene.layout.roads[0]
    yaw = rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else road.yaw + rng.integers(4) * np.pi / 2
    for _ in range(4):
        point = rng.uniform(-REACH, REACH, 2)
        beside = all(abs((point - r.point) @ r.left) > r.width / 2 + 1.5 for r in scene.layout.roads)
        if beside and scene.add(kind, Motion(point, yaw), clearance):
            return


def _park(scene: Scene, lot: Road, rng: np.random.Generator) -> None:
    for k in range(int(round(lot.width / 2.7))):
        if rng.random() < 0.7:
            yaw = lot.yaw + np.pi / 2 + rng.normal(0, 0.03) + np.pi * rng.integers(2)
            scene.add("Car", Motion(lot.at(2.7 * (k + 0.5), rng.uniform(-0.4, 0.4)), yaw))


def _rack(scene: Scene, rng: np.random.Generator) -> None:
    """A row of parked bicycles side by side."""
    row = Road(rng.uniform(-REACH, REACH, 2), rng.uniform(0, np.pi), 0.0)
    lean = rng.uniform(-0.4, 0.4)
    for k in range(rng.integers(1, 7)):
        at = row.at(k * rng.uniform(0.65, 0.9), rng.uniform(-0.1, 0.1))
        scene.add("Bicycle", Motion(at, row.yaw + np.pi / 2 + lean), 0.15, style=3 * int(rng.integers(4)))


def _traffic(scene: Scene, rng: np.random.Generator, density: float) -> None:
    """Cars and bicycles that keep to the right of their road, spaced along each lane."""
    for road in scene.layout.roads:
        for sign in (-1, 1):
            heading = road.yaw + (0 if sign < 0 else np.pi)
            speed = rng.uniform(5, 11)
            for s in np.arange(-SPAN / 2, SPAN / 2, rng.uniform(14, 30) / max(density, 0.1)):
                at = road.at(s + rng.uniform(-3, 3), sign * road.width / 4)
                scene.add("Car", Motion(at, heading, speed, wraps=True), 4.0)
            speed = rng.uniform(3, 5)
            for s in np.arange(-SPAN / 2, SPAN / 2, rng.uniform(12, 30) / max(density, 0.1)):
                at = road.at(s + rng.uniform(-4, 4), sign * (road.width / 2 - 0.6))
                style = int(rng.choice([1, 2, 4, 5, 7, 8, 10, 11]))
                scene.add("Bicycle", Motion(at, heading, speed, wraps=True), 0.8, style=style)


def _group(scene: Scene, rng: np.random.Generator) -> None:
    """One to five people who stand together or walk the same way."""
    centre, yaw = rng.uniform(-REACH, REACH, 2), rng.uniform(0, 2 * np.pi)
    speed = rng.uniform(0.7, 1.7) if rng.random() < 0.65 else 0.0
    rate = rng.choice([-1, 1]) * rng.uniform(0.03, 0.15)
    for _ in range(rng.integers(1, 6)):
        at = centre + rng.normal(0, 1.1, 2)
        turn = yaw + rng.normal(0, 0.15) if speed else rng.uniform(0, 2 * np.pi)
        scene.add("Person", Motion(at, turn, speed, rate if speed else 0.0), 0.25)


def _cycle(scene: Scene, rng: np.random.Generator) -> None:
    """A rider on a wide circle, away from the roads."""
    motion = Motion(rng.uniform(-REACH, REACH, 2), rng.uniform(0, 2 * np.pi), rng.uniform(2, 5), rng.uniform(-0.2, 0.2))
    scene.add("Bicycle", motion, 0.6, style=int(rng.choice([1, 2, 4, 5, 7, 8, 10, 11])))
