"""The start of a run: everything that can be refused is refused here, before hours of work."""

import json
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from vit_perception.bundles.manifest import find_problem
from vit_perception.images.high_bit_depth import DEFAULT

from ..boards.targets import Target
from ..compression.quantize import wanted_variants
from ..data import (
    TINY_PX,
    Dataset,
    check_alone,
    check_colors,
    class_list,
    color_lines,
    detect_color,
    is_sets_file,
    label_rules,
    leak_warnings,
    pixel_statistics,
    read_dataset,
    read_pair,
    read_sets,
    repeats,
    unseen,
)
from ..data.formats.masks import masks_beside
from ..data.masks.sets import read_task
from ..errors import RecipeError
from ..evaluation.subsets import Grouping
from ..model.detector import build_model
from ..model.pretrained import backbones_of
from ..run.recipe import Recipe
from ..run.recipe_file import SCHEDULES, card_for, changes
from ..run.run import Run
from ..training.distill import check_comparable
from ..training.distributed import world_size
from ..training.teacher_cache import model_hash
from ..training.threads import choose_threads
from ..training.train import check_shared
from .given import backbone_records, origins, take_backbone, take_specialists, take_student, take_teacher
from .models import student_options, teacher_options

log = logging.getLogger(__name__)
# What a search decides by, of the groups that are else used later: it does not change between candidates, nor after.
SEARCHED = {
    "prune": ("criterion", "depth"),
    "lowrank": ("error", "saving"),
    "quantise": ("int8", "tensorrt"),
    "thresholds": ("nms_iou", "max_detections"),
}


