"""What a yaml of sets may get wrong is told before training, of each set by its number, and all at once by `check`."""

import shutil
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
from sets_data import CROWD, crowd, sets, traffic, two_sets, write

from offline import compress
from offline.boards.targets import find_target
from offline.data import color_lines, detect_color, read_dataset, read_sets
from offline.data.__main__ import main as data_command
from offline.data.check import How
from offline.data.check_sets import check_sets
from offline.data.sets_file import Entry
from offline.errors import DataError
from offline.run.recipe_file import load_recipe
from offline.stages.preflight import open_run


@pytest.fixture
def folder(tmp_path):
    return two_sets(tmp_path)


def main_code(folder, *entries):
    with pytest.raises(SystemExit) as done:
        data_command(["check", str(sets(folder, *entries))])
    return done.value.code


def test_check_tells_of_each_set_and_how_they_go_together(folder):
    (folder / "crowd/images/val1.png").write_bytes((folder / "crowd/images/train1.png").read_bytes())
    usable, lines = check_sets(sets(folder, traffic(), crowd(share=0.25)))
    text = "\n".join(lines)
    assert (
        usable and "crowd/train.json: 4 images, boxes: Person 4; ignore regions 0" in text and "class horse" not in text
    )
    assert "crowd/train.json: 4 images, 25% of the crops; not labelled there: Car" in text
    assert "1 of them a copy" in text
    assert main_code(folder, traffic(), crowd()) == 0
    usable, lines = check_sets(sets(folder, traffic(), crowd(share=2)))
    assert not usable and lines[-1].startswith("error: ") and "share is 2" in lines[-1]
    usable, lines = check_sets(sets(folder, traffic(), crowd(taught_by="theirs")))
    assert not usable and lines[-1].endswith(f"set 2: taught_by: nothing is at {folder / 'theirs'}; correct it")
    (folder / "crowd/images/train2.png").write_bytes(b"no image")
    assert main_code(folder, traffic(), crowd()) == 1


def errors(path, **options):
    usable, lines = check_sets(path, **options)
    found = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    assert usable == (not found)
    return found


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ignore": "horse"}, "ignore wants a list: [horse]"),
        ({"labelled": "Person"}, "labelled wants a list: [Person]"),
        ({"ignore": [1]}, "ignore must be a list of names, not [1]; write yes, no"),
        ({"val": ["val.json", "val.json"]}, "val names 'val.json' twice; name it once"),
        ({"train": None, "val": None}, "names neither train nor val"),
        ({"invert": "yes"}, "invert cannot be 'yes': it is true or false; see 'Several data sets' in docs/your_own"),
        ({"train": ["a", "b"]}, "train cannot be ['a', 'b']: it is the name of one split"),
        ({"max_occluded": True}, "max_occluded cannot be True: it is a whole number"),
        ({"format": "coko"}, "format is 'coko'; choose from: coco, "),
        (
            {"format": "yolo"},
            "crowd names no classes; write them into data.yaml (names: [...]) or classes.txt (the set",
        ),
        ({"data": "nowhere"}, "/nowhere; name the folder that holds"),
        ({"data": "crowd/train.json"}, "crowd/train.json is a file; name the folder"),
        ({"train": "trian.json"}, "no annotation file at "),
        ({"map": {"walker": "Person"}}, "map names a class 'walker' that crowd/train.json does not have"),
        ({"map": {"pedestrian": "Human"}}, "map gives Human, which is no class asked for; correct the map"),
        ({"ignore": ["hors"]}, "has no category 'hors' to ignore; it has: Person, horse"),
        ({"labelled": ["Dog"]}, "labelled names 'Dog', which is none of the classes"),
        ({"share": 2}, "share is 2"),
        ({"val": "train.json"}, "crowd trains on train.json and measures on it"),
    ],
)
def test_a_fault_of_a_set_names_file_and_set_and_speaks_of_its_keys(folder, change, says):
    path = sets(folder, traffic(), crowd(**change))
    with pytest.raises(DataError) as caught:
        read_sets(path)
    for sentence in (str(caught.value), errors(path)[0]):
        assert sentence.startswith(f"{path}, set 2: ") and says in sentence, sentence
        assert "--" not in sentence and ".py" not in sentence


def test_a_set_that_is_listed_twice_is_said_to_be(folder):
    for entries, says in (
        ([traffic(), traffic()], "it measures two times on traffic/val.json"),
        ([traffic(), traffic(val=None)], "it trains two times on traffic/train.json"),
    ):
        with pytest.raises(DataError, match=f"set 2: traffic is listed twice, here and as set 1: {says}"):
            read_sets(sets(folder, *entries))
    assert read_sets(sets(folder, traffic(), {"data": "traffic", "val": "val.json", "invert": True}))


def test_all_faults_of_all_sets_are_told(folder):
    write(folder / "third", "train", CROWD, 100)
    (folder / "crowd/images/train1.png").write_bytes(b"no image")
    (folder / "crowd/images/val2.png").unlink()
    third = {"data": "third", "train": "train.json", "val": "nowhere.json", "labelled": ["Dog"]}
    path = sets(folder, traffic(share=2), crowd(), third)
    told = errors(path)
    for number, says in (
        (1, "share is 2"),
        (2, "cannot read the image: images/train1.png"),
        (2, "an image that val.json names is neither in"),
        (3, "no annotation file at"),
    ):
        assert any(line.startswith(f"{path}, set {number}: ") and says in line for line in told), (says, told)


