"""Divide the residual stream, so that nothing in a LayerNorm leaves fp16's range even where it is computed in fp16.

LayerNorm takes the scale of its input out again: LN(x / d) = LN(x), but for its epsilon. So all that is added to the
stream (the embedding, the position code, each block's attention and MLP) may be divided by one d, and the network
computes the same, while the squares in its LayerNorms, which overflow fp16 from |x| = 256 on, shrink by d^2.
The layers stay on the list of those that should be computed in fp32; this holds where a builder does not obey it.
"""

import math

import torch
from torch import Tensor, nn

from ..model.blocks import LayerNorm
from ..model.detector import ViTDetector

LARGEST_HALF = 65504.0
MARGIN = 16.0  # of sums of squares: images that nobody has measured may have four times the activations


@torch.no_grad()
def rescale_residual(model: ViTDetector, batches: list[Tensor]) -> int:
    """Divide the residual stream of `model`, in place, by the power of two that its activations ask for.

    Args:
        batches: images (B, C, H, W) as the model sees them.

    Returns:
        the divisor; 1 where nothing had to be done.
    """
    widest = largest_sum_of_squares(model, batches)
    divisor = 2 ** max(0, math.ceil(0.5 * math.log2(max(MARGIN * widest / LARGEST_HALF, 1e-30))))
    if divisor > 1:
        for module in _writers(model):
            for parameter in (module.weight, module.bias):
                parameter.div_(divisor)
        if model.position is not None:
            model.position.bias.div_(divisor)  # its input is divided already
    return divisor


@torch.no_grad()
def largest_sum_of_squares(model: ViTDetector, batches: list[Tensor]) -> float:
    """Over all tokens of `batches` and all LayerNorms: the largest sum over channels of (x - mean)^2."""
    found = [0.0]

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        centred = inputs[0] - inputs[0].mean(-1, keepdim=True)  # (B, T, D)
        found.append(float(centred.square().sum(-1).max()))

    hooks = [m.register_forward_pre_hook(look) for m in model.modules() if isinstance(m, LayerNorm)]
    model.eval()
    for batch in batches:
        model(batch)
    for hook in hooks:
        hook.remove()
    return max(found)


def _writers(model: ViTDetector) -> list[nn.Module]:
    """The layers whose outputs, scaled by their weight and bias, make up the residual stream."""
    ends = [model.embed]
    for block in model.blocks:
        ends += [end for end in (block.attn and block.attn.proj, block.mlp and block.mlp.fc2) if end is not None]
    # Of two thin layers, or of convolution and batch norm, the last one sets the scale.
    return [end[-1] if isinstance(end, nn.Sequential) else end for end in ends]
