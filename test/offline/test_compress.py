"""offline.compress and offline.evaluate as a user runs them: real processes, a tiny recipe, rendered flights."""

import json
import resource
import shutil
import signal
import time

import onnx
import pytest
import yaml
from commands import ENVIRONMENT, TINY, command, one_sentence, run, run_anew
from processes import Program

from offline import compress, evaluate
from offline.boards.targets import find_target
from offline.errors import RecipeError
from offline.evaluation.accuracy import TorchEngine
from offline.model.detector import build_model
from offline.report.latency import compare_latency
from offline.run.recipe_file import changes, load_recipe, recipe_names
from offline.stages.preflight import open_run
from vit_perception.bundles.bundle import open_bundle

CARD = ("card.intended=To find walkers.", "card.not_intended=Not at sea.", "card.attribution=Ours.")
CARD += ("thresholds.fp_per_image=0.5", "thresholds.weak_fp_per_image=2.0")  # nor does this train anything
CARD += (r"card.groups=(?P<frame>\d+)\.\w+$",)  # of the rendered files' names
STAGES_WITH_STEPS = ("teacher", "distil", "prune", "lowrank")


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def test_images_in_bundle_out_and_killed_runs_give_the_same(data, recipe, tmp_path):
    whole = tmp_path / "whole"
    done = run_anew(command(data, recipe, whole, "--target", "jetson-orin-nano", "--attribution", "Rendered, CC0."))
    assert done.returncode == 0, done.stderr
    bundle = open_bundle(whole)
    assert bundle.labels == ["Person", "Car", "Bicycle"] and bundle.variants == ["fp32", "int8", "fp16", "int8_trt"]
    assert (bundle.input["width"], bundle.input["height"], bundle.input["color"]) == (128, 96, "gray")
    text = (whole / "CARD.md").read_text()
    assert "Rendered, CC0." in text and "mAP50" in text
    assert all(5000 < (whole / f"{name}.png").stat().st_size < 60_000 for name in ("stages", "curves", "confusion"))
    assert (tmp_path / "whole.run" / "samples.png").is_file() and (tmp_path / "whole.run" / "log.txt").is_file()
    assert {m["variant"] for m in bundle.metrics} == {"fp32", "int8", "fp16", "int8_trt"}
    names = {n.name for n in onnx.load(bundle.file("fp32")).graph.node}
    assert bundle.fp16_refused == "" and set(bundle.fp32_layers) <= names
    assert any("/norm" in n for n in bundle.fp32_layers) and any("/act/" in n for n in bundle.fp32_layers)
    assert bundle.made["recipe"]["prune"]["heads"] == 0.5 and bundle.made["train"]["sha256"]

    cut = tmp_path / "cut"  # kill it in the middle of every training and right after the first, then let it finish
    for file in ("teacher.checkpoint.pt", "teacher.pt", *(f"{s}.checkpoint.pt" for s in STAGES_WITH_STEPS[1:])):
        resume = ["--resume"] if (tmp_path / "cut.run").exists() else []
        kill_when(command(data, recipe, cut, "--target", "jetson-orin-nano", *resume), tmp_path / "cut.run" / file)
        assert not cut.exists()
    again = run(command(data, recipe, cut, "--target", "jetson-orin-nano"))
    assert "add --resume" in one_sentence(again)
    other = run(command(data, recipe, cut, "--target", "cpu", "--resume"))
    assert "target changed since it was begun" in one_sentence(other)
    begun = run(command(data, recipe, cut, "--target", "jetson-orin-nano", "--resume", "--set", "distil.lr=0.1"))
    assert "recipe changed since it was begun" in one_sentence(begun)
    changed = [part for value in CARD for part in ("--set", value)]
    done = run(command(data, recipe, cut, "--target", "jetson-orin-nano", "--resume", "--also", "train.json", *changed))
    assert done.returncode == 0, done.stderr
    assert open_bundle(cut).sha256 == bundle.sha256  # deterministic by seed, interrupted or not
    check_card(cut, data)

    scored = run_anew(command(data, recipe, whole, "--precision", "int8", module="offline.evaluate"))
    assert scored.returncode == 0, scored.stderr
    figures = json.loads(scored.stdout.splitlines()[-1])
    published = next(m for m in bundle.metrics if m["variant"] == "int8")
    for key in ("map", "map50", "per_class", "recall_at", "working_point", "confusion"):
        assert figures[key] == published[key]
    assert set(figures["per_class"]) == {"Person", "Car", "Bicycle"}


