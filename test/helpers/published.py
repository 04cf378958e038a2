"""Small data sets laid out as they are published, or as tools export them; run as a program it prints the docs' table.

Each writer makes a split for training and one for validation, of images of 128 x 96 pixels with two boxes in each, and
returns the folder.
"""

import json
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT, SIDE = 128, 96, 16
COUNTS = {"train": 4, "val": 2}


def scene(seed):
    """(uint8 (96, 128), boxes x, y, w, h): gray noise with two bright squares."""
    rng = np.random.default_rng(seed)
    image = rng.integers(40, 80, (HEIGHT, WIDTH)).astype(np.uint8)
    boxes = [
        (int(rng.integers(2, 40)), int(rng.integers(2, 70)), SIDE, SIDE),
        (80, int(rng.integers(2, 70)), SIDE, SIDE),
    ]
    for x, y, w, h in boxes:
        image[y : y + h, x : x + w] = 220
    return image, boxes


def scenes(root, where, suffix=".jpg", names=None):
    """Write the images; yields (split, index, path, boxes). where: folder of a split, with {}; names: of the splits."""
    for number, (split, count) in enumerate(COUNTS.items()):
        folder = root / where.format((names or {}).get(split, split))
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            image, boxes = scene(10 * number + i)
            path = folder / f"frame_{i:06d}{suffix}"  # the same names in every split: they must not be mixed up
            cv2.imwrite(str(path), image)
            yield split, i, path, boxes


def coco(root, where, file, categories, names=None, keys=("file_name", "annotations"), id0=0):
    labels = {s: {"images": [], keys[1]: [], "categories": categories} for s in COUNTS}
    for split, i, path, boxes in scenes(root, where, names=names):
        found = labels[split]
        found["images"].append({"id": i, keys[0]: path.name, "width": WIDTH, "height": HEIGHT})
        for k, box in enumerate(boxes):
            entry = {"image_id": i, "category_id": id0 + k, "bbox": list(box), "iscrowd": 0, "area": SIDE * SIDE}
            found[keys[1]].append(entry | {"id": 1 + len(found[keys[1]])})
    for split, found in labels.items():
        path = root / file.format((names or {}).get(split, split))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
    return root


def coco_file(root, change=None, names=("a.png", "b.png")):
    """One file f.json of two images with two boxes each, changed by `change`."""
    (root / "images").mkdir(parents=True)
    labels = {"images": [], "annotations": [], "categories": [{"id": 0, "name": "Person"}, {"id": 1, "name": "Car"}]}
    for i, name in enumerate(names):
        image, boxes = scene(i)
        cv2.imwrite(str(root / "images" / name), image)
        labels["images"].append({"id": i, "file_name": name, "width": WIDTH, "height": HEIGHT})
        labels["annotations"] += [
            {"id": 2 * i + k, "image_id": i, "category_id": k, "bbox": list(b), "iscrowd": 0}
            for k, b in enumerate(boxes)
        ]
    if change:
        change(labels)
    (root / "f.json").write_text(json.dumps(labels))
    return root


def two(first=0):
    return [{"id": first, "name": "Person"}, {"id": first + 1, "name": "Car"}]


def coco2017(root):
    return coco(root, "{}2017", "annotations/instances_{}2017.json", two(1), id0=1)


def cvat_coco(root):
    return coco(root, "images/{}", "annotations/instances_{}.json", two(1), id0=1)


def roboflow_coco(root):
    group = [{"id": 0, "name": "things", "supercategory": "none"}]
    inside = [c | {"supercategory": "things"} for c in two(1)]
    return coco(root, "{}", "{}/_annotations.coco.json", group + inside, {"val": "valid"}, id0=1)


def hit_uav(root):
    categories = [*two(), {"id": 4, "name": "DontCare"}]
    return coco(root, "normal_json/{}", "normal_json/annotations/{}.json", categories, None, ("filename", "annotation"))


def seadronessee(root):
    sea = ["ignored", "swimmer", "boat", "jetski", "life_saving_appliances", "buoy"]
    categories = [{"id": i, "name": name, "supercategory": name} for i, name in enumerate(sea)]
    return coco(root, "images/{}", "annotations/instances_{}.json", categories, id0=1)


def yolo_line(index, box):
    x, y, w, h = box
    return f"{index} {(x + w / 2) / WIDTH:.6f} {(y + h / 2) / HEIGHT:.6f} {w / WIDTH:.6f} {h / HEIGHT:.6f}\n"


def yolo_labels(path, boxes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(yolo_line(k, box) for k, box in enumerate(boxes)))


def roboflow_yolo(root):
    for _, _, path, boxes in scenes(root, "{}/images", names={"val": "valid"}):
        yolo_labels(path.parent.parent / "labels" / f"{path.stem}.txt", boxes)
    paths = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    (root / "data.yaml").write_text(paths + "\nnc: 2\nnames: ['Person', 'Car']\n\nroboflow:\n  version: 1\n")
    return root


