"""Muon: a step that is equally long in every direction of a matrix (K. Jordan et al., "Muon: an optimizer for hidden
layers in neural networks", 2024).

The gradient of a weight matrix points mostly along few directions; what is rare in the data is learnt late. Muon makes
the matrix of the momentum orthogonal, so that rare directions move as fast. Where training is short it learns more from
every step than AdamW (figures in docs/compression.md). torch.optim.Muon takes no kernels of convolutions, which most
of a detector's weights are.
"""

import torch
from torch import Tensor

from .step import has_bf16

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan's quintic: singular values to 0.7..1.2 in 5 steps
SMALLEST = 16  # rows and columns; thinner ones (one input channel, last layers) are no matrices worth it


def is_matrix(weight: Tensor) -> bool:
    """Whether Muon is for this parameter: a linear layer, or a convolution as (out, in * kernel).

    Depthwise kernels are no matrix: each filters a channel of its own.
    """
    return weight.dim() > 1 and weight.shape[1] > 1 and min(weight.shape[0], weight[0].numel()) >= SMALLEST


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """(n, rows, columns) -> nearly U V^T of each one's singular value decomposition, by Newton-Schulz iteration.

    It forgives the rounding of bf16, which is used where the hardware has it.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.transpose(-2, -1) if tall else matrices
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None]
    x = x.bfloat16() if has_bf16(x.device) else x
    for _ in range(steps):
        square = x @ x.transpose(-2, -1)
        x = a * x + (b * square + c * square @ square) @ x
    return (x.transpose(-2, -1) if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """For parameters that `is_matrix` accepts; the others need another optimizer.

    Args:
        lr: length of a step, as a share of an orthogonal matrix; 0.02 is usual. weight_decay: as in AdamW, times lr.
    """

    def __init__(self, params, lr: float, weight_decay: float = 0.0, momentum: float = 0.95):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            alike: dict[tuple, list[Tensor]] = {}  # those of one shape are made orthogonal together
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault((p.shape[0], p[0].numel()), []).append(p)
            for shape, weights in alike.items():
                directions = torch.stack([self._momentum(p, group["momentum"]).reshape(shape) for p in weights])
                updates = orthogonalise(directions) * max(1.0, shape[0] / shape[1]) ** 0.5
                for p, update in zip(weights, updates, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.sub_(update.reshape(p.shape), alpha=group["lr"])

    def _momentum(self, p: Tensor, momentum: float) -> Tensor:
        """Nesterov's: the gradient looked ahead along the average of all."""
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p)
        average = state["momentum"].lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(average, momentum)
