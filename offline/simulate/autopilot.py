"""How PX4's collision prevention brakes on our scan: its documented rules, written anew.

Facts from PX4's documentation (docs/en/computer_vision/collision_prevention.md) and, where that is silent, from what
CollisionPrevention.cpp and StickAccelerationXY.cpp do, versions 1.14 to 1.15 (36 sectors):
- The message is read into 36 sectors of 10 degrees: sector i takes the message's element
  ceil(wrap360(10 i - offset) / increment). 65535 is skipped: the sector then keeps its value until that is 0.5 s old.
- No sector with data, or nothing received for 0.5 s: the acceleration wanted becomes zero; what is left is the drag of
  the stick's own model, 2 a / v of the speed. After 5 s: Hold.
- A direction without data is refused (CP_GO_NO_DATA 0).
- Acceleration towards the nearest sector is scaled by ((d - CP_DIST) / max(CP_DIST, MPC_VEL_MANUAL / MPC_XY_P))^2, and
  below CP_DIST by d - CP_DIST, which is negative.
- In every sector the speed towards it is held to what still stops in time: x = d - CP_DIST - v (CP_DELAY + age),
  v_max = (-b + sqrt(b^2 + 8 a x)) / 2 with b = 4 a^2 / j; the strongest MPC_XY_VEL_P_ACC (v_max - v) is added where
  it brakes. (The source read adds it where it is positive too, which the documentation does not say; not done here.)
- Within CP_GUIDE_ANG the sector with the most room is flown to instead.

Plane: x north, y east, angles clockwise, as in PX4. Distances of messages in centimetres.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from vit_perception.avoidance.scan import ANGLE_INCREMENT, ANGLE_MIN

UNKNOWN = 65535
SECTOR_DEG = 10
SECTORS = 360 // SECTOR_DEG
STALE_S, HOLD_S = 0.5, 5.0  # RANGE_STREAM_TIMEOUT, TIMEOUT_HOLD


@dataclass(frozen=True)
class Parameters:
    """PX4's, with its defaults but for CP_DIST, which is off (-1) there; units m, s, degrees, m/s."""

    CP_DIST: float = 2.0
    CP_DELAY: float = 0.4
    CP_GUIDE_ANG: float = 30.0
    CP_GO_NO_DATA: bool = False
    MPC_VEL_MANUAL: float = 10.0
    MPC_ACC_HOR: float = 3.0
    MPC_JERK_MAX: float = 8.0
    MPC_XY_P: float = 0.95
    MPC_XY_VEL_P_ACC: float = 1.8


@dataclass(frozen=True)
class ObstacleDistance:
    """MAVLink OBSTACLE_DISTANCE, or px4_msgs/ObstacleDistance: distances (72,) uint16 cm, angles in degrees."""

    distances: np.ndarray
    min_distance: int
    max_distance: int
    increment: float = 5.0
    angle_offset: float = -180.0


def through_mavros(scan) -> ObstacleDistance:
    """What mavros' obstacle_distance plugin makes of a LaserScan: not finite, or 655.35 m and more, is unknown.

    As its C++: float32 metres times 100 in double, rounded to float32, cut; the limits are cut without that rounding.
    """
    ranges = np.asarray(scan.ranges, np.float32).astype(np.float64)
    known = np.isfinite(ranges) & (ranges < 655.35)
    cm = (np.where(known, ranges, 0.0) * 100).astype(np.float32).astype(np.uint16)
    low, high = (int(float(np.float32(limit)) * 100) for limit in (scan.range_min, scan.range_max))
    degrees = math.degrees(scan.angle_increment), math.degrees(scan.angle_min)
    return ObstacleDistance(np.where(known, cm, UNKNOWN).astype(np.uint16), low, high, *degrees)


def from_ranges(ranges: np.ndarray, range_min: float, range_max: float) -> ObstacleDistance:
    """The same of the (72,) ranges of `make_scan`, without a message between."""
    fields = {"angle_min": ANGLE_MIN, "angle_increment": ANGLE_INCREMENT}
    return through_mavros(_Scan(ranges=ranges, range_min=range_min, range_max=range_max, **fields))


@dataclass(frozen=True)
class _Scan:
    ranges: np.ndarray
    angle_min: float
    angle_increment: float
    range_min: float
    range_max: float


