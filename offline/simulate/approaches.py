"""Random flights through rendered scenes, with exact truth but without painting: approaches, and flights that approach
nothing.

    for view in approach(seed):
        view.stamp_s, view.boxes, view.truths, view.ego

World and truth are those of offline.render: the box is that of the projected mesh, time to contact and depth are
`Truth.ttc_s` and `Truth.depth_m`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from offline.render import CLASSES, Camera, Motion, Scene, attitude, intrinsics
from offline.render.scene import Pose
from vit_perception.avoidance.geometry import Ego, Mount, level_from_rotation

SIZE = (640, 512)  # px
NEAR, FAR = 0.15, 120.0  # m
LEAST_PX, HIDDEN = 8.0, 0.7  # smaller, or hidden or cut off to a larger part: the detector finds nothing
STANDSTILL = 0.02  # m/s, as in offline.render.renderer
QUIET = ("hover", "climb", "yaw")


@dataclass(frozen=True)
class Seen:
    """What is true of one object: its pose's id, class, box (4,) px clipped to the image.

    depth_m: smallest depth of its bounding box along the optical axis; ttc_s: depth over its rate; range_m: horizontal
    distance of the nearest point of its bounding box's outline; centre_m: that of its middle.
    """

    track_id: int
    class_index: int
    box: np.ndarray
    depth_m: float
    ttc_s: float
    range_m: float
    centre_m: float


@dataclass(frozen=True)
class View:
    """One frame of a flight. ego: what the vehicle knows of itself, with its errors; mount: of its camera."""

    stamp_s: float
    truths: list[Seen]
    camera: Camera
    ego: Ego
    mount: Mount

    @property
    def boxes(self) -> np.ndarray:
        return np.array([t.box for t in self.truths]).reshape(-1, 4)

    @property
    def classes(self) -> np.ndarray:
        return np.array([t.class_index for t in self.truths], int)

    @property
    def ids(self) -> list[int]:
        return [t.track_id for t in self.truths]


@dataclass(frozen=True)
class Approach:
    """A straight flight into `target` (its id) at `speed` m/s; views are drawn at `fps` a second."""

    speed: float
    fps: float
    target: int
    views: Iterator[View]
    K: np.ndarray


def approach(seed: int, look: str = "thermal") -> Approach:
    """2 to 10 m/s, 10 to 30 Hz, 8 s to contact at the most, towards a person, a car or a bicycle, until contact."""
    rng = np.random.default_rng([seed, 77])
    scene = Scene(seed, look, density=0.5)
    speed, fps, kind = rng.uniform(2, 10), rng.uniform(10, 30), str(rng.choice(CLASSES))
    heading = rng.uniform(0, 2 * np.pi)
    ahead = np.array([np.cos(heading), np.sin(heading)])
    spot = rng.uniform(-10, 10, 2)
    reach = speed * rng.uniform(6.5, 8.0)
    scene.clear(spot - (reach + 4) * ahead, spot + 4 * ahead, 2.0)
    turn = rng.choice([0, np.pi / 2, np.pi, rng.uniform(0, 2 * np.pi)])
    target = scene.add(kind, Motion(spot, heading + turn))
    assert target is not None  # without a clearance, add always adds
    height = rng.uniform(0.5, 0.9) * target.high[2]  # higher, and it would fly over it
    start = np.append(spot - (reach + target.radius) * ahead, height)
    shake, tilt = _shake(rng, 0.006), rng.uniform(0.0, 0.1)

    def pose(t: float) -> tuple[np.ndarray, tuple[float, float, float]]:
        yaw, dip, roll = shake(t)
        return start + np.append(speed * t * ahead, 0.0), (heading + yaw, tilt + dip, roll)

    hfov = np.radians(rng.uniform(52, 66))
    views = _fly(scene, rng, pose, fps, (reach + target.radius) / speed, hfov, tilt, target.track_id)
    return Approach(speed, fps, target.track_id, views, intrinsics(*SIZE, hfov))


def quiet(kind: str, seed: int, duration: float = 20.0, look: str = "thermal") -> tuple[np.ndarray, Iterator[View]]:
    """K and views of a flight that comes near nothing: one of QUIET. 5 to 20 m up, people and traffic passing below."""
    rng = np.random.default_rng([seed, 78])
    scene = Scene(seed, look, density=0.7)
    fps, spot, heading = rng.uniform(10, 30), rng.uniform(-15, 15, 2), rng.uniform(0, 2 * np.pi)
    height, tilt, shake = rng.uniform(5, 20), np.radians(rng.uniform(10, 45)), _shake(rng, 0.006)
    climb = rng.uniform(1, 3) if kind == "climb" else 0.0
    rate = rng.choice([-1, 1]) * np.radians(60) if kind == "yaw" else 0.0

    def pose(t: float) -> tuple[np.ndarray, tuple[float, float, float]]:
        yaw, dip, roll = shake(t)
        return np.append(spot, height + climb * t), (heading + rate * t + yaw, tilt + dip, roll)

    hfov = np.radians(rng.uniform(52, 66))
    return intrinsics(*SIZE, hfov), _fly(scene, rng, pose, fps, duration, hfov, tilt)


def _fly(scene, rng, pose, fps, duration, hfov, tilt, target=None) -> Iterator[View]:
    """Views at irregular stamps, a tenth of the frames lost; ends at contact with `target`."""
    tilted = np.radians(rng.normal(0, 1.0, 2))  # what the attitude is off by
    bias = rng.normal(0, 0.3), rng.normal(0, 0.1, 3)  # of height (m) and velocity (m/s)
    mount, t = Mount.from_angles(pitch_deg=-np.degrees(tilt)), 0.0
    while t < duration:
        camera = _camera(pose, t, hfov)
        truths = [s for p in scene.poses(t) if (s := _see(p, camera, t)) is not None]
        yield View(t, _visible(truths), camera, _ego(pose, t, camera, mount, tilted, bias), mount)
        t += max(rng.uniform(0.8, 1.2), 0.1) / fps * (2 if rng.random() < 0.1 else 1)
        if target is not None and _touches(scene, target, pose(t)[0], t):
            return


def _camera(pose, t: float, hfov: float) -> Camera:
    velocity = (pose(t + 1e-4)[0] - pose(t - 1e-4)[0]) / 2e-4
    position, angles = pose(t)
    return Camera(intrinsics(*SIZE, hfov), *SIZE, position, attitude(*angles), velocity)


def _ego(pose, t: float, camera: Camera, mount: Mount, tilted, bias) -> Ego:
    """Of a vehicle whose base_link sits in the camera, level but for the shaking."""
    to_world = camera.rotation.T @ mount.rotation.T  # base_link -> world
    later = attitude(*pose(t + 1e-3)[1]).T @ mount.rotation.T
    turn = (to_world.T @ later - np.eye(3)) / 1e-3
    rates = np.array([turn[2, 1], turn[0, 2], turn[1, 0]])
    off = np.array([[1, 0, tilted[0]], [0, 1, tilted[1]], [-tilted[0], -tilted[1], 1.0]])
    velocity = to_world.T @ camera.velocity + bias[1]
    return Ego(velocity, rates, off @ level_from_rotation(to_world), float(camera.position[2]) + bias[0], t)


def _see(pose: Pose, camera: Camera, t: float) -> Seen | None:
    """The object's truth, None if it cannot be seen as a whole object of a known class."""
    instance = pose.instance
    line = pose.centre - camera.position
    depth, reach = float(camera.rotation[2] @ line), float(np.hypot(line[0], line[1]))
    if instance.kind not in CLASSES or depth < 0.3 or reach > FAR:
        return None
    if np.linalg.norm(line - depth * camera.rotation[2]) > depth + 2 * instance.radius:  # far outside the view
        return None
    axis = camera.rotation[2]
    near = depth - float(np.abs(axis @ pose.rotation) @ (0.5 * (instance.high - instance.low)))
    pixels, depths = camera.project(instance.mesh(t).vertices @ pose.rotation.T + pose.position)
    if depths.min() < NEAR:
        return None
    # The renderer's boxes count pixel edges: a pixel's centre is half a pixel from them.
    low, high = pixels.min(axis=0) + 0.5, pixels.max(axis=0) + 0.5
    box = np.concatenate([np.maximum(low, 0), np.minimum(high, SIZE)])
    sides = box[2:] - box[:2]
    if (sides <= 0).any() or np.prod(sides) < max((1 - HIDDEN) * np.prod(high - low), LEAST_PX**2):
        return None
    closing = -float(axis @ (pose.velocity - camera.velocity))
    ttc = near / closing if closing > STANDSTILL and near > 0 else float("inf")
    return Seen(pose.track_id, CLASSES.index(instance.kind), box, near, ttc, _gap(pose, camera.position), reach)


