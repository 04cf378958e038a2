"""Groups of units of a ViTDetector that can only be cut together, and the cut itself.

A unit is one attention head, one hidden unit of an MLP or of the residual convolutions that stand in for a block, one
channel of a stem stage, of the neck, or of the token stream; in a mobile stem one hidden channel of a block. It has a
slice in every tensor that makes it or reads it; `groups` is the table of those slices. Cutting copies what stays into a
smaller model, so every backend gets faster, unlike with masks.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.blocks import HEAD_DIM
from ..model.detector import ViTDetector, build_model
from ..model.mobile_stem import block_names, is_mobile

STEM_OF_STRIDE = {16: 3, 8: 2, 4: 1}
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Slot:
    """A unit's slice in one tensor: `parts` times `width` entries along `axis`. reads: the tensor multiplies the unit's
    output, so that (weight x gradient) summed over it is the gradient of a mask on the unit."""

    tensor: str
    axis: int
    reads: bool = False
    width: int = 1
    parts: int = 1


@dataclass(frozen=True)
class Group:
    """Units of one kind: 'heads.2' and 'mlp.2' (of block 2), 'dim', 'stem.1', 'neck'.

    count: how many there are. step: how many go at a time, so that what stays suits matrix units. least: how many must
    stay; 0 means that the whole half block may go.
    """

    name: str
    count: int
    step: int
    least: int
    slots: tuple[Slot, ...]


def groups(model: ViTDetector) -> dict[str, Group]:
    """Every group of `model`, by name."""
    c = model.config()
    found = []
    for i, (heads, mlp) in enumerate(zip(c["heads"], c["mlp"], strict=True)):
        block = f"blocks.{i}"
        if heads:
            slots = _rows(c, f"{block}.attn.qkv", HEAD_DIM, 3) + _columns(c, f"{block}.attn.proj", HEAD_DIM)
            found.append(Group(f"heads.{i}", heads, 1, 0, slots))
        if c["mixer"] == "conv":
            slots = (*_conv_bn(f"{block}.body.0"), _reader(f"{block}.body.1.0"))
            found.append(Group(f"mlp.{i}", mlp, 16, 0, slots))
        elif mlp:
            found.append(Group(f"mlp.{i}", mlp, 32, 0, _rows(c, f"{block}.mlp.fc1") + _columns(c, f"{block}.mlp.fc2")))
    found.append(Group("dim", c["dim"], 32, 64, _dim(c)))
    # Convolutions compute 16 channels at a time, on CPUs and on GPUs; only the first map is worth less.
    stem = _mobile if is_mobile(c["stem"]) else _stem
    found += [Group(f"stem.{i}", n, *((16, 16) if i else (8, 8)), stem(c, i)) for i, n in enumerate(c["stem"])]
    found.append(Group("neck", c["neck"], 16, 16, _neck(c)))
    return {g.name: g for g in found}


def cut(model: ViTDetector, keep: dict[str, Tensor]) -> ViTDetector:
    """A new model with only the units `keep[group]` (sorted indices); what is not named stays whole."""
    table, state = groups(model), dict(model.state_dict())
    for name, units in keep.items():
        for slot in table[name].slots:
            index = _entries(slot, table[name].count, units)
            state[slot.tensor] = state[slot.tensor].index_select(slot.axis, index)
    config = smaller(model.config(), {name: len(units) for name, units in keep.items()})
    small = build_model(config)
    small.load_state_dict(_renumber(state, model.config(), keep))
    return small.eval()


def smaller(config: dict, counts: dict[str, int]) -> dict:
    """`config` with the given number of units in each named group; blocks that are left empty are gone."""
    config = dict(config) | {k: list(config[k]) for k in ("heads", "mlp", "stem")}
    for name, count in counts.items():
        kind, _, index = name.partition(".")
        if index:
            config[kind][int(index)] = count
        else:
            config[kind] = count
    stay = [i for i in range(config["depth"]) if config["heads"][i] or config["mlp"][i]]
    place = {old: new for new, old in enumerate(stay)}
    ranks = {}
    for name, rank in config["ranks"].items():
        _, i, rest = name.split(".", 2)
        if config["heads" if rest.startswith("attn") else "mlp"][int(i)]:
            ranks[f"blocks.{place[int(i)]}.{rest}"] = rank
    pooled = [place[i] for i in range(*config["pool"]) if i in place] if config["pool"] else []
    return config | {
        "depth": len(stay),
        "heads": [config["heads"][i] for i in stay],
        "mlp": [config["mlp"][i] for i in stay],
        "pool": [pooled[0], pooled[-1] + 1] if pooled else None,
        "ranks": ranks,
    }


def unit_sums(group: Group, values: dict[str, Tensor], reads: bool) -> Tensor:
    """Sum `values` (one tensor like each parameter) over every unit's slots -> (count,). reads: reading slots only."""
    total = torch.zeros(group.count)
    for slot in group.slots:
        if slot.tensor in values and (slot.reads or not reads):
            n = slot.parts * group.count * slot.width
            x = values[slot.tensor].movedim(slot.axis, 0).reshape(n, -1).sum(1)
            total += x.view(slot.parts, group.count, slot.width).sum((0, 2))
    return total


