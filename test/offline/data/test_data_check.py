"""`python -m offline.data check`, leaks between splits, and damaged images before and in the middle of training."""

import json
import re
import shutil
import threading
import time

import cv2
import numpy as np
import pytest
import yaml
from commands import STEPS, TINY

from offline import compress
from offline.data import leak_warnings, read_dataset, read_pair, unseen
from offline.data.__main__ import main
from offline.data.near_duplicates import find_leak, fingerprints, repeated
from offline.errors import DataError


@pytest.fixture
def data(data, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(data, tmp_path / "data")


def change_labels(root, split, change):
    path = root / f"{split}.json"
    labels = json.loads(path.read_text())
    change(labels)
    path.write_text(json.dumps(labels))


def check(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main(["check", *map(str, arguments)])
    return end.value.code, capsys.readouterr().out


def test_a_sound_set_passes_with_its_table(data, capsys):
    code, text = check(capsys, data, "--ignore", "DontCare")
    assert code == 0 and "error" not in text and text.endswith("the data set can be used\n")
    assert "median side" in text and "near-twin" not in text


def test_everything_is_reported_at_once(data, capsys):
    images = sorted((data / "images").glob("train_*.png"))
    images[0].unlink()
    images[1].write_bytes(images[1].read_bytes()[:600])  # its header is sound
    cv2.imwrite(str(images[2]), np.zeros((10, 10), np.uint8))
    shutil.copy(images[3], images[4])
    shutil.copy(images[5], data / "images/val_000000.png")

    def spoil(labels):
        last = labels["images"][-1]["id"]
        boxes = ([120, 5, 40, 9], [300, 5, 9, 9], [5, 5, 0, 9], [9, 9, 2, 2], [30, 30, 9, 9], [30, 30, 9, 9])
        labels["annotations"] += [{"id": 0, "image_id": last, "category_id": 0, "bbox": b} for b in boxes]
        labels["annotations"] += [{"id": 0, "image_id": 99, "category_id": 0, "bbox": boxes[0]}, {"id": 5}]
        labels["annotations"] += [{"id": 0, "image_id": last, "category_id": 77, "bbox": boxes[0]}]
        labels["categories"].append({"id": 8, "name": "Boat"})

    def add_unknown(labels):
        labels["categories"].append({"id": 8, "name": "Truck"})
        labels["categories"].append({"id": 9, "name": "Boat"})
        first = labels["images"][0]["id"]
        labels["annotations"].append({"id": 0, "image_id": first, "category_id": 8, "bbox": [1, 1, 9, 9]})

    change_labels(data, "train", spoil)
    change_labels(data, "val", add_unknown)
    code, text = check(capsys, data, "--ignore", "DontCare")
    assert code == 1 and "cannot be used" in text
    expected = [
        "error: an image that train.json names is neither in",
        "error: the image is damaged: images/train_000001.png",
        "error: the image is 10x10 but its annotation says 128x96: images/train_000002.png",
        "error: an annotation belongs to an image that is not listed",
        "error: an annotation lacks image_id",
        "error: annotations have category id 77",
        "error: boxes of classes that train does not teach: Truck (1)",
        "warning: a box reaches out of its image",
        "warning: a box has less than a pixel inside",
        "warning: a box has no area",
        "warning: a box is smaller than 4 pixels",
        "warning: a box is there twice",
        "warning: an image is in data/train.json twice",
        "warning: no boxes of class Boat",
        "near-twin in data/train.json, 1 of them a copy",
    ]
    assert [line for line in expected if line not in text] == [], text


def test_what_cannot_be_read_at_all_is_said(data, tmp_path, capsys):
    (data / "val.json").write_text("{")
    code, text = check(capsys, data)
    assert code == 1 and "not a COCO detection file" in text and "median side" in text
    code, text = check(capsys, tmp_path / "nowhere")
    assert code == 1 and "no data folder" in text


def test_near_twins_survive_noise_and_a_new_encoding(tmp_path):
    rng = np.random.default_rng(0)
    train = [tmp_path / f"train_{i}.png" for i in range(6)]
    for path in train:  # texture as of ground from the air: coarse, whatever the pixels do
        coarse = cv2.resize(rng.uniform(60, 180, (16, 20)), (320, 256), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(path), coarse.astype(np.uint8))
    for i, path in enumerate(train[:2]):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(float)
        noisy = np.clip(1.1 * image + 5 + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), noisy)
    shutil.copy(train[2], tmp_path / "2.png")
    (tmp_path / "3.png").write_bytes(b"")
    val = fingerprints(sorted(tmp_path.glob("[0-9].*")))
    leak = find_leak(fingerprints(train), val)
    assert leak.images == 3 and leak.copies == 1 and leak.share == 1
    assert leak.pairs[0] == (tmp_path / "2.png", train[2])
    assert {(a.stem, b) for a, b in leak.pairs} == {(str(i), train[i]) for i in range(3)}
    assert repeated(fingerprints(train)) == [] and find_leak(fingerprints([]), val).pairs == []


def test_images_that_other_splits_hold_can_be_left_out(data):
    train, val = (read_dataset(data, f"{split}.json") for split in ("train", "val"))
    shutil.copy(val.samples[0].path, train.samples[1].path)
    left = unseen(train, [val])
    assert [s.path for s in left.samples] == [s.path for i, s in enumerate(train.samples) if i != 1]
    assert left.sha256 != train.sha256 and unseen(left, [val]).sha256 == left.sha256
    with pytest.raises(DataError, match="nothing to train on"):
        unseen(train, [train])


def test_a_random_split_leaks_and_a_split_by_flight_hardly(shared_data):
    """On the whole sets 137 of 290 (47%) and 8 of 331 (2%); here every third flight prefix of both."""
    root, found = shared_data / "hit_uav", {}
    for split in ("", "_flights"):
        sets = [read_dataset(root, f"{part}{split}.json") for part in ("train", "val")]
        prefixes = sorted({s.path.name[:8] for d in sets for s in d.samples})[::3]
        for data in sets:
            data.samples = [s for s in data.samples if s.path.name[:8] in prefixes]
        found[split] = "".join(leak_warnings(sets[0], sets[1:])) or "0%"
    share = {split: int(re.search(r"(\d+)%", text)[1]) for split, text in found.items()}
    assert share[""] > 30 and share["_flights"] < 8, found


def recipe_file(tmp_path, **changes):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY | changes))
    return path


