"""Does the vehicle stop when nobody looks any more? A dead node and a stale camera, at cruise, while braking, standing.

    python bench/stops.py [--runs 100] [--seed 0] [--autopilot px4|ardupilot] [--quick]

Somebody stands 40 m ahead, and the stick or the velocity target is held all the time. To know when it brakes and
stands, a flight is flown without the fault first, then with it at that moment. PX4's model gets silence (on_stale
silent); ArduCopter's, with the parameters of config/ardupilot.parm, the blocked scan of the node or, where that is
dead, of its guard. Stopped is who comes to rest, stays so to the end, 25 s later, and hit nothing. The last line is one
JSON object.
"""

import argparse
import json
import sys
from dataclasses import replace
from functools import cache

import numpy as np
from closed_loop import ARDUPILOT, BASE, stopped

from offline.errors import one_sentence
from offline.simulate.closed_loop import Run, Setting, fly
from offline.simulate.world import PERSON, Thing, draw

AHEAD_M, AFTER_S = 40.0, 25.0
WHEN = ("cruise", "braking", "standing")


def person(seed: int) -> list[Thing]:
    """Somebody who stands in the way."""
    rng = np.random.default_rng([seed, 21])
    return [draw(rng, PERSON, (AHEAD_M, float(rng.uniform(-0.4, 0.4))))]


def moment(run: Run, speed: float, when: str, rng: np.random.Generator) -> float | None:
    """Time of the fault in a flight that was flown without it; None: it never did that."""
    if when == "cruise":
        return float(rng.uniform(1.0, 0.5 * AHEAD_M / speed))
    rows = np.array(run.track)
    slow = np.flatnonzero(rows[:, 3] < (0.8 * speed if when == "braking" else 0.1))
    later = slow[rows[slow, 0] > 0.5]
    return None if not len(later) else float(rows[later[0], 0] + rng.uniform(0.0, 0.5 if when == "braking" else 3.0))


@cache
def prepared(base: Setting, seed: int, when: str) -> tuple[Setting, float | None]:
    """A flight, and the time of its fault; None: it could not be brought about."""
    rng = np.random.default_rng([seed, 22])
    speed = float(rng.uniform(1.0, 4.0 if base.autopilot == "px4" else 6.0))
    setting = replace(
        base, speed=speed, duration=AHEAD_M / speed + 20.0, latency=float(rng.uniform(0.05, 0.15)), hold_on_alert=False,
        fps=float(rng.uniform(10, 30)), dropped=float(rng.uniform(0, 0.3)),
        guided=base.autopilot == "ardupilot" and seed % 2 == 1,
    )  # fmt: skip
    run = Run() if when == "cruise" else fly(setting, seed, person(seed), keep_track=True)
    return setting, moment(run, speed, when, rng)


def one(base: Setting, seed: int, when: str, fault: str) -> Run | None:
    """A flight with the fault, or None if it could not be brought about."""
    setting, at = prepared(base, seed, when)
    if at is None:
        return None
    setting = replace(setting, duration=at + AFTER_S, **{"dead": {"kill_at": at}, "stale": {"stale_at": at}}[fault])
    return fly(setting, seed, person(seed))


def table(base: Setting, runs: int, seed: int) -> dict[str, str]:
    """{'dead node, braking': 'stopped of flown'}."""
    found = {}
    for fault, name in (("dead", "dead node"), ("stale", "stale camera")):
        for k, when in enumerate(WHEN):
            flown = [one(base, 1000 * seed + 300 * k + i, when, fault) for i in range(runs)]
            ran = [r for r in flown if r is not None]
            good = sum(stopped(base, r) for r in ran)
            found[f"{name}, {when}"] = f"{good} of {len(ran)}"
            print(f"{base.autopilot:10} {name}, {when}: {good} of {len(ran)} stopped", file=sys.stderr, flush=True)
    return found


@one_sentence
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=100, help="of each fault at each moment (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="other flights than those of another number")
    parser.add_argument("--autopilot", choices=("px4", "ardupilot"), help="this one alone")
    parser.add_argument("--quick", action="store_true", help="few runs")
    args = parser.parse_args(argv)
    runs = 2 if args.quick else args.runs
    bases = {"px4": BASE, "ardupilot": ARDUPILOT}
    chosen = [args.autopilot] if args.autopilot else list(bases)
    print(json.dumps({"runs_each": runs, **{name: table(bases[name], runs, args.seed) for name in chosen}}))


if __name__ == "__main__":
    main()
