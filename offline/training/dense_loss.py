"""What the dense head is asked for on a batch of crops: cross entropy, focal if wanted, with a weight for each class;
soft Dice as an option; and to say what a teacher says.

A cell of the head's map has S x S pixels: its target is the share of each class among them, and it counts as much as
the pixels that have a class. So edges and thin things teach at the resolution of the mask, and the loss is computed at
that of the map. Focal: Lin et al., arXiv 1708.02002; Dice: Milletari et al., arXiv 1606.04797; temperature: Hinton et
al., arXiv 1503.02531.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .distributed import normaliser

HEAVIEST = 10.0  # weight of a class, the mean pixel's being 1


@dataclass(frozen=True)
class DenseLoss:
    """weights: of each class (C,). focal: exponent, 0 is plain cross entropy. dice: weight of that loss; 0: none.
    share: weight of all of it beside the losses of detection. temperature: of what the teacher says."""

    weights: tuple[float, ...]
    focal: float = 0.0
    dice: float = 0.0
    share: float = 1.0
    temperature: float = 2.0

    def losses(self, logits: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """logits (B, C, H / S, W / S) against mask (B, H, W) uint8, 255 where nothing is said -> {name: loss}."""
        logits = logits.float()
        target = shares(mask, logits.shape[1], mask.shape[1] // logits.shape[2])
        weights = torch.tensor(self.weights, device=logits.device)[None, :, None, None]
        log_p = logits.log_softmax(1)
        each = target * weights  # (B, C, h, w)
        focus = (1 - log_p.detach().exp()) ** self.focal if self.focal else 1.0
        found = {"mask": -self.share * (each * focus * log_p).sum() / normaliser(each)}
        if self.dice:
            found["dice"] = self.share * self.dice * dice_loss(log_p.exp(), target)
        return found

    def response(self, logits: Tensor, theirs: Tensor) -> Tensor:
        """KL divergence of each place's classes from the teacher's, both at `temperature`: (B, C, h, w) each."""
        t = self.temperature
        log_p, log_q = (x.float().div(t).log_softmax(1) for x in (logits, theirs))
        return self.share * t * t * (log_q.exp() * (log_q - log_p)).sum(1).mean()


def shares(mask: Tensor, classes: int, stride: int) -> Tensor:
    """(B, H, W) uint8 -> (B, classes, H / stride, W / stride): the share of each class among the pixels of a cell."""
    known = torch.arange(classes, device=mask.device, dtype=mask.dtype)[None, :, None, None]
    return F.avg_pool2d((mask[:, None] == known).float(), stride)


def dice_loss(p: Tensor, target: Tensor) -> Tensor:
    """Mean over the classes in the batch of 1 - Dice. p, target: (B, C, h, w); places without a class do not count."""
    p = p * target.sum(1, keepdim=True)
    both, total = (p * target).sum((0, 2, 3)), (p + target).sum((0, 2, 3))
    there = target.sum((0, 2, 3)) > 0
    return (1 - 2 * both / total.clamp(min=1e-6))[there].sum() / there.sum().clamp(min=1)


def class_weights(pixels: list[int], kind: str) -> tuple[float, ...]:
    """Weights by the pixels of each class: "none": all 1; "root": 1 / sqrt of its share, of mean 1 over the pixels and
    at most HEAVIEST. A class without pixels weighs 1."""
    counts = torch.tensor(pixels, dtype=torch.float64)
    if kind == "none" or not counts.sum():
        return (1.0,) * len(pixels)
    part = counts / counts.sum()
    weights = torch.where(part > 0, part.clamp(min=1e-12) ** -0.5, torch.zeros(()).double())
    weights = (weights / (weights * part).sum()).clamp(max=HEAVIEST)
    return tuple(round(float(w), 4) if n else 1.0 for w, n in zip(weights, pixels, strict=True))
