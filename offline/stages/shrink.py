"""Stages that make the student smaller: pruning, low rank, quantisation."""

import logging
from pathlib import Path

import onnx
import torch

from ..compression.conv_twin import twin_of
from ..compression.lowrank import factorise
from ..compression.prune import SHARES, importance, prune_shares, prune_to_cost
from ..compression.qat import insert, remove
from ..compression.quantize import faster_int8, wanted_variants
from ..compression.quantize_fp16 import activation_ranges, keeps_fp32, repaired, widest_half
from ..compression.rescale import rescale_residual
from ..compression.smooth import smooth
from ..errors import ExportError
from ..export.onnx_export import export_master
from ..run.cost import cost_on
from ..run.run import Run
from .models import SEEDS, describe, train_student

log = logging.getLogger(__name__)


def prune(run: Run, folder: Path) -> None:
    """Cut out of the student what the target pays most for and misses least, in rounds; fine-tune after each."""
    if run.has("prune"):
        return
    r = run.recipe.prune
    model = run.load("distil")
    shares = {k: getattr(r, k) for k in SHARES}
    cost = cost_on(run) if r.latency else None
    start = cost(model.config()) if cost else 0.0
    wanted = not run.has("search") and r.cuts()  # a search has chosen the widths already
    for n in range(1, r.rounds + 1) if wanted else ():
        stage = "prune" if n == r.rounds else f"prune{n}"
        if run.has(stage):
            model = run.load(stage)
            continue
        scores = importance(model, run.loader(SEEDS["importance"], r.batch), r.criterion)
        if cost:
            model = prune_to_cost(model, scores, cost, start * r.latency ** (n / r.rounds), r.depth)
        else:
            model = prune_shares(model, scores, {k: 1 - (1 - v) ** (1 / r.rounds) for k, v in shares.items()})
        if r.twin and stage == "prune":
            model = twin_of(model, run.input["width"], run.input["height"])
        describe(run, stage, model)
        train_student(run, stage, model, r.scaled(1 / r.rounds))
        run.save(stage, model)
    if not run.has("prune"):
        describe(run, "prune", model)
        run.save("prune", model)


def lowrank(run: Run, folder: Path) -> None:
    """Factorise the linear layers where that saves enough and harms little, then fine-tune what came out."""
    if run.has("lowrank"):
        return
    model = run.load("prune")
    r = run.recipe.lowrank
    choices = factorise(model, [torch.from_numpy(b) for b in run.calibration()], r.error, r.saving, cost_on(run))
    run.note("lowrank", [vars(c) for c in choices])
    describe(run, "lowrank", model)
    train_student(run, "lowrank", model, r)
    run.save("lowrank", model)


def quantise(run: Run, folder: Path) -> None:
    """Make the model bear int8, by smoothing and rounding-aware fine-tuning; then decide, from measured activation
    ranges, which precisions the target gets. The files are written by `export`.
    """
    r = run.recipe.quantise
    if not run.has("quantise"):
        model = run.load("lowrank")
        if r.smooth:
            run.note("smooth", round(smooth(model, [torch.from_numpy(b) for b in run.calibration()]), 2))
        if r.epochs or r.min_steps:
            insert(model)
            train_student(run, "quantise", model, r)
            remove(model)
        run.note("residual_divisor", rescale_residual(model, [torch.from_numpy(b) for b in run.calibration()]))
        run.save("quantise", model)
    master = run.folder / "draft.onnx"
    export_master(run.load("quantise"), master, run.input["width"], run.input["height"])
    images, graph = run.calibration(), onnx.load(str(master))
    ranges = activation_ranges(master, images)
    variants: dict[str, str] = dict.fromkeys(wanted_variants(run.target, r.int8, r.tensorrt), "made")
    kept, refused = set(), ""  # for the fp16 file, and for TensorRT before 11, which makes fp16 of the master itself
    try:
        kept = repaired(graph, ranges)
    except ExportError as e:
        refused = str(e)
        if "fp16" in variants:
            variants["fp16"] = refused
    run.note("fp16_refused", refused)
    run.note("fp32_layers", sorted(kept.union(n.name for n in graph.graph.node if keeps_fp32(n))))
    if "int8" in variants and "int8_mode" not in run.notes:  # a measured choice is made once
        run.note("int8_mode", faster_int8(master, images) if r.int8 == "auto" else r.int8)
    run.note("variants", variants)
    tensor, value = widest_half(graph, ranges)
    run.note("widest_fp16", {"tensor": tensor, "value": round(value, 1)})
    log.info("%s: variants %s (%s)", run.target.name, variants, run.target.why)
    master.unlink()
