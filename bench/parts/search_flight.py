"""Rendered search flights with exact truth, and what an autopilot would tell of them: for bench/finds.py.

Three legs of a lawnmower over people who stand and walk, among walls, trees and cars. The images are painted
(offline/render), the boxes are the true ones of what is at least partly visible, with the committed detector's measured
noise; the tracker gets the camera's motion from the images. World: ENU metres, ground at 0.
"""

from dataclasses import dataclass

import numpy as np

from offline.render import Camera, Motion, Renderer, Scene, intrinsics
from offline.simulate.noise import SCORE, DetectorNoise
from vit_perception.avoidance.geometry import Mount, rotation_x, rotation_y, rotation_z
from vit_perception.boxes import iou
from vit_perception.tracking.camera_motion import CameraMotion
from vit_perception.tracking.tracker import Tracker

SIZE, FPS = (640, 512), 10.0
# Height in m: horizontal field of view in degrees (so that people have 13 to 25 px), speed in m/s.
FLIGHTS = {15: (57.0, 4.0), 30: (45.0, 6.0), 60: (30.0, 7.0)}
LOOKS_DOWN_DEG = 60.0
REACH = 40.0  # the legs go from -REACH to REACH
LEGS, TURN_S = 3, 8.0
STANDING, WALKING = 12, 5
VISIBLE, LEAST_PX = 0.3, 10.0  # below, the detector finds nothing (offline/simulate/world.py)


@dataclass
class Box:
    """As `vit_perception.tracking.tracker.Track`, as far as finds need it; truth: id of the person, or None."""

    id: int
    class_index: int
    score: float
    box: np.ndarray
    detection: int
    truth: int | None


@dataclass
class Recorded:
    """A flight: frames [(stamp, boxes)], people {id: Instance}, {id: frames in which
    the node would have published a whole box of it}, path."""

    height: float
    frames: list
    people: dict
    detected: dict
    course: "Course"
    camera: tuple  # fx, fy, cx, cy


class Course:
    """Where the vehicle is: a lawnmower with turns on the spot, and a multirotor's small pitching and rolling."""

    def __init__(self, height: float, speed: float, spacing: float, rng: np.random.Generator, legs: int | None = None):
        self.height, self.speed = height, speed
        count = legs or LEGS
        self._rows = (np.arange(count) - (count - 1) / 2) * spacing
        self._leg_s = 2 * REACH / speed
        self.duration = count * self._leg_s + (count - 1) * TURN_S
        self._phase, self._rate = rng.uniform(0, 6.28, 3), rng.uniform(0.5, 2.0, 3)

    def turns(self, t: float) -> bool:
        """Whether it is between two legs: no images then, as survey cameras do."""
        return t % (self._leg_s + TURN_S) > self._leg_s

    def at(self, t: float) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) and rotation (3, 3) base_link -> ENU."""
        t = min(max(t, 0.0), self.duration)
        leg = min(int(t / (self._leg_s + TURN_S)), len(self._rows) - 1)
        within = t - leg * (self._leg_s + TURN_S)
        ahead = 1 if leg % 2 == 0 else -1
        flown, turned = min(within, self._leg_s), max(within - self._leg_s, 0.0) / TURN_S
        if leg == len(self._rows) - 1:
            turned = 0.0  # not even by rounding
        y = self._rows[leg] + (turned * (self._rows[leg + 1] - self._rows[leg]) if turned else 0.0)
        yaw = (0.0 if ahead > 0 else np.pi) + turned * np.pi
        sway = np.radians(1.5) * np.sin(self._rate * t + self._phase)
        position = np.array([ahead * (self.speed * flown - REACH), y, self.height + 0.3 * np.sin(0.2 * t)])
        return position, rotation_z(yaw) @ rotation_y(np.radians(3.0) + sway[0]) @ rotation_x(sway[1])

    def turning(self, t: float) -> np.ndarray:
        """Rates (3,) rad/s about the axes of the camera's optical frame."""
        step = 0.05
        turned = self.at(t - step)[1].T @ self.at(t + step)[1]
        axis = np.array([turned[2, 1] - turned[1, 2], turned[0, 2] - turned[2, 0], turned[1, 0] - turned[0, 1]])
        return MOUNT.rotation.T @ axis / (4 * step)