def arguments(data, tmp_path, recipe):
    folders = ["--out", str(tmp_path / "out"), "--run", str(tmp_path / "run")]
    splits = ["--train", "train.json", "--val", "val.json", "--ignore", "DontCare"]
    return ["--data", str(data), *splits, "--recipe", str(recipe), *folders]


def test_an_image_damaged_during_training_ends_it_in_a_sentence_and_keeps_the_checkpoint(
    data, tmp_path, capsys, monkeypatch
):
    recipe = recipe_file(tmp_path, teacher=STEPS | {"min_steps": 10**6})
    monkeypatch.setenv("VIT_PERCEPTION_SAVE_EVERY_S", "0")
    monkeypatch.setattr("offline.training.augment.CACHE_BYTES", 0)  # every crop reads its image again
    checkpoint = tmp_path / "run/teacher.checkpoint.pt"

    def damage():
        while not checkpoint.is_file():
            time.sleep(0.01)
        for image in (data / "images").glob("train_*.png"):
            image.write_bytes(b"")

    threading.Thread(target=damage, daemon=True).start()
    with pytest.raises(SystemExit) as end:
        compress.main(arguments(data, tmp_path, recipe))
    assert end.value.code == 2
    assert "error: cannot read image" in capsys.readouterr().err
    assert checkpoint.is_file() and not (tmp_path / "out").exists()


def test_a_damaged_header_or_an_unknown_class_is_found_before_training(data, tmp_path, capsys):
    recipe = recipe_file(tmp_path)
    image = data / "images/train_000003.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:10])
    with pytest.raises(SystemExit):
        compress.main(arguments(data, tmp_path, recipe))
    assert "train_000003.png: cannot read the image" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    image.write_bytes(whole)
    assert len(read_pair(data, "train.json", "val.json", None, ("DontCare",))[0]) == 6
