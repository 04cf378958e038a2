"""How long a bundle's files take on this machine: one thread, in alternation, so that load hits all alike."""

import time
from pathlib import Path

import numpy as np

from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

from .export import export_master
from .progress import track
from .run import Run

ROUNDS = 15


def compare_latency(run: Run, folder: Path) -> dict[str, dict]:
    """{"teacher" and every variant: {"ms" (median), "ratio" (to the teacher's)}}, measured on the golden images."""
    teacher = run.folder / "teacher.onnx"
    if not teacher.is_file():
        export_master(run.load("teacher"), teacher, run.input["width"], run.input["height"])
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


def alternate(engines: dict, images: np.ndarray, rounds: int = ROUNDS) -> dict[str, float]:
    """Median milliseconds of each engine's infer, the engines taking turns."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    for i in track(range(rounds + 2), "latency"):
        for name, engine in engines.items():
            start = time.perf_counter()
            engine.infer(images[i % len(images)][None])
            if i >= 2:  # the first rounds warm up
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(t)) for name, t in times.items()}
