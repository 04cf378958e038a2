"""Every bundle in one table: size, work, time, memory, predicted board speed, accuracy; other detectors beside them.

    python bench/models.py [--models models] [--onnx yolo11n.onnx] [--no-proxy] [--quick] [--data DIR --val val.json
        --val-flights val_flights.json --ignore DontCare --classes Person,Car,Bicycle]

Times are medians of ONNX Runtime on this CPU on one and on two threads, all files taking turns in one run: trust the
ratios, and on a busy machine those of `least`, the shortest times. `--onnx` times any other detector with one float
input of fixed size; a convolutional network of YOLO11n's size (bench/parts/conv_proxy.py) is timed too, at the default
bundle's input size. Boards are predicted (docs/latency_model.md), inference only: +- is the median error on published
measurements that the model had not seen, and in brackets on designs that it had not seen. With --data the accuracy is
measured here, and training_images counts those that the bundle was trained on, if its training split is in DIR too;
without --data, and with --quick, both are what the bundle's own metrics say of a set of that name. The last line is a
JSON list, one object per column.
"""

import argparse
import json
import logging
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
from matplotlib.figure import Figure

from bench.parts.conv_proxy import write_proxy
from offline.boards.latency_model import predict
from offline.boards.layers import Layer, layers_of_onnx
from offline.boards.targets import find_target
from offline.data import Dataset, read_dataset, unseen
from offline.errors import DataError, ExportError, one_sentence
from offline.evaluate import pick_classes
from offline.evaluation.accuracy import EVALUATION_SCORE, measure
from offline.evaluation.latency import ROUNDS, all_times, memory_mb
from vit_perception.bundles.bundle import Bundle, open_bundle
from vit_perception.detector import Detector
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine
from vit_perception.palette import ON_PAPER
from vit_perception.parameters import SPECS

VARIANTS, THREADS = ("fp32", "int8"), (1, 2)
BOARDS = {"nano": "jetson-nano", "orin_nano": "jetson-orin-nano"}  # key of the figures: target
DEFAULT = next(s.default for s in SPECS if s.name == "model")
PROXY = "proxy of YOLO11n"
COLORS = ON_PAPER


@dataclass
class Network:
    """One column. files: variant -> ONNX file. images: what it is timed on, float32 (n, C, H, W)."""

    name: str
    files: dict[str, Path]
    images: np.ndarray
    bundle: Bundle | None = None


def network_of_bundle(bundle: Bundle) -> Network:
    images = np.load(bundle.file("golden"))["images"].astype(np.float32)
    return Network(bundle.name, {v: Path(bundle.file(v)) for v in VARIANTS if v in bundle.variants}, images, bundle)


def network_of_file(path: Path, name: str) -> Network:
    """Raises DataError for an input that cannot be fed."""
    shape = OnnxRuntimeEngine(str(path), threads=1).input_shape
    fixed = len(shape) == 4 and all(isinstance(n, int) and n > 0 for n in shape)
    if not (fixed and shape[0] == 1 and shape[1] in (1, 3)):
        raise DataError(f"{path} takes {list(shape)}; export it for one image, (1, 3, H, W) with fixed sizes")
    return Network(name, {"fp32": path}, texture(shape[1], shape[2], shape[3]))


def texture(channels: int, height: int, width: int) -> np.ndarray:
    """Random texture of all scales, in 0..1: float32 (2, C, H, W)."""
    rng, images = np.random.default_rng(0), np.zeros((2, channels, height, width), np.float32)
    for plane in images.reshape(-1, height, width):
        for octave in range(6):
            coarse = rng.random((2 << octave, 2 << octave), np.float32)
            plane += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    low, high = images.min(), images.max()
    return (images - low) / (high - low)


def times(networks: list[Network], rounds: int) -> dict[tuple[str, str, int], list[float]]:
    """{(network, variant, threads): milliseconds of every round}; all of them take turns."""
    engines, images = {}, {}
    for n in networks:
        for variant, path in n.files.items():
            for threads in THREADS:
                engines[n.name, variant, threads] = OnnxRuntimeEngine(str(path), variant, threads=threads)
                images[n.name, variant, threads] = n.images
    return all_times(engines, images, rounds)


