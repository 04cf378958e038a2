"""A yaml that lists several data sets, as it is written: its keys are read and checked, no label and no image is.

    classes: [Person, Car, Bicycle, OtherVehicle]   # what the model learns, in order; default: those of the first set
    sets:
      - data: ../hit_uav                 # folder, relative to this file
        train: train.json                # a set without it is only measured on
        val: [val_flights.json, val.json]  # one without it is only trained on
        ignore: [DontCare]
      - data: ../asl_tid
        train: train.json
        val: val.json
        format: coco                     # default: found out
        map: {pedestrian: Person}        # classes under other names (class_map.py); ignore and labelled name those
        max_occluded: 1                  # and max_truncated, as the options of that name
        labelled: [Person]               # default: those of `classes` that the set has
        share: 0.3                       # of the crops; sets without one share the rest by their numbers of images
        teacher: unlabelled              # what a teacher tells there: all (default), unlabelled, none
        taught_by: ../models/their_camera  # who tells it there, a bundle or a checkpoint; default: the run's teacher
        invert: false                    # true: warm things are dark in these images, they are turned when read
        has: [boxes]                     # where the task is both: what the set labels, boxes, masks or both

The first `val` of the list is what choices are made on; the others are measured on alone.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml

from vit_perception.images.files import show

from ..errors import DataError
from .read import FORMATS, Rules
from .sample import TEACHES
from .text import decode_text, parse_yaml

QUOTE = "; write yes, no, on, off, null and numbers in quotes where they are names"
SEE = "see 'Several data sets' in docs/your_own_data.md"
KINDS = {  # what a key may be, in words
    "train": (str, "the name of one split; list another one as a set of its own"),
    "format": (str, f"one of {', '.join(FORMATS)}"),
    "map": (dict, "names, and the class that each becomes: {pedestrian: Person}"),
    "teacher": (str, f"one of {', '.join(TEACHES)}"),
    "taught_by": (str, "the folder of a bundle, or the teacher.pt of a run folder, relative to this file"),
    "invert": (bool, "true or false"),
    "max_occluded": (int, "a whole number"),
    "max_truncated": (int, "a whole number"),
}


@dataclass
class Entry:
    """One of the `sets` as the file has it. where: 'FILE, set 2', which a sentence about it begins with."""

    where: str
    data: Path
    train: str | None = None
    val: list[str] = field(default_factory=list)
    format: str | None = None
    ignore: list[str] = field(default_factory=list)
    map: dict[str, str] = field(default_factory=dict)
    max_occluded: int | None = None
    max_truncated: int | None = None
    labelled: list[str] | None = None
    share: float | None = None
    teacher: str = "all"
    taught_by: Path | None = None
    invert: bool = False
    has: list[str] = field(default_factory=list)

    def rules(self) -> Rules:
        return Rules(self.map, self.max_occluded, self.max_truncated)

    def splits(self) -> list[str]:
        return [self.train, *self.val] if self.train else self.val

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """What is wrong inside is wrong with this set: the sentence says so."""
        try:
            yield
        except DataError as e:
            raise DataError(f"{self.where}: {e}") from e


def is_sets_file(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml") and path.is_file()


def parse_sets(path: Path, faults: list[str] | None = None) -> tuple[list[str], list[Entry]]:
    """The classes that the file names, and its sets, before any of them is read.

    Args:
        faults: takes what is wrong with single sets, which are then left out; None: the first fault is raised.

    Raises:
        DataError: with one sentence.
    """
    try:
        content = parse_yaml(decode_text(path.read_bytes())[0])
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as e:
        raise DataError(f"{path} is not yaml ({' '.join(str(e).split())}); correct it") from e
    if not isinstance(content, dict) or not isinstance(content.get("sets"), list) or not content["sets"]:
        raise DataError(f"{path} has no list 'sets'; write 'sets:' and under it '- data: FOLDER', 'train: SPLIT' ...")
    if extra := set(content) - {"classes", "sets"}:
        raise DataError(f"{path}: unknown key '{min(map(str, extra))}'; choose from: classes, sets")
    classes = content.get("classes")
    if classes is not None:
        _check_names(str(path), "classes", classes)
    entries: list[Entry] = []
    for number, values in enumerate(content["sets"], 1):
        try:
            entry = _entry(path, f"{path}, set {number}", values)
            with entry.blamed():
                _check_new(entry, entries)
            entries.append(entry)
        except DataError as e:
            if faults is None:
                raise
            faults.append(str(e))
    return classes or [], entries


def _entry(path: Path, where: str, values) -> Entry:
    known = [f.name for f in fields(Entry) if f.name != "where"]
    if not isinstance(values, dict) or not isinstance(values.get("data"), str):
        raise DataError(f"{where} names no folder; write 'data: FOLDER'")
    if "\0" in values["data"] or show(values["data"]) != values["data"]:
        raise DataError(f"{where}: data {values['data']!r} can be no folder's name; correct it")
    if extra := [k for k in values if k not in known]:
        raise DataError(f"{where}: unknown key '{extra[0]}'; choose from: {', '.join(known)}")
    values = {k: v for k, v in values.items() if v is not None} | {"data": (path.parent / values["data"]).resolve()}
    if isinstance(values.get("val"), str):
        values["val"] = [values["val"]]
    for key, (kind, words) in KINDS.items():
        if key in values and type(values[key]) is not kind:  # to Python, true is a whole number too
            raise DataError(f"{where}: {key} cannot be {values[key]!r}: it is {words}; {SEE}")
    for key in ("val", "ignore", "labelled", "has"):
        if key in values:
            _check_names(where, key, values[key])
    if not all(isinstance(name, str) for pair in values.get("map", {}).items() for name in pair):
        raise DataError(f"{where}: map must give a name to each name, not {values['map']!r}{QUOTE}")
    share = values.get("share", 1)
    if not (type(share) in (int, float) and 0 < share <= 1):
        raise DataError(f"{where}: share is {share!r}; give a number over 0, at most 1, or leave the set out")
    for key, choices in (("has", ("boxes", "masks")), ("teacher", TEACHES), ("format", tuple(FORMATS))):
        said = values.get(key, [])
        if strange := [s for s in (said if isinstance(said, list) else [said]) if s not in choices]:
            raise DataError(f"{where}: {key} is '{strange[0]}'; choose from: {', '.join(choices)}")
    if not (values.get("train") or values.get("val")):
        raise DataError(
            f"{where}: names neither train nor val; name a split to train or to measure on, or drop the set"
        )
    if "taught_by" in values:
        if not values.get("train"):
            raise DataError(
                f"{where}: taught_by names who teaches, but the set has no train; drop it, or name the split"
            )
        if values.get("teacher") == "none":
            raise DataError(f"{where}: taught_by names who teaches, 'teacher: none' that nobody does; drop one of them")
        values["taught_by"] = (path.parent / values["taught_by"]).resolve()
    return Entry(where, **values)


def _check_names(where: str, key: str, value) -> None:
    """Raises DataError unless it is a list of different names."""
    if isinstance(value, str):
        raise DataError(f"{where}: {key} wants a list: [{value}]")
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise DataError(f"{where}: {key} must be a list of names, not {value!r}{QUOTE}")
    if twice := [name for name in value if value.count(name) > 1]:
        raise DataError(f"{where}: {key} names '{twice[0]}' twice; name it once")


def _check_new(entry: Entry, before: list[Entry]) -> None:
    """Raises DataError for a split that an earlier set has too, or that is trained on and measured on."""
    everything = [*before, entry]
    trained = {(e.data, os.path.normpath(e.train)) for e in everything if e.train}
    for e in everything:
        for split in e.val:
            if (e.data, os.path.normpath(split)) in trained:
                raise DataError(f"{e.data.name} trains on {split} and measures on it; name another val")
    for e in before:
        if (e.data, e.invert, e.has) != (entry.data, entry.invert, entry.has):
            continue
        name = entry.data.name
        twice = f"{name} is listed twice, here and as {e.where.rpartition(', ')[2]}"
        again = {os.path.normpath(split) for split in e.val}
        for split in entry.val:
            if os.path.normpath(split) in again:
                raise DataError(f"{twice}: it measures two times on {name}/{split}; drop one")
        if e.train and entry.train and os.path.normpath(e.train) == os.path.normpath(entry.train):
            raise DataError(f"{twice}: it trains two times on {name}/{entry.train}; drop one, and give 'share'")
