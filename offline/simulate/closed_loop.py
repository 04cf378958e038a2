"""A flight in closed loop: world -> boxes -> detector's noise -> pipeline -> scan, alert -> autopilot -> vehicle.

    run = fly(Setting(speed=5.0, latency=0.15), seed=1)

The pipeline is the onboard one, with a detector that looks at the world instead of an image. The pilot pushes the stick
ahead all the time: it is the autopilot, or the alert, that must stop the vehicle.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from offline.render.camera import Camera as View
from offline.render.camera import intrinsics
from offline.simulate import arducopter
from offline.simulate.autopilot import ObstacleDistance, Parameters, PositionMode, from_ranges
from offline.simulate.growth_noise import GrowthNoise
from offline.simulate.motion_noise import SimulatedMotion
from offline.simulate.noise import SCORE, DetectorNoise
from offline.simulate.vehicle import Vehicle
from offline.simulate.world import BICYCLE, CAR, PERSON, Thing, boxes, street
from vit_perception.avoidance.alerts import ERROR, OK, WARN
from vit_perception.avoidance.blocked import BLOCKED, SILENT, BlockedScan
from vit_perception.avoidance.camera import Camera
from vit_perception.avoidance.class_sizes import sizes_by_index
from vit_perception.avoidance.geometry import OPTICAL_TO_FLU, Ego, Mount
from vit_perception.boxes import iou
from vit_perception.parameters import SPECS
from vit_perception.pipeline import Pipeline, Result

Autopilot = PositionMode | arducopter.Copter
Wire = Callable[[np.ndarray, float, float], ObstacleDistance]

STEP_S = 0.01
SCAN_S = 0.1  # the node's steady 10 Hz
STALE_S = 0.5  # the node's stale_after_s
STOPPED = 0.1  # m/s
HOVERS = 0.3  # m/s; a slower vehicle, or one slower than the thing, did not collide: it was struck
FLOWN = {spec.name: spec.default for spec in SPECS}  # what the node flies with, unless told otherwise
KNOWN_SIZES = sizes_by_index(
    ["person", "car", "bicycle"], *(FLOWN[f"obstacles.{n}"] for n in ("classes", "heights_m", "height_sigmas_m"))
)


@dataclass(frozen=True)
class Setting:
    """One point of the test: speed m/s, latency from exposure to message s, images a second, part of them lost."""

    speed: float = 5.0
    latency: float = 0.15
    fps: float = 15.0
    dropped: float = 0.1
    noise: float = 1.0  # of the detector's jitter, bias and misses as measured
    false_positives: float = 0.0  # part of the measured rate
    ego: bool = True  # velocity, turning and attitude are known
    hold_on_alert: bool = False  # a companion commands Hold at an ERROR alert
    kill_at: float | None = None  # s; the perception process is gone from then on
    stale_at: float | None = None  # s; the camera is gone from then on
    on_stale: str = SILENT  # what the node says then, and its guard once it is dead
    guard_s: float = 0.6  # from a dead node's last scan to its guard's first
    duration: float = 20.0
    hfov: float = np.radians(80.0)
    size: tuple[int, int] = (640, 512)
    parameters: Parameters = field(default_factory=Parameters)
    autopilot: str = "px4"  # or ardupilot
    ardupilot: arducopter.Parameters = field(default_factory=arducopter.Parameters)
    guided: bool = False  # a velocity target instead of a stick in Loiter
    kinds: tuple[int, ...] = (PERSON, CAR, BICYCLE)
    by_motion: bool = True  # what has no class is told by motion


@dataclass
class Run:
    """What came of it.

    in_view: what was hit was in the camera's field of view 1 s before. detected: in so many frames of its last 3 s did
    the detector find it, with a score that starts a track. lead_s: from the first alert to contact, had the speed been
    kept; None without an alert. alarms: how often the alert rose to {level} or above.
    """

    collided: bool = False
    struck: bool = False
    impact_speed: float = 0.0
    stopped: bool = False
    stopped_at: float | None = None
    in_view: bool = True
    detected: int = 0
    nearest: float = np.inf
    lead_s: float | None = None
    alarms: dict[int, int] = field(default_factory=lambda: {WARN: 0, ERROR: 0})
    flown: float = 0.0
    ended: float = 0.0
    events: list[tuple[float, str]] = field(default_factory=list)
    track: list[tuple[float, float, float, float]] = field(default_factory=list)  # t, x, y, speed


class SimulatedDetector:
    """The detector of the pipeline: exact boxes of the world, with the noise of a real detector."""

    score_threshold = nms_iou = SCORE

    def __init__(self, setting: Setting, things: list[Thing], rng: np.random.Generator):
        s = setting
        self.noise = DetectorNoise(*s.size, strength=s.noise, misses=s.noise, false_positives=s.false_positives)
        self.growth = GrowthNoise(np.random.default_rng(rng.integers(1 << 32)), s.size)
        self.things, self.rng, self.stage_ms = things, rng, {"infer": 0.0}
        self.view: View | None = None
        self.least_score = 0.0
        self.found: list[tuple[float, int]] = []  # when which thing was detected, with least_score or more
        self.t, self.last = 0.0, 0.0

    def detect(self, image, order):
        assert self.view is not None  # set before every frame
        rows, classes, ids = boxes(self.things, self.view, self.t)
        dt, self.last = self.t - self.last, self.t
        found = self.noise.apply(rows, classes, self.rng, dt, ids)
        self.growth.see(*self.noise.with_clutter(rows, ids))
        strong = found.boxes[found.scores >= self.least_score]
        for row, index in zip(rows, ids, strict=True):
            if len(strong) and iou(row[None], strong).max() > 0.3:
                self.found.append((self.t, int(index)))
        return found


class Perception:
    """The node without ROS: one worker that takes the newest image, a scan at 10 Hz, silence when stale or dead."""

    def __init__(self, setting: Setting, things: list[Thing], rng: np.random.Generator, wire: Wire = from_ranges):
        self.setting, self.rng, self.wire = setting, rng, wire
        self.detector = SimulatedDetector(setting, things, rng)
        self.pipeline = Pipeline(self.detector)
        self.pipeline.expansion = self.detector.growth
        self.detector.least_score = self.pipeline.tracker.high_score
        self.pipeline.obstacles.sizes = dict(KNOWN_SIZES)
        self.pipeline.camera_motion = False  # there are no images
        self.motion = SimulatedMotion(things, rng.spawn(1)[0])  # what else is drawn stays as it is
        self.motion.enabled = setting.by_motion
        self.pipeline.motion_obstacles = self.motion
        self.pipeline.publish_clear = True  # PX4 does not move at all without
        self.pipeline.on_stale = setting.on_stale
        self.blocked, self._last_scan = BlockedScan(), 0.0
        self.K = intrinsics(*setting.size, setting.hfov)
        self.camera = Camera(self.K[0, 0], self.K[1, 1], self.K[0, 2], self.K[1, 2], *setting.size)
        self.mount = Mount.from_angles()
        self.image = np.zeros(setting.size[::-1], np.uint8)
        self.result: Result | None = None
        self._pending: tuple[float, float, Result] | None = None  # ready at, exposed at, result
        self._exposed, self._next_image, self._next_scan = -np.inf, 0.0, 0.0

    def step(self, t: float, vehicle: Vehicle) -> tuple[ObstacleDistance | None, Result | None]:
        """The message that leaves at `t`, if any, and the result that became ready, if any."""
        ready = None
        if self._pending is not None and t >= self._pending[0]:
            _, self._exposed, ready = self._pending
            self.result, self._pending = ready, None
        if t >= self._next_image and not (self.setting.stale_at is not None and t >= self.setting.stale_at):
            self._next_image += 1 / self.setting.fps
            if self._pending is None and self.rng.random() >= self.setting.dropped:
                delay = self.setting.latency * self.rng.uniform(0.8, 1.2)
                self._pending = (t + delay, t, self._process(t, vehicle))
        message = None
        if t >= self._next_scan:
            self._next_scan += SCAN_S
            if self.result is not None and t - self._exposed <= STALE_S:
                self._last_scan = t
                self.blocked.hear(self.result.scan_ranges)
                message = self._send(self.result.scan_ranges)
            elif self.result is not None and self.setting.on_stale == BLOCKED:
                self._last_scan = t
                message = self._send(np.array(self.blocked.ranges(self.pipeline.range_min_m), np.float32))
        return message, ready

    def guard(self, t: float) -> ObstacleDistance | None:
        """The message of the guard of this node, that is dead, at `t`."""
        if self.setting.on_stale != BLOCKED or t < self._next_scan or t - self._last_scan < self.setting.guard_s:
            return None
        self._next_scan = t + SCAN_S
        return self._send(np.array(self.blocked.ranges(self.pipeline.range_min_m), np.float32))

    def _send(self, ranges: np.ndarray) -> ObstacleDistance:
        return self.wire(ranges, self.pipeline.range_min_m, self.pipeline.range_max_m)

    def _process(self, t: float, vehicle: Vehicle) -> Result:
        to_camera = OPTICAL_TO_FLU.T @ vehicle.body_to_world.T
        self.detector.view = View(self.K, *self.setting.size, vehicle.position, to_camera)
        self.detector.t = t
        self.motion.see(vehicle, t)
        return self.pipeline.process(self.image, "mono", t, self.camera, mount=self.mount, ego=self._ego(t, vehicle))

    def _ego(self, t: float, vehicle: Vehicle) -> Ego | None:
        """What an autopilot's estimator would tell, with its errors."""
        if not self.setting.ego:
            return None
        velocity = vehicle.body_to_world.T @ vehicle.velocity + self.rng.normal(0, 0.1, 3)
        turning = vehicle.turning + self.rng.normal(0, 0.01, 3)
        return Ego(velocity, turning, vehicle.level, float(vehicle.position[2]), t)


