"""Latency of a network on a board, predicted layer by layer, with the error that this had on published measurements.

    time = sum over layers of max(2 macs / (efficiency of its class * peak), bytes / (efficiency * bandwidth)) + launch

(the roofline model, Williams et al., doi 10.1145/1498765.1498785, plus a constant per kernel). Efficiencies, at most 1,
are fitted to published_latencies.py by least squares of log time, with a weak prior; boards share them, but for memory,
launch and two factors of the tensor cores. `fit_host` fits the same form to this machine. See docs/latency_model.md.
"""

import functools
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

from ..errors import RecipeError
from ..evaluation.latency import alternate
from ..export.onnx_export import export_master
from ..model.detector import build_model
from .layers import KINDS, Layer, layers_of_config
from .published_latencies import NETWORKS, POINTS
from .targets import BYTES, TARGETS, Target, find_precision

COMPUTE = KINDS[:4]  # elementwise layers only move memory
Predict = Callable[[np.ndarray], np.ndarray]  # parameters (P,) -> seconds of every point (N,)


@dataclass(frozen=True)
class Costs:
    """What a layer costs on one machine. rates: class -> FLOP/s; bandwidth: bytes/s; launch: seconds per layer.

    error: median relative error over the fitted points of its generation of boards, each predicted without itself;
    new_design: the same, each predicted without any network of its design.
    """

    rates: dict[str, float]
    bandwidth: float
    launch: float
    error: float
    new_design: float


@dataclass(frozen=True)
class Prediction:
    """ms, fps: of one image, inference only. error, new_design: see Costs. per_layer: (layer, ms), in order."""

    ms: float
    fps: float
    error: float
    new_design: float
    per_layer: list[tuple[Layer, float]]

    def __str__(self) -> str:
        return (
            f"predicted {self.ms:.3g} ms +-{self.error:.0%} (leave-one-out; +-{self.new_design:.0%} for a design that "
            "was not measured)"
        )


def predict(layers: list[Layer], target: Target, precision: str = "fp16", host: dict | None = None) -> Prediction:
    """Time of `layers` on `target`. precision: fp32, fp16 or int8; host: what `fit_host` returned, for target cpu.

    Raises:
        RecipeError: the target has no such precision, or it is a cpu and `host` is missing.
    """
    costs = costs_of(target, precision, host)
    times = 1e3 * layer_seconds(layers, costs, precision)
    ms = float(times.sum())
    pairs = list(zip(layers, times.tolist(), strict=True))
    return Prediction(ms, 1e3 / ms if ms else math.inf, costs.error, costs.new_design, pairs)


def costs_of(target: Target, precision: str, host: dict | None = None) -> Costs:
    """Raises RecipeError as `predict` does."""
    find_precision(target, precision)
    if not target.peak:
        if host is None or precision != "fp32":
            raise RecipeError(f"{target.name}: its speed is measured, not known; give what fit_host returned, in fp32")
        return Costs(**host)
    generation = _generation(target)
    values = np.exp(_efficiencies(evaluate_published()["parameters"])[generation])
    rates = {k: float(v) * target.peak[held_in(k, precision)] for k, v in zip(COMPUTE, values[:4], strict=True)}
    errors = errors_of({t.name for t in TARGETS.values() if t.peak and _generation(t) == generation})
    return Costs(rates, float(values[4]) * target.bandwidth, float(values[5]), *errors)


def held_in(kind: str, precision: str) -> str:
    """The precision of a layer in an engine of `precision`: int8 is for products with weights, the rest stays fp16."""
    return "fp16" if precision == "int8" and kind in ("attention", "elementwise") else precision


def layer_seconds(layers: list[Layer], costs: Costs, precision: str) -> np.ndarray:
    """Seconds of each layer, (len(layers),)."""
    compute = np.array([2 * layer.macs / costs.rates.get(layer.kind, math.inf) for layer in layers])
    memory = np.array([layer.elements * BYTES[held_in(layer.kind, precision)] / costs.bandwidth for layer in layers])
    return np.maximum(compute, memory) + costs.launch


# --- the fit to published speeds ---

