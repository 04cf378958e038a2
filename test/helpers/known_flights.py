"""Flights of the model of ArduCopter as the real one was flown: one person ahead, stick or target held all the time."""

import math

import numpy as np

from offline.simulate.arducopter import Copter
from offline.simulate.autopilot import from_ranges
from offline.simulate.vehicle import Vehicle
from vit_perception.avoidance.scan import make_scan, sector_bins

DT, RADIUS = 0.01, 0.25
T, GAP, VX, VY, SPEED, X, Y, YAW = range(8)


def ranges_of(x, y, view=math.pi / 4):
    """The scan of a person at (x, y) m in the body, x ahead, y right, as a camera of `view` to each side sees it."""
    ranges = make_scan([], (-view, view), publish_clear=True)
    distance, bearing = math.hypot(x, y), math.atan2(y, x)
    if abs(bearing) < view:
        half = math.asin(min(RADIUS / max(distance, RADIUS), 1))
        ranges[sector_bins((bearing - half, bearing + half))] = min(max(distance - RADIUS, 0.5), 40)
    return ranges


def fly(
    parameters, speed, person=(50.0, 0.0), guided=False, seconds=45.0, latency=0.15, stick=(1.0, 0.0), speaks=None,
    start=None, view=math.pi / 4,
):  # fmt: skip
    """Rows (t, gap, vx, vy, speed, x, y, yaw) every 10 ms until the person is hit (gap < 0.4 m) or the time is over.

    speaks: speaks(message number, t, gap) -> ranges to send instead, True: the scan as it is, or None: nothing.
    start: speed at the start; None: `speed`.
    """
    speed_now = speed if start is None else start
    copter = Copter(parameters, guided, speed, np.array([speed_now, 0.0]))
    vehicle = Vehicle(max_jerk=60, max_acceleration=5.7, velocity=np.array([speed_now, 0.0, 0.0]))
    rows, poses = [], []
    for i in range(int(seconds / DT)):
        t = i * DT
        x, y = vehicle.position[0], -vehicle.position[1]
        yaw, velocity = -vehicle.yaw, vehicle.velocity[:2] * [1, -1]
        gap = math.hypot(person[0] - x, person[1] - y) - RADIUS
        poses.append((x, y, yaw))
        if i % 10 == 0:
            sx, sy, syaw = poses[max(0, i - int(latency / DT))]
            said = True if speaks is None else speaks(i // 10, t, gap)
            if said is True:
                dx, dy = person[0] - sx, person[1] - sy
                c, s = math.cos(syaw), math.sin(syaw)
                said = ranges_of(c * dx + s * dy, c * dy - s * dx, view)
            if said is not None:
                copter.receive(from_ranges(said, 0.5, 40.0), t)
        wanted = copter.acceleration(np.array(stick, float), velocity, yaw, t, DT)
        vehicle.yaw_rate = -copter.yaw_rate
        vehicle.step(np.array([wanted[0], -wanted[1], 0.0]), DT)
        rows.append((t, gap, *velocity, float(np.linalg.norm(velocity)), x, y, yaw))
        if gap < 0.4:
            break
    return np.array(rows)


def is_hit(rows):
    return bool(rows[-1, GAP] < 0.4)


def settles(rows):
    """(mean gap, its standard deviation) of the last 8 s."""
    last = rows[rows[:, T] > rows[-1, T] - 8.0]
    return last[:, GAP].mean(), last[:, GAP].std()


def brakes_from(rows):
    """Gap at which it is a tenth slower than at its fastest."""
    fastest = int(np.argmax(rows[:, SPEED] > 0.98 * rows[:, SPEED].max()))
    slower = np.flatnonzero(rows[:, SPEED] < 0.9 * rows[:, SPEED].max())
    return rows[slower[slower > fastest][0], GAP]
