"""Start from somebody's weights: a whole teacher, a pre-trained backbone by key, or a teacher's for its student."""

import hashlib
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from vit_perception.bundles.bundle import open_bundle
from vit_perception.images.files import LFS_POINTER

from ..errors import RecipeError
from ..files import load_torch
from .detector import ViTDetector, build_model
from .from_bundle import model_of_bundle
from .mobile_stem import is_mobile
from .mobile_weights import ATTRIBUTIONS, MEAN, STD, fit_channels
from .state_dicts import read_backbone, reason

log = logging.getLogger(__name__)


@dataclass
class Teacher:
    """A model that has been trained elsewhere; `input` (mean, std, ...) is what it was fed, None if nobody knows."""

    model: ViTDetector
    input: dict | None
    labels: list[str] | None
    folded: bool  # its batch norms were folded: their statistics are made up
    segments: list[str] | None = None  # classes of its dense head; None if nobody knows their names
    backbones: list[dict] = field(default_factory=list)  # Backbone.record of each that it goes back to
    origins: list[dict] = field(default_factory=list)  # itself and the models that it goes back to, as `origins_of`


def load_teacher(
    path: Path, labels: list[str], channels: int, segments: list[str] | None = None, what: str = "teacher"
) -> Teacher:
    """Read a bundle's folder, or the STAGE.pt of a run folder, and hold it against the data.

    Args:
        labels: the data's classes; the teacher's must be the same. channels: 1 (gray) or 3 (rgb).
        segments: classes of the data's masks, which must be the teacher's too; None: there are none.
        what: it is called so in errors: teacher or student.

    Raises:
        BundleError: the folder is not a whole bundle.
        RecipeError: the file is something else, or knows other classes or colours.
    """
    if path.is_dir():
        bundle = open_bundle(path)
        dense = bundle.manifest.get("segmentation", {}).get("labels", [])
        known = backbones_of(bundle.made), origins_of(path.resolve().name, bundle.made)
        teacher = Teacher(model_of_bundle(bundle), bundle.input, bundle.labels, True, dense, *known)
    else:
        teacher = _read_checkpoint(path, what)
    config = teacher.model.config()
    if config["classes"] != len(labels) or (teacher.labels or labels) != labels:
        names = f" ({', '.join(teacher.labels)})" if teacher.labels else ""
        raise RecipeError(
            f"{what} {path} knows {config['classes']} classes{names}, the data has {len(labels)} "
            f"({', '.join(labels)}); they must be the same, in the same order"
        )
    mine, known = list(segments or []), config.get("segments", 0)
    if known != len(mine) or (teacher.segments or mine) != mine:
        theirs = ", ".join(teacher.segments or []) or f"{known} of them"
        raise RecipeError(
            f"{what} {path} tells the masks' classes {theirs} apart, the data has {', '.join(mine) or 'none'}; they "
            f"must be the same, in the same order: take another {what}, or another task in the recipe"
        )
    if config["channels"] != channels:
        colors = {1: "gray", 3: "rgb"}
        raise RecipeError(
            f"{what} {path} takes {colors.get(config['channels'])} images, the recipe's input.color gives "
            f"{colors.get(channels)}; set input.color={colors.get(config['channels'])}, or take another {what}"
        )
    log.info("%s %s: dim %d, depth %d", what, path, config["dim"], config["depth"])
    return teacher


def _read_checkpoint(path: Path, what: str) -> Teacher:
    if not path.is_file():
        raise RecipeError(f"no {what} at {path}; give the folder of a bundle, or the teacher.pt of a run folder")
    advice = "give the folder of a bundle, or the teacher.pt of a run folder"
    with path.open("rb") as f:
        if f.read(len(LFS_POINTER)) == LFS_POINTER:
            raise RecipeError(f"{what} {path} is a Git LFS pointer, not the weights; fetch them (git lfs pull)")
    try:
        state = load_torch(path)
    except Exception as e:
        raise RecipeError(f"cannot read {what} {path} as a checkpoint ({reason(e)}); {advice}") from e
    if isinstance(state, dict) and "optimizers" in state:
        raise RecipeError(f"{what} {path} is a training that was not finished; resume that run first, or {advice}")
    if not (
        isinstance(state, dict) and isinstance(state.get("config"), dict) and isinstance(state.get("weights"), dict)
    ):
        raise RecipeError(f"{what} {path} is not a checkpoint of offline.compress; {advice}")
    try:
        model = build_model(state["config"])
        model.load_state_dict(state["weights"])
    except Exception as e:
        raise RecipeError(f"{what} {path} is of another architecture ({reason(e)}); {advice}") from e
    before = backbones_of(state), origins_of("/".join(path.resolve().parts[-2:]), state)
    return Teacher(model.eval(), state.get("input"), state.get("labels"), False, state.get("segments"), *before)


def origins_of(name: str, kept: dict) -> list[dict]:
    """What is known of the data of a model and of those before it, from a bundle's `made` or a STAGE.pt.

    Returns:
        [{"name", "data": names of the sets, "attribution": whose they are}]: itself, then the models that it goes back
        to. "data" and "attribution" are empty where earlier versions kept nothing; of what they made, "attribution" is
        what the recipe said, whatever the data was.
    """
    train = kept.get("train") or {}
    data = [part["name"] for part in train.get("sets", [train] if train else [])]
    said = kept.get("attribution", kept.get("recipe", {}).get("card", {}).get("attribution", ""))
    before = kept.get("origins")
    if before is None:
        roles = [(role, kept[role]["file"]) for role in ("student", "teacher") if kept.get(role)]
        before = [{"name": f"{file}, {role} of {name}", "data": [], "attribution": ""} for role, file in roles]
    return [{"name": name, "data": data, "attribution": said}, *before]


