"""Start from somebody's weights: a pre-trained ViT's blocks by key, or a teacher's for its student."""

import logging
import re
from pathlib import Path

import torch

from .errors import RecipeError
from .files import load_torch
from .model import ViTDetector

log = logging.getLogger(__name__)
_WRAPPERS = ("model", "state_dict", "teacher", "student", "model_ema")
_PREFIXES = ("module.", "backbone.", "encoder.", "_orig_mod.")


def load_backbone(model: ViTDetector, path: Path) -> dict:
    """Load the transformer blocks and the final norm from a timm/DeiT/DINO-style state dict.

    Blocks are matched by key ('blocks.3.attn.qkv.weight'); a deeper source gives evenly spaced ones. The stem, the
    position code and the head are this model's own and stay as they are.

    Returns:
        {"file", "loaded", "of"}: how many of the model's block parameters were found.

    Raises:
        RecipeError: unreadable, or nothing in it fits.
    """
    try:
        source = load_torch(path)
    except Exception as e:
        raise RecipeError(
            f"cannot read backbone {path} as a state dict ({str(e).splitlines()[0]}); give a .pth of tensors"
        ) from e
    for key in _WRAPPERS:
        if isinstance(source, dict) and isinstance(source.get(key), dict):
            source = source[key]
    source = (
        {_strip(k): v for k, v in source.items() if isinstance(v, torch.Tensor)} if isinstance(source, dict) else {}
    )
    target = {k: v for k, v in model.state_dict().items() if k.startswith(("blocks.", "norm."))}
    loaded = copy_blocks(source, target)
    if not any(k.endswith("attn.qkv.weight") for k in loaded):
        width = next((tuple(v.shape) for k, v in source.items() if k.endswith("attn.qkv.weight")), "no attn.qkv.weight")
        dim, heads = model.config()["dim"], model.config()["heads"]
        raise RecipeError(
            f"nothing in {path} fits the model: it has {width}, the recipe asks for dim {dim} and heads {heads}"
        )
    log.info("backbone %s: %d of %d block tensors loaded", path.name, len(loaded), len(target))
    return {"file": path.name, "loaded": len(loaded), "of": len(target)}


def inherit(student: ViTDetector, teacher: ViTDetector) -> int:
    """Copy into the student what fits of the teacher, blocks evenly spaced over its depth; returns how many tensors."""
    source, target = teacher.state_dict(), student.state_dict()
    loaded = copy_blocks(source, target)
    for key, value in target.items():
        if not key.startswith(("blocks.", "norm.")) and key in source and source[key].shape == value.shape:
            value.copy_(source[key])
            loaded.append(key)
    log.info("student: %d of %d tensors from the teacher", len(loaded), len(target))
    return len(loaded)


def copy_blocks(source: dict, target: dict) -> list[str]:
    """Copy tensors of equal shape, in place of the target's; returns the keys that were copied."""
    deep, shallow = _depth(source), _depth(target)
    loaded = []
    for key, value in target.items():
        match = re.match(r"blocks\.(\d+)\.(.*)", key)
        index = round(int(match[1]) * (deep - 1) / max(1, shallow - 1)) if match else 0
        twin = source.get(f"blocks.{index}.{match[2]}" if match else key)
        if twin is not None and twin.shape == value.shape and (match or key.startswith("norm.")):
            value.copy_(twin)
            loaded.append(key)
    return loaded


def _depth(state: dict) -> int:
    return 1 + max((int(m[1]) for k in state if (m := re.match(r"blocks\.(\d+)\.", k))), default=-1)


def _strip(key: str) -> str:
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return key
