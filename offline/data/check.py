"""Everything that is wrong with a data set, in one go: what, where, what to do."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vit_perception.images.files import show

from ..errors import DataError
from ..progress import track
from .formats import yolo
from .formats.annotations import Annotations, Findings
from .images import examine
from .masks.check import check_masks
from .masks.sets import read_task_sets, settled
from .near_duplicates import Fingerprints, describe, find_leak, fingerprints, leak_warning, repeated
from .read import (
    FORMATS,
    NO_RULES,
    Rules,
    build,
    check_classes,
    find_format,
    read_annotations,
    sounds_ignored,
    unknown_classes,
)
from .sample import TINY_PX, Dataset, sides
from .sets import check_colors, parse_sets, read_sets, repeats

NO_VAL = "there is no val split", "name one with --val: what is not measured is not known"
OUTSIDE_PX = 1.0  # that far a box may reach out of its image: rounding
FEW_BOXES, RARE = 50, 0.01  # a class with fewer boxes, or less than this share of the commonest one, is hardly learnt


def find_splits(root: Path, format: str | None) -> tuple[str, str | None]:
    """The train and val split of a folder, if they have usual names."""
    kind = find_format(root, "train.json" if (root / "train.json").is_file() else "train", format)
    known = {re.sub(r"20\d\d$", "", Path(name).stem): name for name in FORMATS[kind].splits(root)}
    if "train" not in known:
        there = ", ".join(known) or "none"
        raise DataError(f"{root} has no split 'train' ({kind}); name one with --train; known: {there}")
    return known["train"], known.get("val") or known.get("valid")


def _splits(root: Path, train: str | None, val: str | None, format: str | None) -> tuple[str, str | None]:
    """The splits that are named; without `train` those with the usual names."""
    if train is not None:
        return train, val
    train, usual = find_splits(root, format)
    return train, val or usual


def check(
    root: Path,
    train: str | None = None,
    val: str | None = None,
    format: str | None = None,
    ignore: tuple[str, ...] = (),
    classes: list[str] | None = None,
    rules: Rules = NO_RULES,
) -> tuple[bool, list[str]]:
    """Examine the splits `train` and `val` (None: those with the usual names) of the data set in `root`.

    Returns:
        whether it can be used, and the lines of the report. Every image is decoded, with a bar.
    """
    findings = Findings(strict=False, root=root)
    report: list[str] = []
    try:
        train, val = _splits(root, train, val, format)
        taught, seen = _check_split(root, train, format, ignore, None, rules, findings, report)
        if val is None:
            findings.warn(root, *NO_VAL)
        elif taught:
            check_classes(taught, classes)
            wanted = classes or taught.labels
            measured, seen_too = _check_split(root, val, format, ignore, wanted, rules, findings, report)
            _check_pair(taught, measured, seen, seen_too, classes, findings)
    except DataError as e:
        findings.stop(e)
    return findings.usable, report + (findings.lines() or ["nothing to complain of"])


def has_masks_alone(root: Path, train: str | None, format: str | None) -> bool:
    """Whether its labels are masks and nothing else. What cannot be told is none: `check` then says why."""
    try:
        split = train or find_splits(root, format)[0]
        return find_format(root, split, format) == "masks"
    except DataError:
        return format == "masks"


def check_segments(
    root: Path,
    train: str | None = None,
    val: str | None = None,
    format: str | None = None,
    ignore: tuple[str, ...] = (),
    rules: Rules = NO_RULES,
) -> tuple[bool, list[str]]:
    """Examine the masks of the splits `train` and `val`, and their images; arguments and results as of `check`."""
    findings = Findings(strict=False, root=root)
    report: list[str] = []
    try:
        train, val = _splits(root, train, val, format)
        taught = check_masks(root, train, format, ignore, None, rules, findings, report)
        report += _check_pixels(_again(root, train, format), findings)
        if val is None:
            findings.warn(root, *NO_VAL)
        elif taught:
            measured = check_masks(root, val, format, ignore, taught.segments, rules, findings, report)
            report += _check_pixels(_again(root, val, format), findings)
            if measured and (leak := leak_warning(taught, measured)):
                what, _, remedy = leak.partition("; ")
                findings.warn(measured.name, what, remedy)
    except DataError as e:
        findings.stop(e)
    return findings.usable, report + (findings.lines() or ["nothing to complain of"])


def check_sets(path: Path, classes: list[str] | None = None, task: str | None = None) -> tuple[bool, list[str]]:
    """Examine every split of the sets in a yaml (data/sets.py), and how they go together; returns as `check` does.

    task: detect, segment or both; None: found out.
    """
    report: list[str] = []
    try:
        task = task or _task_of(path)
        if task == "detect":
            train, measured = read_sets(path, classes)
            entries = parse_sets(path)[1]
        else:
            train, val, also = read_task_sets(path, task)
            measured, entries = [val, *also], settled(path, task)[1]
        check_colors(train)
        usable = True
        for entry in entries:
            findings = Findings(strict=False, root=entry.data)
            for split in entry.splits():
                source = (entry.data, split, entry.format, tuple(entry.ignore))
                if task == "detect" or "boxes" in entry.has:
                    _check_split(*source, None, entry.rules(), findings, report)
                if "masks" in entry.has:
                    check_masks(*source, train.segments, entry.rules(), findings, report)
                if entry.has == ["masks"]:
                    report += _check_pixels(_again(*source[:3]), findings)
            report += [*findings.lines(), ""]
            usable = usable and findings.usable
    except DataError as e:
        return False, [*report, f"error: {e}"]
    leaks = [line for data in measured if (line := leak_warning(train, data))]
    return usable, [*report, *train.part_lines(), *(f"warning: {line}" for line in [*repeats(train), *leaks])]


def _task_of(path: Path) -> str:
    """What the sets of a yaml are for, as far as they tell."""
    entries = parse_sets(path)[1]
    if any(e.has for e in entries):
        return "both"
    alone = [has_masks_alone(e.data, split, e.format) for e in entries for split in e.splits()]
    return "segment" if alone and all(alone) else "detect"


def _check_split(root, split, format, ignore, labels, rules, findings, report) -> tuple[Dataset | None, Fingerprints]:
    """The split as a run would see it (None if it could not use it), and its fingerprints."""
    found = read_annotations(root, split, format, findings)
    report.append(f"{show(found.name)}: taken for {found.layout or format}; images in {_places(found)}")
    report += _check_pixels(found, findings)
    _check_boxes(found, findings)
    prints = fingerprints([image.path for image in found.images])
    for first, copy in repeated(prints):
        findings.warn(copy, f"an image is in {show(found.name)} twice ({first.name} is the same)", "drop one of them")
    try:
        data = build(found, ignore, labels, rules)
    except DataError as e:
        findings.stop(e)
        return None, prints
    report += [data.summary(), *data.table(), ""]
    if labels is None:
        _check_balance(data, findings)
    return data, prints


def _check_pair(train, val, train_prints, val_prints, classes, findings) -> None:
    if val is not None:
        unknown = unknown_classes(train, val)
        if unknown and not classes:
            remedy = "leave them out with --classes, or --ignore them"
            findings.fault(val.name, f"boxes of classes that train does not teach: {unknown}", remedy)
        for label, count in zip(val.labels, val.counts(), strict=True):
            if not count:
                findings.warn(val.name, f"no boxes of class {label}", "its accuracy cannot be measured: add some")
    leak = find_leak(train_prints, val_prints)
    if leak.pairs:
        what, _, remedy = describe(leak, train.name, "val").partition("; ")
        findings.warn(val.name if val else "val", what, remedy)


def _places(found: Annotations) -> str:
    folders = list(dict.fromkeys(show(image.path.parent) for image in found.images))
    return ", ".join(folders[:3]) + (f" and {len(folders) - 3} more" if len(folders) > 3 else "") or "no folder"


def _again(root: Path, split: str, format: str | None) -> Annotations:
    """A split that has been read, and whose faults are known."""
    return read_annotations(root, split, format, Findings(strict=False, root=root))


def _check_pixels(found: Annotations, findings: Findings) -> list[str]:
    """Decodes every image; lines that tell of those with more than 8 bits."""
    ranges: dict[str, list[tuple[float, float]]] = {}
    for image in track(found.images, f"decode {show(found.name)}"):
        seen = examine(image.path)
        if seen is None:
            findings.fault(image.path, "the image is damaged", "replace it or drop it from the annotations")
        elif seen[1] > seen[2]:
            findings.fault(image.path, "no pixel of an image is a number", "replace it or drop it from the annotations")
        else:
            ranges.setdefault(seen[0], []).append(seen[1:])
    lines = []
    for depth, ends in ranges.items():
        if depth != "uint8":
            low, high = min(e[0] for e in ends), max(e[1] for e in ends)
            bits = "16 bits" if depth == "uint16" else "32-bit numbers"
            lines.append(
                f"{show(found.name)}: {len(ends)} images of {bits}, values {low:g} to {high:g}; they become 8 bits as "
                "input.high_bit_depth of the recipe says (default: percentiles 1 and 99 of each image become black and "
                "white), and the bundle makes the node do the same"
            )
    if len(ranges) > 1:
        counts = ", ".join(f"{len(ends)} {depth}" for depth, ends in ranges.items())
        findings.warn(found.name, f"images of different depths ({counts})", "they may look different: use one")
    return lines


def _check_boxes(found: Annotations, findings: Findings) -> None:
    for image in found.images:
        if not image.labels:
            file = yolo.label_file(image.path)
            empty = "an empty label file" if file.is_file() and not file.read_bytes().strip() else "no boxes"
            findings.warn(image.path, f"an image has {empty}", "fine if it shows none of the classes, else label it")
            continue
        for what, remedy in _box_troubles(image):
            findings.warn(image.path, what, remedy)


def _box_troubles(image) -> Iterator[tuple[str, str]]:
    """One (what, remedy) for each box that has a trouble."""
    boxes = np.array([label.box for label in image.labels], np.float64)  # (n, 4)
    finite = np.isfinite(boxes).all(1)
    size = np.array([image.width, image.height] * 2)
    clipped = np.clip(boxes, 0, size)
    empty = ~finite | (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
    gone = ~empty & ((clipped[:, 2] - clipped[:, 0] < 1) | (clipped[:, 3] - clipped[:, 1] < 1))
    outside = ~empty & ~gone & (np.abs(boxes - clipped).max(1) > OUTSIDE_PX)
    small = sides(np.where((empty | gone)[:, None], [0, 0, TINY_PX, TINY_PX], clipped)) < TINY_PX
    copies = len(boxes) - len({(label.name, label.box) for label in image.labels})
    yield from [("a box has no area", "it is dropped: correct or delete it")] * int(empty.sum())
    yield from [("a box has less than a pixel inside its image", "it is dropped: correct or delete it")] * int(
        gone.sum()
    )
    yield from [("a box reaches out of its image", "it is clipped: check that it belongs there")] * int(outside.sum())
    remedy = "hardly anything to see: label it as an ignored class, or use larger images"
    yield from [(f"a box is smaller than {TINY_PX:.0f} pixels", remedy)] * int(small.sum())
    yield from [("a box is there twice", "delete one")] * copies


def _check_balance(data: Dataset, findings: Findings) -> None:
    counts = data.counts()
    for label in sounds_ignored(data.labels):
        findings.warn(data.name, f"class '{label}' sounds like regions to leave alone", f"pass --ignore '{label}'")
    for label, count in zip(data.labels, counts, strict=True):
        if count == 0:
            findings.warn(data.name, f"no boxes of class {label}", "it cannot be learnt: add some or drop the class")
        elif count < FEW_BOXES:
            findings.warn(data.name, f"only {count} boxes of class {label}", "label more of them, or --ignore it")
        elif count < RARE * counts.max():
            what = f"class {label} has {count} boxes, the commonest {counts.max()}"
            findings.warn(data.name, what, "expect little of it; add images that show it")
