"""Quantisation-aware fine-tuning: the model learns with the rounding that its int8 file will have.

While it trains, what static int8 quantises is rounded and clipped in the forward pass, and the gradient goes straight
through where nothing was clipped (Bengio et al., arXiv 1308.3432; Jacob et al., arXiv 1712.05877). Weights: symmetric,
per output channel; a batch norm scales whole output channels, so that folding it in later changes nothing of that.
Activations: one asymmetric 8-bit range per layer input, a running mean of the minima and maxima.
Afterwards all of it is taken out: the weights are plain, and the int8 file is calibrated like any other.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..model.detector import ViTDetector
from .quantize import is_last_of_head

MOMENTUM = 0.05  # of the running ranges
SMALLEST = 1e-8  # scale
WEIGHT = 64  # 7 bits


class RoundWeights(nn.Module):
    """A weight as ONNX Runtime's int8 will hold it (quantize.py): WEIGHT steps up and down per output channel."""

    def __init__(self, axis: int):
        super().__init__()
        self.axis = axis  # of the output channels

    def forward(self, weight: Tensor) -> Tensor:
        others = [d for d in range(weight.dim()) if d != self.axis]
        scale = (weight.detach().float().abs().amax(others) / WEIGHT).clamp(min=SMALLEST)  # (out,)
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight.float(), scale, zero, self.axis, -WEIGHT, WEIGHT)


class RoundInputs(nn.Module):
    """A layer's input as uint8 will hold it. Its range follows the data in train mode and rests in eval mode."""

    low: Tensor
    high: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        if self.training:
            low, high = (v.clamp(max=0) if i == 0 else v.clamp(min=0) for i, v in enumerate(x.detach().aminmax()))
            step = torch.where(self.high > self.low, MOMENTUM, 1.0)  # the first batch sets it
            self.low += step * (low - self.low)
            self.high += step * (high - self.high)
        scale = ((self.high - self.low) / 255).clamp(min=SMALLEST)
        zero = (-self.low / scale).round().clamp(0, 255).int()
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 255)


def insert(model: ViTDetector) -> int:
    """Make `model` compute as its static int8 file will, in place; returns the number of layers. Undo: `remove`."""
    layers = list(quantised_layers(model))
    for layer in layers:
        layer.add_module("round_inputs", RoundInputs())
        layer.round_hook = layer.register_forward_pre_hook(_round_inputs)
        axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        # `unsafe` leaves out a trial call, which would want the weight's dtype kept under autocast
        parametrize.register_parametrization(layer, "weight", RoundWeights(axis), unsafe=True)
    return len(layers)


def remove(model: ViTDetector) -> None:
    """Take out everything that `insert` put in; the weights are those that were trained, not rounded.

    Deep copies taken in between share the parametrised classes: they no longer run afterwards.
    """
    for layer in quantised_layers(model):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
            bias = layer.bias  # behind the weight again: the order of a state dict stays what it was
            del layer.bias
            layer.register_parameter("bias", bias)
            layer.round_hook.remove()
            del layer.round_hook, layer.round_inputs


def quantised_layers(model: ViTDetector) -> Iterator[nn.Module]:
    """The layers whose inputs and weights static int8 quantises (offline/compression/quantize.py, float_nodes)."""
    for name, layer in list(model.named_modules()):
        last = isinstance(layer, nn.Conv2d) and is_last_of_head(name, list(layer.kernel_size))
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)) and not last:
            yield layer


def _round_inputs(layer: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    return layer.round_inputs(inputs[0])
