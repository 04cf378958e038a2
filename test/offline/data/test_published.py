"""Data sets as they are published and exported: read without copying, renaming or telling their format."""

import shutil

import pytest
from published import COUNTS, PUBLISHED, SIDE, coco, hit_uav, scene, two, uavdt, visdrone

from offline import compress
from offline.boards.targets import find_target
from offline.data import Rules, read_dataset, read_pair
from offline.data.__main__ import main
from offline.data.read import FORMATS
from offline.errors import DataError
from offline.run.recipe_file import load_recipe
from offline.stages.preflight import open_run


def check(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main(["check", *map(str, arguments)])
    return end.value.code, capsys.readouterr().out


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_every_layout_is_read_as_it_is(tmp_path, capsys, name):
    write, val, _ = PUBLISHED[name]
    root = write(tmp_path / "set")
    for format in (None, name):
        train, measured = read_pair(root, "train", val, format)
        for number, (data, count) in enumerate(zip((train, measured), COUNTS.values(), strict=True)):
            assert len(data) == count
            for i, sample in enumerate(data.samples):
                wanted = sorted([x, y, x + SIDE, y + SIDE] for x, y, *_ in scene(10 * number + i)[1])
                assert sorted(b.round().tolist() for b in sample.boxes) == wanted  # of its own split's image
                assert len(set(sample.classes.tolist())) == 2
    code, text = check(capsys, root, *(["--val", val] if name == "uavdt" else []))
    assert code == 0 and f"taken for {name}" in text, text
    assert not {"things"} & set(train.labels)


def test_every_name_of_a_format_has_a_sample_or_is_a_family():
    assert set(FORMATS) == {"coco", "masks", "voc", "yolo", *PUBLISHED}


def test_visdrone_leaves_alone_what_it_says_and_hides_what_is_asked(tmp_path):
    root = visdrone(tmp_path)
    data = read_dataset(root, "train")
    assert data.labels[0] == "pedestrian" and len(data.labels) == 10
    assert [len(s.ignore) for s in data.samples] == [2] * len(data)
    hidden = read_dataset(root, "VisDrone2019-DET-train", rules=Rules(max_occluded=1, max_truncated=1))
    assert hidden.counts().tolist()[:4] == [0, 0, 0, len(data)] and len(hidden.samples[0].ignore) == 3


def test_uavdt_takes_sequences_by_name_and_names_what_is_missing(tmp_path):
    root = uavdt(tmp_path)
    assert len(read_dataset(root, "M0101,M0203")) == len(read_dataset(root, "all")) == sum(COUNTS.values())
    data = read_dataset(root, "train", rules=Rules(max_occluded=2))
    assert data.labels == ["car", "truck", "bus"] and data.counts().tolist() == [4, 0, 0]  # the truck is hidden
    with pytest.raises(DataError, match=r"no sequence 'M9' in .*GT; name a split of M_attr \(test, train, all\)"):
        read_dataset(root, "M9")


def test_bad_lines_are_told_with_their_place(tmp_path):
    root = visdrone(tmp_path / "v")
    file = root / "VisDrone2019-DET-train/annotations/frame_000001.txt"
    file.write_text("1,2,3,4,1,4\n")
    with pytest.raises(DataError, match=r"frame_000001.txt:1: a line is not 'left,top"):
        read_dataset(root, "train")
    file.write_text("1,2,30,40,1,12,0,0\n")
    with pytest.raises(DataError, match="unknown category 12"):
        read_dataset(root, "train")
    root = uavdt(tmp_path / "u")
    (root / "UAV-benchmark-MOTD_v1.0/GT/M0101_gt_whole.txt").write_text("1,1,x\n")
    with pytest.raises(DataError, match=r"M0101_gt_whole.txt:1: a line is not 'frame,track"):
        read_dataset(root, "train")


def test_images_of_the_splits_own_folder_that_are_not_listed_are_told(tmp_path, caplog):
    root = PUBLISHED["roboflow-coco"][0](tmp_path)
    shutil.copy(root / "train/frame_000000.jpg", root / "train/more.jpg")
    read_dataset(root, "train")
    assert "is not listed, so it is left out" in caplog.text and "train/more.jpg" in caplog.text


def test_another_format_than_said_is_told(tmp_path, caplog):
    read_dataset(PUBLISHED["roboflow-coco"][0](tmp_path), "train", "coco2017")
    assert "the format is said to be coco2017, but the files lie as those of roboflow-coco do" in caplog.text


def test_a_class_that_sounds_like_regions_to_ignore_is_told(tmp_path, caplog):
    root = PUBLISHED["hit-uav"][0](tmp_path)
    read_dataset(root, "train", ignore=("DontCare",))
    assert "DontCare" not in caplog.text
    read_dataset(root, "train")
    assert "class 'DontCare' sounds like regions to leave alone" in caplog.text


def test_a_plain_coco_set_may_be_named_by_its_splits(tmp_path):
    root = coco(tmp_path, "images/{}", "{}.json", two())
    assert len(read_dataset(root, "train")) == len(read_dataset(root, "train.json")) == COUNTS["train"]


@pytest.mark.parametrize(
    ("name", "write", "options", "labels"),
    [
        ("visdrone", visdrone, [], ["pedestrian", "people", "bicycle"]),
        ("visdrone", visdrone, ["--map", "pedestrian,people=person; car,van,truck,bus=vehicle"], ["person", "bicycle"]),
        ("hit_uav", hit_uav, ["--ignore", "DontCare"], ["Person", "Car"]),
    ],
)
def test_the_command_in_a_recipes_head_opens_its_run(tmp_path, name, write, options, labels):
    root = write(tmp_path / "set")
    splits = ["--data", str(root), "--train", "train", "--val", "val", *options]
    folders = ["--recipe", name, "--out", str(tmp_path / "out"), "--run", str(tmp_path / "run")]
    args = compress.parse([*splits, *folders, "--set", "card.groups=''", "--set", "card.bands={}"])
    run = open_run(args, load_recipe(args.recipe, args.set), find_target("jetson-nano"))
    assert run.labels[: len(labels)] == labels
    assert run.input["color"] == ("rgb" if name == "visdrone" else "gray")
