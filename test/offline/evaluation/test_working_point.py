"""Recall, false positives and confusions on cases whose answer is known, and against pycocotools."""

from pathlib import Path

import numpy as np
import pytest
from bundles import write_bundle

from offline.data import Dataset, Sample
from offline.evaluation.accuracy import coco_metrics, figures
from offline.evaluation.working_point import LEAST, confusion, match, over, recall_at, score_at, working_point
from vit_perception.bundles.bundle import open_bundle
from vit_perception.detector import Detections, Detector
from vit_perception.engines import open_engine

LABELS = ["Person", "Car"]
PERSON, CAR, FAR = [10, 10, 30, 30], [50, 50, 90, 80], [0, 60, 20, 90]


def sample(boxes=(PERSON, CAR), classes=(0, 1), ignore=()) -> Sample:
    arrays = (np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(classes, np.int64))
    return Sample(Path("x.png"), 0, 100, 100, *arrays, np.asarray(ignore, np.float32).reshape(-1, 4))


def dataset(*samples: Sample, labels=LABELS) -> Dataset:
    return Dataset("set", list(labels), list(samples), "")


def random_scene(rng, images=30, classes=3):
    """Crowded labels, ignore regions, and detections that are near, far, doubled and of the wrong class."""
    samples, results = [], []
    for _ in range(images):
        corner = rng.uniform(0, 75, (rng.integers(0, 9), 2))
        boxes = np.concatenate([corner, corner + rng.uniform(8, 25, corner.shape)], 1)
        region = np.concatenate([low := rng.uniform(0, 60, (rng.integers(0, 2), 2)), low + 35], 1)
        truth = rng.integers(0, classes, len(boxes))
        samples.append(sample(boxes, truth, region))
        shifted = np.concatenate([boxes + rng.normal(0, s, boxes.shape) for s in (1, 2, 4)])
        shifted[:, 2:] = np.maximum(shifted[:, 2:], shifted[:, :2] + 2)
        low = rng.uniform(0, 75, (5, 2))
        noise = np.concatenate([low, low + rng.uniform(8, 25, low.shape)], 1)
        wrong = rng.random(3 * len(boxes)) < 0.1
        said = np.where(wrong, rng.integers(0, classes, len(wrong)), np.tile(truth, 3))
        said = np.concatenate([said, rng.integers(0, classes, 5)])
        scores = rng.permutation(1000)[: len(said)] / 1000  # all different: COCO breaks ties in its own way
        results.append(Detections(np.concatenate([shifted, noise]), scores, said))
    return dataset(*samples, labels=[f"class {c}" for c in range(classes)]), results


@pytest.mark.parametrize("seed", range(4))
def test_the_matching_is_cocos(seed):
    """AP50 from these matches, interpolated at 101 recalls, is pycocotools'."""
    data, results = random_scene(np.random.default_rng(seed))
    metrics = coco_metrics(data, results)
    scores, classes = (np.concatenate([getattr(r, k) for r in results]) for k in ("scores", "classes"))
    found = np.concatenate([match(s, r) for s, r in zip(data.samples, results, strict=True)])
    for c, label in enumerate(data.labels):
        mine = np.flatnonzero((classes == c) & (found != -2))
        right = found[mine[np.argsort(-scores[mine], kind="stable")]] >= 0
        recall = np.cumsum(right) / data.counts()[c]
        best = np.maximum.accumulate((np.cumsum(right) / np.arange(1, len(right) + 1))[::-1])[::-1]
        at = np.searchsorted(recall, np.linspace(0, 1, 101))
        ap50 = np.where(at < len(best), best[np.minimum(at, len(best) - 1)], 0).mean()
        assert ap50 == pytest.approx(metrics["per_class"][label]["ap50"], abs=2e-3)


def test_recall_at_a_rate_of_false_positives():
    """Four images with a person each; a false one between the finds at .9 and .7 in two of them, one more below."""
    samples = [sample([PERSON], [0])] * 4
    results = [
        Detections([PERSON], [0.9], [0]),
        Detections([PERSON, FAR], [0.7, 0.8], [0, 0]),
        Detections([PERSON, FAR], [0.6, 0.65], [0, 0]),
        Detections([PERSON, FAR], [0.4, 0.5], [0, 0]),
    ]
    rows = {rate: recall_at(dataset(*samples), results, rate)["per_class"]["Person"] for rate in (0, 0.25, 0.5, 1)}
    assert {rate: row["recall"] for rate, row in rows.items()} == {0: 0.25, 0.25: 0.5, 0.5: 0.75, 1: 1.0}
    assert rows[0.5]["score"] == pytest.approx(0.6)
    for row in rows.values():  # what the score promises is what a detector with that threshold gives
        cut = [over(r, row["score"] - 1e-6) for r in results]
        assert working_point(confusion(dataset(*samples), cut, 0), LABELS, 4)["all"]["recall"] == row["recall"]
    assert recall_at(dataset(*samples), results)["per_class"]["Car"] == {"recall": None, "score": None}


