"""What a run of `task: segment` or `both` trains and measures on: splits of one folder, or several sets of a yaml.

Of several sets in `task: both` each says what it labels, unless it labels all: `has: [boxes]`, `[masks]` or both. Where
a set has no boxes no class of them has a loss, and where it has no masks no pixel has.
"""

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

from ...errors import DataError
from ..formats.masks import masks_beside
from ..options import check_alone, label_rules
from ..read import read_dataset, read_pair
from ..sample import INVERTED, Dataset, Part
from ..sets import measured_names, merge, read_entry
from ..sets_file import Entry, is_sets_file, parse_sets
from .polygons import read_polygons
from .read import attach_masks, read_masked, table_of

log = logging.getLogger(__name__)


def read_task(args, task: str, wanted: list[str] | None) -> tuple[Dataset, Dataset, list[Dataset]]:
    """What to train on, what to choose by, and further validation sets, as `args` of a command name them.

    Raises:
        DataError: with one sentence: what is wrong, where, what to do.
    """
    if task == "segment" and wanted:
        raise DataError(
            "--classes chooses among classes of boxes, and the task is segment; merge masks' classes with --map"
        )
    if is_sets_file(args.data):
        check_alone(args)
        return read_task_sets(args.data, task)
    if not (args.train and args.val):
        raise DataError("--train and --val name the splits of a folder; give both, or a yaml of sets as --data")
    root, ignore, rules = args.data, tuple(args.ignore), label_rules(args)
    if task == "segment":
        train = read_masked(root, args.train, args.format, ignore, rules=rules)
        rest = [read_masked(root, s, args.format, ignore, train.segments, rules) for s in (args.val, *args.also)]
    else:
        train, val = read_pair(root, args.train, args.val, args.format, ignore, wanted, rules)
        also = [read_dataset(root, name, args.format, ignore, val.labels, rules) for name in args.also]
        attach_masks(train, root, args.train, ignore, rules=rules)
        rest = [
            attach_masks(data, root, split, ignore, train.segments, rules)
            for split, data in zip((args.val, *args.also), (val, *also), strict=True)
        ]
    return train, rest[0], rest[1:]


def read_task_sets(path: Path, task: str) -> tuple[Dataset, Dataset, list[Dataset]]:
    """As `read_task`, of the sets that a yaml lists. Raises DataError."""
    labels, entries = settled(path, task)
    for e in entries:
        if e.teacher == "unlabelled":
            raise DataError(f"{e.where}: teacher: unlabelled is for boxes alone; say all or none")
    trained = [e for e in entries if e.train]
    if not trained:
        raise DataError(f"{path} has no set with 'train'; name the split to train on")
    boxed = [e for e in entries if "boxes" in e.has]
    if task == "both" and not (any("boxes" in e.has for e in trained) and any("masks" in e.has for e in trained)):
        raise DataError(f"{path}: the task is both, but no set that is trained on has {'masks' if boxed else 'boxes'}")
    if task == "segment":
        labels = []
    elif not labels:
        first = next(e for e in trained if "boxes" in e.has)
        with first.blamed():
            labels = read_dataset(
                first.data, first.train or "", first.format, tuple(first.ignore), rules=first.rules()
            ).labels
    segments: list[str] = []
    parts = []
    for e in trained:
        data = _read(e, e.train or "", labels, segments)
        if "masks" in e.has:
            with e.blamed():
                _same_classes(e, segments)
        segments = segments or data.segments
        parts.append((e, data))
    train = merge(path, parts, labels)
    train.segments, train.colors = segments, next(d.colors for _, d in parts if d.segments)
    measured = [_read(e, split, labels, segments, measured=True) for e in entries for split in e.val]
    measured_names(path, measured)
    full = [d for d in measured if bool(d.labels) == bool(labels) and d.segments]
    if not full:
        raise DataError(f"{path}: no set with 'val' has {'boxes and masks' if labels else 'masks'}; choices need one")
    if len(full) < len(measured):
        left = next(d for d in measured if not any(d is f for f in full))
        raise DataError(left.say(f"{left.name} is measured on, but has only one of boxes and masks; drop its val"))
    return train, full[0], full[1:]


def read_measured_sets(path: Path, labels: list[str], segments: list[str]) -> list[Dataset]:
    """The validation sets that a yaml lists, for a model that knows these classes of boxes and of masks.

    One that has only masks has no `labels`, one that has only boxes no `segments`. Raises DataError.
    """
    _, entries = settled(path, "both" if labels else "segment")
    measured = [_read(e, split, labels, segments, measured=True) for e in entries for split in e.val]
    measured_names(path, measured)
    return measured


def settled(path: Path, task: str) -> tuple[list[str], list[Entry]]:
    """The classes that a yaml names and its sets, whose `has` says what each labels for `task`. Raises DataError."""
    labels, entries = parse_sets(path)
    for e in entries:
        with e.blamed():
            settle(e, task)
    return labels, entries


def settle(e: Entry, task: str) -> None:
    """Make `e.has` say what the set labels; refuses sets that label different things without saying so."""
    split = e.train or e.val[0]
    masks = _has_masks(e.data, split)
    if task == "segment":
        if not masks:
            raise DataError(f"{e.data.name} has no masks and the task is segment; leave it out")
        if e.labelled:
            raise DataError("labelled is for boxes; map the masks' classes, or ignore them")
        e.has = ["masks"]
        return
    if e.has:
        if "masks" in e.has and not masks:
            raise DataError(f"it says has: {e.has}, but {e.data.name} has no masks; correct it")
        return
    if not masks:
        raise DataError(
            f"{e.data.name} has no masks and the task is both; say 'has: [boxes]', so that its "
            "pixels teach nothing, or add masks"
        )
    try:
        read_dataset(e.data, split, e.format, tuple(e.ignore), rules=e.rules())
    except DataError as why:
        raise DataError(
            f"the boxes of {e.data.name} cannot be read ({why}); if it has none, say 'has: [masks]'"
        ) from why
    e.has = ["boxes", "masks"]


def _same_classes(e: Entry, segments: list[str]) -> None:
    """Raises DataError where a set's table lacks one of the classes: what shows it there would be taught as another."""
    table = table_of(e.data, e.train or "")
    named = {e.map.get(name, name) for name in table.names}
    if missing := [name for name in segments if name not in named]:
        raise DataError(
            f"{table.source} has no class '{missing[0]}', which other sets have, so what shows one there would "
            "be taught as something else; map a class to it, or, if no image of the set shows one, add it to the table"
        )


def _has_masks(root: Path, split: str) -> bool:
    return masks_beside(root, split) is not None or read_polygons(root, split) is not None


def _read(e: Entry, split: str, labels: list[str], segments: list[str], measured: bool = False) -> Dataset:
    """A split with class indices of `labels` and `segments` (empty: the set's own are the classes)."""
    if "boxes" in e.has and labels:
        data = read_entry(e, split, labels, measured)
        if "masks" in e.has:
            with e.blamed():
                attach_masks(data, e.data, split, tuple(e.ignore), segments or None, e.rules())
        return data
    with e.blamed():
        data = read_masked(e.data, split, e.format, tuple(e.ignore), segments or None, e.rules())
    everything = () if measured else tuple(range(len(labels)))
    if e.invert:  # its figures are kept by this sum
        data.name += INVERTED
        data.sha256 = hashlib.sha256(f"{data.sha256} inverted".encode()).hexdigest()
    data.parts, data.where = [Part(data.name, everything, e.share or 0.0, e.teacher)], e.where
    data.samples = [replace(s, invert=e.invert) for s in data.samples]
    return data
