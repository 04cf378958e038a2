"""How long a bundle's files take on this machine: one thread, in alternation, so that load hits all alike."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

from ..progress import track

ROUNDS = 15


def alternate(engines: dict, images: np.ndarray | dict, rounds: int = ROUNDS) -> dict:
    """Median milliseconds of each engine's infer, the engines taking turns. images: (n, C, H, W), or one by name."""
    return {name: float(np.median(t)) for name, t in all_times(engines, images, rounds).items()}


def all_times(engines: dict, images: np.ndarray | dict, rounds: int = ROUNDS) -> dict[Any, list[float]]:
    """As `alternate`, but the milliseconds of every round."""
    times: dict = {name: [] for name in engines}
    feeds = images if isinstance(images, dict) else dict.fromkeys(engines, images)
    for i in track(range(rounds + 2), "latency"):
        for name, engine in engines.items():
            image = feeds[name][i % len(feeds[name])][None]
            start = time.perf_counter()
            engine.infer(image)
            if i >= 2:  # the first rounds warm up
                times[name].append(1e3 * (time.perf_counter() - start))
    return times


def measured_ms(engine: OnnxRuntimeEngine) -> float:
    """Median milliseconds of one engine on noise; to compare several, use `alternate`."""
    images = np.random.default_rng(0).normal(size=(3, *engine.input_shape[1:])).astype(np.float32)
    return alternate({"": engine}, images)[""]


def memory_mb(path: Path) -> float:
    """Peak resident megabytes of a fresh process that opens this ONNX file as the drone does and runs it 5 times."""
    return float(subprocess.run([sys.executable, "-c", _PROBE, str(path)], check=True, capture_output=True).stdout)


_PROBE = """
import sys
import numpy as np
from vit_perception.health.board import rss_mb
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine
engine = OnnxRuntimeEngine(sys.argv[1], threads=1)
image = np.random.default_rng(0).random(engine.input_shape, np.float32)
for _ in range(5):
    engine.infer(image)
print(rss_mb(field="VmHWM"))  # getrusage would count what the parent was before exec
"""
