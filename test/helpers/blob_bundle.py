"""A real bundle with a tiny real ONNX model: it detects bright 8 x 8 blocks. For the node's tests."""

import json
import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vit_perception.bundles.bundle import sha256_of
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

WIDTH, HEIGHT, STRIDE = 64, 48, 8


def make_bundle(folder, labels=("person", "car"), model_classes=None, work=0):
    """Write the bundle; returns its path.

    Every 8 x 8 block brighter than half scores above 0.5 as labels[0], with a box of 8 x 8 pixels.

    Args:
        model_classes: classes of the model, if they are not to agree with the labels.
        work: side of matrices that the model multiplies for nothing, to be slow.
    """
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "model.onnx")
    onnx.save(_model(model_classes or len(labels), work), path)
    golden = os.path.join(folder, "golden.npz")
    _write_golden(path, golden)
    manifest = {
        "format": "vit_perception bundle",
        "format_version": 1,
        "name": "blob",
        "labels": list(labels),
        "input": {"width": WIDTH, "height": HEIGHT, "color": "gray", "mean": [0.5], "std": [1.0]},
        "head": {"strides": [STRIDE]},
        "thresholds": {"score": 0.5, "nms_iou": 0.6, "max_detections": 100},
        "files": {
            "fp32": {"path": "model.onnx", "sha256": sha256_of(path)},
            "golden": {"path": "golden.npz", "sha256": sha256_of(golden)},
        },
    }
    with open(os.path.join(folder, "bundle.json"), "w") as f:
        json.dump(manifest, f)
    return str(folder)


def _write_golden(model, path):
    engine = OnnxRuntimeEngine(model, threads=1)
    images = np.random.default_rng(7).uniform(-0.5, 0.5, (2, 1, HEIGHT, WIDTH)).astype(np.float16)
    outputs = [engine.infer(image[None].astype(np.float32)) for image in images]
    np.savez(path, images=images, **{name: np.concatenate([o[name] for o in outputs]) for name in outputs[0]})


def _model(classes, work):
    points = (WIDTH // STRIDE) * (HEIGHT // STRIDE)
    gain = np.zeros((1, 1, classes), np.float32)
    gain[..., 0] = 8.0  # a white block: logit 4, score 0.98; a black one: -4
    bias = np.full((1, 1, classes), -9.0, np.float32)
    bias[..., 0] = 0.0
    initializers = [
        numpy_helper.from_array(np.array([1, points, 1], np.int64), "shape"),
        numpy_helper.from_array(gain, "gain"),
        numpy_helper.from_array(bias, "bias"),
        numpy_helper.from_array(np.zeros((1, 1, 4), np.float32), "zero"),
    ]
    nodes = [
        helper.make_node("AveragePool", ["images"], ["mean"], kernel_shape=[STRIDE] * 2, strides=[STRIDE] * 2),
        helper.make_node("Reshape", ["mean", "shape"], ["cells"]),
        helper.make_node("Mul", ["cells", "gain"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["logits"]),
        helper.make_node("Mul", ["cells", "zero"], ["boxes"]),
    ]
    if work:
        square = np.full((work, work), 1e-6, np.float32)
        initializers.append(numpy_helper.from_array(square, "square"))
        nodes[3].input[0] = "delayed"
        nodes[3:3] = [
            helper.make_node("ReduceMean", ["images"], ["level"], axes=[0, 1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["square", "level"], ["work0"]),
            *[helper.make_node("MatMul", [f"work{i}", "square"], [f"work{i + 1}"]) for i in range(4)],
            helper.make_node("ReduceMean", ["work4"], ["nothing"], axes=[0, 1], keepdims=0),
            helper.make_node("Add", ["scaled", "nothing"], ["delayed"]),
        ]
    graph = helper.make_graph(
        nodes,
        "blob",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 1, HEIGHT, WIDTH])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, points, classes]),
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, points, 4]),
        ],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model
