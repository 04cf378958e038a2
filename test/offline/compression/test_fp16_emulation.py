"""fp16 emulated: it rounds and overflows as fp16 does, and shows what LayerNorm in fp32 saves."""

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from bundles import INPUT, LABELS, TINY
from onnx import TensorProto, helper, numpy_helper

from offline.compression.fp16_emulation import SUMS, HalfEngine, parts
from offline.compression.quantize_fp16 import keeps_fp32
from offline.errors import ExportError
from offline.export.onnx_export import compare_outputs, export_master, file_entry, golden_inputs
from offline.model.detector import build_model
from offline.model.from_bundle import model_of_bundle
from vit_perception.bundles.bundle import open_bundle
from vit_perception.bundles.golden import prove
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine
from vit_perception.errors import GoldenError

ROOT = Path(__file__).resolve().parents[3]


def one_node(folder, op, x, *constants, **attributes):
    """An ONNX file of one node, named 'node', whose first input is shaped like `x`."""
    names = [f"c{i}" for i in range(len(constants))]
    graph = helper.make_graph(
        [helper.make_node(op, ["x", *names], ["y"], name="node", **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(c, n) for c, n in zip(constants, names, strict=True)],
    )
    path = folder / "node.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


ONES = np.ones((1, 4096), np.float32)
CONV = {"strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1}


@pytest.mark.parametrize(
    ("op", "x", "constants", "attributes", "exact", "stuck", "half_in"),
    [  # above 2048 fp16 counts in twos: adding one more 1 changes nothing
        ("ReduceMean", ONES, [], {"axes": [-1]}, 1, 0.5, ("reductions", "products")),
        ("Softmax", 0 * ONES, [], {"axis": -1}, 1 / 4096, 1 / 2048, ("reductions", "products")),
        ("MatMul", ONES, [ONES.T], {}, 4096, 2048, ("products",)),
        ("Gemm", ONES, [ONES], {"transB": 1}, 4096, 2048, ("products",)),
        ("Conv", ONES[..., None, None], [ONES[..., None, None]], CONV, 4096, 2048, ("products",)),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_sums_in_fp16_stop_growing_and_sums_in_fp32_do_not(
    op, x, constants, attributes, exact, stuck, half_in, tmp_path
):
    path = one_node(tmp_path, op, x, *constants, **attributes)
    for sums in SUMS:
        assert HalfEngine(path, sums=sums).infer(x)["y"].flat[0] == (stuck if sums in half_in else exact)
        assert HalfEngine(path, {"node"}, sums).infer(x)["y"].flat[0] == exact  # a node in fp32 sums in fp32


def test_a_result_is_rounded_and_what_leaves_the_range_is_inf(tmp_path):
    x = np.array([255, 256, 2049, 1e-4], np.float32)
    path = one_node(tmp_path, "Mul", x, x)
    engine = HalfEngine(path)
    np.testing.assert_array_equal(engine.infer(x)["y"], [65024, np.inf, np.inf, np.float16(1e-8)])
    assert engine.overflowed == {"node"}
    np.testing.assert_array_equal(HalfEngine(path, {"node"}).infer(x)["y"], x * x)
    engine = HalfEngine(one_node(tmp_path, "Relu", x))
    assert engine.infer(1e5 + 0 * x)["y"][0] == np.inf and engine.overflowed == {"node"}  # too wide to be read


@pytest.mark.parametrize(
    ("op", "weights", "attributes"),
    [
        ("Conv", (8, 2, 3, 3), {"strides": [2, 2], "pads": [1, 0, 2, 1], "dilations": [1, 2], "group": 2}),
        ("ConvTranspose", (4, 6, 2, 2), {"strides": [2, 2], "pads": [0] * 4, "dilations": [1, 1], "group": 1}),
    ],
)
def test_convolutions_written_out_are_convolutions(op, weights, attributes, tmp_path):
    random = np.random.default_rng(0)
    x, w = (random.integers(-3, 4, shape).astype(np.float32) for shape in ((1, 4, 9, 12), weights))
    bias = np.arange(weights[0] if op == "Conv" else weights[1], dtype=np.float32)
    path = one_node(tmp_path, op, x, w, bias, **attributes)
    right = OnnxRuntimeEngine(str(path)).infer(x)["y"]
    for sums in SUMS:  # small integers: exact in fp16
        np.testing.assert_array_equal(HalfEngine(path, sums=sums).infer(x)["y"], right)


def test_an_operator_that_is_not_emulated_is_refused(tmp_path):
    with pytest.raises(ExportError, match="knows no Tan; add it to fp16_emulation.py"):
        HalfEngine(one_node(tmp_path, "Tan", ONES))


def export(model, path, width=INPUT["width"], height=INPUT["height"]):
    export_master(model, path, width, height)
    return path


def test_with_all_nodes_in_fp32_it_computes_what_onnxruntime_does(tmp_path):
    torch.manual_seed(0)
    config = {"classes": 3, "depth": 2, "strides": [4, 8], "pool": [1, 2], "ranks": {"blocks.0.mlp.fc1": 8}}
    path = export(build_model(TINY | config), tmp_path / "model.onnx", width=128)
    x = np.random.default_rng(0).normal(size=(1, 1, INPUT["height"], 128)).astype(np.float32)
    engine = HalfEngine(path, {n.name for n in onnx.load(str(path)).graph.node})
    assert compare_outputs(OnnxRuntimeEngine(str(path)).infer(x), engine.infer(x)) < 1e-5


def with_wide_residual(model, factor):
    """The same function on a residual stream `factor` times wider: every LayerNorm takes the factor out again."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        wide = [model.embed[1].weight, model.embed[1].bias, model.position.bias]
        for block in model.blocks:
            for last in (block.attn.proj, block.mlp.fc2):  # of two thin layers only the second
                wide += (last[-1] if isinstance(last, torch.nn.Sequential) else last).parameters()
        for tensor in wide:
            tensor.mul_(factor)
    return model


def test_a_wide_residual_stream_needs_layer_norm_in_fp32(tmp_path):
    torch.manual_seed(0)
    model = build_model(TINY | {"classes": len(LABELS)}).eval()
    x = golden_inputs(INPUT)[0]
    plain = export(model, tmp_path / "plain.onnx")
    wide = export(with_wide_residual(model, 500.0), tmp_path / "wide.onnx")
    right = OnnxRuntimeEngine(str(plain)).infer(x)
    assert compare_outputs(right, OnnxRuntimeEngine(str(wide)).infer(x)) < 1e-3  # in fp32 one function
    pins = {n.name for n in onnx.load(str(wide)).graph.node if keeps_fp32(n)}
    for sums in SUMS:
        assert compare_outputs(right, HalfEngine(plain, sums=sums).infer(x)) < 0.01
        half, pinned = HalfEngine(wide, sums=sums), HalfEngine(wide, pins, sums)
        assert compare_outputs(right, half.infer(x)) > 0.1 and any("/norm" in name for name in half.overflowed)
        assert compare_outputs(right, pinned.infer(x)) < 0.01 and not pinned.overflowed
    for path, overflows in ((plain, False), (wide, True)):
        norms = [p for p in parts(path, [x]) if "norm" in p["name"]]
        assert len(norms) == 3 and all(p["overflows"] == overflows == (p["cosine"] < 0.99) for p in norms)


def test_the_golden_check_refuses_an_engine_that_ignored_the_pins(tmp_path):
    """The default bundle's function on a residual stream that reaches hundreds."""
    shutil.copytree(ROOT / "models" / "uav_thermal", tmp_path / "wide")
    manifest = json.loads((tmp_path / "wide" / "bundle.json").read_text())
    model = with_wide_residual(model_of_bundle(open_bundle(tmp_path / "wide")), 64.0)
    master = export(model, tmp_path / "wide" / "model.onnx", *(manifest["input"][k] for k in ("width", "height")))
    manifest["files"]["fp32"] |= {k: file_entry(master, "fp32", "")[k] for k in ("sha256", "bytes")}
    manifest["fp32_layers"] = sorted(n.name for n in onnx.load(str(master)).graph.node if keeps_fp32(n))
    (tmp_path / "wide" / "bundle.json").write_text(json.dumps(manifest))
    bundle = open_bundle(tmp_path / "wide")
    prove(HalfEngine(bundle.file("fp32"), bundle.fp32_layers), bundle)
    with pytest.raises(GoldenError, match="fp16"):
        prove(HalfEngine(bundle.file("fp32")), bundle)


def test_the_bench_ends_with_its_figures():
    script = [
        sys.executable,
        str(ROOT / "bench" / "half_precision.py"),
        "--quick",
        "--model",
        "models/uav_thermal_tiny",
    ]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (figures,) = json.loads(done.stdout.splitlines()[-1])
    assert figures["name"] == "uav_thermal_tiny" and len(figures["parts"]) == 5
    assert all(row["centred_boxes"] > 0.999 for row in figures["variants"][1:])
