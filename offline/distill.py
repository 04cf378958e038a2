"""What the student is told by its teacher (Hinton et al., arXiv 1503.02531, carried over to dense detection).

response: the teacher's class probabilities at every point, and its boxes where it is confident;
feature: its fine map and its tokens, through a projection that is thrown away afterwards.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .losses import decode, giou
from .model import ViTDetector


class Distiller(nn.Module):
    """Loss of a student against a frozen teacher that sees the same crops.

    Args:
        student, teacher: detectors with the same classes and strides.
        response, feature: weights of the two losses.
    """

    def __init__(self, student: ViTDetector, teacher: ViTDetector, response: float, feature: float):
        super().__init__()
        self.response, self.feature = response, feature
        self.teacher = [teacher.eval().requires_grad_(False)]  # in a list: not a submodule, not in the checkpoint
        mine, theirs = student.config(), teacher.config()
        widths = {"tokens": "dim"} | {str(s): "neck" for s in mine["strides"]}
        self.project = nn.ModuleDict({name: nn.Linear(mine[key], theirs[key]) for name, key in widths.items()})
        for layer in self.project.values():
            if layer.weight.shape[0] == layer.weight.shape[1]:  # same width: start from "the same features"
                nn.init.eye_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, features: dict[str, Tensor], logits: Tensor, raw: Tensor, images: Tensor, points: Tensor):
        """The student's features and outputs on `images` -> {name: weighted loss}."""
        teacher = self.teacher[0]
        with torch.no_grad():
            their_features = teacher.features(images)
            their_logits, their_raw = teacher.predict(their_features)
        losses = {}
        if self.response:
            losses["response"] = self.response * response_loss(
                logits.float(), raw.float(), their_logits.float(), their_raw.float(), points
            )
        if self.feature:
            pairs = [(self._rows(name, features[name]), their_features[name]) for name in self.project]
            losses["feature"] = self.feature * sum(feature_loss(a, _rows(b)) for a, b in pairs) / len(pairs)
        return losses

    def _rows(self, name: str, x: Tensor) -> Tensor:
        return self.project[name](_rows(x))


def _rows(x: Tensor) -> Tensor:
    """(B, C, h, w) or (B, T, C) -> (B, T, C)."""
    return x.flatten(2).transpose(1, 2) if x.dim() == 4 else x


def feature_loss(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error of (B, T, C) against the teacher's, each of whose rows is standardised first."""
    return F.mse_loss(F.layer_norm(a.float(), a.shape[-1:]), F.layer_norm(b.float(), b.shape[-1:]))


def response_loss(logits: Tensor, raw: Tensor, their_logits: Tensor, their_raw: Tensor, points: Tensor) -> Tensor:
    """Classes: cross-entropy with the teacher's probabilities, weighted by the disagreement, as in quality focal loss
    (Li et al., arXiv 2006.04388). Boxes: GIoU, weighted by the teacher's confidence."""
    target = their_logits.sigmoid()
    confidence = target.amax(-1)  # (B, N)
    scale = confidence.sum().clamp(min=1.0)
    weight = (target - logits.detach().sigmoid()).abs() + 0.1 * target
    cls = (weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).sum() / scale
    b, n = (confidence > 0.2).nonzero(as_tuple=True)
    _, g = giou(decode(raw[b, n], points[n]), decode(their_raw[b, n], points[n]))
    sure = confidence[b, n]
    return cls + 2.0 * ((1 - g) * sure).sum() / sure.sum().clamp(min=1.0)