def _gap(pose: Pose, position: np.ndarray) -> float:
    """Horizontal distance of a point from the outline of the object's bounding box; 0 inside."""
    low, high = pose.instance.low[:2], pose.instance.high[:2]
    eye = ((position - pose.position) @ pose.rotation)[:2]
    return float(np.linalg.norm(eye - np.clip(eye, low, high)))


def _visible(truths: list[Seen]) -> list[Seen]:
    """Those that no single nearer object hides."""
    seen: list[Seen] = []
    for one in sorted(truths, key=lambda s: s.depth_m):
        area = np.prod(one.box[2:] - one.box[:2])
        overlaps = [np.minimum(one.box[2:], s.box[2:]) - np.maximum(one.box[:2], s.box[:2]) for s in seen]
        if all(np.prod(np.maximum(o, 0)) < HIDDEN * area for o in overlaps):
            seen.append(one)
    return seen


def _touches(scene: Scene, target: int, position: np.ndarray, t: float) -> bool:
    pose = next(p for p in scene.poses(t) if p.instance.track_id == target)
    return _gap(pose, position) <= 0.05


def _shake(rng: np.random.Generator, strength: float):
    """Small smooth disturbances of yaw, tilt and roll (rad) as a function of time."""
    phase, rate = rng.uniform(0, 2 * np.pi, (3, 3)), rng.uniform(0.3, 1.8, (3, 3))
    return lambda t: strength * np.sin(rate * t + phase).sum(axis=1)