def fly(
    setting: Setting, seed: int, things: list[Thing] | None = None, keep_track: bool = False, wire: Wire = from_ranges
) -> Run:
    """One flight; the same setting and seed give the same run.

    things: the world, drawn if None. wire: what carries the scan (ranges, range_min, range_max) to the autopilot.
    """
    rng = np.random.default_rng([seed, 11])
    things = street(rng, setting.speed, setting.kinds) if things is None else things
    autopilot = _autopilot(setting)
    vehicle = Vehicle(velocity=np.array([setting.speed, 0.0, 0.0]))
    perception, run, still, level = Perception(setting, things, rng, wire), Run(), 0.0, OK
    for i in range(int(setting.duration / STEP_S)):
        t = i * STEP_S
        if setting.kill_at is not None and t >= setting.kill_at:
            message = perception.guard(t)
            if message is not None:
                autopilot.receive(message, t)
        else:
            message, ready = perception.step(t, vehicle)
            if message is not None:
                autopilot.receive(message, t)
            if ready is not None:
                _alert(run, ready, autopilot, setting, vehicle, things, t)
                for risen in range(level + 1, ready.alert.level + 1):
                    run.alarms[risen] += 1
                level = ready.alert.level
        _move(autopilot, vehicle, t)
        speed = float(np.linalg.norm(vehicle.velocity))
        still = still + STEP_S if speed < STOPPED else 0.0
        if still >= 1.0 and run.stopped_at is None:
            run.stopped_at = t - 1.0
        if still == 0.0:
            run.stopped_at = None
        if keep_track:
            run.track.append((t, float(vehicle.position[0]), float(vehicle.position[1]), speed))
        thing = _hit(run, things, vehicle, speed, t, setting.hfov)
        if autopilot.holding and still >= 3.0:
            break
        if thing is not None:
            run.detected = sum(when > t - 3.0 and index == thing for when, index in perception.detector.found)
            break
    run.ended = t
    run.stopped, run.flown, run.events = run.stopped_at is not None, float(vehicle.position[0]), autopilot.events
    return run


