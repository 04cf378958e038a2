"""The training loop of every stage: from scratch, distilled, or fine-tuned after surgery.

AdamW, linear warm-up and cosine decay, gradient clipping, exponential moving average of the weights, bf16 autocast
where the hardware has it. A run killed at any time goes on from its last checkpoint and sees the same batches.
"""

import copy
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from .augment import Loader
from .distill import Distiller
from .errors import RecipeError
from .files import load_torch, save_torch
from .losses import detection_loss, points_for
from .model import ViTDetector
from .progress import Bar

log = logging.getLogger(__name__)
SAVE_EVERY_S = 60.0


@dataclass
class Schedule:
    """How long and how hard. steps = max(epochs * images / batch, min_steps)."""

    epochs: float
    min_steps: int = 0
    lr: float = 1e-3
    warmup: int = 50
    batch: int = 8
    weight_decay: float = 0.05
    clip: float = 10.0
    ema: float = 0.998
    no_mosaic: float = 0.15  # last part of the run that sees plain crops

    def steps(self, images: int) -> int:
        return max(self.min_steps, math.ceil(self.epochs * images / self.batch))

    def rate(self, step: int, steps: int) -> float:
        """Learning rate: linear warm-up, then cosine to 2%."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        t = (step - self.warmup) / max(1, steps - self.warmup)
        return self.lr * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * t)))


def pick_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bf16(device: torch.device) -> bool:
    """Autocast pays only where bf16 is computed in hardware: emulated it is 4 times slower than fp32."""
    return device.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def train(
    model: ViTDetector,
    loader: Loader,
    schedule: Schedule,
    checkpoint: Path,
    label: str,
    distiller: Distiller | None = None,
) -> ViTDetector:
    """Train `model` in place of its own weights and return the averaged model, in eval mode on the CPU.

    Args:
        checkpoint: where progress is kept; if it exists, training goes on from it.
        distiller: adds its losses to the detection loss.

    Raises:
        RecipeError: the loss is not finite.
    """
    device = pick_device()
    steps = schedule.steps(len(loader.data))
    parts = nn.ModuleDict({"model": model} | ({"distiller": distiller} if distiller else {}))
    parts.to(device, memory_format=torch.channels_last).train()
    if distiller:
        distiller.teacher[0].to(device, memory_format=torch.channels_last)
    average = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = _optimizer(parts, schedule)
    start = _resume(checkpoint, parts, average, optimizer)
    points = points_for(model, *loader.crop).to(device)
    saved = time.monotonic()
    batches = loader.batches(start, steps, mosaic_until=int(steps * (1 - schedule.no_mosaic)))
    with Bar(label, steps, start) as bar:
        for step, batch in enumerate(batches, start):
            batch = {k: v.to(device, non_blocking=True) for k, v in batch.items()}
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step, steps)
            losses = _losses(model, distiller, batch, points)
            loss = torch.stack(list(losses.values())).sum()
            if not torch.isfinite(loss):
                raise RecipeError(
                    f"{label}: the loss is {loss.item()} at step {step}; lower lr in the recipe and resume"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parts.parameters(), schedule.clip)
            optimizer.step()
            _update_average(average, model, min(schedule.ema, (1 + step) / (10 + step)))
            bar.advance(**{k: v.item() for k, v in losses.items()})
            if time.monotonic() - saved > SAVE_EVERY_S:
                _save(checkpoint, parts, average, optimizer, step + 1)
                saved = time.monotonic()
    model.load_state_dict(average.state_dict())
    return model.cpu().eval()


def _losses(model, distiller, batch, points) -> dict:
    device = batch["images"].device
    with torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device)):
        features = model.features(batch["images"])
        logits, raw = model.predict(features)
        extra = distiller(features, logits, raw, batch["images"], points) if distiller else {}
    return detection_loss(logits, raw, points, batch) | extra


def _optimizer(parts: nn.Module, schedule: Schedule) -> torch.optim.AdamW:
    """Weight decay on matrices and kernels only: decaying norms and biases hurts small models."""
    parameters = [p for p in parts.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.lr, betas=(0.9, 0.99))


@torch.no_grad()
def _update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    for a, m in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if a.is_floating_point():
            a.lerp_(m, 1 - decay)
        else:
            a.copy_(m)


def _save(path: Path, parts, average, optimizer, step: int) -> None:
    state = {
        "parts": parts.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    save_torch(path, state | {"step": step})


def _resume(path: Path, parts, average, optimizer) -> int:
    if not path.is_file():
        return 0
    state = load_torch(path)
    parts.load_state_dict(state["parts"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    log.info("resumed %s at step %d", path.name, state["step"])
    return state["step"]
