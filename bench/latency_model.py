"""How well the latency model predicts published speeds on Jetson boards: every point fitted, and without itself.

    python bench/latency_model.py [--quick]

Computes only (a few seconds, deterministic); --quick changes nothing. The last line is one JSON object: median_rel_err
is the leave-one-out error, median_rel_err_new_design the one when all networks of the point's design are left out.
"""

import argparse
import json

import numpy as np

from offline.boards.latency_model import PARAMETERS, errors_of, evaluate_published, relative_error
from offline.boards.published_latencies import NETWORKS, POINTS
from offline.boards.targets import TARGETS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="accepted, as by every benchmark")
    parser.parse_args()
    table = evaluate_published()
    head = f"{'network':26}{'board':18}{'':6}{'timing':11}{'ms':>8}{'fitted':>8}"
    print(f"{head}{'left out':>17}{'design left out':>17}")
    columns = zip(POINTS, *(table[k] for k in ("measured", "fitted", "left_out", "design_left_out")), strict=True)
    for p, measured, fitted, left_out, design in columns:
        print(
            f"{p.network:26}{p.target:18}{p.precision:6}{p.timing:11}{1e3 * measured:8.1f}{1e3 * fitted:8.1f}"
            f"{1e3 * left_out:10.1f} {left_out / measured - 1:+6.0%}{1e3 * design:10.1f} {design / measured - 1:+6.0%}"
        )
    print(
        "parameters: " + ", ".join(f"{k} {v:.3g}" for k, v in zip(PARAMETERS, np.exp(table["parameters"]), strict=True))
    )
    boards = {name: errors_of({name}) for name in TARGETS if any(p.target == name for p in POINTS)}
    figures = {
        "points": len(POINTS),
        "designs": len({n.family for n in NETWORKS.values()}),
        "median_rel_err": relative_error(table["left_out"], table["measured"]),
        "max_rel_err": float(np.abs(table["left_out"] / table["measured"] - 1).max()),
        "median_rel_err_new_design": relative_error(table["design_left_out"], table["measured"]),
        "median_rel_err_fitted": relative_error(table["fitted"], table["measured"]),
        "boards": {name: {"median_rel_err": a, "new_design": b} for name, (a, b) in boards.items()},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
