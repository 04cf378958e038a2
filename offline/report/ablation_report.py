"""The figures, the table and the plots of offline.ablate."""

import json
from pathlib import Path

import numpy as np

from vit_perception import palette
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

from ..boards.latency_model import predict
from ..boards.layers import layers_of_onnx
from ..boards.targets import TARGETS
from ..compression.quantize import quantise_int8
from ..evaluation.latency import alternate, memory_mb
from ..export.onnx_export import export_master
from ..files import write_atomically, write_json, write_text
from ..model.detector import ViTDetector, count_macs, count_parameters
from ..run.cost import precisions_of
from ..run.run import Run

VARIANTS = ("fp32", "int8")
HEADS = {"map50": "mAP50", "map": "mAP", "miou": "mIoU", "boundary_f1": "boundary F1"}
PER_CLASS = {"per_class_ap50": "AP50", "per_class_iou": "IoU"}


def measure(run: Run, model: ViTDetector, folder: Path) -> dict:
    """Accuracy and size of a row's student, in fp32 and as ONNX Runtime's int8 file; the files stay in `folder`."""
    width, height = run.input["width"], run.input["height"]
    paths = {v: folder / f"{v}.onnx" for v in VARIANTS}
    export_master(model, paths["fp32"], width, height)
    quantise_int8(paths["fp32"], paths["int8"], run.calibration())
    result: dict = {"parameters": count_parameters(model), "macs": count_macs(model, width, height)}
    for variant, path in paths.items():
        metrics = run.score(OnnxRuntimeEngine(str(path), variant), model.config()["strides"], variant)
        result[variant] = metrics | {"mb": round(path.stat().st_size / 1e6, 3)}
    layers = layers_of_onnx(paths["fp32"])
    boards = [t for t in TARGETS.values() if t.peak]
    result["predicted_ms"] = {t.name: round(predict(layers, t, precisions_of(t)[0]).ms, 1) for t in boards}
    return result


def write(out: Path, rows: list[str], seeds: int) -> dict:
    """table.md, results.json and ablation.png from the results in `out`; returns the figures."""
    results = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(out.glob("*.json")) if p.name[-6:-5].isdigit()]
    timed = _time(out, rows)
    figures = []
    for variant in VARIANTS:
        for row in rows:
            found = [r for r in results if r["row"] == row and r["seed"] < seeds]
            name = row if variant == "fp32" else ("int8" if row == "none" else f"{row}+int8")
            figures.append(
                {"row": name, "seeds": len(found)}
                | _scores([r[variant] for r in found])
                | {
                    "params_m": round(float(np.mean([r["parameters"] for r in found])) / 1e6, 3),
                    "gmac": round(float(np.mean([r["macs"] for r in found])) / 1e9, 3),
                    "mb": round(float(np.mean([r[variant]["mb"] for r in found])), 3),
                    "ms_1t": timed[row, variant][0],
                    "rss_mb": timed[row, variant][1],
                    "predicted_ms": found[0]["predicted_ms"],
                }
            )
    write_json(out / "results.json", figures)
    write_text(out / "table.md", table(figures))
    plot(figures, out / "ablation.png")
    return {"rows": figures}


def _scores(found: list[dict]) -> dict:
    """Means and deviations over seeds: mAP50 and mAP of a detector, mIoU and boundary F1 of masks, of both all."""
    scores: dict = {}
    for key in HEADS:
        if key in found[0]:
            values = np.array([r[key] for r in found])
            scores |= {key: _mean(values), f"{key}_spread": _spread(values)}
    for name, group, key in (
        ("ap50", "per_class", "ap50"),
        ("iou", "mask_classes", "iou"),
        ("iou", "per_class", "iou"),
    ):
        rows = [r.get(group, {}) for r in found]
        if any(key in row for row in rows[0].values()):
            scores[f"per_class_{name}"] = {c: _mean(np.array([r[c][key] or 0 for r in rows])) for c in rows[0]}
    return scores


def _time(out: Path, rows: list[str]) -> dict[tuple[str, str], tuple[float, float]]:
    """{(row, variant): (milliseconds of one thread, in alternation; resident MB of a process that runs it)}."""
    paths = {(row, v): out / f"{row}.0" / f"{v}.onnx" for row in rows for v in VARIANTS}
    engines = {"/".join(key): OnnxRuntimeEngine(str(path), key[1], threads=1) for key, path in paths.items()}
    shape = next(iter(engines.values())).input_shape
    images = np.random.default_rng(0).normal(size=(3, *shape[1:])).astype(np.float32)
    medians = alternate(engines, images)
    return {key: (round(medians["/".join(key)], 2), round(memory_mb(path), 1)) for key, path in paths.items()}


def _mean(values: np.ndarray) -> float:
    return round(float(values.mean()), 4)


def _spread(values: np.ndarray) -> float:
    """Sample standard deviation over the seeds; 0 for one."""
    return round(float(values.std(ddof=1)), 4) if len(values) > 1 else 0.0


def table(figures: list[dict]) -> str:
    """Markdown: one line a row, mean and standard deviation over seeds."""
    boards = list(figures[0]["predicted_ms"])
    heads = [k for k in HEADS if k in figures[0]]
    classes = [(key, c) for key in PER_CLASS for c in figures[0].get(key, {})]
    head = ["techniques", "seeds", *(HEADS[k] for k in heads), *(f"{c} {PER_CLASS[key]}" for key, c in classes)]
    head += ["M parameters", "GMAC", "MB"]
    head += ["ms, 1 thread", "RSS MB", *(f"predicted ms, {b}" for b in boards)]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for f in figures:
        cells = [f["row"], str(f["seeds"])]
        spread = f["seeds"] > 1
        cells += [f"{f[k]:.3f}" + (f" ± {f[k + '_spread']:.3f}" if spread else "") for k in heads]
        cells += [f"{f[key][c]:.3f}" for key, c in classes]
        cells += [
            f"{f['params_m']:.2f}",
            f"{f['gmac']:.2f}",
            f"{f['mb']:.2f}",
            f"{f['ms_1t']:.1f}",
            f"{f['rss_mb']:.0f}",
        ]
        cells += ["" if "int8" in f["row"] else f"{f['predicted_ms'][b]:.1f}" for b in boards]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(figures: list[dict], path: Path) -> None:
    """Left: mAP50, or mIoU of masks, of every row with its spread. Right: the same against milliseconds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), constrained_layout=True)
    names = [f["row"] for f in figures]
    key = "map50" if "map50" in figures[0] else "miou"
    colors = [palette.ON_PAPER[3] if "int8" in n else palette.ON_PAPER[0] for n in names]
    left.barh(names, [f[key] for f in figures], xerr=[f[f"{key}_spread"] for f in figures], color=colors)
    left.invert_yaxis()
    left.set(title=f"{HEADS[key]}, mean and deviation over seeds", xlim=(0, None))
    right.scatter([f["ms_1t"] for f in figures], [f[key] for f in figures], c=colors)
    for f in figures:
        right.annotate(f["row"], (f["ms_1t"], f[key]), fontsize=6, xytext=(3, 3), textcoords="offset points")
    right.set(title=f"{HEADS[key]} against time", xlabel="ms, one thread of ONNX Runtime")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    write_atomically(path, lambda p: figure.savefig(p, dpi=110, format="png"))
    plt.close(figure)
