"""One training step, batch -> losses; offline/training/train.py repeats it."""

import os

import torch
from torch import Tensor, nn

from ..model.detector import ViTDetector
from .dense_loss import DenseLoss
from .distill import Distiller
from .losses import detection_loss


def has_bf16(device: torch.device) -> bool:
    """Autocast pays only where bf16 is computed in hardware: emulated it is 4 times slower than fp32.

    VIT_PERCEPTION_BF16=0 in the environment trains in fp32 all the same, e.g. to compare two runs closely.
    """
    if os.environ.get("VIT_PERCEPTION_BF16") == "0":
        return False
    return device.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class Step(nn.Module):
    """A model and all that trains, moves and is saved with it: batch -> {name: loss}.

    Attributes:
        model: the detector whose average is kept.
    """

    model: ViTDetector

    def companions(self) -> list[nn.Module]:
        """Frozen modules that only move along."""
        return []


class TrainStep(Step):
    """Model and distiller: labelled crops -> the losses of each head, and of what the teacher tells."""

    def __init__(self, model: ViTDetector, distiller: Distiller | None, points: Tensor, dense: DenseLoss | None = None):
        super().__init__()
        self.model, self.distiller, self.dense = model, distiller, dense
        self.register_buffer("points", points, persistent=False)  # (N, 3)

    def companions(self) -> list[nn.Module]:
        return self.distiller.teacher if self.distiller else []

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        images, device = batch["images"], batch["images"].device
        with torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device)):
            features = self.model.features(images)
            outputs = self.model.outputs(features)
            told = self.distiller(features, outputs, batch, self.points) if self.distiller else {}
        return label_losses(outputs, self.points, batch, self.dense) | told


def label_losses(outputs: dict[str, Tensor], points: Tensor, batch: dict, dense: DenseLoss | None) -> dict[str, Tensor]:
    """Losses of what the model gives (ViTDetector.outputs) against the labels of `batch` (augment.Loader.make)."""
    losses = detection_loss(outputs["logits"], outputs["boxes"], points, batch) if "logits" in outputs else {}
    return losses | (dense.losses(outputs["classes"], batch["mask"]) if dense and "classes" in outputs else {})
