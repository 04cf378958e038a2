"""Recipes: what to build and how long to work on it, in one yaml file.

`offline/recipes/quick.yaml` and `full.yaml` are commented examples; `--set prune.mlp=0.25` changes one value.
"""

from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path

import yaml

from .errors import RecipeError
from .prune import CRITERIA
from .subsets import Grouping
from .train import Schedule

RECIPES = Path(__file__).parent / "recipes"
MAY_BE_LISTS = ("size",)  # texts or lists: input.size


@dataclass
class Input:
    """Size and colour of the model's input; 'auto' takes them from the training images."""

    size: list[int] | str = "auto"  # [width, height], multiples of 32
    color: str = "auto"  # auto | gray | rgb


@dataclass
class Crops:
    """Training crops and their augmentation (offline/augment.py)."""

    size: list[int] = field(default_factory=lambda: [320, 256])
    scale: list[float] = field(default_factory=lambda: [0.7, 1.5])
    mosaic: float = 0.5
    photometric: float = 1.0
    objects: float = 0.0  # share of the crops that are placed on an object, rare classes more often
    pasted: int = 0  # up to so many further objects are pasted into each
    close: float = 0.0  # share of the crops that are enlarged by up to 4 more, as an approach enlarges


@dataclass
class Pretrain(Schedule):
    """Masked-image pre-training of the teacher (offline/pretrain.py); it needs no labels. `epochs` 0: none."""

    epochs: float = 0
    mask: float = 0.6  # share of the patches of 32x32 pixels that are hidden


@dataclass
class Distilled(Schedule):
    """A schedule under the teacher: the weights of what it tells (offline/distill.py). All 0: labels alone."""

    epochs: float = 0
    response: float = 1.0
    feature: float = 1.0
    relation: float = 0.0
    attention: float = 0.0

    def alone(self) -> "Distilled":
        """The same without the teacher."""
        return replace(self, response=0.0, feature=0.0, relation=0.0, attention=0.0)

    def scaled(self, part: float) -> "Distilled":
        """A part of its length."""
        return replace(self, epochs=self.epochs * part, min_steps=round(self.min_steps * part))


@dataclass
class Distil(Distilled):
    cache_gb: float = 0.0  # disk for the teacher's answers; pays where several runs see the same crops


@dataclass
class Prune(Distilled):
    """`latency` ranks all units of the model together; without it, every group of a kind loses the same share."""

    criterion: str = "fisher"  # fisher | taylor | magnitude
    rounds: int = 1  # 1: one shot; more: cut and fine-tune in turns, the epochs shared among them
    latency: float = 0.0  # share of the model's time on the target that may stay; 0: use the shares
    depth: int = 1  # whole blocks that must stay, though the ranking by `latency` would cut them
    heads: float = 0.0  # shares that go: of every block's heads,
    mlp: float = 0.0  # of every block's hidden units,
    dim: float = 0.0  # of the token width,
    stem: float = 0.0  # of every stem stage's channels,
    neck: float = 0.0  # of the fine maps' channels
    twin: bool = False  # then go on with convolutions of the same MACs in the place of the blocks (offline/twin.py)


@dataclass
class LowRank(Distilled):
    error: float = 0.05  # largest relative error of a layer's output that is accepted
    saving: float = 0.25  # a layer is split only if it loses at least this share of its MACs, and the target gains time


@dataclass
class Quantise(Distilled):
    """`epochs` of quantisation-aware fine-tuning (offline/qat.py); 0: none."""

    smooth: bool = True  # even out ranges first (offline/smooth.py)
    int8: str = "static"  # for ONNX Runtime: static | dynamic | auto, the faster one on this machine that stays close
    tensorrt: str = "auto"  # int8 | fp16 | auto, all that the target's GPU has


@dataclass
class Search(Distilled):
    """Used when a budget is given (offline/search.py)."""

    epochs: float = 0.6  # of brief fine-tuning for every candidate
    levels: list[float] = field(default_factory=lambda: [0.6, 0.8, 1.0])  # of the budget, or of the teacher's time
    images: int = 96  # validation images that candidates are compared on


@dataclass
class Thresholds:
    """Written into the bundle; the node's parameters can override them.

    score: of what is published and strong in tracks. weak_score: of what counts in tracks only; 0: the same.
    fp_per_image, weak_fp_per_image: over 0, they choose the score, and the weak one: the lowest at which the exported
    master gives at most so many false positives of all classes together per image of --val.
    """

    score: float = 0.3
    weak_score: float = 0.0
    fp_per_image: float = 0.0
    weak_fp_per_image: float = 0.0
    nms_iou: float = 0.5
    max_detections: int = 100


@dataclass
class Card:
    """What CARD.md says that figures cannot; it trains nothing, so it may change until the bundle is made.

    groups, bands: groups of images that the card tells figures for, see offline/subsets.py.
    """

    intended: str = ""
    not_intended: str = ""
    attribution: str = ""  # source and licence of the data; --attribution goes before it
    groups: str = ""
    bands: dict = field(default_factory=dict)


