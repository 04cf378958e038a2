"""Several data sets in one training: what the yaml of sets may say, and what each crop of them tells the losses."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from commands import TINY, command, one_sentence, run
from sets_data import CROWD, crowd, sets, traffic, two_sets, write

from offline import compress
from offline.boards.targets import find_target
from offline.data import check_colors, read_measured, read_sets, repeats, unseen
from offline.errors import DataError, RecipeError
from offline.files import save_torch
from offline.model.detector import build_model
from offline.run.recipe_file import load_recipe
from offline.stages.models import student_options, teacher_options, train_student
from offline.stages.preflight import open_run
from offline.training.augment import Loader


@pytest.fixture
def folder(tmp_path):
    return two_sets(tmp_path)


def test_sets_become_one_with_what_each_labels_and_how_often_it_is_drawn(folder):
    train, (first, second) = read_sets(sets(folder, traffic(), crowd(share=0.25, teacher="unlabelled")))
    assert train.labels == ["Person", "Car"] and len(train) == 8 and train.counts().tolist() == [4, 4]
    assert [(p.unlabelled, p.share, p.teacher) for p in train.parts] == [((), 0.75, "all"), ((1,), 0.25, "unlabelled")]
    assert [s.part for s in train.samples] == [0] * 4 + [1] * 4
    assert train.part_lines()[1] == (
        "crowd/train.json: 4 images, 25% of the crops; not labelled there: Car; a teacher tells there: unlabelled"
    )
    assert (first.name, first.labels) == ("traffic/val.json", ["Person", "Car"])
    assert (second.name, second.labels) == ("crowd/val.json", ["Person"])
    assert second.samples[0].classes.tolist() == [0]


def test_shares_without_a_number_follow_the_numbers_of_images(folder):
    write(folder / "crowd", "train", CROWD, 200, count=12)
    train, _ = read_sets(sets(folder, traffic(), crowd()))
    assert [p.share for p in train.parts] == [0.25, 0.75]


def test_what_the_training_is_changes_its_hash(folder):
    plain, weighed = (read_sets(sets(folder, traffic(), crowd(share=s)))[0].sha256 for s in (0.25, 0.5))
    assert plain != weighed


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        (
            [traffic(), crowd(map={"walker": "Person"})],
            "map names a class 'walker' that crowd/train.json does not have",
        ),
        ([traffic(), crowd(map={})], "crowd/train.json labels none of Person, Car; it has: pedestrian, horse"),
        ([traffic(), crowd(share=0)], "set 2: share is 0; give a number over 0, at most 1"),
        ([traffic(), crowd(share=1.5)], "set 2: share is 1.5"),
        ([traffic(share=0.7), crowd(share=0.7)], "the shares add up to 1.4: they must add up to 1"),
        ([traffic(), crowd(share=1.0)], "add up to 1: nothing for the sets without a share"),
        ([traffic(), crowd(labelled=["Car"])], "labelled names 'Car', which is no class of crowd/train.json"),
        ([traffic(), crowd(labelled=["Dog"])], "labelled names 'Dog', which is none of the classes"),
        ([traffic(), crowd(teacher="some")], "teacher is 'some'; choose from: all, unlabelled, none"),
        (
            [traffic(), crowd(taught_by=3)],
            "set 2: taught_by cannot be 3: it is the folder of a bundle, or the teacher.pt",
        ),
        ([traffic(), crowd(taught_by="crowd", teacher="none")], "'teacher: none' that nobody does; drop one of them"),
        ([traffic(), crowd(taught_by="crowd", train=None)], "who teaches, but the set has no train; drop it"),
        ([traffic(), crowd(val="train.json")], "crowd trains on train.json and measures on it"),
        (
            [traffic(), crowd(), {"data": "crowd", "val": "./train.json", "invert": True}],
            "crowd trains on ./train.json and measures on it",
        ),
        ([traffic(), crowd(ignore=["Person", "horse"])], "it has: Person, horse, of which it ignores Person, horse"),
        ([traffic(), crowd(labelled=[])], "and 'labelled' names none; map a class, or drop the set"),
        ([traffic(), crowd(pictures="x")], "set 2: unknown key 'pictures'"),
        ([traffic(), {"train": "train.json"}], "set 2 names no folder"),
        ([traffic(val=None)], "has no set with 'val'"),
        ([{"data": "traffic", "val": "val.json"}], "has no set with 'train'"),
        ([traffic(), traffic(share=0.5)], "measures two times on traffic/val.json"),
        ([traffic(), crowd(invert="yes")], "invert cannot be 'yes'"),
        ([traffic(), crowd(ignore="horse")], "set 2: ignore wants a list: [horse]"),
        ([], "has no list 'sets'"),
    ],
)
def test_a_mistake_in_the_yaml_is_told_in_one_sentence(folder, entries, says):
    with pytest.raises(DataError) as caught:
        read_sets(sets(folder, *entries))
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sets: " + "[" * 3000, "is not yaml"),
        ('sets:\n- data: "a\\0b"\n  train: x\n', "can be no folder's name"),
        ('sets:\n- data: "\\ud800"\n  train: x\n', "can be no folder's name"),
        ("sets:\n- data: a\n  train: x\n  train: y\n", "'train' is there twice"),
        ("sets:\n- data: a\n  map: {b: c, b: d}\n", "'b' is there twice"),
        ("classes: [yes, no]\nsets:\n- data: a\n", "in quotes where they are names"),
        ("sets:\n- data: traffic\n  train: train.json\n  val: ./train.json\n", "trains on ./train.json and measures"),
    ],
)
def test_a_yaml_that_says_something_else_than_it_seems_to_is_refused(folder, text, says):
    for encoding in ("utf-8", "utf-16"):
        (folder / "odd.yaml").write_bytes(text.encode(encoding))
        with pytest.raises(DataError, match=says) as caught:
            read_sets(folder / "odd.yaml")
        assert "\n" not in str(caught.value)


def test_a_class_that_no_set_labels_cannot_be_learnt(folder):
    with pytest.raises(DataError, match="no set that is trained on labels 'Boat'"):
        read_sets(sets(folder, traffic(), classes=["Person", "Car", "Boat"]))


def test_sets_of_different_colours_and_the_same_images_in_two_are_told(folder):
    train, _ = read_sets(sets(folder, traffic(), crowd()))
    assert repeats(train) == []
    check_colors(train)
    for name in ("train0", "train2"):
        image = (folder / "traffic/images" / f"{name}.png").read_bytes()
        (folder / "crowd/images" / f"{name}.png").write_bytes(image)
    (line,) = repeats(train)
    assert line.startswith("2 images are in traffic/train.json and in crowd/train.json (train0.png, train2.png)")
    write(folder / "crowd", "train", CROWD, 200, color=True)
    train, _ = read_sets(sets(folder, traffic(), crowd()))
    with pytest.raises(DataError, match=r"traffic/train.json is gray, crowd/train.json is rgb"):
        check_colors(train)


def test_a_set_of_which_validation_leaves_nothing_is_refused(folder):
    for i in range(4):
        (folder / f"crowd/images/val{i}.png").write_bytes((folder / f"crowd/images/train{i}.png").read_bytes())
    train, measured = read_sets(sets(folder, traffic(), crowd()))
    with pytest.raises(DataError, match="every image of crowd/train.json is in a validation set too"):
        unseen(train, measured)


def test_inverted_sets_are_read_the_other_way_round(folder):
    data = read_measured(sets(folder, crowd(), crowd(invert=True)), ["Person", "Car"])
    assert [d.name for d in data] == ["crowd/val.json", "crowd/val.json (inverted)"]
    assert data[0].sha256 != data[1].sha256
    pair = [Loader(d, SPEC, (64, 32), 8, (1, 1), 0.0, 0.0, seed=1).make(0, 0.0)["images"] for d in data]
    assert (pair[0] + pair[1]).abs().max() < 0.03  # the mean is one half; a gray step is .02


SPEC = {"color": "gray", "mean": [0.5], "std": [0.2]}


def test_a_crop_comes_from_one_set_and_says_what_is_not_labelled_there(folder):
    entries = traffic(), crowd(share=0.25, teacher="unlabelled")
    train, _ = read_sets(sets(folder, *entries))
    loader = Loader(train, SPEC, (64, 64), 64, (0.7, 1.5), 0.5, 0.0, seed=3, objects=0.5, pasted=3, close=0.2)
    batches = [loader.make(step, 0.5) for step in range(3)]
    crowds = np.concatenate([b["unlabelled"][:, 1].numpy() for b in batches])
    assert crowds.mean() == pytest.approx(0.25, abs=0.08)
    for b in batches:
        for image, labels, unlabelled, told in zip(b["images"], b["labels"], b["unlabelled"], b["told"], strict=True):
            seen = image[image.abs() > 0.01]  # beyond its image a crop is filled with the mean
            bright = unlabelled[1].item()
            assert ((seen > 0) == bright).all() and set(labels.tolist()) <= {-1, 0 if bright else 1}
            assert not unlabelled[0] and told.tolist() == ([False, True] if bright else [True, True])


def test_one_set_alone_says_nothing_of_classes(folder):
    train, _ = read_sets(sets(folder, traffic()))
    assert "unlabelled" in Loader(train, SPEC, (64, 64), 2, (1, 1), 0.0, 0.0, seed=3).make(0, 0.0)
    train.parts = []
    assert "unlabelled" not in Loader(train, SPEC, (64, 64), 2, (1, 1), 0.0, 0.0, seed=3).make(0, 0.0)


def test_a_run_of_several_sets_measures_each_and_its_card_tells_of_them(folder):
    path, out = sets(folder, traffic(), crowd(share=0.5, teacher="none")), folder / "bundle"
    recipe = folder / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(TINY | {"card": {"groups": "(?P<frame>val[0-9])"}}))
    done = run(command(path, recipe, out, "--target", "jetson-nano"))
    assert done.returncode == 0, done.stderr
    card = (out / "CARD.md").read_text()
    assert "crowd/train.json: 4 images, 50% of the crops; not labelled there: Car" in card
    assert "### traffic/val.json" in card and "### crowd/val.json" in card and "the worst of the sets below" in card
    manifest = json.loads((out / "bundle.json").read_text())
    assert [s["name"] for s in manifest["made"]["train"]["sets"]] == ["traffic/train.json", "crowd/train.json"]
    scored = run(command(path, recipe, out, "--inverted", module="offline.evaluate"))
    assert scored.returncode == 0, scored.stderr
    result = json.loads(scored.stdout.splitlines()[-1])
    names = ["traffic/val.json", "crowd/val.json"]
    assert list(result["sets"]) == [*names, *(f"{n} (inverted)" for n in names)] and result["worst"] in result["sets"]
    both = sets(
        folder, traffic(), crowd(invert=True), {"data": "crowd", "val": "val.json", "map": {"pedestrian": "Person"}}
    )
    scored = run(command(both, recipe, out, "--inverted", module="offline.evaluate"))
    assert scored.returncode == 0, scored.stderr  # what is listed turned is not measured a second time
    listed = ["traffic/val.json", "crowd/val.json (inverted)", "crowd/val.json", "traffic/val.json (inverted)"]
    assert list(json.loads(scored.stdout.splitlines()[-1])["sets"]) == listed
    twice = run(command(path, recipe, out, "--val", "val.json", module="offline.evaluate"))
    assert "leave out --val" in one_sentence(twice)


@pytest.mark.parametrize(
    ("options", "changes", "says"),
    [
        (["--val", "val.json"], [], "leave out --val"),
        ([], ["distil.relation=1", "distil.min_steps=2"], "relation and attention compare whole images"),
        ([], ["crops.sensor.invert=0.5", "input.color=rgb"], "crops.sensor.invert is for gray images"),
        ([], ["crops.sensor.blur=1.5"], "crops.sensor.blur must lie in 0..1"),
    ],
)
def test_what_sets_cannot_bear_is_refused_before_training(folder, options, changes, says):
    path = sets(folder, traffic(), crowd(teacher="none"))
    args = compress.parse(["--data", str(path), "--out", str(folder / "x"), "--run", str(folder / "run"), *options])
    with pytest.raises((DataError, RecipeError), match=says):
        open_run(args, load_recipe("quick", changes), find_target("cpu"))


OWN = ["Person", "Car"]


def specialist(path, seed=0, labels=OWN, **options):
    """A checkpoint of an untrained model that takes pixels by other means than SPEC."""
    torch.manual_seed(seed)
    model = build_model(TINY["model"] | {"classes": len(labels), "channels": 1} | options)
    path.parent.mkdir(exist_ok=True)
    kept = {"config": model.config(), "weights": model.state_dict(), "labels": labels}
    save_torch(path, kept | {"input": {"mean": [0.4], "std": [0.1]}, "train": {"name": "theirs.json"}})
    return path


def opened(folder, *entries, resume=False, **changes):
    recipe = replace(load_recipe("quick"), model=TINY["model"], student={})
    for stage in ("distil", "prune", "lowrank"):
        schedule = replace(getattr(recipe, stage), epochs=0, min_steps=2, batch=4, **changes)
        setattr(recipe, stage, schedule)
    more = ["--resume"] if resume else []
    path = sets(folder, *entries)
    args = compress.parse(["--data", str(path), "--out", str(folder / "x"), "--run", str(folder / "run"), *more])
    return open_run(args, recipe, find_target("cpu"))


def test_a_set_may_have_a_teacher_of_its_own(folder):
    specialist(folder / "a" / "teacher.pt")
    run = opened(folder, traffic(), crowd(share=0.5, taught_by="a/teacher.pt"))
    assert run.train_data.part_lines()[1].endswith("; not labelled there: Car; taught by a/teacher.pt")
    assert [record["data"] for record in run.origins] == [["theirs.json"]]
    batch = run.loader(0, 16).make(0, 0.0)
    assert (batch["taught_by"] == batch["unlabelled"][:, 1]).all() and 0 < batch["taught_by"].sum() < 16
    run.save("teacher", build_model(teacher_options(run)))
    student = build_model(student_options(run))
    train_student(run, "distil", student, run.recipe.distil)
    assert all(torch.isfinite(v).all() for v in student.state_dict().values())
    opened(folder, traffic(), crowd(share=0.5, taught_by="a/teacher.pt"), resume=True)
    (folder / "a").rename(folder / "b")
    with pytest.raises(
        RecipeError, match="no teacher of crowd/train.json at .*a/teacher.pt; give the folder of a bundle"
    ):
        opened(folder, traffic(), crowd(share=0.5, taught_by="a/teacher.pt"), resume=True)
    specialist(folder / "a" / "teacher.pt", seed=1)
    with pytest.raises(RecipeError, match="specialists"):
        opened(folder, traffic(), crowd(share=0.5, taught_by="a/teacher.pt"), resume=True)


@pytest.mark.parametrize(
    ("labels", "options", "changes", "says"),
    [
        (["Person", "Dog"], {}, {}, "teacher of crowd/train.json .*teacher.pt knows 2 classes"),
        (OWN, {"strides": [4]}, {}, r"its teacher \[4\]: they cannot be compared"),
        (OWN, {}, {"response": 0.0}, "nothing in the recipe learns what a teacher answers"),
        (OWN, {}, {"relation": 1.0}, "of crowd/train.json the teacher does not tell all"),
    ],
)
def test_a_teacher_that_cannot_teach_a_set_is_refused_before_training(folder, labels, options, changes, says):
    specialist(folder / "a" / "teacher.pt", labels=labels, **options)
    with pytest.raises(RecipeError, match=says):
        opened(folder, traffic(), crowd(share=0.5, taught_by="a/teacher.pt"), **changes)
