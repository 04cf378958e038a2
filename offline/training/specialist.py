"""Who teaches on the crops of some sets in place of the run's teacher: a model that knows their camera."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.detector import ViTDetector
from .teacher_cache import TeacherCache

Pixels = tuple[list[float], list[float]]  # mean and std of each channel, by which a model's input is normalised


@dataclass
class Specialist:
    """Its outputs count in place of the teacher's; its features do not, they mean other things.

    scale, shift: (1, C, 1, 1), from pixels as the student takes them to its own.
    cache: answers of this very model; None asks it every time.
    """

    model: ViTDetector
    scale: Tensor
    shift: Tensor
    cache: TeacherCache | None = None

    @classmethod
    def taking(cls, model: ViTDetector, mine: Pixels, theirs: Pixels, cache: TeacherCache | None) -> "Specialist":
        """Of a model whose pixels are normalised by `theirs`, for a student whose are by `mine`."""
        (mean, std), (its_mean, its_std) = (torch.tensor(pixels)[:, None, :, None, None] for pixels in (mine, theirs))
        return cls(model.eval().requires_grad_(False), std / its_std, (mean - its_mean) / its_std, cache)

    def outputs(self, images: Tensor, names: set[str]) -> dict[str, Tensor]:
        """Those of ViTDetector.outputs that are named, on images (B, C, H, W) as the student takes them."""

        def compute():
            pixels = images * self.scale.to(images) + self.shift.to(images)
            outputs = self.model.outputs(self.model.features(pixels.contiguous(memory_format=torch.channels_last)))
            return {name: outputs[name] for name in names}

        return self.cache.answers(images, names, compute) if self.cache else compute()