def backbones_of(kept: dict) -> list[dict]:
    """Records of the backbones that a bundle's `made`, a STAGE.pt or a run's identity names.

    Earlier versions kept one record at most, and until 0.1 the file's name alone.
    """
    found = kept.get("backbone") or []
    if isinstance(found, str):
        return [{"file": found}]
    return found if isinstance(found, list) else [found]


@torch.no_grad()
def settle_norms(model: ViTDetector, batches: list[torch.Tensor]) -> None:
    """Give every batch norm the statistics of what it sees on `batches` (B, C, H, W), without changing any output.

    A model from a bundle needs this before it is pruned or trained on: its norms came back with made-up statistics.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    sums = {m: torch.zeros(3, m.num_features, dtype=torch.float64) for m in norms}

    def add(m, inputs, output):
        x = inputs[0].double().transpose(0, 1).flatten(1)  # (C, B h w)
        sums[m] += torch.stack([torch.full((len(x),), float(x.shape[1])), x.sum(1), (x * x).sum(1)])

    hooks = [m.register_forward_hook(add) for m in norms]
    model.eval()
    for images in batches:
        model(images)
    for hook in hooks:
        hook.remove()
    for m, (count, total, squares) in sums.items():
        mean = total / count
        var = (squares / count - mean * mean).clamp(min=1e-6)
        scale = m.weight.double() / (m.running_var.double() + m.eps).sqrt()
        m.bias.copy_(m.bias + (mean - m.running_mean) * scale)
        m.weight.copy_(scale * (var + m.eps).sqrt())
        m.running_mean.copy_(mean)
        m.running_var.copy_(var)


@dataclass
class Backbone:
    """What `open_backbone` read: weights under the detector's names, of a ViT's blocks or of a mobile stem.

    record: {"file", "sha256" of the weights, "attribution" if it is known}: what a run and its bundle say of it.
    """

    weights: dict[str, torch.Tensor]
    record: dict[str, str]

    def of_stem(self) -> bool:
        return any(k.startswith("stem.") for k in self.weights)

    def input(self, channels: int) -> dict[str, list[float]]:
        """The mean and std of pixels that the weights are used to; {} if any will do, as for blocks of tokens."""
        return {"mean": [round(MEAN, 4)] * channels, "std": [round(STD, 4)] * channels} if self.of_stem() else {}


def open_backbone(path: Path) -> Backbone:
    """Read a pre-trained ViT or EfficientNet-Lite0 (state_dicts.py says what is read). Raises RecipeError."""
    weights = read_backbone(path)
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    record = {"file": path.name, "sha256": digest.hexdigest()}
    known = ATTRIBUTIONS.get(record["sha256"])
    return Backbone(weights, record | ({"attribution": known} if known else {}))


def load_backbone(model: ViTDetector, backbone: Backbone) -> str:
    """Load the transformer blocks and the final norm of a pre-trained ViT, or the stem of an EfficientNet-Lite0.

    Blocks are matched by key ('blocks.3.attn.qkv.weight'); a deeper source gives evenly spaced ones. A stem is taken
    whole, its first kernels summed over their channels where images are gray. All else is this model's own and stays as
    it is.

    Returns:
        What was loaded and what was not, in one line.

    Raises:
        RecipeError: nothing in it fits, or not all of a stem does.
    """
    return (_load_stem if backbone.of_stem() else _load_blocks)(model, backbone)


def _load_stem(model: ViTDetector, backbone: Backbone) -> str:
    name, config = backbone.record["file"], model.config()
    if not is_mobile(config["stem"]):
        raise RecipeError(
            f"backbone {name} is an EfficientNet-Lite: it fits the mobile stem; add --set model.stem=mobile, or give a "
            "ViT"
        )
    source, target = fit_channels(backbone.weights, config["channels"]), model.state_dict()
    for key, value in source.items():
        if value.shape != target[key].shape:
            raise RecipeError(
                f"backbone {name}: its weights for {key} are {list(value.shape)}, the stem's "
                f"{list(target[key].shape)}; give an EfficientNet-Lite0, and leave model.stem at mobile"
            )
        target[key].copy_(value)
    return f"backbone {name}: the whole stem, {len(source)} tensors, loaded; all behind it starts from random weights"


def _load_blocks(model: ViTDetector, backbone: Backbone) -> str:
    name, source = backbone.record["file"], backbone.weights
    target = {k: v for k, v in model.state_dict().items() if k.startswith(("blocks.", "norm."))}
    loaded = copy_blocks(source, target)
    if not any(k.endswith("attn.qkv.weight") for k in loaded):
        width = next((tuple(v.shape) for k, v in source.items() if k.endswith("attn.qkv.weight")), "no attn.qkv.weight")
        dim, heads = model.config()["dim"], model.config()["heads"]
        raise RecipeError(
            f"nothing in {name} fits the model: it has {width}, the recipe asks for dim {dim} and heads {heads}"
        )
    kept = sorted({re.sub(r"\d+", "N", k) for k in target if k not in loaded})
    told = f"backbone {name}: {'only ' if kept else ''}{len(loaded)} of {len(target)} block tensors loaded"
    told += f"; not in it, or of another size: {', '.join(kept)}" if kept else ""
    deep, shallow = _depth(source), _depth(target)
    return told + (f"; it has {deep} blocks for {shallow}: some are taken twice" if deep < shallow else "")


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
