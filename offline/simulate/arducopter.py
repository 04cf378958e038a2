"""How ArduCopter avoids what our scan tells: its rules, as its sources and flights of its simulation tell them.

Facts: Copter 4.7.0-dev (AP_Proximity_MAV, AP_Proximity_Boundary_3D, AC_Avoid, AC_Loiter, ModeGuided), and how the real
code flew (docs/ardupilot.md):
- Eight faces of 45 degrees; each takes its nearest ray. 0, 65535 and what lies outside min..max are skipped. Every
  message replaces the whole map. A face that gets nothing is gone at once; when messages stop, faces stay valid for
  FACE_LIFE_S, which is looked at every FACE_CHECK_S.
- Each face's distance goes through a low pass of PRX_FILT Hz (0: none), which starts anew after 1 s without data.
- An edge between two faces lies at the nearer of the two; a face alone moves the far edges of its neighbours to its
  own distance too, so it closes 135 degrees. The wall between two edges is straight: straight ahead it is nearer than
  the face's distance by cos 22.5 degrees.
- The speed towards a wall is held to a square-root controller (kP 1, 1 m/s^2) of what is left to AVOID_MARGIN;
  inside the margin by more than 0.1 m it backs away with at most AVOID_BACKUP_SPD. AVOID_ACCEL_MAX bounds how fast
  avoidance changes the velocity asked for. It does nothing for position targets in Guided.

Plane: x north, y east, angles clockwise. The vehicle's own loops are simplified: position P, velocity P and I, and
the lag of the attitude, ATTITUDE_S. Distances of messages in centimetres.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from offline.simulate.autopilot import UNKNOWN, ObstacleDistance

FACES = 8
FACE_RAD = 2 * math.pi / FACES
FACE_LIFE_S, FACE_CHECK_S = 1.0, 0.75
FILTER_RESET_S = 1.0
NEAREST_M = 0.6  # no wall is nearer than this
FAR_M = 100.0  # edges where nothing is
PLANNED_MPS2 = 1.0  # AC_AVOID_ACCEL_CMSS_MAX
BACKUP_PART = 0.4  # of it, to back away
DEADZONE_M = 0.1  # inside the margin before it backs away
LIMIT_S = 0.2  # without avoidance: its last velocity is forgotten
POS_P, VEL_P = 1.0, 2.0  # PSC_POSXY_P, PSC_VELXY_P
# Chosen so that the flights of section 2 of the facts come out: I (PSC_VELXY_I is 1) and the lag of the lean.
VEL_I, ATTITUDE_S = 0.7, 0.15
LEAN_MPS2 = 5.7  # 30 degrees
PILOT_MPS2 = 3.57  # LOIT_ANG_MAX 0: two thirds of it
NOSE_MPS = 0.1  # a velocity asked for above it turns the nose; chosen so that it turns as it was flown
BRAKE_MPS2 = 7.5  # of the mode BRAKE


@dataclass(frozen=True)
class Parameters:
    """ArduCopter's, by name, with what docs/ardupilot.md recommends; units Hz, m/s, m, m/s^2."""

    PRX_FILT: float = 5.0
    AVOID_BACKUP_SPD: float = 0.0
    AVOID_MARGIN: float = 3.0
    AVOID_BEHAVE: int = 1
    AVOID_ACCEL_MAX: float = 3.0
    LOIT_SPEED: float = 4.0
    LOIT_ACC_MAX: float = 5.0
    WPNAV_ACCEL: float = 2.5
    PSC_JERK_XY: float = 5.0
    WP_YAW_BEHAVIOR: int = 0


DEFAULTS = {"PRX_FILT": 0.25, "AVOID_BACKUP_SPD": 0.75, "WP_YAW_BEHAVIOR": 2}


