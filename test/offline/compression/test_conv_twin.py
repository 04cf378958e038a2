"""The convolutional twin, and tokens at stride 16: equal work, and the same way through every technique as the rest."""

import numpy as np
import onnx
import pytest
import torch
import yaml
from bundles import INPUT
from commands import TINY, command

from offline import compress, stages
from offline.boards.targets import find_target
from offline.compression.conv_twin import conv_twin, twin_of
from offline.compression.groups import cut, groups
from offline.compression.prune import prune_to_cost
from offline.compression.quantize import quantise_int8
from offline.compression.smooth import smooth
from offline.errors import RecipeError
from offline.export.contract import TENSORRT_8_2, check_contract
from offline.export.onnx_export import check_against_torch, export_master, golden_inputs
from offline.model.detector import build_model, count_macs
from offline.model.from_bundle import fill, read_weights
from offline.render import write_dataset
from offline.run.recipe_file import load_recipe
from offline.stages.preflight import open_run
from offline.training.distill import Distiller
from offline.training.losses import points_for
from vit_perception.bundles.bundle import open_bundle
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

VIT = {"classes": 3, "channels": 1, "stem": [8, 8, 16, 16], "dim": 64, "depth": 2, "heads": 2, "mlp": 96, "neck": 16}
CONV = VIT | {"mixer": "conv", "mlp": [48, 32]}
FINE = VIT | {"token_stride": 16, "pool": [1, 2]}


def fresh(config):
    """With norms as if trained, so that none of them is the identity."""
    torch.manual_seed(0)
    model = build_model(config)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(4, 1, 64, 128))
    return model.eval()


@pytest.mark.parametrize("size", [(640, 512), (320, 256)])
@pytest.mark.parametrize(
    "change",
    [{}, {"depth": 8, "strides": [4, 8]}, {"depth": 6, "pool": [1, 5]}, {"heads": [2, 0, 1], "depth": 3, "mlp": 64},
     {"token_stride": 16}, {"ranks": {"blocks.0.mlp.fc1": 32}}, {"stem": "mobile"}],
)  # fmt: skip
def test_a_twin_does_the_same_work_with_the_same_ends(change, size):
    config = {"classes": 3, "channels": 1, "dim": 128, "mlp": 256, "heads": 2} | change
    vit, twin = build_model(config), build_model(conv_twin(config, *size))
    assert count_macs(twin, *size) == pytest.approx(count_macs(vit, *size), rel=0.02)
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (vit, twin)]
    ends = ("stem.", "embed.", "up.", "lateral.", "smooth.", "heads.")
    same = [{k: s for k, s in each.items() if k.startswith(ends)} for each in shapes]
    assert same[0] == same[1]
    assert not any("attn" in name for name in shapes[1])


def test_blocks_too_small_to_be_matched_end_in_a_sentence():
    with pytest.raises(RecipeError, match="no convolutional twin: .* too small"):
        conv_twin(VIT | {"depth": 1, "heads": 0, "mlp": 1, "dim": 512}, 640, 512)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"mixer": "mamba"}, "must be attention or conv"), ({"token_stride": 8}, "16 or 32"),
     (CONV | {"pool": [0, 1]}, "takes no pool"), (CONV | {"mlp": [16, 0]}, "channels in every block")],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(change, says):
    with pytest.raises(RecipeError, match=says):
        build_model(VIT | change)


@pytest.mark.parametrize("config", [CONV, FINE, FINE | {"strides": [4, 8]}], ids=["conv", "fine", "fine, two heads"])
def test_masters_keep_the_contract_and_come_back(config, tmp_path):
    model, size = fresh(config), (INPUT["width"], INPUT["height"])
    master, batches = tmp_path / "model.onnx", golden_inputs(INPUT)
    export_master(model, master, *size)
    assert set(check_contract(master)) <= TENSORRT_8_2
    engine = OnnxRuntimeEngine(str(master))
    assert check_against_torch(model, engine, batches) < 1e-4
    twin = build_model(model.config())
    fill(twin, read_weights(master))
    assert check_against_torch(twin, engine, batches) < 1e-4
    quantise_int8(master, tmp_path / "int8.onnx", batches)
    rounded = OnnxRuntimeEngine(str(tmp_path / "int8.onnx"), "int8").infer(batches[0])
    assert np.abs(rounded["boxes"] - engine.infer(batches[0])["boxes"]).max() < 0.3


