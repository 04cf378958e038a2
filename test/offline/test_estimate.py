"""The estimate at the start of a run: what it counts, and that it changes nothing of what follows."""

import time

import pytest
import torch
import yaml
from commands import TINY

from offline.boards.targets import find_target
from offline.compress import parse
from offline.run.recipe_file import load_recipe
from offline.stages import estimate, teacher
from offline.stages.preflight import open_run


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Steps so small wait for each other's threads, on a busy machine for minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def opened(data, tmp_path):
    """opened(*arguments) -> the run of the tiny recipe with 40 steps for the teacher."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY | {"teacher": TINY["teacher"] | {"min_steps": 40}}))

    def open_it(*more):
        shared = ["--data", str(data), "--train", "train.json", "--val", "val.json", "--ignore", "DontCare"]
        args = parse([*shared, "--recipe", str(path), "--out", str(tmp_path / "bundle"), "--run", str(tmp_path / "run")]
                     + list(more))  # fmt: skip
        return open_run(args, load_recipe(args.recipe, args.set), find_target(args.target))

    return open_it


def test_a_new_run_counts_every_stage_and_draws_no_random_number(opened, caplog):
    run = opened()
    torch.manual_seed(5)
    with caplog.at_level("INFO"):
        told = estimate.tell_estimate(run)
    assert torch.initial_seed() == 5 and torch.equal(torch.rand(3), torch.rand(3, generator=torch.manual_seed(5)))
    assert list(told) == ["teacher", "distil", "prune", "lowrank", "evaluate"] and all(s > 0 for s in told.values())
    assert "the whole run will take about " in caplog.text
    assert sorted(p.name for p in run.folder.iterdir()) == ["log.txt", "run.json"], "it leaves nothing behind"
    begin = time.monotonic()
    teacher(run, run.folder)
    taken = time.monotonic() - begin
    assert 0.1 < told["teacher"] / taken < 10, "the same steps, on a machine that others use too"


def test_a_run_that_goes_on_counts_what_is_left(opened):
    run = opened()
    told = estimate.tell_estimate(run)
    rows = "".join(f'{{"step": {n}, "images_per_s": 1.0}}\n' for n in range(30))
    (run.folder / "teacher.curve.jsonl").write_text(rows)
    assert estimate.work_left(run)["teacher"] == 10 * 2  # of 40 steps of 2 crops
    (run.folder / "teacher.pt").touch()
    assert list(estimate.tell_estimate(run)) == list(told)[1:]


def test_a_search_counts_its_candidates(opened):
    left = estimate.work_left(opened("--budget-ms", "5", "--set", "search.epochs=1"))
    assert list(left) == ["teacher", "search", "distil", "lowrank"], "the search has pruned already"
    assert left["search"] == 3 * 4 * 8  # three levels, four candidates each, one pass over 6 images in batches of 8
