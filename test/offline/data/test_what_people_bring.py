"""What people bring: names, encodings, links, values of other types are read right, or told in one sentence."""

import os

import cv2
import numpy as np
import PIL.Image
import pytest
import yaml
from published import coco_file, scene, yolo_labels

from offline.data import class_list, detect_color, read_dataset, read_image, read_sets
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


def write_pages(path, pixels):
    """The picture, and a black one behind it."""
    PIL.Image.fromarray(pixels).save(path, save_all=True, append_images=[PIL.Image.fromarray(0 * pixels)])


@pytest.mark.parametrize("suffix", [".tif", ".png", ".webp"])
def test_that_of_several_pictures_in_a_file_the_first_is_used_is_told_once(tmp_path, capsys, caplog, suffix):
    root = yolo(tmp_path, suffix=suffix, write=write_pages, count=2)
    data = read_dataset(root, "train")
    assert all(read_image(s, "gray").mean() > 20 for s in data.samples)
    told = [m for m in caplog.messages if "a file holds several pictures" in m]
    assert len(told) == 1 and f"images/train/0{suffix} (2)" in told[0] and "the first alone is used" in told[0]
    caplog.clear()
    sets = tmp_path / "sets.yaml"
    sets.write_text(yaml.safe_dump({"sets": [{"data": str(root), "train": "train", "val": "val"}]}))
    read_sets(sets)
    assert sum("several pictures" in m for m in caplog.messages) == 2, "of train and of val"
    code, text = check(capsys, root)
    assert code == 0 and text.count("a file holds several pictures (4 times)") == 1


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
    path = coco_file(tmp_path / "c") / "f.json"
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


# Links, pointers and names that lead nowhere

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"


@pytest.mark.parametrize("target", ["nowhere.png", "0.png"])
def test_a_link_to_nothing_or_itself_is_told_beside_all_the_rest(tmp_path, capsys, target):
    root = yolo(tmp_path)
    (root / "images/train/0.png").unlink()
    (root / "images/train/0.png").symlink_to(target)
    (root / "labels/train/1.txt").write_text("7 .5 .5 .1 .1")
    code, text = check(capsys, root)
    assert code == 1 and "cannot open the image" in text and "unknown class id 7" in text


@pytest.mark.parametrize("name", ["labels/train/0.txt", "data.yaml", "images/train/0.png"])
def test_pointers_of_git_lfs_are_told_for_what_they_are(tmp_path, capsys, name):
    root = yolo(tmp_path)
    (root / name).write_bytes(LFS)
    code, text = check(capsys, root)
    assert code == 1 and "Git LFS pointer" in text and "git lfs pull" in text


def test_pointers_of_git_lfs_in_coco_and_voc(tmp_path):
    root = coco_file(tmp_path / "coco")
    (root / "f.json").write_bytes(LFS)
    with pytest.raises(DataError, match="Git LFS pointer"):
        read_dataset(root, "f.json")
    (tmp_path / "voc/train").mkdir(parents=True)
    (tmp_path / "voc/train/0.xml").write_bytes(LFS)
    with pytest.raises(DataError, match="Git LFS pointer"):
        read_dataset(tmp_path / "voc", "train")


@pytest.mark.parametrize("names", ["names: " + "[" * 3000 + "\n", 'names: ["\\ud800", Car]\n'])
def test_a_description_that_nothing_can_be_made_of_is_refused(tmp_path, capsys, names):
    code, text = check(capsys, yolo(tmp_path, names))
    assert code == 1 and ("is not YAML" in text or "half a character" in text)


def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path):
    def write(path, pixels):
        image = PIL.Image.fromarray(pixels)
        exif = image.getexif()
        exif[0x112] = 9
        image.save(path, exif=exif)

    root = yolo(tmp_path, suffix=".jpg", write=write)
    sample = read_dataset(root, "train").samples[0]
    assert read_image(sample, "gray").shape == (sample.height, sample.width)


def test_an_image_without_a_number_is_told(tmp_path, capsys):
    root = yolo(tmp_path)
    (root / "images/train/0.png").unlink()
    cv2.imwrite(str(root / "images/train/0.tiff"), np.full((96, 128), np.nan, np.float32))
    code, text = check(capsys, root)
    assert code == 1 and "no pixel of an image is a number: images/train/0.tiff" in text


@pytest.mark.parametrize("classes", ["Person,Person", "Person, Person", "Person,,Car", ","])
def test_classes_that_are_named_twice_are_refused(classes):
    with pytest.raises(DataError, match="name each class once"):
        class_list(classes)


def test_classes_may_have_blanks_between_them():
    assert class_list("Person, Car") == ["Person", "Car"] and class_list(None) is None
