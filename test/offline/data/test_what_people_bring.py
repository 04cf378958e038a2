"""What people bring: names, encodings, links, values of other types are read right, or told in one sentence."""

import json
import os
import unicodedata

import cv2
import numpy as np
import PIL.Image
import pytest
from published import HEIGHT, WIDTH, scene, yolo_labels

from offline.data import detect_color, read_dataset, read_image
from offline.data.__main__ import main
from offline.data.near_duplicates import fingerprints
from offline.errors import DataError
from vit_perception.images.high_bit_depth import conversion, to_uint8

GBK = b"\xb2\xe2\xca\xd4"


def yolo(root, names="names: [Person, Car]\n", suffix=".png", write=None, count=3):
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True)
        for i in range(count):
            image, boxes = scene(len(split) * 10 + i)
            (write or (lambda path, pixels: cv2.imwrite(str(path), pixels)))(
                root / f"images/{split}/{i}{suffix}", image
            )
            yolo_labels(root / f"labels/{split}/{i}.txt", boxes)
    (root / "data.yaml").write_text(names + "train: images/train\nval: images/val\n")
    return root


def check(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main(["check", *map(str, arguments)])
    return end.value.code, capsys.readouterr().out


# Depths


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_deep_images_are_what_the_node_makes_of_them_and_check_tells(tmp_path, capsys, dtype):
    def write(path, pixels):
        PIL.Image.fromarray((7000 + 4 * pixels.astype(np.int64)).astype(dtype)).save(path)

    root = yolo(tmp_path, suffix=".tiff", write=write)
    sample = read_dataset(root, "train").samples[0]
    raw = 7000 + 4 * scene(50)[0].astype(np.int64)
    deep = raw.astype("uint16" if dtype == "uint16" else "float32")
    for spec in ({}, {"high_bit_depth": {"scaling": "fixed", "min": 7000, "max": 8000}}):
        wanted = to_uint8(deep, conversion(spec))
        assert np.array_equal(read_image(sample, "gray", spec), wanted)
        assert np.array_equal(read_image(sample, "rgb", spec), np.dstack([wanted] * 3))
    code, text = check(capsys, root)
    assert code == 0 and "near-twin" not in text
    assert (
        "3 images of 16 bits" if dtype == "uint16" else "3 images of 32-bit numbers"
    ) in text and "values 7160 to" in text
    assert len({tuple(b) for b in fingerprints([s.path for s in read_dataset(root, "train").samples]).bits}) == 3


def test_colour_of_16_bits_is_colour(tmp_path):
    def write(path, pixels):
        cv2.imwrite(str(path), np.dstack([pixels.astype(np.uint16) * k for k in (10, 20, 30)]))

    data = read_dataset(yolo(tmp_path, write=write), "train")
    assert detect_color(data) == "rgb"
    deep = np.dstack([scene(50)[0].astype(np.uint16) * k for k in (10, 20, 30)])
    bgr = to_uint8(deep, conversion({}))
    assert np.array_equal(read_image(data.samples[0], "rgb"), bgr[..., ::-1])
    assert np.array_equal(read_image(data.samples[0], "gray"), cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY))


def test_depths_that_are_mixed_are_told(tmp_path, capsys):
    root = yolo(tmp_path)
    cv2.imwrite(str(root / "images/train/1.png"), scene(51)[0].astype(np.uint16) * 100)
    code, text = check(capsys, root)
    assert code == 0 and "warning: images of different depths (2 uint8, 1 uint16)" in text


# Names, links, suffixes


def test_names_that_are_no_utf8_are_read_and_told_in_plain_letters(tmp_path, capsys):
    root = yolo(tmp_path)
    for folder, suffix in (("images", b".png"), ("labels", b".txt")):
        inside = os.fsencode(root / folder / "train")
        os.rename(inside + b"/0" + suffix, inside + b"/" + GBK + suffix)
    open(os.fsencode(root / "labels/train") + b"/" + GBK + b".txt", "w").close()
    with open(root / "list.txt", "wb") as f:
        f.write(b"images/train/" + GBK + b".png\r\nimages/train/1.png\r\n")
    for split, count in (("train", 3), ("list.txt", 2)):
        assert len(read_dataset(root, split)) == count
    code, text = check(capsys, root)
    assert code == 0 and r"\xb2\xe2\xca\xd4.png" in text and text.encode("utf-8")


