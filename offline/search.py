"""The best mix for a budget, found by trying: depth, widths, tokens, ranks and precision.

Every candidate is cut out of the teacher to a time on the target, at several times around the budget, with and without
token pooling and low rank, in every precision that the target has; it is fine-tuned briefly under the teacher and
measured on some validation images. All of them are a table and a picture with the Pareto front. The best within the
budget goes on to the full training; if none is, the run ends and says so.
"""

import itertools
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib
import torch

from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

from .boards.latency_model import predict
from .boards.layers import layers_of_onnx
from .compression.lowrank import factorise
from .compression.prune import Scores, describe, importance, prune_to_cost
from .compression.quantize import quantise_int8, quantise_tensorrt
from .errors import RecipeError
from .evaluation.latency import measured_ms
from .evaluation.segmentation import MERITS, merit
from .export.onnx_export import export_master
from .files import write_atomically, write_json
from .model.detector import ViTDetector, build_model
from .report import page_plots as plots
from .run.cost import cost_on, precisions_of
from .run.run import Run
from .stages import SEEDS, train_student

log = logging.getLogger(__name__)


@dataclass
class Candidate:
    """One that was tried. ms: measured on this CPU, predicted (and then with an error) on a board; merit
    after a brief fine-tuning, on some of the validation images: to compare candidates, not to quote."""

    name: str
    precision: str
    ms: float
    error: float
    merit: float
    config: dict


def search(run: Run, folder: Path) -> None:
    """Stage: choose the student for `run.budget_ms` or `run.min_map`; without either, nothing is searched.

    Raises:
        RecipeError: no candidate meets the goal.
    """
    if run.has("search") or not (run.budget_ms or run.min_map):
        return
    bases: dict[bool, tuple[ViTDetector, Scores]] = {}
    tried = [candidate for plan in plans(run) for candidate in try_candidate(run, bases, *plan)]
    best = choose(tried, run.budget_ms, run.min_map)
    write_json(run.folder / "search.json", [asdict(c) for c in tried])
    if tried:
        plot(run, tried, best)
    for c in sorted(tried, key=lambda c: c.ms):
        front = "*" if c in pareto(tried) else " "
        log.info(
            "%s %-36s %-5s %6.1f ms  %s %.3f  %s",
            front,
            c.name,
            c.precision,
            c.ms,
            MERITS[run.recipe.task],
            c.merit,
            describe(c.config),
        )
    if best is None:
        raise RecipeError(explain(run, tried))
    log.info("chosen: %s in %s, %.1f ms on %s", best.name, best.precision, best.ms, run.target.board)
    run.note("search", {"chosen": asdict(best), "tried": [asdict(c) for c in tried]})
    run.save("search", run.load(f"search-{best.name}"))


def confirm(run: Run, folder: Path) -> None:
    """Stage: hold the finished bundle to the goal, and say how it ended; nothing without a goal."""
    if "search" not in run.notes:
        return
    precision = run.notes["search"]["chosen"]["precision"]
    variant = int8_of(run) if precision == "int8" else "fp32"
    master = folder / run.notes["export"]["files"][variant]["path"]
    if run.target.name == "cpu":
        ms, how = measured_ms(OnnxRuntimeEngine(str(master), variant, threads=1)), "measured"
    else:
        prediction = predict(layers_of_onnx(folder / "model.onnx"), run.target, precision)
        ms = prediction.ms
        how = f"predicted, error {prediction.error:.0%}, {prediction.new_design:.0%} for a design that was not measured"
    score = merit(run.notes[f"{variant}.metrics"])
    met = ms <= run.budget_ms if run.budget_ms else score >= (run.min_map or 0.0)
    goal = f"{run.budget_ms:g} ms" if run.budget_ms else f"{MERITS[run.recipe.task]} {run.min_map:g}"
    ending = "met" if met else "NOT met"
    log.info(
        "goal %s on %s %s: %.1f ms in %s (%s), %s %.3f",
        goal,
        run.target.name,
        ending,
        ms,
        precision,
        how,
        MERITS[run.recipe.task],
        score,
    )
    run.note("goal", {"goal": goal, "met": met, "ms": round(ms, 2), "how": how, "precision": precision, "merit": score})


def int8_of(run: Run) -> str:
    """The variant that an int8 student flies in: ONNX Runtime's on this CPU, TensorRT's on a board."""
    return "int8_trt" if run.target.peak else "int8"


def plans(run: Run) -> list[tuple[str, float, bool, bool]]:
    """(name, milliseconds, pooled, low rank) of every candidate."""
    config = run.load("teacher").config()
    teacher = cost_on(run)(config)
    top = min(run.budget_ms, teacher) if run.budget_ms else teacher
    can_pool = config["depth"] > 2 and config["mixer"] == "attention"
    can_pool = can_pool and all(run.input[k] % 64 == 0 for k in ("width", "height"))
    pooling = (False, True) if can_pool and all(v % 64 == 0 for v in run.recipe.crops.size) else (False,)
    return [
        (f"{level:.2f}{'-pooled' * pooled}{'-lowrank' * low}", top * level, pooled, low)
        for level, pooled, low in itertools.product(run.recipe.search.levels, pooling, (False, True))
    ]