def open_run(args, recipe: Recipe, target: Target, taught: bool | None = None) -> Run:
    """Check everything that can be checked before the work starts, and open or resume the run folder.

    taught: whether the student learns from the teacher; None: as the recipe says.

    Raises:
        DataError, RecipeError: with one sentence.
    """
    _check_goal(args.budget_ms, args.min_map)
    train, val, also = _read(args, recipe.task)
    card, other = card_for(recipe, args.recipe, train.folders())
    recipe = replace(recipe, card=card)
    if other:
        log.warning("%s", other)
    wanted_variants(target, recipe.quantise.int8, recipe.quantise.tensorrt)  # refuses what cannot be
    run = Run(args.run, args.out.name, recipe, target, train, val)
    run.also = also
    without = {}
    if args.unseen:
        train = run.train_data = unseen(train, [val, *run.also])
        without = {"without": [data.name for data in (val, *run.also)]}
    goes_on = args.resume and (run.folder / "run.json").is_file()
    leaks = [] if goes_on else leak_warnings(train, (val, *also))  # refuses copies of what is trained on
    fitting = [data for data in (val, *run.also) if run.grouping(data).pattern]
    for data in fitting or [val]:
        Grouping(recipe.card.groups, recipe.card.bands).split(data)  # refuses what their file names do not say
    run.changed = changes(recipe, args.recipe)
    run.attribution = args.attribution or recipe.card.attribution
    run.budget_ms, run.min_map = args.budget_ms, args.min_map
    run.input = _input(run)
    if args.teacher:
        take_teacher(run, args.teacher, args.backbone)
    if args.student:
        take_student(run, args.student)
    take_specialists(run)
    run.origins = origins(run)
    _check_models(run, taught)
    told = take_backbone(run, args.backbone) if args.backbone else []
    _check_sets(run)
    sets = {"sets": [part.as_dict() for part in train.parts]} if train.parts else {}
    run.identity = {
        "recipe": recipe.as_dict(),
        "recipe_name": Path(args.recipe).name,
        "target": target.name,
        "train": {"name": train.name, "sha256": train.sha256, "ignore": list(args.ignore)}
        | sets
        | without
        | label_rules(args).as_dict(),
        "val": {"name": val.name, "sha256": val.sha256, "classes": val.labels},
        "backbone": backbone_records(run),
        "teacher": {"file": args.teacher.name, "sha256": model_hash(run.source.model)} if run.source else None,
        "student": {"file": args.student.name, "sha256": model_hash(run.start.model)} if run.start else None,
        **({"specialists": [model_hash(s.model) for s in run.specialists]} if run.specialists else {}),
        "goal": {"budget_ms": args.budget_ms, "min_map": args.min_map},
        "input": run.input,
    }
    _open_folder(run, resume=args.resume)
    handler = logging.FileHandler(run.folder / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger().addHandler(handler)
    threads = choose_threads(run.notes.get("threads"))
    if threads and "threads" not in run.notes:
        run.note("threads", threads)
    log.info("%s", train.summary())
    for data in (val, *run.also):
        log.info("%s", data.summary())
    for line in [*told, *train.part_lines(), *train.table()]:
        log.info("%s", line)
    for label, side in run.object_px().items():
        if side and side[1] < TINY_PX:
            size = f"{run.input['width']}x{run.input['height']}"
            text = (
                "at an input of %s half of the %s boxes are under %.0f pixels, too small to be found: use a larger one"
            )
            log.warning(text, size, label, TINY_PX)
    for line in [] if goes_on else [*_warnings(run), *leaks]:
        log.warning("%s", line)
    return run


def _read(args, task: str) -> tuple[Dataset, Dataset, list[Dataset]]:
    """What to train on, what to choose by, and further validation sets."""
    wanted = class_list(args.classes)
    if task != "detect":
        return read_task(args, task, wanted)
    if is_sets_file(args.data):
        check_alone(args)
        train, (val, *also) = read_sets(args.data, wanted)
        return train, val, also
    if not (args.train and args.val):
        raise RecipeError("--train and --val name the splits of a folder; give both, or a yaml of sets as --data")
    ignore, rules = tuple(args.ignore), label_rules(args)
    train, val = read_pair(args.data, args.train, args.val, args.format, ignore, wanted, rules)
    also = [read_dataset(args.data, name, args.format, ignore, val.labels, rules) for name in args.also]
    if folders := masks_beside(args.data, args.train):
        log.info("%s is not read: the recipe's task is detect; segment or both would learn its masks", folders.masks)
    return train, val, also


def _check_sets(run: Run) -> None:
    """Raises RecipeError or DataError for what the sets, or their images' colours, cannot bear."""
    r = run.recipe
    if r.input.color == "auto" and run.train_data.parts:
        check_colors(run.train_data)
    gray_only = [name for name in ("invert", "palette") if getattr(r.crops.sensor, name)]
    if gray_only and run.input["color"] != "gray":
        raise RecipeError(
            f"crops.sensor.{gray_only[0]} is for gray images, these are {run.input['color']}: set it to 0"
        )
    trained = [r.distil, r.prune, r.lowrank, r.quantise, *([r.search] if run.budget_ms or run.min_map else [])]
    if run.specialists and not any(s.wanted() and s.response for s in trained):
        raise RecipeError(
            "taught_by names who teaches, and nothing in the recipe learns what a teacher answers; set "
            "distil.response, or drop taught_by"
        )
    partly = [part.name for part in run.train_data.parts if part.teacher != "all" or part.taught_by]
    watched = [s for s in (r.distil, r.prune, r.lowrank, r.quantise) if s.wanted() and (s.relation or s.attention)]
    if partly and watched:
        raise RecipeError(
            f"relation and attention compare whole images, of {partly[0]} the teacher does not tell all: set both to 0"
        )


def _warnings(run: Run) -> Iterator[str]:
    yield from repeats(run.train_data) if run.train_data.parts else ()
    if run.recipe.input.color == "auto":
        yield from color_lines(run.train_data, (run.val_data, *run.also))


def _check_goal(budget_ms: float | None, min_map: float | None) -> None:
    if budget_ms is not None and not (math.isfinite(budget_ms) and budget_ms > 0):
        raise RecipeError(f"--budget-ms {budget_ms:g} is no time; give milliseconds over 0")
    if min_map is not None and not 0 < min_map <= 1:
        raise RecipeError(f"--min-map {min_map:g} is no mAP50; give a share over 0, at most 1, e.g. 0.7")


def _check_models(run: Run, taught: bool | None) -> None:
    """Build and run teacher and student once, and hold what is known of the bundle to its format.

    Raises:
        RecipeError: one of them would be refused after hours of training.
    """
    files = {"fp32": {"path": "model.onnx", "sha256": "0" * 64}}
    if problem := find_problem(run.about() | run.heads([8]) | {"input": run.input, "files": files}):
        raise RecipeError(
            f"the bundle '{run.name}' could not be opened: {problem}; change the last part of --out, the names of the "
            "classes, input.size or thresholds, whichever it is"
        )
    r = run.recipe
    for name in SCHEDULES:
        s = getattr(r, name)
        if name != "quantise" and s.wanted():
            check_shared(name, s.batch, world_size())
    trained = run.source.model.config() if run.source else _build(run, "model", teacher_options)
    for specialist in run.specialists:
        check_comparable(trained, specialist.model.config())  # the student is like its teacher, or refused below
    if run.budget_ms or run.min_map:
        if r.prune.twin:
            raise RecipeError("prune.twin does nothing in a search; leave it out, or --budget-ms and --min-map")
        return  # the student is cut out of the teacher
    student = _build(run, "student", student_options)
    if r.prune.latency and r.prune.depth > student["depth"]:
        raise RecipeError(f"prune.depth {r.prune.depth} blocks must stay, but the student has {student['depth']}")
    schedules = [s for s in (r.distil, r.lowrank, r.quantise, *([r.prune] if r.prune.cuts() else [])) if s.taught()]
    if taught is not False and schedules:
        check_comparable(student, trained, attention=any(s.attention for s in schedules))


def _build(run: Run, group: str, options: Callable[[Run], dict]) -> dict:
    """The whole config of the model that the recipe's `group` describes, which takes an image and a crop."""
    try:
        model = build_model(options(run)).eval()
        with torch.no_grad():
            for width, height in ((run.input["width"], run.input["height"]), run.recipe.crops.size):
                model(torch.zeros(1, len(run.input["mean"]), height, width))
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError, AttributeError, KeyError) as e:
        why = (str(e).splitlines() or [type(e).__name__])[0]
        mine = ("model.", "student.", "input.", "crops.")
        changed = [f"--set {text}" for text in run.changed if text.startswith(mine)]
        said = f" with {' '.join(changed)}" if changed else ""
        raise RecipeError(f"recipe group '{group}' makes no model{said} ({why}); mend its values") from e
    if model.config()["classes"] != len(run.labels):
        raise RecipeError(f"recipe group '{group}' has {model.config()['classes']} classes, the data {len(run.labels)}")
    if model.config().get("segments", 0) != len(run.segments):
        raise RecipeError(f"recipe group '{group}' must leave segments to the data, which has {len(run.segments)}")
    return model.config()


