"""Whether a picture looks like the training images: what is told, and what is not."""

import cv2
import numpy as np
import pytest

from vit_perception.images import look
from vit_perception.images.look import EVERY, SURE, Look

SPEC = {"mean": [0.4], "std": [0.2]}


def picture(seed, low=0.2, high=0.5):
    """A warm block on a ground with some texture: float32 (96, 128) in 0..1."""
    rng = np.random.default_rng(seed)
    ground = cv2.GaussianBlur(rng.standard_normal((96, 128)).astype(np.float32), (0, 0), 1.2)
    x = low + (high - low) * (0.5 + 0.8 * ground)
    x[40:60, 50:60] = 0.9
    return np.clip(x, 0, 1).astype(np.float32)


def bundle_input():
    found = [look.measure(picture(seed)) for seed in range(20)]
    low, high = np.percentile(found, (1, 99), axis=0).tolist()
    return dict(SPEC, look={"brightness": [low[:-1], high[:-1]], "sharpness": [low[-1], high[-1]]})


def told(change, images=EVERY * SURE):
    judge = Look(bundle_input())
    for seed in range(100, 100 + images):
        planes = np.zeros((1, 128, 128), np.float32)
        planes[0, :96] = (np.clip(change(picture(seed)), 0, 1) - 0.4) / 0.2
        judge.add(planes, 96, 128)
    return judge.problem


def test_pictures_like_those_of_the_training_are_not_told_of():
    assert told(lambda x: x) == ""
    assert told(lambda x: x + 0.01) == ""  # a little brighter


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: 1 - x, "brighter"),  # warm is dark: its ground is bright
        (lambda x: 0.2 * x, "darker"),
        (lambda x: cv2.GaussianBlur(x, (0, 0), 4), "more blurred"),
        (lambda x: x + np.random.default_rng(0).normal(0, 0.08, x.shape).astype(np.float32), "noisier or sharper"),
    ],
)
def test_other_pictures_are_told_of_in_one_sentence(change, says):
    problem = told(change)
    assert says in problem and "trained on" in problem and "\n" not in problem


def test_nothing_is_said_before_some_pictures_and_one_odd_picture_changes_nothing():
    assert told(lambda x: 1 - x, images=EVERY * (SURE - 2)) == ""
    odd = iter([True] + [False] * 1000)
    assert told(lambda x: 1 - x if next(odd) else x, images=EVERY * 40) == ""


@pytest.mark.parametrize(
    "given",
    [
        [],
        {},
        {"brightness": [[0.1] * 7] * 2},
        {"brightness": [[0.1] * 6] * 2, "sharpness": [0.2, 0.5]},
        {"brightness": [[0.1] * 7] * 2, "sharpness": [0.2, "x"]},
        {"brightness": [[0.1] * 7] * 2, "sharpness": [0.2, float("nan")]},
        {"brightness": [[0.1] * 7, None], "sharpness": [0.2, 0.5]},
        {"brightness": [[0.1] * 7] * 2, "sharpness": [0.2, True]},
    ],
)
def test_a_look_that_is_none_is_refused(given):
    assert "input.look" in look.find_problem(given)
    assert look.find_problem({"brightness": [[0.1] * 7, [1] * 7], "sharpness": [0.2, 0.5]}) == ""
