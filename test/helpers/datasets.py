"""One data set in three formats, for tests: exact copies of what a COCO file says."""

import json
import shutil
from pathlib import Path
from xml.sax.saxutils import escape

import yaml


def read_json(folder: Path, split: str):
    coco = json.loads((folder / f"{split}.json").read_text())
    boxes = {im["id"]: [a for a in coco["annotations"] if a["image_id"] == im["id"]] for im in coco["images"]}
    return [c["name"] for c in sorted(coco["categories"], key=lambda c: c["id"])], coco["images"], boxes


def write_yolo(source: Path, root: Path, splits=("train", "val")) -> Path:
    """images/train + labels/train and data.yaml."""
    for split in splits:
        names, images, boxes = read_json(source, split)
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        for im in images:
            shutil.copy(source / "images" / im["file_name"], root / "images" / split)
            w, h = im["width"], im["height"]
            lines = [
                f"{a['category_id']} {(a['bbox'][0] + a['bbox'][2] / 2) / w:.9f} "
                f"{(a['bbox'][1] + a['bbox'][3] / 2) / h:.9f} {a['bbox'][2] / w:.9f} {a['bbox'][3] / h:.9f}\n"
                for a in boxes[im["id"]]
            ]
            (root / "labels" / split / im["file_name"]).with_suffix(".txt").write_text("".join(lines))
    paths = {split: f"images/{split}" for split in splits}
    (root / "data.yaml").write_text(yaml.safe_dump({"names": names, **paths}))
    return root


def write_voc(source: Path, root: Path, difficult: str | None = None, splits=("train", "val")) -> Path:
    """Annotations, JPEGImages, ImageSets/Main and classes.txt; boxes of class `difficult` are difficult Persons."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for split in splits:
        names, images, boxes = read_json(source, split)
        for im in images:
            shutil.copy(source / "images" / im["file_name"], root / "JPEGImages")
            objects = [voc_object(names[a["category_id"]], a["bbox"], difficult) for a in boxes[im["id"]]]
            size = f"<size><width>{im['width']}</width><height>{im['height']}</height><depth>1</depth></size>"
            text = f"<annotation><filename>{im['file_name']}</filename>{size}{''.join(objects)}</annotation>"
            (root / "Annotations" / im["file_name"]).with_suffix(".xml").write_text(text)
        stems = [Path(im["file_name"]).stem for im in images]
        (root / f"ImageSets/Main/{split}.txt").write_text("\n".join(stems) + "\n")
    (root / "classes.txt").write_text("\n".join(n for n in names if n != difficult) + "\n")
    return root


def voc_object(name: str, bbox, difficult: str | None = None) -> str:
    """Pixels counted from 1, both ends inside."""
    x, y, w, h = bbox
    hard = name == difficult
    box = f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax>"
    name = "Person" if hard else name
    return f"<object><name>{escape(name)}</name><difficult>{int(hard)}</difficult><bndbox>{box}</bndbox></object>"