MOUNT = Mount.from_angles(pitch_deg=-LOOKS_DOWN_DEG, translation=(0.1, 0.0, -0.05))


def populated(seed: int) -> tuple[Scene, dict]:
    """A scene with STANDING and WALKING people instead of its own, some of them in groups; {id: Instance}."""
    scene, rng = Scene(seed, "thermal", 0.4), np.random.default_rng([seed, 7])
    scene.instances = [i for i in scene.instances if i.kind != "Person"]
    people = {}
    while len(people) < STANDING + WALKING:
        walks = len(people) >= STANDING
        beside = rng.random() < 0.3 and people and not walks
        spot = rng.uniform(-32, 32, 2)
        if beside:
            spot = list(people.values())[-1].motion.start + rng.normal(0, 1.5, 2)
        pace, turn = (rng.uniform(0.6, 1.5), rng.normal(0, 0.03)) if walks else (0.0, 0.0)
        one = scene.add("Person", Motion(spot, rng.uniform(0, 6.28), pace, turn), 0.6)
        if one is not None:
            people[one.track_id] = one
    return scene, people


class Seen:
    """One detector's noise and the tracker behind it, of one flight."""

    def __init__(self, people, rng, on_ground: bool):
        self._noise, self._tracker, self._people = DetectorNoise(*SIZE), Tracker(high_score=SCORE), people
        self._rng, self._on_ground, self._before = rng, on_ground, None
        self.frames: list = []
        self.detected = dict.fromkeys(people, 0)

    def look(self, t, camera, shown, motion, turning):
        """One image: the true objects that are visible, and how the camera moved."""
        if self._on_ground and self._before is not None:
            carry_clutter(self._noise, self._before, camera)
        self._before = camera
        boxes = np.array([(o.bbox[0], o.bbox[1], o.bbox[0] + o.bbox[2], o.bbox[1] + o.bbox[3]) for o in shown])
        boxes = boxes.reshape(-1, 4)
        found = self._noise.apply(boxes, [o.label for o in shown], self._rng, 1 / FPS, [o.track_id for o in shown])
        truths = _truths(found, boxes, shown, self._people)
        tracks = [k for k in self._tracker.update(found, t, motion, turning) if k.detection >= 0]
        published = set(np.flatnonzero(found.scores >= SCORE)) | {k.detection for k in tracks}
        whole = (found.boxes[:, :2] >= 2).all(1) & (found.boxes[:, 2:] <= np.array(SIZE) - 2).all(1)
        for one in {truths[d] for d in published if whole[d]} - {None}:
            self.detected[one] += 1
        rows = [(k.id, k.class_index, k.score, np.array(k.box), k.detection, truths[k.detection]) for k in tracks]
        self.frames.append((t, [Box(*row) for row in rows]))


def record(seed: int, height: float, legs: int | None = None) -> dict[str, Recorded]:
    """Fly, detect and track; {"image": clutter stands still in the image, "ground": it lies on the ground}."""
    hfov, speed = FLIGHTS[height]
    rng = np.random.default_rng([seed, int(height)])
    scene, people = populated(seed)
    wide = 2 * height / np.sin(np.radians(LOOKS_DOWN_DEG)) * np.tan(np.radians(hfov) / 2)
    course = Course(float(height), speed, 0.65 * wide, rng, legs)
    renderer, K = Renderer(scene, *SIZE, seed), intrinsics(*SIZE, np.radians(hfov))
    motion = CameraMotion()
    seen = {n: Seen(people, np.random.default_rng([seed, 5]), n == "ground") for n in ("image", "ground")}
    for i in range(int(course.duration * FPS)):
        t = i / FPS
        if course.turns(t):
            continue
        position, rotation = course.at(t)
        camera = Camera(K, *SIZE, position + rotation @ MOUNT.translation, (rotation @ MOUNT.rotation).T)
        view = renderer.render(camera, t)
        shown = [o for o in view.objects if o.label is not None and o.visible >= VISIBLE and _size(o) >= LEAST_PX]
        moved = motion.update(view.image, "mono")
        for one in seen.values():
            one.look(t, camera, shown, moved, (K, course.turning(t)))
    lens = (K[0, 0], K[1, 1], K[0, 2] + 0.5, K[1, 2] + 0.5)  # of pixels counted from their edges, as boxes are
    return {name: Recorded(height, s.frames, people, s.detected, course, lens) for name, s in seen.items()}


