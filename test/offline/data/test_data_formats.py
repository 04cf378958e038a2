"""YOLO and VOC copies of a COCO set are the same training set, and what they may get wrong is one sentence."""

import json
import shutil
import time

import cv2
import numpy as np
import pytest
from datasets import read_json, voc_object, write_voc, write_yolo

from offline.data import read_dataset, read_pair
from offline.errors import DataError
from offline.training.augment import Loader
from vit_perception.natural_order import natural_key

IGNORE = ("DontCare",)


@pytest.fixture(scope="module")
def coco(data, tmp_path_factory):
    folder = shutil.copytree(data, tmp_path_factory.mktemp("formats") / "coco")
    path = folder / "train.json"  # a region to ignore in an image that has boxes, whatever was rendered
    labels = json.loads(path.read_text())
    region = {"id": 10**6, "image_id": labels["images"][0]["id"], "category_id": 3, "bbox": [5, 6, 20.5, 10.25]}
    labels["annotations"].append(region)
    path.write_text(json.dumps(labels))
    return folder


def batch(data):
    spec = {"color": "gray", "mean": [0.5], "std": [0.2]}
    return Loader(data, spec, (64, 64), 8, (0.7, 1.5), 0.5, 1.0, seed=3).make(0, mosaic=0.5)


def assert_same(data, reference):
    assert data.labels == reference.labels and len(data) == len(reference)
    assert data.dropped == reference.dropped and data.left_out == reference.left_out
    for a, b in zip(data.samples, reference.samples, strict=True):
        assert (a.path.name, a.width, a.height) == (b.path.name, b.width, b.height)
        assert a.classes.tolist() == b.classes.tolist()
        np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-4)  # pixels
        np.testing.assert_allclose(a.ignore, b.ignore, atol=1e-4)
    first, same = batch(data), batch(reference)
    assert first["images"].equal(same["images"]) and first["labels"].equal(same["labels"])
    for key in ("boxes", "ignore"):
        np.testing.assert_allclose(first[key], same[key], atol=1e-3)


def test_a_yolo_copy_is_the_same_training_set(coco, tmp_path):
    root = write_yolo(coco, tmp_path / "yolo")
    reference = read_pair(coco, "train.json", "val.json", None, IGNORE)
    assert sum(len(s.boxes) for s in reference[0].samples) > 10 and any(len(s.ignore) for s in reference[0].samples)
    for data, same in zip(read_pair(root, "train", "val", None, IGNORE), reference, strict=True):
        assert_same(data, same)


def test_a_voc_copy_is_the_same_training_set(coco, tmp_path):
    """With an ignored class, and with the same regions as difficult objects."""
    reference = read_pair(coco, "train.json", "val.json", None, IGNORE)
    named = write_voc(coco, tmp_path / "named")
    difficult = write_voc(coco, tmp_path / "difficult", difficult="DontCare")
    for root, ignore in ((named, IGNORE), (difficult, ())):
        for data, same in zip(read_pair(root, "train", "val", None, ignore), reference, strict=True):
            assert_same(data, same)


def test_real_images_are_the_same_set_in_every_format(shared_data, tmp_path):
    labels = json.loads((shared_data / "hit_uav/train.json").read_text())
    labels["images"] = sorted(labels["images"], key=lambda im: natural_key(im["file_name"]))[::400]
    few = {im["id"] for im in labels["images"]}
    labels["annotations"] = [a for a in labels["annotations"] if a["image_id"] in few]
    (tmp_path / "train.json").write_text(json.dumps(labels))
    (tmp_path / "images").symlink_to((shared_data / "hit_uav/images").resolve())
    reference = read_dataset(tmp_path, "train.json", None, IGNORE)
    for root in (
        write_yolo(tmp_path, tmp_path / "yolo", splits=("train",)),
        write_voc(tmp_path, tmp_path / "voc", splits=("train",)),
    ):
        assert_same(read_dataset(root, "train", None, IGNORE), reference)


def one_image(root, text=None, names="Person\nCar\n", image="images/a.png"):
    """A YOLO set of one 64x48 image."""
    (root / image).parent.mkdir(parents=True, exist_ok=True)
    (root / "labels").mkdir(exist_ok=True)
    cv2.imwrite(str(root / image), np.random.default_rng(0).integers(0, 255, (48, 64), np.uint8))
    (root / "classes.txt").write_text(names)
    (root / "labels/a.txt").write_text("1 0.5 0.5 0.25 0.5\n" if text is None else text)
    return root


BOX = [[24, 12, 40, 36]]


