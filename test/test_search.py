"""Searching the best student for a budget, as a user does it; and the choice itself."""

import json
import subprocess

import pytest
import yaml
from commands import TINY, command, one_sentence, run

from offline.render import write_dataset
from offline.search import Candidate, choose, pareto
from vit_perception.bundle import open_bundle


def candidate(name, ms, map50):
    return Candidate(name, "fp16", ms, 0.2, map50, {})


TRIED = [candidate("a", 10, 0.3), candidate("b", 20, 0.5), candidate("c", 25, 0.4), candidate("d", 40, 0.6)]


@pytest.mark.parametrize(
    ("budget", "least", "name"), [(30, None, "b"), (9, None, None), (None, 0.45, "b"), (None, 0.7, None)]
)
def test_the_most_accurate_in_time_or_the_fastest_that_is_accurate(budget, least, name):
    best = choose(TRIED, budget, least)
    assert (best.name if best else None) == name


def test_the_front_holds_what_nothing_beats():
    assert [c.name for c in pareto(TRIED)] == ["a", "b", "d"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, "thermal", train=6, val=3, size=(128, 128), seed=1)
    return folder


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.yaml"
    small = {"epochs": 0, "min_steps": 3, "batch": 2, "warmup": 1}
    model = TINY["model"] | {"depth": 3, "heads": 2, "mlp": 128, "dim": 96, "neck": 32}
    changes = {
        "model": model,
        "student": {},
        "crops": {"size": [128, 64]},
        "search": small | {"levels": [0.7, 1.0], "images": 2},
    }
    path.write_text(yaml.safe_dump(TINY | changes))
    return path


def test_a_budget_is_met_and_another_cannot_be(data, recipe, tmp_path):
    out = tmp_path / "found"
    search = ["--target", "jetson-nano", "--budget-ms", "1000"]
    done = run(command(data, recipe, out, *search))
    assert done.returncode == 0, done.stderr
    teacher = json.loads((tmp_path / "found.run" / "run.json").read_text())["notes"]["search"]
    chosen, tried = teacher["chosen"], teacher["tried"]
    assert {c["name"] for c in tried} >= {"0.70", "1.00", "0.70-pooled"}
    assert chosen["ms"] <= 1000 and (tmp_path / "found.run" / "search.png").stat().st_size > 5000
    assert open_bundle(out).made["goal"] == {"budget_ms": 1000.0, "min_map": None}

    start = min(c["ms"] for c in tried)
    met = tmp_path / "met"
    done = run(command(data, recipe, met, "--target", "jetson-nano", "--budget-ms", f"{start:.3f}"))
    assert done.returncode == 0, done.stderr
    goal = json.loads((tmp_path / "met.run" / "run.json").read_text())["notes"]["goal"]
    assert goal["met"] and goal["ms"] <= start + 0.01 and "goal" in done.stderr

    failed = run(command(data, recipe, tmp_path / "none", "--target", "jetson-nano", "--budget-ms", "0.001"))
    sentence = one_sentence(failed)
    assert "no candidate can be made for NVIDIA Jetson Nano" in sentence and "the model still takes" in sentence
    assert not (tmp_path / "none").exists()
    wrong = run(command(data, recipe, tmp_path / "none2", "--min-map", "0.99"))
    assert "no candidate reaches mAP50 0.99" in one_sentence(wrong)


def test_both_goals_at_once_are_refused(data, recipe, tmp_path):
    both = run(command(data, recipe, tmp_path / "x", "--budget-ms", "5", "--min-map", ".5"))
    assert both.returncode == 2 and "not allowed with" in both.stderr
    assert isinstance(both, subprocess.CompletedProcess)