def test_links_to_folders_and_files_are_followed_and_circles_end(tmp_path, capsys):
    root = yolo(tmp_path / "set")
    (tmp_path / "disk").mkdir()
    (root / "images/train").rename(tmp_path / "disk/train")
    (root / "images/train").mkdir()
    (root / "images/train/flight").symlink_to(tmp_path / "disk/train")
    (root / "labels/train").rename(root / "labels/x")
    (root / "labels/train").mkdir()
    (root / "labels/x").rename(root / "labels/train/flight")
    (tmp_path / "disk/train/up").symlink_to(tmp_path / "disk")
    data = read_dataset(root, "train")
    assert [s.path.name for s in data.samples] == ["0.png", "1.png", "2.png"] and data.counts().tolist() == [3, 3]


@pytest.mark.parametrize("suffix", [".jfif", ".JPG", ".Jpeg", ".TIF", ".webp", ".PNG"])
def test_suffixes_of_images_in_any_case(tmp_path, suffix):
    def write(path, pixels):
        kind = {".jfif": ".jpg"}.get(suffix, suffix.lower())
        path.write_bytes(cv2.imencode(kind, pixels)[1].tobytes())

    assert len(read_dataset(yolo(tmp_path, suffix=suffix, write=write), "train")) == 3


def test_suffixes_of_labels_in_any_case(tmp_path):
    root = yolo(tmp_path)
    for file in (root / "labels/train").iterdir():
        file.rename(file.with_suffix(".TXT"))
    assert read_dataset(root, "train").counts().tolist() == [3, 3]


def test_labels_without_image_and_kinds_that_are_not_read_are_told(tmp_path, capsys, caplog):
    root = yolo(tmp_path)
    (root / "images/train/0.png").rename(root / "images/train/0.heic")
    read_dataset(root, "train")
    assert "labels/train/0.txt" in caplog.text and "a label file has no image" in caplog.text
    code, text = check(capsys, root)
    assert code == 0 and "warning: an image is of a kind that is not read: images/train/0.heic" in text


def test_two_images_that_share_a_label_file_are_told(tmp_path, caplog):
    root = yolo(tmp_path)
    cv2.imwrite(str(root / "images/train/0.jpg"), scene(99)[0])
    read_dataset(root, "train")
    assert "two images share one label file (0.jpg is the other)" in caplog.text


def test_numbers_in_names_count_as_numbers(tmp_path):
    names = [s.path.name for s in read_dataset(yolo(tmp_path, count=11), "train").samples]
    assert names == [f"{i}.png" for i in range(11)]


# Texts


@pytest.mark.parametrize(
    ("encode", "names"),
    [
        (lambda t: b"\xef\xbb\xbf" + t.encode().replace(b"\n", b"\r\n"), ["Fußgänger", "Car"]),
        (lambda t: t.encode("utf-16"), ["Fußgänger", "Car"]),
        (lambda t: t.encode("utf-16-be"), ["Fußgänger", "Car"]),
        (lambda t: t.encode("utf-32"), ["Fußgänger", "Car"]),
        (lambda t: t.encode("cp1252"), ["Fußgänger", "Car"]),
        (lambda t: t.replace("\n", "\r").encode(), ["Fußgänger", "Car"]),
    ],
)
def test_texts_as_other_systems_write_them(tmp_path, encode, names, caplog):
    root = yolo(tmp_path)
    (root / "data.yaml").unlink()
    (root / "classes.txt").write_bytes(encode("Fußgänger\nCar\n"))
    (root / "list.txt").write_bytes(encode("images/train/0.png\nimages/train/1.png\n"))
    for file in (root / "labels/train").iterdir():
        file.write_bytes(encode(file.read_text()))
    for split, boxes in (("train", [3, 3]), ("list.txt", [2, 2])):
        data = read_dataset(root, split)
        assert data.labels == names and data.counts().tolist() == boxes
    assert ("read as Windows-1252" in caplog.text) == (encode("ß") == b"\xdf")


@pytest.mark.parametrize("encode", [lambda t: b"\xef\xbb\xbf" + t.encode(), lambda t: t.encode("utf-16")])
def test_data_yaml_and_json_as_other_systems_write_them(tmp_path, encode):
    root = yolo(tmp_path / "y")
    (root / "data.yaml").write_bytes(encode((root / "data.yaml").read_text()))
    assert read_dataset(root, "train").labels == ["Person", "Car"]
    path = coco(tmp_path / "c") / "f.json"
    path.write_bytes(encode(path.read_text()))
    assert len(read_dataset(tmp_path / "c", "f.json")) == 2


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("[yes, no]", ["yes", "no"]),
        ("[On, OFF, y]", ["On", "OFF", "y"]),
        ("[1.10, 007, 1e3]", ["1.10", "007", "1e3"]),
        ("[null, ~]", ["null", "~"]),
        ("[2020-01-01, 12:30]", ["2020-01-01", "12:30"]),
        ("{0: true, 1: 0x10}", ["true", "0x10"]),
    ],
)
def test_words_that_yaml_takes_for_something_else_are_names(tmp_path, given, names):
    assert read_dataset(yolo(tmp_path, names=f"names: {given}\n"), "train").labels == names[:2] + names[2:]


