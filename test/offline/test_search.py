"""Searching the best student for a budget, as a user does it; and the choice itself."""

import json
import re
import subprocess
from types import SimpleNamespace

import pytest
import yaml
from commands import TINY, command, one_sentence, run

from offline import compress
from offline.boards.targets import find_target
from offline.render import write_dataset
from offline.run.recipe_file import load_recipe
from offline.search import Candidate, choose, confirm, measure, pareto
from offline.stages.preflight import open_run
from vit_perception.bundles.bundle import open_bundle


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
    wrong = run(command(data, recipe, tmp_path / "none2", "--target", "jetson-nano", "--min-map", "0.99"))
    sentence = one_sentence(wrong)
    assert "no candidate reaches mAP50 0.99" in sentence and "name another folder with --run" in sentence
    teacher = re.search(r"--teacher (\S+)", sentence)[1]  # and what it says works
    args = compress.parse(command(data, recipe, tmp_path / "none3", "--teacher", teacher, "--min-map", "0.1")[3:])
    assert open_run(args, load_recipe(args.recipe), find_target(args.target)).source is not None


def test_int8_on_a_board_is_the_file_for_tensorrt(monkeypatch, tmp_path):
    """Candidates are measured on it, and the goal is held against its accuracy, not the master's."""
    board, notes = find_target("jetson-orin-nano"), {"search": {"chosen": {"precision": "int8"}}}
    notes |= {"export": {"files": {v: {"path": v} for v in ("fp32", "int8", "int8_trt")}}}
    notes |= {"fp32.metrics": {"map50": 0.9}, "int8_trt.metrics": {"map50": 0.2}}
    run = SimpleNamespace(target=board, notes=notes, note=notes.__setitem__, budget_ms=None, min_map=0.8)
    run.recipe = load_recipe("quick")
    prediction = SimpleNamespace(ms=1.0, error=0.1, new_design=0.2)
    monkeypatch.setattr("offline.search.predict", lambda *a: prediction)
    monkeypatch.setattr("offline.search.layers_of_onnx", lambda path: [])
    confirm(run, tmp_path)
    assert notes["goal"]["merit"] == 0.2 and not notes["goal"]["met"]

    made = []
    for name in ("quantise_int8", "quantise_tensorrt"):
        monkeypatch.setattr(f"offline.search.{name}", lambda master, out, images, name=name: made.append(name))
    monkeypatch.setattr("offline.search.export_master", lambda *a: None)
    monkeypatch.setattr("offline.search.OnnxRuntimeEngine", lambda *a, **k: None)
    run.folder, run.recipe, run.input = tmp_path, load_recipe("quick"), {"width": 64, "height": 64}
    run.score, run.calibration = lambda *a: {"map50": 0.5}, list
    model = SimpleNamespace(config=lambda: {"strides": [8]})
    assert [c["precision"] for c in measure(run, "x", model)] == ["fp16", "int8"] and made == ["quantise_tensorrt"]
    on_cpu = SimpleNamespace(**vars(run) | {"target": find_target("cpu")})
    on_cpu.recipe = load_recipe("quick", ["quantise.int8=dynamic"])
    monkeypatch.setattr("offline.search.quantise_int8", lambda master, out, images, mode: made.append(mode))
    monkeypatch.setattr("offline.search.measured_ms", lambda engine: 1.0)
    assert [c["precision"] for c in measure(on_cpu, "x", model)] == ["fp32", "int8"]
    assert made == ["quantise_tensorrt", "dynamic"], "the file that the bundle will have"
    made.clear()
    run.recipe = load_recipe("quick", ["quantise.tensorrt=fp16"])  # then no int8 file is made for the board
    assert [c["precision"] for c in measure(run, "x", model)] == ["fp16"] and made == []


def test_both_goals_at_once_are_refused(data, recipe, tmp_path):
    both = run(command(data, recipe, tmp_path / "x", "--budget-ms", "5", "--min-map", ".5"))
    assert both.returncode == 2 and "not allowed with" in both.stderr
    assert isinstance(both, subprocess.CompletedProcess)
