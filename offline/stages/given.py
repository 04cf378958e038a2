"""Models that a run is given: its teacher, its student, the weights that its teacher starts from."""

import logging
from pathlib import Path

from ..errors import RecipeError
from ..model.detector import build_model
from ..model.pretrained import Teacher, load_backbone, load_teacher, open_backbone
from ..run.run import Run
from .models import teacher_options

log = logging.getLogger(__name__)


def take_teacher(run: Run, path: Path, backbone: Path | None) -> None:
    """The teacher that is given, and pixels as it knows them: the student sees what its teacher sees."""
    if backbone:
        raise RecipeError(
            "--backbone starts the training of a teacher, --teacher brings a trained one; give one of them"
        )
    run.source = load_teacher(path, run.labels, len(run.input["mean"]), run.segments)
    given = run.source.input or {}
    run.input |= {k: given[k] for k in ("mean", "std", "high_bit_depth") if k in given}


def take_student(run: Run, path: Path) -> None:
    """The student that is given. It must take pixels as its teacher does, and nothing else may say what it is."""
    if run.budget_ms or run.min_map:
        raise RecipeError("--student is the student, --budget-ms and --min-map look for one; give one of them")
    if run.recipe.student:
        options = ", ".join(run.recipe.student)
        raise RecipeError(
            f"--student {path} is the student, and the recipe's group 'student' describes one ({options}); empty it "
            "with --set student={}"
        )
    if not run.source:
        raise RecipeError("--student starts a student under a teacher that is trained: name that with --teacher")
    run.start = load_teacher(path, run.labels, len(run.input["mean"]), run.segments, "student")
    if not run.start.input:
        log.warning("student %s does not say how it takes pixels: as its teacher does, it is assumed", path)
    for key in ("mean", "std", "high_bit_depth"):
        if run.start.input and run.start.input.get(key, run.input[key]) != run.input[key]:
            raise RecipeError(
                f"student {path} takes pixels with {key} {run.start.input[key]}, its teacher with {run.input[key]}; "
                "take one that was made under a teacher like this"
            )


def take_specialists(run: Run) -> None:
    """The models that teach on the crops of some sets in the place of the run's teacher."""
    for path in map(Path, run.train_data.specialists()):
        taught = next(part.name for part in run.train_data.parts if part.taught_by == str(path))
        what = f"teacher of {taught}"
        given = load_teacher(path, run.labels, len(run.input["mean"]), run.segments, what)
        theirs, mine = (pixels.get("high_bit_depth") for pixels in (given.input or {}, run.input))
        if theirs and theirs != mine:
            raise RecipeError(
                f"the {what}, {path}, takes images of more than 8 bits as {theirs}, the run as {mine}; it would see "
                "other images than the student does: take another model, or leave taught_by out"
            )
        run.specialists.append(given)


def take_backbone(run: Run, path: Path) -> list[str]:
    """The weights that the teacher starts from, held against the recipe; pixels as they know them -> what is told."""
    run.backbone = open_backbone(path)
    told = [load_backbone(build_model(teacher_options(run)), run.backbone)]
    if pixels := run.backbone.input(len(run.input["mean"])):
        run.input |= pixels
        values = f"mean {pixels['mean'][0]:.3f} and std {pixels['std'][0]:.3f}"
        told.append(f"the input is normalised as the backbone knows it, {values}, not by the training images")
    return told


def origins(run: Run) -> list[dict]:
    """Each model that the bundle goes back to, once: the student and the teachers given, and those before them."""
    found = [record for model in _models(run) for record in model.origins]
    return [record for i, record in enumerate(found) if record not in found[:i]]


def backbone_records(run: Run) -> list[dict]:
    """Each backbone that the bundle goes back to, once: this run's, and those of the student and the teachers given."""
    found = [run.backbone.record] if run.backbone else []
    for model in _models(run):
        found += model.backbones
    return list({record.get("sha256", record["file"]): record for record in found}.values())


def _models(run: Run) -> list[Teacher]:
    return [model for model in (run.start, run.source, *run.specialists) if model]
