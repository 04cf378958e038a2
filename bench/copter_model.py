"""The model of ArduCopter beside the real one: each flight of the real one in its simulation, flown again by the model.

    python bench/copter_model.py

Measured: Copter 4.7.0-dev (commit 90700977c) in its simulation, one person ahead, stick or target held all the time.
The model is offline/simulate/arducopter.py, the flights are those of bench/parts/known_flights.py. Prints two tables,
and one JSON object as the last line: how many stop or hit alike, and by how much closest gaps or impact speeds differ.
"""

import json
import math

import numpy as np
from parts.known_flights import (
    GAP,
    LATENCY,
    LOITER,
    MISSING,
    NEARER,
    OWN_DEFAULTS,
    SILENCE,
    SPEED,
    VX,
    T,
    X,
    brakes_from,
    fly,
    is_hit,
    ranges_of,
    settles,
    silence_from,
)  # fmt: skip

from offline.simulate.arducopter import Parameters
from vit_perception.avoidance.blocked import BlockedScan
from vit_perception.avoidance.scan import make_scan

SWINGS_M = 0.1  # standard deviation of the gap in the last 8 s
CLEAR = make_scan([], (-math.pi / 4, math.pi / 4), publish_clear=True)


def outcome(value: float) -> str:
    return f"{value:.2f} m" if value >= 0 else f"**hit at {-value:.2f} m/s**"


def came(rows: np.ndarray) -> float:
    """The closest gap, m, or minus the speed of the hit."""
    return -float(rows[-1, SPEED]) if is_hit(rows) else float(rows[:, GAP].min())


def stopping() -> list[float]:
    """Print Loiter's flights, measured / modelled; by how much the closest gaps differ, m."""
    print("| PRX_FILT, BACKUP_SPD, BEHAVE | m/s | closest, m | settles at, m | backwards, m/s | brakes from, m |")
    print("|---|---|---|---|---|---|")
    off = []
    for cutoff, backup, behave, speed, closest, settle, back, brake in LOITER:
        rows = fly(Parameters(PRX_FILT=cutoff, AVOID_BACKUP_SPD=backup, AVOID_BEHAVE=behave), speed)
        mean, swing = settles(rows)
        stands = "swings" if settle is None else " .. ".join(f"{m:.2f}" for m in sorted(set(settle)))
        cells = [
            f"{closest:.2f} / {came(rows):.2f}",
            f"{stands} / {'swings' if swing > SWINGS_M else format(mean, '.2f')}",
            f"{'' if back > 0 else '<= '}{abs(back):.2f} / {-rows[:, VX].min():.2f}",
            "-" if brake is None else f"{brake:.1f} / {brakes_from(rows):.1f}",
        ]
        print(f"| {cutoff:g}, {backup:g}, {behave} | {speed:g} | " + " | ".join(cells) + " |", flush=True)
        off.append(abs(came(rows) - closest))
    return off


def line(what: str, measured: float, rows: np.ndarray) -> tuple[float, bool]:
    """Print one flight; by how much it differs, m of the closest gap or m/s of the impact, and whether it hit."""
    modelled = came(rows)
    print(f"| {what} | {outcome(measured)} | {outcome(modelled)} |", flush=True)
    return abs(measured - modelled) if (measured >= 0) == (modelled >= 0) else math.inf, measured < 0


def others() -> list[tuple[float, bool]]:
    print("\n| | measured | modelled |\n|---|---|---|")
    slow = Parameters(PRX_FILT=0.25, AVOID_BACKUP_SPD=0.75)
    off = []
    for speed, measured in OWN_DEFAULTS:
        own = Parameters(PRX_FILT=0.25, AVOID_BACKUP_SPD=0.75, AVOID_MARGIN=2.0, AVOID_BEHAVE=0)
        off.append(line(f"ArduPilot's own defaults, margin 2 m, {speed:g} m/s", measured, fly(own, speed)))
    for latency, speed, measured in LATENCY:
        rows = fly(slow, speed, latency=latency, seconds=20.0)
        off.append(line(f"PRX_FILT 0.25, latency {latency:g} s, {speed:g} m/s", measured, rows))
    for cutoff, with_car, without in NEARER:
        p = Parameters(PRX_FILT=cutoff, AVOID_BACKUP_SPD=0.75)
        car = fly(p, 3.95, speaks=lambda n, t, gap: True if gap < 7.8 else ranges_of(gap + 29.0, 0.0), seconds=25.0)
        off.append(line(f"PRX_FILT {cutoff:g}, somebody appears before a car", with_car, car))
        alone = fly(p, 3.95, speaks=lambda n, t, gap: True if gap < 7.8 else CLEAR, seconds=25.0)
        off.append(line(f"PRX_FILT {cutoff:g}, somebody appears, no car", without, alone))
    for what, said, measured in MISSING:
        rows = fly(slow, 4.0, seconds=20.0, speaks=lambda n, t, gap, said=said: True if said(n) else CLEAR)
        off.append(line(f"PRX_FILT 0.25, {what}", measured, rows))
    for what, begins, guided, measured in SILENCE:
        rows = fly(Parameters(), 4.0, guided=guided, speaks=silence_from(begins))
        off.append(line(f"silence, {what}", measured, rows))
    return off


def blocked() -> None:
    for backup, after in ((0.0, "then stands"), (0.75, "then backwards at 0.75 m/s")):
        for distance in (0.5, 2.0):
            ranges = np.array(BlockedScan().ranges(distance), np.float32)
            p = Parameters(PRX_FILT=0.25, AVOID_BACKUP_SPD=backup)
            rows = fly(p, 3.9, (500.0, 0.0), seconds=30.0, speaks=lambda n, t, gap, r=ranges: r if t > 5.0 else CLEAR)
            begun = rows[rows[:, T] >= 5.0]
            stands = begun[begun[:, VX] < 0.05][0]
            measured = f"stands after 1.4 .. 1.5 s, 3.45 .. 3.85 m; {after}"
            modelled = f"stands after {stands[T] - 5.0:.2f} s, {stands[X] - begun[0, X]:.2f} m; "
            modelled += f"at the end {rows[-1, VX]:.2f} m/s"
            print(f"| blocked at {distance:g} m, BACKUP_SPD {backup:g} | {measured} | {modelled} |", flush=True)


def main() -> None:
    off = [(gap, False) for gap in stopping()] + others()
    blocked()
    gaps, speeds = ([v for v, hits in off if math.isfinite(v) and hits is kind] for kind in (False, True))
    figures = {
        "flights": len(off),
        "stops_or_hits_alike": len(gaps) + len(speeds),
        "median_gap_off_m": round(float(np.median(gaps)), 2),
        "largest_gap_off_m": round(max(gaps), 2),
        "largest_speed_off_mps": round(max(speeds), 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
