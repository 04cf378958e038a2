"""Everything that is wrong with the sets of a yaml, in one go: of each set, and of how they go together."""

from pathlib import Path

from ..errors import DataError
from .check import (
    AUTO,
    FOUND_OUT,
    How,
    again,
    build_split,
    check_balance,
    check_measurable,
    check_pixels,
    examine_split,
    has_masks_alone,
)
from .colors import check_colors, color_lines
from .formats.annotations import Findings
from .masks.check import check_masks
from .masks.sets import read_task_sets, settle
from .near_duplicates import describe, find_leaks, unseen
from .read import Rules
from .sample import Dataset
from .sets import call_classes, labelled_classes, own_classes, read_sets, read_split, repeats
from .sets_file import Entry, parse_sets

OPEN = "how the sets go together is told once the errors are mended"


def check_sets(
    path: Path, wanted: list[str] | None = None, task: str | None = None, how: How = FOUND_OUT
) -> tuple[bool, list[str]]:
    """Examine every split of the sets in a yaml (sets_file.py), and how they go together; returns as `check` does.

    wanted: classes that are measured. task: detect, segment or both; None: found out.
    """
    report: list[str] = []
    faults: list[str] = []
    usable = True
    try:
        named, entries = parse_sets(path, faults)
        task = task or _task_of(entries)
        if task != "detect":
            entries = _settled(entries, task, faults)
        classes = named or (_own_classes(entries) if task != "segment" and not faults else None)
        segments: list[str] | None = None
        for entry in sorted(entries, key=lambda e: e.train is None):  # a run takes its classes from those it learns
            findings = Findings(strict=False, root=entry.data, about=entry.where)
            if entry.taught_by and not entry.taught_by.exists():
                faults.append(f"{entry.where}: taught_by: nothing is at {entry.taught_by}; correct it")
            for split in entry.splits():
                if task == "detect" or "boxes" in entry.has:
                    _check_boxed(entry, split, classes, wanted, findings, report, how)
                if "masks" in entry.has:
                    source = (entry.data, split, entry.format, tuple(entry.ignore))
                    data = check_masks(*source, segments, entry.rules(), findings, report)
                    segments = segments or (data.segments if data else None)
                if entry.has == ["masks"]:
                    report += check_pixels(again(entry.data, split, entry.format), findings, how)
            report += [*findings.lines(), ""]
            usable = usable and findings.usable
        if usable and not faults:
            if classes and not named:
                report.append(f"{path} names no classes: those of its first set are learnt: {', '.join(classes)}")
            report += _together(*_read(path, task, wanted), faults, how)
        else:
            report.append(OPEN)
    except DataError as e:
        faults.append(str(e))
    return usable and not faults, [*report, *(f"error: {fault}" for fault in faults)]


def _task_of(entries: list[Entry]) -> str:
    """What the sets of a yaml are for, as far as they tell."""
    if any(e.has for e in entries):
        return "both"
    alone = [has_masks_alone(e.data, split, e.format) for e in entries for split in e.splits()]
    return "segment" if alone and all(alone) else "detect"


def _settled(entries: list[Entry], task: str, faults: list[str]) -> list[Entry]:
    """Those of which it is clear whether they label boxes or masks."""
    clear = []
    for entry in entries:
        try:
            with entry.blamed():
                settle(entry, task)
            clear.append(entry)
        except DataError as e:
            faults.append(str(e))
    return clear


def _own_classes(entries: list[Entry]) -> list[str] | None:
    """The classes that are learnt where the file names none; None where that cannot be told."""
    first = next((e for e in entries if e.train and e.has != ["masks"]), None)
    if first is None:
        return None
    try:
        found = read_split(first, first.train or "", Findings(strict=False))
        return own_classes(first, call_classes(first, found)) or None
    except DataError:
        return None


def _check_boxed(
    entry: Entry,
    split: str,
    classes: list[str] | None,
    wanted: list[str] | None,
    findings: Findings,
    report: list[str],
    how: How,
) -> None:
    """One split of a set: what is learnt, or measured, of it. classes: None: it cannot be told what is learnt."""
    try:
        found = read_split(entry, split, findings)
        report += examine_split(found, findings, how)
        found = call_classes(entry, found)
        trained = split == entry.train
        labels = labelled_classes(entry, found, classes, None if trained else wanted) if classes else None
        rules = Rules({}, entry.max_occluded, entry.max_truncated)
        data = build_split(found, tuple(entry.ignore), labels, rules, findings, report)
        if data:
            (check_balance if trained else check_measurable)(data, findings)
    except DataError as e:
        findings.stop(e)


def _read(path: Path, task: str, wanted: list[str] | None) -> tuple[Dataset, list[Dataset]]:
    if task == "detect":
        return read_sets(path, wanted)
    train, val, also = read_task_sets(path, task)
    return train, [val, *also]


def _together(train: Dataset, measured: list[Dataset], faults: list[str], how: How) -> list[str]:
    """The lines that tell how the sets go together."""
    if how.unseen:
        train = unseen(train, measured)
    lines = [train.summary(), *train.part_lines()]
    warnings = repeats(train)
    for data, leak in find_leaks(train, measured):
        (faults if leak.mostly_copies else warnings).append(data.say("; ".join(describe(leak, train.name, data.name))))
    if how.color == AUTO:
        warnings += color_lines(train, measured, told=True)
        try:
            check_colors(train)
        except DataError as e:
            faults.append(str(e))
    return lines + [f"warning: {line}" for line in warnings]