class ObstacleMap:
    """36 sectors of 10 degrees, clockwise from ahead: distances (36,) cm, UNKNOWN where nothing is known."""

    def __init__(self):
        self.distances = np.full(SECTORS, UNKNOWN, int)
        self.stamps = np.full(SECTORS, -math.inf)
        self.max_ranges = np.zeros(SECTORS, int)
        self.seen = np.zeros(SECTORS, bool)
        self.min_distance, self.stamp = UNKNOWN, -math.inf

    def take(self, message: ObstacleDistance, now: float) -> None:
        """Enter a message received at `now`."""
        self.stamp = now
        self.min_distance = min(self.min_distance, message.min_distance)
        for i in range(SECTORS):
            index = math.ceil(round(((SECTOR_DEG * i - message.angle_offset) % 360) / message.increment, 4))
            if message.distances[index] != UNKNOWN:
                self.distances[i], self.stamps[i] = int(message.distances[index]), now
                self.max_ranges[i], self.seen[i] = message.max_distance, True

    def expire(self, now: float) -> bool:
        """Forget sectors older than 0.5 s; whether anything is known."""
        self.distances[now - self.stamps > STALE_S] = UNKNOWN
        return bool((self.distances < UNKNOWN).any()) and now - self.stamp < STALE_S


@dataclass
class PositionMode:
    """Position mode, acceleration based: stick -> acceleration, with collision prevention between.

    events: what PX4 would tell: (time, text).
    """

    parameters: Parameters = field(default_factory=Parameters)
    map: ObstacleMap = field(default_factory=ObstacleMap)
    holding: bool = False
    events: list[tuple[float, str]] = field(default_factory=list)
    yaw_rate: float = 0.0  # that the mode asks for: none
    _velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    _wanted: np.ndarray = field(default_factory=lambda: np.zeros(2))
    _started: float = math.nan

    def receive(self, message: ObstacleDistance, now: float) -> None:
        self.map.take(message, now)

    def hold(self, now: float, why: str) -> None:
        """Switch to Hold: brake and stay."""
        if not self.holding:
            self.events.append((now, f"Hold: {why}"))
        self.holding = True

    def acceleration(self, stick: np.ndarray, velocity: np.ndarray, yaw: float, now: float, dt: float) -> np.ndarray:
        """Acceleration (2,) m/s^2 for a stick (2,) of length <= 1, both in the world's plane; velocity (2,) m/s."""
        p = self.parameters
        self._started = now if math.isnan(self._started) else self._started
        if self.holding:
            speed = float(np.linalg.norm(velocity))
            brake = min(p.MPC_ACC_HOR, p.MPC_XY_VEL_P_ACC * speed)
            return self._slew(-velocity / max(speed, 1e-9) * brake, dt)
        wanted = self._prevent(2 * p.MPC_ACC_HOR * np.asarray(stick, float), yaw, now)
        acceleration = self._slew(wanted - self._drag(dt, bool(np.any(stick))), dt)
        self._velocity = self._velocity + acceleration * dt
        return acceleration + p.MPC_XY_VEL_P_ACC * (self._velocity - velocity)

    def _slew(self, wanted: np.ndarray, dt: float) -> np.ndarray:
        """The jerk limit: the acceleration wanted now, MPC_JERK_MAX away from the last at most."""
        step = self.parameters.MPC_JERK_MAX * dt
        self._wanted = self._wanted + np.clip(wanted - self._wanted, -step, step)
        return self._wanted

    def _drag(self, dt: float, pushed: bool) -> np.ndarray:
        """What slows the setpoint: 2 a / v of it, boosted by a square root below 1 m/s, twofold and more hands off."""
        p = self.parameters
        speed = float(np.linalg.norm(self._velocity))
        if speed < 1e-6:
            return np.zeros(2)
        boost = 1.0 if pushed else max(2.0, math.sqrt(p.MPC_VEL_MANUAL))
        drag = 2 * p.MPC_ACC_HOR / p.MPC_VEL_MANUAL * boost * (math.sqrt(speed) if speed < 1 else speed)
        return self._velocity / speed * min(drag, speed / dt)

    def _prevent(self, wanted: np.ndarray, yaw: float, now: float) -> np.ndarray:
        """Collision prevention: the acceleration (2,) that may be had."""
        length = float(np.linalg.norm(wanted))
        if not self.map.expire(now):
            if now - self.map.stamp > HOLD_S and now - self._started > HOLD_S:
                self.hold(now, "no obstacle data for 5 s")
            return np.zeros(2)
        if length < 1e-3:
            return wanted
        direction, sector = self._guide(wanted / length, yaw)
        compensation = self._compensate(yaw, now)
        unknown = self.map.distances[sector] == UNKNOWN
        refused = unknown and (not self.parameters.CP_GO_NO_DATA or self.map.seen[sector])
        return compensation if refused else length * self._scale_towards(direction, yaw) + compensation

    def _guide(self, direction: np.ndarray, yaw: float) -> tuple[np.ndarray, int]:
        """The direction with the most room within CP_GUIDE_ANG, and its sector."""
        d, p = self.map.distances, self.parameters
        asked = best = _sector(direction, yaw)
        best_cost, reach = 9999.0, int(p.CP_GUIDE_ANG // SECTOR_DEG)
        for i in range(asked - reach, asked + reach + 1):
            around = [d[j % SECTORS] for j in (i - 1, i, i + 1)]
            mean = sum(p.CP_DIST * 100 if v == UNKNOWN else v for v in around) / 3
            cost = p.CP_DIST * 50 * abs(i - asked) - mean - d[i % SECTORS]
            if cost < best_cost and d[i % SECTORS] != UNKNOWN:
                best_cost, best = cost, i % SECTORS
        return (direction, asked) if best == asked else (_unit(yaw + math.radians(SECTOR_DEG * best)), best)

    def _scale_towards(self, direction: np.ndarray, yaw: float) -> np.ndarray:
        nearest = int(np.argmin(self.map.distances))
        towards = _unit(yaw + math.radians(SECTOR_DEG * nearest))
        part = float(direction @ towards)
        if part <= 0:
            return direction
        normal, tangential = part * towards, direction - part * towards
        beside = self.map.distances[_sector(tangential, yaw)] if np.linalg.norm(tangential) > 1e-6 else 0
        return normal * self._scale(self.map.distances[nearest]) + tangential * self._scale(beside)

    def _scale(self, cm: float) -> float:
        p = self.parameters
        keep = max(self.map.min_distance / 100, p.CP_DIST)
        room = 0.01 * cm - keep
        return min((room / max(keep, p.MPC_VEL_MANUAL / p.MPC_XY_P)) ** 2 if room > 0 else room, 1.0)

    def _compensate(self, yaw: float, now: float) -> np.ndarray:
        p, m = self.parameters, self.map
        keep = max(m.min_distance / 100, p.CP_DIST)
        strongest, answer = 0.0, np.zeros(2)
        for i in np.flatnonzero((m.distances > m.min_distance) & (m.distances < UNKNOWN)):
            towards = _unit(yaw + math.radians(SECTOR_DEG * int(i)))
            speed = max(0.0, float(self._velocity @ towards))
            age = now - m.stamps[i] if m.distances[i] < m.max_ranges[i] else 0.0
            room = max(0.0, 0.01 * m.distances[i] - keep - speed * (p.CP_DELAY + age))
            pull = p.MPC_XY_VEL_P_ACC * (max_speed(p.MPC_JERK_MAX, p.MPC_ACC_HOR, room) - speed)
            if pull < strongest:
                strongest, answer = pull, pull * towards
        return answer


def max_speed(jerk: float, acceleration: float, distance: float) -> float:
    """The speed that still stops within `distance`, with 2 a / j of delay: v^2 = 2 a (x - 2 v a / j)."""
    b = 4 * acceleration**2 / jerk
    return 0.5 * (-b + math.sqrt(b * b + 8 * acceleration * distance))


def _unit(angle: float) -> np.ndarray:
    return np.array([math.cos(angle), math.sin(angle)])


def _sector(direction: np.ndarray, yaw: float) -> int:
    angle = math.degrees(math.atan2(direction[1], direction[0]) - yaw) % 360
    return int(angle // SECTOR_DEG) % SECTORS
