"""The importer of TensorRT 8.2: what ships passes, and what it would refuse or get wrong is refused here, in words."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from bundles import INPUT, LABELS, TINY
from onnx import TensorProto, defs, helper, numpy_helper

from offline.compression.quantize import quantise_tensorrt
from offline.compression.quantize_fp16 import activation_ranges, convert_fp16
from offline.errors import ExportError
from offline.export.contract import TENSORRT_8_2, check_contract, operators
from offline.export.onnx_export import export_master, golden_inputs
from offline.export.tensorrt_importer import RULES
from offline.model.detector import build_model

MASTERS = sorted((Path(__file__).resolve().parents[3] / "models").glob("*/model.onnx"))
F, I64 = np.float32, np.int64
SHAPE = (1, 4, 8, 8)


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    model = build_model(TINY | {"classes": len(LABELS), "dim": 128, "mlp": 256, "heads": 2}).eval()
    export_master(model, path, INPUT["width"], INPUT["height"])
    return path


@pytest.mark.parametrize("path", MASTERS, ids=lambda p: p.parent.name)
def test_the_masters_that_ship_can_be_imported(path):
    assert check_contract(path) == operators(onnx.load(str(path)))
    assert set(check_contract(path)) <= set(RULES) == TENSORRT_8_2


def test_the_files_made_for_tensorrt_can_be_imported(master, tmp_path):
    batches = golden_inputs(INPUT)
    quantise_tensorrt(master, tmp_path / "int8.onnx", batches)
    assert "QuantizeLinear" in check_contract(tmp_path / "int8.onnx")
    convert_fp16(master, tmp_path / "fp16.onnx", activation_ranges(master, batches))
    assert "Cast" in check_contract(tmp_path / "fp16.onnx")


def graph(op, inputs=("images",), constants=None, shape=SHAPE, before=(), outputs=1, **attributes):
    """A file with one node of interest, named 'it', whose outputs nobody reads, and what stands before it."""
    nodes = [*before, helper.make_node(op, list(inputs), [f"out{i}" for i in range(outputs)], name="it", **attributes)]
    nodes += [helper.make_node("Identity", ["images"], [name]) for name in ("logits", "boxes")]
    images, *results = (
        helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("images", "logits", "boxes")
    )
    weights = [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()]
    built = helper.make_graph(nodes, "g", [images], results, weights)
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 7
    return model


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs, [output], name=f"make_{output}", **attributes)


def ones(*shape, dtype=F):
    return np.ones(shape, dtype)


def pair(scales, axis):
    """A Q/DQ pair on weights 'w' (8, 4, 1, 1), made into 'v'; constants for it."""
    made = (
        node("QuantizeLinear", ["w", "s", "z"], "q", axis=axis),
        node("DequantizeLinear", ["q", "s", "z"], "v", axis=axis),
    )
    return made, {"w": ones(8, 4, 1, 1), "s": scales, "z": np.zeros_like(scales, np.int8)}


PER_CHANNEL, PER_CHANNEL_WEIGHTS = pair(ones(8), 0)
TO_INT = (node("Cast", ["images"], "x", to=TensorProto.INT32),)
TO_BOOL = (node("Cast", ["images"], "x", to=TensorProto.BOOL),)
MATRIX = {"shape": (1, 64)}


@pytest.mark.parametrize(
    "model",
    [
        graph("Resize", ["images", "", "s"], {"s": np.array([1, 1, 2, 2], F)}, mode="linear"),
        graph(
            "Resize",
            ["images", "", "", "s"],
            {"s": np.array([1, 4, 16, 16])},
            coordinate_transformation_mode="asymmetric",
        ),
        graph("TopK", ["images", "k"], {"k": np.array([3])}, outputs=2, axis=-1, sorted=0),
        graph("Slice", ["images", "b", "e"], {"b": np.zeros(4, I64), "e": np.full(4, 2**63 - 1)}),
        graph("Clip", ["images", "", "high"], {"high": F(6)}),
        graph("Split", ["images", "s"], {"s": np.array([1, 3])}, outputs=2, axis=1),
        graph("Gemm", ["images", "w", "b"], {"w": ones(8, 64), "b": ones(8)}, **MATRIX, transB=1),
        graph("Pow", ["images", "two"], {"two": F(2)}),
        graph("Pad", ["images", "p"], {"p": np.array([0, 0, 1, 1] * 2)}, mode="edge"),
        graph("Einsum", ["images", "w"], {"w": ones(4, 4)}, equation="bchw,cd->bdhw"),
        graph("Conv", ["images", "v"], PER_CHANNEL_WEIGHTS, before=PER_CHANNEL, kernel_shape=[1, 1]),
        graph("Conv", ["images", "w"], {"w": ones(8, 4, 3, 3)}, auto_pad="SAME_UPPER"),
        graph("Squeeze", ["images", "a"], {"a": np.array([0])}),
        graph("BatchNormalization", ["images", "a", "a", "a", "a"], {"a": ones(4)}, momentum=0.5),
        graph(
            "Conv",
            ["images", "v"],
            before=(node("Constant", [], "v", value=numpy_helper.from_array(ones(8, 4, 1, 1))),),
        ),
        graph(
            "Conv", ["images", "v"], {"w": ones(4, 8, 1, 1)}, before=(node("Transpose", ["w"], "v", perm=[1, 0, 2, 3]),)
        ),
    ],
    ids=lambda m: m.graph.node[-3].op_type,
)
def test_what_the_importer_takes_passes(tmp_path, model):
    (tmp_path / "good.onnx").write_bytes(model.SerializeToString())
    check_contract(tmp_path / "good.onnx")


REFUSED = [
    (graph("Resize", ["images", "", "s"], {"s": np.array([1, 1, 2, 2], F)}, mode="cubic"), "mode is cubic"),
    (
        graph(
            "Resize",
            ["images", "r", "s"],
            {"r": ones(8), "s": ones(4)},
            coordinate_transformation_mode="tf_crop_and_resize",
        ),
        "coordinate_transformation_mode is tf_crop_and_resize",
    ),
    (graph("Resize", ["images", "", "s"], {"s": np.array([2, 1, 2, 2], F)}, mode="linear"), "the last three axes only"),
    (graph("Resize", ["images", "", "s"], {"s": ones(4)}, mode="linear", exclude_outside=1), "exclude_outside is 1"),
    (
        graph("TopK", ["images", "k"], {"k": np.array([3])}, outputs=2, largest=0),
        "largest is 0, and the importer does not",
    ),
    (graph("TopK", ["images", "k"], {"k": np.array([4000])}, outputs=2, shape=(1, 5000)), r"K is \[4000\]; .* to 3840"),
    (
        graph("TopK", ["images", "k"], {"n": np.array([3])}, outputs=2, before=(node("Abs", ["n"], "k"),)),
        "input 1 is computed",
    ),
    (
        graph(
            "Slice", ["images", "x", "e"], {"b": np.array([0]), "e": np.array([1])}, before=(node("Abs", ["b"], "x"),)
        ),
        "input 1 is computed; make it an initializer",
    ),
    (
        graph(
            "Slice",
            ["images", "b", "e", "", "s"],
            {"b": np.zeros(4, I64), "e": ones(4, dtype=I64), "s": ones(4, dtype=I64)},
        ),
        "input 3 is left out",
    ),
    (
        graph("Gather", ["images", "i"], {"i": np.array([2**40])}, shape=(1, 4)),
        "input 1 holds numbers of more than 32 bits",
    ),
    (graph("Cast", to=TensorProto.UINT8), "it casts to uint8; only float, int32, int64, bool, float16 are imported"),
    (graph("Add", ["d", "d"], {"d": np.float64(1)}), "input 0 is double"),
    (
        graph("Conv", ["images", "v"], {"w": ones(8, 4, 1, 1)}, before=(node("Abs", ["w"], "v"),)),
        "its weights are computed",
    ),
    (graph("Conv", ["images", "v"], PER_CHANNEL_WEIGHTS, before=PER_CHANNEL), "kernel_shape is missing"),
    (graph("Conv", ["images", "w"], {"w": ones(8, 4, 3, 3)}, pads=[1] * 4, auto_pad="SAME_UPPER"), "give pads alone"),
    (
        graph("Conv", ["images", "w", "c"], {"w": ones(8, 4, 1, 1), "b": ones(8)}, before=(node("Abs", ["b"], "c"),)),
        "input 2 is computed",
    ),
    (graph("ConvTranspose", ["images", "w"], {"w": ones(4, 8, 2, 2)}, output_shape=[9, 9]), "output_shape is given"),
    (
        graph(
            "ConvTranspose",
            ["images", "w"],
            {"w": ones(4, 8, 2, 2)},
            strides=[2, 2],
            output_padding=[1, 1],
            auto_pad="VALID",
        ),
        "output_padding is dropped",
    ),
    (graph("AveragePool", kernel_shape=[2, 2], pads=[0, 0, 1, 1]), "only symmetric padding"),
    (graph("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]), r"dilations is \[2, 2\]"),
    (graph("MaxPool", kernel_shape=[2, 2], outputs=2), "it has 2 outputs, and only 1"),
    (graph("MaxPool", kernel_shape=[2, 2], storage_order=1), "storage_order is 1"),
    (graph("MaxPool", kernel_shape=[1] * 4, shape=(1, 1, 4, 4, 4, 4)), "rank 6; only 3 to 5"),
    (graph("Gemm", ["images", "w"], {"w": ones(64, 8)}, **MATRIX), "its bias has not the 8 values"),
    (graph("Gemm", ["images", "w", "b"], {"w": ones(64, 8), "b": ones(1)}, **MATRIX), "its bias has not the 8 values"),
    (graph("Gemm", ["images", "w", "b"], {"w": ones(1, 8), "b": ones(8)}, **MATRIX, transA=1), "transA is 1"),
    (graph("Gemm", ["images", "w", "b"], {"w": ones(1, 8), "b": ones(8)}, shape=(5, 1), alpha=2.0), "one column wide"),
    (graph("MatMul", ["x", "x"], before=TO_INT), "input 0 is int32; only float, float16"),
    (graph("Pow", ["images", "two"], {"two": I64(2)}), "input 1 is int64"),
    (graph("Equal", ["x", "x"], before=TO_BOOL), "input 0 is bool"),
    (graph("Where", ["x", "x", "x"], before=TO_BOOL), "input 1 is bool"),
    (graph("Sign", ["x"], before=TO_INT), "input 0 is int32"),
    (graph("Reshape", ["images", "s"], {"s": np.zeros(0, I64)}, shape=(1, 1)), "input 1 is an empty constant"),
    (graph("Squeeze", ["images", "x"], {"a": np.array([0])}, before=(node("Abs", ["a"], "x"),)), "input 1 is computed"),
    (graph("ReduceSum", ["images", "a"], {"a": np.array([1])}, noop_with_empty_axes=1), "noop_with_empty_axes is 1"),
    (graph("Pad", ["images", "p"], {"p": np.array([0, 0, -1, 0] * 2)}), "pads are negative"),
    (
        graph("Clip", ["x", "low"], {"low": np.float16(0)}, before=(node("Cast", ["images"], "x", to=10),)),
        "input 0 is float16",
    ),
    (graph("Einsum", ["images", "images"], equation="...i,...i->..."), "no ellipsis"),
    (graph("Einsum", ["images"], equation="aabb->ab", shape=(2, 2, 3, 3)), "no diagonals"),
    (graph("Einsum", ["images"] * 3, equation="a,a,a->a", shape=(3,)), "has 3 inputs; at most two"),
    (graph("Flatten", shape=(4, 4), axis=0), "use Reshape"),
    (graph("Transpose", ["w"], {"w": np.ones((2, 3), I64)}), "transpose it before the export"),
    (graph("Constant", [], value_int=3), "it holds value_int; write the attribute value"),
    (graph("Dropout", ["images", "", "t"], {"t": np.bool_(True)}), "export in eval mode"),
    (graph("QuantizeLinear", ["images", "s"], {"s": F(1)}), "must be two constants"),
    (graph("QuantizeLinear", ["images", "s", "z"], {"s": F(1), "z": np.uint8(0)}), "input 2 is uint8; only int8"),
    (graph("QuantizeLinear", ["images", "s", "z"], {"s": F(1), "z": np.int8(3)}), "not symmetric"),
    (graph("QuantizeLinear", ["images", "s", "z"], {"s": F(0), "z": np.int8(0)}), "not symmetric"),
    (
        graph("QuantizeLinear", ["images", "s", "z"], {"s": ones(4), "z": np.zeros(4, np.int8)}, axis=1),
        "4 scales on an activation",
    ),
    (graph("QuantizeLinear", ["w", "s", "z"], pair(ones(4), 0)[1]), "its axis is not stated"),
    (graph("QuantizeLinear", ["w", "s", "z"], pair(ones(8), 1)[1], axis=1), "8 scales on axis 1"),
    (
        graph("DequantizeLinear", ["w", "s", "z"], {"w": np.ones((8, 4), np.int8), "s": F(1), "z": np.int8(0)}),
        "reads an int8 constant, and there are none in 8.2",
    ),
    (
        graph("DequantizeLinear", ["b", "s", "z"], {"b": np.ones(8, np.int32), "s": F(1), "z": np.int32(0)}),
        "input 0 is int32",
    ),
]


@pytest.mark.parametrize(("model", "says"), REFUSED, ids=[f"{m.graph.node[-3].op_type}-{s}" for m, s in REFUSED])
def test_what_the_importer_refuses_or_gets_wrong_is_refused(tmp_path, model, says):
    (tmp_path / "bad.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match=f"TensorRT 8.2 cannot import node '.*: .*{says}"):
        check_contract(tmp_path / "bad.onnx")


def test_an_operator_that_would_be_computed_wrongly_has_no_rule(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(graph("Celu").SerializeToString())
    with pytest.raises(ExportError, match="uses Celu, which its consumer has no importer for"):
        check_contract(tmp_path / "bad.onnx")


def test_every_rule_names_an_operator_and_attributes_that_onnx_has():
    for op, rule in RULES.items():
        schema = defs.get_schema(op, 13, "")
        assert set(rule.reads.split()) <= set(schema.attributes), op
        assert len(rule.types) <= max(1, schema.max_input) and max((*rule.constant, *rule.optional, 0)) < max(
            1, schema.max_input
        ), op
