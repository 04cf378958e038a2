"""The measured milliseconds of the card and the report: teacher and variants, on this machine."""

from pathlib import Path

import numpy as np

from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

from ..evaluation.latency import alternate
from ..export.onnx_export import export_master
from ..files import write_atomically
from ..run.run import Run


def compare_latency(run: Run, folder: Path) -> dict[str, dict]:
    """{"teacher" and every variant: {"ms" (median), "ratio" (to the teacher's)}}, measured on the golden images."""
    teacher = run.folder / "teacher.onnx"
    if not teacher.is_file():
        size = run.input["width"], run.input["height"]
        write_atomically(teacher, lambda p: export_master(run.load("teacher"), p, *size))  # a kill leaves no half of it
    paths = {"teacher": teacher}
    for variant, entry in run.notes["export"]["files"].items():
        if entry["path"].endswith(".onnx"):
            paths[variant] = folder / entry["path"]
    engines = {name: OnnxRuntimeEngine(str(path), name, threads=1) for name, path in paths.items()}
    images = np.load(folder / "golden.npz")["images"].astype(np.float32)
    medians = alternate(engines, images)
    figures = {k: {"ms": round(ms, 2), "ratio": round(ms / medians["teacher"], 3)} for k, ms in medians.items()}
    run.note("latency", figures)
    return figures