PARAMETERS = {  # name: value expected before any data
    "conv": 0.6,  # efficiencies
    "depthwise": 0.1,
    "matmul": 0.5,
    "attention": 0.2,
    "memory, Maxwell": 0.6,
    "memory, Ampere": 0.6,
    "compute, Ampere to Maxwell": 0.5,
    "matmul, Ampere to Maxwell": 1.0,
    "launch, Maxwell": 1e-5,  # seconds
    "launch, Ampere": 1e-5,
    "server": 4e-3,  # seconds of pre- and postprocessing in the pipeline that Orin NX was measured with
}
SPREAD = 1.0  # of the prior, in log units: a factor of e either way is no surprise
NOISE = 0.2  # of published times, in log units


def _generation(target: Target) -> int:
    return 0 if target.name == "jetson-nano" else 1


def _efficiencies(theta: np.ndarray) -> np.ndarray:
    """Log of [conv, depthwise, matmul, attention, memory, launch] of Maxwell and Ampere, (2, 6)."""
    p = dict(zip(PARAMETERS, theta, strict=True))
    kinds = theta[:4]
    ampere = kinds + p["compute, Ampere to Maxwell"] + np.array([0, 0, p["matmul, Ampere to Maxwell"], 0])
    maxwell = [*kinds, p["memory, Maxwell"], p["launch, Maxwell"]]
    return np.minimum([maxwell, [*ampere, p["memory, Ampere"], p["launch, Ampere"]]], 0)  # nothing beats its peak


class _Work:
    """Layers of many measurements in flat arrays (L,): seconds at full rate and bandwidth; efficiencies divide them."""

    def __init__(self, rows: list[tuple[list[Layer], dict[str, float], float, str, int]]):
        """rows: (layers, precision -> FLOP/s, bytes/s, precision, generation) of each measurement."""
        flat = [
            (
                i,
                KINDS.index(x.kind),
                2 * x.macs / peak[held_in(x.kind, precision)],
                x.elements * BYTES[held_in(x.kind, precision)] / bandwidth,
                generation,
            )
            for i, (layers, peak, bandwidth, precision, generation) in enumerate(rows)
            for x in layers
        ]
        point, kind, compute, memory, generation = map(np.array, zip(*flat, strict=True))
        self.point, self.compute, self.memory, self.count = point, compute, memory, len(rows)
        self.own = (generation, np.minimum(kind, 3))  # where a layer's efficiency stands; elementwise compute is 0
        self.bandwidth, self.launch = ((generation, np.full_like(kind, column)) for column in (4, 5))

    def seconds(self, efficiencies: np.ndarray) -> np.ndarray:
        """efficiencies: log, (generations, 6) -> seconds of every measurement, (N,)."""
        e = np.exp(efficiencies)
        times = np.maximum(self.compute / e[self.own], self.memory / e[self.bandwidth]) + e[self.launch]
        return np.bincount(self.point, times, self.count)


def errors_of(target_names: set[str]) -> tuple[float, float]:
    """Median leave-one-out error, and that without the whole design, over the points of these targets."""
    table, here = evaluate_published(), np.array([p.target in target_names for p in POINTS])
    left_out, design = (
        relative_error(table[k][here], table["measured"][here]) for k in ("left_out", "design_left_out")
    )
    return left_out, design


@functools.lru_cache(maxsize=1)
def evaluate_published() -> dict[str, np.ndarray]:
    """Seconds of every point of POINTS: measured, fitted, left_out and design_left_out; and the parameters, (11,)."""
    targets = [TARGETS[p.target] for p in POINTS]
    work = _Work(
        [
            (NETWORKS[p.network].write(), t.peak, t.bandwidth, p.precision, _generation(t))
            for p, t in zip(POINTS, targets, strict=True)
        ]
    )
    pipeline = np.array([p.timing == "pipeline" for p in POINTS])
    measured = np.array([p.ms / 1e3 for p in POINTS])
    prior = np.log(list(PARAMETERS.values()))

    def seconds(theta: np.ndarray) -> np.ndarray:
        return work.seconds(_efficiencies(theta)) + pipeline * np.exp(theta[-1])

    theta = fit(seconds, measured, prior)
    designs = np.array([NETWORKS[p.network].family for p in POINTS])
    return {
        "parameters": theta,
        "measured": measured,
        "fitted": seconds(theta),
        "left_out": leave_out(seconds, measured, prior, np.arange(len(POINTS))),
        "design_left_out": leave_out(seconds, measured, prior, designs),
    }


def relative_error(predicted: np.ndarray, measured: np.ndarray) -> float:
    """Median of |predicted / measured - 1|."""
    return float(np.median(np.abs(predicted / measured - 1)))


