"""A stand-in for a dense head: a shipped detector whose model also gives masks, of the size that a trained one gives.

Each block of pixels gets the class of its brightness: it depends on the image, costs the engine next to nothing, and
the node handles it as any other. For what masks cost the node beyond the engine; says nothing of how good masks are.
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vit_perception.bundles.bundle import open_bundle, sha256_of
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine


def with_masks(model: Path, folder: Path, stride: int, classes: int) -> Path:
    """Write a bundle of task 'both' from one that detects. Returns its folder."""
    source = open_bundle(model)
    folder.mkdir(parents=True)
    master = onnx.load(source.file("fp32"))
    _add(master.graph, source.input, stride, classes)
    onnx.checker.check_model(master)
    onnx.save(master, folder / "model.onnx")
    golden = np.load(source.file("golden"))["images"]
    engine = OnnxRuntimeEngine(str(folder / "model.onnx"), threads=1)
    outputs = [engine.infer(image[None].astype(np.float32)) for image in golden]
    arrays = {name: np.concatenate([o[name] for o in outputs]) for name in outputs[0]}
    np.savez(folder / "golden.npz", images=golden, **arrays)
    files = {"fp32": "model.onnx", "golden": "golden.npz"}
    spec = {"labels": [f"class {i}" for i in range(classes)], "stride": stride, "ignore": 255}
    manifest = source.manifest | {
        "format_version": 2,
        "task": "both",
        "segmentation": spec | {"colors": [[20 * i % 256, 90, 160] for i in range(classes)]},
        "files": {key: {"path": name, "sha256": sha256_of(folder / name)} for key, name in files.items()},
    }
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


def _add(graph, size: dict, stride: int, classes: int) -> None:
    levels = np.linspace(-1.5, 1.5, classes).astype(np.float32)
    channels = len(size["mean"])
    weight = np.repeat(levels.reshape(-1, 1, 1, 1), channels, 1) / channels
    constants = {"dense_weight": 16 * weight, "dense_bias": -8 * levels**2}
    graph.node.extend(
        [
            helper.make_node(
                "AveragePool", [graph.input[0].name], ["dense_block"], kernel_shape=[stride] * 2, strides=[stride] * 2
            ),
            helper.make_node("Conv", ["dense_block", "dense_weight", "dense_bias"], ["classes"], name="dense"),
        ]
    )
    graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items())
    shape = [1, classes, size["height"] // stride, size["width"] // stride]
    graph.output.append(helper.make_tensor_value_info("classes", TensorProto.FLOAT, shape))
