"""Two small sets and the yaml that lists them, for tests."""

import json

import cv2
import numpy as np
import yaml

TRAFFIC, CROWD = ["Person", "Car", "DontCare"], ["pedestrian", "horse"]


def write(root, split, names, value, count=4, label=0, color=False):
    """`count` images of 96x64 pixels of brightness about `value`, a box of class `label` in each."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    coco = {"images": [], "annotations": [], "categories": [{"id": k, "name": n} for k, n in enumerate(names)]}
    rng = np.random.default_rng([value, len(split)])
    for i in range(count):
        image = rng.integers(value - 20, value + 20, (64, 96, 3 if color else 1), np.uint8)
        cv2.imwrite(str(root / "images" / f"{split}{i}.png"), image)
        coco["images"].append({"id": i, "file_name": f"{split}{i}.png", "width": 96, "height": 64})
        coco["annotations"].append({"id": i, "image_id": i, "category_id": label, "bbox": [20, 10, 16, 24]})
    (root / f"{split}.json").write_text(json.dumps(coco))


def two_sets(root):
    """Sets `traffic` and `crowd`, each with a train and a val of four images."""
    for split in ("train", "val"):
        write(root / "traffic", split, TRAFFIC, 60, label=1)
        write(root / "crowd", split, CROWD, 200)
    return root


def traffic(**more):
    return {"data": "traffic", "train": "train.json", "val": "val.json", "ignore": ["DontCare"]} | more


def crowd(**more):
    return {"data": "crowd", "train": "train.json", "val": "val.json", "map": {"pedestrian": "Person"}} | more


def sets(folder, *entries, **more):
    path = folder / "mixed.yaml"
    path.write_text(yaml.safe_dump({"sets": list(entries)} | more))
    return path
