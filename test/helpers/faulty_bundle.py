"""The blob bundle with a real ONNX model that fails on particular pictures, told by their mean brightness."""

import json
import os

import numpy as np
import onnx
from blob_bundle import _write_golden, make_bundle
from onnx import TensorProto, helper, numpy_helper

from vit_perception.bundles.bundle import sha256_of

# Uniform pictures of these gray values set a fault off; the golden noise (mean 128) and dark pictures do not.
RAISES, HANGS, NAN = 64, 190, 255
_RANGES = {"raises": (-0.35, -0.15), "hangs": (0.15, 0.35), "nan": (0.4, 1.0)}  # of the mean of gray / 255 - 0.5


def make_faulty_bundle(folder):
    """Write the bundle; returns its path."""
    make_bundle(folder)
    path, golden = (os.path.join(folder, name) for name in ("model.onnx", "golden.npz"))
    model = onnx.load(path)
    _add_faults(model.graph)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    _write_golden(path, golden)
    manifest_path = os.path.join(folder, "bundle.json")
    with open(manifest_path) as f:
        manifest = json.load(f)
    manifest["files"]["fp32"]["sha256"], manifest["files"]["golden"]["sha256"] = sha256_of(path), sha256_of(golden)
    with open(manifest_path, "w") as f:
        json.dump(manifest, f)
    return str(folder)


def _add_faults(graph):
    """scaled -> times 0 / 0 (NaN), plus an entry past the end of a table (raises), plus a long loop's sum (hangs)."""
    constants = {
        "one": np.float32(1),
        "nothing": np.zeros(1, np.float32),
        "zero_f": np.float32(0),
        "forever": np.int64(2**40),
        "go_on": np.bool_(True),
    }
    nodes = [helper.make_node("ReduceMean", ["images"], ["level"], axes=[0, 1, 2, 3], keepdims=0)]
    for name, (low, high) in _RANGES.items():
        constants[name + "_low"], constants[name + "_high"] = np.float32(low), np.float32(high)
        nodes += [
            helper.make_node("Greater", ["level", name + "_low"], [name + "_above"]),
            helper.make_node("Less", ["level", name + "_high"], [name + "_below"]),
            helper.make_node("And", [name + "_above", name + "_below"], [name]),
        ]
    nodes += [
        helper.make_node("Cast", ["nan"], ["is_nan"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["one", "is_nan"], ["healthy"]),
        helper.make_node("Div", ["healthy", "healthy"], ["factor"]),
        helper.make_node("Mul", ["scaled", "factor"], ["scaled1"]),
        helper.make_node("Cast", ["raises"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["nothing", "index"], ["entry"], axis=0),
        helper.make_node("Add", ["scaled1", "entry"], ["scaled2"]),
        helper.make_node("Cast", ["hangs"], ["loops"], to=TensorProto.INT64),
        helper.make_node("Mul", ["loops", "forever"], ["count"]),
        helper.make_node("Loop", ["count", "go_on", "zero_f"], ["sum"], body=_loop_body()),
        helper.make_node("Add", ["scaled2", "sum"], ["scaled3"]),
    ]
    at = next(i for i, n in enumerate(graph.node) if n.op_type == "Add")
    graph.node[at].input[0] = "scaled3"
    following = list(graph.node)[at:]
    del graph.node[at:]
    graph.node.extend(nodes + following)
    graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items())


def _loop_body():
    def value(name, kind):
        return helper.make_tensor_value_info(name, kind, [])

    inputs = [
        value("i", TensorProto.INT64),
        value("before", TensorProto.BOOL),
        value("sum_before", TensorProto.FLOAT),
    ]
    outputs = [value("after", TensorProto.BOOL), value("sum_after", TensorProto.FLOAT)]
    nodes = [
        helper.make_node("Identity", ["before"], ["after"]),
        helper.make_node("Mul", ["sum_before", "sum_before"], ["sum_after"]),
    ]
    return helper.make_graph(nodes, "body", inputs, outputs)