def seen(bundle: Bundle, data: Dataset, root: Path) -> int | None:
    """How many images of `data` the bundle was trained on; None if its training split is not at hand."""
    made = bundle.made.get("train", {})

    def read(name: str) -> Dataset:
        return read_dataset(root, Path(name).name, None, tuple(made.get("ignore", ())))

    try:
        train = read(made.get("name", ""))
        if "without" in made:
            train = unseen(train, [read(name) for name in made["without"]])
    except DataError:
        return None
    if train.sha256 != made["sha256"]:
        return None
    known = {s.path for s in train.samples}
    return sum(s.path in known for s in data.samples)


def accuracy(bundle: Bundle, variant: str, args: argparse.Namespace, val: str) -> dict:
    """map50, map, recall of each class at half a false positive per image, training_images; None: not known."""
    if args.data is None or args.quick:
        known = [m for m in bundle.metrics if m["variant"] == variant and Path(m["data"]).stem == Path(val).stem]
        m = known[0] if known else {}
        trained = m.get("training_images")
    else:
        data = read_dataset(args.data, val, None, tuple(args.ignore), pick_classes(args.classes, bundle.labels))
        detector = Detector(bundle, OnnxRuntimeEngine(bundle.file(variant)), score_threshold=EVALUATION_SCORE)
        label, score = f"{bundle.name} {variant} {val}", bundle.thresholds["score"]
        m = measure(detector, bundle.labels, bundle.input["color"], data, score, label=label)
        trained = seen(bundle, data, args.data)
    recall = {c: row["recall"] for c, row in m.get("recall_at", {}).get("per_class", {}).items()}
    return {"map50": m.get("map50"), "map": m.get("map"), "recall": recall, "training_images": trained}


def predicted(layers: list[Layer] | None) -> dict:
    """Frames per second on the boards in fp16, and their errors."""
    found: dict = {}
    for key, target in BOARDS.items():
        p = predict(layers, find_target(target), "fp16") if layers else None
        found[f"{key}_ms_predicted"] = p and round(p.ms, 1)
        found[f"{key}_fps_predicted"] = p and round(p.fps, 1)
        found[f"{key}_fps_error"] = p and round(p.error, 3)  # leave-one-out
        found[f"{key}_fps_error_new_design"] = p and round(p.new_design, 3)
    return found


def figures(network: Network, ms: dict, args: argparse.Namespace) -> dict:
    master, bundle = network.files["fp32"], network.bundle
    weights = sum(math.prod(t.dims) for t in onnx.load(str(master)).graph.initializer)
    try:
        layers = layers_of_onnx(master)
    except (ExportError, KeyError, IndexError):  # somebody else's graph can be anything
        layers = None
    row: dict = {"name": network.name, "input": "x".join(str(n) for n in network.images.shape[:0:-1])}
    row |= {"params_m": round(weights / 1e6, 3)}
    row |= {"gmac": round(sum(layer.macs for layer in layers) / 1e9, 3) if layers else None}
    for v in VARIANTS:
        path = network.files.get(v)
        row[f"mb_{v}"] = round(path.stat().st_size / 1e6, 2) if path else None
        for prefix, statistic in (("ms", np.median), ("least", np.min)):
            for t in THREADS:
                row[f"{prefix}_{t}t_{v}"] = round(float(statistic(ms[network.name, v, t])), 1) if path else None
        row["rss_mb" if v == "fp32" else f"rss_mb_{v}"] = round(memory_mb(path), 1) if path else None
    row |= predicted(layers)
    for key, val in (("val", args.val), ("val_flights", args.val_flights)):
        for v in VARIANTS:
            has = bundle is not None and v in network.files and _knows(bundle, args)
            found = accuracy(bundle, v, args, val) if has else dict.fromkeys(("map50", "map", "training_images"))
            suffix = key if v == "fp32" else f"{key}_{v}"
            row |= {f"map50_{suffix}": found["map50"], f"map_{suffix}": found["map"]}
            if v == "fp32":
                row |= {f"recall_{key}": found.get("recall", {}), f"training_images_{key}": found["training_images"]}
    return row


def print_table(rows: list[dict]) -> None:
    """Figures down, networks across. What a board needs is one line with its error."""
    lines: list[tuple[str, list[str]]] = []
    for key in rows[0]:
        board, _, what = key.partition("_fps_")
        if what == "predicted":
            cells = ["-" if r[key] is None else _fps(r, board) for r in rows]
            lines.append((f"{board} FPS, predicted", cells))
        elif key.startswith("recall_"):
            for label in dict.fromkeys(c for r in rows for c in r[key]):
                lines.append((f"{key} {label}", [_cell(r[key].get(label)) for r in rows]))
        elif not what and not key.endswith("_ms_predicted"):
            lines.append((key, [_cell(r[key]) for r in rows]))
    widths = [2 + max(len(cells[i]) for _, cells in lines) for i in range(len(rows))]
    for name, cells in lines:
        print(f"{name:<28}" + "".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True)))


