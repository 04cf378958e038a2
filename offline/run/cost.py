"""Milliseconds of a model on the target, for pruning, low rank and the search.

For a board they are predicted (boards/latency_model.py). While many widths are compared on this CPU they are predicted
too, by the same model, fitted to this computer once a run; the times that are reported are measured.
"""

from ..boards.latency_model import fit_host, predict
from ..boards.layers import layers_of_config
from ..boards.targets import Target
from ..compression.prune import Cost
from .run import Run


def precisions_of(target: Target, tensorrt: str = "auto") -> list[str]:
    """What a model may fly in there, fp32 only where nothing is faster and as safe; the first is the usual one.

    tensorrt: the recipe's quantise.tensorrt; without int8 there is no file of it for the board.
    """
    return [p for p in target.peak if p != "fp32" and (p != "int8" or tensorrt != "fp16")] or ["fp32", "int8"]


def cost_on(run: Run) -> Cost:
    """Milliseconds of a config at the run's input size on its target, in the target's usual precision."""
    width, height = run.input["width"], run.input["height"]
    precision = precisions_of(run.target)[0]
    known: dict[str, float] = {}

    def cost(config: dict) -> float:
        key = repr(sorted(config.items()))
        if key not in known:
            known[key] = predict(layers_of_config(config, width, height), run.target, precision, _host(run)).ms
        return known[key]

    return cost


def _host(run: Run) -> dict | None:
    """The latency model of this computer, fitted when first asked for; None where the target is a board."""
    if run.target.peak:
        return None
    if "host" not in run.notes:
        run.note("host", fit_host(run.input["width"], run.input["height"], len(run.input["mean"])))
    return run.notes["host"]
