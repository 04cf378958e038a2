"""The stem of inverted residuals: what it computes, whose weights it takes, and that every stage of a run bears it."""

import onnx
import pytest
import torch
import torch.nn.functional as F
import yaml
from bundles import INPUT
from commands import STEPS, TINY, command, one_sentence, run

from offline import compress
from offline.boards.targets import find_target
from offline.compression.fp16_emulation import HalfEngine
from offline.compression.groups import cut, groups
from offline.compression.quantize import quantise_int8, quantise_tensorrt
from offline.compression.quantize_fp16 import activation_ranges, convert_fp16
from offline.compression.smooth import smooth
from offline.errors import RecipeError
from offline.export.contract import check_contract
from offline.export.onnx_export import check_against_torch, compare_outputs, export_master, golden_inputs
from offline.files import load_torch
from offline.model.detector import build_model, count_macs, count_parameters
from offline.model.mobile_stem import HIDDEN, ROWS, WIDTHS
from offline.model.pretrained import load_backbone, open_backbone
from offline.render import write_dataset
from offline.run.recipe_file import load_recipe
from offline.stages.preflight import open_run
from offline.training.muon import is_matrix
from offline.training.step import TrainStep
from offline.training.train import Schedule, _optimizers
from vit_perception.bundles.bundle import open_bundle
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

SMALL = {"classes": 3, "channels": 1, "stem": "mobile", "dim": 64, "depth": 1, "heads": 1, "mlp": 64, "neck": 16}
DEPTHWISE = [f"blocks.{s}.{n}" for s, count in enumerate((1, 2, 2, 3, 3)) for n in range(count)]