def _autopilot(setting: Setting) -> Autopilot:
    velocity = np.array([setting.speed, 0.0])
    if setting.autopilot == "ardupilot":
        return arducopter.Copter(setting.ardupilot, setting.guided, setting.speed, velocity)
    return PositionMode(replace(setting.parameters, MPC_VEL_MANUAL=setting.speed), _velocity=velocity)


def _move(autopilot: Autopilot, vehicle: Vehicle, t: float) -> None:
    """The autopilot's plane is x north, y east, clockwise; the world's y points the other way."""
    flip = np.array([1.0, -1.0])
    wanted = autopilot.acceleration(np.array([1.0, 0.0]), vehicle.velocity[:2] * flip, -vehicle.yaw, t, STEP_S)
    vehicle.yaw_rate = -autopilot.yaw_rate
    vehicle.step(np.append(wanted * flip, 0.0), STEP_S)


def _alert(run: Run, result: Result, autopilot: Autopilot, setting: Setting, vehicle: Vehicle, things, t) -> None:
    if result.alert.level > OK and run.lead_s is None and things:
        gap = max(things[0].gap(vehicle.position, t) - vehicle.radius, 0.0)
        run.lead_s = gap / max(float(np.linalg.norm(vehicle.velocity)), 0.1)
    if setting.hold_on_alert and result.alert.level == ERROR:
        autopilot.hold(t, "ERROR alert")


def _hit(run: Run, things: list[Thing], vehicle: Vehicle, speed: float, t: float, hfov: float) -> int | None:
    """The index of the thing that is being hit, or None."""
    gaps = [x.gap(vehicle.position, t) if x.size[2] > vehicle.position[2] - 0.2 else np.inf for x in things]
    index = int(np.argmin(gaps)) if gaps else 0
    run.nearest = min([run.nearest, *(g - vehicle.radius for g in gaps)])
    if not gaps or gaps[index] >= vehicle.radius:
        return None
    run.collided = speed >= max(HOVERS, float(np.linalg.norm(things[index].velocity)))
    run.struck, run.impact_speed = not run.collided, speed
    offsets = things[index].points(t - 1.0)[:, :2] - (vehicle.position - vehicle.velocity)[:2]
    angles = np.abs(np.arctan2(offsets[:, 1], offsets[:, 0]) - vehicle.yaw)
    run.in_view = bool((angles < 0.5 * hfov).mean() > 0.5)
    return index