def test_yolo_layouts(tmp_path):
    flat = one_image(tmp_path / "flat")
    (flat / "list.txt").write_text("./images/a.png\n\n")
    (flat / "bare.txt").write_text("a.png\n")
    for split in ("images", "list.txt", "list", "bare.txt", str(flat / "images")):
        assert read_dataset(flat, split).samples[0].boxes.tolist() == BOX
    beside = one_image(tmp_path / "beside", image="pictures/a.png")
    (beside / "labels/a.txt").rename(beside / "pictures/a.txt")
    assert read_dataset(beside, "pictures").samples[0].boxes.tolist() == BOX
    inverted = one_image(tmp_path / "inverted", image="valid/images/a.png")
    (inverted / "labels").rename(inverted / "valid/labels")
    (inverted / "data.yaml").write_text("names: {1: Car, 0: Person}\nval: [../valid/images]\npath: /not/here\n")
    for split in ("val", "valid", "valid/images"):
        data = read_dataset(inverted, split)
        assert data.labels == ["Person", "Car"] and data.samples[0].boxes.tolist() == BOX


def test_an_image_without_a_label_file_shows_nothing_and_is_told(tmp_path, caplog):
    root = one_image(tmp_path)
    cv2.imwrite(str(root / "images/b.png"), np.zeros((48, 64), np.uint8))
    assert [len(s.boxes) for s in read_dataset(root, "images").samples] == [1, 0]
    assert "an image has no label file, so it is taken to show nothing" in caplog.text and "b.png" in caplog.text


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_the_size_is_that_of_the_picture_as_it_is_read(tmp_path, suffix):
    """Phones store a portrait as a landscape and a note to turn it; OpenCV turns some, and the size must follow it."""
    import PIL.Image

    root = one_image(tmp_path)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    with PIL.Image.open(root / "images/a.png") as image:
        image = image.copy()
    (root / "images/a.png").unlink()
    image.save(root / f"images/a{suffix}", exif=exif)
    sample = read_dataset(root, "images").samples[0]
    assert (sample.height, sample.width) == cv2.imread(str(sample.path)).shape[:2]
    assert (sample.height, sample.width) == (64, 48) or suffix != ".jpg"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: one_image(r, "7 .5 .5 .1 .1\n"), r"labels/a.txt:1: unknown class id 7: 0 to 1 are named"),
        (lambda r: one_image(r, "-1 .5 .5 .1 .1\n"), "unknown class id -1"),
        (lambda r: one_image(r, "1.5 .5 .5 .1 .1\n"), "unknown class id 1.5"),
        (lambda r: one_image(r, "\n1 32 24 8 8\n"), "a.txt:2: coordinates are no fractions"),
        (lambda r: one_image(r, "1 .5 .5 .1\n"), "not 'class cx cy w h'"),
        (lambda r: one_image(r, "1 .1 .1 .2 .2 .3 .3\n"), "export boxes, not segments"),
        (lambda r: one_image(r, "car .1 .1 .2 .2\n"), "not 'class cx cy w h'"),
        (lambda r: one_image(r, ""), "no box of Person, Car"),
        (lambda r: one_image(r, names="A\nA\n"), "one name to two classes"),
        (lambda r: one_image(r, names="\n"), "correct it"),
        (lambda r: (r / "images/a.png").write_bytes(b"GIF?"), "cannot read the image"),
        (lambda r: (r / "images/a.png").unlink(), "lists no images"),
        (lambda r: (r / "data.yaml").write_text("names: [a, b\n"), "is not YAML"),
        (lambda r: (r / "data.yaml").write_text("- a\n"), "is no mapping"),
        (lambda r: (r / "data.yaml").write_text("names: {0: a, 2: b}\n"), "is no list"),
        (lambda r: (r / "data.yaml").write_text("names: [a, b]\nimages: nowhere\n"), "there is no .*nowhere"),
        (lambda r: (r / "classes.txt").unlink(), "cannot tell the format"),
    ],
)
def test_bad_yolo_is_one_clear_sentence(tmp_path, change, says):
    one_image(tmp_path)
    change(tmp_path)
    with pytest.raises(DataError, match=says) as e:
        read_dataset(tmp_path, "images")
    assert "\n" not in str(e.value)


def test_a_split_or_list_entry_that_is_not_there_is_named(tmp_path):
    root = one_image(tmp_path)
    (root / "list.txt").write_text("images/a.png\nimages/gone.png\n")
    with pytest.raises(DataError, match="images/gone.png: an image that list.txt lists"):
        read_dataset(root, "list.txt")
    with pytest.raises(DataError, match="no split 'test' in .*known: list.txt"):
        read_dataset(root, "test")
    with pytest.raises(DataError, match="use one of coco, voc, yolo"):
        read_dataset(root, "images", "csv")


def voc(root, objects="", head="", size="<size><width>64</width><height>48</height></size>"):
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(root / "JPEGImages/a.png"), np.random.default_rng(0).integers(0, 255, (48, 64), np.uint8))
    (root / "ImageSets/Main/train.txt").write_text("a\n")
    objects = objects or voc_object("Car", (24, 12, 16, 24)) + voc_object("Bus", (0, 0, 8, 8))
    (root / "Annotations/a.xml").write_text(f"{head}<annotation>{size}{objects}</annotation>")
    return root


