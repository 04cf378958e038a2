"""Several data sets in one training: what a yaml of sets (sets_file.py) lists, read as one set to train on and those to
measure on.

A class that a set does not label is there neither an object nor background: it has no loss on that set's crops.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import DataError
from .class_map import map_classes
from .formats.annotations import Annotations, Findings
from .near_duplicates import digests
from .read import build, read_annotations
from .sample import INVERTED, Dataset, Part
from .sets_file import Entry, parse_sets


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
    found = [(e, _read(e, e.train or "")) for e in trained]
    classes = classes or own_classes(*found[0])
    train = merge(path, [(e, _dataset(e, a, classes)) for e, a in found], classes)
    for name in wanted or []:
        if name not in classes:
            raise DataError(f"--classes names '{name}', which {path} does not train; it trains: {', '.join(classes)}")
    return train, _measured(path, entries, classes, wanted)


def read_measured(path: Path, classes: list[str], wanted: list[str] | None = None) -> list[Dataset]:
    """The validation sets in `path` alone, for a model that knows `classes`. Raises DataError."""
    return _measured(path, parse_sets(path)[1], classes, wanted)


def _measured(path: Path, entries: list[Entry], classes: list[str], wanted: list[str] | None) -> list[Dataset]:
    measured: list[Dataset] = []
    for e in entries:
        for split in e.val:
            found = _read(e, split)
            with e.blamed():
                counted = labelled_classes(e, found, classes, wanted)
            measured.append(_dataset(e, found, classes, counted))
    measured_names(path, measured)
    return measured


def measured_names(path: Path, measured: list[Dataset]) -> None:
    """Raises DataError where nothing is measured, or two sets have one name."""
    names = [data.name for data in measured]
    if not names:
        raise DataError(f"{path} has no set with 'val'; name a split to measure on")
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{path} measures two times on {twice[0]}; drop one, or give one of the folders another name")


def read_entry(entry: Entry, split: str, classes: list[str], measured: bool = False) -> Dataset:
    """One split of a set, with class indices of `classes`. measured: all of them count there. Raises DataError."""
    found = _read(entry, split)
    with entry.blamed():
        counted = labelled_classes(entry, found, classes) if measured else None
    return _dataset(entry, found, classes, counted)


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
        f"{len(names)} {'images are' if len(names) > 1 else 'image is'} in {a} and in {b} ({', '.join(names[:3])}): "
        "drawn for both, drop one"
        for (a, b), names in shared.items()
    ]


def read_split(entry: Entry, split: str, findings: Findings) -> Annotations:
    """A split of a set as its files have it, under the name that it is told by. Raises DataError."""
    try:
        found = read_annotations(entry.data, split, entry.format, findings)
    except DataError as e:
        if entry.format:
            raise DataError(f"{e} (the set says 'format: {entry.format}')") from e
        raise
    return replace(found, name=f"{found.name}{INVERTED}") if entry.invert else found


def call_classes(entry: Entry, found: Annotations) -> Annotations:
    """The split with its classes called as the set's `map` says. Raises DataError."""
    for name in entry.map:
        if name not in found.names:
            has = ", ".join(found.names) or "no classes"
            raise DataError(f"map names a class '{name}' that {found.name} does not have; it has: {has}")
    return map_classes(found, entry.map)


def own_classes(entry: Entry, found: Annotations) -> list[str]:
    """What is learnt where the file names no classes: those of its first set."""
    return [name for name in found.names if name not in entry.ignore]


def labelled_classes(
    entry: Entry, found: Annotations, classes: list[str], wanted: list[str] | None = None
) -> list[str]:
    """Those of `classes` that the set labels, and of them those of `wanted` (None: all). Raises DataError for none."""
    for name in entry.labelled or []:
        if name not in classes or name not in found.names:
            lacks = f"is none of the classes ({', '.join(classes)})"
            lacks = f"is no class of {found.name} ({', '.join(found.names)})" if name in classes else lacks
            raise DataError(f"labelled names '{name}', which {lacks}; correct it or map it")
    named = found.names if entry.labelled is None else entry.labelled
    labelled = [c for c in classes if c in named and c not in entry.ignore]
    if not labelled:
        less = f", of which it ignores {', '.join(entry.ignore)}" if entry.ignore else ""
        less += ", and 'labelled' names none" if entry.labelled == [] else ""
        strange = [c for c in dict.fromkeys(entry.map.values()) if c not in (*classes, *entry.ignore)]
        less += f", and map gives {', '.join(strange)}, which is no class asked for" if strange else ""
        raise DataError(
            f"{found.name} labels none of {', '.join(classes)}; it has: {', '.join(found.names)}{less}; "
            f"{'correct the map' if strange else 'map a class'}, or drop the set"
        )
    counted = [c for c in labelled if not wanted or c in wanted]
    if not counted:
        raise DataError(f"{found.name} labels none of {', '.join(wanted or [])}; drop its val")
    return counted


def _read(entry: Entry, split: str) -> Annotations:
    """The split under the names of `map`; what is odd about it is logged."""
    findings = Findings(about=entry.where)
    with entry.blamed():
        found = call_classes(entry, read_split(entry, split, findings))
    findings.tell()
    return found


def _dataset(entry: Entry, found: Annotations, classes: list[str], counted: list[str] | None = None) -> Dataset:
    """The split with class indices of `counted`; None: of `classes`, whichever of them it labels."""
    rules = replace(entry.rules(), class_map={})  # that is done
    with entry.blamed():
        labelled = counted or labelled_classes(entry, found, classes)
        data = build(found, tuple(entry.ignore), labelled, rules)
    index = np.array([(counted or classes).index(c) for c in labelled], np.int64)
    data.labels, data.where = list(counted or classes), entry.where
    for s in data.samples:
        s.classes, s.invert = index[s.classes], entry.invert
    unlabelled = tuple(c for c, name in enumerate(classes) if name not in labelled) if counted is None else ()
    data.parts = [Part(data.name, unlabelled, entry.share or 0.0, entry.teacher, str(entry.taught_by or ""))]
    if entry.invert or entry.labelled or rules.as_dict():
        data.sha256 = _sha256([found.sha256, labelled, entry.invert, rules.as_dict()])
    return data


def merge(path: Path, sets: list[tuple[Entry, Dataset]], classes: list[str]) -> Dataset:
    given = sum(e.share or 0.0 for e, _ in sets)
    rest = sum(len(data) for e, data in sets if e.share is None)
    if given > 1 + 1e-6 or (rest and given >= 1) or (not rest and abs(given - 1) > 1e-6):
        left = "nothing for the sets without a share" if rest and given >= 1 else "they must add up to 1"
        raise DataError(f"{path}: the shares add up to {given:g}: {left}; correct them")
    merged = Dataset(path.stem, list(classes), [], "", where=str(path))
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
    merged.sha256 = _sha256([[d.sha256 for _, d in sets], [p.as_dict() for p in merged.parts], classes])
    return merged


def _sha256(content) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
