"""Rendered flights with exact depth for bench/unclassed.py: approaches to what has no class, and flights past nothing.

Truth of a frame is the time until the vehicle, flying straight on, reaches the nearest thing in its way: the 12th
nearest pixel of a corridor 1.8 m wide and 1.5 m high along the true velocity, every second pixel of a 640 x 512 image.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from offline.render import Camera, Flight, Renderer, Scene
from offline.render import Frame as Rendered
from offline.render.flight import Path, vibrating

FPS, SLOW_FPS = 15.0, 10.0  # of approaches, and of the flights that meet nothing
FROM_S, UNTIL_S = 5.0, 1.0  # to contact with the target: what is rendered of an approach
HALF_WIDTH_M, HALF_HEIGHT_M, LEAST_PIXELS = 0.9, 0.75, 12
TEXTURE = {"thermal": 14.0, "color": 22.0}  # grey levels, 2 sigma
# A detector gives the boxes of objects of which so much is visible, and sqrt(w h) in pixels of a 640 x 512 image is at
# least this (offline/simulate/world.py).
SEEN, LEAST_PX = 0.3, 10.0
LOW = ("low", "past", "yawing")
NEGATIVES = (*LOW, "turn", "hover", "survey", "search", "climb", "descent")


@dataclass(frozen=True)
class Frame:
    """image uint8 (H, W), its stamp, boxes (n, 4) px of people, cars and bicycles, and the true time to contact."""

    image: np.ndarray
    stamp_s: float
    boxes: np.ndarray
    ttc_s: float


@dataclass(frozen=True)
class Sequence:
    """A flight. camera_at: t -> the camera, for sensors (`EgoSensors`)."""

    camera_at: Callable[[float], Camera]
    fps: float
    frames: Iterator[Frame]


def approach(
    seed: int,
    kind: str,
    look: str,
    textured: bool,
    size=(320, 256),
    readout_s: float = 0.0,
    vibration_deg: float = 0.0,
) -> Sequence:
    """Towards a thing that has no class, at 2 to 6 m/s, from FROM_S to UNTIL_S before it."""
    speed = float(np.random.default_rng([seed, 70]).uniform(2, 6))
    flight = Flight(
        "approach", look, size, int(7 * FPS), FPS, seed, kind, "brake", speed, True, TEXTURE[look] * textured,
        readout_s, vibration_deg,
    )  # fmt: skip
    first, last = int((6.0 - FROM_S) * FPS), int((6.0 - UNTIL_S) * FPS)  # a flight begins 6 s before contact
    return Sequence(flight.camera, FPS, _frames(flight.frame, range(first, last + 1)))


def negative(
    seed: int, kind: str, look: str, duration: float = 20.0, size=(320, 256), vibration_deg: float = 0.0
) -> Sequence:
    """A flight of one of NEGATIVES, textured; nothing stands in its way but what walks into it. vibration_deg: not of
    survey and search."""
    if kind in ("survey", "search"):
        flight = Flight(kind, look, size, int(duration * SLOW_FPS), SLOW_FPS, seed, depth=True, texture=TEXTURE[look])
        render, path = flight.renderer, flight.path
    else:
        scene, path = Scene(seed, look), _path(seed, kind, duration)
        start, stop = path.position(0.0)[:2], path.position(duration + 5.0)[:2]
        scene.clear(start, stop + 1e-6, 1.2 if kind == "past" else 2.0, until=duration)
        if vibration_deg:
            path = vibrating(path, np.random.default_rng([seed, 13]), np.radians(vibration_deg))
        render = Renderer(scene, *size, seed, True, TEXTURE[look])

    def camera_at(t: float) -> Camera:
        return path.camera(t, *size)

    def frame(index: int) -> Rendered:
        return render.render(camera_at(index / SLOW_FPS), index / SLOW_FPS)

    return Sequence(camera_at, SLOW_FPS, _frames(frame, range(int(duration * SLOW_FPS))))


def _path(seed: int, kind: str, duration: float) -> Path:
    """Straight at 1.6 to 3.5 m and 3 to 5 m/s (LOW), or in place, up or down."""
    rng = np.random.default_rng([seed, 72])
    heading, altitude = rng.uniform(0, 2 * np.pi), rng.uniform(1.6, 3.5)
    speed = rng.uniform(3, 5) if kind in LOW else 0.0
    climb = {"climb": 1.5, "descent": -1.2}.get(kind, 0.0)
    altitude = altitude - climb * duration if climb < 0 else altitude
    ahead, spot = np.array([np.cos(heading), np.sin(heading)]), rng.uniform(-6, 6, 2)
    tilt, phase = rng.uniform(0.0, 0.12), rng.uniform(0, 2 * np.pi, 3)
    swing, rate = {"yawing": (np.radians(15), 2.0), "turn": (np.pi, 0.25)}.get(kind, (0.0, 0.0))
    back = min(speed * duration, 70.0) / 2

    def position(t: float) -> np.ndarray:
        drift = 0.1 * np.sin(0.5 * t + phase[:2]) if kind in ("hover", "turn") else 0.0
        return np.append(spot + (speed * t - back) * ahead + drift, altitude + climb * t)

    def angles(t: float) -> tuple[float, float, float]:
        shake = 0.004 * np.sin(np.array([1.1, 0.8, 1.6]) * t + phase)
        return heading + swing * np.sin(rate * t + phase[0]) + shake[0], tilt + shake[1], shake[2]

    return Path(position, angles, np.radians(rng.uniform(52, 66)))


def _frames(render: Callable[[int], Rendered], indices: range) -> Iterator[Frame]:
    for index in indices:
        frame = render(index)
        image = frame.image if frame.image.ndim == 2 else cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY)
        least = (LEAST_PX * frame.camera.width / 640) ** 2
        classed = [o for o in frame.objects if o.label is not None and o.visible > SEEN]
        seen = [o.bbox for o in classed if o.bbox[2] * o.bbox[3] >= least]
        boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in seen]).reshape(-1, 4)
        truth = time_to_contact(frame.depth, frame.camera)
        yield Frame(image, frame.stamp_s, boxes, truth)


def time_to_contact(depth: np.ndarray, camera: Camera) -> float:
    """Seconds until the vehicle, flying straight on, reaches the nearest thing in its way; inf without one."""
    step = max(1, depth.shape[1] // 320)
    depth = np.minimum(depth[::step, ::step], 1e6)
    height, width = depth.shape
    velocity = camera.rotation @ camera.velocity
    speed = float(np.linalg.norm(velocity))
    if speed < 0.1:
        return np.inf
    x, y = np.meshgrid(
        (step * np.arange(width) - camera.K[0, 2]) / camera.K[0, 0],
        (step * np.arange(height) - camera.K[1, 2]) / camera.K[1, 1],
    )
    ahead = velocity / speed
    side = np.cross(ahead, camera.rotation[:, 2])
    side = side / np.linalg.norm(side) if np.linalg.norm(side) > 0.05 else np.array([1.0, 0, 0])
    top = np.cross(side, ahead)
    way, across, above = (depth * (x * a[0] + y * a[1] + a[2]) for a in (ahead, side, top))
    inside = (way > 0) & (np.abs(across) < HALF_WIDTH_M) & (np.abs(above) < HALF_HEIGHT_M)
    nearest = np.sort(way[inside])[LEAST_PIXELS - 1 : LEAST_PIXELS]
    return float(nearest[0]) / speed if len(nearest) else np.inf
