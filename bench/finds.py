"""Where are the people? Finds of rendered search flights against the truth, with the errors that autopilots have.

    python bench/finds.py [--seed N] [--flights N] [--quick]

Three legs of a lawnmower at 15, 30 and 60 m over 12 people who stand and 5 who walk, among walls, trees and cars, the
camera 60 degrees down. Boxes are the rendered ones with the committed detector's measured noise, false positives
included; the tracker is the node's, the finds' parameters are its defaults. Then the same boxes are placed with exact
poses; with every error of an autopilot at once (position 1.5 m drifting, attitude 1 degree, heading 5 degrees, clocks
0.1 s apart); with a mount that is off by 1 degree and a height by 0.5 m too ("all"); and with each alone, of half as
many draws. These are standard deviations, drawn several times for each flight. False positives stand still in the
image, as in the project's other benchmarks: over the ground they move with the vehicle, and the map leaves them out by
their speed. "all, ground" is the harder case: there they lie on the ground.

people: those of whom the detector saw at least 5 whole boxes. found: share of them with a confirmed find. duplicates:
confirmed finds of somebody who has one already, as a share of the people found. false_finds: confirmed finds a flight
that are mostly no person. The last line is one JSON object: keys without a suffix are all errors at 30 m.
"""

import argparse
import json
import time
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
from parts.search_flight import SIZE, Errors, Recorded, record, told

from offline.progress import track
from vit_perception.avoidance.camera import Camera
from vit_perception.finds.search import Search
from vit_perception.parameters import SPECS

LABELS = ["Person", "Car", "Bicycle"]
REAL = Errors(position=1.5, attitude=1.0, heading=5.0, clock=0.1, mount=1.0, height=0.5)
AUTOPILOT = replace(REAL, mount=0.0, height=0.0)
CASES = {"exact": Errors(), "autopilot": AUTOPILOT, "all": REAL} | {
    name: replace(Errors(), **{name: value}) for name, value in vars(REAL).items()
}
ORIGIN = (47.4, 8.5)
LATENCY_S = 0.06  # from an image to what the detector makes of it
FIRST_SEED, MOST_LEGS_QUICK = 900, 2
DUMMY = np.zeros(SIZE[::-1], np.uint8)


def place(flight: Recorded, errors: Errors, seed: int) -> dict:
    """Counts and errors of one flight."""
    rng = np.random.default_rng([seed, 11])
    values = {s.name: s.default for s in SPECS} | {"finds.folder": ""}
    search = Search(values, LABELS, lambda kind, text: None)
    messages, mount = told(flight.course, errors, rng)
    camera = Camera(*flight.camera, *SIZE)
    looks: dict[int, Counter] = defaultdict(Counter)
    update = search.finds.update
    truth_of: dict[int, int | None] = {}

    def listen(stamp_s, found):
        pairs = update(stamp_s, found)
        for look, find in pairs:
            looks[find.id][truth_of[(stamp_s, look.track)]] += 1
        return pairs

    search.finds.update = listen
    search.add_fix(-2.0, *ORIGIN, 400.0)
    frame, done, spent = search.frame, 0, []
    for t, boxes in flight.frames:
        while done < len(messages) and messages[done][0] <= t + LATENCY_S:
            _, what, stamp, value = messages[done]
            done += 1
            if what == "position":
                search.add_fix(stamp, *frame.to_geodetic(*value)[:2], 430.0)
            elif what == "orientation":
                search.add_orientation(stamp, value)
            else:
                search.add_height(stamp, value)
        truth_of.update({(t, b.id): b.truth for b in boxes})
        begun = time.perf_counter()
        search.add_image(t, boxes, DUMMY, "mono", camera, mount)
        spent.append(1e3 * (time.perf_counter() - begun))
    search.close()
    return judge(flight, search.finds.finds.values(), looks) | {"ms": spent, "unplaced": search.unplaced}


