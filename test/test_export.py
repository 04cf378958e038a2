"""The ONNX files: the contract, and what the int8 and fp16 variants do to the numbers."""

import numpy as np
import onnx
import pytest
import torch
from bundles import INPUT, LABELS, TINY
from onnx import TensorProto, helper

from offline.contract import ONNXRUNTIME_INT8, TENSORRT_8_2, check_contract
from offline.errors import ExportError
from offline.export import check_against_torch, compare_outputs, export_master, golden_inputs
from offline.model import build_model
from offline.quantize import activation_ranges, check_fp16, convert_fp16, keeps_fp32, quantise_int8
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(TINY | {"classes": len(LABELS), "dim": 128, "mlp": 256, "heads": 2}).eval()


@pytest.fixture(scope="module")
def master(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_master(model, path, INPUT["width"], INPUT["height"])
    return path


@pytest.fixture(scope="module")
def batches():
    return golden_inputs(INPUT)


def test_the_master_keeps_the_contract_and_the_function(model, master, batches):
    graph = onnx.load(str(master))
    assert graph.opset_import[0].version == 13 and graph.ir_version <= 8
    assert set(check_contract(master)) <= TENSORRT_8_2
    assert check_against_torch(model, OnnxRuntimeEngine(str(master)), batches) < 1e-4


def graph_of(nodes, shape=(1, 1, 4, 4), opset=13, ir=7, domain=""):
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("logits", "boxes")]
    opsets = (
        [helper.make_opsetid(domain, opset)]
        if not domain
        else [helper.make_opsetid("", 13), helper.make_opsetid(domain, 1)]
    )
    model = helper.make_model(helper.make_graph(nodes, "g", [images], outputs), opset_imports=opsets)
    model.ir_version = ir
    return model


IDENTITY = [helper.make_node("Identity", ["images"], [n]) for n in ("logits", "boxes")]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (graph_of([helper.make_node("HardSwish", ["images"], ["logits"]), IDENTITY[1]], opset=14), "opset 14"),
        (graph_of([helper.make_node("Mod", ["images", "images"], ["logits"], fmod=1), IDENTITY[1]]), "uses Mod, which"),
        (graph_of(IDENTITY, ir=10), "IR version 10"),
        (graph_of(IDENTITY, shape=("n", 1, 4, 4)), "no static shape"),
        (graph_of(IDENTITY, domain="com.microsoft"), "no other domain"),
        (graph_of([IDENTITY[0]]), "not valid ONNX"),
    ],
)
def test_what_breaks_the_contract_is_refused(tmp_path, model, says):
    path = tmp_path / "bad.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match=says):
        check_contract(path)


def test_layer_normalization_and_gelu_never_pass():
    assert not {"LayerNormalization", "Gelu", "GridSample", "DynamicQuantizeLinear", "MatMulInteger"} & TENSORRT_8_2


def test_int8_stays_close_and_leaves_attention_alone(master, batches, tmp_path):
    path = tmp_path / "int8.onnx"
    quantise_int8(master, path)
    assert set(check_contract(path, TENSORRT_8_2 | ONNXRUNTIME_INT8)) & ONNXRUNTIME_INT8
    with pytest.raises(ExportError, match="DynamicQuantizeLinear"):
        check_contract(path)  # and it is not for TensorRT
    fp32, int8 = OnnxRuntimeEngine(str(master)), OnnxRuntimeEngine(str(path))
    assert max(compare_outputs(fp32.infer(b), int8.infer(b)) for b in batches) < 0.05
    assert path.stat().st_size < 0.85 * master.stat().st_size
    kinds = [n.op_type for n in onnx.load(str(path)).graph.node]
    assert kinds.count("MatMul") == 2  # both attention products


def test_fp16_keeps_layer_norm_and_gelu_in_fp32(master, batches, tmp_path):
    path = tmp_path / "fp16.onnx"
    convert_fp16(master, path, activation_ranges(master, batches))
    check_contract(path)
    inferred = onnx.shape_inference.infer_shapes(onnx.load(str(path)), strict_mode=True)
    kinds = {v.name: v.type.tensor_type.elem_type for v in inferred.graph.value_info}
    wide = [o for n in inferred.graph.node if keeps_fp32(n) and n.op_type != "Cast" for o in n.output]
    half = [o for n in inferred.graph.node if n.op_type in ("Conv", "MatMul", "Gemm", "Softmax") for o in n.output]
    assert wide and all(kinds[o] == TensorProto.FLOAT for o in wide)
    assert half and all(kinds[o] == TensorProto.FLOAT16 for o in half if o in kinds)
    a, b = OnnxRuntimeEngine(str(master)), OnnxRuntimeEngine(str(path))
    assert max(compare_outputs(a.infer(x), b.infer(x)) for x in batches) < 0.02
    assert path.stat().st_size < 0.6 * master.stat().st_size


def test_fp16_is_refused_when_activations_come_near_its_limit(master, batches):
    graph, ranges = onnx.load(str(master)), activation_ranges(master, batches)
    assert len(ranges) > 20 and all(np.isfinite(v) for v in ranges.values())
    check_fp16(graph, ranges)
    half = next(n.output[0] for n in graph.graph.node if n.op_type == "Conv")
    with pytest.raises(ExportError, match="too near to fp16's limit"):
        check_fp16(graph, ranges | {half: 20000.0})
    wide = next(n.output[0] for n in graph.graph.node if keeps_fp32(n))
    check_fp16(graph, ranges | {wide: 1e9})  # stays fp32: no harm
