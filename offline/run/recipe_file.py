"""Reads a recipe file, applies `--set`, and checks every value, hours before it is used."""

import contextlib
import logging
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import yaml

from vit_perception.images import high_bit_depth

from ..compression.prune import CRITERIA, SHARES
from ..data.text import decode_text, parse_yaml
from ..errors import RecipeError
from ..evaluation.subsets import Grouping
from .recipe import TAUGHT, Card, Recipe

log = logging.getLogger(__name__)
RECIPES = Path(__file__).parents[1] / "recipes"
SCHEDULES = ("pretrain", "teacher", "distil", "search", "prune", "lowrank", "quantise")  # groups of a stage each
GIVES_WAY = {"epochs": "min_steps", "weak_score": "weak_fp_per_image"}  # of the same group
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", dict: "a group of keys"}
MAX_SEED = 10**9
TASKS = ("detect", "segment", "both")


def recipe_names() -> str:
    """Those that ship, for people."""
    return ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))


def load_recipe(name: str, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe by the name of a shipped one or by path, then apply 'key.path=value' overrides.

    Raises:
        RecipeError: no such recipe, unknown key, or a value that makes no sense.
    """
    shipped = RECIPES / f"{name}.yaml"
    path = shipped if shipped.is_file() else Path(name)
    if not path.is_file():
        raise RecipeError(f"no recipe '{name}'; give one of {recipe_names()}, or the path of a yaml file")
    try:
        values = _parse(decode_text(path.read_bytes())[0], str(path)) or {}
    except OSError as e:
        raise RecipeError(f"cannot read recipe {path} ({e.strerror})") from e
    recipe = _fill(Recipe(), values, str(path), "")
    check_values(recipe, str(path))
    if not overrides:
        return recipe
    given = []
    for override in overrides:
        given.append(_override(values, override))
        _fill(Recipe(), values, f"--set {override}", "")
    recipe = _fill(Recipe(), _give_way(values, given), path.name, "")
    check_values(recipe, " ".join(f"--set {override}" for override in overrides))
    return recipe


def changes(recipe: Recipe, name: str) -> list[str]:
    """What of `recipe` that of this name or path has otherwise, but for the card's texts: ["teacher.epochs=3", ...]."""
    before, after = (dict(_leaves(r.as_dict())) for r in (load_recipe(name), recipe))
    found = {k: v for k, v in after.items() if before.get(k) != v and not k.startswith("card.")}
    gave_way = {f"{k.rpartition('.')[0]}.{_other(k)}" for k in found}
    return [f"{k}={v}" for k, v in found.items() if v or k not in gave_way]


def card_for(recipe: Recipe, name: str, folders: list[set[str]]) -> tuple[Card, str]:
    """The recipe's card without what it says of other data than the run's, and one sentence that says so, or ''.

    What --set gives is the user's own and stays. name: of the recipe, or its path. folders: those that the images of
    each training set lie in.
    """
    card, empty = recipe.card, Card()
    wanted = [set(entry.split("|")) for entry in card.data]
    each_is_known = all(any(names & found for names in wanted) for found in folders)
    if not wanted or (each_is_known and all(any(names & found for found in folders) for names in wanted)):
        return card, ""
    of, written = ", ".join(card.data).replace("|", " or "), load_recipe(name).card
    own = {f.name for f in fields(Card) if getattr(card, f.name) != getattr(written, f.name)}
    gone = [f.name for f in fields(Card) if f.name not in own and getattr(card, f.name) != getattr(empty, f.name)]
    told = ", ".join(key for key in gone if key != "data")
    said = f"recipe {name}'s card is of other data ({of}), so its {told} are left out; give --attribution, and "
    said += "card.intended and card.not_intended with --set"
    return replace(card, **{key: getattr(empty, key) for key in gone}), said if told else ""


def _leaves(values: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _other(key: str) -> str:
    """What of the same group gives way where `key` is set; ''."""
    return "fp_per_image" if key == "thresholds.score" else GIVES_WAY.get(key.rpartition(".")[2], "")


def _give_way(values: dict, given: list[str]) -> dict:
    """What is set goes before what the recipe would take in its place: 3 epochs are 3, whatever min_steps says."""
    for key in given:
        group, other = key.rpartition(".")[0], _other(key)
        kept = values.get(group, {}).get(other) if other else None
        if kept and f"{group}.{other}" not in given:
            values[group][other] = 0
            log.info("--set %s: the recipe's %s.%s, %s, does not hold then", key, group, other, kept)
    return values


def _parse(text: str, where: str):
    try:
        return parse_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as e:  # a date that does not exist is a ValueError
        raise RecipeError(f"{where} is not valid yaml: {' '.join(str(e).split())}") from e


def _override(values: dict, text: str) -> str:
    """Put what `text` says into `values`; returns its key."""
    key, equals, value = text.partition("=")
    if not equals:
        raise RecipeError(f"--set {text} is not of the form key.path=value, e.g. --set teacher.epochs=3")
    *parents, leaf = key.split(".")
    for parent in parents:
        group = values.get(parent, {})
        if not isinstance(group, dict):
            raise RecipeError(f"--set {text}: '{parent}' holds a value, not a group of them")
        values[parent] = values = dict(group)  # a copy: yaml aliases may share it with other groups
    values[leaf] = _parse(value, f"--set {text}")
    return key


def _fill(target, values, where: str, prefix: str):
    """Set the fields of dataclass `target` from the dict `values`, refusing what is unknown or of another type."""
    if not isinstance(values, dict):
        raise RecipeError(f"{where}: '{prefix or 'the recipe'}' must be a group of keys")
    known = {f.name: f.type for f in fields(target)}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in known:
            raise RecipeError(f"{where}: unknown key '{name}'; choose from: {', '.join(known)}")
        if is_dataclass(known[key]):
            _fill(getattr(target, key), value, where, f"{name}.")
            continue
        setattr(target, key, read_value(known[key], value, f"{where}: '{name}'"))
    return target


def read_value(kind, value, where: str):
    """`value` as a field of type `kind` takes it. Raises RecipeError if it cannot; lists are for `check_values`."""
    if kind is float and isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)  # to YAML 1.1, 1e-3 is a text
    fits = is_number(value) if kind is float else kind not in KINDS or type(value) is kind
    if not fits:
        raise RecipeError(f"{where} must be {KINDS[kind]}, not {value!r}")
    return value


def is_number(value) -> bool:
    """Whether it is a finite one; true and false are none."""
    return type(value) in (int, float) and math.isfinite(value)


def check_values(r: Recipe, where: str) -> None:
    """Raises RecipeError for a value that is of the right type but makes no sense."""

    def demand(ok: bool, what: str) -> None:
        if not ok:
            raise RecipeError(f"{where}: {what}")

    demand(r.task in TASKS, f"task must be one of {', '.join(TASKS)}, not '{r.task}'")
    demand(r.masks.weights in ("none", "root"), f"masks.weights must be none or root, not '{r.masks.weights}'")
    m = r.masks
    demand(
        min(m.focal, m.dice) >= 0 and min(m.share, m.temperature) > 0,
        "masks: all must be positive; focal and dice may be 0",
    )
    if r.task != "detect":
        demand(not r.crops.pasted, f"crops.pasted must be 0 where the task is {r.task}: no mask tells what was pasted")
    if r.task == "segment":
        demand(not r.crops.objects, "crops.objects must be 0 where the task is segment: there are no boxes")
    demand(0 <= r.seed <= MAX_SEED, f"seed must lie in 0..{MAX_SEED}, not {r.seed}")
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
    problem = high_bit_depth.find_problem(r.input.high_bit_depth)
    demand(not problem, problem)
    scale = r.crops.scale
    demand(
        isinstance(scale, list) and len(scale) == 2 and all(map(is_number, scale)) and 0 < scale[0] <= scale[1],
        f"crops.scale must be [low, high], numbers over 0, not {scale}",
    )
    for name in ("mosaic", "objects", "close"):
        demand(0 <= getattr(r.crops, name) <= 1, f"crops.{name} must lie in 0..1, not {getattr(r.crops, name)}")
    for name, share in r.crops.sensor.shares().items():
        demand(0 <= share <= 1, f"crops.sensor.{name} must lie in 0..1, not {share}")
    demand(
        r.crops.pasted >= 0 and r.crops.photometric >= 0,
        f"crops.pasted and crops.photometric must not be negative, not {r.crops.pasted} and {r.crops.photometric}",
    )
    for name in (*SHARES, "latency"):
        demand(0 <= getattr(r.prune, name) < 1, f"prune.{name} must lie in 0..1")
    demand(
        r.prune.criterion in CRITERIA,
        f"prune.criterion must be one of {', '.join(CRITERIA)}, not '{r.prune.criterion}'",
    )
    demand(1 <= r.prune.rounds <= 10, "prune.rounds must be 1 to 10")
    demand(
        not r.prune.twin or r.prune.wanted(),
        "prune.twin exchanges the blocks for untrained ones: give it steps, prune.epochs or prune.min_steps",
    )
    demand(0 < r.pretrain.mask < 1, "pretrain.mask must lie in 0..1")
    for name in SCHEDULES:
        s = getattr(r, name)
        demand(s.lr > 0 and s.batch >= 1 and s.epochs >= 0, f"{name}: lr, batch and epochs must be positive")
        demand(min(s.min_steps, s.warmup) >= 0, f"{name}: min_steps and warmup must not be negative")
        demand(s.clip > 0, f"{name}.clip must be over 0, not {s.clip}; a large one clips nothing")
        demand(s.muon >= 0 and s.weight_decay >= 0, f"{name}: muon and weight_decay must not be negative")
        demand(0 <= s.ema < 1 and 0 <= s.no_mosaic <= 1, f"{name}: ema and no_mosaic must be shares in 0..1")
        demand(all(getattr(s, k, 0) >= 0 for k in TAUGHT), f"{name}: {', '.join(TAUGHT)} must not be negative")
    demand(r.distil.cache_gb >= 0, f"distil.cache_gb must not be negative, not {r.distil.cache_gb}")
    demand(0 <= r.distil.keep < 1, f"distil.keep must be a share, from 0 to below 1, not {r.distil.keep}")
    demand(r.prune.depth >= 0, f"prune.depth must not be negative, not {r.prune.depth}")
    demand(
        r.lowrank.error >= 0 and 0 <= r.lowrank.saving <= 1,
        f"lowrank.error must not be negative, and saving a share in 0..1, not {r.lowrank.error} and {r.lowrank.saving}",
    )
    levels = r.search.levels
    demand(
        isinstance(levels, list) and bool(levels) and all(is_number(v) and 0 < v <= 1 for v in levels),
        f"search.levels must be a list of shares in 0..1, e.g. [0.6, 1.0], not {levels}",
    )
    demand(r.search.images > 0, f"search.images must be positive, not {r.search.images}")
    demand(
        isinstance(r.card.data, list) and all(isinstance(folder, str) for folder in r.card.data),
        f"card.data must be a list of folders' names, not {r.card.data}",
    )
    Grouping(r.card.groups, r.card.bands)  # refuses what it cannot use
    t = r.thresholds
    demand(0 < t.score < 1 and 0 < t.nms_iou < 1, "thresholds must lie in 0..1")
    demand(t.max_detections >= 1, f"thresholds.max_detections must be at least 1, not {t.max_detections}")
    demand(min(t.fp_per_image, t.weak_fp_per_image, t.weak_score) >= 0, "thresholds must not be negative")
    demand(
        t.weak_score <= t.score or t.fp_per_image > 0,
        f"thresholds.weak_score ({t.weak_score:g}) must not exceed thresholds.score ({t.score:g})",
    )
    demand(
        not 0 < t.weak_fp_per_image < t.fp_per_image,
        f"thresholds.weak_fp_per_image ({t.weak_fp_per_image:g}) must be at least fp_per_image ({t.fp_per_image:g}): "
        "the weak score is the lower one",
    )
