"""How long a whole run will take, told at its start: a few steps of each kind are timed and multiplied."""

import copy
import logging
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from ..model.detector import ViTDetector, build_model
from ..progress import clock
from ..run.recipe import TAUGHT, Distilled
from ..run.run import Run
from ..training.curve import read_curve
from ..training.distill import Distiller
from ..training.train import Schedule, train
from .models import SEEDS, specialists, student_options, teacher_options

log = logging.getLogger(__name__)
WARM_UP, TIMED = 2, 5  # steps; the first ones read images that later ones find in memory
EVALUATED_STUDENTS = 5  # distil, prune, lowrank, and two files of the result
CANDIDATES = 4  # of a search, for each level of its budget: with and without token pooling and low rank


def tell_estimate(run: Run) -> dict[str, float]:
    """Log how long what is left of the run will take, and return it: {stage: seconds}.

    An estimate of training and evaluation: a stage is timed on its first, unpruned model, and a search on the teacher,
    so both tend to take less. Other work on the machine, and images that do not fit into memory, make it more. What
    does not grow with the recipe (importance, calibration, export, report) is left out.
    """
    with torch.random.fork_rng():  # the stages draw what they would have drawn without it
        seconds = _seconds(run)
    parts = ", ".join(f"{stage} {clock(s)}" for stage, s in seconds.items() if s >= 0.5)
    log.info("the whole run will take about %s, by a few timed steps (%s)", clock(sum(seconds.values())), parts)
    return seconds


def _seconds(run: Run) -> dict[str, float]:
    left = work_left(run)
    if not left and run.has("quantise"):
        return {}
    teacher = copy.deepcopy(run.source.model) if run.source else build_model(teacher_options(run))
    searched = run.budget_ms or run.min_map  # then the student is cut out of the teacher
    student = copy.deepcopy(teacher) if searched else build_model(student_options(run))
    speeds: dict[tuple[bool, bool], float] = {}
    seconds = {}
    for stage, images in left.items():
        schedule = getattr(run.recipe, stage)
        alone = stage in ("pretrain", "teacher")
        taught = not alone and schedule.taught()
        if (alone, taught) not in speeds:
            model = teacher if alone else student
            speeds[alone, taught] = _images_per_s(run, stage, model, schedule, teacher if taught else None)
        seconds[stage] = images / speeds[alone, taught]
    images = sum(len(data.samples) for data in (run.val_data, *run.also))
    seconds["evaluate"] = images * (_forward_s(run, teacher) + EVALUATED_STUDENTS * _forward_s(run, student))
    return seconds


def work_left(run: Run) -> dict[str, int]:
    """{stage: crops that it has still to train on}, in the order of the work."""
    r, search = run.recipe, bool(run.budget_ms or run.min_map)
    wanted = {
        "pretrain": r.pretrain.wanted() and not run.source and not run.has("teacher"),
        "teacher": not run.source,
        "search": search,
        "distil": r.distil.wanted(),
        "prune": r.prune.cuts() and r.prune.wanted() and not search,
        "lowrank": r.lowrank.wanted(),
        "quantise": r.quantise.wanted(),
    }
    left = {}
    for stage in (s for s, w in wanted.items() if w and not run.has(s)):
        schedule = getattr(r, stage)
        steps = schedule.steps(len(run.train_data)) * (CANDIDATES * len(r.search.levels) if stage == "search" else 1)
        left[stage] = max(steps - len(read_curve(run.folder / f"{stage}.curve.jsonl")), 0) * schedule.batch
    return left


def _images_per_s(
    run: Run, stage: str, model: ViTDetector, schedule: Schedule | Distilled, teacher: ViTDetector | None
) -> float:
    """Crops a second of the training loop itself, in a folder that is thrown away; `model` comes out changed by it."""
    distiller = None
    if teacher is not None:
        distiller = Distiller(
            model, teacher, **{k: getattr(schedule, k) for k in TAUGHT}, dense=run.dense(), specialists=specialists(run)
        )
    short = replace(schedule, epochs=0, min_steps=WARM_UP + TIMED)
    with tempfile.TemporaryDirectory(dir=run.folder, prefix=".estimate") as folder:
        train(model, run.loader(SEEDS[stage], schedule.batch), short, Path(folder) / "checkpoint.pt", stage, distiller)
        speeds = [row["images_per_s"] for row in read_curve(Path(folder) / f"{stage}.curve.jsonl")]
    if distiller:
        distiller.close()
    return statistics.median(speeds[WARM_UP:])


@torch.no_grad()
def _forward_s(run: Run, model: ViTDetector) -> float:
    """Seconds of one whole image on the CPU, where stages are evaluated: the shortest of three."""
    image = torch.zeros(1, len(run.input["mean"]), run.input["height"], run.input["width"])
    model = model.cpu().eval()
    times = []
    for _ in range(3):
        begin = time.monotonic()
        model(image)
        times.append(time.monotonic() - begin)
    return min(times)