def judge(flight: Recorded, finds, looks) -> dict:
    """Whom each confirmed find shows, by most of its looks, and how far off it is."""
    owners, error, distance, false, standing, walking = Counter(), [], [], 0, 0, 0
    for find in finds:
        if not find.confirmed or find.label != "Person":
            continue
        seen = sum((looks[i] for i in [find.id, *find.merged]), Counter())
        one = seen.most_common(1)[0][0]
        if one is None:
            false += 1
            continue
        owners[one] += 1
        off = find.state[:2] - flight.people[one].motion.at(find.last_s)[0]
        error.append(float(np.hypot(*off)))
        distance.append(float(off @ np.linalg.solve(find.covariance[:2, :2], off)))
    people = [p for p, n in flight.detected.items() if n >= 5]
    again = {p: n - 1 for p, n in owners.items() if n > 1}
    for p, n in again.items():
        walking, standing = (walking + n, standing) if flight.people[p].motion.speed else (walking, standing + n)
    return {
        "people": len(people),
        "found": sum(p in owners for p in people),
        "duplicates": sum(again.values()),
        "duplicates_walking": walking,
        "walking_found": sum(bool(flight.people[p].motion.speed) for p in owners),
        "owners": len(owners),
        "false": false,
        "error": error,
        "distance": distance,
    }


def figures(results: list[dict]) -> dict:
    total = {k: sum(r[k] for r in results) for k in results[0] if isinstance(results[0][k], int)}
    error = np.concatenate([r["error"] for r in results])
    distance = np.concatenate([r["distance"] for r in results])
    return {
        "people": total["people"],
        "found": round(total["found"] / total["people"], 3),
        "duplicates": round(total["duplicates"] / max(total["owners"], 1), 3),
        "duplicates_walking": round(total["duplicates_walking"] / max(total["walking_found"], 1), 3),
        "false_finds": round(total["false"] / len(results), 2),
        "error_m_median": round(float(np.median(error)), 2),
        "error_m_p95": round(float(np.percentile(error, 95)), 2),
        "within_1_sigma": round(float((distance <= 1).mean()), 3),
        "within_2_sigma": round(float((distance <= 4).mean()), 3),
        "ms_per_frame": round(float(np.mean(np.concatenate([r["ms"] for r in results]))), 2),
        "unplaced": total["unplaced"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help=f"of the first flight ({FIRST_SEED})")
    parser.add_argument("--flights", type=int, default=6, help="at each height (6)")
    parser.add_argument("--draws", type=int, default=4, help="of the errors, of each flight (4)")
    parser.add_argument("--heights", type=int, nargs="+", default=[15, 30, 60])
    parser.add_argument("--quick", action="store_true", help="one short flight at 30 m")
    args = parser.parse_args()
    heights, flights, draws, legs = args.heights, args.flights, args.draws, None
    if args.quick:
        heights, flights, draws, legs = [30], 1, 1, MOST_LEGS_QUICK
    results: dict = defaultdict(list)
    for height, seed in track([(h, args.seed + i) for h in heights for i in range(flights)], "flights"):
        flight = record(seed, height, legs)
        for case, errors in CASES.items():
            for draw in range({"exact": 1, "autopilot": draws, "all": draws}.get(case, max(draws // 2, 1))):
                results[height, case].append(place(flight["image"], errors, 100 * seed + draw))
        results[height, "all, ground"] += [place(flight["ground"], REAL, 100 * seed + d) for d in range(draws)]
    table = {key: figures(r) for key, r in results.items()}
    names = list(next(iter(table.values())))
    print(f"{'height':>6} {'errors':<12}" + "".join(f"{n.replace('error_m_', 'm '):>16}" for n in names[1:-1]))
    for (height, case), row in table.items():
        print(f"{height:>6} {case:<12}" + "".join(f"{row[n]:>16}" for n in names[1:-1]))
    summary = dict(table[30 if 30 in heights else heights[0], "all"])
    for (height, case), row in table.items():
        short = (
            row
            if case.startswith(("all", "exact", "autopilot"))
            else {n: row[n] for n in ("error_m_median", "error_m_p95")}
        )
        case = case.replace(", ", "_")
        summary |= {f"{n}_{case}_{height}m": value for n, value in short.items()}
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
