"""--student: the student starts as a bundle or a checkpoint that is given, and learns under another teacher."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
import yaml
from commands import ROOT, TINY, command, one_sentence, run

from offline import compress, stages
from offline.boards.targets import find_target
from offline.errors import RecipeError
from offline.evaluation.accuracy import TorchEngine
from offline.files import load_torch, save_torch
from offline.model.detector import build_model
from offline.model.pretrained import origins_of
from offline.run.recipe import Card
from offline.run.recipe_file import RECIPES, card_for, load_recipe
from offline.stages.preflight import open_run
from vit_perception.bundles.bundle import open_bundle

STILL = {
    "distil": {"epochs": 0},
    "prune": {"epochs": 0},
    "lowrank": {"epochs": 0, "saving": 1.0},
    "quantise": {"smooth": False},
}
SMALL = {"dim": 64, "depth": 1, "heads": 1, "mlp": 64, "neck": 32, "stem": [8, 16, 16, 32], "strides": [8]}


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "still.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in TINY.items() if k in ("crops", "seed")} | STILL))
    return path


def checkpoint(path, seed=0, labels=("Person", "Car", "Bicycle"), mean=0.4, backbone=None, **options):
    """A detector as a run keeps it, with random weights and its own statistics of the pixels."""
    torch.manual_seed(seed)
    model = build_model(SMALL | {"classes": len(labels), "channels": 1} | options).eval()
    state = {"config": model.config(), "weights": model.state_dict(), "labels": list(labels), "segments": []}
    save_torch(path, state | {"input": {"mean": [mean], "std": [0.2]}, "backbone": backbone})
    return path


def origin(letter):
    """What a model keeps of the backbone that it started from."""
    return {"file": "model.safetensors", "sha256": letter * 64, "attribution": f"weights of {letter}, licence MIT"}


def opened(data, recipe, tmp_path, *options):
    args = compress.parse(command(data, recipe, tmp_path / "out", *map(str, options))[3:])
    return open_run(args, load_recipe(args.recipe, args.set), find_target(args.target))


def test_the_student_is_what_was_given_and_not_its_teacher(data, recipe, tmp_path):
    teacher = checkpoint(tmp_path / "big.pt", 1, backbone=[origin("a"), origin("b")], depth=2)
    student = checkpoint(tmp_path / "small.pt", 2, backbone=[origin("b"), origin("c")])
    state = {"train": {"name": "a/train.json"}, "attribution": "A, CC0", "origins": []}
    save_torch(student, load_torch(student) | state)
    done = run(command(data, recipe, tmp_path / "out", "--teacher", str(teacher), "--student", str(student)))
    assert done.returncode == 0, done.stderr
    kept, given = load_torch(tmp_path / "out.run" / "quantise.pt"), load_torch(student)
    assert kept["config"] == given["config"]
    assert all(torch.equal(value, given["weights"][key]) for key, value in kept["weights"].items())
    without = run(command(data, recipe, tmp_path / "out", "--teacher", str(teacher), "--resume"))
    assert "student changed since it was begun" in one_sentence(without)
    again = checkpoint(tmp_path / "small.pt", 3)  # another one under the same name
    words = ("--teacher", str(teacher), "--student", str(again), "--resume")
    assert "student changed since it was begun" in one_sentence(run(command(data, recipe, tmp_path / "out", *words)))

    bundle = tmp_path / "out"  # names every backbone once, of the student first
    origins, card = [origin(letter) for letter in "bca"], (bundle / "CARD.md").read_text()
    assert open_bundle(bundle).made["backbone"] == kept["backbone"] == origins
    assert [card.count(o["attribution"]) for o in origins] == [1, 1, 1]
    assert "- Started from teacher `big.pt`, student `small.pt`." in card
    assert f"  - {tmp_path.name}/small.pt: trained on a/train.json" in card
    assert f"The model goes back to {tmp_path.name}/small.pt: A, CC0" in card
    assert (
        f"The model goes back to {tmp_path.name}/big.pt: source and licence of its training data are not stated."
        in card
    )
    assert "Source and licence of the training data: not stated." in card and "For what: not stated." in card
    assert "what big.pt and small.pt learnt from before was not compared" in card

    # and a bundle, whose batch norms were folded, computes on what it computed, and hands its origins on
    teacher = checkpoint(tmp_path / "big.pt", 1, depth=2)
    run_of_bundle = opened(data, recipe, tmp_path / "next", "--teacher", teacher, "--student", bundle)
    assert run_of_bundle.identity["backbone"] == origins
    small, big = ({"name": f"{tmp_path.name}/{m}.pt"} for m in ("small", "big"))
    small |= {"data": ["a/train.json"], "attribution": "A, CC0"}
    mine = {"name": "out", "data": [f"{data.name}/train.json"], "attribution": ""}
    assert run_of_bundle.origins[:3] == [mine, small, big | {"data": [], "attribution": ""}]
    image = np.random.default_rng(0).normal(0, 1, (1, 1, 96, 128)).astype(np.float32)
    mine, before = (TorchEngine(m, 128, 96).infer(image) for m in (run_of_bundle.start.model, rebuilt(kept)))
    assert np.abs(mine["logits"] - before["logits"]).max() < 1e-4


def test_a_share_of_the_first_weights_stays(data, recipe, tmp_path):
    given = checkpoint(tmp_path / "small.pt", 2)
    options = ["--teacher", given, "--student", given, "--set", "distil.min_steps=3", "--set", "distil.batch=2"]
    weights = {}
    for share in (0.0, 0.25):
        found = opened(data, recipe, tmp_path / str(share), *options, "--set", f"distil.keep={share}")
        stages.teacher(found, tmp_path)
        stages.distil(found, tmp_path)
        weights[share] = found.load("distil").state_dict()
    for key, began in load_torch(given)["weights"].items():
        learnt = weights[0.0][key]
        expected = 0.25 * began + 0.75 * learnt if began.is_floating_point() else learnt
        assert torch.allclose(weights[0.25][key].to(expected.dtype), expected, atol=1e-6), key
    changes = [(weights[0.0][key] - began).abs().max() for key, began in load_torch(given)["weights"].items()]
    assert max(changes) > 1e-4, "it learnt something"


@pytest.mark.parametrize("share", ["1", "-0.1", "50"])
def test_a_share_that_is_none_is_refused(data, recipe, tmp_path, share):
    with pytest.raises(RecipeError, match="distil.keep must be a share, from 0 to below 1"):
        opened(data, recipe, tmp_path, "--set", f"distil.keep={share}")


@pytest.mark.parametrize(
    "kept, known",
    [(None, []), ("old.pth", [{"file": "old.pth"}]), (origin("a"), [origin("a")])],
)
def test_what_earlier_versions_kept_of_a_backbone_is_read(data, recipe, tmp_path, kept, known):
    teacher = checkpoint(tmp_path / "big.pt", 1, backbone=kept, depth=2)
    begun = opened(data, recipe, tmp_path, "--teacher", teacher)
    assert begun.identity["backbone"] == known
    begun.identity["backbone"] = kept  # as such a version began the run
    begun.note("seconds", {})
    assert opened(data, recipe, tmp_path, "--teacher", teacher, "--resume").identity["backbone"] == known


def rebuilt(state):
    model = build_model(state["config"])
    model.load_state_dict(state["weights"])
    return model.eval()


@pytest.mark.parametrize(
    "change, options, words",
    [
        ({}, ["--min-map", "0.5"], "--student is the student, --budget-ms and --min-map look for one"),
        ({}, ["--set", "student.depth=2"], "the recipe's group 'student' describes one (depth)"),
        ({"mean": 0.7}, [], "small.pt takes pixels with mean [0.7], its teacher with [0.4]"),
        ({"labels": ("Person", "Cow", "Bicycle")}, [], "student {} knows 3 classes (Person, Cow, Bicycle)"),
        ({"labels": ("Person",)}, [], "student {} knows 1 classes"),
        ({"channels": 3}, [], "student {} takes rgb images"),
        ({"strides": [4, 8]}, ["--set", "distil.epochs=1"], "the student has strides [4, 8], its teacher [8]"),
    ],
)
def test_a_student_that_cannot_be_is_refused_before_any_work(data, recipe, tmp_path, change, options, words):
    teacher, student = checkpoint(tmp_path / "big.pt", 1, depth=2), checkpoint(tmp_path / "small.pt", 2, **change)
    with pytest.raises(RecipeError) as refused:
        opened(data, recipe, tmp_path, "--teacher", teacher, "--student", student, *options)
    assert words.format(student) in str(refused.value) and not (tmp_path / "out.run").exists()


def test_a_student_without_a_teacher_or_without_a_file_is_refused(data, recipe, tmp_path):
    teacher = checkpoint(tmp_path / "big.pt", 1)
    with pytest.raises(RecipeError, match="under a teacher that is trained: name that with --teacher"):
        opened(data, recipe, tmp_path, "--student", teacher)
    with pytest.raises(RecipeError, match="no student at .*nowhere"):
        opened(data, recipe, tmp_path, "--teacher", teacher, "--student", tmp_path / "nowhere")


SHIPPED = {"groups": "(?P<frame>[0-9]+)", "intended": "Ships.", "attribution": "CC BY.", "not_intended": "Land."}


@pytest.mark.parametrize("known", [True, False])
def test_a_recipes_card_holds_for_the_data_that_it_was_written_for(data, tmp_path, caplog, known):
    recipe, card = tmp_path / "ships.yaml", SHIPPED | {"data": [f"none|{data.name}" if known else "ships"]}
    recipe.write_text(yaml.safe_dump({**TINY, "card": card}))
    found = opened(data, recipe, tmp_path, "--set", "card.not_intended=Mine.")
    told = "card is of other data (ships), so its intended, attribution, groups are left out; give --attribution"
    assert (told in caplog.text) != known
    expected = (card if known else asdict(Card())) | {"not_intended": "Mine."}
    assert asdict(found.recipe.card) == asdict(Card()) | expected
    assert found.attribution == (SHIPPED["attribution"] if known else "")


def test_the_shipped_recipes_cards_name_their_data_and_hold_for_all_of_it_alone():
    cameras = [{"data", "hit_uav", "images"}, {"asl_tid"}, {"people"}]
    for name in (p.stem for p in RECIPES.glob("*.yaml")):
        card = load_recipe(name).card
        assert card.data or not (card.intended or card.attribution), name
    recipe = load_recipe("uav_thermal_cameras")
    assert card_for(recipe, "uav_thermal_cameras", cameras) == (recipe.card, "")
    for folders in (cameras[:2], [*cameras, {"mine"}], [{"mine"}]):
        assert card_for(recipe, "uav_thermal_cameras", folders)[0] == Card()


def test_what_the_shipped_bundles_kept_of_their_data_goes_on():
    made = open_bundle(ROOT / "models" / "uav_thermal_tiny").made
    mine, second, student, teacher, *others = origins_of("uav_thermal_tiny", made)
    for stage in (mine, second):
        assert stage["data"][:2] == ["hit_uav/train.json", "asl_tid/train.json"] and "ASL-TID" in stage["attribution"]
    names = ["uav_thermal_tiny, student of uav_thermal_tiny_second_stage"]
    names += ["uav_thermal, teacher of uav_thermal_tiny_second_stage"]
    assert [student["name"], teacher["name"]] == names and student["attribution"] == ""
    assert [m["name"] for m in others if "teacher of" not in m["name"]] == [
        "uav_thermal_one_camera",
        "all_cameras.run/teacher.pt",
    ], "who taught it: the run's teacher, and that of one set"
