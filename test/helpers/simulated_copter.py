"""A stand-in for ArduCopter's simulation: the project's own model of it behind MAVLink on UDP."""

import math
import threading
import time

import numpy as np
from scripted_autopilot import ScriptedAutopilot, common

from offline.simulate.arducopter import Copter, Parameters
from offline.simulate.autopilot import ObstacleDistance
from offline.simulate.vehicle import Vehicle

EARTH_M = 6378137.0
STEP_S, RATE = 0.01, 4.0  # its step, and how many times real time it runs
HEADING = math.radians(70.0)  # of the nose, clockwise from north: axes that are mixed up would show
LATITUDE, LONGITUDE = 47.3, 8.5


class SimulatedCopter(ScriptedAutopilot):
    """Flies what RC_CHANNELS_OVERRIDE in Loiter or a velocity target in Guided asks for, and avoids what it is told."""

    def __init__(self, speed):
        self.copter = Copter(Parameters(LOIT_SPEED=speed), False, speed)
        self.vehicle = Vehicle(max_jerk=60, max_acceleration=5.7, yaw=-HEADING, position=np.array([3.0, 4.0, 1.6]))
        self.stick, self.t, self.arming_scans = np.zeros(2), 0.0, 0
        super().__init__(autopilot=3)
        self.streams = False
        self._flight = threading.Thread(target=self._fly, daemon=True)
        self._flight.start()

    def close(self):
        self._stop.set()
        self._flight.join()
        super().close()

    def _fly(self):
        while not self._stop.is_set():
            begun = time.monotonic()
            velocity = self.vehicle.velocity[:2] * [1, -1]  # north, east
            wanted = self.copter.acceleration(self.stick, velocity, -self.vehicle.yaw, self.t, STEP_S)
            self.vehicle.step(np.array([wanted[0], -wanted[1], 0.0]), STEP_S)
            self.t += STEP_S
            if round(self.t / STEP_S) % 2 == 0:
                self._tell()
            time.sleep(max(0.0, STEP_S / RATE - (time.monotonic() - begun)))

    def _tell(self):
        v, ms = self.vehicle, int(1e3 * self.t)
        north, east, up = v.position[0], -v.position[1], v.position[2]
        ahead = v.level @ [1.0, 0.0, 0.0]
        roll, pitch = math.atan2(v.level[2, 1], v.level[2, 2]), math.asin(ahead[2])
        p, q, r = v.turning
        self.send(common.MAVLink_local_position_ned_message(ms, north, east, -up, *v.velocity * [1, -1, -1]))
        lat = LATITUDE + math.degrees(north / EARTH_M)
        lon = LONGITUDE + math.degrees(east / EARTH_M / math.cos(math.radians(LATITUDE)))
        zero = [0.0] * 9
        state = [1.0, 0.0, 0.0, 0.0, *zero, lat, lon, 500.0 + up, 0.0, 0.0, *v.velocity * [1, -1, -1]]
        self.send(common.MAVLink_sim_state_message(*state, int(1e7 * lat), int(1e7 * lon)))
        self.send(common.MAVLink_attitude_message(ms, roll, pitch, -v.yaw, p, -q, -r))

    def _answer(self, msg):
        kind = msg.get_type()
        if kind == "OBSTACLE_DISTANCE":
            self.arming_scans += not self.armed
            limits = msg.min_distance, msg.max_distance, msg.increment_f, msg.angle_offset
            self.copter.receive(ObstacleDistance(np.array(msg.distances), *limits), self.t)
        elif kind == "COMMAND_LONG" and msg.command == 400:
            self.armed = self.arming_scans > 0  # "PreArm: PRX1: No Data" without
        elif kind == "SET_MODE":
            self.copter.guided, self.stick = msg.custom_mode == 4, np.zeros(2)
        elif kind == "RC_CHANNELS_OVERRIDE":
            self.stick = (1500 - msg.chan2_raw) / 500 * np.array([math.cos(HEADING), math.sin(HEADING)])
        elif kind == "SET_POSITION_TARGET_LOCAL_NED":
            self.stick = np.array([msg.vx, msg.vy]) / self.copter.speed
        else:
            super()._answer(msg)
