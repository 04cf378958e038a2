"""The model of ArduCopter against flights of the real one in its simulation: Copter 4.7.0-dev, about 250 flights.

Each row is what was measured there. Tolerances are stated: the model knows the rules of avoidance, and the vehicle's
own loops only roughly.
"""

import math

import numpy as np
import pytest

from bench.parts.known_flights import GAP, LOITER, SPEED, VX, T, X, Y, brakes_from, fly, is_hit, settles, silence_from
from offline.simulate.arducopter import Parameters, Proximity
from offline.simulate.autopilot import from_ranges
from vit_perception.avoidance.blocked import BlockedScan
from vit_perception.avoidance.scan import make_scan

CLOSEST_M, SETTLE_M, BRAKE_M, BACK_MPS = 0.35, 0.25, 1.0, 0.45  # tolerances
CLEAR = make_scan([], (-math.pi / 4, math.pi / 4), publish_clear=True)


# Of the flights at AVOID_BEHAVE 1: a speed, a filter and a way to back off of each kind.
FLOWN = [(0.25, 0.75, 4.0), (0.25, 0.75, 6.7), (0.25, 0.0, 4.0), (1.0, 0.0, 4.0), (5.0, 0.75, 4.0), (5.0, 0.0, 4.0),
         (0.0, 0.0, 4.0), (5.0, 0.0, 2.0), (5.0, 0.0, 6.9)]  # fmt: skip
LOITER_ROWS = [(*r[:2], *r[3:]) for r in LOITER if r[2] == 1 and (*r[:2], r[3]) in FLOWN]
assert len(LOITER_ROWS) == len(FLOWN)


@pytest.mark.parametrize(("cutoff", "backup", "speed", "closest", "settle", "back", "brake"), LOITER_ROWS)
def test_it_stops_in_loiter_where_the_real_one_stops(cutoff, backup, speed, closest, settle, back, brake):
    rows = fly(Parameters(PRX_FILT=cutoff, AVOID_BACKUP_SPD=backup), speed)
    mean, swing = settles(rows)
    assert rows[:, GAP].min() == pytest.approx(closest, abs=CLOSEST_M) and not is_hit(rows)
    backwards = -rows[:, VX].min()
    assert abs(backwards - back) <= BACK_MPS if back > 0 else backwards <= -back + 0.1, "negative: measured is at most"
    if settle is None:
        assert swing > 0.15, "it bounces to the end"
    else:
        assert settle[1] - SETTLE_M < mean < settle[0] + SETTLE_M and swing < 0.05
    if brake is not None:
        assert brakes_from(rows) == pytest.approx(brake, abs=BRAKE_M)


@pytest.mark.parametrize(("latency", "closest"), [(0.0, 2.37), (0.3, 1.38), (0.6, 0.4)])
def test_latency_brings_it_nearer(latency, closest):
    rows = fly(Parameters(PRX_FILT=0.25, AVOID_BACKUP_SPD=0.75), 4.0, latency=latency, seconds=20.0)
    assert rows[:, GAP].min() == pytest.approx(closest, abs=CLOSEST_M)


# Every n-th message only; closest, or the speed at which it hits.
@pytest.mark.parametrize(("every", "hit"), [(2, None), (3, 2.21), (5, 3.24), (10, 3.65)])
def test_what_is_missing_from_messages_is_forgotten(every, hit):
    rows = fly(
        Parameters(PRX_FILT=0.25, AVOID_BACKUP_SPD=0.75), 4.0, seconds=20.0,
        speaks=lambda n, t, gap: True if n % every == 0 else CLEAR,
    )  # fmt: skip
    assert is_hit(rows) == (hit is not None)
    assert (rows[-1, SPEED] if hit else rows[:, GAP].min()) == pytest.approx(hit or 1.38, abs=0.6)


# PRX_FILT, AVOID_BACKUP_SPD, WP_YAW_BEHAVIOR, speed; closest.
GUIDED = ((0.25, 0.0, 2, 2.0, 1.6), (0.25, 0.0, 2, 4.0, 0.6), (5.0, 0.0, 2, 4.0, 2.61), (5.0, 0.0, 2, 6.0, 2.70),
          (0.25, 0.75, 0, 2.0, 1.71), (0.25, 0.75, 0, 4.0, 0.78))  # fmt: skip


@pytest.mark.parametrize(("cutoff", "backup", "yaw", "speed", "closest"), GUIDED)
def test_it_stops_in_guided_where_the_real_one_stops(cutoff, backup, yaw, speed, closest):
    p = Parameters(PRX_FILT=cutoff, AVOID_BACKUP_SPD=backup, WP_YAW_BEHAVIOR=yaw)
    rows = fly(p, speed, guided=True)
    assert rows[:, GAP].min() == pytest.approx(closest, abs=0.4) and not is_hit(rows)