def cvat_yolo(root):
    listed = {}
    for split, _, path, boxes in scenes(root, "obj_{}_data", names={"val": "valid"}):
        yolo_labels(path.with_suffix(".txt"), boxes)
        listed.setdefault({"val": "valid"}.get(split, split), []).append(f"data/{path.parent.name}/{path.name}\n")
    for name, lines in listed.items():
        (root / f"{name}.txt").write_text("".join(lines))
    (root / "obj.names").write_text("Person\nCar\n")
    (root / "obj.data").write_text(
        "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\n"
    )
    return root


def roboflow_voc(root):
    for _, _, path, boxes in scenes(root, "{}", names={"val": "valid"}):
        objects = "".join(
            f"<object><name>{name}</name><difficult>0</difficult><occluded>0</occluded><bndbox><xmin>{x + 1}</xmin>"
            f"<xmax>{x + w}</xmax><ymin>{y + 1}</ymin><ymax>{y + h}</ymax></bndbox></object>"
            for name, (x, y, w, h) in zip(("Person", "Car"), boxes, strict=True)
        )
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
        text = f"<annotation><folder></folder><filename>{path.name}</filename>{size}{objects}</annotation>"
        path.with_suffix(".xml").write_text(text)
    return root


def visdrone(root):
    for _, _, path, boxes in scenes(root, "VisDrone2019-DET-{}/images"):
        (first, second), folder = boxes, path.parent.parent / "annotations"
        folder.mkdir(exist_ok=True)
        lines = [
            (*first, 1, 1, 0, 2),
            (*second, 1, 4, 1, 0),
            (0, 80, 20, 16, 0, 0, 0, 0),
            (100, 80, 20, 16, 1, 11, 0, 0),
        ]
        text = "\n".join(",".join(map(str, line)) for line in lines)
        (folder / f"{path.stem}.txt").write_text(text + ",\n")  # some files end their lines so
    return root


def uavdt(root):
    truth = root / "UAV-benchmark-MOTD_v1.0" / "GT"
    truth.mkdir(parents=True)
    sequences = {"train": "M0101", "val": "M0203"}
    for split, i, path, boxes in scenes(root, "UAV-benchmark-M/{}", names=sequences):
        path.rename(path.with_name(f"img{i + 1:06d}.jpg"))
        with (truth / f"{sequences[split]}_gt_whole.txt").open("a") as f:
            for k, box in enumerate(boxes):
                f.write(",".join(map(str, (i + 1, k + 1, *box, 1, 2 if k else 1, 1 + k))) + "\n")
        with (truth / f"{sequences[split]}_gt_ignore.txt").open("a") as f:
            f.write(f"{i + 1},-1,0,80,20,16,-1,-1,-1\n")
    for split, sequence in (("train", "M0101"), ("test", "M0203")):
        (root / "M_attr" / split).mkdir(parents=True)
        (root / "M_attr" / split / f"{sequence}_attr.txt").write_text("0,1,0\n")
    return root


# name in FORMATS -> (writer, the validation split, where the layout is described)
PUBLISHED = {
    "coco2017": (coco2017, "val", "cocodataset.org, 2017 files"),
    "roboflow-coco": (roboflow_coco, "valid", "Roboflow's COCO export (datumaro's docs, rfdetr.roboflow.com)"),
    "cvat-coco": (cvat_coco, "val", "docs.cvat.ai, COCO 1.0"),
    "hit-uav": (hit_uav, "val", "github.com/suojiashun/HIT-UAV-Infrared-Thermal-Dataset, normal_json"),
    "seadronessee": (seadronessee, "val", "seadronessee.cs.uni-tuebingen.de, Object Detection v2"),
    "roboflow-yolo": (roboflow_yolo, "val", "Roboflow's YOLO export"),
    "cvat-yolo": (cvat_yolo, "valid", "docs.cvat.ai, YOLO 1.1"),
    "roboflow-voc": (roboflow_voc, "valid", "Roboflow's VOC export"),
    "visdrone": (visdrone, "val", "github.com/VisDrone, DET toolkit"),
    "uavdt": (uavdt, "test", "UAV-benchmark-M and -MOTD_v1.0 (Du et al., ECCV 2018)"),
}


def table():
    """Lines of a table: format, where its layout comes from, images and boxes read of the sample."""
    from offline.data import read_dataset

    yield "| `--format` | layout described by | images, boxes, ignore regions read |\n|---|---|---|"
    for name, (write, val, source) in PUBLISHED.items():
        with tempfile.TemporaryDirectory() as folder:
            root = write(Path(folder) / name)
            sets = [read_dataset(root, split) for split in ("train", val)]
        images, boxes = sum(map(len, sets)), sum(int(d.counts().sum()) for d in sets)
        regions = sum(len(s.ignore) for d in sets for s in d.samples)
        yield f"| `{name}` | {source} | {images}, {boxes}, {regions} |"


if __name__ == "__main__":
    print("\n".join(table()), file=sys.stdout)
