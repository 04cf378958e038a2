"""The stages of offline.compress, in order. Each takes the run and the folder in which the bundle is being built."""

import logging
from pathlib import Path

import onnx
import torch

from vit_perception.bundle import Bundle, open_bundle
from vit_perception.detector import Detector
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

from .card import card, plot_stages
from .contract import ONNXRUNTIME_INT8, TENSORRT_8_2, check_contract
from .distill import Distiller
from .errors import ExportError
from .evaluate import EVALUATION_SCORE, TorchEngine
from .evaluate import evaluate as measure
from .export import check_against_torch, export_master, file_entry, golden_inputs, write_golden
from .files import write_json, write_text
from .latency import compare_latency
from .lowrank import factorise
from .model import build_model, count_macs, count_parameters
from .pretrained import inherit, load_backbone
from .prune import prune_blocks
from .quantize import activation_ranges, check_fp16, convert_fp16, quantise_int8, widest_half
from .run import Run
from .samples import write_samples
from .train import Schedule, train

log = logging.getLogger(__name__)
SEEDS = {"teacher": 1, "distil": 2, "importance": 3, "prune": 4, "lowrank": 5}  # no two stages see the same crops


def teacher(run: Run, folder: Path) -> None:
    """Train the teacher from scratch, or from a pre-trained backbone."""
    if run.has("teacher"):
        return
    run.seed(SEEDS["teacher"])
    model = build_model(run.recipe.model | _ends(run))
    if run.backbone:
        run.note("backbone", load_backbone(model, run.backbone))
    _describe(run, "teacher", model)
    r = run.recipe.teacher
    train(model, run.loader(SEEDS["teacher"], r.batch), r, run.checkpoint("teacher"), "teacher")
    run.save("teacher", model)


def distil(run: Run, folder: Path) -> None:
    """Train the student under the teacher, from those of the teacher's weights that fit."""
    if run.has("distil"):
        return
    run.seed(SEEDS["distil"])
    big = run.load("teacher")
    model = build_model(run.recipe.model | run.recipe.student | _ends(run))
    inherit(model, big)
    _describe(run, "distil", model)
    r = run.recipe.distil
    _train_student(run, "distil", model, r, r.response, r.feature)
    run.save("distil", model)


def prune(run: Run, folder: Path) -> None:
    """Cut heads and hidden units out of the student, then fine-tune what is left under the teacher."""
    if run.has("prune"):
        return
    r = run.recipe.prune
    model = prune_blocks(run.load("distil"), run.loader(SEEDS["importance"], r.batch), heads=r.heads, mlp=r.mlp)
    _describe(run, "prune", model)
    _train_student(run, "prune", model, r, run.recipe.distil.response, run.recipe.distil.feature)
    run.save("prune", model)


def _train_student(run: Run, stage: str, model, schedule: Schedule, response: float, feature: float) -> None:
    """Train `model` on the labels, and under the teacher where the weights of its two losses are not zero."""
    loader = run.loader(SEEDS[stage], schedule.batch)
    distiller = Distiller(model, run.load("teacher"), response, feature) if response or feature else None
    train(model, loader, schedule, run.checkpoint(stage), stage, distiller)


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
    choices = factorise(model, [torch.from_numpy(b) for b in run.calibration()], r.error, r.saving)
    run.note("lowrank", [vars(c) for c in choices])
    _describe(run, "lowrank", model)
    if r.epochs:
        _train_student(run, "lowrank", model, r, r.response, r.feature)
    run.save("lowrank", model)


def quantise(run: Run, folder: Path) -> None:
    """Decide which precisions the target gets, from measured activation ranges; the files are written by `export`."""
    master = run.folder / "draft.onnx"
    export_master(run.load("lowrank"), master, run.input["width"], run.input["height"])
    ranges, graph = activation_ranges(master, run.calibration()), onnx.load(str(master))
    variants: dict[str, str] = dict.fromkeys(run.target.variants, "made")
    if "fp16" in variants:
        try:
            check_fp16(graph, ranges)
        except ExportError as e:
            variants["fp16"] = str(e)
    run.note("variants", variants)
    tensor, value = widest_half(graph, ranges)
    run.note("widest_fp16", {"tensor": tensor, "value": round(value, 1)})
    log.info("%s: variants %s (%s)", run.target.name, variants, run.target.why)
    master.unlink()


def export(run: Run, folder: Path) -> None:
    """Write the master and its variants, each held to its consumer's contract, and the golden data."""
    model = run.load("lowrank")
    master = folder / "model.onnx"
    operators = export_master(model, master, run.input["width"], run.input["height"])
    files = {"fp32": file_entry(master, "fp32", "any: TensorRT 8.2 and later, ONNX Runtime")}
    made = [v for v, state in run.notes["variants"].items() if state == "made"]
    if "int8" in made:
        path = folder / "model.int8.onnx"
        quantise_int8(master, path)
        check_contract(path, TENSORRT_8_2 | ONNXRUNTIME_INT8)
        files["int8"] = file_entry(path, "int8", "ONNX Runtime")
    if "fp16" in made:
        path = folder / "model.fp16.onnx"
        convert_fp16(master, path, activation_ranges(master, run.calibration()))
        check_contract(path)
        files["fp16"] = file_entry(path, "fp16", "TensorRT 11 and later, strongly typed")
    engine = OnnxRuntimeEngine(str(master))
    golden = golden_inputs(run.input)
    difference = check_against_torch(model, engine, golden)
    write_golden(folder / "golden.npz", engine, golden)
    files["golden"] = file_entry(folder / "golden.npz", "fp32", "any", opset=None)
    run.note("export", {"operators": operators, "difference_to_torch": difference, "files": files})


def evaluate(run: Run, folder: Path) -> None:
    """Accuracy of every stage and of every file, with the onboard code."""
    draft = run.manifest()
    for stage in ("teacher", "distil", "prune"):
        if f"{stage}.metrics" not in run.notes:
            engine = TorchEngine(run.load(stage), run.input["width"], run.input["height"])
            run.note(f"{stage}.metrics", _measure(run, Bundle(str(folder), draft), engine, stage))
    for variant, entry in draft["files"].items():
        if entry["path"].endswith(".onnx") and run.notes.get(f"{variant}.measured") != entry["sha256"]:
            session = OnnxRuntimeEngine(str(folder / entry["path"]), variant)
            run.note(f"{variant}.metrics", _measure(run, Bundle(str(folder), draft), session, variant))
            run.note(f"{variant}.measured", entry["sha256"])


def _measure(run: Run, draft: Bundle, engine, label: str) -> dict:
    detector = Detector(draft, engine, score_threshold=EVALUATION_SCORE)
    metrics = measure(detector, run.labels, run.input["color"], run.val_data, f"evaluate {label}")
    log.info("%s: mAP %.3f, mAP50 %.3f", label, metrics["map"], metrics["map50"])
    return metrics


def bundle(run: Run, folder: Path) -> None:
    """Write bundle.json, then open the bundle as the drone will."""
    write_json(folder / "bundle.json", run.manifest())
    open_bundle(folder)


def report(run: Run, folder: Path) -> None:
    """CARD.md and its plots into the bundle; annotated samples of the data beside the run."""
    latency = compare_latency(run, folder)
    write_samples(run, folder)
    plot_stages(run, latency, folder / "stages.png")
    write_text(folder / "CARD.md", card(run, latency))
