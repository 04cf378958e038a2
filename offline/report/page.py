"""Gathers what a run knows into the page: tables, plots and frames, rendered by template.html."""

import logging
import platform
from pathlib import Path

import jinja2
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vit_perception.replay.page import style_sheet

from ..evaluation.accuracy import precision_recall
from ..evaluation.working_point import over
from ..files import write_text
from ..progress import clock
from ..run.run import Run
from . import frames, tables
from . import page_plots as plots

log = logging.getLogger(__name__)
HERE = Path(__file__).parent
SLOWEST = 10  # layers listed


def write_report(run: Run, folder: Path, latency: dict[str, dict]) -> Path:
    """Write report.html into the run folder; returns its path.

    Args:
        folder: of the bundle. latency: what `compare_latency` measured; it left teacher.onnx in the run folder.
    """
    rows = tables.stage_rows(run, latency)
    context = {
        "run": run,
        "made": run.manifest()["made"],
        "backbone": tables.backbone(run),
        "machine": platform.machine(),
        "rows": rows,
        "head": tables.headline(run, rows),
        "classes": tables.class_rows(run),
        "recipe": yaml.safe_dump(run.identity["recipe"], sort_keys=False, default_flow_style=None, width=100),
        "files": run.notes["export"]["files"],
        "style": Markup(style_sheet()),
        "colors": frames.class_colors(run.val_data.labels),
    }
    context |= _pareto(run, rows) | _layers(run) | _accuracy(run, folder) | _training(run)
    path = run.folder / "report.html"
    write_text(path, environment().get_template("template.html").render(context))
    log.info("report: %s", path)
    return path


def environment() -> jinja2.Environment:
    """Jinja2 that escapes all text and refuses a name it does not know."""
    found = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    found.filters |= {"number": number, "percent": percent, "clock": clock}
    return found


def number(value: float | None, digits: int = 2, scale: float = 1.0) -> str:
    """A figure, or nothing where it was not measured."""
    return "" if value is None or value != value else f"{value / scale:.{digits}f}"


def percent(value: float | None, digits: int = 0) -> str:
    return "" if value is None or value != value else f"{100 * value:.{digits}f}%"


def _pareto(run: Run, rows: list[tables.Row]) -> dict:
    """Plots of accuracy against time: of this run's stages and files, and of the search's candidates."""
    groups = []
    for label, key in (
        ("ms, one thread of this CPU, measured", "ms"),
        (f"ms on {run.target.name}, predicted", "predicted"),
    ):
        points = [(r.name, getattr(r, key), r.map50) for r in rows if r.map50 is not None and getattr(r, key)]
        groups += [(label, points)] if points else []
    search = run.notes.get("search")
    kind = "predicted" if run.target.peak else "measured"
    goal = run.identity.get("goal", {})
    return {
        "pareto": plots.draw(plots.pareto, groups),
        "candidates": plots.draw(
            plots.candidates,
            search["tried"],
            search["chosen"],
            f"ms on {run.target.board}, {kind}",
            goal.get("budget_ms"),
            goal.get("min_map"),
        )
        if search
        else None,
        "goal": run.notes.get("goal"),
        "search": search,
    }


def _layers(run: Run) -> dict:
    """What was cut, what low rank did, and where the time goes on the target."""
    teacher, final = (run.load(k).config() for k in ("teacher", "lowrank"))
    found: dict = {"bars": tables.cut_bars(teacher, final), "lowrank": tables.lowrank_rows(run)}
    found |= {"teacher_config": teacher, "final_config": final, "layer_times": None, "slowest": []}
    if run.target.peak or "host" in run.notes:
        before, after = tables.predict_config(run, teacher), tables.predict_config(run, final)
        slowest = sorted(after.per_layer, key=lambda pair: -pair[1])[:SLOWEST]
        found |= {"before": before, "after": after, "slowest": slowest}
        found["layer_times"] = plots.draw(plots.layer_times, before, after)
    return found


def _accuracy(run: Run, folder: Path) -> dict:
    """Precision-recall curves of the teacher and of the file that flies; the latter's best and worst frames."""
    name = tables.flown(run)
    path = folder / run.notes["export"]["files"][name]["path"]
    strides = {k: run.load(k).config()["strides"] for k in ("teacher", "lowrank")}
    teacher = frames.detections(run, run.folder / "teacher.onnx", "fp32", strides["teacher"])
    final = frames.detections(run, path, name, strides["lowrank"])
    before, after = precision_recall(run.val_data, teacher), precision_recall(run.val_data, final)
    flying = [over(r, run.thresholds()["score"]) for r in final]
    best, worst = frames.rank(run.val_data, flying)
    return {
        "curves": plots.draw(plots.precision_recall, {c: (before[c], after[c]) for c in after}, f"{name} file"),
        "best": [frames.picture(run, f, flying[f.index]) for f in best],
        "worst": [frames.picture(run, f, flying[f.index]) for f in worst],
    }


def _training(run: Run) -> dict:
    """Loss curves of the stages."""
    curves = tables.losses(run)
    return {"training": plots.draw(plots.training, curves) if curves else None}
