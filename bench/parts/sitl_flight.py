"""One flight of a simulation that the user runs: its true state in, our scan out, stick or velocity target held."""

import math
import time
from dataclasses import dataclass, field

import numpy as np

from offline.simulate.autopilot import ObstacleDistance
from offline.simulate.closed_loop import Perception, Setting
from offline.simulate.world import Thing
from vit_perception.autopilot.connection import Connection
from vit_perception.avoidance.geometry import rotation_x, rotation_y, rotation_z
from vit_perception.errors import PerceptionError

SENSOR_UNKNOWN, BODY_FRD = 4, 12
ARM, TAKEOFF, INTERVAL = 400, 22, 511  # MAV_CMD
GUIDED, LOITER = 4, 5  # modes of ArduCopter
VELOCITY_ONLY = 0b110111000111  # SET_POSITION_TARGET: velocity counts, yaw and all else do not
STREAMS = ((30, 50.0), (32, 50.0), (108, 50.0))  # ATTITUDE, LOCAL_POSITION_NED, SIM_STATE
STICK_AHEAD, CENTRE = 1000, 1500  # PWM
EARTH_M = 6378137.0
LOST_S = 5.0


@dataclass
class Truth:
    """The simulated vehicle in the world of the flight: x ahead at its start, y left, z up."""

    position: np.ndarray = field(default_factory=lambda: np.zeros(3))
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(3))
    roll: float = 0.0
    pitch: float = 0.0
    yaw: float = 0.0
    rates: np.ndarray = field(default_factory=lambda: np.zeros(3))
    radius: float = 0.4

    @property
    def level(self) -> np.ndarray:
        return rotation_y(-self.pitch) @ rotation_x(self.roll)

    @property
    def body_to_world(self) -> np.ndarray:
        return rotation_z(self.yaw) @ self.level

    @property
    def turning(self) -> np.ndarray:
        return self.rates


