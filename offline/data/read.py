"""From annotations of any format to a checked Dataset."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vit_perception.images.files import show

from ..errors import DataError
from .class_map import map_classes
from .formats import coco, masks, uavdt, visdrone, voc, yolo
from .formats.annotations import REGION, Annotations, Findings, Image, Label
from .sample import Dataset, Sample

log = logging.getLogger(__name__)
FORMATS = {
    "coco": coco,
    "voc": voc,
    "yolo": yolo,
    "coco2017": coco,
    "cvat-coco": coco,
    "cvat-yolo": yolo,
    "hit-uav": coco,
    "masks": masks,
    "roboflow-coco": coco,
    "roboflow-voc": voc,
    "roboflow-yolo": yolo,
    "seadronessee": coco,
    "uavdt": uavdt,
    "visdrone": visdrone,
}
IGNORED = ("dontcare", "dont care", "don't care", "ignore", "ignored", "ignored regions", "ignored region")
NO_AREA = "no area inside their image"


@dataclass(frozen=True)
class Rules:
    """What becomes of labels before they are a Dataset.

    class_map: {name in the labels: name of the class}, see class_map.py; --ignore and --classes name what comes out.
    max_occluded, max_truncated: what is hidden or cut off more than that, on its format's scale, becomes an ignore
    region; None: nothing does.
    """

    class_map: dict[str, str] = field(default_factory=dict)
    max_occluded: int | None = None
    max_truncated: int | None = None

    def hides(self, label: Label) -> bool:
        """Whether nobody is judged on it."""
        limits = ((label.occluded, self.max_occluded), (label.truncated, self.max_truncated))
        return label.crowd or any(limit is not None and value > limit for value, limit in limits)

    def as_dict(self) -> dict:
        """Those that are set, for a run's record."""
        return {k: v for k, v in vars(self).items() if v not in ({}, None)}


NO_RULES = Rules()


def read_dataset(
    root: Path | str,
    annotations: str,
    format: str | None = None,
    ignore: tuple[str, ...] = (),
    labels: list[str] | None = None,
    rules: Rules = NO_RULES,
) -> Dataset:
    """Read and check one split of a labelled data set.

    Args:
        root: folder of the data set.
        annotations: the name of a split; or coco: a .json in it; yolo: a folder of images or a list of them; voc: a
            list in ImageSets/Main or a folder of .xml files; visdrone: a folder with images and annotations.
        format: one of FORMATS; None finds out.
        ignore: names of the classes that mark ignore regions.
        labels: classes wanted, in order; None takes all but the ignored ones, in the format's order.
        rules: classes under other names, and which labels nobody is judged on.

    Raises:
        DataError: with one sentence: what is wrong, where, what to do.
    """
    findings = Findings()
    data = build(read_annotations(root, annotations, format, findings), ignore, labels, rules)
    for name in sounds_ignored(data.labels) if labels is None else ():
        log.warning("class '%s' sounds like regions to leave alone; if so, pass --ignore '%s'", name, name)
    findings.tell()
    return data


def sounds_ignored(labels: list[str]) -> list[str]:
    """Classes that are hardly meant to be found."""
    return [name for name in labels if name.lower().replace("_", " ") in IGNORED]


def read_coco(
    root: Path | str, annotations: str, ignore: tuple[str, ...] = (), labels: list[str] | None = None
) -> Dataset:
    """read_dataset of COCO's format."""
    return read_dataset(root, annotations, "coco", ignore, labels)


def read_pair(
    root: Path | str,
    train: str,
    val: str,
    format: str | None = None,
    ignore: tuple[str, ...] = (),
    classes: list[str] | None = None,
    rules: Rules = NO_RULES,
) -> tuple[Dataset, Dataset]:
    """Both splits of a data set; val counts only `classes` (None: all that train teaches), in their order.

    Raises:
        DataError: as read_dataset does, and if val has boxes of a class that train does not teach. Where `classes` is
            given, they are left out, counted and warned of instead.
    """
    taught = read_dataset(root, train, format, ignore, rules=rules)
    check_classes(taught, classes)
    measured = read_dataset(root, val, format, ignore, classes or taught.labels, rules)
    unknown = unknown_classes(taught, measured)
    if unknown and classes is None:
        raise DataError(
            f"{measured.name} has boxes of {unknown}, which {taught.name} does not teach; name the classes that count "
            f"with --classes ({','.join(taught.labels)}), or --ignore the others"
        )
    if unknown:
        log.warning("%s: left out boxes of %s, which %s does not teach", measured.name, unknown, taught.name)
    return taught, measured


def check_classes(train: Dataset, classes: list[str] | None) -> None:
    """Raises DataError for a class that train does not teach."""
    for c in classes or []:
        if c not in train.labels:
            raise DataError(
                f"--classes names '{c}', which {train.name} does not train; it trains: {', '.join(train.labels)}"
            )


