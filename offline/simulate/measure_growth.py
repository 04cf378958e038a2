"""Measures the errors of growth from pixels (vit_perception/tracking/growth.py) on rendered flights.

    python -m offline.simulate.measure_growth [--flights 24]

Approaches to people, cars and bicycles at 15 Hz. Boxes are the true ones with the jitter of noise.json. The truth is by
how much the distance to the object's middle shrank: what is wrong then is that near parts grow faster, that people move
their legs, and what stands still behind. Writes offline/simulate/growth.json: for objects of each size, how often a
growth is told, the quantiles of its error, its sigma, and how much of the error is the same at the next comparison.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from offline.errors import one_sentence
from offline.files import write_text
from offline.progress import track as progress
from offline.render import CLASSES, Flight
from vit_perception.tracking.growth import INTERVAL_S, growth

from .noise import POSITION_JITTER, SIZE_JITTER, at

BINS = (10, 16, 24, 36, 56, 400)  # px
QUANTILES = (0.01, 0.05, 0.16, 0.5, 0.84, 0.95, 0.99)
FPS, FRAMES = 15.0, 90
WHOLE = 0.8  # visible share of the objects that count


def looks(flight: Flight, seed: int) -> list[tuple[float, float, float, float]]:
    """(size in px, error, its sigma, error at the comparison before) of each object in every comparison; or NaN."""
    rng, rows = np.random.default_rng([seed, 83]), []
    step = int(np.ceil(INTERVAL_S * FPS))
    before, errors = None, dict[int, float]()
    for i in range(0, FRAMES, step):
        frame = flight.frame(i)
        now = {o.track_id: o for o in frame.objects if o.label is not None and o.visible > WHOLE and o.truncated == 0}
        if before is not None:
            image, seen = before
            told = {}
            for name in now.keys() & seen.keys():
                one, two = (_jittered(rng, o.bbox) for o in (seen[name], now[name]))
                true = seen[name].range_m / now[name].range_m
                found = growth(image, frame.image, one, two)
                told[name] = np.nan if found is None else float(np.log(found[0] / true))
                sigma = np.nan if found is None else found[1]
                size = float(np.sqrt(seen[name].bbox[2] * seen[name].bbox[3]))
                rows.append((size, told[name], sigma, errors.get(name, np.nan)))
            errors = told
        before = frame.image, now
    return rows


def _jittered(rng, bbox) -> np.ndarray:
    x, y, w, h = bbox
    size = np.sqrt(w * h)
    side = np.array([w, h]) * np.exp(at(SIZE_JITTER, size) * rng.normal(size=2))
    centre = np.array([x + 0.5 * w, y + 0.5 * h]) + at(POSITION_JITTER, size) * rng.normal(size=2) * [w, h]
    return np.concatenate([centre - 0.5 * side, centre + 0.5 * side])


@one_sentence
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--flights", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "growth.json", help="default %(default)s")
    args = parser.parse_args(argv)
    table: list[tuple[float, float, float, float]] = []
    for i in progress(range(args.flights), "flights"):
        flight = Flight("approach", frames=FRAMES, fps=FPS, seed=700 + i, size=(640, 512), target=CLASSES[i % 3])
        table += looks(flight, i)
    rows = np.array(table)
    result: dict = {
        "flights": args.flights,
        "quantiles": QUANTILES,
        "size_px": [],
        "looks": [],
        "told": [],
        "error": [],
        "sigma": [],
    }
    for low, high in zip(BINS, BINS[1:], strict=False):
        some = rows[(rows[:, 0] >= low) & (rows[:, 0] < high)]
        told = some[np.isfinite(some[:, 1])]
        result["size_px"].append(round(float(np.median(some[:, 0])), 1))
        result["looks"].append(len(some))
        result["told"].append(round(len(told) / len(some), 3))
        result["error"].append(np.quantile(told[:, 1], QUANTILES).round(4).tolist())
        result["sigma"].append(round(float(np.median(told[:, 2])), 4))
    pairs = rows[np.isfinite(rows).all(axis=1)][:, [1, 3]]
    result["again"] = round(float(np.corrcoef(np.clip(pairs, -0.1, 0.1).T)[0, 1]), 3)
    for key, value in result.items():
        print(f"{key:<12}", value)
    write_text(args.out, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
