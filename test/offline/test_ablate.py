"""The ablation, as a user runs it: every row, killed on the way, then the table."""

import json
import sys

import pytest
import yaml
from commands import TINY, command, one_sentence, run, run_anew

from offline.ablate import ROWS
from offline.files import load_torch
from offline.render import write_dataset
from vit_perception.bundles.bundle import open_bundle


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A data set, a tiny recipe, and the checkpoint of a tiny teacher."""
    folder = tmp_path_factory.mktemp("ablation")
    write_dataset(folder / "data", "thermal", train=4, val=2, size=(128, 64), seed=1)
    recipe = folder / "tiny.yaml"
    teacher = {"stem": [16, 16, 32, 32], "dim": 96, "depth": 2, "heads": 2, "mlp": 128, "neck": 32}
    student = {"stem": [8, 16, 16, 16], "dim": 64, "depth": 1, "heads": 1, "mlp": 64, "neck": 16}
    recipe.write_text(yaml.safe_dump(TINY | {"model": teacher, "student": student, "crops": {"size": [64, 64]}}))
    done = run(command(folder / "data", recipe, folder / "bundle", "--target", "jetson-nano"))
    assert done.returncode == 0, done.stderr
    return folder, recipe


def test_rows_alone_in_pairs_and_together_with_a_table(trained):
    folder, recipe = trained
    out = folder / "out"
    arguments = command(folder / "data", recipe, out, "--teacher", str(folder / "bundle.run" / "teacher.pt"))
    arguments = [a.replace("offline.compress", "offline.ablate") for a in arguments if a not in ("--run", f"{out}.run")]
    arguments += ["--seeds", "1", "--rows", "none,distil,prune+lowrank,distil+prune+lowrank", "--target", "jetson-nano"]
    half = [a.replace("none,distil,prune+lowrank,distil+prune+lowrank", "none,distil") for a in arguments]
    assert run_anew(half).returncode == 0
    before = (out / "distil.0.json").stat().st_mtime_ns
    done = run([*arguments, "--jobs", "2"])
    assert done.returncode == 0, done.stderr
    assert (out / "distil.0.json").stat().st_mtime_ns == before  # what is done is not done again
    rows = {r["row"]: r for r in json.loads(done.stdout.splitlines()[-1])["rows"]}
    assert set(rows) == {
        "none", "distil", "prune+lowrank", "distil+prune+lowrank",
        "int8", "distil+int8", "prune+lowrank+int8", "distil+prune+lowrank+int8",
    }  # fmt: skip
    assert all(r["seeds"] == 1 and r["ms_1t"] > 0 and r["rss_mb"] > 20 and r["mb"] > 0 for r in rows.values())
    assert rows["int8"]["mb"] < rows["none"]["mb"] and rows["none"]["predicted_ms"]["jetson-nano"] > 0
    assert (out / "table.md").read_text().count("\n") == 2 + len(rows)
    assert (out / "ablation.png").stat().st_size > 5000
    result = json.loads((out / "prune+lowrank.0.json").read_text())
    teacher = json.loads((out / "none.0.json").read_text())
    assert result["predicted_ms"]["jetson-nano"] <= 1.05 * teacher["predicted_ms"]["jetson-nano"]  # cut to its time


def test_a_teacher_can_be_kept_as_it_is(trained):
    """Recipe keep: the bundle is the teacher, whatever architecture the recipe's defaults would have."""
    folder, _ = trained
    teacher = folder / "bundle.run" / "teacher.pt"
    done = run(command(folder / "data", "keep", folder / "kept", "--teacher", str(teacher)))
    assert done.returncode == 0, done.stderr
    kept, notes = open_bundle(folder / "kept"), json.loads((folder / "kept.run" / "run.json").read_text())["notes"]
    assert kept.made["model"] == load_torch(teacher)["config"]
    assert notes["fp32.metrics"] == notes["teacher.metrics"] == notes["prune.metrics"]


def test_rows_that_do_not_exist_are_refused(trained):
    folder, recipe = trained
    arguments = [sys.executable, "-m", "offline.ablate", "--data", str(folder), "--train", "a", "--val", "b"]
    failed = run([*arguments, "--teacher", "t.pt", "--out", str(folder / "x"), "--rows", "none,magic"])
    assert "no row 'magic'" in one_sentence(failed)
    assert len(ROWS) == 8