def test_voc_counts_pixels_from_one_with_both_ends_inside(tmp_path):
    root = voc(tmp_path)
    assert "<xmin>25</xmin>" in (root / "Annotations/a.xml").read_text()
    for split in ("train", "Annotations", "ImageSets/Main/train.txt"):
        data = read_dataset(root, split)
        assert data.labels == ["Bus", "Car"]
        assert data.samples[0].boxes.tolist() == [*BOX, [0, 0, 8, 8]]


def test_boxes_counted_from_zero_are_warned_of(tmp_path, caplog):
    read_dataset(voc(tmp_path, voc_object("Car", (-1, 5, 8, 8))), "train")
    assert "seems to count from 0" in caplog.text


def test_splits_of_one_voc_set_number_the_classes_alike(tmp_path):
    root = voc(tmp_path)
    cv2.imwrite(str(root / "JPEGImages/b.png"), np.zeros((48, 64), np.uint8))
    (root / "Annotations/b.xml").write_text(f"<annotation>{voc_object('Car', (1, 1, 9, 9))}</annotation>")
    (root / "ImageSets/Main/val.txt").write_text("b 1\n")
    train, val = read_pair(root, "train", "val")
    assert train.labels == val.labels == ["Bus", "Car"] and val.samples[0].classes.tolist() == [1]


LAUGHS = "".join(f"<!ENTITY a{i} '{f'&a{i - 1};' * 10}'>" for i in range(1, 12))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: voc(r, head=f"<!DOCTYPE x [<!ENTITY a0 'ha'>{LAUGHS}]>", objects="&a11;"), "document type"),
        (lambda r: voc(r, head="<!DOCTYPE x SYSTEM 'file:///etc/hostname'>"), "document type"),
        (lambda r: (r / "Annotations/a.xml").write_text("<annotation>"), "cannot be read"),
        (lambda r: (r / "Annotations/a.xml").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
        (lambda r: (r / "Annotations/a.xml").write_text("<kml/>"), "it begins with <kml>"),
        (lambda r: (r / "Annotations/a.xml").unlink(), "a.xml: a listed annotation file is missing"),
        (lambda r: (r / "JPEGImages/a.png").unlink(), "the image of an annotation is not in .*JPEGImages"),
        (lambda r: voc(r, size="<size><width>48</width><height>64</height></size>"), "64x48 but .* says 48x64"),
        (lambda r: voc(r, size="<size><width>wide</width></size>"), "are not numbers"),
        (lambda r: voc(r, "<object><name>Car</name></object>"), "lacks 4 numbers"),
        (lambda r: voc(r, voc_object("", (1, 1, 5, 5))), "no <name>"),
        (lambda r: (r / "classes.txt").write_text("Dog\n"), "class 'Car' is not in classes.txt"),
        (lambda r: (r / "ImageSets/Main/train.txt").write_text(""), "lists no images|names none"),
        (lambda r: (r / "ImageSets/Main/train.txt").unlink(), "no list .*train.txt and no folder"),
    ],
)
def test_bad_voc_is_one_clear_sentence(tmp_path, change, says):
    voc(tmp_path)
    change(tmp_path)
    begin = time.monotonic()
    with pytest.raises(DataError, match=says) as e:
        read_dataset(tmp_path, "train")
    assert "\n" not in str(e.value) and time.monotonic() - begin < 20


def test_val_must_not_have_classes_that_train_does_not_teach(coco, tmp_path, caplog):
    names, *_ = read_json(coco, "train")
    root = write_yolo(coco, tmp_path / "yolo")
    assert names[0] == "Person"
    labels = json.loads((coco / "train.json").read_text())
    for category in labels["categories"]:
        category["name"] = "Truck" if category["name"] == "Car" else category["name"]
    (tmp_path / "train.json").write_text(json.dumps(labels))
    (tmp_path / "val.json").write_text((coco / "val.json").read_text())
    (tmp_path / "images").symlink_to(coco / "images")
    with pytest.raises(DataError, match="no category 'Truck'"):
        read_pair(tmp_path, "train.json", "val.json", None, IGNORE)
    added = labels["categories"] + [{"id": 9, "name": "Boat"}]
    boat = {"id": 1, "image_id": 1, "category_id": 9, "bbox": [1, 1, 9, 9]}
    val = json.loads((coco / "val.json").read_text())
    (tmp_path / "val.json").write_text(
        json.dumps(val | {"categories": added, "annotations": [*val["annotations"], boat]})
    )
    with pytest.raises(DataError, match=r"has boxes of Boat \(1\), which .* does not teach; name the classes"):
        read_pair(tmp_path, "train.json", "val.json", None, IGNORE)
    _, kept = read_pair(tmp_path, "train.json", "val.json", None, IGNORE, ["Truck"])
    assert kept.labels == ["Truck"] and kept.left_out["Boat"] == 1
    assert "left out boxes of Boat (1)" in caplog.text
    with pytest.raises(DataError, match="--classes names 'Dog', which .* does not train"):
        read_pair(root, "train", "val", None, IGNORE, ["Dog"])
