"""Everything that is wrong with a data set, in one go: what, where, what to do."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vit_perception.images.files import show

from ..errors import DataError
from ..progress import track
from .colors import REMEDY, color_lines, mixed
from .formats import yolo
from .formats.annotations import Annotations, Findings
from .images import examine
from .masks.check import check_masks
from .near_duplicates import describe, find_leaks, fingerprints, repeated, unseen
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

NO_VAL = "there is no val split", "name one with --val: what is not measured is not known"
AUTO = "auto"  # the colour of input.color that is found out
OUTSIDE_PX = 1.0  # that far a box may reach out of its image: rounding
FEW_BOXES, RARE = 50, 0.01  # a class with fewer boxes, or less than this share of the commonest one, is hardly learnt


@dataclass(frozen=True)
class How:
    """What the run is told that the set is for. color: gray, rgb, or 'auto': found out. unseen: what is measured on is
    left out of the training."""

    color: str = AUTO
    unseen: bool = False


FOUND_OUT = How()


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
    how: How = FOUND_OUT,
) -> tuple[bool, list[str]]:
    """Examine the splits `train` and `val` (None: those with the usual names) of the data set in `root`.

    Returns:
        whether it can be used, and the lines of the report. Every image is decoded, with a bar.
    """
    findings = Findings(strict=False, root=root)
    report: list[str] = []

    def read(split: str, labels: list[str] | None) -> Dataset | None:
        found = read_annotations(root, split, format, findings)
        report.extend(examine_split(found, findings, how))
        return build_split(found, ignore, labels, rules, findings, report)

    try:
        train, val = _splits(root, train, val, format)
        taught = read(train, None)
        if taught:
            check_balance(taught, findings)
        if val is None:
            findings.warn(root, *NO_VAL)
        elif taught:
            check_classes(taught, classes)
            measured = read(val, classes or taught.labels)
            if measured:
                _check_pair(taught, measured, classes, findings, how)
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
    how: How = FOUND_OUT,
) -> tuple[bool, list[str]]:
    """Examine the masks of the splits `train` and `val`, and their images; arguments and results as of `check`."""
    findings = Findings(strict=False, root=root)
    report: list[str] = []
    try:
        train, val = _splits(root, train, val, format)
        taught = check_masks(root, train, format, ignore, None, rules, findings, report)
        report += check_pixels(again(root, train, format), findings, how)
        if val is None:
            findings.warn(root, *NO_VAL)
        elif taught:
            measured = check_masks(root, val, format, ignore, taught.segments, rules, findings, report)
            report += check_pixels(again(root, val, format), findings, how)
            if measured:
                _check_leak(taught, measured, findings, how)
    except DataError as e:
        findings.stop(e)
    return findings.usable, report + (findings.lines() or ["nothing to complain of"])


def examine_split(found: Annotations, findings: Findings, how: How) -> list[str]:
    """Examine the images and boxes of a split, whatever is learnt of them; returns lines that tell what it is."""
    lines = [f"{show(found.name)}: taken for {found.layout}; images in {_places(found)}"]
    lines += check_pixels(found, findings, how)
    _check_boxes(found, findings)
    for first, copy in repeated(fingerprints([image.path for image in found.images])):
        findings.warn(copy, f"an image is in {show(found.name)} twice ({first.name} is the same)", "drop one of them")
    return lines


def build_split(
    found: Annotations,
    ignore: tuple[str, ...],
    labels: list[str] | None,
    rules: Rules,
    findings: Findings,
    report: list[str],
) -> Dataset | None:
    """The split as a run would see it, told in `report`; None, after a fault, if it could not use it."""
    try:
        data = build(found, ignore, labels, rules)
    except DataError as e:
        findings.stop(e)
        return None
    report += [data.summary(), *data.table(), ""]
    return data


def _check_pair(train: Dataset, val: Dataset, classes: list[str] | None, findings: Findings, how: How) -> None:
    unknown = unknown_classes(train, val)
    if unknown and not classes:
        remedy = "leave them out with --classes, or --ignore them"
        findings.fault(val.name, f"boxes of classes that train does not teach: {unknown}", remedy)
    check_measurable(val, findings)
    _check_leak(train, val, findings, how)


def _check_leak(train: Dataset, val: Dataset, findings: Findings, how: How) -> None:
    """What val has in common with train that it should not, and has not that it should: images, colours."""
    train = unseen(train, [val]) if how.unseen else train
    for _, leak in find_leaks(train, [val]):
        tell = findings.fault if leak.mostly_copies else findings.warn
        tell(val.name, *describe(leak, train.name, "val"))
    for line in color_lines(train, [val], told=True) if how.color == AUTO else ():
        what, _, remedy = line.partition("; ")
        findings.warn(val.name, what, remedy)


def check_measurable(val: Dataset, findings: Findings) -> None:
    for label, count in zip(val.labels, val.counts(), strict=True):
        if not count:
            findings.warn(val.name, f"no boxes of class {label}", "its accuracy cannot be measured: add some")


def _places(found: Annotations) -> str:
    folders = list(dict.fromkeys(show(image.path.parent) for image in found.images))
    return ", ".join(folders[:3]) + (f" and {len(folders) - 3} more" if len(folders) > 3 else "") or "no folder"


def again(root: Path, split: str, format: str | None) -> Annotations:
    """A split that has been read, and whose faults are known."""
    return read_annotations(root, split, format, Findings(strict=False, root=root))


def check_pixels(found: Annotations, findings: Findings, how: How) -> list[str]:
    """Decodes every image; lines that tell of those with more than 8 bits."""
    ranges: dict[str, list[tuple[float, float]]] = {}
    colored = []
    for image in track(found.images, f"decode {show(found.name)}"):
        seen = examine(image.path)
        if seen is None:
            findings.fault(image.path, "the image is damaged", "replace it or drop it from the annotations")
        elif seen.low > seen.high:
            findings.fault(image.path, "no pixel of an image is a number", "replace it or drop it from the annotations")
        else:
            ranges.setdefault(seen.depth, []).append((seen.low, seen.high))
            colored.append(seen.colored)
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
    if any(colored) and not all(colored) and how.color == AUTO:
        findings.warn(found.name, mixed(len(colored), sum(colored)), REMEDY)
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


def check_balance(data: Dataset, findings: Findings) -> None:
    counts = data.counts()
    for label in sounds_ignored(data.labels):
        findings.warn(data.name, f"class '{label}' sounds like regions to leave alone", "ignore it, or it is learnt")
    for label, count in zip(data.labels, counts, strict=True):
        if count == 0:
            findings.warn(data.name, f"no boxes of class {label}", "it cannot be learnt: add some or drop the class")
        elif count < FEW_BOXES:
            findings.warn(data.name, f"only {count} boxes of class {label}", "label more of them, or ignore it")
        elif count < RARE * counts.max():
            what = f"class {label} has {count} boxes, the commonest {counts.max()}"
            findings.warn(data.name, what, "expect little of it; add images that show it")