def draw(rows: list[dict], path: Path) -> None:
    """mAP50 on both sets against the shortest time of one thread, fp32 and int8; the proxies' times as lines."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axis, key in zip(figure.subplots(1, 2, sharey=True), ("val_flights", "val"), strict=True):
        for row, color in zip(rows, COLORS * len(rows), strict=False):
            if row[f"map50_{key}"] is None:
                if row["map50_val"] is None:
                    axis.axvline(row["least_1t_fp32"], color="#999999", linestyle=":")
                    axis.text(row["least_1t_fp32"], 0.02, f" {row['name']}", fontsize=7, rotation=90, color="#777777")
                continue
            points = [(row[f"least_1t_{v}"], row[f"map50_{key}{s}"]) for v, s in (("fp32", ""), ("int8", "_int8"))]
            points = [p for p in points if None not in p]
            axis.plot(*zip(*points, strict=True), color=color, marker="o", markevery=[0], label=row["name"])
            axis.plot(*points[-1], color=color, marker="o", markerfacecolor="white")
        axis.set(title=f"mAP50, {key}", xlabel="ms, one CPU thread", xlim=(0, None), ylim=(0, 1))
        axis.grid(color="#e7e8ea")
        axis.spines[["top", "right"]].set_visible(False)
    shown = {line.get_label(): line for axis in figure.axes for line in axis.lines if line.get_label()[0] != "_"}
    figure.legend(shown.values(), shown.keys(), frameon=False, fontsize=8, loc="outside upper center", ncols=len(shown))
    figure.axes[0].text(0, 0.97, " full: fp32, empty: int8", fontsize=7, color="#777777")
    figure.savefig(path, dpi=120)


def _knows(bundle, args) -> bool:
    """Whether --data and its --classes can measure this bundle: one for other classes is told without accuracy."""
    if not bundle.labels:  # masks: no mAP
        return False
    return args.data is None or args.quick or set((args.classes or "").split(",")) - {""} <= set(bundle.labels)


def _fps(row: dict, board: str) -> str:
    value, error, new = (row[f"{board}_fps_{k}"] for k in ("predicted", "error", "error_new_design"))
    return f"{value:g} +-{error:.0%} ({new:.0%})"


def _cell(value) -> str:
    return "-" if value is None else str(value)


@one_sentence
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of bundles (default %(default)s)")
    parser.add_argument("--onnx", type=Path, action="append", default=[], metavar="FILE", help="another detector")
    parser.add_argument("--no-proxy", action="store_true", help="leave the convolutional proxy out")
    parser.add_argument("--data", type=Path, help="folder with labelled images, to measure the accuracy anew")
    parser.add_argument("--val", default="val.json")
    parser.add_argument("--val-flights", default="val_flights.json")
    parser.add_argument("--ignore", action="append", default=[], metavar="CLASS")
    parser.add_argument("--classes", help="comma-separated labels that count")
    parser.add_argument("--picture", type=Path, help="file for a plot: accuracy against time, size as area")
    parser.add_argument("--quick", action="store_true", help="few rounds, accuracy from the bundles' own metrics")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    networks = [network_of_bundle(open_bundle(p.parent)) for p in sorted(args.models.glob("*/bundle.json"))]
    if not networks:
        raise DataError(f"no bundle in {args.models}; give --models the folder that holds them")
    if not any(_knows(n.bundle, args) for n in networks):
        pick_classes(args.classes, networks[0].bundle.labels)  # says which class
    networks += [network_of_file(path, path.stem) for path in args.onnx]
    with tempfile.TemporaryDirectory() as folder:
        if not args.no_proxy:
            like = next((n for n in networks if n.name == DEFAULT), networks[0])
            height, width = like.images.shape[2:]
            networks.append(network_of_file(write_proxy(Path(folder) / "proxy.onnx", width, height), PROXY))
        ms = times(networks, 5 if args.quick else ROUNDS)
        rows = [figures(n, ms, args) for n in networks]
    if args.picture:
        draw(rows, args.picture)
    print_table(rows)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
