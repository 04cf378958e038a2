"""The stages of offline.compress, in order. Each takes the run and the folder in which the bundle is being built."""

import logging
from functools import partial
from pathlib import Path

import onnx
import torch

from vit_perception.bundle import open_bundle
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

from . import plots
from .card import card
from .cost import cost_on
from .distill import Distiller
from .errors import ExportError
from .evaluate import TorchEngine
from .export import check_against_torch, export_master, file_entry, golden_inputs, write_golden
from .files import write_json, write_text
from .latency import compare_latency
from .lowrank import factorise
from .model import ViTDetector, build_model, count_macs, count_parameters
from .pretrained import inherit, load_backbone, settle_norms
from .prune import SHARES, importance, prune_shares, prune_to_cost
from .qat import insert, remove
from .quantize import faster_int8, quantise_int8, quantise_tensorrt, wanted_variants
from .quantize_fp16 import activation_ranges, convert_fp16, keeps_fp32, repaired, widest_half
from .recipe import Distilled
from .recipe_values import TAUGHT
from .report import write_report
from .rescale import rescale_residual
from .run import Run
from .samples import write_samples
from .smooth import smooth
from .teacher_cache import TeacherCache, model_hash
from .train import train
from .twin import twin_of, with_twin

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


def teacher(run: Run, folder: Path) -> None:
    """Train the teacher from scratch, from masked images or a pre-trained backbone, or take the one that was given."""
    if run.has("teacher"):
        return
    if run.source:
        if run.source.folded:
            settle_norms(run.source.model, [torch.from_numpy(b) for b in run.calibration()])
        _describe(run, "teacher", run.source.model)
        run.save("teacher", run.source.model)
        return
    model = run.load("pretrain") if run.has("pretrain") else fresh_teacher(run)
    _describe(run, "teacher", model)
    r = run.recipe.teacher
    train(model, run.loader(SEEDS["teacher"], r.batch), r, run.checkpoint("teacher"), "teacher")
    run.save("teacher", model)


def fresh_teacher(run: Run) -> ViTDetector:
    """The recipe's teacher before any training; the same in every stage that asks."""
    run.seed(SEEDS["teacher"])
    model = build_model(teacher_options(run))
    if run.backbone:
        run.note("backbone", load_backbone(model, run.backbone))
    return model


def distil(run: Run, folder: Path) -> None:
    """Train the student under the teacher, from those of the teacher's weights that fit."""
    if run.has("distil"):
        return
    run.seed(SEEDS["distil"])
    if run.has("search"):
        model = run.load("search")  # cut out of the teacher, to the budget
    else:
        model = build_model(student_options(run))
        inherit(model, run.load("teacher"))
    _describe(run, "distil", model)
    r = run.recipe.distil
    train_student(run, "distil", model, r)
    run.save("distil", model)


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
        _describe(run, stage, model)
        train_student(run, stage, model, r.scaled(1 / r.rounds))
        run.save(stage, model)
    if not run.has("prune"):
        _describe(run, "prune", model)
        run.save("prune", model)


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
        distiller = Distiller(model, teacher, **weights, cache=cache)
    train(model, loader, schedule, run.checkpoint(stage), stage, distiller)
    if distiller:
        distiller.close()


def teacher_options(run: Run) -> dict:
    """The config of the recipe's teacher."""
    return with_twin(run.recipe.model | _ends(run), run.input["width"], run.input["height"])


def student_options(run: Run) -> dict:
    """The config of the recipe's student: it differs from the teacher, trained here or given, in `recipe.student`."""
    base = run.recipe.model | _ends(run)
    if run.source:
        config = run.source.model.config()
        same = {k: config[k][0] for k in ("heads", "mlp") if len(set(config[k])) == 1}  # so that the depth may change
        base = config | same | ({"ranks": {}} if run.recipe.student else {})
    return with_twin(base | run.recipe.student, run.input["width"], run.input["height"])


