"""Several data sets in one training: a yaml file that lists them, for `--data`.

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
        invert: false                    # true: warm things are dark in these images, they are turned when read
        has: [boxes]                     # where the task is both: what the set labels, boxes, masks or both

A class that a set does not label is there neither an object nor background: it has no loss on that set's crops. The
first `val` of the list is what choices are made on; the others are measured on alone.
"""

import hashlib
import json
import logging
import os
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import yaml

from vit_perception.images.files import show

from ..errors import DataError
from .class_map import map_classes
from .formats.annotations import Annotations, Findings
from .images import detect_color
from .near_duplicates import digests
from .read import Rules, build, read_annotations
from .sample import TEACHES, Dataset, Part
from .text import decode_text, parse_yaml

log = logging.getLogger(__name__)
QUOTE = "; write yes, no, on, off, null and numbers in quotes where they are names"


@dataclass
class Entry:
    """One of the `sets` as the file has it."""

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
    invert: bool = False
    has: list[str] = field(default_factory=list)

    def rules(self) -> Rules:
        return Rules(self.map, self.max_occluded, self.max_truncated)

    def splits(self) -> list[str]:
        return [self.train, *self.val] if self.train else self.val


def is_sets_file(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml") and path.is_file()


def read_sets(path: Path, wanted: list[str] | None = None) -> tuple[Dataset, list[Dataset]]:
    """The training set of all sets in `path`, and the validation sets, the one that choices are made on first.

    Args:
        wanted: classes that the validation sets count, where they are labelled; None: all.

    Raises:
        DataError: with one sentence: what is wrong, where, what to do.
    """
    classes, entries = parse_sets(path)
    trained = [e for e in entries if e.train]
    if not trained:
        raise DataError(f"{path} has no set with 'train'; name the split to train on")
    findings = Findings()
    found = [(e, _read(path, e, e.train or "", findings)) for e in trained]
    findings.tell()
    classes = classes or [n for n in found[0][1].names if n not in found[0][0].ignore]
    train = merge(path, [(e, _dataset(path, e, a, classes)) for e, a in found], classes)
    for name in wanted or []:
        if name not in classes:
            raise DataError(f"--classes names '{name}', which {path} does not train; it trains: {', '.join(classes)}")
    return train, _measured(path, entries, classes, wanted)


def read_measured(path: Path, classes: list[str], wanted: list[str] | None = None) -> list[Dataset]:
    """The validation sets in `path` alone, for a model that knows `classes`. Raises DataError."""
    return _measured(path, parse_sets(path)[1], classes, wanted)


def _measured(path: Path, entries: list[Entry], classes: list[str], wanted: list[str] | None) -> list[Dataset]:
    measured: list[Dataset] = []
    findings = Findings()
    for e in entries:
        for split in e.val:
            known = _read(path, e, split, findings)
            counted = [c for c in _labelled(path, e, known, classes) if not wanted or c in wanted]
            if not counted:
                raise DataError(f"{path}: {known.name} labels none of {', '.join(wanted or [])}; drop its val")
            measured.append(_dataset(path, e, known, classes, counted))
    measured_names(path, measured)
    findings.tell()
    return measured


def measured_names(path: Path, measured: list[Dataset]) -> None:
    """Raises DataError where nothing is measured, or two sets have one name."""
    names = [data.name for data in measured]
    if not names:
        raise DataError(f"{path} has no set with 'val'; name a split to measure on")
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{path} measures two times on {twice[0]}; drop one, or give one of the folders another name")


def read_entry(path: Path, entry: Entry, split: str, classes: list[str], measured: bool = False) -> Dataset:
    """One split of a set, with class indices of `classes`. measured: all of them count there. Raises DataError."""
    findings = Findings()
    found = _read(path, entry, split, findings)
    findings.tell()
    return _dataset(path, entry, found, classes, _labelled(path, entry, found, classes) if measured else None)


def check_colors(train: Dataset) -> None:
    """Raises DataError for sets of different colours."""
    colors = {}
    for number, part in enumerate(train.parts):
        colors[part.name] = detect_color(replace(train, samples=[s for s in train.samples if s.part == number]))
    if len(set(colors.values())) > 1:
        kinds = ", ".join(f"{name} is {color}" for name, color in colors.items())
        raise DataError(f"{train.name}: {kinds}; train one colour, or set input.color to read all of them alike")


def repeats(train: Dataset) -> list[str]:
    """One line for each two sets of `train` that hold the same images, byte for byte."""
    owners: dict[str, int] = {}
    shared: dict[tuple[str, str], list[str]] = {}
    for sample, digest in digests(train):
        first = owners.setdefault(digest, sample.part)
        if first != sample.part:
            pair = train.parts[first].name, train.parts[sample.part].name
            shared.setdefault(pair, []).append(sample.path.name)
    return [
        f"{len(names)} images are in {a} and in {b} ({', '.join(names[:3])}): they are drawn for both, drop one"
        for (a, b), names in shared.items()
    ]


def parse_sets(path: Path) -> tuple[list[str], list[Entry]]:
    """The classes that the file names, and its sets, before any of them is read. Raises DataError."""
    try:
        content = parse_yaml(decode_text(path.read_bytes())[0])
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as e:
        raise DataError(f"{path} is not yaml ({' '.join(str(e).split())}); correct it") from e
    if not isinstance(content, dict) or not isinstance(content.get("sets"), list) or not content["sets"]:
        raise DataError(f"{path} has no list 'sets'; write 'sets:' and under it '- data: FOLDER', 'train: SPLIT' ...")
    if extra := set(content) - {"classes", "sets"}:
        raise DataError(f"{path}: unknown key '{min(map(str, extra))}'; choose from: classes, sets")
    classes = content.get("classes") or []
    if not _is_names(classes):
        raise DataError(f"{path}: classes must be a list of different names, not {classes!r}{QUOTE}")
    entries = [_entry(path, n, values) for n, values in enumerate(content["sets"], 1)]
    taught = {(e.data, os.path.normpath(e.train)) for e in entries if e.train}
    for folder, split in ((e.data, split) for e in entries for split in e.val):
        if (folder, os.path.normpath(split)) in taught:
            raise DataError(f"{path}: {folder.name} trains on {split} and measures on it; name another val")
    return classes, entries


def _entry(path: Path, number: int, values) -> Entry:
    where, known = f"{path}, set {number}", [f.name for f in fields(Entry)]
    if not isinstance(values, dict) or not isinstance(values.get("data"), str):
        raise DataError(f"{where} names no folder; write 'data: FOLDER'")
    if "\0" in values["data"] or show(values["data"]) != values["data"]:
        raise DataError(f"{where}: data {values['data']!r} can be no folder's name; correct it")
    if extra := [k for k in values if k not in known]:
        raise DataError(f"{where}: unknown key '{extra[0]}'; choose from: {', '.join(known)}")
    values = dict(values) | {"data": (path.parent / values["data"]).resolve()}
    if isinstance(values.get("val"), str):
        values["val"] = [values["val"]]
    kinds = {"train": str, "format": str, "map": dict, "teacher": str, "invert": bool}
    kinds |= {"max_occluded": int, "max_truncated": int}
    for key, kind in kinds.items():
        if values.get(key) is not None and not isinstance(values[key], kind):
            raise DataError(f"{where}: {key} cannot be {values[key]!r}; see offline/data/sets.py for what it may be")
    for key in ("val", "ignore", "labelled", "has"):
        if values.get(key) is not None and not _is_names(values[key]):
            raise DataError(f"{where}: {key} must be a list of different names, not {values[key]!r}{QUOTE}")
    if not all(isinstance(name, str) for pair in (values.get("map") or {}).items() for name in pair):
        raise DataError(f"{where}: map must give a name to each name, not {values['map']!r}{QUOTE}")
    share = values.get("share")
    if share is not None and not (type(share) in (int, float) and 0 < share <= 1):
        raise DataError(f"{where}: share is {share!r}; give a number over 0, at most 1, or leave the set out")
    if set(values.get("has") or []) - {"boxes", "masks"}:
        raise DataError(f"{where}: has is {values['has']}; choose from: boxes, masks")
    if values.get("teacher", "all") not in TEACHES:
        raise DataError(f"{where}: teacher is '{values['teacher']}'; choose from: {', '.join(TEACHES)}")
    return Entry(**{k: v for k, v in values.items() if v is not None})


def _is_names(value) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value) and len(set(value)) == len(value)


