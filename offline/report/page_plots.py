"""The plots of the page, as SVG in data URIs: sharp at any size, on paper too."""

import base64
import io
import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from vit_perception import palette

from ..boards.latency_model import Prediction
from ..boards.layers import KINDS

GRAY = "#9aa1ab"
BLUE, PURPLE, TEAL, PINK, SAND, SLATE = palette.ON_PAPER
PRECISIONS = {"fp32": BLUE, "fp16": TEAL, "int8": PINK}
WIDTH = 10.2  # inches: the width of the page's text
LEAST_SPAN = 0.1  # of an axis of mAP50, so that a difference of nothing does not look like one
KIND_COLORS = dict(zip(KINDS, (BLUE, PURPLE, TEAL, PINK, SAND), strict=True))
STYLE = {
    "svg.hashsalt": "vit_perception",  # the same figures give the same bytes
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8f98",
    "axes.labelcolor": "#3b4048",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e7e8ea",
    "xtick.color": "#5b616b",
    "ytick.color": "#5b616b",
    "legend.frameon": False,
    "legend.fontsize": 8,
}
Point = tuple[str, float, float]  # name, milliseconds, mAP50


def draw(plot, *args) -> str:
    """Call plot(*args), which returns a Figure, in the page's style; the figure as a data URI."""
    with matplotlib.rc_context(STYLE):
        out = io.BytesIO()
        plot(*args).savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode()


def pareto(groups: list[tuple[str, list[Point]]]) -> Figure:
    """mAP50 against time, one axis for each (x label, points): stages and files, and the front of their best."""
    figure = Figure(figsize=(WIDTH * len(groups) / 2, 3.6), layout="constrained")
    axes = figure.subplots(1, len(groups), squeeze=False, sharey=True)[0]
    for axis, (label, points) in zip(axes, groups, strict=True):
        front = front_of(points)
        axis.plot([p[1] for p in front], [p[2] for p in front], color=GRAY, linewidth=1)
        for name, ms, score in points:
            color = GRAY if name == "teacher" else PRECISIONS.get(name, PURPLE)
            axis.scatter([ms], [score], s=46, color=color, zorder=3)
        axis.set(xlabel=label, xlim=(0, 1.22 * max(p[1] for p in points)))
    axes[0].set(ylabel="mAP50", ylim=score_limits([p[2] for _, points in groups for p in points]))
    for axis, (_, points) in zip(axes, groups, strict=True):
        name_points(axis, points)
    return figure


def candidates(
    tried: list[dict], chosen: dict | None, label: str, budget_ms: float | None, min_map: float | None
) -> Figure:
    """mAP50 against time of every candidate of the search, the front, the goal, and the one that was chosen."""
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axis = figure.subplots()
    for precision in dict.fromkeys(c["precision"] for c in tried):
        some = [c for c in tried if c["precision"] == precision]
        color = PRECISIONS.get(precision, PURPLE)
        axis.scatter([c["ms"] for c in some], [c["merit"] for c in some], color=color, label=precision, zorder=3)
    points = [(c["name"], c["ms"], c["merit"]) for c in tried]
    front = front_of(points)
    axis.plot([p[1] for p in front], [p[2] for p in front], color=GRAY, linewidth=1, label="Pareto front")
    if chosen:
        where = [chosen["ms"]], [chosen["merit"]]
        axis.scatter(*where, s=170, facecolors="none", edgecolors="black", linewidths=1.2, label="chosen", zorder=4)
    if budget_ms:
        axis.axvline(budget_ms, color=SLATE, linestyle="--", linewidth=1, label="budget")
    if min_map:
        axis.axhline(min_map, color=SLATE, linestyle="--", linewidth=1, label="goal")
    axis.set(xlabel=label, ylabel="mAP50 after a brief fine-tuning")
    axis.set_ylim(score_limits([p[2] for p in points]))
    axis.margins(x=0.12)
    name_points(axis, front)
    figure.legend(loc="outside upper center", ncols=8)
    return figure


def front_of(points: Sequence[Point]) -> list[Point]:
    """Those that no other equals or beats in both time and accuracy, fastest first."""
    front: list[Point] = []
    for p in sorted(points, key=lambda p: (p[1], -p[2])):
        if not front or p[2] > front[-1][2]:
            front.append(p)
    return front


def score_limits(scores: list[float]) -> tuple[float, float]:
    """Ends of an axis that holds these mAP50, with room for names."""
    low, high = min(scores), max(scores)
    span = max(high - low, LEAST_SPAN)
    middle = (low + high) / 2
    return max(-0.15 * span, middle - 0.7 * span), min(1.05, middle + 0.7 * span)


def name_points(axis, points: Sequence[Point]) -> None:
    """Names right of their points, moved up or down where another name is; call it when the limits are set."""
    inches = axis.figure.get_size_inches() / [len(axis.figure.axes), 1]
    placed: list[tuple[float, float, float]] = []  # x, y and width of names, in points
    for name, ms, score in sorted(points, key=lambda p: (p[1], -p[2])):
        x, y = axis.transLimits.transform((ms, score)) * inches * 66  # of 72: the rest is for ticks and labels
        width = 5.0 * len(name)
        for shift in (5, -11, 16, -22, 27, -33):
            if all(abs(y + shift - b) > 10 or x > a + w or a > x + width for a, b, w in placed):
                break
        placed.append((x, y + shift, width))
        axis.annotate(name, (ms, score), fontsize=8, color="#3b4048", xytext=(6, shift), textcoords="offset points")


