"""Sentences of CARD.md that a tiny run does not come to."""

from types import SimpleNamespace

import pytest

from offline.report.card import _headline, _remarks
from offline.report.origins import seen

CHANCE = "9 of 10 detections have the very score of another one"


def run(twins=0, given=None, **figures):
    """Of a run with one validation set of 100 images."""
    return SimpleNamespace(
        identity={"teacher": {"file": given} if given else None, "student": None},
        leaks=lambda: {"val": {"images": 100, "twins": twins, "copies": 0}},
        notes={f"{step}.metrics": m for step, m in figures.items()},
        figures=lambda step: {"val": figures[step]},
    )


@pytest.mark.parametrize(("twins", "flatters"), [(0, False), (3, False), (64, True)])
def test_the_headline_says_whether_it_flatters(twins, flatters):
    said = _headline(run(twins), {"val": {"map50": 0.611}})
    assert said.startswith("**mAP50 0.611 on val**") and ("it flatters, for 64 of these images" in said) == flatters


def test_nothing_is_claimed_of_what_a_given_model_learnt_from():
    assert seen(run(), "val") == ", none of them or of their near-twins trained on"
    said = ", none of them or of their near-twins trained on in this run; what uav learnt from before was not compared"
    assert seen(run(given="uav"), "val") == said
    assert seen(run(twins=3, given="uav"), "val").endswith("; what uav learnt from before was not compared")


def test_what_a_files_figures_cannot_tell_stands_below_them():
    few = {"remarks": ["val has no Car"]}
    assert _remarks(run(fp32=few, int8=few)) == ""  # of the master Limits tells it
    chance = {"remarks": [*few["remarks"], CHANCE]}
    assert _remarks(run(fp32=few, fp16=chance)) == f"\n\n- fp16 on val: {CHANCE}."
