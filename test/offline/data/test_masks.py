"""Masks of data sets: every way that they come in gives the same classes, and what is wrong is told in one sentence."""

import json
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
from mask_data import COLORS, NAMES, draw, write_both, write_masks

from offline.data import read_dataset
from offline.data.__main__ import main as check_command
from offline.data.check import check_segments
from offline.data.masks import attach_masks, pixel_counts, read_mask, read_masked
from offline.data.masks.polygons import draw_polygons
from offline.data.masks.sets import read_task, read_task_sets
from offline.data.masks.table import read_table
from offline.errors import DataError


def options(root, **more):
    given = {"data": root, "train": "train", "val": "val", "also": [], "format": None, "ignore": [], "map": ""}
    return SimpleNamespace(
        **given | {"max_occluded": None, "max_truncated": None, "classes": None, "unseen": False} | more
    )


@pytest.mark.parametrize("kind", ["palette", "index", "rgb"])
def test_palette_index_and_rgb_masks_give_the_same_classes(tmp_path, kind):
    data = read_masked(write_masks(tmp_path, kind), "train")
    assert data.segments == list(NAMES) and data.labels == [] and len(data) == 6
    assert kind == "index" or data.colors == list(COLORS)
    for n, sample in enumerate(data.samples):
        assert np.array_equal(read_mask(sample), draw(n)[1])
    counts = np.sum([np.bincount(draw(n)[1].ravel(), minlength=3) for n in range(6)], 0)
    assert pixel_counts(data).tolist() == counts.tolist()


def test_that_of_several_pictures_in_a_mask_the_first_is_used_is_told_once(tmp_path, caplog):
    root = write_masks(tmp_path, "index")
    for path in (root / "train/masks").iterdir():
        mask = PIL.Image.open(path)
        mask.save(path.with_suffix(".tif"), save_all=True, append_images=[PIL.Image.new("L", mask.size)] * 2)
        path.unlink()
    data = read_masked(root, "train")
    assert all(np.array_equal(read_mask(sample), draw(n)[1]) for n, sample in enumerate(data.samples))
    assert [m for m in caplog.messages if "a file holds several pictures (6 times)" in m] == caplog.messages
    assert "0_mask.tif (3)" in caplog.text
    line = next(line for line in check_segments(root, "train")[1] if "several pictures" in line)
    assert "(6 times): train/masks/0_mask.tif (3), " in line


def test_other_layouts_and_lists_of_names(tmp_path):
    write_masks(tmp_path / "a")
    (tmp_path / "b").mkdir()
    for split in ("train", "val"):
        for kind, name in (("images", "Original_Images"), ("masks", "label_images")):
            (tmp_path / "b" / name).mkdir(exist_ok=True)
            (tmp_path / "a" / split / kind).rename(tmp_path / "b" / name / split)
    (tmp_path / "a/classes.csv").rename(tmp_path / "b/class_dict.csv")
    assert len(read_masked(tmp_path / "b", "val")) == 3
    flat = write_masks(tmp_path / "c", counts=(4, 1))
    for kind in ("images", "masks"):
        (flat / "train" / kind).rename(flat / kind)
    (flat / "part.txt").write_text("3\n1.png\n")
    assert [s.path.name for s in read_masked(flat, "part").samples] == ["3.png", "1.png"]


def test_coco_polygons_and_run_lengths_are_drawn_the_small_on_the_large(tmp_path):
    data = read_masked(write_both(tmp_path, masks=False, polygons=True), "train.json")
    assert data.segments == ["background", "road", "car"]
    for n, sample in enumerate(data.samples):
        assert np.array_equal(read_mask(sample), draw(n)[1])
    column = {"size": [4, 5], "counts": [4, 4, 12]}  # the second column of 5, by COCO's order
    found = draw_polygons([{"name": "car", "segmentation": column}], {"background": 0, "car": 2}, tmp_path, (5, 4))
    assert (found[:, 1] == 2).all() and found.sum() == 8
    with pytest.raises(DataError, match="a segmentation of car is neither polygons nor run lengths"):
        draw_polygons(
            [{"name": "car", "segmentation": {"size": [9, 9]}}], {"background": 0, "car": 2}, tmp_path, (5, 4)
        )


def test_classes_are_ignored_and_merged(tmp_path):
    root = write_masks(tmp_path)
    train, val, _ = read_task(options(root, ignore=["road"], map="car=thing"), "segment", None)
    assert train.segments == val.segments == ["ground", "thing"]
    truth, mask = draw(0)[1], read_mask(train.samples[0])
    assert (mask[truth == 1] == 255).all() and (mask[truth == 2] == 1).all()


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("name,r,g,b\na,1,2,3\na,4,5,6\n", "has the class a twice; give each its own"),
        ("name,r,g,b\na,1,2,3\nb,1,2,3\n", r"has the colour \(1, 2, 3\) twice, for a and for b"),
        ("name,index\na,1\nb,1\n", "has the index 1 twice, for a and for b"),
        ("name,r,g,b\na,1,2,999\n", "row 2, is 'a,1,2,999' .999 is none of 0 to 255"),
        ("colour,value\n", "has no column 'name' in its first row"),
        ("name,r,g,b\n", "names no class"),
    ],
)
def test_a_class_table_that_cannot_be_used_is_refused(tmp_path, table, sentence):
    (tmp_path / "classes.csv").write_text(table)
    with pytest.raises(DataError, match=sentence):
        read_table(tmp_path / "classes.csv")