def _read(path: Path, entry: Entry, split: str, findings: Findings) -> Annotations:
    """The split with its classes called as `map` says."""
    found = read_annotations(entry.data, split, entry.format, findings)
    for name in entry.map:
        if name not in found.names:
            raise DataError(
                f"{path}: map names a class '{name}' that {found.name} does not have; it has: {', '.join(found.names)}"
            )
    return map_classes(found, entry.map)


def _labelled(path: Path, entry: Entry, found: Annotations, classes: list[str]) -> list[str]:
    """Those of `classes` that the set labels."""
    for name in entry.labelled or []:
        if name not in classes or name not in found.names:
            lacks = f"is none of the classes ({', '.join(classes)})"
            lacks = f"is no class of {found.name} ({', '.join(found.names)})" if name in classes else lacks
            raise DataError(f"{path}: labelled names '{name}', which {lacks}; correct it or map it")
    named = found.names if entry.labelled is None else entry.labelled
    labelled = [c for c in classes if c in named and c not in entry.ignore]
    if not labelled:
        less = f", of which it ignores {', '.join(entry.ignore)}" if entry.ignore else ""
        less += ", and 'labelled' names none" if entry.labelled == [] else ""
        raise DataError(
            f"{path}: {found.name} labels none of {', '.join(classes)}; it has: {', '.join(found.names)}{less}; "
            "map a class, or drop the set"
        )
    return labelled