def check_card(folder, data):
    """What the recipe and --also say of the card, though they came after the training had begun."""
    bundle, text = open_bundle(folder), (folder / "CARD.md").read_text()
    assert "changed: `thresholds.fp_per_image=0.5, thresholds.weak_fp_per_image=2.0`" in text.split("## ")[0]
    assert bundle.input["high_bit_depth"]["scaling"] == "percentile" and set(bundle.object_px) == set(bundle.labels)
    sections = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert sections[:3] == ["Intended use", "Not intended", "Accuracy"] and sections[-1] == "Limits"
    assert "To find walkers." in text and "Not at sea." in text and "\nOurs.\n" in text
    val, train = (data.name + f"/{split}.json" for split in ("val", "train"))
    variants = ("fp32", "int8", "fp16", "int8_trt")
    assert [(m["data"], m["variant"]) for m in bundle.metrics] == [(d, v) for d in (val, train) for v in variants]
    assert [m["training_images"] for m in bundle.metrics[::4]] == [0, 6] and "6 of them were trained on" in text
    point, score = bundle.metrics[0]["working_point"], bundle.thresholds["score"]
    assert score != 0.3 and bundle.thresholds["weak_score"] < score == point["score"]
    assert point["all"]["fp_per_image"] <= 0.5
    assert all((folder / name).is_file() for name in ("frames.png", "losses.png", "run.log"))
    groups = bundle.metrics[0]["groups"]["frame"]
    assert sum(g["images"] for g in groups.values()) == bundle.metrics[0]["images"]
    assert all(f"| {name} | {g['images']} |" in text for name, g in groups.items())


