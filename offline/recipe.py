"""Recipes: what to build and how long to work on it, in one yaml file.

`offline/recipes/quick.yaml` and `full.yaml` are commented examples; `--set prune.mlp=0.25` changes one value.
"""

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path

import yaml

from .errors import RecipeError
from .train import Schedule

RECIPES = Path(__file__).parent / "recipes"


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


@dataclass
class Distil(Schedule):
    epochs: float = 0
    response: float = 1.0
    feature: float = 1.0


@dataclass
class Prune(Schedule):
    epochs: float = 0
    heads: float = 0.0  # share of every block's heads that goes
    mlp: float = 0.0  # share of every block's hidden units that goes


@dataclass
class LowRank(Schedule):
    epochs: float = 0  # of fine-tuning afterwards; 0 leaves it out
    response: float = 1.0  # as in distil; both 0: labels alone
    feature: float = 1.0
    error: float = 0.05  # largest relative error of a layer's output that is accepted
    saving: float = 0.25  # a layer is split only if it loses at least this share of its MACs


@dataclass
class Thresholds:
    """Written into the bundle; the node's parameters can override them."""

    score: float = 0.3
    nms_iou: float = 0.6
    max_detections: int = 100


@dataclass
class Recipe:
    """All of it. `model`: options of offline.model.ViTDetector for the teacher; `student`: what it has otherwise."""

    seed: int = 0
    input: Input = field(default_factory=Input)
    crops: Crops = field(default_factory=Crops)
    model: dict = field(default_factory=dict)
    student: dict = field(default_factory=dict)
    teacher: Schedule = field(default_factory=lambda: Schedule(epochs=10))
    distil: Distil = field(default_factory=Distil)
    prune: Prune = field(default_factory=Prune)
    lowrank: LowRank = field(default_factory=LowRank)
    thresholds: Thresholds = field(default_factory=Thresholds)

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
    for name in ("heads", "mlp"):
        demand(0 <= getattr(r.prune, name) < 1, f"prune.{name} must lie in 0..1")
    for name in ("teacher", "distil", "prune", "lowrank"):
        s = getattr(r, name)
        demand(s.lr > 0 and s.batch >= 1 and s.epochs >= 0, f"{name}: lr, batch and epochs must be positive")
    demand(0 < r.thresholds.score < 1 and 0 < r.thresholds.nms_iou < 1, "thresholds must lie in 0..1")