def test_a_pure_convolutional_graph_has_no_tokens(tmp_path):
    """No transposes around every block, which would make the comparison unfair; and int8 throughout."""
    export_master(fresh(CONV), tmp_path / "model.onnx", 96, 64)
    operators = {n.op_type for n in onnx.load(str(tmp_path / "model.onnx")).graph.node if "head" not in n.name}
    assert operators <= {"Conv", "Relu", "Add", "ConvTranspose", "Concat", "Constant"}
    quantise_int8(tmp_path / "model.onnx", tmp_path / "int8.onnx", golden_inputs(INPUT))
    graph = onnx.load(str(tmp_path / "int8.onnx")).graph
    float_sums = [n.name for n in graph.node if n.op_type == "Add" and n.name.startswith("/blocks.")]
    makers = {o: n.op_type for n in graph.node for o in n.output}
    assert float_sums and all(
        makers[i] == "DequantizeLinear" for n in graph.node if n.name in float_sums for i in n.input
    )


@pytest.mark.parametrize("name", ["mlp.0", "mlp.1", "dim", "stem.3", "neck"])
def test_units_of_a_convolutional_model_are_cut_exactly(name):
    """What nobody reads goes without changing the function; of a block, all that it adds."""
    model, g = fresh(CONV), groups(build_model(CONV))[name]
    keep = torch.arange(0, g.count, 2) if g.least else torch.arange(0)
    gone = [u for u in range(g.count) if u not in keep.tolist()]
    state = model.state_dict()
    with torch.no_grad():
        for slot in g.slots:
            if slot.reads:
                state[slot.tensor].movedim(slot.axis, 0)[gone] = 0
        if not g.least:  # a body of zeros
            norm = model.blocks[int(name[-1])].body[1][1]
            norm.weight.zero_(), norm.bias.zero_()
    x = torch.randn(2, 1, 64, 128)
    small = cut(model, {name: keep})
    torch.testing.assert_close(small(x)[0], model(x)[0], rtol=1e-4, atol=1e-5)
    assert count_macs(small, 128, 64) < count_macs(model, 128, 64)
    assert small.config()["depth"] == 2 - (not g.least)


def test_a_convolutional_model_is_cut_to_a_budget():
    model = fresh(CONV)
    scores = {name: torch.ones(g.count) for name, g in groups(model).items()}
    small = prune_to_cost(model, scores, lambda c: float(sum(c["mlp"])), budget=40, depth=1)
    assert 0 < sum(small.config()["mlp"]) <= 40
    with pytest.raises(RecipeError, match="cannot reach"):  # one block must stay
        prune_to_cost(model, scores, lambda c: float(sum(c["mlp"])), budget=0, depth=1)


def test_smoothing_keeps_the_function_of_a_convolutional_model():
    model, x = fresh(CONV), torch.randn(2, 1, 64, 128)
    before = model(x)[0]
    assert smooth(model, [x]) > 1
    torch.testing.assert_close(model(x)[0], before, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("student", "teacher", "weights"),
    [(CONV, VIT, ("response", "feature", "relation")), (VIT, FINE, ("response", "feature", "relation", "attention"))],
    ids=["a convolution of a ViT", "32 of 16"],
)
def test_teachers_of_another_kind_teach(student, teacher, weights):
    student, x = fresh(student), torch.randn(2, 1, 64, 128)
    distiller = Distiller(student, fresh(teacher), **dict.fromkeys(weights, 1.0))
    optimizer = torch.optim.AdamW([*student.parameters(), *distiller.parameters()], lr=3e-3)
    history = []
    for _ in range(25):
        features = student.features(x)
        losses = distiller(features, student.outputs(features), {"images": x}, points_for(student, 128, 64))
        assert tuple(losses) == weights
        optimizer.zero_grad()
        losses["feature"].backward()
        optimizer.step()
        history.append(losses["feature"].item())
    assert history[-1] < 0.7 * history[0]


