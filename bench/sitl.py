"""The closed loop against a running simulation of ArduCopter: does the real thing stop on our scan?

    python bench/sitl.py --mavlink tcp:127.0.0.1:5760 [--speed 4] [--repeat 1] [--seed 0] [--scenario NAME] [--quick]

Its true position (SIM_STATE) -> our world -> boxes with the detector's noise -> the onboard pipeline ->
OBSTACLE_DISTANCE at 10 Hz; the stick in Loiter, or a velocity target in Guided, is held all the time. The user
starts the simulation (sim_vehicle.py -v ArduCopter), with the parameters of config/ardupilot.parm.
Time is the simulation's. Without one it says so, and ends with 0 tests run. The last line is one JSON object.
"""

import argparse
import json
import math
import sys
from dataclasses import replace

import numpy as np
from closed_loop import ARDUPILOT
from parts.sitl_flight import Simulation, fly

from offline.simulate.closed_loop import Setting
from offline.simulate.world import CAR, PERSON, Thing, draw
from vit_perception.errors import PerceptionError

HEIGHT_M = 1.6
STOPPED_MPS = 0.3
SCENARIOS = ("person", "step_in", "crossing", "dead_node", "stale_camera", "passing")


def scenario(name: str, setting: Setting, rng: np.random.Generator) -> tuple[Setting, list[Thing], tuple | None]:
    """(setting, the world, (who appears, at which gap) or None)."""
    v = setting.speed
    ahead = [draw(rng, PERSON, (50.0, float(rng.uniform(-0.4, 0.4))))]
    if name == "step_in":
        return setting, [draw(rng, CAR, (45.0, 0.0))], (draw(rng, PERSON, (20.0, 0.0)), 2.0 * v)
    if name == "crossing":
        pace = np.array([0.0, 1.2])
        return setting, [draw(rng, PERSON, np.array([40.0, 0.0]) - pace * 40.0 / v, pace, math.pi / 2)], None
    if name == "dead_node":
        return replace(setting, kill_at=float(rng.uniform(0.3, 0.8)) * 50.0 / v), ahead, None
    if name == "stale_camera":
        return replace(setting, stale_at=float(rng.uniform(0.3, 0.8)) * 50.0 / v), ahead, None
    if name == "passing":
        return setting, [draw(rng, PERSON, (30.0, side * float(rng.uniform(3.5, 10.0)))) for side in (-1, 1)], None
    return setting, ahead, None


def judge(name: str, setting: Setting, flown: dict) -> bool:
    """Whether it did what it should: hit nothing; and passed by, or stopped."""
    if flown["hit"] is not None:
        return False
    if name in ("passing", "crossing"):
        return flown["fastest"] > 0.5 * setting.speed
    return flown["slowest_at_end"] < STOPPED_MPS


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mavlink", metavar="URL", default="tcp:127.0.0.1:5760", help="default %(default)s")
    parser.add_argument("--speed", type=float, default=4.0, help="of the target, m/s; in Loiter set LOIT_SPEED")
    parser.add_argument("--repeat", type=int, default=1, help="flights of each scenario and mode")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenario", choices=SCENARIOS, help="this one alone")
    parser.add_argument("--quick", action="store_true", help="one scenario, in Loiter")
    args = parser.parse_args(argv)
    rows: list[dict] = []
    try:
        simulation = Simulation(args.mavlink, 3.0)
    except (PerceptionError, OSError) as e:
        print(f"no simulation: {e}")
        print(json.dumps({"tests_run": 0, "why": str(e)}))
        return 0
    names = [args.scenario] if args.scenario else SCENARIOS[: 1 if args.quick else None]
    problem = ""
    try:
        for name in names:
            for guided in (False,) if args.quick else (False, True):
                for k in range(1 if args.quick else args.repeat):
                    seed = 1000 * args.seed + 100 * SCENARIOS.index(name) + k
                    base = replace(ARDUPILOT, speed=args.speed, duration=60.0 / args.speed + 20.0, guided=guided)
                    setting, things, step_in = scenario(name, base, np.random.default_rng([seed, 31]))
                    simulation.ready(HEIGHT_M)
                    flown = fly(simulation, setting, things, seed, step_in)
                    good = judge(name, setting, flown)
                    rows.append({"scenario": name, "mode": "Guided" if guided else "Loiter", "good": good, **flown})
                    hit = "" if flown["hit"] is None else f"HIT at {flown['hit']:.1f} m/s"
                    told = f"closest {flown['closest']:6.2f} m, at the end {flown['slowest_at_end']:.1f} m/s {hit}"
                    print(f"{name:13} {rows[-1]['mode']:7} {'good' if good else 'BAD ':4} {told}", flush=True)
    except (PerceptionError, OSError) as e:
        problem = str(e)
        print(f"ended: {problem}")
    figures = {
        "tests_run": len(rows),
        "good": sum(r["good"] for r in rows),
        "hits": sum(r["hit"] is not None for r in rows),
    }
    print(json.dumps({**figures, "problem": problem}))
    return int(bool(problem) or figures["good"] < len(rows))


if __name__ == "__main__":
    sys.exit(main())