def test_a_table_may_be_yaml_with_a_bom_or_semicolons(tmp_path):
    for name, text in (
        ("a.yaml", "road: [1, 2, 3]\ncar: [4, 5, 6]\n"),
        ("b.csv", "\ufeffr;g;b;name\n1;2;3;road\n4;5;6;car\n"),
        ("c.yaml", "names: {0: road, 1: car}\n"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert read_table(tmp_path / name).names == ("road", "car")


def test_bad_masks_are_refused_in_one_sentence_and_check_tells_all(tmp_path, capsys):
    root = write_masks(tmp_path, "rgb")
    broken = root / "train/masks/0_mask.png"
    pixels = np.array(PIL.Image.open(broken))
    pixels[:2, :5] = (9, 9, 9)
    PIL.Image.fromarray(pixels).save(broken)
    PIL.Image.fromarray(pixels[:32]).save(root / "train/masks/1_mask.png")
    data = read_masked(root, "train")
    with pytest.raises(DataError, match=r"0_mask.png has 10 pixels of 1 colours .* e.g. \(9, 9, 9\); add them to"):
        read_mask(data.samples[0])
    with pytest.raises(DataError, match="1_mask.png is 96x32, its image 96x64"):
        read_mask(data.samples[1])
    (root / "train/masks/2_mask.png").unlink()
    with pytest.raises(DataError, match=r"2.png: an image has no mask in .*masks; draw it"):
        read_masked(root, "train")
    (root / "classes.csv").write_text((root / "classes.csv").read_text() + "boat,7,7,7\n")
    usable, lines = check_segments(root)
    text = "\n".join(lines)
    assert not usable
    assert "no class has the colour or index (9, 9, 9) (10 pixels): train/masks/0_mask.png" in text
    assert "a mask is 96x32, its image 96x64: train/masks/1_mask.png" in text
    assert "an image has no mask" in text and "no mask shows class boat" in text
    with pytest.raises(SystemExit) as end:
        check_command(["check", str(root)])
    assert end.value.code == 1 and "(9, 9, 9)" in capsys.readouterr().out


def test_a_good_set_passes_the_check(tmp_path):
    usable, lines = check_segments(write_masks(tmp_path))
    assert usable and any(line.startswith("car") for line in lines)


def test_boxes_and_masks_are_not_taken_for_each_other(tmp_path):
    with pytest.raises(DataError, match="has masks and no boxes; set task=segment"):
        read_dataset(write_masks(tmp_path / "m"), "train")
    boxes = write_both(tmp_path / "b", masks=False)
    with pytest.raises(DataError, match="has no masks of 'train.json'.*or set task=detect"):
        read_masked(boxes, "train.json")
    with pytest.raises(DataError, match="--classes chooses among classes of boxes"):
        read_task(options(tmp_path / "m"), "segment", ["car"])


def test_both_learns_from_sets_that_say_what_they_label(tmp_path):
    write_both(tmp_path / "full")
    write_both(tmp_path / "boxes", masks=False)
    write_masks(tmp_path / "masks")
    path = tmp_path / "sets.yaml"
    full = {"data": "full", "train": "train.json", "val": "val.json"}
    boxes = {"data": "boxes", "train": "train.json"}
    masks = {"data": "masks", "train": "train"}
    path.write_text(json.dumps({"sets": [full, boxes | {"has": ["boxes"]}, masks | {"has": ["masks"]}]}))
    train, val, also = read_task_sets(path, "both")
    assert train.labels == ["car"] and train.segments == list(NAMES) and not also and val.segments == list(NAMES)
    assert [p.unlabelled for p in train.parts] == [(), (), (0,)], "no box of the third set is background"
    assert [train.samples[i].mask is None for i in (0, 6, 12)] == [False, True, False]
    assert (read_mask(train.samples[6]) == 255).all()
    for sets, sentence in (
        ([full, boxes], "boxes has no masks and the task is both; say 'has: \\[boxes\\]'"),
        ([full, masks], "the boxes of masks cannot be read .* if it has none, say 'has: \\[masks\\]'"),
        ([full, boxes | {"has": ["masks"]}], "says has: .*'masks'.*, but boxes has no masks"),
    ):
        path.write_text(json.dumps({"sets": sets}))
        with pytest.raises(DataError, match=sentence):
            read_task_sets(path, "both")


def test_masks_beside_boxes_are_attached_by_name(tmp_path):
    root = write_both(tmp_path)
    data = read_dataset(root, "train.json")
    attach_masks(data, root, "train.json")
    assert data.labels == ["car"] and np.array_equal(read_mask(data.samples[2]), draw(2)[1])
