"""Int8 and fp16 files: what they keep, what they refuse, and what smoothing and rounding-aware training do for them."""

import copy

import numpy as np
import onnx
import pytest
import torch
from bundles import INPUT, LABELS, TINY
from commands import ROOT
from onnx import TensorProto, numpy_helper

from offline.boards.targets import find_target
from offline.compression.qat import insert, remove
from offline.compression.quantize import check_symmetric, faster_int8, quantise_int8, quantise_tensorrt, wanted_variants
from offline.compression.quantize_fp16 import activation_ranges, convert_fp16, keeps_fp32, repaired
from offline.compression.smooth import smooth
from offline.errors import ExportError, RecipeError
from offline.export.contract import ONNXRUNTIME_INT8, TENSORRT_8_2, check_contract
from offline.export.onnx_export import compare_outputs, export_master, golden_inputs
from offline.model.detector import LayerNorm, build_model
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine


def make(**changes):
    """A model of random weights whose heads answer to what they see, as a trained one's do."""
    torch.manual_seed(0)
    model = build_model(TINY | {"classes": len(LABELS), "dim": 128, "mlp": 256, "heads": 2} | changes).eval()
    with torch.no_grad():
        for name, module in model.named_modules():
            if name.startswith("heads.") and isinstance(module, torch.nn.Conv2d):
                module.weight.mul_(2)
    return model


@pytest.fixture(scope="module")
def batches():
    return golden_inputs(INPUT)


@pytest.fixture(scope="module")
def model():
    return make()


@pytest.fixture(scope="module")
def master(model, tmp_path_factory):
    return export(model, tmp_path_factory.mktemp("onnx") / "model.onnx")


def export(model, path):
    export_master(model, path, INPUT["width"], INPUT["height"])
    return path


def difference(a, b, batches, rounded=False):
    a, b = OnnxRuntimeEngine(str(a)), OnnxRuntimeEngine(str(b), rounded=rounded)
    return max(compare_outputs(a.infer(x), b.infer(x)) for x in batches)


def readers(graph, kinds):
    """{node: the operators that make its inputs} of the nodes of these kinds."""
    makers = {o: n.op_type for n in graph.node for o in n.output}
    return [(n.name, [makers.get(i, "constant") for i in n.input]) for n in graph.node if n.op_type in kinds]


def test_static_int8_holds_convolutions_and_leaves_attention_and_the_last_layers_alone(master, batches, tmp_path):
    path = tmp_path / "int8.onnx"
    assert quantise_int8(master, path, batches) == "static"
    graph = onnx.load(str(path)).graph
    quantised = {
        name: made[1] == "DequantizeLinear" for name, made in readers(graph, ("Conv", "ConvTranspose", "Gemm"))
    }
    assert [name for name, q in quantised.items() if not q] == ["/heads.8/cls/cls.1/Conv", "/heads.8/box/box.1/Conv"]
    products = [made for _, made in readers(graph, ("MatMul",))]
    assert len(products) == 2 and not any("DequantizeLinear" in made for made in products)  # attention
    large = [t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT and np.prod(t.dims) > 4096]
    assert not large  # no weight of any size is left in float
    assert difference(master, path, batches) < 0.05
    assert path.stat().st_size < 0.4 * master.stat().st_size


def test_dynamic_int8_is_there_for_those_who_want_no_calibration(master, batches, tmp_path):
    path = tmp_path / "int8.onnx"
    assert quantise_int8(master, path, [], "dynamic") == "dynamic"
    assert set(check_contract(path, TENSORRT_8_2 | ONNXRUNTIME_INT8)) & ONNXRUNTIME_INT8
    with pytest.raises(ExportError, match="DynamicQuantizeLinear"):
        check_contract(path)  # and it is not for TensorRT
    assert difference(master, path, batches) < 0.05
    assert path.stat().st_size < 0.85 * master.stat().st_size


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_no_sum_of_two_products_overflows_16_bits(master, batches, tmp_path, mode):
    """x86 without VNNI adds pairs of products of a uint8 activation and an int8 weight in 16 bits."""
    quantise_int8(master, tmp_path / "int8.onnx", batches, mode)
    weights = int8_weights(tmp_path / "int8.onnx")
    assert len(weights) > 3 and 60 < max(np.abs(w.astype(int)).max() for w in weights) <= (2**15 - 1) / (2 * 255)


@pytest.mark.parametrize(
    "bundle", sorted(p.parent for p in ROOT.glob("models/*/model.int8.onnx")), ids=lambda p: p.name
)
def test_nor_does_it_in_a_bundle_that_ships(bundle):
    assert max(np.abs(w.astype(int)).max() for w in int8_weights(bundle / "model.int8.onnx")) <= (2**15 - 1) / (2 * 255)


def int8_weights(path):
    tensors = (t for t in onnx.load(str(path)).graph.initializer if t.data_type == TensorProto.INT8 and len(t.dims) > 1)
    return [numpy_helper.to_array(t) for t in tensors]