def unknown_classes(train: Dataset, val: Dataset) -> str:
    """'Truck (12), Boat (3)': what val left out and train does not teach; empty if nothing."""
    return ", ".join(f"{name} ({n})" for name, n in val.left_out.items() if name not in train.labels)


def find_format(root: Path, split: str, format: str | None) -> str:
    """The name of the format. Raises DataError if there is no folder or nothing tells."""
    if not root.is_dir():
        what = f"{root} is a file" if root.is_file() else f"no data folder at {root}"
        raise DataError(f"{what}; name the folder that holds the images and their labels")
    if format is None:
        tests = (
            ("coco", lambda r, s: s.lower().endswith(".json")),
            ("uavdt", uavdt.is_uavdt),
            ("visdrone", visdrone.is_visdrone),
            ("voc", voc.is_voc),
            ("yolo", yolo.is_yolo),
            ("masks", masks.is_masked),
            ("coco", coco.is_coco),
        )
        format = next((name for name, test in tests if test(root, split)), None)
    if format is None:
        raise DataError(
            f"cannot tell the format of {root}: '{split}' is no .json (coco), there is no data.yaml or classes.txt "
            f"(yolo), no Annotations folder (voc), no folders images and masks with such a split or {split}.txt beside "
            "(masks), and it is no split of another known layout; name another split, or its format"
        )
    if format not in FORMATS:
        raise DataError(f"no format '{format}'; use one of {', '.join(FORMATS)}")
    return format


def read_annotations(root: Path | str, split: str, format: str | None, findings: Findings) -> Annotations:
    """A split as its files have it, nothing clipped or dropped. Raises DataError if it cannot be read at all."""
    root = Path(root)
    found = FORMATS[find_format(root, split, format)].read(root, split, findings)
    if format not in (None, "coco", "masks", "voc", "yolo", found.layout):
        what = f"the format is said to be {format}, but the files lie as those of {found.layout} do"
        findings.warn(root / split, what, "check that the boxes below are what you expect")
    findings.warn_of_pages(image.path for image in found.images)
    return found


def build(found: Annotations, ignore: tuple[str, ...], labels: list[str] | None, rules: Rules = NO_RULES) -> Dataset:
    """The Dataset of `found`: classes mapped and chosen, boxes clipped, ignore regions set apart. Raises DataError."""
    found = map_classes(found, rules.class_map, complete=labels is None)
    if found.layout == "masks":
        raise DataError(
            f"{found.source} has masks and no boxes; set task=segment in the recipe, or name a set of boxes"
        )
    labels = _labels(found, ignore, labels)
    data = Dataset(show(found.name), labels, [], found.sha256)
    data.samples = [_sample(image, labels, ignore, data, rules) for image in found.images]
    if not data.samples:
        raise DataError(f"{found.source} lists no images; nothing to train or evaluate on")
    if not any(len(s.boxes) for s in data.samples):
        raise DataError(f"{found.source} has no box of {', '.join(labels)}; check the class names and what is ignored")
    return data


def _labels(found: Annotations, ignore: tuple[str, ...], labels: list[str] | None) -> list[str]:
    """The classes to detect, in order."""
    complete = labels is None or found.declared  # else a name that is missing may just not occur here
    for name in ignore if complete else ():
        if name not in found.names:
            raise DataError(
                f"{found.source} has no category '{name}' to ignore; it has: {', '.join(found.names) or 'none'}"
            )
    if labels is None:
        labels = [n for n in found.names if n not in ignore]
    for name in labels:
        if complete and name not in found.names:
            raise DataError(f"{found.source} has no category '{name}'; it has: {', '.join(found.names)}")
        if name in ignore:
            raise DataError(f"category '{name}' cannot be both a class and ignored; drop it from one of the two")
    if twice := [n for n in labels if labels.count(n) > 1]:
        raise DataError(f"{found.source}: '{twice[0]}' is twice among the classes; name each once")
    if not labels:
        what = f"once {', '.join(ignore)} is ignored" if ignore else "because it names none"
        raise DataError(f"{found.source} leaves no class to detect {what}")
    return list(labels)


def _sample(image: Image, labels: list[str], ignore: tuple[str, ...], data: Dataset, rules: Rules) -> Sample:
    """The image as the Loader wants it; what is left out is counted in `data`."""
    boxes, classes, regions = [], [], []
    for label in image.labels:
        name = label.name
        box = np.clip(label.box, 0, [image.width, image.height] * 2)
        if not np.isfinite(box).all() or box[2] - box[0] < 1 or box[3] - box[1] < 1:
            data.dropped[NO_AREA] = data.dropped.get(NO_AREA, 0) + 1
        elif name == REGION or name in ignore or (name in labels and rules.hides(label)):
            regions.append(box)
        elif name in labels:
            boxes.append(box)
            classes.append(labels.index(name))
        else:
            data.left_out[name] = data.left_out.get(name, 0) + 1
    return Sample(
        image.path,
        image.id,
        image.width,
        image.height,
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(classes, np.int64),
        np.asarray(regions, np.float32).reshape(-1, 4),
    )
