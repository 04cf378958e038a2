"""Every bundle in one table: size, work, time, memory, predicted board speed, accuracy.

    python bench/models.py [--models models] [--data DIR --val val.json --val-flights val_flights.json
        --ignore DontCare --classes Person,Car,Bicycle] [--quick]

Times are medians of one thread of ONNX Runtime, all files of all bundles taking turns in one run: trust the ratios.
With --data the accuracy is measured here; without it (and with --quick) it is what the bundle's own metrics say of a
data set of that name. The last line is a JSON list, one object per bundle.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import onnx

from offline.data import read_dataset
from offline.errors import one_sentence
from offline.evaluate import EVALUATION_SCORE, evaluate
from offline.latency import ROUNDS, alternate, memory_mb
from offline.latency_model import predict
from offline.layers import layers_of_onnx
from offline.targets import find_target
from vit_perception.bundle import Bundle, open_bundle
from vit_perception.detector import Detector
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

VARIANTS = ("fp32", "int8")


def times(bundles: list[Bundle], rounds: int) -> dict[tuple[str, str], float]:
    """{(bundle, variant): milliseconds}. Each bundle sees its own golden images; the bundles take turns."""
    engines, images = {}, {}
    for b in bundles:
        for v in (v for v in VARIANTS if v in b.variants):
            engines[b.name, v] = OnnxRuntimeEngine(b.file(v), v, threads=1)
            images[b.name, v] = np.load(b.file("golden"))["images"].astype(np.float32)
    return alternate(engines, images, rounds)


def accuracy(bundle: Bundle, args: argparse.Namespace, val: str) -> float | None:
    """mAP50 on `val`: measured if there is data, else from the bundle's own metrics; None if they do not name it."""
    if args.data is None or args.quick:
        stem = Path(val).stem
        known = [m for m in bundle.metrics if m["variant"] == "fp32" and Path(m["data"]).stem == stem]
        return known[0]["map50"] if known else None
    classes = args.classes.split(",") if args.classes else bundle.labels
    data = read_dataset(args.data, val, None, tuple(args.ignore), classes)
    detector = Detector(bundle, OnnxRuntimeEngine(bundle.file("fp32")), score_threshold=EVALUATION_SCORE)
    return evaluate(detector, bundle.labels, bundle.input["color"], data, f"{bundle.name} {val}")["map50"]


def figures(bundle: Bundle, ms: dict, args: argparse.Namespace) -> dict:
    master = Path(bundle.file("fp32"))
    layers = layers_of_onnx(master)
    weights = sum(math.prod(t.dims) for t in onnx.load(str(master)).graph.initializer)
    nano = predict(layers, find_target("jetson-nano"), "fp16")
    sizes = {v: Path(bundle.file(v)).stat().st_size / 1e6 if v in bundle.variants else None for v in VARIANTS}
    return {
        "name": bundle.name,
        "params_m": round(weights / 1e6, 3),
        "gmac": round(sum(layer.macs for layer in layers) / 1e9, 3),
        **{f"mb_{v}": size and round(size, 2) for v, size in sizes.items()},
        **{f"ms_1t_{v}": (bundle.name, v) in ms and round(ms[bundle.name, v], 1) or None for v in VARIANTS},
        "rss_mb": round(memory_mb(master), 1),
        "nano_fps_predicted": round(1e3 / nano.ms, 1),
        "nano_fps_error": round(nano.error, 3),  # leave-one-out
        "nano_fps_error_new_design": round(nano.new_design, 3),
        "map50_val": accuracy(bundle, args, args.val),
        "map50_val_flights": accuracy(bundle, args, args.val_flights),
    }


@one_sentence
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of bundles (default %(default)s)")
    parser.add_argument("--data", type=Path, help="folder with labelled images, to measure the accuracy anew")
    parser.add_argument("--val", default="val.json")
    parser.add_argument("--val-flights", default="val_flights.json")
    parser.add_argument("--ignore", action="append", default=[], metavar="CLASS")
    parser.add_argument("--classes", help="comma-separated labels that count")
    parser.add_argument("--quick", action="store_true", help="few rounds, accuracy from the bundles' own metrics")
    args = parser.parse_args(argv)
    bundles = [open_bundle(p.parent) for p in sorted(args.models.glob("*/bundle.json"))]
    ms = times(bundles, 5 if args.quick else ROUNDS)
    rows = [figures(b, ms, args) for b in bundles]
    width = max(len(r["name"]) for r in rows)
    for key in rows[0]:
        if key != "name":
            print(f"{key:<28}" + "".join(f"{'-' if r[key] is None else r[key]:>{width + 2}}" for r in rows))
        else:
            print(" " * 28 + "".join(f"{r['name']:>{width + 2}}" for r in rows))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
