"""Weights of pre-trained ViTs as people have them -> {name: tensor} with timm's names of the blocks. Those of an
EfficientNet-Lite0 are read from the same files (mobile_weights.py).

Files: what torch.save wrote, safetensors, in one piece or in shards (an index, "-00001-of-00003", a folder of them).
Names: nested or with prefixes (state_dict, model, teacher, ema; module., backbone., encoder.), in DINOv2's chunks, with
LayerScale, which is folded into the layer before it, BEiT's q_bias and v_bias, Hugging Face's names of ViT and DINOv2.
A file is data: nothing in it is executed, and what is no tensor is not even built.
"""

import json
import logging
import re
from pathlib import Path

import torch
from torch import Tensor

from vit_perception.images.files import LFS_POINTER

from ..errors import RecipeError
from . import mobile_weights

log = logging.getLogger(__name__)
ADVICE = "give a .pth or .safetensors of a DeiT, DINO or timm ViT, or of an EfficientNet-Lite0"
MAX_SHARDS = 9999  # the largest published have hundreds
MAX_UNKNOWN = 64  # classes that a checkpoint may mention beside its tensors
# Of several backbones in one file: a teacher or an average first, they are what is evaluated.
PREFERRED = ("teacher", "ema", "target_encoder", "base_encoder", "")
HUGGING_FACE = (  # in the order they are replaced
    (r"encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"attention\.attention\.(query|key|value)\.", r"attn.\1."),
    (r"attention\.output\.dense\.", "attn.proj."),
    (r"intermediate\.dense\.", "mlp.fc1."),
    (r"(blocks\.\d+\.)output\.dense\.", r"\1mlp.fc2."),
    (r"layernorm_before\.", "norm1."),
    (r"layernorm_after\.", "norm2."),
    (r"layer_scale([12])\.lambda1", r"ls\1.gamma"),
    (r"layernorm\.(weight|bias)$", r"norm.\1"),
)
LAYER_SCALES = {"ls1.gamma": "attn.proj", "ls2.gamma": "mlp.fc2", "gamma_1": "attn.proj", "gamma_2": "mlp.fc2"}
BLOCK = re.compile(r"^(?P<prefix>(?:.*\.)?)blocks\.(?P<first>\d+)\.(?:(?P<second>\d+)\.)?(?P<rest>.+)$")
KNOWN = re.compile(r"(norm[12]|attn\.(qkv|proj)|mlp\.fc[12])\.(weight|bias)$")


def read_backbone(path: Path) -> dict[str, Tensor]:
    """Weights under the detector's names: the blocks and the final norm of a ViT ({"blocks.3.attn.qkv.weight": float32
    tensor, ..., "norm.weight": ...}), or the stem of an EfficientNet-Lite0 ({"stem.0.0.expand.0.weight": ...}).

    Raises:
        RecipeError: unreadable, neither of them, or one whose blocks compute what the detector's do not. One sentence.
    """
    tensors = _tensors(path)
    if mobile := mobile_weights.prefixes(tensors):
        chosen = _preferred(path, dict.fromkeys(mobile, 0))
        return mobile_weights.stem_weights(path, tensors, chosen, mobile[chosen])
    return _vit(path, tensors)


def _tensors(path: Path) -> dict[str, Tensor]:
    """All that `path` and the files beside it that belong to it hold."""
    tensors: dict[str, Tensor] = {}
    for file in _files(path):
        part = _flatten(_load(file), "")
        if twice := next((key for key in part if key in tensors), None):
            raise RecipeError(f"several files of {path} hold {twice}: they are no parts of one; name one of them")
        tensors |= part
    return tensors


def _vit(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The blocks and the final norm of the ViT among `tensors`."""
    for pattern, name in HUGGING_FACE if any("encoder.layer." in key for key in tensors) else ():
        tensors = {re.sub(pattern, name, key): value for key, value in tensors.items()}
    blocks = _choose(path, tensors)
    try:
        blocks = _folded(path, _joined(blocks))
        broken = next((key for key, value in blocks.items() if not value.isfinite().all()), None)
    except (TypeError, ValueError, IndexError, RuntimeError) as e:  # tensors of no values, of odd shapes or layouts
        raise RecipeError(f"the blocks of backbone {path} are no plain weights ({reason(e)}); {ADVICE}") from e
    if broken:
        raise RecipeError(f"backbone {path}: {broken} holds numbers that are not finite; {ADVICE}")
    return blocks


def _files(path: Path) -> list[Path]:
    """The files that `path` stands for: itself, its shards, those of an index or of a folder."""
    if not path.exists():
        raise RecipeError(f"no backbone at {path}; {ADVICE}")
    if path.is_dir():
        if (path / "bundle.json").is_file():
            raise RecipeError(f"{path} is a bundle, not a backbone; learn from it with --teacher")
        indexes = sorted(path.glob("*.index.json"))
        found = sorted(path.glob("*.safetensors")) or sorted(
            p for s in ("pth", "pt", "bin") for p in path.glob(f"*.{s}")
        )
        if indexes:
            return _files(indexes[0])
        if not found:
            raise RecipeError(f"{path} holds no .safetensors, .pth, .pt or .bin; {ADVICE}")
        return found
    if path.name.endswith(".index.json"):
        try:
            names = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
            files = [path.parent / Path(name).name for name in names]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            raise RecipeError(f"{path} is no index of shards ({e}); {ADVICE}") from e
    elif shard := re.match(r"(.*)-\d+-of-(\d+)(\.\w+)$", path.name):
        width = len(shard[2])
        if int(shard[2]) > MAX_SHARDS:
            raise RecipeError(f"the name of {path} says {shard[2]} files, over {MAX_SHARDS}; {ADVICE}")
        files = [
            path.with_name(f"{shard[1]}-{n:0{width}}-of-{shard[2]}{shard[3]}") for n in range(1, 1 + int(shard[2]))
        ]
    else:
        return [path]
    lost = [file.name for file in files if not file.is_file()]
    if lost:
        raise RecipeError(f"backbone {path} is in {len(files)} files, {lost[0]} is missing; copy all of them")
    return files


def _load(path: Path):
    with path.open("rb") as f:
        head = f.read(64)
    if head.startswith(LFS_POINTER):
        raise RecipeError(f"{path} is a Git LFS pointer, not the weights; fetch them (git lfs pull)")
    kinds = ((b"<!", "a web page"), (b"<html", "a web page"), (b"\x89HDF", "HDF5"), (b"\x1f\x8b", "a gzip archive"))
    kind = next((name for start, name in kinds if head.lower().startswith(start.lower())), "")
    if not kind and path.suffix in (".onnx", ".npz", ".h5", ".engine", ".tflite", ".msgpack"):
        kind = f"a {path.suffix} file"
    if kind:
        raise RecipeError(f"backbone {path} is {kind}, not a state dict; {ADVICE}")
    try:
        if path.suffix == ".safetensors" or head[8:10] in (b'{"', b"{ "):
            from safetensors.torch import load_file

            return load_file(str(path))
        return _load_pickled(path)
    except Exception as e:  # whatever reading a stranger's file may raise
        raise RecipeError(f"cannot read backbone {path} as a state dict ({reason(e)}); {ADVICE}") from e


def reason(e: Exception) -> str:
    """Why a file of weights cannot be read, in a few words: torch's own advice is to trust the file and run it."""
    text = str(e)
    if "eights only" in text or "weights_only" in text:
        return "it is cut off, of another kind, or holds code or objects beside its tensors, and those are never run"
    if isinstance(e, EOFError):
        return "it is empty or cut off"
    if "zip archive" in text:
        return "it is cut off or damaged"
    return text.splitlines()[0][:200] if len(text) > 4 else type(e).__name__


class _Inert:
    """Stands for an object of a class that is not known here: it takes anything and does nothing."""

    def __new__(cls, *args, **kwargs):
        return object.__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        pass


def _load_pickled(path: Path):
    """torch.load of tensors only; whatever else a training left in the file becomes _Inert."""
    inert: dict[str, type] = {}
    for _ in range(MAX_UNKNOWN):
        try:
            with torch.serialization.safe_globals(list(inert.values())):
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as e:
            name = re.search(r"GLOBAL ([\w.]+)", str(e))
            if name is None or name[1] in inert or "blocked" in str(e):
                raise
            module, _, leaf = name[1].rpartition(".")
            inert[name[1]] = type(leaf, (_Inert,), {"__module__": module, "__qualname__": leaf})
    raise ValueError(f"it holds objects of more than {MAX_UNKNOWN} classes")


def _flatten(value, prefix: str, depth: int = 6) -> dict[str, Tensor]:
    """All tensors of nested dicts, their keys joined by dots."""
    found: dict[str, Tensor] = {}
    for key, inner in value.items() if isinstance(value, dict) else ():
        if isinstance(inner, Tensor):
            found[f"{prefix}{key}"] = inner
        elif isinstance(inner, dict) and depth:
            found |= _flatten(inner, f"{prefix}{key}.", depth - 1)
    return found


def _choose(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one backbone, of several the one that PREFERRED says; their keys begin with "blocks."."""
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if match := BLOCK.match(key):
            groups.setdefault(match["prefix"], {})[key[len(match["prefix"]) :]] = value
    groups = {p: g for p, g in groups.items() if any(re.search(r"attn\.qkv\.weight|attn\.query\.weight", k) for k in g)}
    if not groups:
        some = ", ".join(list(tensors)[:3]) or "no tensors"
        raise RecipeError(f"nothing in {path} fits the model: it has no blocks.N.attn.qkv.weight ({some}); {ADVICE}")
    chosen = _preferred(path, {prefix: len(group) for prefix, group in groups.items()})
    for end in ("weight", "bias"):
        for name in ("norm", "fc_norm"):
            if f"{chosen}{name}.{end}" in tensors:
                groups[chosen].setdefault(f"norm.{end}", tensors[f"{chosen}{name}.{end}"])
    return groups[chosen]


def _preferred(path: Path, sizes: dict[str, int]) -> str:
    """Which of several backbones, {prefix: how many tensors}, is taken: told if there is a choice."""

    def rank(prefix: str) -> tuple:
        return next(i for i, word in enumerate(PREFERRED) if word in prefix.lower()), -sizes[prefix], len(prefix)

    chosen = min(sizes, key=rank)
    if len(sizes) > 1:
        names = ", ".join(sorted(p.rstrip(".") or "(no prefix)" for p in sizes))
        log.warning("backbone %s holds several (%s): taken is %s", path, names, chosen.rstrip(".") or "the one without")
    return chosen


def _joined(blocks: dict[str, Tensor]) -> dict[str, Tensor]:
    """Chunks of blocks in one row, query, key and value in one tensor, all as float32."""
    pairs = {(int(m["first"]), int(m["second"])) for k in blocks if (m := BLOCK.match(k)) and m["second"]}
    seconds = [second for _, second in sorted(pairs)]
    if len(set(seconds)) < len(seconds):  # counted anew in each chunk
        place = {pair: i for i, pair in enumerate(sorted(pairs))}
    else:
        place = {pair: pair[1] for pair in pairs}
    found: dict[str, Tensor] = {}
    for key, value in blocks.items():
        match = BLOCK.match(key)
        if match and match["second"]:
            key = f"blocks.{place[int(match['first']), int(match['second'])]}.{match['rest']}"
        if KNOWN.search(key) and not value.is_floating_point():
            raise TypeError(f"{key} is {str(value.dtype).removeprefix('torch.')}, quantized perhaps")
        found[key] = value.to_dense().float()
    for key in [k for k in found if k.endswith("attn.query.weight")]:
        stem = key.removesuffix("query.weight")
        for end in ("weight", "bias"):
            parts = [found.pop(f"{stem}{name}.{end}", None) for name in ("query", "key", "value")]
            if all(p is not None for p in parts):
                found[f"{stem}qkv.{end}"] = torch.cat(parts)
    for key in [k for k in found if k.endswith("attn.q_bias")]:
        stem = key.removesuffix("q_bias")
        query, value = found.pop(key), found.pop(f"{stem}v_bias", None)
        if value is not None:
            found[f"{stem}qkv.bias"] = torch.cat([query, torch.zeros_like(query), value])
    return found


def _folded(path: Path, blocks: dict[str, Tensor]) -> dict[str, Tensor]:
    """LayerScale folded into the layer before it, biases that are left out as zeros; refuses what is left over."""
    for key in list(blocks):
        match = BLOCK.match(key)
        layer = LAYER_SCALES.get(match["rest"]) if match else None
        if match and layer:
            gamma, stem = blocks.pop(key).flatten(), f"blocks.{match['first']}.{layer}"
            weight = blocks.get(f"{stem}.weight")
            if weight is None or len(weight) != len(gamma):
                raise RecipeError(f"backbone {path}: LayerScale {key} does not fit {stem}.weight; {ADVICE}")
            blocks[f"{stem}.weight"] = weight * gamma[:, None]
            if f"{stem}.bias" in blocks:
                blocks[f"{stem}.bias"] = blocks[f"{stem}.bias"] * gamma
    strange = {m["rest"] for k in blocks if (m := BLOCK.match(k)) and not KNOWN.match(m["rest"])}
    strange -= {
        name for name in strange if name.endswith(("relative_position_index", "num_batches_tracked", "bias_mask"))
    }
    if strange:
        raise RecipeError(
            f"backbone {path}: its blocks have {', '.join(sorted(strange)[:4])}, which the detector's blocks do not "
            f"compute, so its weights would mean something else there; {ADVICE}"
        )
    for key in [k for k in blocks if k.endswith(".weight") and BLOCK.match(k)]:
        blocks.setdefault(key.removesuffix("weight") + "bias", torch.zeros(len(blocks[key])))
    return blocks
