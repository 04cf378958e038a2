"""Low-rank factorisation of linear layers, W ~ B A, where it saves enough and harms little.

The rank is chosen on the layer's own inputs: with their covariance C = L L^T, the SVD of W L truncated at rank r gives
the smallest error of the *output* of any rank-r pair (whitened SVD, as in Wang et al., arXiv 2403.07378). Inputs are
centred first and W times their mean goes into the bias: a large mean would hide the loss of what varies.
"""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..model.detector import ViTDetector
from .prune import Cost

log = logging.getLogger(__name__)
STEP = 8  # ranks are multiples of it: matrix units are


@dataclass
class Choice:
    """What was found for one layer: rank, relative output error, share of MACs and milliseconds on the target saved."""

    name: str
    rank: int
    error: float
    saving: float
    ms: float
    used: bool


def factorise(model: ViTDetector, images: list[Tensor], error: float, saving: float, cost: Cost) -> list[Choice]:
    """Split, in place, the linear layers that lose at least `saving` of their MACs at an output error <= `error`, and
    of which `cost` says that the target gains from it: two thin layers write and read one map more than a full one.

    Args:
        images: calibration batches (B, C, H, W). error: relative, `|W x - B A x| / |W x|` over centred inputs x.
        cost: milliseconds of a config on the target.
    """
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and n.startswith("blocks.")}
    layers = {n: m for n, m in layers.items() if n not in _parents(model)}
    choices = []
    for name, (mean, covariance) in input_statistics(model, layers, images).items():
        layer = layers[name]
        a, b, errors = whitened_svd(layer.weight.detach().double(), covariance)
        full, per_rank = layer.in_features * layer.out_features, layer.in_features + layer.out_features
        rank = min(
            -(-(int((errors > error).sum()) + 1) // STEP) * STEP, len(errors)
        )  # smallest whose error is accepted
        gain, config = 1 - rank * per_rank / full, model.config()
        thinner = config | {"ranks": config["ranks"] | {name: rank}}
        ms = cost(config) - cost(thinner) if gain >= saving else 0.0
        used = gain >= saving and ms > 0
        choices.append(Choice(name, rank, float(errors[rank - 1]), gain, ms, used))
        if used:
            thin = model.factorise(name, rank)
            with torch.no_grad():
                thin[0].weight.copy_(a[:rank])
                thin[1].weight.copy_(b[:, :rank])
                thin[1].bias.copy_(
                    layer.bias + layer.weight @ mean.float() - thin[1].weight @ (thin[0].weight @ mean.float())
                )
    log.info("low rank: %d of %d layers split", sum(c.used for c in choices), len(choices))
    return choices


def _parents(model: ViTDetector) -> set[str]:
    """Layers that are thin already."""
    return {f"{name}.{i}" for name in model.config()["ranks"] for i in (0, 1)}


@torch.no_grad()
def input_statistics(
    model: ViTDetector, layers: dict[str, nn.Linear], images: list[Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean (in,) and covariance (in, in) of every layer's input, float64."""
    products: dict[str, Tensor] = {}
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def watch(name):
        def hook(module, inputs):
            x = inputs[0].flatten(0, -2).double()  # (tokens, in)
            products[name] = products.get(name, 0) + x.T @ x
            sums[name] = sums.get(name, 0) + x.sum(0)
            counts[name] = counts.get(name, 0) + len(x)

        return hook

    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    for batch in images:
        model.eval()(batch)
    for h in hooks:
        h.remove()
    means = {name: sums[name] / counts[name] for name in layers}
    return {n: (m, products[n] / counts[n] - torch.outer(m, m)) for n, m in means.items()}


def whitened_svd(weight: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Factors of W (out, in): A (in', in), B (out, in'), and errors[r - 1], the relative output error at rank r."""
    damp = 1e-6 * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)
    root = torch.linalg.cholesky(covariance + damp)  # L
    u, s, vt = torch.linalg.svd(weight @ root, full_matrices=False)
    energy = s.square().cumsum(0)
    errors = (1 - energy / energy[-1]).clamp(min=0).sqrt()
    a = torch.linalg.solve_triangular(root.T, vt.T, upper=True).T  # V^T L^-1
    return a, u * s, errors