def _dataset(
    path: Path, entry: Entry, found: Annotations, classes: list[str], counted: list[str] | None = None
) -> Dataset:
    """The split with class indices of `counted`; None: of `classes`, whichever of them it labels."""
    labelled = counted or _labelled(path, entry, found, classes)
    rules = replace(entry.rules(), class_map={})  # that is done
    data = build(found, tuple(entry.ignore), labelled, rules)
    index = np.array([(counted or classes).index(c) for c in labelled], np.int64)
    data.labels = list(counted or classes)
    for s in data.samples:
        s.classes, s.invert = index[s.classes], entry.invert
    if entry.invert:
        data.name += " (inverted)"
    unlabelled = tuple(c for c, name in enumerate(classes) if name not in labelled) if counted is None else ()
    data.parts = [Part(data.name, unlabelled, entry.share or 0.0, entry.teacher)]
    if entry.invert or entry.labelled or rules.as_dict():
        data.sha256 = _sha256([found.sha256, labelled, entry.invert, rules.as_dict()])
    return data


def merge(path: Path, sets: list[tuple[Entry, Dataset]], classes: list[str]) -> Dataset:
    given = sum(e.share or 0.0 for e, _ in sets)
    rest = sum(len(data) for e, data in sets if e.share is None)
    if given > 1 + 1e-6 or (rest and given >= 1) or (not rest and abs(given - 1) > 1e-6):
        left = "nothing for the sets without a share" if rest and given >= 1 else "they must add up to 1"
        raise DataError(f"{path}: the shares add up to {given:g}: {left}; correct them")
    merged = Dataset(path.stem, list(classes), [], "")
    for number, (entry, data) in enumerate(sets):
        share = (1 - given) * len(data) / rest if entry.share is None else entry.share
        merged.parts.append(replace(data.parts[0], share=round(share, 6)))
        merged.samples += [replace(s, part=number) for s in data.samples]
        for mine, theirs in ((merged.dropped, data.dropped), (merged.left_out, data.left_out)):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
    for c, name in enumerate(classes):
        if all(c in part.unlabelled for part in merged.parts):
            raise DataError(f"{path}: no set that is trained on labels '{name}'; drop it from classes, or map to it")
    merged.sha256 = _sha256([[d.sha256 for _, d in sets], [vars(p) for p in merged.parts], classes])
    return merged


def _sha256(content) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