def test_the_int8_file_depends_on_its_inputs_alone(master, batches, tmp_path):
    for name in ("a", "b"):
        quantise_int8(master, tmp_path / name, batches)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert faster_int8(master, batches) in ("static", "dynamic")


def test_tensorrt_int8_is_symmetric_with_pairs_on_weights(master, batches, tmp_path):
    path = tmp_path / "trt.onnx"
    quantise_tensorrt(master, path, batches)
    assert set(check_contract(path)) <= TENSORRT_8_2
    model = onnx.load(str(path))
    constants = {t.name: t for t in model.graph.initializer}
    makers = {o: n for n in model.graph.node for o in n.output}
    quantised = 0
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm") or makers[node.input[0]].op_type != "DequantizeLinear":
            continue
        quantised += 1
        back = makers[node.input[1]]
        there = makers[back.input[0]]
        assert (there.op_type, back.op_type) == ("QuantizeLinear", "DequantizeLinear")  # the pair on the weights
        weight, scale = (numpy_helper.to_array(constants[i]) for i in there.input[:2])
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        axis = 0 if node.op_type == "Conv" or transposed else 1
        assert (
            next(a.i for a in there.attribute if a.name == "axis") == axis
            and scale.shape == weight.shape[axis : axis + 1]
        )
        assert constants[node.input[2]].data_type == TensorProto.FLOAT  # the bias is no int32
    assert quantised > 10
    pairs = [n.input[0] for n in model.graph.node if n.op_type == "DequantizeLinear"]
    assert len(pairs) == len(set(pairs))
    floats = [made for _, made in readers(model.graph, ("Softmax", "Erf", "ReduceMean", "ConvTranspose"))]
    assert floats and not any("DequantizeLinear" in made for made in floats)
    assert difference(master, path, batches, rounded=True) < 0.1


def test_an_asymmetric_file_is_refused_for_tensorrt(master, batches, tmp_path):
    quantise_int8(master, tmp_path / "int8.onnx", batches)
    with pytest.raises(ExportError, match="not symmetric int8"):
        check_symmetric(tmp_path / "int8.onnx")


@pytest.mark.parametrize(
    ("target", "int8", "tensorrt", "says"),
    [
        ("jetson-nano", "static", "int8", "the GPU of jetson-nano .* has no int8"),
        ("cpu", "static", "int8", "cpu .* has no TensorRT"),
        ("cpu", "quick", "auto", "quantise.int8 must be one of static, dynamic, auto, not 'quick'"),
    ],
)
def test_what_the_target_lacks_is_refused_in_words(target, int8, tensorrt, says):
    with pytest.raises(RecipeError, match=says):
        wanted_variants(find_target(target), int8, tensorrt)


def test_each_target_gets_what_it_can_run():
    assert "int8_trt" not in wanted_variants(find_target("jetson-nano"), "static", "auto")
    assert "int8_trt" in wanted_variants(find_target("jetson-orin-nano"), "static", "auto")
    assert "int8_trt" not in wanted_variants(find_target("jetson-orin-nano"), "static", "fp16")


