"""The fp32 master: the contract, and the function of the torch model."""

import onnx
import pytest
import torch
from bundles import INPUT, LABELS, TINY
from onnx import TensorProto, helper

from offline.errors import ExportError
from offline.export.contract import TENSORRT_8_2, check_contract
from offline.export.onnx_export import check_against_torch, export_master, golden_inputs
from offline.model.detector import build_model
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
