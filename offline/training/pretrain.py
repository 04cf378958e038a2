"""Masked-image pre-training: the backbone learns to fill in what is hidden, from images without labels.

Random patches of 32x32 pixels are set to the mean, which is zero after normalisation; a light linear decoder predicts
them from the tokens, in means over 4x4 pixels, and an L1 loss is taken over what was hidden (SimMIM: Xie et al.,
arXiv 2111.09886). Masking pixels, not tokens, suits a conv stem, and so any mixer. The stem, the embedding and the
blocks learn; the decoder is thrown away, and the teacher starts from the rest.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.detector import ViTDetector
from .augment import Loader
from .step import Step, has_bf16
from .train import fit

PATCH = 32  # pixels
MEAN_OF = 4  # pixels a side: finer detail is noise that nothing could predict


def train_masked(
    model: ViTDetector, loader: "MaskedLoader", schedule, checkpoint: Path, label="pretrain"
) -> ViTDetector:
    """Pre-train `model` in place of its own weights and return it, as `fit` does; neck and heads rest."""
    resting = [p for part in (model.up, model.lateral, model.smooth, model.heads) for p in part.parameters()]
    for p in resting:
        p.requires_grad_(False)
    try:
        return fit(MaskedStep(model), loader, schedule, checkpoint, label)
    finally:
        for p in resting:
            p.requires_grad_(True)


class MaskedLoader(Loader):
    """A Loader whose batches also say what to hide: batch["hidden"], bool (B, 1, h / PATCH, w / PATCH), True for
    `share` of the patches of each crop. Like the crops, it follows from seed, step and place alone.
    """

    def __init__(self, *args, share: float):
        super().__init__(*args)
        self.masked = share

    def make(self, step: int, mosaic: float) -> dict[str, Tensor]:
        batch = super().make(step, mosaic)
        w, h = (side // PATCH for side in self.crop)
        count = min(max(round(self.masked * w * h), 1), w * h - 1)
        hidden = np.zeros((len(self.places), 1, h * w), bool)
        for row, i in zip(hidden, self.places, strict=True):
            row[0, np.random.default_rng((self.seed, step, i, 1)).permutation(h * w)[:count]] = True
        return {"images": batch["images"], "hidden": torch.from_numpy(hidden.reshape(-1, 1, h, w))}


class MaskedStep(Step):
    """Model and decoder: crops and what to hide in them -> how far the prediction is off there."""

    def __init__(self, model: ViTDetector):
        super().__init__()
        self.model, config = model, model.config()
        self.fold = config["token_stride"] // MEAN_OF  # predicted values along each side of a token
        self.decoder = nn.Conv2d(config["dim"], config["channels"] * self.fold**2, 1)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        images, hidden = batch["images"], batch["hidden"]  # (B, C, H, W), (B, 1, H / 32, W / 32)
        seen = images.masked_fill(F.interpolate(hidden.float(), scale_factor=PATCH) > 0, 0.0)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=has_bf16(images.device)):
            guess = F.pixel_shuffle(self.decoder(self.model.encode(seen)[1]), self.fold)  # (B, C, H / 4, W / 4)
        error = (guess.float() - F.avg_pool2d(images, MEAN_OF)).abs().mean(1, keepdim=True)
        weight = F.interpolate(hidden.float(), scale_factor=PATCH // MEAN_OF)
        return {"masked": (error * weight).sum() / weight.sum()}