def efficientnet(timm=False, blocks=16):
    """The tensors of an EfficientNet-Lite0 up to its classifier, small random numbers, under either set of names."""
    generator = torch.Generator().manual_seed(0)
    found = {}

    def layer(conv, norm, *shape):
        found[f"{conv}.weight"] = torch.randn(shape, generator=generator) * (shape[1] * shape[2] ** 2) ** -0.5
        found[f"{norm}.weight"] = 1 + 0.1 * torch.randn(shape[0], generator=generator)
        found[f"{norm}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
        found[f"{norm}.running_mean"] = 0.1 * torch.randn(shape[0], generator=generator)
        found[f"{norm}.running_var"] = 0.5 + torch.rand(shape[0], generator=generator)
        found[f"{norm}.num_batches_tracked"] = torch.tensor(7)

    layer(*(("conv_stem", "bn1") if timm else ("_conv_stem", "_bn0")), 32, 3, 3, 3)
    before = 32
    for i, row in enumerate(ROWS[:blocks]):
        name = DEPTHWISE[i] if timm else f"_blocks.{i}"
        convs = ["conv_pw", "conv_dw", "conv_pwl"] if timm else ["_expand_conv", "_depthwise_conv", "_project_conv"]
        norms = ["bn1", "bn2", "bn3"] if timm else ["_bn0", "_bn1", "_bn2"]
        if not i:
            convs, norms = (["", "conv_dw", "conv_pw"], ["", "bn1", "bn2"]) if timm else (convs, norms)
        shapes = ((row.hidden, before, 1, 1), (row.hidden, 1, row.kernel, row.kernel), (row.out, row.hidden, 1, 1))
        for part in range(not i, 3):
            layer(f"{name}.{convs[part]}", f"{name}.{norms[part]}", *shapes[part])
        before = row.out
    found["conv_head.weight" if timm else "_conv_head.weight"] = torch.zeros(8, 320, 1, 1)
    return found


PLAIN = efficientnet()


def save(path, state):
    torch.save(state, path)
    return path


def written_out(state, x):
    """The four maps of an EfficientNet-Lite0's first blocks by the paper's layer table, padded alike on all sides."""

    def norm(x, name):
        mean, var, weight, bias = (state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-3)

    x = F.relu6(norm(F.conv2d(x, state["_conv_stem.weight"], stride=2, padding=1), "_bn0"))
    maps = []
    strides, kernels = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1), (3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5)
    for i, (stride, kernel) in enumerate(zip(strides, kernels, strict=True)):
        b, y = f"_blocks.{i}", x
        if i:
            y = F.relu6(norm(F.conv2d(y, state[f"{b}._expand_conv.weight"]), f"{b}._bn0"))
        weight = state[f"{b}._depthwise_conv.weight"]
        y = F.relu6(norm(F.conv2d(y, weight, None, stride, kernel // 2, groups=len(weight)), f"{b}._bn1"))
        y = norm(F.conv2d(y, state[f"{b}._project_conv.weight"]), f"{b}._bn2")
        x = x + y if x.shape == y.shape else y
        maps += [x] if i in (0, 2, 4, 10) else []
    return maps


def maps_of(model, x):
    maps = []
    for stage in model.stem:
        maps.append(x := stage(x))
    return maps


def trained(channels=1, **changes):
    """A model whose batch norms have seen something."""
    torch.manual_seed(0)
    model = build_model(SMALL | {"channels": channels} | changes)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(4, channels, 64, 128))
    return model.eval()


@pytest.mark.parametrize("timm", [False, True], ids=["efficientnet-lite-pytorch", "timm"])
@pytest.mark.parametrize("channels", [3, 1])
def test_loaded_weights_compute_what_the_network_computes(tmp_path, timm, channels):
    state = efficientnet(timm)
    path = save(tmp_path / "lite0.pth", {"state_dict": {f"module.{k}": v for k, v in state.items()}})
    model = build_model(SMALL | {"channels": channels}).eval()
    assert "165 tensors" in load_backbone(model, open_backbone(path))
    x = torch.rand(2, channels, 64, 96)
    with torch.no_grad():
        found, wanted = maps_of(model, x), written_out(PLAIN, x.expand(2, 3, 64, 96))
    assert [m.shape[1:] for m in found] == [(c, 64 // s, 96 // s) for c, s in zip(WIDTHS, (2, 4, 8, 16), strict=True)]
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_the_hash_is_of_the_weights_and_not_of_the_file(tmp_path):
    first, again = save(tmp_path / "a.pth", PLAIN), save(tmp_path / "b.pth", {"model": PLAIN})
    other = save(tmp_path / "c.pth", PLAIN | {"_bn0.bias": PLAIN["_bn0.bias"] + 1e-3})
    same = save(tmp_path / "d.pth", efficientnet(timm=True))
    a, b, c, d = (open_backbone(p).record["sha256"] for p in (first, again, other, same))
    assert a == b == d != c


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({}, {"stem": [8, 8, 16, 16]}, "fits the mobile stem; add --set model.stem=mobile"),
        ({}, {"stem": [16, *HIDDEN[1:]]}, r"are \[32, 3, 3, 3\], the stem's \[16"),
        ({"_blocks.3._se_reduce.weight": torch.ones(6, 144, 1, 1)}, {}, "have _blocks.3._se_reduce.weight, which"),
        ({"_blocks.3._depthwise_conv.weight": torch.ones(144, 1, 3, 3)}, {}, r"are \[144, 1, 3, 3\], the stem's \[144"),
        ({"_blocks.10._bn2.bias": torch.full((112,), torch.nan)}, {}, "_blocks.10._bn2.bias holds no finite floats"),
        ({"_blocks.10._bn2.bias": None}, {}, "lacks _blocks.10._bn2.bias"),
    ],
)
def test_what_does_not_fit_ends_in_a_sentence(tmp_path, change, options, words):
    state = {k: v for k, v in (PLAIN | change).items() if v is not None}
    path = save(tmp_path / "lite0.pth", state)
    with pytest.raises(RecipeError, match=words) as error:
        load_backbone(build_model(SMALL | {"channels": 3} | options), open_backbone(path))
    assert "\n" not in str(error.value)


def test_a_deeper_network_of_equal_shapes_is_not_taken_for_it(tmp_path):
    """EfficientNet-Lite1 has one block more in most stages."""
    state = efficientnet(timm=True)
    state["blocks.1.2.conv_pw.weight"] = state["blocks.1.1.conv_pw.weight"]
    with pytest.raises(RecipeError, match="have blocks.1.2.conv_pw.weight, which the mobile stem does not compute"):
        open_backbone(save(tmp_path / "lite1.pth", state))


def test_blocks_of_a_vit_still_load_behind_it(tmp_path):
    model = build_model(SMALL)
    vit = {k: torch.full_like(v, 0.5) for k, v in model.state_dict().items() if k.startswith(("blocks.", "norm."))}
    backbone = open_backbone(save(tmp_path / "vit.pth", vit))
    load_backbone(model, backbone)
    assert (model.blocks[0].attn.qkv.weight == 0.5).all() and backbone.input(1) == {}


def test_the_large_teacher_has_the_size_that_the_paper_gives():
    large = {"dim": 192, "depth": 6, "heads": 3, "mlp": 768, "neck": 48, "strides": [4, 8]}
    model = build_model(SMALL | large)
    assert count_parameters(model) == pytest.approx(3.76e6, rel=0.01)
    assert count_macs(model, 640, 512) == pytest.approx(4.40e9, rel=0.01)
    with pytest.raises(RecipeError, match="must be 4 numbers, or mobile"):
        build_model(SMALL | {"stem": HIDDEN[:5]})
    with pytest.raises(RecipeError, match="must be 4 numbers, or mobile"):
        build_model(SMALL | {"stem": "mobil"})


def test_muon_takes_nothing_of_it():
    model = build_model(SMALL)
    assert not any(is_matrix(p) for n, p in model.stem.named_parameters() if "depthwise" in n)
    adamw, muon = _optimizers(TrainStep(model, None, torch.zeros(1, 3)), Schedule(1, muon=0.01))
    stem = set(model.stem.parameters())
    assert stem <= {p for g in adamw.param_groups for p in g["params"]}
    assert not stem & {p for g in muon.param_groups for p in g["params"]}
    assert model.blocks[0].mlp.fc1.weight in set(muon.param_groups[0]["params"])


@pytest.mark.parametrize("name", ["stem.0", "stem.1", "stem.4", "stem.10"])
def test_hidden_channels_that_nobody_reads_go_without_changing_the_function(name):
    model, g = trained(), groups(build_model(SMALL))[name]
    keep = torch.arange(0, g.count, 2)
    gone = [u for u in range(g.count) if u not in keep.tolist()]
    with torch.no_grad():
        for slot in g.slots:
            if slot.reads:
                model.state_dict()[slot.tensor].movedim(slot.axis, 0)[gone] = 0
    x = torch.randn(2, 1, 64, 128)
    small = cut(model, {name: keep})
    torch.testing.assert_close(small(x)[0], model(x)[0], rtol=1e-4, atol=1e-5)
    assert small.config()["stem"][int(name.split(".")[1])] == g.count // 2
    assert count_macs(small, 128, 64) < count_macs(model, 128, 64)


def test_smoothing_leaves_it_alone():
    model, x = trained(), torch.randn(2, 1, 64, 128)
    before, stem = model(x)[0], {k: v.clone() for k, v in model.stem.state_dict().items()}
    smooth(model, [x])
    torch.testing.assert_close(model(x)[0], before, rtol=1e-3, atol=1e-4)
    assert all(torch.equal(v, stem[k]) for k, v in model.stem.state_dict().items())


def test_every_file_keeps_its_contract_and_the_function(tmp_path):
    """fp32, fp16 and both int8 files; ReLU6 is a Clip, which int8 takes into its ranges and fp16 computes in half."""
    model, batches = trained(), golden_inputs(INPUT)
    master = tmp_path / "model.onnx"
    export_master(model, master, INPUT["width"], INPUT["height"])
    engine = OnnxRuntimeEngine(str(master))
    assert "Clip" in check_contract(master) and check_against_torch(model, engine, batches) < 1e-4
    exact = engine.infer(batches[0])

    quantise_int8(master, tmp_path / "int8.onnx", batches)
    graph = onnx.load(str(tmp_path / "int8.onnx")).graph
    assert "Clip" not in {n.op_type for n in graph.node}
    makers = {o: n.op_type for n in graph.node for o in n.output}
    stem = [n for n in graph.node if n.op_type == "Conv" and n.name.startswith("/stem.")]
    assert len(stem) == 33 and all(makers[i] == "DequantizeLinear" for n in stem for i in n.input)
    quantise_tensorrt(master, tmp_path / "trt.onnx", batches)
    convert_fp16(master, tmp_path / "fp16.onnx", activation_ranges(master, batches))
    for file, limit in (("int8", 0.2), ("trt", 0.2), ("fp16", 0.01)):
        found = OnnxRuntimeEngine(str(tmp_path / f"{file}.onnx"), file).infer(batches[0])
        assert compare_outputs(exact, found) < limit, file
    half = HalfEngine(master)
    assert compare_outputs(exact, half.infer(batches[0])) < 0.01 and not half.overflowed


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, "thermal", train=6, val=3, size=(128, 96), seed=1)
    return folder


def recipe_of(folder, **changes):
    path = folder / "tiny.yaml"
    mine = {
        "model": TINY["model"] | {"stem": "mobile"},
        "pretrain": STEPS,
        "prune": STEPS | {"stem": 0.5, "heads": 0.5},
    }
    path.write_text(yaml.safe_dump(TINY | mine | changes))
    return path


def test_a_whole_run_bears_it_and_names_the_backbone(data, tmp_path):
    path, recipe, out = save(tmp_path / "lite0.pth", PLAIN), recipe_of(tmp_path), tmp_path / "mobile"
    done = run(command(data, recipe, out, "--target", "jetson-orin-nano", "--backbone", str(path)))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the whole stem, 165 tensors, loaded") == 1
    assert done.stderr.count("normalised as the backbone knows it, mean 0.498 and std 0.502") == 1
    bundle, card = open_bundle(out), (out / "CARD.md").read_text()
    assert bundle.input["mean"] == [0.498] and bundle.input["std"] == [0.502]
    assert {"fp32", "int8", "fp16", "int8_trt"} <= set(bundle.variants)
    assert bundle.made["model"]["stem"] == [16, 48, 64, 64, 128, 128, 240, 240, 240, 336, 336]
    assert [b["file"] for b in bundle.made["backbone"]] == ["lite0.pth"] and "lite0.pth, whose licence" in card
    started = load_torch(tmp_path / "mobile.run" / "teacher.pt")["weights"]["stem.3.5.project.0.weight"]
    assert (started - PLAIN["_blocks.10._project_conv.weight"]).abs().max() < 0.1  # twelve steps on

    # Of the bundle, its batch norms folded, a student with another stem learns: it keeps the pixels and the origin.
    student = tmp_path / "student"
    plain = recipe_of(tmp_path, prune={"epochs": 0}, lowrank={"epochs": 0}, student={"stem": [8, 8, 16, 16]})
    done = run(command(data, plain, student, "--teacher", str(out)))
    assert done.returncode == 0, done.stderr
    assert open_bundle(student).made["backbone"] == bundle.made["backbone"]
    assert open_bundle(student).input["mean"] == [0.498]


def test_the_backbone_is_part_of_the_run_by_its_content(data, tmp_path):
    path, recipe, out = save(tmp_path / "lite0.pth", PLAIN), recipe_of(tmp_path), tmp_path / "mobile"
    wrong = run(command(data, recipe, out, "--backbone", str(path), "--set", "model.stem=[8,8,16,16]"))
    assert "add --set model.stem=mobile" in one_sentence(wrong) and not (tmp_path / "mobile.run").exists()

    def begin(*more):
        arguments = command(data, recipe, out, "--backbone", str(path), *more)[3:]
        args = compress.parse(arguments)
        return open_run(args, load_recipe(args.recipe, args.set), find_target("cpu"))

    first = begin().input["mean"]
    assert begin("--resume").input["mean"] == first == [0.498]
    save(path, PLAIN | {"_bn0.bias": PLAIN["_bn0.bias"] + 1e-3})
    with pytest.raises(RecipeError, match="backbone changed since it was begun"):
        begin("--resume")
