"""Which mask is an image's own: layouts of public sets, names that occur twice, and sets of masks in one yaml."""

import json
import shutil

import numpy as np
import pytest
from mask_data import TABLE, draw, palette_image, write_both, write_masks
from PIL import Image

from offline.data.__main__ import main as check_command
from offline.data.check import check_segments
from offline.data.formats.masks import splits
from offline.data.masks import attach_masks, read_mask, read_masked
from offline.data.masks.sets import read_measured_sets, read_task_sets
from offline.data.read import read_dataset
from offline.errors import DataError


def place(image_path, mask_path, seed):
    """An image and its mask, drawn with `seed`."""
    for path in (image_path, mask_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    image, mask, _ = draw(seed)
    Image.fromarray(image).save(image_path)
    palette_image(mask).save(mask_path)


def flood(root):
    """FloodNet, RescueNet: the folders' names begin with the split's."""
    for n in range(3):
        place(root / f"train/train-org-img/{n}.jpg", root / f"train/train-label-img/{n}_lab.png", n)
    return "train", {"train"}


def sequences(root):
    """UAVid: folders for each sequence, whose images have the same names."""
    for n in range(3):
        place(root / f"uavid_train/seq{n}/Images/000000.png", root / f"uavid_train/seq{n}/Labels/000000.png", n)
    return "uavid_train", {"uavid_train"}


def voc(root):
    """VOC's segmentations, AeroScapes: lists in ImageSets."""
    for n in range(4):
        place(root / f"JPEGImages/{n}.jpg", root / f"SegmentationClass/{n}.png", n)
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/trn.txt").write_text("0\n1\n2\n")
    (root / "ImageSets/Segmentation/val.txt").write_text("3\n")
    return "trn", {"trn", "val"}


def nested(root):
    """One folder of images and one of masks, and in both the same folders of flights."""
    for n in range(3):
        place(root / f"train/images/flight{n}/1.png", root / f"train/masks/flight{n}/1.png", n)
    return "train", {"train"}


@pytest.mark.parametrize("layout", [flood, sequences, voc, nested])
def test_layouts_of_public_sets_are_read_and_each_image_gets_its_own_mask(tmp_path, layout):
    split, known = layout(tmp_path)
    (tmp_path / "classes.csv").write_text(TABLE)
    assert set(splits(tmp_path)) == known
    data = read_masked(tmp_path, split)
    assert len(data) == 3 and check_segments(tmp_path, split)[0]
    for n, sample in enumerate(data.samples):
        assert np.array_equal(read_mask(sample), draw(n)[1])


def test_a_mask_serves_one_image_and_an_image_has_one_mask(tmp_path):
    root = write_masks(tmp_path / "a")
    (root / "train/images/b").mkdir()
    shutil.copy(root / "train/images/0.png", root / "train/images/b/0.png")
    with pytest.raises(DataError, match=r"b/0.png: an image would share the mask .*0_mask.png with .*; put masks into"):
        read_masked(root, "train")
    nested(tmp_path / "c")
    (tmp_path / "c/classes.csv").write_text(TABLE)
    (tmp_path / "c/train/masks/flight1/1.png").unlink()
    with pytest.raises(DataError, match="flight1/1.png: an image has no mask in"):
        read_masked(tmp_path / "c", "train")
    flood(tmp_path / "d")
    (tmp_path / "d/classes.csv").write_text(TABLE)
    shutil.copy(tmp_path / "d/train/train-label-img/1_lab.png", tmp_path / "d/train/train-label-img/1.png")
    with pytest.raises(DataError, match="1.jpg: an image has 2 masks, 1.png and 1_lab.png; keep the one that counts"):
        read_masked(tmp_path / "d", "train")


def test_masks_beside_boxes_follow_the_folders_of_the_images(tmp_path):
    root = write_both(tmp_path)
    coco = json.loads((root / "train.json").read_text())
    for n, entry in enumerate(coco["images"]):
        name = f"flight{n}/1.png"  # all of one name
        for kind in ("images", "masks"):
            (root / kind / name).parent.mkdir()
            (root / kind / entry["file_name"]).rename(root / kind / name)
        entry["file_name"] = name
    (root / "train.json").write_text(json.dumps(coco))
    data = attach_masks(read_dataset(root, "train.json"), root, "train.json")
    for n, sample in enumerate(data.samples):
        assert np.array_equal(read_mask(sample), draw(n)[1])


def test_sets_of_masks_are_checked_and_measured(tmp_path, capsys):
    write_masks(tmp_path / "a"), write_masks(tmp_path / "b"), write_both(tmp_path / "full")
    path = tmp_path / "sets.yaml"
    sets = [{"data": "a", "train": "train", "val": ["val"]}, {"data": "b", "val": ["train", "val"]}]
    path.write_text(json.dumps({"sets": sets}))
    measured = read_measured_sets(path, [], ["ground", "road", "car"])
    assert [(d.name, len(d)) for d in measured] == [("a/val", 3), ("b/train", 6), ("b/val", 3)]
    broken = tmp_path / "b/val/masks/1_mask.png"
    Image.fromarray(np.full((64, 96), 9, np.uint8), "L").save(broken)
    with pytest.raises(SystemExit) as end:
        check_command(["check", str(path)])
    told = capsys.readouterr().out
    assert end.value.code == 1 and "no class has the colour or index 9 (6144 pixels): val/masks/1_mask.png" in told
    assert "a/train: 6 images; 6 masks" in told
    path.write_text(json.dumps({"sets": [{"data": "full", "train": "train.json", "val": ["val.json"]}]}))
    for task, seen in (("segment", False), ("both", True), ("detect", True)):
        with pytest.raises(SystemExit) as end:
            check_command(["check", str(path), "--task", task])
        told = capsys.readouterr().out
        assert end.value.code == 0 and ("boxes: car 18" in told) == seen, told
        assert ("6 masks: ground, road, car" in told) == (task != "detect")
    sets = [{"data": "a", "train": "train", "val": ["train"]}]
    path.write_text(json.dumps({"sets": sets}))
    with pytest.raises(DataError, match="a trains on train and measures on it; name another val"):
        read_task_sets(path, "segment")


def test_sets_whose_masks_show_fewer_classes_are_refused(tmp_path):
    write_masks(tmp_path / "a"), write_masks(tmp_path / "b")
    path = tmp_path / "sets.yaml"
    sets = [{"data": "a", "train": "train", "val": ["val"]}, {"data": "b", "train": "train"}]
    path.write_text(json.dumps({"sets": sets}))
    (tmp_path / "b/classes.csv").write_text(TABLE.replace("car", "road2"))
    with pytest.raises(DataError, match="has 'road2', which is none of the classes"):
        read_task_sets(path, "segment")
    sets[1]["map"] = {"road2": "road"}
    path.write_text(json.dumps({"sets": sets}))
    with pytest.raises(DataError, match="b/classes.csv has no class 'car', which other sets have"):
        read_task_sets(path, "segment")
    (tmp_path / "b/classes.csv").write_text(TABLE.replace("car", "road2") + "car,1,2,3\n")
    assert read_task_sets(path, "segment")[0].segments == ["ground", "road", "car"]
    sets[1]["labelled"] = ["road"]
    path.write_text(json.dumps({"sets": sets}))
    with pytest.raises(DataError, match="set 2: labelled is for boxes"):
        read_task_sets(path, "segment")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.full((64, 96), 300, np.uint16), r"6144 pixels of 1 colours or indices .* e.g. 300"),
        (np.full((64, 96), -1, np.int32), "6144 pixels of 1 colours or indices .* e.g. -1"),
        (np.full((64, 96), 70000, np.int32), "6144 pixels of 1 colours or indices .* e.g. 70000"),
        (np.full((64, 96), 0.5, np.float32), "0.tif are no whole numbers; export the indices"),
        (np.full((64, 96), np.nan, np.float32), "0.tif are no whole numbers"),
        (np.full((64, 96), 2.0, np.float32), None),
        (np.full((64, 96), 2, np.uint16), None),
    ],
)
def test_numbers_that_are_no_index_are_no_class(tmp_path, values, says):
    root = write_masks(tmp_path, "index", counts=(1, 1))
    (root / "train/masks/0_mask.png").unlink()
    Image.fromarray(values).save(root / "train/masks/0.tif")
    (sample,) = read_masked(root, "train").samples
    if says:
        with pytest.raises(DataError, match=says):
            read_mask(sample)
    else:
        assert (read_mask(sample) == 2).all()