def _open_folder(run: Run, resume: bool) -> None:
    state = run.folder / "run.json"
    if not state.is_file():
        run.folder.mkdir(parents=True, exist_ok=True)
        run.note("seconds", {})
        return
    if not resume:
        raise RecipeError(
            f"{run.folder} holds an earlier run; add --resume to go on with it, or name another folder with --run"
        )
    try:
        old = json.loads(state.read_text(encoding="utf-8"))
        before, run.notes = old["identity"], old["notes"]
    except (ValueError, KeyError, TypeError) as e:
        raise RecipeError(f"{state} is not the record of a run ({e}); name another folder with --run") from e
    now = json.loads(json.dumps(run.identity))
    before["backbone"] = backbones_of(before)
    open_groups = [stage for stage in SCHEDULES if not _has_begun(run, stage)]  # may still be changed
    for group in (*open_groups, "card", "thresholds"):  # the last two train nothing
        old = before.get("recipe", {}).get(group) or {}
        kept = {k: old[k] for k in SEARCHED.get(group, ()) if k in old and run.begun("search")}
        before.get("recipe", {})[group] = now["recipe"][group] | kept
    groups = [k for k, v in now["recipe"].items() if before.get("recipe", {}).get(k) != v]
    changed = [k for k, v in now.items() if before.get(k) != v]
    if changed:
        of = f" ({', '.join(groups)})" if groups else ""
        raise RecipeError(
            f"cannot resume {run.folder}: {', '.join(changed)} changed since it was begun{of}; name another with --run"
        )


def _has_begun(run: Run, stage: str) -> bool:
    """Whether its group of the recipe is in what is kept already; a row of an ablation uses three of them."""
    rows = stage in ("distil", "prune", "lowrank") and any(run.begun(k) for k in ("first", "second", "row"))
    return run.begun(stage) or rows or (stage == "pretrain" and run.begun("teacher"))


def _input(run: Run) -> dict:
    """The model's input: as the recipe says, or the largest training image rounded up to what the strides need."""
    size, color = run.recipe.input.size, run.recipe.input.color
    if size == "auto":
        size = [-(-max(getattr(s, k) for s in run.train_data.samples) // 32) * 32 for k in ("width", "height")]
    color = detect_color(run.train_data) if color == "auto" else color
    named = run.recipe.input.high_bit_depth
    deep = {"high_bit_depth": {k: named.get(k, v) for k, v in DEFAULT.items()}}
    mean, std = pixel_statistics(run.train_data, color, spec=deep)
    return {"width": size[0], "height": size[1], "color": color, "mean": mean, "std": std} | deep
