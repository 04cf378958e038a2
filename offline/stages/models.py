"""What every stage needs: seeds, the configs of teacher and student, training of the student."""

import logging

from ..compression.conv_twin import with_twin
from ..model.detector import ViTDetector, build_model, count_macs, count_parameters
from ..model.pretrained import load_backbone
from ..run.recipe import TAUGHT, Distilled
from ..run.run import Run
from ..training.distill import Distiller
from ..training.specialist import Specialist
from ..training.teacher_cache import TeacherCache
from ..training.train import train

log = logging.getLogger(__name__)
SEEDS = {
    "teacher": 1,
    "distil": 2,
    "importance": 3,
    "prune": 4,
    "lowrank": 5,
    "search": 6,
    "first": 7,  # of the ablation
    "second": 8,
    "quantise": 9,
    "pretrain": 10,
}  # no two stages see the same crops
SEEDS |= {f"prune{n}": 40 + n for n in range(1, 10)}


def fresh_teacher(run: Run) -> ViTDetector:
    """The recipe's teacher before any training; the same in every stage that asks."""
    run.seed(SEEDS["teacher"])
    model = build_model(teacher_options(run))
    if run.backbone:
        load_backbone(model, run.backbone)
    return model


def train_student(run: Run, stage: str, model: ViTDetector, schedule: Distilled) -> None:
    """Train `model` on the labels, and under the teacher where a weight of what it tells is not zero."""
    if not schedule.wanted():
        return
    loader = run.loader(SEEDS[stage.partition("-")[0]], schedule.batch)
    distiller = None
    if schedule.taught():
        weights = {k: getattr(schedule, k) for k in TAUGHT}
        teacher, limit = run.load("teacher"), run.recipe.distil.cache_gb
        cache = TeacherCache(run.answers, teacher, limit) if limit else None
        distiller = Distiller(
            model, teacher, **weights, cache=cache, dense=loader.dense, specialists=specialists(run, limit)
        )
    train(model, loader, schedule, run.checkpoint(stage), stage, distiller)
    if distiller:
        distiller.close()


def specialists(run: Run, limit_gb: float = 0.0) -> list[Specialist]:
    """Who teaches on the crops of some sets (`taught_by`); limit_gb: of the cached answers, 0: none are kept."""
    found = []
    for given in run.specialists:
        cache = TeacherCache(run.answers, given.model, limit_gb) if limit_gb else None
        mine, theirs = ((pixels["mean"], pixels["std"]) for pixels in (run.input, given.input or run.input))
        found.append(Specialist.taking(given.model, mine, theirs, cache))
    return found


def teacher_options(run: Run) -> dict:
    """The config of the recipe's teacher."""
    return with_twin(run.recipe.model | _ends(run), run.input["width"], run.input["height"])


def student_options(run: Run) -> dict:
    """The config of the recipe's student: it differs from the teacher, trained here or given, in `recipe.student`.
    One that was given is as it is."""
    if run.start:
        return run.start.model.config()
    base = run.recipe.model | _ends(run)
    if run.source:
        config = run.source.model.config()
        same = {k: config[k][0] for k in ("heads", "mlp") if len(set(config[k])) == 1}  # so that the depth may change
        base = config | same | ({"ranks": {}} if run.recipe.student else {})
    return with_twin(base | run.recipe.student, run.input["width"], run.input["height"])


def _ends(run: Run) -> dict:
    """What the data decides about a model: its classes, the masks' and its colour channels."""
    ends = {"classes": len(run.labels), "channels": len(run.input["mean"])}
    return ends | ({"segments": len(run.segments)} if run.segments else {})


def describe(run: Run, stage: str, model) -> None:
    width, height = run.input["width"], run.input["height"]
    figures = {"parameters": count_parameters(model), "macs": count_macs(model, width, height)}
    run.note(f"{stage}.size", figures)
    log.info(
        "%s: %.2f M parameters, %.2f GMAC at %dx%d",
        stage,
        figures["parameters"] / 1e6,
        figures["macs"] / 1e9,
        width,
        height,
    )