def with_outliers(model, factor=60.0):
    """The same function with a few wide channels behind each LayerNorm: what training does to large transformers."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for block in model.blocks:
            for norm, linear in ((block.norm1, block.attn.qkv), (block.norm2, block.mlp.fc1)):
                for tensor in (norm.weight, norm.bias):
                    tensor[:3] *= factor
                linear.weight[:, :3] /= factor
    return model


@pytest.mark.parametrize("ranks", [{}, {"blocks.0.attn.qkv": 32, "blocks.0.mlp.fc1": 32}])
def test_smoothing_keeps_the_function_whatever_low_rank_did(ranks, batches):
    model = make(ranks=ranks)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    images = [torch.from_numpy(b) for b in batches]
    with torch.no_grad():
        expected = model(images[0])
        assert smooth(model, images) > 1
        found = model(images[0])
    for a, b in zip(expected, found, strict=True):
        assert float((a - b).abs().max()) < 1e-4 * float(a.abs().max())
    changed = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    assert any("norm1" in k for k in changed) and any("stem" in k for k in changed)


def test_smoothing_brings_int8_nearer_to_fp32_where_there_are_outliers(model, batches, tmp_path):
    wide = with_outliers(model)
    master = export(wide, tmp_path / "wide.onnx")
    errors = []
    for name in ("plain", "smooth"):
        if name == "smooth":
            smooth(wide, [torch.from_numpy(b) for b in batches])
        quantise_int8(export(wide, tmp_path / f"{name}.onnx"), tmp_path / f"{name}.int8.onnx", batches)
        a, b = OnnxRuntimeEngine(str(master)), OnnxRuntimeEngine(str(tmp_path / f"{name}.int8.onnx"))
        outputs = [(a.infer(x), b.infer(x)) for x in batches]
        errors.append(sum(float(np.square(p[k] - q[k]).mean()) for p, q in outputs for k in p))
    assert errors[1] < 0.5 * errors[0]


def test_rounding_aware_training_leaves_plain_weights(batches):
    model = make()
    keys = list(model.state_dict())
    x = torch.from_numpy(np.concatenate(batches))
    with torch.no_grad():
        plain = model(x)[0]
    inserted = insert(model)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        loss = sum(y.float().square().mean() for y in model(x))
    loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if n.endswith("weight.original")}
    assert len(gradients) == inserted and all(g.abs().sum() > 0 for g in gradients.values())
    average = copy.deepcopy(model).eval()  # as the training loop does
    optimizer.step()
    average.load_state_dict(model.state_dict())
    with torch.no_grad():
        rounded = average(x)[0]
    remove(model)
    assert list(model.state_dict()) == keys and not any(m._forward_pre_hooks for m in model.modules())
    rebuilt = build_model(model.config())
    rebuilt.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(x)[0], model.eval()(x)[0])
    assert not torch.equal(rounded, plain)


def test_rounded_training_computes_what_the_int8_file_will(model, master, batches, tmp_path):
    quantise_int8(master, tmp_path / "int8.onnx", batches)
    int8 = OnnxRuntimeEngine(str(tmp_path / "int8.onnx")).infer(batches[0])["boxes"]
    rounding = copy.deepcopy(model)
    insert(rounding)
    x = torch.from_numpy(np.concatenate(batches))
    with torch.no_grad():
        for module in rounding.modules():  # ranges follow the data; batch norm rests
            module.training = type(module).__name__ == "RoundInputs"
        rounding(x)
        found, plain = rounding.eval()(x[:1])[1].numpy(), model(x[:1])[1].numpy()
    assert np.abs(found - int8).mean() < 1.5 * np.abs(plain - int8).mean()
    assert 0 < np.abs(found - plain).max() < 0.1 * np.abs(plain).max()


def test_fp16_keeps_layer_norm_and_gelu_in_fp32(master, batches, tmp_path):
    path = tmp_path / "fp16.onnx"
    assert not convert_fp16(master, path, activation_ranges(master, batches))  # no repairs
    inferred = onnx.shape_inference.infer_shapes(onnx.load(str(path)), strict_mode=True)
    kinds = {v.name: v.type.tensor_type.elem_type for v in inferred.graph.value_info}
    wide = [o for n in inferred.graph.node if keeps_fp32(n) and n.op_type != "Cast" for o in n.output]
    half = [o for n in inferred.graph.node if n.op_type in ("Conv", "MatMul", "Gemm", "Softmax") for o in n.output]
    assert wide and all(kinds[o] == TensorProto.FLOAT for o in wide)
    assert half and all(kinds[o] == TensorProto.FLOAT16 for o in half if o in kinds)
    assert difference(master, path, batches) < 0.02
    assert path.stat().st_size < 0.6 * master.stat().st_size


def test_a_few_overflowing_nodes_are_repaired(model, batches, tmp_path):
    """One stem stage 3e5 times wider, the next layers narrower by as much: the function of `model`, not in fp16."""
    wide = copy.deepcopy(model)
    with torch.no_grad():
        made, reader = wide.stem[0], wide.stem[1][0]
        made[1].weight.mul_(3e5)
        made[1].bias.mul_(3e5)
        reader[0].weight.div_(3e5)
    master = export(wide, tmp_path / "wide.onnx")
    ranges = activation_ranges(master, batches)
    assert max(ranges.values()) > 65504
    kept = convert_fp16(master, tmp_path / "fp16.onnx", ranges)
    assert 2 <= len(kept) <= 4 and all("/stem." in name for name in kept)
    graph = onnx.load(str(tmp_path / "fp16.onnx")).graph
    again = activation_ranges(tmp_path / "fp16.onnx", batches)  # looks at its fp32 tensors alone
    assert max(again.values()) > 65504 and graph.node[0].op_type == "Conv"
    assert difference(master, tmp_path / "fp16.onnx", batches) < 0.02


def test_a_model_that_overflows_everywhere_is_refused(model, batches, tmp_path):
    wide = copy.deepcopy(model)
    with torch.no_grad():
        for module in wide.modules():
            if isinstance(module, LayerNorm):
                module.weight.mul_(1e4)
    master = export(wide, tmp_path / "wide.onnx")
    ranges = activation_ranges(master, batches)
    with pytest.raises(ExportError, match="too near to fp16's limit 65504, and .* nodes would have to stay fp32"):
        convert_fp16(master, tmp_path / "fp16.onnx", ranges)
    assert not (tmp_path / "fp16.onnx").exists()


def test_what_is_fp32_anyway_may_be_wide(master, batches):
    graph, ranges = onnx.load(str(master)), activation_ranges(master, batches)
    assert len(ranges) > 20 and all(np.isfinite(v) for v in ranges.values())
    inner = next(n.output[0] for n in graph.graph.node if keeps_fp32(n) and n.op_type == "Sqrt")
    assert not repaired(graph, ranges | {inner: 1e9})