def test_check_tells_what_is_learnt_and_what_is_left_out(folder):
    labels = folder / "traffic/train.json"
    labels.write_text(labels.read_text().replace('"category_id": 1', '"category_id": 0', 1))  # one is a Person
    usable, lines = check_sets(sets(folder, traffic(labelled=["Car"]), crowd(), classes=["Person", "Car"]))
    assert usable and not any("no boxes of class Person" in line for line in lines)
    assert "traffic/train.json: 4 images, boxes: Car 3; ignore regions 0; left out 1 boxes of Person" in lines
    path = sets(folder, crowd(map={"pedestrian": "Car"}), traffic())
    usable, lines = check_sets(path)
    assert usable and f"{path} names no classes: those of its first set are learnt: Car, horse" in lines
    assert "mixed: 8 images, boxes: Car 7, horse 0; ignore regions 0; left out 1 boxes of Person" in lines


def test_an_inverted_set_is_told_from_the_plain_one(folder):
    path = sets(folder, traffic(), {"data": "traffic", "val": "val.json", "invert": True, "ignore": ["DontCare"]})
    lines = check_sets(path)[1]
    for name in ("traffic/val.json", "traffic/val.json (inverted)"):
        assert sum(line.startswith(f"{name}: 4 images, boxes") for line in lines) == 1


def preflight(folder, *options):
    folders = ["--out", str(folder / "x"), "--run", str(folder / "run")]
    args = compress.parse([*map(str, options), *folders])
    return open_run(args, load_recipe("quick", args.set), find_target("cpu"))


def test_a_validation_set_of_training_images_is_refused_before_training(folder, capsys):
    write(folder / "traffic", "train", ["Person", "Car", "DontCare"], 60, count=8, label=1)
    for i in range(3):
        shutil.copy(folder / f"traffic/images/train{i}.png", folder / f"traffic/images/val{i}.png")
    path, says = (
        sets(folder, traffic(), crowd()),
        "3 of 4 images of traffic/val.json are copies of images that are trained",
    )
    with pytest.raises(DataError, match=f"{path}, set 1: {says} on .*split by flight or place, or .* with --unseen"):
        preflight(folder, "--data", path)
    assert not (folder / "run").exists()
    assert [says in line for line in errors(path)] == [True]
    assert errors(path, how=How(unseen=True)) == []
    one = ["--data", folder / "traffic", "--train", "train.json", "--val", "val.json", "--ignore", "DontCare"]
    with pytest.raises(DataError, match=says):
        preflight(folder, *one)
    for options, code in (([], 1), (["--unseen"], 0)):
        with pytest.raises(SystemExit) as done:
            data_command(["check", str(folder / "traffic"), "--ignore", "DontCare", *options])
        assert done.value.code == code and ("images of val are copies" in capsys.readouterr().out) == bool(code)
    assert len(preflight(folder, *one, "--unseen").train_data) == 5


def test_a_few_copies_are_warned_of(folder):
    for i in range(2):
        shutil.copy(folder / f"traffic/images/train{i}.png", folder / f"traffic/images/val{i}.png")
    usable, lines = check_sets(sets(folder, traffic(), crowd()))
    assert usable and any("2 of them a copy" in line for line in lines)


def colour(images):
    """Every second image to train on, as a palette shows it."""
    for image in sorted(images.glob("train*.png"))[::2]:
        gray = cv2.imread(str(image), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(image), cv2.applyColorMap(gray, cv2.COLORMAP_INFERNO))


def test_gray_and_colour_images_in_one_set_are_told(folder, capsys, caplog):
    write(folder / "traffic", "train", ["Person", "Car", "DontCare"], 60, count=30, label=1)
    colour(folder / "traffic/images")
    says = (
        "15 of 30 images are in colour, the others gray: traffic/train.json; use one kind, or read all alike with --set"
    )
    for options, told in (([], True), (["--set", "input.color=gray"], False)):
        with pytest.raises(SystemExit) as done:
            data_command(["check", str(folder / "traffic"), "--ignore", "DontCare", *options])
        assert done.value.code == 0 and (says in capsys.readouterr().out) == told
    path = sets(folder, traffic(), crowd())
    assert "traffic/train.json is gray and rgb, crowd/train.json is gray" in errors(path)[0]
    assert errors(path, how=How("gray")) == []
    preflight(
        folder, "--data", folder / "traffic", "--train", "train.json", "--val", "val.json", "--ignore", "DontCare"
    )
    assert sum(says in line for line in caplog.messages) == 1


def test_colours_are_judged_by_images_from_all_of_a_set(folder):
    write(folder / "traffic", "train", ["Person", "Car", "DontCare"], 60, count=127, label=1)
    train, val = (read_dataset(folder / "traffic", f"{split}.json", ignore=("DontCare",)) for split in ("train", "val"))
    assert detect_color(train) == "gray" and list(color_lines(train, [val])) == []
    coloured = [s.path for s in train.samples[9::2]]  # none of the first eight, and none at even steps
    for path in coloured:
        cv2.imwrite(str(path), cv2.applyColorMap(cv2.imread(str(path), 0), cv2.COLORMAP_INFERNO))
    assert detect_color(train) == "rgb"
    (line,) = color_lines(train, [val])
    assert " of 64 images are in colour, the others gray: traffic/train.json (a sample of its 127)" in line
    for s in train.samples:
        cv2.imwrite(str(s.path), np.full((64, 96, 3), (10, 20, 90), np.uint8))
    (line,) = color_lines(train, [val])
    assert line.startswith("images of traffic/val.json are gray, those that are trained on rgb; ")


def test_the_keys_of_a_set_are_all_in_the_docs():
    text = (Path(__file__).resolve().parents[3] / "docs/your_own_data.md").read_text()
    section = text[text.index("## Several data sets") : text.index("## Other cameras")]
    keys = [f.name for f in fields(Entry) if f.name != "where"]
    assert [key for key in keys if f"`{key}" not in section and f" {key}:" not in section] == []