def leave_out(seconds: Predict, measured: np.ndarray, prior: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Every point's prediction from a fit without the points of its group, (N,)."""
    predicted = np.empty(len(measured))
    for group in dict.fromkeys(groups.tolist()):
        out = groups == group
        predicted[out] = seconds(fit(seconds, measured, prior, ~out))[out]
    return predicted


def fit(seconds: Predict, measured: np.ndarray, prior: np.ndarray, used: np.ndarray | None = None) -> np.ndarray:
    """Parameters (log units) that explain the `used` points: Levenberg-Marquardt from the prior, deterministic.

    Minimises sum((log(seconds / measured) / NOISE)^2) + sum(((theta - prior) / SPREAD)^2).
    """
    used = np.ones(len(measured), bool) if used is None else used

    def residuals(theta: np.ndarray) -> np.ndarray:
        return np.concatenate([np.log(seconds(theta) / measured)[used] / NOISE, (theta - prior) / SPREAD])

    theta, damping, step, steps = prior.copy(), 1e-2, 1e-4, np.eye(len(prior))
    r = residuals(theta)
    for _ in range(60):
        jacobian = np.stack([(residuals(theta + step * e) - r) / step for e in steps], 1)
        for _ in range(12):
            move = np.linalg.solve(jacobian.T @ jacobian + damping * steps, -jacobian.T @ r)
            new = residuals(theta + move)
            if new @ new < r @ r:
                break
            damping *= 4
        else:
            return theta
        gain = r @ r - new @ new
        theta, r, damping = theta + move, new, damping / 3
        if gain < 1e-7:
            break
    return theta


# --- this machine ---

HOST_RATE, HOST_BANDWIDTH = 50e9, 10e9  # nominal FLOP/s and bytes/s that the host's efficiencies refer to
HOST_PRIOR = np.log([1.0, 0.1, 1.0, 0.5, 0.5, 5e-6])
HOST_VARIANTS: list[dict] = [  # each takes the time of one class far from where the others have it
    {},
    {"stem": [8, 16, 32, 64]},
    {"stem": [24, 48, 96, 192]},
    {"mlp": 1536},
    {"mlp": 192, "heads": 6},
    {"dim": 96, "mlp": 384},
    {"depth": 1},
    {"depth": 12, "heads": 1, "mlp": 384},
    {"neck": 24, "stem": [8, 16, 24, 48]},
]


def fit_host(
    width: int, height: int, channels: int = 1, rounds: int = 9, variants: Sequence[dict] = HOST_VARIANTS
) -> dict:
    """Measure some detectors of that input on this machine and fit the model to them: a plain dict for `predict`.

    One thread of ONNX Runtime, fp32, in alternation. Takes about half a minute.
    """
    configs = [{"classes": 3, "channels": channels, **v} for v in variants]
    measured = 1e-3 * np.array(_measure(configs, width, height, rounds))
    peak = {"fp32": HOST_RATE}
    work = _Work([(_host_layers(c, width, height), peak, HOST_BANDWIDTH, "fp32", 0) for c in configs])

    def seconds(theta: np.ndarray) -> np.ndarray:
        return work.seconds(theta[None])

    values = np.exp(fit(seconds, measured, HOST_PRIOR))
    left_out = leave_out(seconds, measured, HOST_PRIOR, np.arange(len(measured)))
    rates = {k: float(v) * HOST_RATE for k, v in zip(COMPUTE, values[:4], strict=True)}
    error = relative_error(left_out, measured)
    return asdict(Costs(rates, float(values[4]) * HOST_BANDWIDTH, float(values[5]), error, error))


def _host_layers(config: dict, width: int, height: int) -> list[Layer]:
    return layers_of_config(build_model(config).config(), width, height)


def _measure(configs: list[dict], width: int, height: int, rounds: int) -> list[float]:
    """Milliseconds of each config's master."""
    engines = {}
    with tempfile.TemporaryDirectory() as folder:
        for i, config in enumerate(configs):
            path = Path(folder) / f"{i}.onnx"
            export_master(build_model(config), path, width, height)
            engines[str(i)] = OnnxRuntimeEngine(str(path), str(i), threads=1)
        shape = (3, configs[0]["channels"], height, width)
        images = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        medians = alternate(engines, images, rounds)
    return [medians[str(i)] for i in range(len(configs))]
