"""Drone flights over a scene: named presets that give a camera for every moment."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from .camera import Camera, attitude, intrinsics
from .renderer import Frame, Renderer
from .scene import Instance, Motion, Scene
from .shutter import rolling

PRESETS = ("survey", "search", "approach", "recede", "hover")
TARGETS = ("Car", "Person", "Bicycle", "Wall", "Pole", "Tree", "Facade", "Fence", "Wire")
WIDE = ("Wall", "Facade", "Fence", "Wire")  # these stand across the way
TALL_TREES = (0, 1, 2, 4, 5, 6)  # styles of `models.tree` that are no bushes
BRAKE_AT = 1.0  # s of time to contact left when an approach brakes
PEOPLE_PX = (8.0, 260.0)  # size of the person that a hover looks at: from a search's farthest to an approach's nearest
PERSON = (1.7, 0.5)  # m, high and deep


@dataclass(frozen=True)
class Path:
    """position(t) -> (3,) m and angles(t) -> (yaw, tilt, roll) rad; hfov in radians."""

    position: Callable[[float], np.ndarray]
    angles: Callable[[float], tuple[float, float, float]]
    hfov: float

    def camera(self, t: float, width: int, height: int) -> Camera:
        step = 1e-4
        velocity = (self.position(t + step) - self.position(t - step)) / (2 * step)
        K = intrinsics(width, height, self.hfov)
        return Camera(K, width, height, self.position(t), attitude(*self.angles(t)), velocity)


class Flight:
    """A flight as a sequence of frames: `for frame in Flight("survey")`, or `flight.frame(i)` in any order.

    preset: survey (17-50 m, down or oblique), search (9-28 m, oblique), approach (low towards `target`, time
    to contact from about 6 s to 1 s, then it brakes or passes), recede (low, backwards from it), hover (stands anywhere
    from beside to above one person, whose size is drawn from PEOPLE_PX; something may hide them).
    size: (width, height) px. target: one of TARGETS, None draws one. ending: 'brake' or 'pass', None draws one.
    speed: m/s of an approach or its reverse, None draws it. depth, texture, masks: as of `Renderer`. houses: some
    stand there, whose roofs are seen. hot: as of `Scene`. readout_s: of a rolling shutter, from the first row to the
    last. vibration_deg: amplitude of fast turns about each axis, 20 to 60 Hz.
    Raises ValueError, in one sentence, for anything it does not know.
    """

    def __init__(
        self,
        preset: str,
        look: str = "thermal",
        size: tuple[int, int] = (640, 512),
        frames: int = 150,
        fps: float = 15.0,
        seed: int = 0,
        target: str | None = None,
        ending: str | None = None,
        speed: float | None = None,
        depth: bool = False,
        texture: float = 0.0,
        readout_s: float = 0.0,
        vibration_deg: float = 0.0,
        masks: bool = False,
        houses: bool = False,
        hot: bool = False,
    ):
        _check(preset, size, frames, fps, target, ending)
        self.preset, self.look, self.fps, self.seed = preset, look, float(fps), seed
        self.width, self.height = (int(v) for v in size)
        self._frames = int(frames)
        self.scene = Scene(seed, look, houses=houses, hot=hot)
        self.target: Instance | None = None
        rng = np.random.default_rng([seed, 5])
        if preset in ("survey", "search"):
            self.path = _orbit(rng, preset)
        elif preset == "hover":
            self.path, self.target = _hover(self.scene, rng, self.width)
        else:
            kind = target or str(rng.choice(TARGETS[:4]))
            duration = self._frames / self.fps
            self.path, self.target = _straight(self.scene, rng, preset, kind, ending, duration, speed)
        if vibration_deg:
            self.path = vibrating(self.path, np.random.default_rng([seed, 13]), np.radians(vibration_deg))
        self.readout_s = readout_s
        measured = depth or readout_s > 0
        self.renderer = Renderer(self.scene, self.width, self.height, seed, measured, texture, masks)

    def __len__(self) -> int:
        return self._frames

    def __iter__(self) -> Iterator[Frame]:
        return (self.frame(index) for index in range(self._frames))

    @property
    def K(self) -> np.ndarray:
        """Intrinsics (3, 3)."""
        return intrinsics(self.width, self.height, self.path.hfov)

    def camera(self, t: float) -> Camera:
        return self.path.camera(t, self.width, self.height)

    def frame(self, index: int) -> Frame:
        t = index / self.fps
        frame = self.renderer.render(self.camera(t), t)
        if self.readout_s and frame.depth is not None:
            frame = replace(frame, image=rolling(frame.image, frame.depth, self.camera, t, self.readout_s))
        return frame


def _check(preset, size, frames, fps, target, ending) -> None:
    if preset not in PRESETS:
        raise ValueError(f"flight {preset!r} is unknown: use one of {', '.join(PRESETS)}.")
    if target is not None and target not in TARGETS:
        raise ValueError(f"target {target!r} is unknown: use one of {', '.join(TARGETS)}.")
    if ending not in (None, "brake", "pass"):
        raise ValueError(f"ending {ending!r} is unknown: use brake or pass.")
    if len(size) != 2 or not all(32 <= v <= 4096 for v in size):
        raise ValueError(f"size {size} is not usable: give a width and a height of 32 to 4096 pixels.")
    if frames < 1 or not 0 < fps <= 1000:
        raise ValueError(
            f"{frames} frames at {fps} a second is not a flight: give at least 1 frame and 0 < fps <= 1000."
        )


def _shake(rng: np.random.Generator, strength: float) -> Callable[[float], np.ndarray]:
    """Small smooth disturbances of yaw, tilt and roll (rad) as a function of time."""
    phase, rate = rng.uniform(0, 2 * np.pi, (3, 3)), rng.uniform(0.3, 1.8, (3, 3))
    return lambda t: strength * np.sin(rate * t + phase).sum(axis=1)


def vibrating(path: Path, rng: np.random.Generator, amplitude: float) -> Path:
    """The path with fast turns about yaw, tilt and roll, of this amplitude (rad) each."""
    phase, rate = rng.uniform(0, 2 * np.pi, 3), 2 * np.pi * rng.uniform(20, 60, 3)

    def angles(t: float) -> tuple[float, float, float]:
        yaw, tilt, roll = np.array(path.angles(t)) + amplitude * np.sin(rate * t + phase)
        return yaw, tilt, roll

    return replace(path, angles=angles)


def _orbit(rng: np.random.Generator, preset: str) -> Path:
    """A wide circle, looking inwards of the way ahead, at a slowly changing height."""
    if preset == "survey":
        altitude, hfov = rng.uniform(20, 44), np.radians(rng.uniform(30, 46))
        tilt = np.radians(rng.uniform(80, 90) if rng.random() < 0.5 else rng.uniform(40, 75))
    else:
        altitude, hfov = rng.uniform(10, 24), np.radians(rng.uniform(38, 60))
        tilt = np.radians(rng.uniform(22, 55))
    ahead = min(altitude / np.tan(tilt), 40.0)
    radius, speed = rng.uniform(14, 28), rng.uniform(2.5, 5)
    start, sense, inward = rng.uniform(0, 2 * np.pi), rng.choice([-1, 1]), rng.uniform(0.2, 1.2)
    shake = _shake(rng, 0.006)
    pull = 0.5 * ahead if tilt < 1.2 else 0.0

    def angle(t: float) -> float:
        return start + sense * speed / radius * t

    def position(t: float) -> np.ndarray:
        a = angle(t)
        height = altitude * (1 + 0.15 * np.sin(0.15 * t + start))
        return np.array([(radius + 0.3 * pull) * np.cos(a), (radius + 0.3 * pull) * np.sin(a), height])

    def angles(t: float) -> tuple[float, float, float]:
        yaw, dip, roll = shake(t)
        return angle(t) + sense * (np.pi / 2 + inward) + yaw, min(tilt + dip, np.pi / 2), roll

    return Path(position, angles, hfov)


def _hover(scene: Scene, rng: np.random.Generator, width: int) -> tuple[Path, Instance]:
    """Standing where one of the scene's people is so and so large, and looking past them a little."""
    target = scene.instances[int(rng.choice([i for i, one in enumerate(scene.instances) if one.kind == "Person"]))]
    hfov, tilt, side = np.radians(rng.uniform(30, 66)), rng.uniform(0, np.pi / 2), rng.uniform(0, 2 * np.pi)
    px = float(np.exp(rng.uniform(*np.log(PEOPLE_PX))))
    seen = PERSON[0] * np.cos(tilt) + PERSON[1] * np.sin(tilt)  # m across the line of sight
    away = 0.5 * width / np.tan(hfov / 2) * seen / px
    ahead, foot = np.array([np.cos(side), np.sin(side)]), target.motion.at(0.0)[0]
    spot = np.append(foot - away * np.cos(tilt) * ahead, max(1.0, PERSON[0] / 2 + away * np.sin(tilt)))
    if (flat := away * np.cos(tilt)) > 3 and spot[2] < 6:  # low: nothing but the target stands right before the lens
        scene.clear(spot[:2], spot[:2] + 0.7 * (flat - 2) * ahead, 0.6, until=0.5)
    aside, shake = rng.uniform(-0.4, 0.4) * hfov, _shake(rng, 0.004)
    up = rng.uniform(-0.25, 0.25) * hfov

    def angles(t: float) -> tuple[float, float, float]:
        yaw, dip, roll = shake(t)
        return side + aside * np.cos(tilt) + yaw, float(np.clip(tilt + up + dip, 0, np.pi / 2)), roll

    return Path(lambda t: spot, angles, hfov), target


