"""Everything that is wrong with the masks of a data set, in one go: what, where, what to do."""

from pathlib import Path

import numpy as np

from vit_perception.images.files import show

from ...errors import DataError
from ...progress import track
from ..formats.annotations import Findings
from ..formats.masks import LOSSY, MaskFolder, masks_beside
from ..read import NO_RULES, Rules
from ..sample import Dataset
from .read import MaskFile, read_masked
from .source import UNKNOWN, is_colored, raw_mask, strange
from .table import IGNORE

NAMED = 10  # colours of no class that are named; the rest is counted
RARE = 0.0005  # of the pixels; a class with less is hardly learnt


def check_masks(
    root: Path,
    split: str,
    format: str | None,
    ignore: tuple[str, ...],
    segments: list[str] | None,
    rules: Rules,
    findings: Findings,
    report: list[str],
) -> Dataset | None:
    """Examine the masks of one split; arguments as of `read_masked`. Returns the split, None if it cannot be read."""
    try:
        data = read_masked(root, split, format, ignore, segments, rules or NO_RULES, findings)
    except DataError as e:
        findings.stop(e)
        return None
    counts = np.zeros(IGNORE + 1, np.int64)
    images = np.zeros(IGNORE + 1, np.int64)
    odd: dict[str, list[tuple[Path, int]]] = {}
    for s in track([s for s in data.samples if s.mask is not None], f"masks of {show(data.name)}"):
        classes = _classes(s, findings, odd)
        if classes is not None:
            found = np.bincount(classes.ravel(), minlength=IGNORE + 1)
            counts += found
            images += found > 0
    _tell_strange(odd, findings)
    folders = masks_beside(root, split)
    if folders and split in folders.masks.parts and any(isinstance(s.mask, MaskFile) for s in data.samples):
        for stray in MaskFolder(folders).strays([s.path for s in data.samples]):
            findings.warn(stray, "a mask has no image", "it is left out: add the image or delete it")
    report += [data.summary(), *_table(data, counts, images), ""]
    total = max(1, int(counts[: len(data.segments)].sum()))
    if not counts[: len(data.segments)].any():
        findings.fault(data.name, "no pixel of its masks is of a class", "correct the masks or the class table")
    for c, name in enumerate(data.segments):
        if not counts[c]:
            findings.warn(
                data.name, f"no mask shows class {name}", "it cannot be learnt or measured: add some or ignore it"
            )
        elif segments is None and counts[c] < RARE * total:
            what = f"class {name} has {counts[c] / total:.3%} of the pixels"
            findings.warn(data.name, what, "expect little of it; add images that show it")
    return data


def _classes(sample, findings: Findings, odd: dict) -> np.ndarray | None:
    """uint8 (H, W) of one sample; None after a fault. Pixels of no class go into `odd` {colour: [(file, pixels)]}."""
    if not isinstance(sample.mask, MaskFile):
        try:
            return sample.mask.read((sample.width, sample.height))
        except DataError as e:
            findings.fault(sample.path, str(e), "export the annotations again")
            return None
    path, scheme = sample.mask.path, sample.mask.scheme
    if path.suffix.lower() in LOSSY:
        findings.fault(path, "a mask is a JPEG, which changes colours", "export it as PNG")
        return None
    try:
        values, classes = raw_mask(path, scheme)
    except DataError as e:
        findings.fault(path, str(e).partition("; ")[0], "replace it, or complete the class table")
        return None
    if classes.shape[::-1] != (sample.width, sample.height):
        what = f"a mask is {classes.shape[1]}x{classes.shape[0]}, its image {sample.width}x{sample.height}"
        findings.fault(path, what, "export it at the image's size")
        return None
    if (classes == UNKNOWN).any():
        for name, pixels in strange(values, classes, is_colored(path, scheme)):
            odd.setdefault(name, []).append((path, pixels))
    return np.where(classes == UNKNOWN, IGNORE, classes).astype(np.uint8)


def _tell_strange(odd: dict[str, list[tuple[Path, int]]], findings: Findings) -> None:
    """One fault for each colour or index of no class, the commonest first; the rare ones together."""
    order = sorted(odd, key=lambda name: -sum(n for _, n in odd[name]))
    remedy = "add it to the class table, --ignore the class, or correct the masks"
    for name in order[:NAMED]:
        pixels = sum(n for _, n in odd[name])
        for path, _ in odd[name]:
            findings.fault(path, f"no class has the colour or index {name} ({pixels} pixels)", remedy)
    if rest := order[NAMED:]:
        pixels = sum(n for name in rest for _, n in odd[name])
        for path in dict.fromkeys(p for name in rest for p, _ in odd[name]):
            findings.fault(path, f"{len(rest)} further colours or indices are of no class ({pixels} pixels)", remedy)


def _table(data: Dataset, counts: np.ndarray, images: np.ndarray) -> list[str]:
    """Lines of a table: per class its pixels, their share, and the images that hold it."""
    width = max(5, *(len(name) for name in data.segments))
    total = max(1, int(counts[: len(data.segments)].sum()))
    lines = [f"{'class':<{width}}{'pixels':>12}{'share':>9}{'images':>8}"]
    rows = [*zip(data.segments, counts, images, strict=False), ("(none)", counts[IGNORE], images[IGNORE])]
    return lines + [f"{name:<{width}}{n:>12}{n / total:>9.2%}{k:>8}" for name, n, k in rows]