def test_fine_tokens_are_four_times_as_many():
    coarse, fine = build_model(VIT), build_model(VIT | {"token_stride": 16})
    x = torch.randn(1, 1, 64, 96)
    assert [m.features(x)["tokens"].shape[1] for m in (coarse, fine)] == [6, 24]
    assert [m(x)[0].shape for m in (coarse, fine)] == [(1, 96, 3)] * 2
    one, two = (count_macs(build_model(VIT | {"token_stride": 16, "depth": d}), 96, 64) for d in (1, 2))
    assert two - one == 24 * (4 * 64 * 128 + 2 * 64 * 96) + 2 * 24**2 * 128


@pytest.mark.parametrize("kind", ["model", "student"])
def test_a_recipe_asks_for_the_twin(kind, tmp_path):
    """Of its teacher, or only of its student, which then learns from a ViT."""
    write_dataset(tmp_path / "data", "thermal", train=4, val=2, size=(128, 64), seed=1)
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(TINY | {"crops": {"size": [64, 64]}}))
    options = ["--set", f"{kind}.mixer=twin", "--set", "teacher.min_steps=1", "--set", "distil.min_steps=1"]
    args = compress.parse([*command(tmp_path / "data", recipe, tmp_path / "out")[3:], *options])
    run = open_run(args, load_recipe(args.recipe, args.set), find_target("jetson-nano"))
    stages.teacher(run, tmp_path)
    stages.distil(run, tmp_path)
    for stage, depth, mixer in (("teacher", 2, "conv" if kind == "model" else "attention"), ("distil", 1, "conv")):
        config = run.load(stage).config()
        vit = build_model(TINY["model"] | {"channels": 1, "classes": config["classes"], "depth": depth})
        assert config["mixer"] == mixer
        assert count_macs(build_model(config), 128, 64) == pytest.approx(count_macs(vit, 128, 64), rel=0.02)


def test_the_twin_of_a_pruned_student_starts_with_what_it_shares(tmp_path):
    """Through the whole recipe; the blocks that pruning left are exchanged, and let pass what comes in."""
    write_dataset(tmp_path / "data", "thermal", train=4, val=2, size=(128, 64), seed=1)
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(TINY | {"crops": {"size": [64, 64]}}))
    compress.main(command(tmp_path / "data", recipe, tmp_path / "out", "--set", "prune.twin=true")[3:])
    bundle = open_bundle(tmp_path / "out")
    assert bundle.made["model"]["mixer"] == "conv" and "int8" in bundle.variants
    alone = [
        "prune.twin=true",
        "prune.heads=0",
        "prune.mlp=0",
    ]  # pruning cuts nothing else: the twin comes all the same
    args = compress.parse(command(tmp_path / "data", recipe, tmp_path / "alone")[3:])
    run = open_run(args, load_recipe(args.recipe, alone), find_target("jetson-nano"))
    for stage in (stages.teacher, stages.distil, stages.prune):
        stage(run, tmp_path)
    assert run.load("distil").config()["mixer"] == "attention" and run.load("prune").config()["mixer"] == "conv"
    vit = build_model(VIT).eval()
    twin = twin_of(vit, 96, 64).eval()
    assert all(torch.equal(a, b) for a, b in zip(vit.stem.parameters(), twin.stem.parameters(), strict=True))
    x = torch.rand(1, VIT["dim"], 2, 3)  # not negative, as the embedding's ReLU leaves it
    for block in twin.blocks:
        assert torch.equal(block(x), x)


def test_a_twin_that_would_stay_untrained_or_never_be_made_is_refused(tmp_path):
    write_dataset(tmp_path / "data", "thermal", train=4, val=2, size=(128, 64), seed=1)
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(TINY | {"crops": {"size": [64, 64]}}))
    with pytest.raises(RecipeError, match="untrained ones: give it steps, prune.epochs or prune.min_steps"):
        load_recipe(recipe, ["prune.twin=true", "prune.epochs=0", "prune.min_steps=0"])
    args = compress.parse([*command(tmp_path / "data", recipe, tmp_path / "out")[3:], "--budget-ms", "1000"])
    with pytest.raises(RecipeError, match="prune.twin does nothing in a search"):
        open_run(args, load_recipe(recipe, ["prune.twin=true"]), find_target("jetson-nano"))