def _straight(
    scene: Scene,
    rng: np.random.Generator,
    preset: str,
    kind: str,
    ending: str | None,
    duration: float,
    wanted: float | None = None,
) -> tuple[Path, Instance]:
    """Along a cleared straight line towards (approach) or away from (recede) a target of `kind`."""
    heading = rng.uniform(0, 2 * np.pi)
    ahead = np.array([np.cos(heading), np.sin(heading)])
    spot = rng.uniform(-10, 10, 2)
    passes = preset == "approach" and (ending == "pass" or ending is None and kind not in WIDE and rng.random() < 0.3)
    altitude = {"Car": 1.8, "Wall": 1.8, "Pole": 2.2, "Wire": 2.0}.get(kind, 1.7) * rng.uniform(0.9, 1.3)
    altitude += 1.7 if kind == "Tree" else 0.0  # where the crown is
    drawn = rng.uniform(3.5, 5.5) if preset == "approach" else rng.uniform(2, 4)
    speed = drawn if wanted is None else wanted
    cruise = float(np.clip(0.7 * duration, 0.5, 5.0))
    reach = speed * (cruise + BRAKE_AT)
    scene.clear(spot - (reach + 4) * ahead, spot + 4 * ahead, 5.0 if passes else 1.5)
    turn = rng.choice([0, np.pi]) if kind in WIDE else rng.choice([0, np.pi / 2, np.pi, rng.uniform(0, 2 * np.pi)])
    style = int(rng.choice(TALL_TREES)) if kind == "Tree" else 3 if kind == "Bicycle" else None
    target = scene.add(kind, Motion(spot, heading + turn), style=style)
    assert target is not None  # without a clearance, add always adds
    corners = np.array(
        [target.low[:2], target.high[:2], [target.low[0], target.high[1]], [target.high[0], target.low[1]]]
    )
    face = float((corners @ [np.cos(-turn), np.sin(-turn)]).max()) if kind not in WIDE else target.high[0]
    side = (
        (1.6 + float(np.abs(corners).max() if kind in ("Car", *WIDE) else 0.0)) * rng.choice([-1, 1]) if passes else 0.0
    )
    across = np.array([-ahead[1], ahead[0]])
    shake = _shake(rng, 0.004)
    tilt = rng.uniform(0.03, 0.1)
    brake = 0.7 * speed * BRAKE_AT  # m to stop in, of the speed * BRAKE_AT that are left

    def way(t: float) -> float:
        """Metres flown towards the target's near face."""
        flown, rest = speed * min(t, cruise), t - cruise
        if passes or rest <= 0:
            return speed * t
        stop = 2 * brake / speed
        return flown + brake * (1 - (1 - min(rest / stop, 1)) ** 2)

    def position(t: float) -> np.ndarray:
        gap = face + (3.0 + speed * t if preset == "recede" else reach - way(t))
        return np.append(spot - gap * ahead + side * across, altitude)

    def angles(t: float) -> tuple[float, float, float]:
        yaw, dip, roll = shake(t)
        return heading + yaw, tilt + dip, roll

    return Path(position, angles, np.radians(rng.uniform(52, 66))), target
