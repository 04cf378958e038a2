"""Values in COCO and VOC labels as people have them: of other types, listed twice, in other encodings and folders."""

import unicodedata

import cv2
import pytest
from published import coco_file, scene

from offline.data import read_dataset
from offline.errors import DataError


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

    root = coco_file(tmp_path, wrapped)
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
        (each("categories", "name", "\ud800"), "holds half a character"),
        (each("categories", "id", "--1"), "category id --1 is both"),
        (each("images", "file_name", "\ud800.png"), r"images: \\ud800.png|\\ud800.png: an image that"),
        (each("annotations", "bbox", "1234"), "bbox is '1234', no list"),
        (each("annotations", "bbox", [10**400, 1, 2, 3]), "4 numbers in bbox"),
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
        read_dataset(coco_file(tmp_path, change), "f.json")
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
    root = coco_file(tmp_path, lambda c: c["images"][0].update(file_name=said), names=(there, "b.png"))
    assert read_dataset(root, "f.json").samples[0].path.name == there
    assert "not where its labels say, or spelt otherwise" in caplog.text


def test_a_pointer_of_git_lfs_is_no_image(tmp_path):
    root = coco_file(tmp_path)
    (root / "images/a.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    with pytest.raises(DataError, match="a Git LFS pointer is in the place of an image; git lfs pull"):
        read_dataset(root, "f.json")


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
