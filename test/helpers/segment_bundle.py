"""Real bundles that segment, with a tiny real ONNX model: each block of pixels gets the class of its brightness."""

import json
import os

import numpy as np
import onnx
from blob_bundle import HEIGHT, WIDTH, make_bundle
from onnx import TensorProto, helper, numpy_helper

from vit_perception.bundles.bundle import sha256_of
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

# Gray values of each class: a block gets the class whose value is nearest.
CLASSES = {"water": 13, "ground": 89, "road": 166, "roof": 242}
LABELS, COLORS = list(CLASSES), [[0, 0, 255], [120, 80, 40], [128, 128, 128], [200, 60, 60]]


def make_segment_bundle(folder, task="segment", stride=8, labels=LABELS, faulty=False, **blob):
    """Write a bundle of task 'segment' or 'both'; returns its path.

    With 'both' it also finds bright blocks, as `make_bundle` tells, which takes `blob`. A faulty one has no numbers for
    the classes of a picture that is white all over.
    """
    make_bundle(folder, **blob)
    path, golden = (os.path.join(folder, name) for name in ("model.onnx", "golden.npz"))
    model = onnx.load(path)
    _add_classes(model.graph, stride, keep_detector=task == "both")
    if faulty:
        _add_fault(model.graph)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    write_golden(path, golden)
    with open(os.path.join(folder, "bundle.json")) as f:
        manifest = json.load(f)
    manifest["name"], manifest["task"], manifest["format_version"] = task, task, 2
    manifest["segmentation"] = {"labels": list(labels), "colors": COLORS, "stride": stride, "ignore": 255}
    if task == "segment":
        manifest["labels"] = []
        del manifest["head"], manifest["thresholds"]
    manifest["files"]["fp32"]["sha256"], manifest["files"]["golden"]["sha256"] = sha256_of(path), sha256_of(golden)
    with open(os.path.join(folder, "bundle.json"), "w") as f:
        json.dump(manifest, f)
    return str(folder)


def write_golden(model, path):
    """Random blocks with noise: every class in every image."""
    engine, rng = OnnxRuntimeEngine(model, threads=1), np.random.default_rng(7)
    blocks = rng.uniform(-0.5, 0.5, (2, 1, HEIGHT // 8, WIDTH // 8)).repeat(8, 2).repeat(8, 3)
    images = (blocks + rng.normal(0, 0.05, blocks.shape)).astype(np.float16)
    outputs = [engine.infer(image[None].astype(np.float32)) for image in images]
    np.savez(path, images=images, **{name: np.concatenate([o[name] for o in outputs]) for name in outputs[0]})


def _add_classes(graph, stride, keep_detector):
    """logit = 16 (x level - level^2 / 2), largest where the level is nearest to the block's mean x."""
    levels = np.array(list(CLASSES.values()), np.float32) / 255 - 0.5
    constants = {"levels": 16 * levels.reshape(-1, 1, 1, 1), "offsets": -8 * levels**2}
    nodes = [
        helper.make_node("AveragePool", ["images"], ["block"], kernel_shape=[stride] * 2, strides=[stride] * 2),
        helper.make_node("Conv", ["block", "levels", "offsets"], ["classes"], name="dense"),
    ]
    shape = [1, len(levels), HEIGHT // stride, WIDTH // stride]
    if not keep_detector:
        del graph.node[:], graph.output[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items())
    graph.output.append(helper.make_tensor_value_info("classes", TensorProto.FLOAT, shape))


def _add_fault(graph):
    """classes + 0 * sqrt(0.49 - mean of the image): no number where the mean is 0.5."""
    graph.node[-1].output[0] = "healthy"
    graph.node.extend(
        [
            helper.make_node("ReduceMean", ["images"], ["brightness"], axes=[0, 1, 2, 3], keepdims=0),
            helper.make_node("Sub", ["nearly_white", "brightness"], ["darkness"]),
            helper.make_node("Sqrt", ["darkness"], ["root"]),
            helper.make_node("Mul", ["root", "nought"], ["fault"]),
            helper.make_node("Add", ["healthy", "fault"], ["classes"]),
        ]
    )
    for name, value in (("nearly_white", 0.49), ("nought", 0.0)):
        graph.initializer.append(numpy_helper.from_array(np.float32(value), name))


def picture(cells, width=2 * WIDTH, height=2 * HEIGHT):
    """Gray image uint8 of 6 x 8 blocks with the class index of each, (6, 8): what the bundle's masks then hold."""
    gray = np.array(list(CLASSES.values()), np.uint8)[np.asarray(cells)]
    return np.kron(gray, np.ones((height // gray.shape[0], width // gray.shape[1]), np.uint8))