class Simulation:
    """A running simulation of ArduCopter, over a Connection. Time is its own, from boot, in seconds."""

    def __init__(self, url: str, timeout_s: float = 10.0):
        self.c = Connection(url, component=191)
        self.c.wait_for_autopilot(timeout_s)
        if self.c.autopilot.autopilot != 3:
            kind = self.c.kind()
            self.c.close()
            raise PerceptionError(f"{kind} answers on {url}: the flights are written for ArduCopter's modes")
        self.t, self._origin, self._raw = 0.0, None, {}
        for number, hz in STREAMS:
            self.command(INTERVAL, number, int(1e6 / hz))

    def command(self, number: int, *values: float) -> None:
        padded = [*values, *[0.0] * (7 - len(values))]
        self.c.send(self.c.dialect.MAVLink_command_long_message(self.c.system, 1, number, 0, *padded))

    def mode(self, number: int) -> None:
        self.c.send(self.c.dialect.MAVLink_set_mode_message(self.c.system, 1, number))

    def listen(self, seconds: float = 0.005) -> bool:
        """Take what came; whether the vehicle's state is newer than before."""
        before = self.t
        self.c.beat(time.monotonic())
        for msg in self.c.receive(seconds):
            self._raw[msg.get_type()] = msg
            if msg.get_type() == "ATTITUDE":
                self.t = 1e-3 * msg.time_boot_ms
        return self.t > before

    def wait(self, condition, seconds: float, what: str) -> None:
        """Until condition() holds, by the wall clock. PerceptionError if it does not in time."""
        end = time.monotonic() + seconds
        while not condition():
            self.listen()
            if time.monotonic() > end:
                raise PerceptionError(f"the simulation did not {what} in {seconds:.0f} s")

    def place(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(position north, east, up; velocity) m: the truth of SIM_STATE, else what the autopilot takes for it."""
        local, true = self._raw.get("LOCAL_POSITION_NED"), self._raw.get("SIM_STATE")
        if true is not None and getattr(true, "lat_int", 0):  # lat and lon are float32: half a metre
            lat, lon = 1e-7 * true.lat_int, 1e-7 * true.lon_int
            self._origin = self._origin or (lat, lon, true.alt - (-local.z if local is not None else 0.0))
            north = math.radians(lat - self._origin[0]) * EARTH_M
            east = math.radians(lon - self._origin[1]) * EARTH_M * math.cos(math.radians(lat))
            return np.array([north, east, true.alt - self._origin[2]]), np.array([true.vn, true.ve, -true.vd])
        if local is None:
            return None
        return np.array([local.x, local.y, -local.z]), np.array([local.vx, local.vy, -local.vz])

    def truth(self, start: tuple[np.ndarray, float]) -> Truth:
        """The vehicle in the world of a flight that began at start: (position (3,), yaw clockwise from north)."""
        (place, velocity), a = self.place(), self._raw["ATTITUDE"]
        origin, heading = start
        c, s = math.cos(heading), math.sin(heading)
        ahead = np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, 1.0]])  # north, east -> ahead, left
        position = ahead @ (place - [origin[0], origin[1], 0.0])
        rates = np.array([a.rollspeed, -a.pitchspeed, -a.yawspeed])
        return Truth(position, ahead @ velocity, a.roll, a.pitch, heading - a.yaw, rates)

    def send_scan(self, message: ObstacleDistance) -> None:
        self.c.send(
            self.c.dialect.MAVLink_obstacle_distance_message(
                int(1e6 * self.t), SENSOR_UNKNOWN, [int(v) for v in message.distances], 5, message.min_distance,
                message.max_distance, message.increment, message.angle_offset, BODY_FRD,
            )
        )  # fmt: skip

    def stick(self, pitch: int) -> None:
        """The pilot's stick, by RC_CHANNELS_OVERRIDE: all others in the middle."""
        channels = (CENTRE, pitch, CENTRE, CENTRE, 0, 0, 0, 0)
        self.c.send(self.c.dialect.MAVLink_rc_channels_override_message(self.c.system, 1, *channels))

    def target(self, speed: float, heading: float) -> None:
        """A velocity target for Guided, level, along `heading`."""
        north, east = speed * math.cos(heading), speed * math.sin(heading)
        self.c.send(
            self.c.dialect.MAVLink_set_position_target_local_ned_message(
                0, self.c.system, 1, 1, VELOCITY_ONLY, 0, 0, 0, north, east, 0, 0, 0, 0, 0, 0
            )
        )

    def ready(self, height_m: float) -> None:
        """Armed and in the air, hovering in Guided."""
        self.wait(lambda: self.place() is not None and "ATTITUDE" in self._raw, 30.0, "tell its position")
        self.mode(GUIDED)
        end = time.monotonic() + 60.0
        clear = ObstacleDistance(np.full(72, 4001), 50, 4000)  # it does not arm without a scan
        while not (self.c.armed and self.place()[0][2] > 0.8 * height_m):
            self.send_scan(clear)
            if not self.c.armed:
                self.command(ARM, 1)
            else:
                self.command(TAKEOFF, 0, 0, 0, 0, 0, 0, height_m)
            for _ in range(20):
                self.listen(0.02)
            if time.monotonic() > end:
                raise PerceptionError("the simulation did not arm and take off in 60 s; see its console")


def fly(simulation: Simulation, setting: Setting, things: list[Thing], seed: int, step_in=None) -> dict:
    """One flight; the fault is in the setting (kill_at, stale_at), by seconds after its start.

    step_in: (Thing, gap at which it appears, metres), or None.

    Returns:
        closest (m, from the vehicle's middle), hit (speed m/s, or None), fastest, slowest_at_end.
    """
    s = simulation
    s.mode(GUIDED if setting.guided else LOITER)
    place, _ = s.place()
    heading = s._raw["ATTITUDE"].yaw
    start, begun, beat = (place, heading), s.t, time.monotonic()
    perception = Perception(setting, list(things), np.random.default_rng([seed, 11]))
    closest, hit, speeds, next_command = math.inf, None, [], 0.0
    while s.t - begun < setting.duration and hit is None:
        if not s.listen():
            if time.monotonic() - beat > LOST_S:
                raise PerceptionError(f"the simulation sent no ATTITUDE for {LOST_S:.0f} s")
            continue
        beat, t = time.monotonic(), s.t - begun
        vehicle = s.truth(start)
        world = perception.detector.things
        if step_in is not None and step_in[0].gap(vehicle.position, t) < step_in[1]:
            world.append(step_in[0])
            step_in = None
        dead = setting.kill_at is not None and t >= setting.kill_at
        message = perception.guard(t) if dead else perception.step(t, vehicle)[0]
        if message is not None:
            s.send_scan(message)
        if t >= next_command:
            next_command = t + 0.1
            s.target(setting.speed, heading) if setting.guided else s.stick(STICK_AHEAD)
        speed = float(np.linalg.norm(vehicle.velocity[:2]))
        speeds.append((t, speed))
        gap = min((x.gap(vehicle.position, t) for x in world), default=math.inf)
        closest = min(closest, gap)
        if gap < vehicle.radius:
            hit = speed
    s.stick(CENTRE)
    last = [v for t, v in speeds if t > speeds[-1][0] - 3.0]
    return {"closest": closest, "hit": hit, "fastest": max(v for _, v in speeds), "slowest_at_end": min(last)}
