"""What a teacher tells, what is kept of it on disk, and what may be a teacher."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from bundles import LABELS, write_bundle
from commands import TINY, command

from offline import compress, stages
from offline.boards.targets import find_target
from offline.errors import RecipeError
from offline.export.onnx_export import check_against_torch, export_master, file_entry, golden_inputs, write_golden
from offline.model.detector import build_model
from offline.model.from_bundle import check_golden, model_of_bundle, module_path
from offline.model.pretrained import load_teacher, settle_norms
from offline.render import write_dataset
from offline.run.recipe_file import load_recipe
from offline.stages.preflight import open_run
from offline.training.distill import Distiller, attention_loss, relation_loss, response_loss
from offline.training.losses import points_for
from offline.training.specialist import Specialist
from offline.training.teacher_cache import TeacherCache
from vit_perception.bundles.bundle import Bundle, open_bundle
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

BIG = {"classes": 3, "channels": 1, "stem": [8, 8, 16, 16], "dim": 96, "depth": 3, "heads": 3, "mlp": 96, "neck": 24}
SMALL = BIG | {"dim": 64, "depth": 2, "heads": 1, "neck": 16}
ALL = {"response": 1.0, "feature": 1.0, "relation": 1.0, "attention": 1.0}
SHIPPED = Path(__file__).resolve().parents[3] / "models" / "uav_thermal"


def fresh(config, seed=0):
    torch.manual_seed(seed)
    return build_model(config).eval()


def sure(config, seed=0):
    """A teacher that finds something and attends somewhere: untrained, a model gives every point 1%."""
    model = fresh(config, seed)
    for block in model.blocks:
        torch.nn.init.normal_(block.attn.qkv.weight, std=0.2)
    torch.nn.init.normal_(model.heads["8"].cls[1].weight)
    torch.nn.init.constant_(model.heads["8"].cls[1].bias, -1.0)
    return model


def distiller_of(student, teacher, **options):
    torch.manual_seed(0)  # its projections start at random
    return Distiller(student, teacher, **options)


def tell(distiller, student, images, **more):
    features = student.features(images)
    points = points_for(student, images.shape[3], images.shape[2])
    return distiller(features, student.outputs(features), {"images": images} | more, points)


def test_the_teacher_looks_at_clean_images_and_tells_only_what_it_is_asked_to():
    student, teacher = fresh(SMALL), sure(BIG, seed=1)
    both = distiller_of(student, teacher, response=1.0, feature=1.0)
    images, clean = torch.randn(2, 1, 64, 64), torch.randn(2, 1, 64, 64)
    plain = tell(both, student, images)
    assert all(torch.equal(v, plain[k]) for k, v in tell(both, student, images, clean=images).items())
    assert not torch.equal(tell(both, student, images, clean=clean)["response"], plain["response"])
    everything = tell(both, student, images, told=torch.ones(2, 3, dtype=torch.bool))
    assert all(torch.allclose(v, plain[k]) for k, v in everything.items())
    nothing = tell(both, student, images, told=torch.zeros(2, 3, dtype=torch.bool))
    assert all(v.item() == 0 for v in nothing.values())
    told = torch.tensor([[True, True, True], [False, True, False]])
    losses = tell(both, student, images, told=told)
    first = tell(both, student, images[:1])
    assert losses["feature"].item() == pytest.approx(first["feature"].item() / 2, rel=1e-4)
    student.zero_grad()
    features = student.features(images)
    outputs = student.outputs(features)
    logits = outputs["logits"]
    logits.retain_grad()
    both.feature = 0.0
    both(features, outputs, {"images": images, "told": told}, points_for(student, 64, 64))["response"].backward()
    assert (logits.grad[1, :, [0, 2]] == 0).all() and (logits.grad[1, :, 1] != 0).any()


def test_a_specialist_answers_for_its_crops_as_it_takes_pixels_and_its_features_do_not_count():
    student, teacher, theirs = fresh(SMALL), sure(BIG, seed=1), sure(SMALL | {"neck": 8}, seed=2)
    specialist = Specialist.taking(theirs, ([0.5], [0.2]), ([0.4], [0.1]), None)
    both = distiller_of(student, teacher, response=1.0, feature=1.0, specialists=[specialist])
    images, told, points = torch.randn(2, 1, 64, 64), torch.ones(2, 3, dtype=torch.bool), points_for(student, 64, 64)
    losses = tell(both, student, images, told=told, taught_by=torch.tensor([0, 1]))
    seen = [teacher.predict(teacher.features(images[:1]))]
    seen += [theirs.predict(theirs.features((images[1:] * 0.2 + 0.5 - 0.4) / 0.1))]
    answers = [torch.cat(pair) for pair in zip(*seen, strict=True)]
    expected = response_loss(*student.predict(student.features(images)), *answers, points)
    assert losses["response"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert losses["feature"].item() == pytest.approx(tell(both, student, images[:1])["feature"].item() / 2, rel=1e-4)
    alone = tell(both, student, images, told=told, taught_by=torch.tensor([1, 1]))
    assert list(alone) == list(losses) and alone["feature"].item() == 0 and alone["response"].item() > 0
    back = tell(both, student, images, told=told, taught_by=torch.tensor([0, 0]))
    assert back["response"].item() == pytest.approx(tell(both, student, images)["response"].item(), rel=1e-5)


@pytest.fixture
def images():
    return torch.randn(2, 1, 64, 128, generator=torch.Generator().manual_seed(1))


def test_a_perfect_student_has_nothing_to_learn(images):
    model = fresh(BIG)
    perfect = tell(Distiller(model, fresh(BIG), **ALL), model, images)
    worse = tell(Distiller(model, fresh(BIG, seed=5), **ALL), model, images)
    assert all(perfect[k] < worse[k] for k in ALL)
    assert all(perfect[k].abs() < 1e-6 for k in ("feature", "relation", "attention"))
    features = model.features(images)
    logits, raw = (x.detach() for x in model.predict(features))
    target = logits.clone().requires_grad_()
    response_loss(target, raw, logits, raw, points_for(model, 128, 64)).backward()
    assert target.grad.abs().max() < 1e-6  # at the teacher's own answer the gradient vanishes


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("pool", [None, [1, 2]])
def test_every_way_of_telling_brings_another_architecture_closer(name, pool, images):
    """Other widths, depth, number of heads and of tokens: 40 steps on one batch must lower the loss a lot."""
    student = fresh(SMALL | {"pool": pool}, seed=3)
    distiller = Distiller(student, sure(BIG), **{name: 1.0})
    parameters = [*student.parameters(), *distiller.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    history = []
    for _ in range(40):
        losses = tell(distiller, student, images)
        assert list(losses) == [name]
        optimizer.zero_grad()
        losses[name].backward()
        optimizer.step()
        history.append(losses[name].item())
    assert history[-1] < 0.5 * history[0]


def test_relations_do_not_see_width_or_rotation():
    tokens = torch.randn(2, 12, 32)
    rotation = torch.linalg.qr(torch.randn(48, 48))[0][:, :32]
    assert relation_loss(tokens, tokens @ rotation.T) < 1e-10
    assert relation_loss(tokens, tokens.flip(1)) > 1e-3


def test_attention_of_equal_heads_is_that_of_one():
    """Means over heads: a model whose heads are copies of each other attends as one with a single such head."""
    q, k, v = torch.randn(3, 2, 8, 64)
    one, two = torch.cat([q, k, v], -1), torch.cat([q, q, k, k, v, v], -1)
    assert attention_loss(one, two, 2, 4).abs() < 1e-6
    assert attention_loss(one, torch.randn(2, 8, 192), 2, 4) > 0.1


def test_close_leaves_the_student_as_it_was(images):
    student = fresh(SMALL)
    distiller = Distiller(student, fresh(BIG), attention=1.0)
    assert any(m._forward_hooks for m in student.modules())
    distiller.close()
    assert not any(m._forward_hooks for m in student.modules())


def test_student_and_teacher_must_be_comparable():
    with pytest.raises(RecipeError, match=r"strides \[4, 8\], its teacher \[8\]"):
        Distiller(fresh(SMALL | {"strides": [4, 8]}), fresh(BIG), response=1.0)
    with pytest.raises(RecipeError, match="without attention"):
        Distiller(fresh(SMALL | {"heads": 0}), fresh(BIG), attention=1.0)


def test_kept_answers_teach_the_same(tmp_path):
    """With a trained teacher, rounding to float16 moves no loss by 1e-3, and read answers equal computed ones."""
    student = fresh(SMALL | {"classes": 4, "strides": [4, 8]})
    teacher = load_teacher(SHIPPED, ["Person", "Car", "Bicycle", "OtherVehicle"], 1).model
    images = torch.from_numpy(np.load(SHIPPED / "golden.npz")["images"][:, :, 100:228, 200:360]).float()
    live = tell(distiller_of(student, teacher, **ALL), student, images)
    first = TeacherCache(tmp_path, teacher, 1.0)
    written = tell(distiller_of(student, teacher, **ALL, cache=first), student, images)
    again = TeacherCache(tmp_path, teacher, 1.0)
    read = tell(distiller_of(student, teacher, **ALL, cache=again), student, images)
    assert (first.read, first.computed, again.read, again.computed) == (0, 1, 1, 0)
    for name, loss in live.items():
        assert written[name].item() == pytest.approx(loss.item(), rel=1e-3)
        assert torch.equal(read[name], written[name])


def test_other_pixels_and_other_teachers_have_other_answers(images, tmp_path):
    student = fresh(SMALL)
    for teacher, x in ((sure(BIG), images), (sure(BIG), images + 1e-3), (sure(BIG, seed=1), images)):
        cache = TeacherCache(tmp_path, teacher, 1.0)
        tell(distiller_of(student, teacher, **ALL, cache=cache), student, x)
        assert cache.computed == 1


def test_distillers_travel_to_other_processes(images, tmp_path):
    """As data-parallel training sends them: student and distiller in one, still connected on the other side."""
    student, teacher = fresh(SMALL), sure(BIG)
    distiller = distiller_of(student, teacher, **ALL, cache=TeacherCache(tmp_path, teacher, 1.0))
    expected = tell(distiller, student, images)
    twin, sent = pickle.loads(pickle.dumps((student, distiller)))
    got = tell(sent, twin, images)
    assert all(torch.equal(got[k], expected[k]) for k in ALL)


def test_answers_to_other_questions_are_added(images, tmp_path):
    student, teacher = fresh(SMALL), sure(BIG)
    cache = TeacherCache(tmp_path, teacher, 1.0)
    for weights in ({"response": 1.0}, {"relation": 1.0}, {"response": 1.0, "relation": 1.0}):
        tell(distiller_of(student, teacher, **weights, cache=cache), student, images)
    assert (cache.computed, cache.read) == (2, 1)


@pytest.mark.parametrize("harm", ["truncate", "flip", "empty", "junk"])
def test_broken_files_are_computed_again(images, tmp_path, harm):
    student, teacher = fresh(SMALL), sure(BIG)
    cache = TeacherCache(tmp_path, teacher, 1.0)
    distiller = distiller_of(student, teacher, **ALL, cache=cache)
    before = tell(distiller, student, images)
    (path,) = tmp_path.rglob("*.npz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes({"truncate": data[: len(data) // 2], "flip": data, "empty": b"", "junk": b"junk" * 99}[harm])
    after = tell(distiller, student, images)
    tell(distiller, student, images)
    assert (cache.computed, cache.read) == (2, 1)
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_the_limit_holds_over_runs(tmp_path):
    """Room for two batches of three: the third is computed each time, and learns from the same rounded answers."""
    student, teacher = fresh(SMALL), sure(BIG)
    batches = [torch.randn(2, 1, 64, 64) for _ in range(3)]
    measure = TeacherCache(tmp_path / "measure", teacher, 1.0)
    tell(distiller_of(student, teacher, **ALL, cache=measure), student, batches[0])
    size = sum(p.stat().st_size for p in (tmp_path / "measure").rglob("*.npz"))
    for computed in (3, 1):
        cache = TeacherCache(tmp_path / "kept", teacher, 2.5 * size / 1e9)
        distiller = distiller_of(student, teacher, **ALL, cache=cache)
        losses = [tell(distiller, student, x) for x in batches]
        assert cache.computed == computed and len(list((tmp_path / "kept").rglob("*.npz"))) == 2
    unlimited = tell(distiller_of(student, teacher, **ALL, cache=measure), student, batches[2])
    assert all(torch.equal(losses[2][k], unlimited[k]) for k in ALL)


def test_module_paths_of_node_names():
    assert module_path("/stem.1/stem.1.1/body/body.0/body.0.0/Conv") == "stem.1.1.body.0.0"
    assert module_path("/blocks.10/attn/qkv/qkv.1/MatMul_output_0") == "blocks.10.attn.qkv.1"
    assert module_path("/Add_1") == ""


def test_the_shipped_bundle_teaches():
    """Pruned; with the record of its config, and from the shapes alone. Factorised ones: `split`, below."""
    teacher = load_teacher(SHIPPED, ["Person", "Car", "Bicycle", "OtherVehicle"], 1)
    assert teacher.model.config()["heads"] == [2] * 3 and not teacher.model.config()["ranks"]
    unrecorded = {k: v for k, v in open_bundle(SHIPPED).manifest.items() if k != "made"}
    assert model_of_bundle(Bundle(str(SHIPPED), unrecorded)).config() == teacher.model.config()
    assert check_golden(teacher.model, SHIPPED / "golden.npz") <= 2**-11  # it is in float16
    batches = [x[None].astype(np.float32) for x in np.load(SHIPPED / "golden.npz")["images"]]
    master = OnnxRuntimeEngine(str(SHIPPED / "model.onnx"))
    assert check_against_torch(teacher.model, master, batches) < 1e-4
    settle_norms(teacher.model, [torch.randn(1, 1, 128, 160) * 0.5])
    assert check_against_torch(teacher.model, master, batches) < 1e-4


def random_norms(model):
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            for t in (m.weight, m.running_var):
                t.data.uniform_(0.5, 2.0)
            for t in (m.bias, m.running_mean):
                t.data.normal_()
    return model


@pytest.mark.parametrize(
    "change",
    [{}, {"heads": [0, 2, 1]}, {"mlp": [64, 0, 32]}, {"strides": [4, 8]}, {"pool": [1, 2]}, {"split": True}],
    ids=lambda c: next(iter(c), "plain"),
)
def test_bundles_become_models_again(tmp_path, change):
    model = random_norms(fresh(BIG | {k: v for k, v in change.items() if k != "split"}))
    if "split" in change:
        for name in ("blocks.0.attn.qkv", "blocks.2.mlp.fc2"):
            for layer in model.factorise(name, 8):
                torch.nn.init.normal_(layer.weight, std=0.1)
    spec = {"width": 128, "height": 64, "color": "gray", "mean": [0.5], "std": [0.2]}
    master, golden = tmp_path / "model.onnx", tmp_path / "golden.npz"
    export_master(model, master, 128, 64)
    write_golden(golden, OnnxRuntimeEngine(str(master)), golden_inputs(spec))
    files = {"fp32": file_entry(master, "fp32", "any"), "golden": file_entry(golden, "fp32", "any", opset=None)}
    manifest = {"format_version": 1, "name": "x", "labels": LABELS, "input": spec, "thresholds": {}, "files": files}
    manifest |= {"head": {"strides": model.config()["strides"]}}
    told = model_of_bundle(Bundle(str(tmp_path), manifest | {"made": {"model": model.config()}}))
    assert told.config() == model.config()
    if not model.config()["pool"]:
        assert model_of_bundle(Bundle(str(tmp_path), manifest)).config() == model.config()  # from the shapes alone
    else:
        with pytest.raises(RecipeError, match="differs from golden"):
            model_of_bundle(Bundle(str(tmp_path), manifest))


def test_settled_norms_train_as_they_infer():
    """With folded norms, training would start from another function; settled on real inputs, from about the same."""
    x = torch.randn(8, 1, 64, 64)
    model = fresh(BIG)
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):  # as they come back from a bundle, after real training
            m.weight.data.uniform_(0.5, 3.0)
            m.bias.data.normal_()
    before = model(x)[1]
    off = (copy.deepcopy(model).train()(x)[1] - before).abs().mean()
    settle_norms(model, [x])
    torch.testing.assert_close(model(x)[1], before, rtol=1e-3, atol=1e-3)
    assert (model.train()(x)[1] - before).abs().mean() < 0.01 * off


def test_a_teacher_must_fit_the_data(tmp_path):
    bundle = write_bundle(tmp_path / "bundle")
    assert load_teacher(bundle, LABELS, 1).labels == LABELS
    with pytest.raises(RecipeError, match=r"knows 3 classes \(Person, Car, Bicycle\), the data has 3 \(Car, Person"):
        load_teacher(bundle, ["Car", "Person", "Bicycle"], 1)
    with pytest.raises(RecipeError, match="takes gray images, the recipe's input.color gives rgb"):
        load_teacher(bundle, LABELS, 3)
    (tmp_path / "junk.pt").write_bytes(b"junk")
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pt")
    torch.save({"config": BIG | {"dim": 32}, "weights": fresh(BIG).state_dict()}, tmp_path / "shape.pt")
    torch.save({"parts": {}, "average": {}, "optimizers": [], "step": 3}, tmp_path / "half.pt")
    for name, says in (
        ("missing.pt", "no teacher at"),
        ("junk.pt", "cannot read teacher"),
        ("other.pt", "not a checkpoint of offline.compress"),
        ("shape.pt", "another architecture"),
        ("half.pt", "not finished"),
    ):
        with pytest.raises(RecipeError, match=says) as error:
            load_teacher(tmp_path / name, LABELS, 1)
        assert "\n" not in str(error.value)


def test_a_graph_of_another_architecture_is_refused(tmp_path):
    folder = write_bundle(tmp_path / "bundle", made={"model": BIG})
    with pytest.raises(RecipeError, match="another architecture"):
        load_teacher(folder, LABELS, 1)


def test_a_run_learns_from_a_given_teacher(tmp_path, capsys, caplog):
    """With a bundle as the teacher none is trained; its pixels, config and answers go into the student's run."""
    caplog.set_level("INFO")
    write_dataset(tmp_path / "data", "thermal", train=4, val=2, size=(128, 64), seed=1)
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(TINY | {"crops": {"size": [64, 64]}}))
    made = write_bundle(tmp_path / "teacher")
    options = ["--set", "distil.relation=1", "--set", "distil.attention=1", "--set", "distil.cache_gb=1"]
    options += ["--target", "jetson-nano", "--teacher"]
    arguments = [*command(tmp_path / "data", recipe, tmp_path / "out", *options)[3:], str(made)]
    args = compress.parse(arguments)
    run = open_run(args, load_recipe(args.recipe, args.set), find_target(args.target))
    assert run.input["mean"] == [0.5] and run.identity["teacher"]["file"] == "teacher"
    stages.teacher(run, tmp_path)
    stages.distil(run, tmp_path)
    assert check_golden(run.load("teacher"), made / "golden.npz") < 1e-3
    assert len(list(run.answers.rglob("*.npz"))) == TINY["distil"]["min_steps"]
    assert "0 batches from disk, 6 computed" in caplog.text
    (run.folder / "distil.pt").unlink()
    stages.distil(run, tmp_path)
    assert "6 batches from disk, 0 computed" in caplog.text

    again = load_teacher(run.folder / "distil.pt", LABELS, 1)  # a stage of one run may teach the next
    assert again.input == run.input and again.labels == LABELS
    run.save("quantise", run.load("distil"))
    run.note("export", {"files": {}, "operators": []})
    assert run.manifest()["made"]["model"] == run.load("distil").config()

    for wrong, says in ((str(tmp_path / "no"), "no teacher at"), (str(tmp_path / "data"), "no model bundle at")):
        with pytest.raises(SystemExit):
            compress.main([*arguments[:-1], wrong, "--run", str(tmp_path / "x")])
        assert says in capsys.readouterr().err and not (tmp_path / "x").exists()
