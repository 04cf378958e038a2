"""COCO-labelled images, checked before anything expensive starts.

`--data DIR --train F.json`: F.json lies in DIR, images in DIR/images or DIR. Categories named in `ignore` mark regions
to leave alone ("DontCare"): no loss there, no false positive there, and never a class to predict. So does iscrowd.
"""

import hashlib
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from .errors import DataError

log = logging.getLogger(__name__)


@dataclass
class Sample:
    """One labelled image. boxes and ignore: float32 (n, 4) x1 y1 x2 y2 in pixels; classes: int64 (n,)."""

    path: Path
    id: int
    width: int
    height: int
    boxes: np.ndarray
    classes: np.ndarray
    ignore: np.ndarray


@dataclass
class Dataset:
    """A checked data set. `labels[c]` names class c; `sha256` identifies the annotation file."""

    name: str
    labels: list[str]
    samples: list[Sample]
    sha256: str
    dropped: dict[str, int] = field(default_factory=dict)  # why -> how many boxes

    def __len__(self) -> int:
        return len(self.samples)

    def summary(self) -> str:
        """One line: images, boxes per class, and what was dropped."""
        counts = np.bincount(np.concatenate([s.classes for s in self.samples]), minlength=len(self.labels))
        per_class = ", ".join(f"{label} {n}" for label, n in zip(self.labels, counts, strict=True))
        regions = sum(len(s.ignore) for s in self.samples)
        dropped = "".join(f"; dropped {n} boxes: {why}" for why, n in self.dropped.items())
        return f"{self.name}: {len(self)} images, boxes: {per_class}; ignore regions {regions}{dropped}"


