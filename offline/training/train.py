"""The training loop of every stage: from scratch, distilled, or fine-tuned after surgery.

AdamW, or Muon for matrices (training/muon.py), linear warm-up and cosine decay, gradient clipping, exponential moving
average of the weights, bf16 autocast where the hardware has it. A run killed at any time goes on from its last
checkpoint and sees the same batches.
Under torchrun every process trains on its share of each batch (offline/training/distributed.py).
"""

import contextlib
import copy
import logging
import math
import os
import pickle
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from ..errors import RecipeError
from ..files import load_torch, save_torch
from ..model.detector import ViTDetector
from ..model.mobile_stem import is_mobile
from ..progress import Bar
from . import distributed
from .augment import Loader
from .curve import Curve
from .distill import Distiller
from .losses import points_for
from .muon import Muon, is_matrix
from .step import Step, TrainStep

log = logging.getLogger(__name__)
SAVE_EVERY_S = "60"  # seconds between checkpoints, unless VIT_PERCEPTION_SAVE_EVERY_S is in the environment


@dataclass
class Schedule:
    """How long and how hard. steps = max(epochs * images / batch, min_steps)."""

    epochs: float
    min_steps: int = 0
    lr: float = 1e-3
    muon: float = 0.0  # over 0: matrices learn with Muon at this rate, and AdamW's lr is for the rest
    warmup: int = 50
    batch: int = 8
    weight_decay: float = 0.05
    clip: float = 10.0
    ema: float = 0.998
    no_mosaic: float = 0.15  # last part of the run that sees plain crops

    def wanted(self) -> bool:
        return bool(self.epochs or self.min_steps)

    def steps(self, images: int) -> int:
        return max(self.min_steps, math.ceil(self.epochs * images / self.batch))

    def rate(self, step: int, steps: int) -> float:
        """Share of the learning rate: linear warm-up, then cosine to 2%."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        t = (step - self.warmup) / max(1, steps - self.warmup)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * t))


def pick_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(
    model: ViTDetector,
    loader: Loader,
    schedule: Schedule,
    checkpoint: Path,
    label: str,
    distiller: Distiller | None = None,
) -> ViTDetector:
    """Train `model` on its labels, with the losses of `distiller` if there is one; the rest is as `fit` says."""
    step = TrainStep(model, distiller, points_for(model, *loader.crop), loader.dense)
    return fit(step, loader, schedule, checkpoint, label)


def check_shared(label: str, batch: int, processes: int) -> None:
    """Raises RecipeError for a batch that cannot be shared out among the processes; label: of its schedule."""
    if batch % processes:
        raise RecipeError(
            f"{label}: a batch of {batch} cannot be shared out among {processes} processes; "
            f"set {label}.batch to a multiple of {processes}, or start as many processes as divide it"
        )


def fit(step: Step, loader: Loader, schedule: Schedule, checkpoint: Path, label: str) -> ViTDetector:
    """Train `step.model` in place of its own weights and return the averaged model, in eval mode on the CPU.

    Args:
        checkpoint: where progress is kept; if it exists, training goes on from it. The figures of the steps go beside
            it (offline/training/curve.py), under the name `label`.

    Raises:
        RecipeError: the loss is not finite, the checkpoint is of another model or damaged, or the batch cannot be
            shared out among the processes.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after the checkpoint is written.
    """
    # Rounding in training (offline/compression/qat.py) follows the ranges of what one process sees: it is done in one.
    model = step.model
    processes = 1 if any(is_parametrized(m) for m in model.modules()) else distributed.world_size()
    check_shared(label, loader.batch, processes)
    average = copy.deepcopy(model).eval().requires_grad_(False)
    start, memory = _resume(checkpoint, step, average)
    shared: dict[str, Any] = {
        "step": step,
        "loader": loader,
        "schedule": schedule,
        "label": label,
        "start": start,
        "memory": memory,
        "processes": processes,
    }
    if processes > 1:
        distributed.call_others(_train, **shared)
    _train(**shared, average=average, checkpoint=checkpoint)
    model.load_state_dict(average.state_dict())
    return model.cpu().eval()


def _train(
    step: Step,
    loader: Loader,
    schedule: Schedule,
    label: str,
    start: int,
    memory: list[dict] | None,
    processes: int,
    average: ViTDetector | None = None,
    checkpoint: Path | None = None,
) -> None:
    """The steps from `start` on, in every process. `average` and `checkpoint` are for process 0, which keeps them."""
    device, steps = pick_device(), schedule.steps(len(loader.data))
    step.to(device, memory_format=torch.channels_last).train()
    for module in step.companions():
        module.to(device, memory_format=torch.channels_last)
    optimizers = _optimizers(step, schedule)
    for optimizer, state in zip(optimizers, memory or (), strict=False):
        optimizer.load_state_dict(state)
    loader = loader.share(distributed.rank(), processes)
    mosaic_until = int(steps * (1 - schedule.no_mosaic))
    with contextlib.ExitStack() as stack:
        keeper = None
        if average and checkpoint:
            keeper = stack.enter_context(Keeper(step, average.to(device), optimizers, checkpoint, label, start, steps))
        run = stack.enter_context(distributed.parallel(step)) if processes > 1 else step
        for n, batch in enumerate(loader.batches(start, steps, mosaic_until), start):
            batch = {k: v.to(device, non_blocking=True) for k, v in batch.items()}
            losses = run(batch)
            step.zero_grad(set_to_none=True)
            torch.stack(list(losses.values())).sum().backward()
            norm = nn.utils.clip_grad_norm_(step.parameters(), schedule.clip)
            stop = torch.full_like(norm, keeper is not None and keeper.interrupted)
            figures = torch.stack([*losses.values(), norm, stop]).detach()  # fetched at once: a GPU waits for it
            *values, grad_norm, stopping = distributed.mean(figures).tolist()
            if not math.isfinite(sum(values) + grad_norm):
                if keeper is None:
                    return  # process 0 says so
                raise RecipeError(
                    f"{label}: the loss is {sum(values):.3g} with a gradient of {grad_norm:.3g} at step {n}; "
                    "lower lr in the recipe and resume"
                )
            rate = schedule.rate(n, steps)
            for optimizer, peak in zip(optimizers, (schedule.lr, schedule.muon), strict=False):
                for group in optimizer.param_groups:
                    group["lr"] = peak * rate
                optimizer.step()
            if keeper is not None:
                keeper.update_average(min(schedule.ema, (1 + n) / (10 + n)))
                keeper.note(n, dict(zip(losses, values, strict=True)), schedule.lr * rate, grad_norm, loader.batch)
            if stopping:
                if keeper is None:
                    return
                keeper.save(n + 1)
                raise KeyboardInterrupt


class Keeper:
    """What process 0 does beside the steps: the averaged weights, checkpoints, curve and bar; it notes signals.

    Attributes:
        interrupted: Ctrl-C or SIGTERM has come; the step that runs is still finished, so that nothing is torn.
    """

    def __init__(self, step: Step, average: ViTDetector, optimizers, checkpoint: Path, label: str, start, steps):
        self.step, self.average, self.optimizers, self.checkpoint = step, average, optimizers, checkpoint
        self.curve = Curve(checkpoint.parent, label, start)
        self.bar = Bar(label, steps, start)
        self.interrupted = False
        pairs = list(zip(average.state_dict().values(), step.model.state_dict().values(), strict=True))
        self._floats = [p for p in pairs if p[0].is_floating_point()]
        self._counts = [p for p in pairs if not p[0].is_floating_point()]
        self._saved = self._last = time.monotonic()

    def __enter__(self) -> "Keeper":
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(self.curve)
        self._stack.enter_context(self.bar)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._stack.callback(signal.signal, number, signal.signal(number, self._interrupt))
        return self

    def __exit__(self, *exc) -> None:
        self._stack.close()

    def _interrupt(self, *_) -> None:
        self.interrupted = True

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        averages, weights = zip(*self._floats, strict=True)
        torch._foreach_lerp_(averages, weights, 1 - decay)
        for a, m in self._counts:
            a.copy_(m)

    def note(self, n: int, losses: dict[str, float], lr: float, grad_norm: float, images: int) -> None:
        """Step n is done: show and record it, and save if it is time to."""
        now = time.monotonic()
        speed, self._last = images / max(now - self._last, 1e-6), now
        self.curve.add(n, losses | {"lr": lr, "grad_norm": grad_norm, "images_per_s": speed})
        self.bar.advance(**losses)
        if now - self._saved >= float(os.environ.get("VIT_PERCEPTION_SAVE_EVERY_S", SAVE_EVERY_S)):
            self.save(n + 1)

    def save(self, step: int) -> None:
        """`step`: the one to go on with."""
        self.curve.flush()
        state = {
            "parts": self.step.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
        }
        save_torch(self.checkpoint, state | {"step": step})
        self._saved = time.monotonic()


def _resume(path: Path, step: Step, average: ViTDetector) -> tuple[int, list[dict] | None]:
    """Load what is kept in `path`, if it exists -> the step to go on with, the optimizers' states."""
    if not path.is_file():
        return 0, None
    try:
        state = load_torch(path)
        step.load_state_dict(state["parts"])
        average.load_state_dict(state["average"])
        start, memory = state["step"], state["optimizers"]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as e:
        raise RecipeError(
            f"{path} is damaged or of another model ({str(e).splitlines()[0][:120]}); delete it to train this stage "
            "from its start, or name another folder with --run"
        ) from e
    log.info("resumed %s at step %d", path.name, start)
    return start, memory


def _optimizers(step: Step, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the matrices if the schedule wants it. Decaying norms and biases hurts small models.

    A mobile stem is AdamW's whole: Muon's steps are as long where a gradient is small, and would walk away from weights
    that somebody has trained.
    """
    parameters = [p for p in step.parameters() if p.requires_grad]
    stem = set(step.model.stem.parameters()) if is_mobile(step.model.config()["stem"]) else set()
    matrices = [p for p in parameters if schedule.muon and is_matrix(p) and p not in stem]
    mine = set(matrices)
    rest = [p for p in parameters if p not in mine]
    groups = [
        {"params": [p for p in rest if p.dim() > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in rest if p.dim() <= 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=schedule.lr, betas=(0.9, 0.99), fused=True)  # 3 times faster on a CPU too
    return [adamw, Muon(matrices, schedule.muon, schedule.weight_decay)] if matrices else [adamw]