def kill_when(arguments, path):
    """SIGKILL the command, which writes a checkpoint after every step, as soon as `path` exists."""
    process = Program(arguments[2:], ENVIRONMENT | {"VIT_PERCEPTION_SAVE_EVERY_S": "0"})
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_a_full_disk_leaves_nothing_half_written(data, recipe, tmp_path):
    """A limit on file sizes is the one "no space" that a test may cause: the same write fails, with another errno."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    out = tmp_path / "full"
    message = one_sentence(run_anew(command(data, recipe, out), preexec_fn=limit))
    assert "File too large" in message
    assert not out.exists() and not list(tmp_path.glob("full.run/*.tmp")) and not list(tmp_path.glob(".full*"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "nowhere"], "no data folder at nowhere"),
        (["--train", "other.json"], "no annotation file"),
        (["--ignore", "Dog"], "no category 'Dog' to ignore"),
        (["--classes", "Dog"], "--classes names 'Dog', which"),
        (["--target", "toaster"], "no target 'toaster'; choose one of: jetson-nano"),
        (["--recipe", "none"], "no recipe 'none'; give one of ablation, fast, full, hit_uav, keep, quick"),
        (["--set", "prune.heads=2"], "prune.heads must lie in 0..1"),
        (["--set", "prune.haeds=0"], "unknown key 'prune.haeds'; choose from"),
        (["--set", "teacher.lr=fast"], "'teacher.lr' must be a number"),
        (["--set", "teacher.lr=.nan"], "'teacher.lr' must be a number"),
        (["--set", "teacher.batch=2.5"], "'teacher.batch' must be a whole number, not 2.5"),
        (["--set", "teacher.min_steps=2.5"], "'teacher.min_steps' must be a whole number"),
        (["--set", "prune.rounds=1.5"], "'prune.rounds' must be a whole number"),
        (["--set", "prune.twin=3"], "'prune.twin' must be true or false"),
        (["--set", "seed=1.5"], "'seed' must be a whole number"),
        (["--set", "seed=-1"], "seed must lie in 0..1000000000, not -1"),
        (["--set", "thresholds.max_detections=2.5"], "'thresholds.max_detections' must be a whole number"),
        (["--set", "crops.mosaic=-3"], "crops.mosaic must lie in 0..1, not -3"),
        (["--set", "crops.scale=1"], "crops.scale must be [low, high]"),
        (["--set", "search.levels=0.5"], "search.levels must be a list"),
        (["--set", "input.size=[640"], "--set input.size=[640 is not valid yaml"),
        (["--set", "input.size=[8192, 8192]"], "input has 8192 x 8192 pixels, more than"),
        (["--set", "thresholds.max_detections=200000"], "thresholds.max_detections must be a whole number from 1"),
        (["--set", "model.width=64"], "unknown model option ['width']"),
        (["--set", "model.stem=3"], "recipe group 'model' makes no model with --set model.stem=3"),
        (["--set", "student.depht=1"], "unknown model option ['depht']"),
        (["--set", "student.mixer=twin", "--set", "student.dim=x"], "recipe group 'student' makes no model"),
        (["--set", "student.strides=[4, 8]"], "the student has strides [4, 8], its teacher [8]"),
        (["--out", "out/a\tb"], "the bundle 'a\tb' could not be opened: name must be"),
        (["--set", "crops.size=[100,64]"], "multiples of 32"),
        (["--set", "teacher.lr=-1"], "error: --set teacher.lr=-1: teacher: lr, batch and epochs must be positive"),
        (["--set", "thresholds.weak_score=0.5"], "weak_score (0.5) must not exceed thresholds.score (0.3)"),
        (
            ["--set", "thresholds.fp_per_image=2", "--set", "thresholds.weak_fp_per_image=1"],
            "thresholds.weak_fp_per_image (1) must be at least fp_per_image (2)",
        ),
        (["--set", "input.high_bit_depth={scaling: log}"], "input.high_bit_depth.scaling must be one of"),
        (["--map", "Person"], "--map: 'Person' is not of the form"),
        (["--map", "Dog=Person"], "--map names 'Dog', but"),
        (["--set", "card.intended=3"], "'card.intended' must be a text"),
        (["--set", "card.bands={height: [1, 2]}"], "bands: 'height' is no group of the pattern"),
        (["--set", "card.groups=(?P<time>night)"], "no file name of"),
        (["--also", "other.json"], "no annotation file"),
    ],
)
def test_bad_options_end_in_one_sentence_before_any_work(data, recipe, tmp_path, capsys, arguments, says):
    with pytest.raises(SystemExit) as end:
        compress.main([*command(data, recipe, tmp_path / "out")[3:], *arguments])
    error = capsys.readouterr().err
    assert end.value.code == 2 and says in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.run").exists()


@pytest.mark.parametrize("name", [n for n in recipe_names().split(", ") if load_recipe(n).detects()])
def test_shipped_recipes_choose_their_scores_by_false_positives(name):
    t = load_recipe(name).thresholds
    assert 0 < t.fp_per_image <= 2 and t.weak_fp_per_image >= t.fp_per_image


def test_what_is_set_is_what_is_done(caplog):
    caplog.set_level("INFO")
    recipe = load_recipe("quick", ["teacher.epochs=3", "thresholds.score=0.4", "thresholds.weak_score=0.2"])
    assert load_recipe("quick").teacher.min_steps > 0 and recipe.teacher.min_steps == 0
    assert recipe.distil.min_steps > 0
    t = recipe.thresholds
    assert (t.score, t.weak_score, t.fp_per_image, t.weak_fp_per_image) == (0.4, 0.2, 0, 0)
    assert "--set teacher.epochs: the recipe's teacher.min_steps, 450, does not hold then" in caplog.text
    assert load_recipe("quick", ["teacher.epochs=3", "teacher.min_steps=9"]).teacher.min_steps == 9
    assert changes(recipe, "quick") == ["teacher.epochs=3", "thresholds.score=0.4", "thresholds.weak_score=0.2"]
    assert changes(load_recipe("quick"), "quick") == []


def test_that_a_bundle_will_be_replaced_is_said_at_the_start(data, recipe, tmp_path, capsys, caplog):
    out = tmp_path / "out"
    out.mkdir()
    (out / "bundle.json").write_text("{}")
    with pytest.raises(SystemExit):
        compress.main([*command(data, recipe, out)[3:], "--also", "other.json"])
    assert f"{out} holds a bundle: it stays until this run is done" in caplog.text + capsys.readouterr().err
    assert (out / "bundle.json").read_text() == "{}"


def test_a_folder_that_is_no_bundle_is_not_taken_for_out(data, recipe, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "photo.jpg").write_text("precious")
    with pytest.raises(SystemExit) as end:
        compress.main(command(data, recipe, tmp_path / "out")[3:])
    assert end.value.code == 2 and "out exists and is no model bundle" in capsys.readouterr().err
    assert (tmp_path / "out" / "photo.jpg").is_file() and not (tmp_path / "out.run").exists()


def test_labels_that_no_bundle_may_hold_are_refused_before_any_work(data, recipe, tmp_path, capsys):
    shutil.copytree(data, tmp_path / "data")
    for split in ("train.json", "val.json"):
        path = tmp_path / "data" / split
        path.write_text(path.read_text().replace('"Car"', '"Car\\u0007"'))
    with pytest.raises(SystemExit):
        compress.main(command(tmp_path / "data", recipe, tmp_path / "out")[3:])
    assert "labels must be short texts of printable characters" in capsys.readouterr().err
    assert not (tmp_path / "out.run").exists()


def test_a_resume_measures_anew_under_other_thresholds(data, recipe, tmp_path):
    """What has been measured holds for the thresholds of then."""
    run, again = (
        opened(data, recipe, tmp_path, *more) for more in ((), ("--resume", "--set", "thresholds.nms_iou=0.9"))
    )
    model = build_model(run.recipe.model | {"classes": 3, "channels": 1})
    engines = []

    def engine():
        engines.append(TorchEngine(model, 128, 96))
        return engines[-1]

    for each in (run, run, opened(data, recipe, tmp_path, "--resume"), again):
        each.notes = json.loads((each.folder / "run.json").read_text())["notes"]
        each.measure("fp32", "0" * 64, engine, [8])
    assert len(engines) == 2
    more = opened(data, recipe, tmp_path, "--resume", "--set", "thresholds.max_detections=7")
    more.measure("fp32", "0" * 64, engine, [8])
    assert len(engines) == 3


@pytest.mark.parametrize(
    ("file", "option"),
    [
        ("search-0.60-pooled.checkpoint.pt", "search.epochs=9"),
        ("search-1.00.pt", "search.epochs=9"),
        ("prune1.checkpoint.pt", "prune.mlp=0.1"),
        ("prune2.pt", "prune.mlp=0.1"),
        ("prune.checkpoint.pt", "prune.mlp=0.1"),
        ("first.checkpoint.pt", "distil.lr=0.5"),  # of an ablation's row
        ("teacher.pt", "pretrain.epochs=3"),
    ]
    + [
        ("search-1.00.pt", option)  # that a search decides by
        for option in (
            "prune.criterion=taylor", "prune.depth=2", "lowrank.error=0.2", "lowrank.saving=0.1",
            "quantise.int8=dynamic", "thresholds.nms_iou=0.3",
        )
    ],
)  # fmt: skip
def test_options_of_a_stage_under_way_may_not_change(data, recipe, tmp_path, file, option):
    run = opened(data, recipe, tmp_path)
    assert opened(data, recipe, tmp_path, "--resume", "--set", option).recipe != run.recipe  # nothing has begun
    (run.folder / file).touch()
    with pytest.raises(RecipeError, match="recipe changed since it was begun"):
        opened(data, recipe, tmp_path, "--resume", "--set", option)


def opened(data, recipe, folder, *more):
    args = compress.parse([*command(data, recipe, folder / "out", *more)[3:]])
    return open_run(args, load_recipe(args.recipe, args.set), find_target(args.target))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--budget-ms", "-5"], "--budget-ms -5 is no time"),
        (["--budget-ms", "nan"], "--budget-ms nan is no time"),
        (["--min-map", "80"], "--min-map 80 is no mAP50"),
        (["--min-map", "0"], "--min-map 0 is no mAP50"),
        (["--set", "student.classes=7"], "recipe group 'student' has 7 classes, the data 3"),
        (["--set", "student.channels=3"], "recipe group 'student' makes no model"),
        (["--set", "student.mixer=conv", "--set", "distil.attention=0.3"], "a model without attention learns nothing"),
        (["--set", "prune.latency=0.5", "--set", "prune.depth=9"], "prune.depth 9 blocks must stay"),
        (["--set", "teacher.clip=0"], "teacher.clip must be over 0"),
        (["--set", "distil.ema=-1"], "distil: ema and no_mosaic must be shares"),
        (["--set", "lowrank.saving=7"], "lowrank.error must not be negative, and saving a share"),
    ],
)
def test_what_would_fail_after_hours_is_refused_before_any_work(data, recipe, tmp_path, options, words):
    with pytest.raises(RecipeError) as refused:
        opened(data, recipe, tmp_path, *options)
    assert words in str(refused.value) and not (tmp_path / "out.run").exists()


def test_a_student_that_learns_from_nobody_may_differ_from_the_teacher(data, recipe, tmp_path):
    args = compress.parse([*command(data, recipe, tmp_path / "out", "--set", "student.strides=[4, 8]")[3:]])
    given = args, load_recipe(args.recipe, args.set), find_target(args.target)
    with pytest.raises(RecipeError, match="cannot be compared"):
        open_run(*given)
    assert open_run(*given, taught=False)  # the row "none" of an ablation


@pytest.mark.parametrize("inside", [".", "run"])
def test_a_run_folder_where_the_bundle_goes_is_refused(data, recipe, tmp_path, capsys, inside):
    with pytest.raises(SystemExit):
        compress.main([*command(data, recipe, tmp_path / "out", "--run", str(tmp_path / "out" / inside))[3:]])
    assert "lies in --out" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_master_of_the_teacher_is_whole_or_not_there(data, recipe, tmp_path, monkeypatch):
    run = opened(data, recipe, tmp_path)
    run.save("teacher", build_model(run.recipe.model | {"classes": 3, "channels": 1}))
    monkeypatch.setattr("offline.export.onnx_export.onnxslim.slim", lambda path: 1 / 0)  # as if killed in the middle
    with pytest.raises(ZeroDivisionError):
        compare_latency(run, tmp_path)
    assert not list(run.folder.glob("*teacher.onnx*"))


def test_evaluate_says_what_is_wrong(data, tmp_path, capsys):
    with pytest.raises(SystemExit):
        evaluate.main(command(data, None, tmp_path / "nothing", module="offline.evaluate")[3:])
    assert "error: no model bundle at" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["quick", "full"])
def test_shipped_recipes_load(name):
    recipe = load_recipe(name, ["teacher.epochs=3", "input.size=[640, 512]"])
    assert recipe.teacher.epochs == 3 and recipe.input.size == [640, 512]


def test_numbers_as_yaml_1_1_reads_no_number():
    assert load_recipe("quick", ["teacher.lr=1e-3"]).teacher.lr == 0.001


def test_yaml_that_is_none_is_refused(tmp_path):
    (tmp_path / "r.yaml").write_text("teacher: [")
    with pytest.raises(RecipeError, match="not valid yaml"):
        load_recipe(str(tmp_path / "r.yaml"))
    (tmp_path / "r.yaml").write_text("teacher: {lr: 0.1, lr: 0.2}")
    with pytest.raises(RecipeError, match="'lr' is there twice"):
        load_recipe(str(tmp_path / "r.yaml"))
    (tmp_path / "r.yaml").write_text("[1, 2]")
    with pytest.raises(RecipeError, match="'the recipe' must be a group of keys"):
        load_recipe(str(tmp_path / "r.yaml"), ["seed=1"])
    (tmp_path / "r.yaml").write_text("teacher: 3")
    with pytest.raises(RecipeError, match="must be a group of keys"):
        load_recipe(str(tmp_path / "r.yaml"))