def read_coco(
    root: Path | str, annotations: str, ignore: tuple[str, ...] = (), labels: list[str] | None = None
) -> Dataset:
    """Read and check a COCO detection file.

    Args:
        root: folder of the data set. annotations: file name inside it (or a path).
        ignore: names of the categories that mark ignore regions.
        labels: classes wanted, in order; None takes all categories but the ignored ones, in id order.

    Raises:
        DataError: with one sentence: what is wrong, where, what to do.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"no data folder at {root}; give --data the folder that holds the images and the COCO files")
    path = root / annotations
    raw, coco = _load_json(path)
    labels, class_of, ignored = _classes(path, coco["categories"], ignore, labels)
    samples = {im["id"]: _sample(path, root, im) for im in coco["images"]}
    dropped: dict[str, int] = {}
    for a in coco["annotations"]:
        _add_box(path, samples, a, class_of, ignored, dropped)
    data = Dataset(f"{root.name}/{path.name}", labels, [_finish(s) for s in samples.values()], raw, dropped)
    if not data.samples:
        raise DataError(f"{path} lists no images; nothing to train or evaluate on")
    if not any(len(s.boxes) for s in data.samples):
        raise DataError(f"{path} has no box of {', '.join(labels)}; check the category names and --ignore")
    return data


def _load_json(path: Path) -> tuple[str, dict]:
    if not path.is_file():
        raise DataError(f"no annotation file at {path}; give the name of a COCO .json inside the data folder")
    raw = path.read_bytes()
    try:
        coco = json.loads(raw)
        for key in ("images", "annotations", "categories"):
            if not isinstance(coco[key], list):
                raise TypeError(f"'{key}' is not a list")
    except (ValueError, TypeError, KeyError) as e:
        raise DataError(f"{path} is not a COCO detection file ({type(e).__name__}: {e}); export it again") from e
    return hashlib.sha256(raw).hexdigest(), coco


def _classes(path, categories, ignore, labels):
    """-> labels, {category id: class index}, set of ignored category ids."""
    try:
        names = {c["id"]: c["name"] for c in sorted(categories, key=lambda c: c["id"])}
    except (KeyError, TypeError) as e:
        raise DataError(f"{path}: a category lacks id or name; export it again") from e
    for name in ignore:
        if name not in names.values():
            raise DataError(f"{path} has no category '{name}' to ignore; it has: {', '.join(names.values())}")
    if labels is None:
        labels = [n for n in names.values() if n not in ignore]
    for name in labels:
        if name not in names.values():
            raise DataError(f"{path} has no category '{name}'; it has: {', '.join(names.values())}")
        if name in ignore:
            raise DataError(f"category '{name}' cannot be both a class and ignored; drop it from one of the options")
    if not labels:
        raise DataError(f"{path} leaves no class to detect once {', '.join(ignore)} is ignored")
    class_of = {i: labels.index(n) for i, n in names.items() if n in labels}
    return labels, class_of, {i for i, n in names.items() if n in ignore}


def _sample(path, root, image) -> Sample:
    try:
        name, key, width, height = image["file_name"], image["id"], int(image["width"]), int(image["height"])
    except (KeyError, TypeError, ValueError) as e:
        raise DataError(f"{path}: an image entry lacks file_name, id, width or height ({image!r:.120})") from e
    file = next((p for p in (root / "images" / name, root / name) if p.is_file()), None)
    if file is None:
        raise DataError(
            f"{path} names {name}, but neither {root / 'images'} nor {root} holds it; copy it there or drop it"
        )
    return Sample(file, key, width, height, [], [], [])  # type: ignore[arg-type]


def _add_box(path, samples, a, class_of, ignored, dropped) -> None:
    try:
        sample = samples.get(a["image_id"])
        x, y, w, h = (float(v) for v in a["bbox"])
        category = a["category_id"]
    except (KeyError, TypeError, ValueError) as e:
        raise DataError(f"{path}: an annotation lacks image_id, category_id or 4 numbers in bbox ({a!r:.120})") from e
    if sample is None:
        raise DataError(f"{path}: annotation {a.get('id')} belongs to image {a['image_id']}, which is not listed")
    box = np.clip([x, y, x + w, y + h], 0, [sample.width, sample.height] * 2)
    crowd = bool(a.get("iscrowd")) and category in class_of
    if not np.isfinite(box).all() or box[2] - box[0] < 1 or box[3] - box[1] < 1:
        why = "no area inside their image"
        dropped[why] = dropped.get(why, 0) + 1
    elif category in ignored or crowd:
        sample.ignore.append(box)
    elif category in class_of:
        sample.boxes.append(box)
        sample.classes.append(class_of[category])
    else:
        why = "category not among the classes"
        dropped[why] = dropped.get(why, 0) + 1


def _finish(s: Sample) -> Sample:
    boxes = np.asarray(s.boxes, np.float32).reshape(-1, 4)
    regions = np.asarray(s.ignore, np.float32).reshape(-1, 4)
    return Sample(s.path, s.id, s.width, s.height, boxes, np.asarray(s.classes, np.int64), regions)


def read_image(sample: Sample, color: str) -> np.ndarray:
    """uint8 (H, W) for color 'gray', (H, W, 3) RGB for 'rgb'. Raises DataError if unreadable or of another size."""
    image = cv2.imread(str(sample.path), cv2.IMREAD_GRAYSCALE if color == "gray" else cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"cannot read image {sample.path}; replace it or drop it from the annotations")
    if image.shape[:2] != (sample.height, sample.width):
        raise DataError(
            f"{sample.path} is {image.shape[1]}x{image.shape[0]} but its annotation says "
            f"{sample.width}x{sample.height}; boxes would be wrong, export the annotations again"
        )
    return image if color == "gray" else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def detect_color(data: Dataset) -> str:
    """'gray' if the first images hold one channel (or three equal ones), else 'rgb'."""
    for s in data.samples[:8]:
        image = cv2.imread(str(s.path), cv2.IMREAD_COLOR)
        if image is None:
            raise DataError(f"cannot read image {s.path}; replace it or drop it from the annotations")
        if (image[..., 0] != image[..., 1]).any() or (image[..., 1] != image[..., 2]).any():
            return "rgb"
    return "gray"


def pixel_statistics(data: Dataset, color: str, count: int = 64) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of pixels scaled to 0..1, over `count` images spread over the set."""
    picks = np.linspace(0, len(data) - 1, min(count, len(data))).astype(int)
    images = [read_image(data.samples[i], color).reshape(-1, 1 if color == "gray" else 3) for i in picks]
    pixels = np.concatenate(images) / np.float32(255)
    return [round(float(v), 4) for v in pixels.mean(0)], [round(max(float(v), 1e-3), 4) for v in pixels.std(0)]