@pytest.mark.parametrize(
    ("given", "says"),
    [("{0: a, 1: b, 1: c}", "'1' is there twice"), ("[a, [b]]", "is no list"), ("[a, '']", "is no list")],
)
def test_names_that_cannot_be_meant_are_refused(tmp_path, given, says):
    with pytest.raises(DataError, match=says):
        read_dataset(yolo(tmp_path, names=f"names: {given}\n"), "train")


# COCO


def coco(root, change=None, names=("a.png", "b.png")):
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


def each(key, part, value):
    def change(labels):
        for entry in labels[key]:
            entry[part] = value(entry[part]) if callable(value) else value

    return change


def several(*changes):
    return lambda labels: [change(labels) for change in changes]


@pytest.mark.parametrize(
    ("change", "boxes", "ignored"),
    [
        (each("annotations", "iscrowd", "0"), [2, 2], 0),
        (each("annotations", "iscrowd", False), [2, 2], 0),
        (each("annotations", "iscrowd", None), [2, 2], 0),
        (each("annotations", "ignore", 0), [2, 2], 0),
        (each("annotations", "category_id", str), [2, 2], 0),
        (several(each("images", "id", str), each("annotations", "image_id", float)), [2, 2], 0),
        (each("categories", "id", str), [2, 2], 0),
        (each("annotations", "bbox", lambda b: [str(v) for v in b]), [2, 2], 0),
        (each("images", "width", str), [2, 2], 0),
        (each("images", "width", None), [2, 2], 0),
        (several(each("categories", "name", 5), lambda c: c["categories"].pop()), None, 0),
        (lambda c: c["annotations"][0].update(iscrowd="1"), [1, 2], 1),
        (lambda c: c["annotations"][0].update(ignore=1), [1, 2], 1),
        (lambda c: c["categories"].append({"id": 0, "name": " Person "}), [2, 2], 0),
    ],
)
def test_coco_values_of_other_types(tmp_path, change, boxes, ignored):
    def wrapped(labels):
        for entry in labels["annotations"]:
            entry.setdefault("ignore", 0)
        change(labels)

    root = coco(tmp_path, wrapped)
    if boxes is None:
        with pytest.raises(DataError, match="category id 1, which is not listed"):
            read_dataset(root, "f.json")
        return
    data = read_dataset(root, "f.json")
    assert data.counts().tolist() == boxes and sum(len(s.ignore) for s in data.samples) == ignored


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (each("annotations", "iscrowd", "maybe"), "its iscrowd is neither 0 nor 1"),
        (each("annotations", "iscrowd", 2), "its iscrowd is neither 0 nor 1"),
        (each("annotations", "category_id", True), "lacks image_id, category_id"),
        (each("annotations", "bbox", None), "lacks image_id, category_id or 4 numbers"),
        (each("categories", "name", None), "a category lacks id or name"),
        (each("categories", "name", "  "), "a category lacks id or name"),
        (each("categories", "name", True), "a category lacks id or name"),
        (lambda c: c["categories"].append({"id": "0", "name": "Car"}), "id 0 is both 'Person' and 'Car'"),
        (lambda c: c["images"].append(dict(c["images"][0], id=9)), "a file is listed under two ids"),
        (
            lambda c: c["images"].append(dict(c["images"][0], id=9, file_name="./a.png")),
            "a file is listed under two ids",
        ),
        (lambda c: c["images"].append(dict(c["images"][0], id="0")), "an image id is listed twice"),
    ],
)
def test_coco_values_that_cannot_be_meant(tmp_path, change, says):
    with pytest.raises(DataError, match=says) as e:
        read_dataset(coco(tmp_path, change), "f.json")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ("a.png", "A.PNG"),
        ("a.png", "C:\\data\\images\\a.png"),
        ("a.png", "/home/bob/set/images/a.png"),
        (unicodedata.normalize("NFD", "ä.png"), unicodedata.normalize("NFC", "ä.png")),
    ],
)
def test_names_that_are_spelt_otherwise_are_found_and_told(tmp_path, caplog, there, said):
    root = coco(tmp_path, lambda c: c["images"][0].update(file_name=said), names=(there, "b.png"))
    assert read_dataset(root, "f.json").samples[0].path.name == there
    assert "not where its labels say, or spelt otherwise" in caplog.text


