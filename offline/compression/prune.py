"""Structured pruning: ranks the units of the whole model by the accuracy lost per millisecond saved on the target.

Importance of a unit, with m its mask and L the loss on training crops:

- magnitude: squared norm of its weights, relative to the mean of its group (Li et al., arXiv 1608.08710);
- taylor: `|dL/dm|`, summed over batches (Molchanov et al., arXiv 1906.10771);
- fisher: half the diagonal Fisher information of m, (dL/dm)^2 per image (Kwon et al., arXiv 2204.09656): a unit that
  helps one image and harms another is important, which the mean gradient hides.

dL/dm is (weight x gradient) summed over the tensors that read the unit.
"""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import RecipeError
from ..model.detector import ViTDetector
from ..progress import track
from ..training.augment import Loader
from ..training.dense_loss import DenseLoss
from ..training.losses import points_for
from ..training.step import label_losses
from .groups import Group, cut, groups, smaller, unit_sums

log = logging.getLogger(__name__)
BATCHES = 24
SHARES = ("heads", "mlp", "dim", "stem", "neck")  # kinds of groups, as the recipe names them
CRITERIA = ("fisher", "taylor", "magnitude")

Scores = dict[str, Tensor]  # group -> importance of each of its units
Cost = Callable[[dict], float]  # a model's config -> milliseconds on the target


def importance(model: ViTDetector, loader: Loader, criterion: str) -> Scores:
    """Importance of every unit of every group. Raises RecipeError for an unknown criterion."""
    if criterion not in CRITERIA:
        raise RecipeError(f"prune.criterion must be one of {', '.join(CRITERIA)}, not '{criterion}'")
    table = groups(model)
    if criterion == "magnitude":
        squares = {k: v.detach().square() for k, v in model.named_parameters()}
        scores = {name: unit_sums(g, squares, reads=False) for name, g in table.items()}
        return {name: s / s.mean().clamp(min=1e-12) for name, s in scores.items()}
    totals = {name: torch.zeros(g.count) for name, g in table.items()}
    points = points_for(model, *loader.crop)
    model.eval().requires_grad_(True)
    for step in track(range(BATCHES), f"importance ({criterion})"):
        batch = loader.make(step, mosaic=0.0)
        size = 1 if criterion == "fisher" else loader.batch
        for first in range(0, loader.batch, size):
            part = {k: v[first : first + size] for k, v in batch.items() if v.dim()}
            for name, gradient in _mask_gradients(model, table, points, part, loader.dense).items():
                totals[name] += 0.5 * gradient.square() if criterion == "fisher" else gradient.abs()
    model.zero_grad(set_to_none=True)
    return totals


def _mask_gradients(
    model: ViTDetector, table: dict[str, Group], points: Tensor, batch: dict, dense: DenseLoss | None
) -> Scores:
    model.zero_grad(set_to_none=True)
    outputs = model.outputs(model.features(batch["images"]))
    torch.stack(list(label_losses(outputs, points, batch, dense).values())).sum().backward()
    products = {k: (p * p.grad).detach() for k, p in model.named_parameters() if p.grad is not None}
    return {name: unit_sums(g, products, reads=True) for name, g in table.items()}


def prune_shares(model: ViTDetector, scores: Scores, shares: dict[str, float]) -> ViTDetector:
    """Cut the given share of every group of a kind: {'heads': .34, 'mlp': .5, 'dim': .25, 'stem': .5, 'neck': .5}."""
    keep = {}
    for name, g in groups(model).items():
        share = shares.get(name.partition(".")[0], 0.0)
        if share:
            count = max(g.least, g.step, round(g.count * (1 - share) / g.step) * g.step)
            keep[name] = _best(scores[name], min(count, g.count))
    return cut(model, keep)


def prune_to_cost(model: ViTDetector, scores: Scores, cost: Cost, budget: float, depth: int = 1) -> ViTDetector:
    """Cut what loses least per millisecond saved until `cost(config)` is at most `budget`; `depth` blocks must stay.

    Raises:
        RecipeError: even the smallest model is over the budget.
    """
    table, config = groups(model), model.config()
    order = {name: scores[name].sort().values for name in table}  # the least important go first
    counts = {name: g.count for name, g in table.items()}
    now = cost(config)
    while now > budget:
        best, choice = float("inf"), None
        for name, g in table.items():
            left = counts[name] - min(g.step, counts[name])
            if left < g.least or counts[name] == 0 or len(_blocks(counts | {name: left})) < depth:
                continue
            gone = g.count - counts[name]
            loss = float(order[name][gone : g.count - left].sum())
            saved = now - cost(smaller(config, counts | {name: left}))
            if saved > 0 and loss / saved < best:
                best, choice = loss / saved, (name, left)
        if choice is None:
            raise RecipeError(
                f"pruning cannot reach {budget:.1f} ms: with all cut that may go the model still takes {now:.1f} ms; "
                "give a larger budget or a smaller input"
            )
        counts[choice[0]] = choice[1]
        now = cost(smaller(config, counts))
    keep = {name: _best(scores[name], n) for name, n in counts.items() if n < table[name].count}
    small = cut(model, keep)
    log.info("pruned to %.1f ms: %s", now, describe(small.config()))
    return small


def _blocks(counts: dict[str, int]) -> set[str]:
    """Numbers of the blocks that still have both halves, or the only one that blocks of this model have."""
    kinds = {name.partition(".")[0] for name in counts} & {"heads", "mlp"}
    there = [{name.split(".")[1] for name, n in counts.items() if n and name.startswith(k)} for k in kinds]
    return set.intersection(*there) if there else set()


def describe(config: dict) -> str:
    """The widths of a model in one line."""
    keys = ("stem", "dim", "heads", "mlp", "neck", "pool")
    return " ".join(f"{k} {config[k]}" for k in keys if config[k] is not None)


def _best(scores: Tensor, count: int) -> Tensor:
    return scores.topk(count).indices.sort().values