@pytest.mark.parametrize("cutoff", [0.25, 5.0])
def test_in_guided_with_the_defaults_the_nose_turns_away_and_it_flies_into_what_it_left(cutoff):
    p = Parameters(PRX_FILT=cutoff, AVOID_BACKUP_SPD=0.75, WP_YAW_BEHAVIOR=2)
    rows = fly(p, 4.0, guided=True, seconds=60.0)
    assert np.abs(rows[:, 7]).max() > math.radians(45), "the nose followed the backward velocity"
    assert is_hit(rows) and rows[-1, SPEED] > 1.0


@pytest.mark.parametrize(
    ("begins", "hit"),
    [(lambda t, gap: t > 25.0, 3.94), (lambda t, gap: gap < 7.8, 3.72), (lambda t, gap: gap < 24.7, 4.0)],
    ids=["standing", "braking", "cruising"],
)
def test_in_silence_it_flies_on_and_hits(begins, hit):
    rows = fly(Parameters(), 4.0, speaks=silence_from(begins))
    assert is_hit(rows) and rows[-1, SPEED] == pytest.approx(hit, abs=0.35)
    standing = rows[(rows[:, T] > 25.0) & (rows[:, T] < 27.0)]
    if hit == 3.94:
        moves = rows[(rows[:, T] > 25.0) & (rows[:, SPEED] > 0.3)][0, T] - 25.0
        assert 1.0 <= moves <= 2.4 and len(standing), "measured: 2.2 s; forgotten after 1 to 1.75 s"


@pytest.mark.parametrize("distance", [0.5, 2.0])
@pytest.mark.parametrize("backup", [0.0, 0.75])
def test_a_blocked_scan_stops_it(distance, backup):
    ranges = np.array(BlockedScan().ranges(distance), np.float32)
    p = Parameters(PRX_FILT=0.25, AVOID_BACKUP_SPD=backup)
    rows = fly(p, 3.9, person=(500.0, 0.0), seconds=30.0, speaks=lambda n, t, gap: ranges if t > 5.0 else CLEAR)
    begun = rows[rows[:, T] >= 5.0]
    stands = begun[begun[:, VX] < 0.05][0]
    assert stands[T] - 5.0 == pytest.approx(1.45, abs=0.35)
    assert stands[X] - begun[0, X] == pytest.approx(3.65, abs=0.8)
    end = rows[-1]
    assert (end[VX] == pytest.approx(-0.75, abs=0.1)) if backup else abs(end[VX]) < 0.05, "backs away without end"


# Stick direction in degrees, metres moved in 4 s: person 4.5 m ahead, whole circle in the scan, AVOID_BEHAVE 1. Away
# from it 7.6 m were moved; the model speeds up sooner, so free directions are compared with that.
@pytest.mark.parametrize(("degrees", "moved"), [(0, 1.3), (30, 1.6), (45, 1.7), (75, 6.3), (90, 7.0)])
def test_one_face_closes_three(degrees, moved):
    def metres(degrees):
        stick = (math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))
        rows = fly(Parameters(), 3.0, person=(4.75, 0.0), stick=stick, start=0.0, seconds=4.0, view=math.pi)
        return math.hypot(rows[-1, X], rows[-1, Y])

    if degrees <= 45:
        assert metres(degrees) == pytest.approx(moved, abs=0.5)
    else:
        assert metres(degrees) / metres(180) == pytest.approx(moved / 7.6, abs=0.2)


def test_the_map_has_no_memory_and_its_walls_are_straight():
    proximity, ranges = Proximity(0.0), CLEAR.copy()
    ranges[35:38] = 5.0
    proximity.take(from_ranges(ranges, 0.5, 40.0), 0.0)
    walls = proximity.walls()
    assert proximity.valid.tolist() == [True] + 7 * [False] and len(walls) == 3
    middle = min(float(np.linalg.norm(0.5 * (a + b))) for a, b in walls)
    assert middle == pytest.approx(5.0 * math.cos(math.radians(22.5)), abs=0.01)
    proximity.take(from_ranges(CLEAR, 0.5, 40.0), 0.1)
    assert not proximity.valid.any() and proximity.walls() == []
    proximity.take(from_ranges(ranges, 0.5, 40.0), 0.2)
    proximity.expire(0.3)
    proximity.expire(1.1)
    assert proximity.valid[0], "after silence an obstacle lives for a second or longer"
    proximity.expire(2.0)
    assert not proximity.valid.any()
