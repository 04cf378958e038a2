"""Stages that make the bundle of what was trained: files, figures, card and report."""

from functools import partial
from pathlib import Path

import numpy as np

from vit_perception.bundles.bundle import open_bundle
from vit_perception.detector import Letterbox
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine
from vit_perception.images import look

from ..compression.quantize import quantise_int8, quantise_tensorrt
from ..compression.quantize_fp16 import activation_ranges, convert_fp16
from ..data import read_image
from ..evaluation.accuracy import TorchEngine, variant_engine
from ..export.onnx_export import check_against_torch, export_master, file_entry, golden_inputs, write_golden
from ..files import write_json, write_text
from ..report import card_plots as plots
from ..report import write_report
from ..report.card import card
from ..report.latency import compare_latency
from ..report.mask_card import write_masks
from ..report.samples import write_samples
from ..run.run import Run
from ..training.teacher_cache import model_hash

LOOKED_AT = 200  # training images
CONSUMERS = {  # of each variant
    "int8": "ONNX Runtime",
    "fp16": "TensorRT 11 and later, strongly typed",
    "int8_trt": "TensorRT 8.2 and later, on a GPU with int8",
}


def export(run: Run, folder: Path) -> None:
    """Write the master and its variants, each held to its consumer's contract, and the golden data."""
    model = run.load("quantise")
    master = folder / "model.onnx"
    operators = export_master(model, master, run.input["width"], run.input["height"])
    files = {"fp32": file_entry(master, "fp32", "any: TensorRT 8.2 and later, ONNX Runtime")}
    made = [v for v, state in run.notes["variants"].items() if state == "made"]
    images = run.calibration()
    files |= {v: make_variant(v, master, images, run.notes.get("int8_mode", "")) for v in made}
    run.note("look", training_look(run))
    engine = OnnxRuntimeEngine(str(master))
    golden = golden_inputs(run.input)
    difference = check_against_torch(model, engine, golden)
    int8 = {v: variant_engine(folder / files[v]["path"], v) for v in ("int8", "int8_trt") if v in files}
    write_golden(folder / "golden.npz", engine, golden, int8)
    files["golden"] = file_entry(folder / "golden.npz", "fp32", "any", opset=None)
    run.note("export", {"operators": operators, "difference_to_torch": difference, "files": files})


def make_variant(variant: str, master: Path, images: list[np.ndarray], int8_mode: str = "") -> dict:
    """Write a variant of CONSUMERS beside `master`, held to its consumer's contract -> its entry in bundle.json.

    Args:
        images: calibration inputs, float32 (1, C, H, W). int8_mode: of "int8", which `quantise_int8` takes.
    """
    path = master.with_name(f"model.{variant}.onnx")
    if variant == "fp16":
        convert_fp16(master, path, activation_ranges(master, images))
        return file_entry(path, "fp16", CONSUMERS[variant])
    if variant == "int8_trt":
        quantise_tensorrt(master, path, images)
    else:
        quantise_int8(master, path, images, int8_mode)
    return file_entry(path, "int8", CONSUMERS[variant])


def training_look(run: Run) -> dict:
    """What the training images look like to the model, for the bundle: ranges that 98 of 100 of them lie in."""
    letterbox, spec = Letterbox(run.input), run.input
    channel = len(spec["mean"]) // 2
    found = []
    for sample in run.train_data.spread(LOOKED_AT).samples:
        image = read_image(sample, spec["color"], spec)
        both = (image, 255 - image) if run.recipe.crops.sensor.invert else (image,)
        for picture in both:
            planes = letterbox(picture, "mono" if spec["color"] == "gray" else "rgb")[0][0]
            height, width = letterbox.filled
            found.append(look.measure(planes[channel, :height, :width] * spec["std"][channel] + spec["mean"][channel]))
    low, high = np.percentile(found, (1, 99), axis=0).round(4).tolist()
    return {"brightness": [low[:-1], high[:-1]], "sharpness": [low[-1], high[-1]]}


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
            run.measure(variant, entry["sha256"], partial(variant_engine, folder / entry["path"], variant), strides)


def bundle(run: Run, folder: Path) -> None:
    """Write bundle.json, then open the bundle as the drone will."""
    write_json(folder / "bundle.json", run.manifest())
    open_bundle(folder)


def report(run: Run, folder: Path) -> None:
    """CARD.md, its plots and the log into the bundle; pictures of the data, and report.html, beside the run."""
    latency = compare_latency(run, folder)
    if run.segments:
        write_masks(run, folder)
    plots.plot_stages(run, latency, folder / "stages.png")
    if run.labels:
        write_samples(run, folder)
        plots.plot_curves(run, folder / "curves.png")
        plots.plot_confusion(run, folder / "confusion.png")
    plots.plot_losses(run, folder / "losses.png")
    write_text(folder / "run.log", run.log())
    write_text(folder / "CARD.md", card(run, latency))
    if run.labels:
        write_report(run, folder, latency)
