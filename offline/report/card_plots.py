"""The pictures in a bundle, drawn from the figures in its run's notes: no image of anybody's data is in them."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from vit_perception import palette

from ..files import write_atomically
from ..run.run import Run
from .page_plots import training
from .tables import losses

STEPS = ("teacher", "distil", "prune", "fp32", "int8", "fp16")
COLORS = palette.ON_PAPER  # of the validation sets
DPI = 100


def plot_stages(run: Run, latency: dict[str, dict], path: Path) -> None:
    """Bars: mAP50 of every stage and file, of masks alone mIoU, and their time where it was measured."""
    steps = [s for s in STEPS if f"{s}.metrics" in run.notes]
    figure, (left, right) = _figure(8, 2.8, columns=2)
    high, low = (
        (("map50", "mAP50"), ("map", "mAP .50:.95"))
        if run.labels
        else (("miou", "mIoU"), ("boundary_f1", "boundary F1"))
    )
    for (key, _), color, width in ((high, COLORS[0], 0.8), (low, "#1b2f55", 0.8 if run.labels else 0.3)):
        left.bar(
            steps,
            [run.notes[f"{s}.metrics"][key] for s in steps],
            width,
            color=color,
            label="" if key == high[0] else low[1],
        )
    left.set(title=high[1], ylim=(0, 1))
    left.legend(frameon=False, fontsize=7)
    timed = [s for s in steps if s in latency and s != "fp16"]
    right.bar(timed, [latency[s]["ms"] for s in timed], color=COLORS[1])
    right.set(title="ms per image, one CPU thread")
    _save(figure, path)


def short_names(names: list[str]) -> list[str]:
    """Of validation sets: their files' names, with the folders only where those are alike."""
    short = [Path(name).stem for name in names]
    return short if len(set(short)) == len(short) else [name.replace(".json", "") for name in names]


def plot_curves(run: Run, path: Path) -> None:
    """Precision against recall at IoU .5, one plot per class: the master on every validation set, the teacher pale.

    The dot is the bundle's own threshold, the ring half a false positive of the class per image: where their precision
    lies under the curve, it is because the curve shows the best precision at that recall or any higher one.
    """
    master, teacher = run.figures("fp32"), run.figures("teacher")
    labels = [c for c in run.val_data.labels if any(c in m["curves"] for m in master.values())]
    figure, axes = _figure(2.9 * max(len(labels), 2), 3.1, columns=len(labels))
    recall, short = np.linspace(0, 1, 101), dict(zip(master, short_names(list(master)), strict=True))
    for axis, label in zip(axes, labels, strict=True):
        for (name, m), color in zip(master.items(), COLORS * len(master), strict=False):
            if label not in m["curves"]:
                continue
            if label in teacher.get(name, {}).get("curves", {}):
                axis.plot(recall, teacher[name]["curves"][label], color=color, alpha=0.35, linewidth=1.2)
            axis.plot(recall, m["curves"][label], color=color, linewidth=1.6, label=short[name])
            point, ring = m["working_point"]["per_class"][label], m["recall_at"]["per_class"][label]["recall"]
            if point["precision"] is not None:
                axis.plot(point["recall"], point["precision"], "o", color=color, markersize=6)
            images, boxes = m["images"], m["per_class"][label]["boxes"]
            right, wrong = ring * boxes, m["recall_at"]["fp_per_image"] * images
            if right:
                axis.plot(ring, right / (right + wrong), "o", color=color, markersize=7, markerfacecolor="none")
        axis.set(title=label, xlim=(0, 1), ylim=(0, 1.02), xlabel="recall")
        axis.grid(color="#e7e8ea")
    axes[0].set_ylabel("precision")
    axes[0].legend(frameon=False, fontsize=8, loc="lower left")
    _save(figure, path)


def plot_confusion(run: Run, path: Path) -> None:
    """Confusions of the master at the bundle's own threshold, one matrix per validation set: counts, and shaded the
    share of what is there (of a row; the last row, background, has none)."""
    sets = run.figures("fp32")
    side = 1.2 + 0.62 * max(len(m["confusion"]["labels"]) for m in sets.values())
    figure, axes = _figure(side * len(sets) + 0.4, side, columns=len(sets))
    for axis, name, m in zip(axes, short_names(list(sets)), sets.values(), strict=True):
        labels = m["confusion"]["labels"]
        counts = np.array(m["confusion"]["counts"])
        share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        share[-1] = 0
        axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (i, j), n in np.ndenumerate(counts):
            if (i, j) != (len(labels) - 1,) * 2:
                color = "white" if share[i, j] > 0.55 else "black"
                axis.text(j, i, str(n), ha="center", va="center", fontsize=8, color=color)
        axis.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
        axis.set_yticks(range(len(labels)), labels)
        axis.set(title=name, xlabel="what the detector says")
    axes[0].set_ylabel("what is there")
    _save(figure, path)


def plot_losses(run: Run, path: Path) -> None:
    """Losses of every stage that trained, against its steps."""
    if curves := losses(run):
        _save(training(curves), path)


def _figure(width: float, height: float, columns: int):
    """(figure, its axes in one row). Size in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.title.set_fontsize(10)
    return figure, axes


def _save(figure, path: Path) -> None:
    """As a PNG with a palette: a bundle is carried to drones and kept in repositories, and lines need few colours."""
    out = io.BytesIO()
    figure.savefig(out, dpi=DPI, format="png")
    picture = Image.open(out).convert("RGB").quantize(64)
    write_atomically(path, lambda p: picture.save(p, format="PNG", optimize=True))