def test_the_score_that_allows_a_rate_of_false_positives():
    data, results = random_scene(np.random.default_rng(5))
    for rate in (0.0, 0.3, 1.0, 50.0):
        score = score_at(data, results, rate)
        said = [over(r, score) for r in results]
        point = working_point(confusion(data, said, 0), data.labels, len(data))["all"]
        assert point["fp_per_image"] <= rate and (score == LEAST or point["fp_per_image"] > rate - 0.1)
    nothing = [Detections([], [], [])] * len(data)
    assert score_at(data, nothing, 0.5) <= 2 * LEAST


def test_equal_scores_pass_a_threshold_together():
    data, result = dataset(sample([PERSON], [0])), Detections([PERSON, FAR], [0.5, 0.5], [0, 0])
    assert recall_at(data, [result], 0.5)["per_class"]["Person"] == {"recall": 0.0, "score": None}
    assert recall_at(data, [result], 1.0)["per_class"]["Person"]["recall"] == 1.0


def test_nothing_found_at_all():
    data, none = dataset(sample()), [Detections([], [], [])]
    assert recall_at(data, none)["per_class"]["Person"] == {"recall": 0.0, "score": None}
    point = working_point(confusion(data, none, 0.3), LABELS, 1)
    assert point["all"] == {"precision": None, "recall": 0.0, "fp_per_image": 0.0}


def test_ignore_regions_are_neither_right_nor_wrong():
    data = dataset(sample([PERSON], [0], [[0, 50, 40, 99]]), sample([], [], [[0, 0, 99, 99]]))
    results = [Detections([PERSON, FAR], [0.8, 0.9], [0, 1]), Detections([FAR], [0.9], [0])]
    counts = confusion(data, results, 0.3)
    assert counts.sum() == counts[0, 0] == 1
    assert recall_at(data, results, 0)["per_class"]["Person"]["recall"] == 1.0
    inside = dataset(sample([PERSON], [0], [[0, 0, 99, 99]]))  # a label in a region still counts
    assert confusion(inside, [Detections([PERSON], [0.8], [0])], 0.3)[0, 0] == 1


def test_confusions_name_what_was_taken_for_what():
    data = dataset(sample(), sample())
    results = [
        Detections([PERSON, CAR, FAR], [0.9, 0.8, 0.7], [1, 1, 0]),  # the person taken for a car, nothing for a person
        Detections([CAR, CAR], [0.9, 0.2], [1, 0]),  # the person missed; below the threshold does not count
    ]
    assert confusion(data, results, 0.3).tolist() == [[0, 1, 1], [0, 2, 0], [1, 0, 0]]
    point = working_point(confusion(data, results, 0.3), LABELS, 2)
    assert point["per_class"]["Car"] == {"precision": 0.6667, "recall": 1.0, "fp_per_image": 0.5}
    assert point["per_class"]["Person"] == {"precision": 0.0, "recall": 0.0, "fp_per_image": 0.5}
    assert point["all"] == {"precision": 0.5, "recall": 0.5, "fp_per_image": 1.0}


@pytest.mark.parametrize("seed", range(3))
def test_the_matrix_adds_up(seed):
    """Rows to the labels, columns to what was said and not ignored, the diagonal to what was matched."""
    data, results = random_scene(np.random.default_rng(seed))
    counts = confusion(data, results, 0.3)
    matches = [match(s, over(r, 0.3)) for s, r in zip(data.samples, results, strict=True)]
    assert counts[:-1].sum(1).tolist() == data.counts().tolist()
    assert counts[:, :-1].sum() == sum((m != -2).sum() for m in matches)
    assert np.trace(counts) == sum((m >= 0).sum() for m in matches)
    assert figures(data, results, 0.3)["working_point"]["all"]["recall"] == round(
        np.trace(counts) / data.counts().sum(), 4
    )


def test_detections_over_a_score_are_those_of_a_detector_with_that_threshold(tmp_path):
    bundle = open_bundle(write_bundle(tmp_path))  # untrained: many boxes that overlap
    engine, image = open_engine(bundle), np.random.default_rng(1).integers(0, 256, (64, 96), np.uint8)
    everything = Detector(bundle, engine, score_threshold=1e-4, max_detections=60).detect(image, "mono")
    score = float(np.median(everything.scores))
    kept = over(everything, score)
    own = Detector(bundle, engine, score_threshold=score, max_detections=60).detect(image, "mono")
    assert len(everything) > len(own) > 10
    assert np.array_equal(kept.boxes, own.boxes) and np.array_equal(kept.scores, own.scores)