def carry_clutter(noise: DetectorNoise, before: Camera, now: Camera) -> None:
    """What looks like somebody and is not lies on the ground: it moves through the image as the ground does."""
    moved = now.ground_homography() @ np.linalg.inv(before.ground_homography())
    kept = []
    for name, box, label in noise._clutter:
        foot = moved @ (0.5 * (box[0] + box[2]), box[3], 1.0)
        box = box + np.tile(foot[:2] / foot[2] - (0.5 * (box[0] + box[2]), box[3]), 2)
        if (box[:2] > 0).all() and box[2] < SIZE[0] and box[3] < SIZE[1]:
            kept.append((name, box, label))
    noise._clutter = kept


def _size(o) -> float:
    return float(np.sqrt(o.bbox[2] * o.bbox[3]))


def _truths(found, boxes, shown, people) -> list:
    """Which person each detection shows, or None."""
    if not len(found) or not len(boxes):
        return [None] * len(found)
    overlap = iou(found.boxes, boxes.astype(np.float32))
    best = overlap.argmax(axis=1)
    ids = [shown[b].track_id for b in best]
    good = overlap[np.arange(len(best)), best] >= 0.2
    return [i if g and i in people else None for i, g in zip(ids, good, strict=True)]


def drift(rng: np.random.Generator, sigma: float, fades_s: float, times: np.ndarray) -> np.ndarray:
    """A Gauss-Markov error (n,) at `times` in even steps."""
    keep = np.exp(-(times[1] - times[0]) / fades_s)
    values = np.empty(len(times))
    values[0] = rng.normal()
    for i, fresh in enumerate(rng.normal(size=len(times) - 1)):
        values[i + 1] = keep * values[i] + np.sqrt(1 - keep**2) * fresh
    return sigma * values


@dataclass
class Errors:
    """Standard deviations of what an autopilot gets wrong; drawn anew for each flight.

    position: m on each axis, drifting within a minute. attitude: degrees of roll and of pitch, half of the variance
    within a minute, half within 2 s. heading, mount (roll and pitch): degrees, constant. clock: s, constant. height: m,
    constant.
    """

    position: float = 0.0
    attitude: float = 0.0
    heading: float = 0.0
    clock: float = 0.0
    mount: float = 0.0
    height: float = 0.0


def told(course: Course, errors: Errors, rng: np.random.Generator):
    """What the vehicle tells: [(when it comes, what, stamp, value)], in order; the mount as the user measured it."""
    times = np.arange(-1.0, course.duration + 1.0, 0.02)
    east, north = (drift(rng, errors.position, 60.0, times) for _ in range(2))
    roll, pitch = (
        np.radians(np.sqrt(0.5) * (drift(rng, errors.attitude, 60.0, times) + drift(rng, errors.attitude, 2.0, times)))
        for _ in range(2)
    )
    yaw, late, off = (
        np.radians(rng.normal(0, errors.heading)),
        rng.normal(0, errors.clock),
        rng.normal(0, errors.height),
    )
    tilt = np.radians(rng.normal(0, errors.mount, 2))
    mount = Mount(rotation_x(tilt[0]) @ rotation_y(tilt[1]) @ MOUNT.rotation, MOUNT.translation)
    messages = []
    for i, t in enumerate(times):
        position, rotation = course.at(t)
        stamp = t + late
        wrong = rotation_z(yaw) @ rotation @ rotation_y(pitch[i]) @ rotation_x(roll[i])
        messages.append((t, "orientation", stamp, wrong))
        if i % 10 == 0:
            messages.append((t, "position", stamp, position[:2] + (east[i], north[i])))
        if i % 5 == 0:
            messages.append((t, "height", stamp, position[2] + off))
    return messages, mount