def _entries(slot: Slot, count: int, units: Tensor) -> Tensor:
    inner = (units[:, None] * slot.width + torch.arange(slot.width)).flatten()
    return torch.cat([inner + part * count * slot.width for part in range(slot.parts)])


def _renumber(state: dict, config: dict, keep: dict) -> dict:
    """Drop the tensors of halves that are gone and close the gaps in the numbering of blocks."""
    gone = {name for name, units in keep.items() if not len(units)}
    heads = [h and f"heads.{i}" not in gone for i, h in enumerate(config["heads"])]
    mlp = [m and f"mlp.{i}" not in gone for i, m in enumerate(config["mlp"])]
    place = {old: new for new, old in enumerate(i for i in range(config["depth"]) if heads[i] or mlp[i])}
    out = {}
    for key, value in state.items():
        if key.startswith("blocks."):
            _, index, rest = key.split(".", 2)
            if not (heads if rest.startswith(("norm1", "attn")) else mlp)[int(index)]:
                continue
            key = f"blocks.{place[int(index)]}.{rest}"
        out[key] = value
    return out


def _rows(config: dict, linear: str, width: int = 1, parts: int = 1) -> tuple[Slot, ...]:
    """Outputs of a linear layer, which may have been split in two."""
    last = f"{linear}.1" if linear in config["ranks"] else linear
    return tuple(Slot(f"{last}.{leaf}", 0, False, width, parts) for leaf in ("weight", "bias"))


def _columns(config: dict, linear: str, width: int = 1) -> tuple[Slot, ...]:
    """Inputs of a linear layer."""
    first = f"{linear}.0" if linear in config["ranks"] else linear
    return (Slot(f"{first}.weight", 1, True, width),)


def _conv_bn(name: str) -> tuple[Slot, ...]:
    """Outputs of a conv_bn."""
    return (Slot(f"{name}.0.weight", 0), *(Slot(f"{name}.1.{leaf}", 0) for leaf in BATCH_NORM))


def _reader(conv: str) -> Slot:
    return Slot(f"{conv}.weight", 1, True)


def _dim(c: dict) -> tuple[Slot, ...]:
    if c["mixer"] == "conv":
        bodies = [f"blocks.{i}.body" for i in range(c["depth"])]
        slots = [slot for b in bodies for slot in (_reader(f"{b}.0.0"), *_conv_bn(f"{b}.1"))]
        return (*_conv_bn("embed"), *slots, Slot("up.0.weight", 0, True))
    slots = [*_conv_bn("embed"), Slot("position.weight", 0), Slot("position.bias", 0)]
    for i, (heads, mlp) in enumerate(zip(c["heads"], c["mlp"], strict=True)):
        for norm, first, last, there in (
            ("norm1", "attn.qkv", "attn.proj", heads),
            ("norm2", "mlp.fc1", "mlp.fc2", mlp),
        ):
            if there:
                slots += [Slot(f"blocks.{i}.{norm}.{leaf}", 0) for leaf in ("weight", "bias")]
                slots += _columns(c, f"blocks.{i}.{first}") + _rows(c, f"blocks.{i}.{last}")
    return (*slots, Slot("norm.weight", 0), Slot("norm.bias", 0), Slot("up.0.weight", 0, True))


def _fine(c: dict) -> list[int]:
    return [s for s in STEM_OF_STRIDE if s >= min(c["strides"])]


def _stem(c: dict, i: int) -> tuple[Slot, ...]:
    first, body = ("stem.0", None) if i == 0 else (f"stem.{i}.0", f"stem.{i}.1.body")
    slots = [*_conv_bn(first)]
    if body:
        slots += [*_conv_bn(f"{body}.0"), _reader(f"{body}.0.0"), *_conv_bn(f"{body}.1"), _reader(f"{body}.1.0")]
    slots.append(_reader(f"stem.{i + 1}.0.0" if i < 3 else "embed.0"))
    slots += [_reader(f"lateral.{k}") for k, stride in enumerate(_fine(c)) if STEM_OF_STRIDE[stride] == i]
    return tuple(slots)


def _mobile(c: dict, i: int) -> tuple[Slot, ...]:
    """Hidden channels of block i; what leaves a block stays whole, for all blocks of a residual share it."""
    block = block_names()[i]
    return (*_conv_bn(f"{block}.expand"), *_conv_bn(f"{block}.depthwise"), _reader(f"{block}.project.0"))


def _neck(c: dict) -> tuple[Slot, ...]:
    slots = []
    for k in range(len(_fine(c))):
        slots += [Slot(f"up.{k}.weight", 1), Slot(f"up.{k}.bias", 0)]
        slots += [Slot(f"lateral.{k}.weight", 0), Slot(f"lateral.{k}.bias", 0)]
        slots += [Slot(f"up.{k}.weight", 0, True)] if k else []
    for s in c["strides"]:
        slots += [*_conv_bn(f"smooth.{s}"), _reader(f"smooth.{s}.0")]
        for branch in ("cls", "box") if c["classes"] else ():
            name = f"heads.{s}.{branch}"
            slots += [*_conv_bn(f"{name}.0"), _reader(f"{name}.0.0"), _reader(f"{name}.1")]
    if c.get("segments"):
        slots += [_reader("dense.0.0"), *_conv_bn("dense.0"), _reader("dense.1")]
    return tuple(slots)
