"""Structured pruning: attention heads and MLP hidden units are cut out for real, so every backend gets faster.

Importance is the first-order Taylor estimate (Molchanov et al., arXiv 1906.10771): how much the loss would change if
the unit's contribution were zero, |sum of weight x gradient|, over some training batches.
"""

import logging

import torch
from torch import Tensor

from .augment import Loader
from .losses import detection_loss, points_for
from .model import HEAD_DIM, ViTDetector, build_model
from .progress import track

log = logging.getLogger(__name__)
BATCHES = 24


def prune_blocks(model: ViTDetector, loader: Loader, heads: float, mlp: float) -> ViTDetector:
    """A smaller copy of `model`: every block loses the share `heads` of its heads and `mlp` of its hidden units."""
    scores = taylor_scores(model, loader)
    keep = {}
    for i, block in enumerate(model.blocks):
        for kind, share, units in (
            ("heads", heads, block.attn and block.attn.heads),
            ("mlp", mlp, _hidden(block)),
        ):
            if units:
                count = max(1, round(units * (1 - share)))
                if kind == "mlp":
                    count = max(8, count - count % 8)  # multiples of 8 suit every matrix unit
                keep[i, kind] = scores[i, kind].topk(count).indices.sort().values
    small = slice_blocks(model, keep)
    log.info("prune: heads %s, hidden units %s", small.config()["heads"], small.config()["mlp"])
    return small


def taylor_scores(model: ViTDetector, loader: Loader) -> dict[tuple[int, str], Tensor]:
    """{(block, 'heads' | 'mlp'): importance of each unit}, from the weights that read the unit's output."""
    points = points_for(model, *loader.crop)
    totals: dict[tuple[int, str], Tensor] = {}
    model.eval().requires_grad_(True)
    for step in track(range(BATCHES), "importance"):
        batch = loader.make(step, mosaic=0.0)
        model.zero_grad(set_to_none=True)
        logits, raw = model(batch["images"])
        torch.stack(list(detection_loss(logits, raw, points, batch).values())).sum().backward()
        for i, block in enumerate(model.blocks):
            for kind, layer in (
                ("heads", block.attn and block.attn.proj),
                ("mlp", block.mlp and block.mlp.fc2),
            ):
                if layer:
                    contribution = (layer.weight * layer.weight.grad).sum(0)  # per input unit
                    if kind == "heads":
                        contribution = contribution.view(-1, HEAD_DIM).sum(1)
                    totals[i, kind] = totals.get((i, kind), 0) + contribution.detach().abs()
    model.zero_grad(set_to_none=True)
    return totals


@torch.no_grad()
def slice_blocks(model: ViTDetector, keep: dict[tuple[int, str], Tensor]) -> ViTDetector:
    """A new model with only the units in `keep` ({(block, 'heads' | 'mlp'): indices}); everything else is copied."""
    config = model.config()
    for (i, kind), units in keep.items():
        config[kind][i] = len(units)
    state = dict(model.state_dict())
    for (i, kind), units in keep.items():
        if kind == "mlp":
            rows = {"mlp.fc1": units}
            columns = {"mlp.fc2": units}
        else:
            inner = (units[:, None] * HEAD_DIM + torch.arange(HEAD_DIM)).flatten()
            width = model.blocks[i].attn.heads * HEAD_DIM
            rows = {"attn.qkv": torch.cat([inner + part * width for part in range(3)])}
            columns = {"attn.proj": inner}
        for name, index in rows.items():
            for leaf in ("weight", "bias"):
                state[f"blocks.{i}.{name}.{leaf}"] = state[f"blocks.{i}.{name}.{leaf}"][index]
        for name, index in columns.items():
            state[f"blocks.{i}.{name}.weight"] = state[f"blocks.{i}.{name}.weight"][:, index]
    small = build_model(config)
    small.load_state_dict(state)
    return small.eval()


def _hidden(block) -> int:
    return block.mlp.fc1.out_features if block.mlp is not None else 0
