"""Masks from a folder of images to a bundle that proves itself: real runs of seconds, on coloured blocks."""

import json
import re
import sys

import numpy as np
import pytest
import yaml
from commands import run
from mask_data import NAMES, draw, write_both, write_masks

from offline import evaluate
from offline.boards.layers import layers_of_config, layers_of_onnx, total_macs
from offline.boards.targets import find_target
from offline.compress import parse
from offline.errors import DataError, RecipeError
from offline.evaluation.segmentation import Segmenter
from offline.model.from_bundle import model_of_bundle
from offline.run.recipe_file import load_recipe, recipe_names
from offline.stages.preflight import open_run
from vit_perception.bundles.bundle import open_bundle
from vit_perception.bundles.golden import prove
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

SMALL = {"stem": [8, 16, 16, 16], "dim": 64, "depth": 1, "heads": 1, "mlp": 64, "neck": 16}
STAGE = {"epochs": 0, "batch": 4, "warmup": 2, "lr": 3e-3}
RECIPE = {
    "task": "segment",
    "model": SMALL | {"strides": [4]},
    "crops": {"size": [96, 64], "scale": [0.9, 1.3], "mosaic": 0.2, "photometric": 0.3},
    "masks": {"dice": 0.5},
    "teacher": STAGE | {"min_steps": 60, "ema": 0.9},
    "distil": {"epochs": 0},
    "prune": STAGE | {"min_steps": 20, "mlp": 0.5, "ema": 0.9},
    "lowrank": STAGE | {"min_steps": 4, "error": 0.9, "saving": 0.01},
    "quantise": STAGE | {"min_steps": 4},
}


def compress(data, recipe, out, *more, target="jetson-orin-nano"):
    path = out.parent / f"{out.name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    names = ("train", "val") if (data / "train").is_dir() else ("train.json", "val.json")
    argv = [sys.executable, "-m", "offline.compress", "--data", data, "--train", names[0], "--val", names[1]]
    argv += ["--recipe", path, "--target", target, "--out", out, "--run", out.parent / f"{out.name}.run", *more]
    return run(list(map(str, argv)))