class Proximity:
    """The map: eight faces, their filtered distances, and the walls that they make."""

    def __init__(self, cutoff_hz: float):
        self.cutoff_hz = cutoff_hz
        self.distance = np.zeros(FACES)  # m, filtered
        self.valid = np.zeros(FACES, bool)
        self.stamps = np.full(FACES, -math.inf)
        self._checked = -math.inf

    def take(self, message: ObstacleDistance, now: float) -> None:
        """Enter a message that arrived at `now`: it replaces everything."""
        nearest = np.full(FACES, math.inf)
        for i, cm in enumerate(message.distances.tolist()):
            if cm in (0, UNKNOWN) or not message.min_distance <= cm <= message.max_distance:
                continue
            angle = (message.angle_offset + i * message.increment) % 360
            face = int((angle + 22.5) // 45) % FACES
            nearest[face] = min(nearest[face], 0.01 * cm)
        self.valid = np.isfinite(nearest)
        for i in np.flatnonzero(self.valid).tolist():
            dt = now - self.stamps[i]
            share = 1.0
            if self.cutoff_hz > 0 and dt < FILTER_RESET_S:
                share = dt / (dt + 1 / (2 * math.pi * self.cutoff_hz))
            self.distance[i] += share * (nearest[i] - self.distance[i])
            self.stamps[i] = now

    def expire(self, now: float) -> None:
        """Forget faces that are too old, as often as the autopilot looks."""
        if now - self._checked >= FACE_CHECK_S:
            self._checked = now
            self.valid &= now - self.stamps <= FACE_LIFE_S

    def walls(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(left edge, right edge) (2,) m in the body, x ahead, y right, of each face that closes something."""
        edges = np.full(FACES, FAR_M)  # edge i lies between face i and face i + 1
        for i in np.flatnonzero(self.valid).tolist():
            left, right = (i - 1) % FACES, (i + 1) % FACES
            own = max(self.distance[i], NEAREST_M)
            for edge, beyond, other in ((i, right, right), ((i - 1) % FACES, (i - 2) % FACES, left)):
                shortest = min(own, max(self.distance[other], NEAREST_M)) if self.valid[other] else own
                edges[edge] = min(edges[edge], shortest)
                if not self.valid[other]:
                    edges[beyond] = min(edges[beyond], shortest)
        walls = []
        for i in range(FACES):
            a, b = edges[i - 1], edges[i]
            if max(a, b) < FAR_M:
                walls.append((a * _unit((i - 0.5) * FACE_RAD), b * _unit((i + 0.5) * FACE_RAD)))
        return walls


@dataclass
class Avoid:
    """AC_Avoid: the velocity asked for, less what leads into a wall."""

    p: Parameters
    proximity: Proximity
    _before: np.ndarray = field(default_factory=lambda: np.zeros(2))
    _limited: float = -math.inf

    def adjust(self, wanted: np.ndarray, yaw: float, now: float, dt: float) -> np.ndarray:
        """The velocity (2,) that may be flown, world's plane."""
        turn = np.array([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
        self.proximity.expire(now)
        safe, quadrants = turn.T @ wanted, np.zeros((2, 2, 2))
        for a, b in self.proximity.walls():
            nearest = _closest(a, b)
            distance = float(np.linalg.norm(nearest))
            breach = self.p.AVOID_MARGIN - distance
            if breach > DEADZONE_M:
                back = -nearest / distance * sqrt_controller(breach, POS_P, BACKUP_PART * PLANNED_MPS2)
                quadrant = quadrants[int(back[0] > 0), int(back[1] > 0)]
                quadrant[:] = np.where(np.abs(back) > np.abs(quadrant), back, quadrant)
            safe = self._limit(safe, nearest) if self.p.AVOID_BEHAVE == 0 else self._stop(safe, a, b)
        away = quadrants.sum(axis=(0, 1))
        speed = float(np.linalg.norm(away))
        if speed > self.p.AVOID_BACKUP_SPD:
            away = away * (self.p.AVOID_BACKUP_SPD / speed)
        for i in range(2):
            safe[i] = max(safe[i], away[i]) if away[i] > 0 else min(safe[i], away[i]) if away[i] < 0 else safe[i]
        return self._slew(np.asarray(wanted, float), turn @ safe, now, dt)

    def _limit(self, velocity: np.ndarray, towards: np.ndarray) -> np.ndarray:
        distance = float(np.linalg.norm(towards))
        direction = towards / max(distance, 1e-6)
        allowed = sqrt_controller(max(distance - self.p.AVOID_MARGIN, 0.0), POS_P, PLANNED_MPS2)
        over = float(velocity @ direction) - allowed
        return velocity - max(over, 0.0) * direction

    def _stop(self, velocity: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        speed = float(np.linalg.norm(velocity))
        if speed < 1e-6:
            return velocity
        reach = 0.02 + self.p.AVOID_MARGIN + _stopping_distance(speed)
        point = _crossing(velocity / speed, a, b)
        if point is None or point > reach:
            return velocity
        if point <= self.p.AVOID_MARGIN:
            return np.zeros(2)
        return self._limit(velocity, point * velocity / speed)

    def _slew(self, wanted: np.ndarray, safe: np.ndarray, now: float, dt: float) -> np.ndarray:
        """AVOID_ACCEL_MAX bounds how fast avoidance changes the velocity."""
        if np.allclose(wanted, safe):
            return safe
        if now - self._limited > LIMIT_S:
            self._before = wanted
        change, most = safe - self._before, self.p.AVOID_ACCEL_MAX * dt
        length = float(np.linalg.norm(change))
        if length > most:
            safe = self._before + change * (most / length)
        self._before, self._limited = safe, now
        return safe


@dataclass
class Copter:
    """Loiter, or Guided with a velocity target: a stick (2,) of length <= 1 becomes an acceleration.

    speed: of the stick pushed to its end, or of the target, m/s. events: what the pilot would be told. yaw_rate: that
    the mode asks for, rad/s clockwise.
    """

    parameters: Parameters = field(default_factory=Parameters)
    guided: bool = False
    speed: float = 4.0
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))  # that it has at the start
    holding: bool = False
    events: list[tuple[float, str]] = field(default_factory=list)
    yaw_rate: float = 0.0

    def __post_init__(self):
        self.proximity = Proximity(self.parameters.PRX_FILT)
        self.avoid = Avoid(self.parameters, self.proximity)
        self._desired = np.array(self.velocity, float)
        self._asked_before = np.zeros(2)
        self._error, self._integral = np.zeros(2), np.zeros(2)
        self._lean = np.zeros(2)

    def receive(self, message: ObstacleDistance, now: float) -> None:
        self.proximity.take(message, now)

    def hold(self, now: float, why: str) -> None:
        """Switch to BRAKE."""
        if not self.holding:
            self.events.append((now, f"Brake: {why}"))
        self.holding = True

    def acceleration(self, stick: np.ndarray, velocity: np.ndarray, yaw: float, now: float, dt: float) -> np.ndarray:
        """Acceleration (2,) m/s^2 that the vehicle is asked for; velocity (2,) m/s, both in the world's plane."""
        ahead = np.zeros(2)
        if self.holding:
            speed = float(np.linalg.norm(self._desired))
            self._desired = self._desired * max(0.0, 1 - BRAKE_MPS2 * dt / max(speed, 1e-9))
        elif self.guided:
            ahead = self._shape(self.avoid.adjust(self.speed * np.asarray(stick, float), yaw, now, dt), dt)
            self._turn(yaw)
        else:
            self._desired = self.avoid.adjust(self._loiter(np.asarray(stick, float), dt), yaw, now, dt)
        self._error = self._error + (self._desired - velocity) * dt
        asked = self._desired + _cut(POS_P * self._error, 2.0)
        off = asked - velocity
        self._integral = _cut(self._integral + VEL_I * off * dt, 10.0)
        wanted = _cut(VEL_P * off + self._integral + ahead, LEAN_MPS2)
        self._lean = self._lean + (wanted - self._lean) * min(dt / ATTITUDE_S, 1.0)
        return self._lean

    def _loiter(self, stick: np.ndarray, dt: float) -> np.ndarray:
        """The pilot's acceleration against a drag that balances it at full speed."""
        pilot = min(self.parameters.LOIT_ACC_MAX, PILOT_MPS2)
        return self._desired + dt * pilot * (stick - self._desired / max(self.speed, 1e-6))

    def _shape(self, target: np.ndarray, dt: float) -> np.ndarray:
        """The velocity goes to its target with WPNAV_ACCEL and PSC_JERK_XY; returns the acceleration asked for."""
        p = self.parameters
        step = target - self._desired
        length = float(np.linalg.norm(step))
        wanted = step / max(length, 1e-9) * min(p.WPNAV_ACCEL, sqrt_controller(length, 2.0, p.PSC_JERK_XY))
        self._asked_before = self._asked_before + _cut(wanted - self._asked_before, p.PSC_JERK_XY * dt)
        self._desired = self._desired + self._asked_before * dt
        return self._asked_before

    def _turn(self, yaw: float) -> None:
        """WP_YAW_BEHAVIOR not 0: the nose follows the velocity asked for, 60 deg/s at most."""
        self.yaw_rate = 0.0
        if self.parameters.WP_YAW_BEHAVIOR and float(np.linalg.norm(self._desired)) > NOSE_MPS:
            off = (math.atan2(self._desired[1], self._desired[0]) - yaw + math.pi) % (2 * math.pi) - math.pi
            self.yaw_rate = float(np.clip(2.0 * off, -math.radians(60), math.radians(60)))


def sqrt_controller(error: float, p: float, acceleration: float) -> float:
    """The speed at which `error` is made good: proportional when near, else what `acceleration` can still stop."""
    linear = acceleration / p**2
    return p * error if error <= linear else math.sqrt(2 * acceleration * (error - 0.5 * linear))


def _stopping_distance(speed: float) -> float:
    """The inverse of `sqrt_controller` with PLANNED_MPS2."""
    linear = PLANNED_MPS2 / POS_P
    return speed / POS_P if speed <= linear else 0.5 * (PLANNED_MPS2 / POS_P**2 + speed**2 / PLANNED_MPS2)


def _closest(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The point of the segment a b that is nearest to the origin."""
    along = b - a
    return a + along * min(max(-float(a @ along) / max(float(along @ along), 1e-9), 0.0), 1.0)


def _crossing(direction: np.ndarray, a: np.ndarray, b: np.ndarray) -> float | None:
    """How far along the unit vector `direction` the segment a b is crossed, or None."""
    along = b - a
    cross = direction[0] * along[1] - direction[1] * along[0]
    if abs(cross) < 1e-9:
        return None
    t = (a[0] * along[1] - a[1] * along[0]) / cross
    part = (a[0] * direction[1] - a[1] * direction[0]) / cross
    return float(t) if t > 0 and -1e-6 <= part <= 1 + 1e-6 else None


def _unit(angle: float) -> np.ndarray:
    return np.array([math.cos(angle), math.sin(angle)])


def _cut(vector: np.ndarray, length: float) -> np.ndarray:
    norm = float(np.linalg.norm(vector))
    return vector if norm <= length else vector * (length / norm)
