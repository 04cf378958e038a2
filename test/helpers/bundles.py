"""A real bundle made in a second, for tests: a tiny untrained ViT detector, exported by the project's own code."""

from pathlib import Path

import torch

from offline.export.onnx_export import export_master, file_entry, golden_inputs, write_golden
from offline.files import write_json
from offline.model.detector import build_model
from vit_perception.bundles.bundle import FORMAT, FORMAT_VERSION
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

TINY = {"channels": 1, "stem": [8, 8, 16, 16], "dim": 64, "depth": 1, "heads": 1, "mlp": 64, "neck": 16}
LABELS = ["Person", "Car", "Bicycle"]
INPUT = {"width": 96, "height": 64, "color": "gray", "mean": [0.5], "std": [0.2]}


def write_bundle(folder: Path, **changes) -> Path:
    """Write the bundle into `folder`; `changes` replace entries of bundle.json."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    master = folder / "model.onnx"
    export_master(build_model(TINY | {"classes": len(LABELS)}), master, INPUT["width"], INPUT["height"])
    write_golden(folder / "golden.npz", OnnxRuntimeEngine(str(master)), golden_inputs(INPUT))
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": "tiny",
        "labels": LABELS,
        "input": INPUT,
        "head": {"strides": [8]},
        "thresholds": {"score": 0.3, "nms_iou": 0.6, "max_detections": 100},
        "files": {
            "fp32": file_entry(master, "fp32", "any"),
            "golden": file_entry(folder / "golden.npz", "fp32", "any", opset=None),
        },
    }
    write_json(folder / "bundle.json", manifest | changes)
    return folder
