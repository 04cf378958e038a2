"""COCO figures on cases whose answer is known."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from offline.data import Dataset, Sample
from offline.errors import DataError
from offline.evaluate import main, pick_classes, warn_of_sizes
from offline.evaluation.accuracy import coco_metrics, keep_classes, remarks
from vit_perception.detector import Detections

BOXES = np.array([[10, 10, 30, 30], [50, 50, 90, 80]], np.float32)


def dataset(ignore=()):
    regions = np.asarray(ignore, np.float32).reshape(-1, 4)
    samples = [Sample(Path("x"), i, 100, 100, BOXES, np.array([0, 1]), regions) for i in range(3)]
    return Dataset("set", ["Person", "Car"], samples, "")


def test_the_truth_itself_scores_one():
    metrics = coco_metrics(dataset(), [Detections(BOXES, [0.9, 0.8], [0, 1])] * 3)
    assert metrics["map"] == metrics["map50"] == 1.0
    assert metrics["per_class"]["Car"] == {"ap": 1.0, "ap50": 1.0, "boxes": 3}


def test_nothing_scores_zero_and_swapped_classes_too():
    assert coco_metrics(dataset(), [Detections([], [], [])] * 3)["map50"] == 0
    assert coco_metrics(dataset(), [Detections(BOXES, [0.9, 0.8], [1, 0])] * 3)["map50"] == 0


def test_one_class_of_two_halves_the_mean():
    metrics = coco_metrics(dataset(), [Detections(BOXES[:1], [0.9], [0])] * 3)
    assert metrics["map50"] == 0.5 and metrics["per_class"]["Car"]["ap50"] == 0


def test_a_confident_false_positive_costs_unless_it_lies_in_an_ignore_region():
    wrong = np.concatenate([BOXES, [[60, 0, 80, 20]]])
    results = [Detections(wrong, [0.8, 0.8, 0.95], [0, 1, 0])] * 3
    assert coco_metrics(dataset(), results)["per_class"]["Person"]["ap50"] < 0.6
    assert coco_metrics(dataset(ignore=[[55, 0, 99, 40]]), results)["per_class"]["Person"]["ap50"] == 1.0


def test_loose_boxes_count_at_50_but_not_at_75():
    loose = BOXES + np.array([0, 0, 8, 8], np.float32)
    metrics = coco_metrics(dataset(), [Detections(loose, [0.9, 0.8], [0, 1])] * 3)
    assert metrics["map50"] == 1.0 and metrics["map"] < 0.6


def crowded(count):
    """One image with `count` objects in a grid, and detections that find all of them exactly."""
    boxes = np.array([[8 * (i % 20), 8 * (i // 20), 8 * (i % 20) + 8, 8 * (i // 20) + 8] for i in range(count)], float)
    sample = Sample(Path("x"), 0, 160, 160, boxes, np.zeros(count, int), np.zeros((0, 4)))
    scores = np.linspace(0.9, 0.5, count)
    return Dataset("crowd", ["Person"], [sample], ""), [Detections(boxes, scores, np.zeros(count))]


def test_more_than_100_objects_of_a_class_in_an_image_count():
    data, results = crowded(200)
    assert coco_metrics(data, results)["map50"] == 1.0
    assert remarks(data, results, 300) == []
    (said,) = remarks(data, results, 100)
    assert "1 image holds more objects than the 100 detections" in said


def test_what_the_figures_cannot_tell_is_said():
    data, results = crowded(30)
    data.labels = ["Person", "Car"]
    tied = [Detections(results[0].boxes, np.full(30, 0.5), results[0].classes)]
    equal, missing = remarks(data, tied, 100)
    assert "30 of 30 detections have the very score of another one" in equal
    assert "crowd has no Car" in missing


def test_a_class_without_boxes_does_not_count():
    data = dataset()
    data.labels = ["Person", "Car", "Bicycle"]
    metrics = coco_metrics(data, [Detections(BOXES, [0.9, 0.8], [0, 1])] * 3)
    assert metrics["map50"] == 1.0 and metrics["per_class"]["Bicycle"]["ap50"] is None


def test_classes_are_chosen_by_name():
    labels = ["Person", "Car", "Bicycle"]
    found = Detections(np.zeros((3, 4)), [0.1, 0.2, 0.3], [2, 0, 1])
    kept = keep_classes(found, labels, ["Bicycle", "Person"])
    assert kept.classes.tolist() == [0, 1] and kept.scores.tolist() == pytest.approx([0.1, 0.2])
    assert pick_classes("Car,Person", labels) == ["Car", "Person"]
    with pytest.raises(DataError, match="knows no class 'Dog'"):
        pick_classes("Dog", labels)


def test_sizes_are_told_as_the_model_sees_them_in_slices(caplog):
    """A person of 20 pixels in an image of 2560x2048: 5 in a model's 640x512, 20 in a slice that is not shrunk."""
    person = np.array([[100, 100, 120, 120]], np.float32)
    sample = Sample(Path("x"), 0, 2560, 2048, person, np.array([0]), np.zeros((0, 4), np.float32))
    data = Dataset("large", ["Person"], [sample], "")
    bundle = SimpleNamespace(input={"width": 640, "height": 512}, object_px={"Person": [8.0, 20.0, 40.0]})
    warn_of_sizes(bundle, data, "1x1")
    assert "half of the Person are under 5 pixels" in caplog.text and "--slices auto" in caplog.text
    caplog.clear()
    warn_of_sizes(bundle, data, "auto")
    assert not caplog.text


@pytest.mark.parametrize("slices", ["9x9", "2X2", "0x1", "many"])
def test_slices_that_are_none_are_refused_before_anything_is_read(slices, capsys):
    with pytest.raises(SystemExit) as end:
        main(["--model", "nowhere", "--data", "nowhere", "--val", "val", "--slices", slices])
    assert end.value.code == 2 and f"slices is '{slices}', not auto" in capsys.readouterr().err