def begin(data, recipe, folder, *more):
    """Open the run in this process: whatever can be refused is refused there."""
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    argv = ["--data", str(data), "--train", "train", "--val", "val", "--out", str(folder / "out"), *more]
    args = parse([*argv, "--recipe", str(folder / "recipe.yaml"), "--run", str(folder / "run")])
    return open_run(args, load_recipe(args.recipe), find_target("cpu"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segment")
    data = write_masks(folder / "data", counts=(8, 3))
    done = compress(data, RECIPE, folder / "bundle")
    assert done.returncode == 0, done.stderr[-2000:]
    return data, folder / "bundle", folder / "bundle.run"


def test_a_bundle_of_masks_learns_opens_and_proves_itself(made):
    _, path, _ = made
    bundle = open_bundle(path)
    manifest = json.loads((path / "bundle.json").read_text())
    assert manifest["format_version"] == 2 and manifest["task"] == "segment" and manifest["labels"] == []
    assert manifest["segmentation"]["labels"] == list(NAMES) and manifest["segmentation"]["stride"] == 4
    assert "head" not in manifest and "thresholds" not in manifest
    measured = {m["variant"]: m for m in manifest["metrics"]}
    assert set(measured) == {"fp32", "int8", "fp16", "int8_trt"}
    assert measured["fp32"]["miou"] > 0.5, "blocks of colour are easily learnt"
    assert measured["int8"]["miou"] > measured["fp32"]["miou"] - 0.05
    for variant in ("fp32", "int8"):
        engine = OnnxRuntimeEngine(bundle.file(variant), variant)
        assert prove(engine, bundle, variant)
        assert list(engine.infer(np.zeros(engine.input_shape, np.float32))) == ["classes"]
    model = model_of_bundle(bundle)  # it can teach again: its outputs are the golden ones
    assert model.config()["segments"] == 3 and model.config()["mlp"] == [32]
    by_config = layers_of_config(model.config(), 96, 64)
    assert total_macs(by_config) == total_macs(layers_of_onnx(path / "model.onnx"))


def test_evaluate_says_what_the_bundle_says(made, capsys):
    data, path, _ = made
    evaluate.main(["--model", str(path), "--data", str(data), "--val", "val", "--precision", "fp32"])
    out = capsys.readouterr().out.splitlines()
    figures = json.loads(out[-1])
    told = next(m for m in json.loads((path / "bundle.json").read_text())["metrics"] if m["variant"] == "fp32")
    assert figures["miou"] == told["miou"] and figures["per_class"] == told["per_class"]
    assert any(line.startswith("car") for line in out)


def test_evaluate_measures_every_set_of_a_yaml(made, capsys):
    data, path, _ = made
    sets = data.parent / "sets.yaml"
    sets.write_text(yaml.safe_dump({"sets": [{"data": "data", "val": ["val", "train"]}]}))
    evaluate.main(["--model", str(path), "--data", str(sets)])
    out = capsys.readouterr().out.splitlines()
    figures = json.loads(out[-1])["sets"]
    told = next(m for m in json.loads((path / "bundle.json").read_text())["metrics"] if m["variant"] == "fp32")
    assert list(figures) == ["data/val", "data/train"] and figures["data/val"]["miou"] == told["miou"]
    assert any("ground: IoU" in line for line in out) and out[-2].startswith("worst: data/")


def test_the_card_and_the_pictures_tell_of_masks(made):
    _, path, run = made
    card = (path / "CARD.md").read_text()
    assert "tells ground, road, car apart" in card and "mIoU" in card and "no proof of level" in card
    assert "mAP" not in card and "detector that" in card
    for name in ("masks.png", "stages.png", "losses.png"):
        assert (path / name).stat().st_size > 500
    assert (run / "masks.png").is_file() and not (path / "frames.png").exists()


def test_both_tasks_share_one_model(tmp_path, capsys):
    data = write_both(tmp_path / "data", counts=(6, 2))
    recipe = RECIPE | {"task": "both", "model": SMALL | {"strides": [4, 8]}, "lowrank": {"saving": 1.0, "epochs": 0}}
    recipe |= {
        "teacher": STAGE | {"min_steps": 30, "ema": 0.9},
        "prune": STAGE | {"min_steps": 6, "neck": 0.0, "mlp": 0.5},
    }
    done = compress(data, recipe, tmp_path / "both", target="cpu")
    assert done.returncode == 0, done.stderr[-2000:]
    bundle = open_bundle(tmp_path / "both")
    told = bundle.metrics[0]
    assert bundle.task == "both" and bundle.labels == ["car"]
    assert told["per_class"].keys() == {"car"} and told["mask_classes"].keys() == set(NAMES) and "map50" in told
    assert told["miou"] > 0.3
    engine = OnnxRuntimeEngine(bundle.file("fp32"))
    outputs = engine.infer(np.zeros(engine.input_shape, np.float32))
    assert list(outputs) == ["logits", "boxes", "classes"]
    image, mask, _ = draw(100)
    said = Segmenter(engine, bundle.input)(image)
    assert said.shape == (16, 24) and (said == mask[2::4, 2::4]).mean() > 0.5
    assert prove(engine, bundle)
    card = (tmp_path / "both/CARD.md").read_text()
    assert "A ViT detector of car, which also tells ground, road, car apart" in card and "mAP50" in card
    write_masks(tmp_path / "masks", counts=(1, 2)), write_both(tmp_path / "boxes", counts=(1, 2), masks=False)
    entries = [{"data": "data", "val": ["val.json"]}, {"data": "masks", "val": ["val"], "has": ["masks"]}]
    entries.append({"data": "boxes", "val": ["val.json"], "has": ["boxes"]})
    (tmp_path / "sets.yaml").write_text(yaml.safe_dump({"sets": entries}))
    evaluate.main(["--model", str(tmp_path / "both"), "--data", str(tmp_path / "sets.yaml"), "--precision", "fp32"])
    out = capsys.readouterr().out.splitlines()
    sets = json.loads(out[-1])["sets"]
    keys = {name: {k for k in ("map50", "miou") if k in figures} for name, figures in sets.items()}
    assert keys == {"data/val.json": {"map50", "miou"}, "masks/val": {"miou"}, "boxes/val.json": {"map50"}}
    assert sets["data/val.json"]["miou"] == told["miou"] and out[-2].startswith("worst: ")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"task": "sgment"}, "task must be one of detect, segment, both, not 'sgment'"),
        ({"crops": {"pasted": 2}}, "crops.pasted must be 0 where the task is segment"),
        ({"crops": {"objects": 0.5}}, "crops.objects must be 0 where the task is segment"),
        ({"masks": {"weights": "cube"}}, "masks.weights must be none or root"),
        ({"task": "both"}, "has masks and no boxes; set task=segment"),
        ({"task": "detect"}, "has masks and no boxes; set task=segment"),
        ({"student": {"segments": 7}}, "must leave segments to the data, which has 3"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(tmp_path, change, sentence):
    data = write_masks(tmp_path / "data", counts=(2, 1))
    with pytest.raises((RecipeError, DataError), match=re.escape(sentence)):
        begin(data, RECIPE | change, tmp_path)


def test_a_teacher_of_other_masks_is_refused(made, tmp_path):
    data, path, _ = made
    (data / "classes.csv").rename(data / "kept.csv")
    try:
        (data / "classes.csv").write_text((data / "kept.csv").read_text().replace("car", "lorry"))
        with pytest.raises(RecipeError, match="tells the masks' classes ground, road, car apart, the data has .*lorry"):
            begin(data, RECIPE, tmp_path, "--teacher", str(path))
    finally:
        (data / "kept.csv").replace(data / "classes.csv")


def test_shipped_recipes_of_masks_are_read():
    for name in ("rendered_segmentation", "uav_segment", "segment_ablation"):
        assert name in recipe_names() and load_recipe(name).task == "segment"
    plain = load_recipe("quick").as_dict()
    assert "task" not in plain and "masks" not in plain, "a detector's bundle is written as it was"


def test_a_search_chooses_by_miou(tmp_path):
    data = write_masks(tmp_path / "data", counts=(4, 2))
    short = STAGE | {"min_steps": 4}
    recipe = RECIPE | {"teacher": short, "prune": short, "lowrank": short | {"saving": 1.0}, "quantise": {"epochs": 0}}
    recipe |= {"search": short | {"levels": [1.0], "images": 2}}
    done = compress(data, recipe, tmp_path / "found", "--budget-ms", "50", target="jetson-nano")
    assert done.returncode == 0, done.stderr[-2000:]
    tried = json.loads((tmp_path / "found.run/search.json").read_text())
    assert tried and all(0 <= c["merit"] <= 1 and c["ms"] <= 50 for c in tried)
    assert "mIoU" in done.stderr and open_bundle(tmp_path / "found").task == "segment"