def try_candidate(run: Run, bases: dict, name: str, ms: float, pooled: bool, low: bool) -> list[Candidate]:
    """Cut, fine-tune and measure one candidate, in every precision of the target; [] if it cannot be made so fast.

    bases: {pooled: the teacher and the importance of its units}, filled as needed.
    """
    done = run.notes.get("candidates", {})
    if name not in done:
        r, cost = run.recipe, cost_on(run)
        if pooled not in bases:
            whole = pool_middle(run.load("teacher")) if pooled else run.load("teacher")
            loader = run.loader(SEEDS["importance"], r.search.batch)
            bases[pooled] = whole, importance(whole, loader, r.prune.criterion)
        whole, scores = bases[pooled]
        try:
            model = prune_to_cost(whole, scores, cost, ms, r.prune.depth)
        except RecipeError as e:
            log.info("candidate %s: %s", name, e)
            run.note("out of reach", str(e))
            run.note("candidates", done | {name: []})
            return []
        images = [torch.from_numpy(b) for b in run.calibration()] if low else []
        if low and not any(c.used for c in factorise(model, images, r.lowrank.error, r.lowrank.saving, cost)):
            log.info("candidate %s: low rank pays for no layer, so it would be the one without", name)
            run.note("candidates", done | {name: []})
            return []
        train_student(run, f"search-{name}", model, r.search)
        run.save(f"search-{name}", model)
        run.note("candidates", done | {name: measure(run, name, model)})
    return [Candidate(**c) for c in run.notes["candidates"][name]]


def pool_middle(model: ViTDetector) -> ViTDetector:
    """The same weights, all blocks but the first and the last on pooled tokens."""
    pooled = build_model(model.config() | {"pool": [1, model.config()["depth"] - 1]})
    pooled.load_state_dict(model.state_dict())
    return pooled.eval()


def measure(run: Run, name: str, model: ViTDetector) -> list[dict]:
    """One Candidate per precision of the target. fp16 has the master's accuracy: the range gate sees to that."""
    master, small = run.folder / "search.fp32.onnx", run.folder / "search.int8.onnx"
    export_master(model, master, run.input["width"], run.input["height"])
    found = []
    for precision in precisions_of(run.target, run.recipe.quantise.tensorrt):
        path = small if precision == "int8" else master
        if precision == "int8":
            if int8_of(run) == "int8":
                quantise_int8(master, small, run.calibration(), run.recipe.quantise.int8)
            else:
                quantise_tensorrt(master, small, run.calibration())
        engine = OnnxRuntimeEngine(str(path), precision, threads=1)
        score = merit(run.score(engine, model.config()["strides"], name, run.recipe.search.images))
        if run.target.name == "cpu":
            ms, error = measured_ms(engine), 0.0
        else:
            prediction = predict(layers_of_onnx(master), run.target, precision)
            ms, error = prediction.ms, prediction.error
        found.append(asdict(Candidate(name, precision, round(ms, 2), error, score, model.config())))
    return found


def choose(tried: list[Candidate], budget_ms: float | None, min_map: float | None) -> Candidate | None:
    """The most accurate within the budget, or the fastest that is accurate enough; None if there is none."""
    if budget_ms:
        return max((c for c in tried if c.ms <= budget_ms), key=lambda c: c.merit, default=None)
    return min((c for c in tried if c.merit >= (min_map or 0.0)), key=lambda c: c.ms, default=None)


def pareto(tried: list[Candidate]) -> list[Candidate]:
    """Those that no other beats in both time and accuracy."""
    front = plots.front_of([(c.name, c.ms, c.merit) for c in tried])
    return [c for c in tried if (c.name, c.ms, c.merit) in front]


def explain(run: Run, tried: list[Candidate]) -> str:
    """Why the goal cannot be met, and what to do: in a run of its own, for what was searched with may not change."""
    board, where = run.target.board, f"what was tried is in {run.folder / 'search.png'}"
    again = f"name another folder with --run, and spare the teacher's training with --teacher {run.folder}/teacher.pt"
    again += " in place of --backbone" if run.backbone else ""
    easier = f"give a larger budget, a smaller input.size, or another target; {again}"
    if not tried:
        return f"no candidate can be made for {board}: {run.notes['out of reach']}; {again}"
    fastest, best = min(tried, key=lambda c: c.ms), max(tried, key=lambda c: c.merit)
    if run.budget_ms:
        return (
            f"the budget of {run.budget_ms:g} ms on {board} cannot be met: the fastest candidate takes "
            f"{fastest.ms:.1f} ms; {where}; {easier}"
        )
    return (
        f"no candidate reaches {MERITS[run.recipe.task]} {run.min_map:g} after its brief training: the best "
        f"has {best.merit:.3f} at {best.ms:.1f} ms; {where}; lower the goal, or train the candidates "
        f"(search.epochs) or another teacher longer; {again}"
    )


def plot(run: Run, tried: list[Candidate], best: Candidate | None) -> None:
    """search.png: the report's picture of the candidates, there as soon as the search has ended."""
    label = f"ms on {run.target.board}, {'predicted' if run.target.peak else 'measured'}"
    with matplotlib.rc_context(plots.STYLE):
        figure = plots.candidates(
            [asdict(c) for c in tried], asdict(best) if best else None, label, run.budget_ms, run.min_map
        )
        write_atomically(run.folder / "search.png", lambda p: figure.savefig(p, dpi=110, format="png"))
