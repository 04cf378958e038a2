"""Stages that train: the teacher, before it its backbone, and the student under it."""

from pathlib import Path

import torch

from ..model.detector import ViTDetector, build_model
from ..model.pretrained import Teacher, inherit, settle_norms
from ..run.run import Run
from ..training.pretrain import MaskedLoader, train_masked
from ..training.train import train
from .models import SEEDS, describe, fresh_teacher, student_options, train_student


def pretrain(run: Run, folder: Path) -> None:
    """Stage: pre-train the teacher that the recipe describes on the training images, if `pretrain.epochs` says so."""
    r = run.recipe.pretrain
    if not r.wanted() or run.source or run.has("pretrain") or run.begun("teacher"):
        return
    model = fresh_teacher(run)
    c, seed = run.recipe.crops, run.seed(SEEDS["pretrain"])
    data = (run.train_data, run.input, c.size, r.batch, c.scale, 0.0, c.photometric, seed)  # no mosaic: no false edges
    train_masked(model, MaskedLoader(*data, share=r.mask), r, run.checkpoint("pretrain"))
    run.save("pretrain", model)


def teacher(run: Run, folder: Path) -> None:
    """Train the teacher from scratch, from masked images or a pre-trained backbone, or take the one that was given."""
    if run.has("teacher"):
        return
    if run.source:
        model = settled(run, run.source)
        describe(run, "teacher", model)
        run.save("teacher", model)
        return
    model = run.load("pretrain") if run.has("pretrain") else fresh_teacher(run)
    describe(run, "teacher", model)
    r = run.recipe.teacher
    train(model, run.loader(SEEDS["teacher"], r.batch), r, run.checkpoint("teacher"), "teacher")
    run.save("teacher", model)


def distil(run: Run, folder: Path) -> None:
    """Train the student under the teacher, from those of the teacher's weights that fit, or as it was given."""
    if run.has("distil"):
        return
    run.seed(SEEDS["distil"])
    if run.has("search"):
        model = run.load("search")  # cut out of the teacher, to the budget
    elif run.start:
        model = settled(run, run.start)
    else:
        model = build_model(student_options(run))
        inherit(model, run.load("teacher"))
    describe(run, "distil", model)
    r = run.recipe.distil
    began = {key: value.clone() for key, value in model.state_dict().items()}
    train_student(run, "distil", model, r)
    if r.keep:
        keep(model, began, r.keep)
    run.save("distil", model)


@torch.no_grad()
def keep(model: ViTDetector, began: dict[str, torch.Tensor], share: float) -> None:
    """Average weights and statistics with those that the training began with, of which `share` stays; in place.

    What a finished model learns anew it partly forgets elsewhere. On the way between the two models the new is lost
    later than the old comes back: Wortsman et al., Robust fine-tuning of zero-shot models, arXiv 2109.01903.
    """
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            value.lerp_(began[key], share)


def settled(run: Run, given: Teacher) -> ViTDetector:
    """A model that was trained elsewhere, fit to be trained on: its batch norms know what they see."""
    if given.folded:
        settle_norms(given.model, [torch.from_numpy(b) for b in run.calibration()])
    return given.model