def test_one_class_alone_is_refused(tmp_path):
    root = write_masks(tmp_path)
    for ignore in (("road", "car"), ("ground", "road")):
        with pytest.raises(DataError, match="leaves one class, (ground|car), and nothing to tell it from; add a row"):
            read_masked(root, "train", ignore=ignore)


def test_masks_without_a_pixel_of_a_class_teach_nothing(tmp_path, capsys):
    root = write_masks(tmp_path, "index")
    for path in root.rglob("*_mask.png"):
        Image.fromarray(np.full((64, 96), 255, np.uint8), "L").save(path)
    usable, lines = check_segments(root)
    assert not usable and any("no pixel of its masks is of a class" in line for line in lines)


def test_an_inverted_set_of_masks_has_figures_of_its_own(tmp_path):
    write_masks(tmp_path / "a")
    path = tmp_path / "sets.yaml"
    sets = [{"data": "a", "train": "train", "val": ["val"]}, {"data": "a", "val": ["val"], "invert": True}]
    path.write_text(json.dumps({"sets": sets}))
    _, plain, (turned,) = read_task_sets(path, "segment")
    assert turned.name == f"{plain.name} (inverted)"
    assert turned.sha256[:16] != plain.sha256[:16]  # by which a run keeps what it measured


def test_check_takes_the_classes_from_the_set_that_is_learnt_not_from_the_first_listed(tmp_path, capsys):
    write_masks(tmp_path / "a"), write_masks(tmp_path / "b")
    (tmp_path / "b/classes.csv").write_text(TABLE.replace("car", "road2"))
    path = tmp_path / "sets.yaml"
    known = {"data": "b", "val": ["val"], "map": {"road2": "road"}}
    path.write_text(json.dumps({"sets": [known, {"data": "a", "train": "train", "val": ["val"]}]}))
    with pytest.raises(SystemExit):
        check_command(["check", str(path), "--task", "segment"])
    told = capsys.readouterr().out
    assert "6 masks: ground, road, car" in told, told
    assert "which is none of the classes" not in told
