"""Flights of the model of ArduCopter as the real one was flown: one person ahead, stick or target held all the time."""

import math

import numpy as np

from offline.simulate.arducopter import Copter
from offline.simulate.autopilot import from_ranges
from offline.simulate.vehicle import Vehicle
from vit_perception.avoidance.scan import make_scan, sector_bins

DT, RADIUS = 0.01, 0.25
T, GAP, VX, VY, SPEED, X, Y, YAW = range(8)

# What the real one did. Metres, m/s.
# Loiter: PRX_FILT, AVOID_BACKUP_SPD, AVOID_BEHAVE, speed; closest, settles between (None: swings to the end), backwards
# (negative: at most so much), brakes from (None: not told). One settling range was told of five speeds.
STOP, SLIDE = (3.12, 3.23), (3.19, 3.26)
LOITER = (
    (0.25, 0.75, 1, 2.0, 2.09, None, 1.4, None), (0.25, 0.75, 1, 4.0, 1.87, None, 1.6, 6.4),
    (0.25, 0.75, 1, 5.7, 2.16, None, 1.5, 12.2), (0.25, 0.75, 1, 6.7, 2.28, None, 1.45, 16.4),
    (0.25, 0.75, 0, 2.0, 2.09, None, 1.4, None), (0.25, 0.75, 0, 4.0, 1.89, None, 1.6, 6.4),
    (0.25, 0.75, 0, 5.7, 2.19, None, 1.5, 12.2), (0.25, 0.75, 0, 6.7, 2.30, None, 1.45, 16.4),
    (0.25, 0.0, 1, 4.0, 1.91, (2.78, 2.78), 0.8, 6.4), (1.0, 0.75, 1, 4.0, 3.02, (3.16, 3.16), 0.5, 8.3),
    (1.0, 0.0, 1, 4.0, 2.98, (3.09, 3.09), 0.4, 8.3), (5.0, 0.75, 1, 4.0, 3.16, (3.23, 3.23), 0.15, 8.9),
    (5.0, 0.0, 1, 4.0, 3.15, (3.22, 3.22), 0.13, 8.9), (0.0, 0.75, 1, 4.0, 3.19, (3.24, 3.24), 0.06, 9.0),
    (0.0, 0.0, 1, 4.0, 3.20, (3.26, 3.26), 0.07, 9.0), (5.0, 0.0, 1, 2.0, 3.05, STOP, -0.5, None),
    (5.0, 0.0, 1, 5.8, 3.18, STOP, -0.5, 16.1), (5.0, 0.0, 1, 6.9, 3.18, STOP, -0.5, 21.7),
    (5.0, 0.0, 1, 7.5, 3.18, STOP, -0.5, 24.5), (5.0, 0.0, 0, 2.0, 3.07, SLIDE, -0.5, None),
    (5.0, 0.0, 0, 4.0, 3.16, SLIDE, -0.5, 8.9), (5.0, 0.0, 0, 5.8, 3.20, SLIDE, -0.5, 16.1),
    (5.0, 0.0, 0, 6.9, 3.18, SLIDE, -0.5, 21.7), (5.0, 0.0, 0, 7.5, 3.17, SLIDE, -0.5, 24.5),
)  # fmt: skip
# ArduPilot's own defaults, AVOID_MARGIN 2 and AVOID_BEHAVE 0 among them: speed; closest. At 4 m/s it slid past.
OWN_DEFAULTS = ((2.0, 1.00), (4.0, 0.84), (5.7, 1.12))
# PRX_FILT 0.25, AVOID_BACKUP_SPD 0.75: latency s, speed; closest, or minus the speed at which it hits.
LATENCY = (
    (0.0, 4.0, 2.37), (0.15, 4.0, 1.89), (0.3, 4.0, 1.38), (0.6, 4.0, -0.47),
    (0.0, 6.7, 2.72), (0.15, 6.7, 2.31), (0.3, 6.7, 1.82), (0.6, 6.7, 0.66),
)  # fmt: skip
# Somebody appears 7.8 m ahead, at 3.95 m/s: PRX_FILT; with a car 37 m ahead before, without it.
NEARER = ((0.25, -3.06, 2.20), (1.0, 1.56, 3.01), (5.0, 2.18, 3.08), (0.0, 2.68, 2.95))
MISSING = (
    ("every 2nd message", lambda n: n % 2 == 0, 1.38), ("2 of 3 missing", lambda n: n % 3 == 0, -2.21),
    ("4 of 5 missing", lambda n: n % 5 == 0, -3.24), ("9 of 10 missing", lambda n: n % 10 == 0, -3.65),
    ("1 s in every 2 s missing", lambda n: n % 20 < 10, -2.39),
)  # fmt: skip
SILENCE = (
    ("standing before the person", lambda t, gap: t > 25.0, False, -3.94),
    ("braking, 7.8 m away", lambda t, gap: gap < 7.8, False, -3.72),
    ("cruising, 24.7 m away", lambda t, gap: gap < 24.7, False, -4.0),
    ("Guided, velocity target, 25 m away", lambda t, gap: gap < 25.0, True, -4.01),
)


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


def silence_from(begins):
    """`speaks` of `fly`: nothing any more once begins(t, gap) was true."""
    gone = []

    def speaks(n, t, gap):
        if begins(t, gap):
            gone.append(t)
        return None if gone else True

    return speaks