def _ends(run: Run) -> dict:
    """What the data decides about a model: its classes and its colour channels."""
    return {"classes": len(run.labels), "channels": len(run.input["mean"])}


def _describe(run: Run, stage: str, model) -> None:
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


def lowrank(run: Run, folder: Path) -> None:
    """Factorise the linear layers where that saves enough and harms little, then fine-tune what came out."""
    if run.has("lowrank"):
        return
    model = run.load("prune")
    r = run.recipe.lowrank
    choices = factorise(model, [torch.from_numpy(b) for b in run.calibration()], r.error, r.saving, cost_on(run))
    run.note("lowrank", [vars(c) for c in choices])
    _describe(run, "lowrank", model)
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


def export(run: Run, folder: Path) -> None:
    """Write the master and its variants, each held to its consumer's contract, and the golden data."""
    model = run.load("quantise")
    master = folder / "model.onnx"
    operators = export_master(model, master, run.input["width"], run.input["height"])
    files = {"fp32": file_entry(master, "fp32", "any: TensorRT 8.2 and later, ONNX Runtime")}
    made = [v for v, state in run.notes["variants"].items() if state == "made"]
    images = run.calibration()
    for variant in made:
        path = folder / f"model.{variant}.onnx"
        if variant == "int8":
            quantise_int8(master, path, images, run.notes["int8_mode"])
            files["int8"] = file_entry(path, "int8", "ONNX Runtime")
        elif variant == "fp16":
            convert_fp16(master, path, activation_ranges(master, images))
            files["fp16"] = file_entry(path, "fp16", "TensorRT 11 and later, strongly typed")
        elif variant == "int8_trt":
            quantise_tensorrt(master, path, images)
            files["int8_trt"] = file_entry(path, "int8", "TensorRT 8.2 and later, on a GPU with int8")
    engine = OnnxRuntimeEngine(str(master))
    golden = golden_inputs(run.input)
    difference = check_against_torch(model, engine, golden)
    int8 = {v: OnnxRuntimeEngine(str(folder / files[v]["path"]), "int8") for v in ("int8", "int8_trt") if v in files}
    write_golden(folder / "golden.npz", engine, golden, int8)
    files["golden"] = file_entry(folder / "golden.npz", "fp32", "any", opset=None)
    run.note("export", {"operators": operators, "difference_to_torch": difference, "files": files})


def evaluate(run: Run, folder: Path) -> None:
    """Accuracy of every stage and of every file, with the onboard code, on every validation set."""
    run.leaks()
    strides = run.load("quantise").config()["strides"]
    master = run.notes["export"]["files"]["fp32"]
    run.choose_scores(master["sha256"], OnnxRuntimeEngine(str(folder / master["path"])), strides)
    for stage in ("teacher", "distil", "prune"):
        model = run.load(stage)
        engine = partial(TorchEngine, model, run.input["width"], run.input["height"])
        run.measure(stage, model_hash(model), engine, model.config()["strides"])
    draft = run.manifest()
    for variant, entry in draft["files"].items():
        if entry["path"].endswith(".onnx"):
            session = partial(OnnxRuntimeEngine, str(folder / entry["path"]), variant)
            run.measure(variant, entry["sha256"], session, strides)


def bundle(run: Run, folder: Path) -> None:
    """Write bundle.json, then open the bundle as the drone will."""
    write_json(folder / "bundle.json", run.manifest())
    open_bundle(folder)


def report(run: Run, folder: Path) -> None:
    """CARD.md, its plots and the log into the bundle; report.html, which shows frames of the data, beside the run."""
    latency = compare_latency(run, folder)
    write_samples(run, folder)
    plots.plot_stages(run, latency, folder / "stages.png")
    plots.plot_curves(run, folder / "curves.png")
    plots.plot_confusion(run, folder / "confusion.png")
    plots.plot_losses(run, folder / "losses.png")
    write_text(folder / "run.log", run.log())
    write_text(folder / "CARD.md", card(run, latency))
    write_report(run, folder, latency)