def layer_times(teacher: Prediction, final: Prediction) -> Figure:
    """Predicted milliseconds of every part of the network, stacked by kind of layer: the teacher's pale, above."""
    parts = {"teacher": parts_of(teacher), "final": parts_of(final)}
    names = list(dict.fromkeys([*parts["teacher"], *parts["final"]]))
    names.sort(key=part_order)
    figure = Figure(figsize=(WIDTH, 1.1 + 0.42 * len(names)), layout="constrained")
    axis = figure.subplots()
    for (who, times), shift, alpha in zip(parts.items(), (-0.2, 0.2), (0.38, 1.0), strict=True):
        left = np.zeros(len(names))
        for kind in KINDS:
            widths = np.array([times.get(n, {}).get(kind, 0.0) for n in names])
            label = kind if who == "final" else None
            y = np.arange(len(names)) + shift
            axis.barh(y, widths, 0.36, left=left, color=KIND_COLORS[kind], alpha=alpha, label=label)
            left += widths
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set(xlabel="predicted ms (pale: teacher, full colour: final model)")
    figure.legend(loc="outside upper center", ncols=len(KINDS))
    return figure


def parts_of(prediction: Prediction) -> dict[str, dict[str, float]]:
    """{part of the network: {kind of layer: milliseconds}}."""
    parts: dict[str, dict[str, float]] = {}
    for layer, ms in prediction.per_layer:
        kinds = parts.setdefault(part_of(layer.name), {})
        kinds[layer.kind] = kinds.get(layer.kind, 0.0) + ms
    return parts


def part_of(name: str) -> str:
    """'blocks.3.mlp.fc1' -> 'block 3', 'stem.2.0.0' -> 'stem /8', after its stride."""
    head, _, rest = name.partition(".")
    index = rest.partition(".")[0]
    if head == "stem":
        return f"stem /{2 << int(index)}"
    if head == "blocks":
        return f"block {index}"
    return {"up": "neck", "lateral": "neck", "smooth": "neck", "heads": "head"}.get(head, "tokens")


def part_order(name: str) -> tuple[int, int]:
    kind, _, index = name.partition(" ")
    return ("stem", "tokens", "block", "neck", "head").index(kind), int(index.lstrip("/") or 0)


def precision_recall(curves: dict[str, tuple[np.ndarray, np.ndarray]], final: str) -> Figure:
    """Small multiples, one per class: precision (101,) at recalls 0..1 of the teacher and of the final file."""
    columns = min(3, len(curves))
    lines = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(WIDTH * max(columns, 2) / 3, 3.1 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    recall = np.linspace(0, 1, 101)
    for axis, (label, (teacher, student)) in zip(axes.flat, curves.items(), strict=False):
        axis.plot(recall, teacher, color=GRAY, linewidth=1.6, label="teacher")
        axis.plot(recall, student, color=BLUE, linewidth=1.6, label=final)
        axis.set(title=label, xlim=(0, 1), ylim=(0, 1.02))
    for axis in axes.flat[len(curves) :]:
        axis.set_visible(False)
    axes[0, 0].legend(loc="lower left")
    figure.supxlabel("recall", fontsize=9, color="#3b4048")
    figure.supylabel("precision", fontsize=9, color="#3b4048")
    return figure


def training(curves: dict[str, dict[str, list[float]]]) -> Figure:
    """Losses of every stage against steps: each value pale, their moving mean over a twentieth of the stage full."""
    columns = min(3, len(curves))
    lines = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(WIDTH * max(columns, 2) / 3, 0.4 + 2.7 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    names = list(dict.fromkeys(k for c in curves.values() for k in c if k != "step"))
    colors = dict(zip(names, palette.ON_PAPER * len(names), strict=False))
    shown: dict = {}
    for axis, (stage, curve) in zip(axes.flat, curves.items(), strict=False):
        for name in (k for k in names if k in curve):
            axis.plot(curve["step"], curve[name], color=colors[name], alpha=0.22, linewidth=0.7)
            (shown[name],) = axis.plot(curve["step"], smooth(curve[name]), color=colors[name], linewidth=1.5)
        axis.set(title=stage, xlabel="step", ylim=(0, None))
    for axis in axes.flat[len(curves) :]:
        axis.set_visible(False)
    figure.legend(shown.values(), shown.keys(), loc="outside upper center", ncols=min(6, len(shown)))
    return figure


def smooth(values: Sequence[float]) -> np.ndarray:
    """Centred moving mean over a twentieth of the values, shorter at the ends."""
    x, half = np.asarray(values, float), max(1, len(values) // 40)
    return np.array([x[max(0, i - half) : i + half + 1].mean() for i in range(len(x))])
