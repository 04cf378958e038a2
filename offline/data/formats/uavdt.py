"""UAVDT's detection benchmark as it is published: a folder of frames for each sequence, their labels in GT.

Du et al., "The Unmanned Aerial Vehicle Benchmark", ECCV 2018, and the toolkit UAV-benchmark-MOTD_v1.0: a line of
GT/M0101_gt_whole.txt is frame (from 1), track, left, top, width, height (pixels), out-of-view, occlusion, category.
GT/M0101_gt_ignore.txt holds ignore regions. out-of-view: 1 none, 2 medium, 3 small; occlusion: 1 none, 2 large, 3
medium, 4 small; here more is more: 0 none, 1 small, 2 medium, 3 large. M_attr/train and M_attr/test name the sequences
of a split.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from ...errors import DataError
from ..find import walk
from ..images import SUFFIXES
from ..text import decode_text
from .annotations import REGION, Annotations, Findings, Image, Label, measure

CLASSES = ("car", "truck", "bus")  # categories 1 to 3
OCCLUSION, OUT_OF_VIEW = {1: 0, 2: 3, 3: 2, 4: 1}, {1: 0, 2: 2, 3: 1}
WHOLE, IGNORE = "_gt_whole.txt", "_gt_ignore.txt"


def is_uavdt(root: Path, split: str) -> bool:
    return _truth(root) is not None


def splits(root: Path) -> list[str]:
    """Names of the splits that the folder holds; `all` are all sequences."""
    return [p.name for p in sorted(_attributes(root).glob("*")) if p.is_dir()] + ["all"]


def read(root: Path, split: str, findings: Findings) -> Annotations:
    """Read `split`: train or test as M_attr lists their sequences, all, or sequences by name: M0101,M0201."""
    truth = _truth(root)
    if truth is None:
        raise DataError(f"{root} has no GT folder with files like M0101{WHOLE}; unpack UAV-benchmark-MOTD_v1.0 there")
    digest, images = hashlib.sha256(b"uavdt"), list[Image]()
    for sequence in _sequences(root, truth, split):
        frames = _frames(root, sequence)
        if not frames:
            what = f"a sequence has no folder {sequence} with frames"
            findings.fault(root, what, "unpack UAV-benchmark-M there, or name the sequences to read")
            continue
        labels: dict[int, list[Label]] = {number: [] for number in frames}
        for suffix in (WHOLE, IGNORE):
            file = truth / f"{sequence}{suffix}"
            raw = file.read_bytes() if file.is_file() else b""
            digest.update(f"{sequence}{suffix}".encode() + b"\0" + raw)
            for frame, label in _labels(file, raw, suffix == IGNORE, findings):
                if frame in labels:
                    labels[frame].append(label)
                else:
                    findings.warn(file, f"labels of frames that are not in {sequence}", "they are left out")
        for number, path in frames.items():
            if size := measure(path, findings):
                images.append(Image(path, len(images), *size, labels[number]))
    return Annotations(truth, f"{root.name}/{split}", list(CLASSES), images, digest.hexdigest(), layout="uavdt")


def _truth(root: Path) -> Path | None:
    folders = (root, root / "GT", root / "UAV-benchmark-MOTD_v1.0" / "GT", root / "UAV-benchmark-M" / "GT")
    return next((p for p in folders if any(p.glob(f"*{WHOLE}"))), None)


def _attributes(root: Path) -> Path:
    return next((p for p in (root / "M_attr", root / "UAV-benchmark-M" / "M_attr") if p.is_dir()), root / "M_attr")


def _sequences(root: Path, truth: Path, split: str) -> list[str]:
    known = sorted(p.name[: -len(WHOLE)] for p in truth.glob(f"*{WHOLE}"))
    if split == "all":
        return known
    if (_attributes(root) / split).is_dir():
        named = sorted(p.name.split("_")[0] for p in (_attributes(root) / split).glob("*.txt"))
    else:
        named = [name.strip() for name in split.split(",")]
    lost = [name for name in dict.fromkeys(named) if name not in known]
    if lost:
        raise DataError(
            f"no sequence '{lost[0]}' in {truth}; name a split of M_attr ({', '.join(splits(root))}) or sequences, "
            f"e.g. {','.join(known[:2])}"
        )
    return list(dict.fromkeys(named))


def _frames(root: Path, sequence: str) -> dict[int, Path]:
    """{frame number, as the labels count it: image}."""
    options = (root / sequence, root / "UAV-benchmark-M" / sequence, root / "images" / sequence)
    folder = next((p for p in options if p.is_dir()), None)
    paths = walk(folder, SUFFIXES) if folder else []
    return {int(digits[-1]): p for p in paths if (digits := re.findall(r"\d+", p.stem))}


def _labels(file: Path, raw: bytes, ignore: bool, findings: Findings) -> Iterator[tuple[int, Label]]:
    for number, line in enumerate(decode_text(raw)[0].splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = [int(float(v)) for v in line.strip().rstrip(",").split(",")]
            frame, _, x, y, w, h = values[:6]
            view, hidden, category = values[6:9] if not ignore else (1, 1, 0)
        except (ValueError, OverflowError):
            what = "a line is not 'frame,track,left,top,width,height,out-of-view,occlusion,category'"
            findings.fault(f"{file}:{number}", what, "download it again")
            continue
        box = (float(x), float(y), float(x + w), float(y + h))
        if ignore:
            yield frame, Label(REGION, box, True)
        elif 1 <= category <= len(CLASSES):
            yield frame, Label(CLASSES[category - 1], box, False, OCCLUSION.get(hidden, 0), OUT_OF_VIEW.get(view, 0))
        else:
            findings.fault(f"{file}:{number}", f"unknown category {category}: 1 to 3 are known", "correct it")
