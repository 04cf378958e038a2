"""ONNX Runtime as an engine: what it keeps of the memory of a small board."""

import sys

import numpy as np

from vit_perception.bundles.bundle import open_bundle
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine


def test_the_bytes_of_the_file_are_not_kept_beside_the_model_that_was_made_of_them(bundle):
    data = open_bundle(bundle).read("fp32")
    before = sys.getrefcount(data)
    engine = OnnxRuntimeEngine(data)
    assert sys.getrefcount(data) == before
    first = engine.infer(np.zeros(engine.input_shape, np.float32))
    assert set(first) == {"logits", "boxes"}