def test_a_pointer_of_git_lfs_is_no_image(tmp_path):
    root = coco(tmp_path)
    (root / "images/a.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    with pytest.raises(DataError, match="a Git LFS pointer is in the place of an image; git lfs pull"):
        read_dataset(root, "f.json")


# VOC


def annotation(path, filename, boxes=((10, 10, 20, 20),), encoding="", name="Person", extra=""):
    objects = "".join(
        f"<object><name>{name}</name>{extra}<bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + w}</xmax>"
        f"<ymax>{y + h}</ymax></bndbox></object>"
        for x, y, w, h in boxes
    )
    head = f"<?xml version='1.0' encoding='{encoding}'?>" if encoding else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = f"{head}<annotation><filename>{filename}</filename>{objects}</annotation>"
    path.write_bytes(text.encode(encoding or "utf-8"))


def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), scene(seed)[0])


def test_the_image_that_a_voc_file_names_is_taken(tmp_path):
    for suffix in (".jpg", ".tiff"):
        picture(tmp_path / f"train/f{suffix}")
    annotation(tmp_path / "train/f.xml", "f.tiff")
    assert read_dataset(tmp_path, "train").samples[0].path.name == "f.tiff"
    annotation(tmp_path / "train/f.xml", "stale.png")
    with pytest.raises(DataError, match="several images have the annotation's name"):
        read_dataset(tmp_path, "train")
    picture(tmp_path / "train/stale.png")
    with pytest.raises(DataError, match="names another image than its own name does, and both are there"):
        read_dataset(tmp_path, "train")
    for suffix in (".jpg", ".tiff"):
        (tmp_path / f"train/f{suffix}").unlink()
    assert read_dataset(tmp_path, "train").samples[0].path.name == "stale.png"


def test_sub_folders_of_annotations_are_those_of_their_images(tmp_path):
    for i in range(2):
        picture(tmp_path / f"JPEGImages/flight{i}/frame_0.jpg", i)
        annotation(tmp_path / f"Annotations/flight{i}/frame_0.xml", f"flight{i}/frame_0.jpg")
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/train.txt").write_bytes(b"\xef\xbb\xbfflight0/frame_0\r\nflight1/frame_0.jpg\r\n")
    picture(tmp_path / "JPEGImages/frame_0.jpg", 7)
    for split in ("train", "Annotations"):
        found = [s.path.parent.name for s in read_dataset(tmp_path, split).samples]
        assert found == ["flight0", "flight1"]
    for i in range(2):
        (tmp_path / f"JPEGImages/flight{i}/frame_0.jpg").unlink()
    with pytest.raises(DataError, match="two annotations are of one image"):
        read_dataset(tmp_path, "train")


def test_voc_images_without_annotation_are_told(tmp_path, caplog):
    picture(tmp_path / "train/a.jpg")
    picture(tmp_path / "train/b.jpg")
    annotation(tmp_path / "train/a.xml", "a.jpg")
    assert len(read_dataset(tmp_path, "train")) == 1
    assert "an image beside the annotations has none, so it is left out" in caplog.text and "b.jpg" in caplog.text


@pytest.mark.parametrize("encoding", ["", "utf-8", "gbk", "utf-16", "windows-1252"])
def test_voc_files_in_other_encodings(tmp_path, encoding):
    name = "行人" if encoding in ("gbk", "utf-16") else "Fußgänger"
    picture(tmp_path / "train/a.jpg")
    annotation(tmp_path / "train/a.XML", "a.jpg", encoding=encoding, name=name)
    if encoding == "windows-1252":  # and without saying so
        path = tmp_path / "train/a.XML"
        path.write_bytes(path.read_bytes().split(b"?>")[1])
    assert read_dataset(tmp_path, "train").labels == [name]


@pytest.mark.parametrize(("value", "ignored"), [("0", 0), ("1", 1), ("true", 1), ("False", 0), ("", 0)])
def test_voc_difficult_is_a_flag(tmp_path, value, ignored):
    picture(tmp_path / "train/a.jpg")
    boxes = ((10, 10, 20, 20),)
    annotation(tmp_path / "train/a.xml", "a.jpg", boxes, extra=f"<difficult>{value}</difficult>")
    picture(tmp_path / "train/b.jpg", 1)
    annotation(tmp_path / "train/b.xml", "b.jpg", boxes)
    assert len(read_dataset(tmp_path, "train").samples[0].ignore) == ignored
    annotation(tmp_path / "train/a.xml", "a.jpg", boxes, extra="<difficult>2</difficult>")
    with pytest.raises(DataError, match="<difficult> is neither 0 nor 1"):
        read_dataset(tmp_path, "train")