@dataclass
class Recipe:
    """All of it. `model`: options of offline.model.ViTDetector for the teacher; `student`: what it has otherwise.

    In both, `mixer: twin` means the convolutional detector of the same MACs (offline/twin.py).
    """

    seed: int = 0
    input: Input = field(default_factory=Input)
    crops: Crops = field(default_factory=Crops)
    model: dict = field(default_factory=dict)
    student: dict = field(default_factory=dict)
    pretrain: Pretrain = field(default_factory=Pretrain)
    teacher: Schedule = field(default_factory=lambda: Schedule(epochs=10))
    distil: Distil = field(default_factory=Distil)
    prune: Prune = field(default_factory=Prune)
    search: Search = field(default_factory=Search)
    lowrank: LowRank = field(default_factory=LowRank)
    quantise: Quantise = field(default_factory=Quantise)
    thresholds: Thresholds = field(default_factory=Thresholds)
    card: Card = field(default_factory=Card)

    def as_dict(self) -> dict:
        return asdict(self)


def load_recipe(name: str, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe by the name of a shipped one or by path, then apply 'key.path=value' overrides.

    Raises:
        RecipeError: no such recipe, unknown key, or a value that makes no sense.
    """
    shipped = RECIPES / f"{name}.yaml"
    path = shipped if shipped.is_file() else Path(name)
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise RecipeError(f"no recipe '{name}'; give one of {names}, or the path of a yaml file")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise RecipeError(f"{path} is not valid yaml: {' '.join(str(e).split())}") from e
    for override in overrides or []:
        _override(values, override)
    recipe = _fill(Recipe(), values, str(path), "")
    _check(recipe, path)
    return recipe


def _override(values: dict, text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals:
        raise RecipeError(f"--set {text} is not of the form key.path=value, e.g. --set teacher.epochs=3")
    *parents, leaf = key.split(".")
    for parent in parents:
        group = values.get(parent, {})
        if not isinstance(group, dict):
            raise RecipeError(f"--set {text}: '{parent}' holds a value, not a group of them")
        values[parent] = values = dict(group)  # a copy: yaml aliases may share it with other groups
    values[leaf] = yaml.safe_load(value)


def _fill(target, values, where: str, prefix: str):
    """Set the fields of dataclass `target` from the dict `values`, refusing what is unknown or of another type."""
    if not isinstance(values, dict):
        raise RecipeError(f"{where}: '{prefix or 'the recipe'}' must be a group of keys")
    known = {f.name: getattr(target, f.name) for f in fields(target)}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in known:
            raise RecipeError(f"{where}: unknown key '{name}'; choose from: {', '.join(known)}")
        old = known[key]
        if is_dataclass(old):
            _fill(old, value, where, f"{name}.")
        elif isinstance(old, (int, float)) and not isinstance(value, (int, float)):
            raise RecipeError(f"{where}: '{name}' must be a number, not {value!r}")
        elif isinstance(old, str) and key not in MAY_BE_LISTS and not isinstance(value, str):
            raise RecipeError(f"{where}: '{name}' must be a text, not {value!r}")
        elif isinstance(old, dict) and not isinstance(value, dict):
            raise RecipeError(f"{where}: '{name}' must be a group of keys, not {value!r}")
        else:
            setattr(target, key, value)
    return target


def _check(r: Recipe, path: Path) -> None:
    def demand(ok: bool, what: str) -> None:
        if not ok:
            raise RecipeError(f"{path}: {what}")

    for name, size in (("input.size", r.input.size), ("crops.size", r.crops.size)):
        pair = (
            isinstance(size, list)
            and len(size) == 2
            and all(isinstance(v, int) and v > 0 and v % 32 == 0 for v in size)
        )
        demand(
            pair or (name == "input.size" and size == "auto"),
            f"{name} must be two multiples of 32, not {size}",
        )
    demand(
        r.input.color in ("auto", "gray", "rgb"),
        f"input.color must be auto, gray or rgb, not {r.input.color}",
    )
    demand(
        len(r.crops.scale) == 2 and 0 < r.crops.scale[0] <= r.crops.scale[1],
        "crops.scale must be [low, high]",
    )
    demand(
        0 <= r.crops.objects <= 1 and isinstance(r.crops.pasted, int) and r.crops.pasted >= 0,
        "crops.objects must lie in 0..1, and crops.pasted be a whole number, not negative",
    )
    demand(
        0 <= r.crops.close <= 1,
        f"crops.close must lie in 0..1, not {r.crops.close}",
    )
    for name in ("heads", "mlp", "dim", "stem", "neck", "latency"):
        demand(0 <= getattr(r.prune, name) < 1, f"prune.{name} must lie in 0..1")
    demand(
        r.prune.criterion in CRITERIA,
        f"prune.criterion must be one of {', '.join(CRITERIA)}, not '{r.prune.criterion}'",
    )
    demand(1 <= r.prune.rounds <= 10, "prune.rounds must be 1 to 10")
    demand(0 < r.pretrain.mask < 1, "pretrain.mask must lie in 0..1")
    for name in ("pretrain", "teacher", "distil", "search", "prune", "lowrank", "quantise"):
        s = getattr(r, name)
        demand(s.lr > 0 and s.batch >= 1 and s.epochs >= 0, f"{name}: lr, batch and epochs must be positive")
    levels = r.search.levels
    demand(
        bool(levels) and all(isinstance(v, (int, float)) and 0 < v <= 1 for v in levels) and r.search.images > 0,
        f"search.levels must be shares in 0..1 and search.images positive, not {levels} and {r.search.images}",
    )
    Grouping(r.card.groups, r.card.bands)  # refuses what it cannot use
    demand(0 < r.thresholds.score < 1 and 0 < r.thresholds.nms_iou < 1, "thresholds must lie in 0..1")
    t = r.thresholds
    demand(
        min(t.fp_per_image, t.weak_fp_per_image) >= 0 and 0 <= t.weak_score <= t.score,
        "thresholds: fp_per_image must not be negative, nor weak_score over score",
    )
