"""Outlier smoothing before quantisation: evens out the ranges of activations and of the weights that read them.

A tensor has one scale: a few channels 20 times wider than the rest leave the rest a handful of steps. Dividing
channel j by s_j where it is made, and multiplying the weights that read it by s_j, keeps the fp32 model's function:

    s_j = max|x_j|^a / max|W_j|^(1-a),  a = 1/2        (Xiao et al., SmoothQuant, arXiv 2211.10438, equation 4)

Made by a LayerNorm (norm1 -> qkv, norm2 -> fc1), by the values (v -> proj: attention only mixes tokens), or by batch
norm and ReLU, which lets positive factors through (Nagel et al., arXiv 1906.04721). GELU does not: fc1 -> fc2 stays.
Weights have a scale per output channel, so that they bear the larger range well.
"""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..model.blocks import Residual
from ..model.detector import ViTDetector
from ..model.mobile_stem import is_mobile

log = logging.getLogger(__name__)
ALPHA = 0.5
LIMIT = 100.0  # of one factor: a channel that is never used must not blow up another


@dataclass
class Pair:
    """Channels made by `makers` (parameters whose first dimension holds them from `start` on), read by `reader`."""

    makers: list[Tensor]
    reader: nn.Module
    start: int = 0


@torch.no_grad()
def smooth(model: ViTDetector, images: list[Tensor], alpha: float = ALPHA) -> float:
    """Even out the ranges of `model`, in place; its function stays the same up to rounding.

    Args:
        images: calibration batches (B, C, H, W). alpha: how much of the range moves into the weights, 0..1.

    Returns:
        The largest factor by which a channel was made smaller.
    """
    pairs = [*block_pairs(model), *relu_pairs(model)]
    widest = widest_inputs(model, [p.reader for p in pairs], images)
    most = 1.0
    for pair, x in zip(pairs, widest, strict=True):
        weight = pair.reader.weight  # (out, in) or (out, in, k, k)
        w = weight.abs().transpose(0, 1).flatten(1).amax(1)  # (in,)
        factor = x.pow(alpha) / w.pow(1 - alpha)
        used = (x > 0) & (w > 0)
        factor = torch.where(used, factor, torch.ones_like(factor)).clamp(1 / LIMIT, LIMIT)
        weight.mul_(factor.view(1, -1, *[1] * (weight.dim() - 2)))
        for tensor in pair.makers:
            part = tensor[pair.start : pair.start + len(factor)]
            part.div_(factor.view(-1, *[1] * (tensor.dim() - 1)))
        most = max(most, float(factor.max()))
    log.info("smoothing: %d pairs of layers, largest factor %.1f", len(pairs), most)
    return most


def block_pairs(model: ViTDetector) -> list[Pair]:
    """LayerNorms and the values, with the linear layers that read them."""
    pairs = []
    for block in model.blocks:
        if isinstance(block, Residual):  # among relu_pairs
            continue
        if block.attn is not None:
            pairs.append(Pair([block.norm1.weight, block.norm1.bias], _first(block.attn.qkv)))
            values, reader = _last(block.attn.qkv), _first(block.attn.proj)
            pairs.append(Pair([values.weight, values.bias], reader, start=values.out_features // 3 * 2))
        if block.mlp is not None:
            pairs.append(Pair([block.norm2.weight, block.norm2.bias], _first(block.mlp.fc1)))
    return pairs


def relu_pairs(model: ViTDetector) -> list[Pair]:
    """Batch norms whose ReLU has one reader, a convolution; but not a float one, as the last of a head.

    A mobile stem has none: ReLU6 ends at 6, and no factor goes through that.
    """
    chains = [] if is_mobile(model.config()["stem"]) else [(model.stem[0], model.stem[1][0])]
    bodies = [
        m.body for m in model.modules() if isinstance(m, Residual)
    ]  # of the stem, and of a model without attention
    chains += [(body[0], body[1]) for body in bodies]
    return [Pair([made[1].weight, made[1].bias], reader[0]) for made, reader in chains]


def _first(layer: nn.Module) -> nn.Module:
    """The linear layer itself, or the first of the two that low rank made of it."""
    return layer[0] if isinstance(layer, nn.Sequential) else layer


def _last(layer: nn.Module) -> nn.Module:
    return layer[-1] if isinstance(layer, nn.Sequential) else layer


@torch.no_grad()
def widest_inputs(model: ViTDetector, readers: list[nn.Module], images: list[Tensor]) -> list[Tensor]:
    """max|x_j| of each reader's input channels j over the images: (in,) each."""
    widest: dict[nn.Module, Tensor] = {}

    def watch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        channel = 1 if isinstance(module, nn.Conv2d) else -1
        x = inputs[0].abs().movedim(channel, 0).flatten(1).amax(1)
        widest[module] = torch.maximum(widest[module], x) if module in widest else x

    hooks = [r.register_forward_pre_hook(watch) for r in readers]
    for batch in images:
        model.eval()(batch)
    for h in hooks:
        h.remove()
    return [widest[r] for r in readers]
