"""Opening a bundle: what is missing, altered, newer or hostile is refused with one sentence."""

import json

import numpy as np
import pytest
from bundles import INPUT, LABELS, write_bundle

from vit_perception.bundle import open_bundle
from vit_perception.detector import Detector
from vit_perception.engines import open_engine
from vit_perception.errors import BundleError, EngineError


@pytest.fixture
def folder(tmp_path):
    return write_bundle(tmp_path / "tiny")


def edit(folder, **changes):
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_good_bundle_opens_and_detects(folder):
    bundle = open_bundle(folder)
    assert bundle.labels == LABELS and bundle.input == INPUT and bundle.variants == ["fp32"]
    engine = open_engine(bundle)
    found = Detector(bundle, engine, score_threshold=0.001).detect(np.zeros((64, 96), np.uint8), "mono")
    assert len(found) and found.boxes.min() >= 0 and found.boxes[:, 2].max() <= 96
    engine.close()


def test_golden_outputs_are_what_the_engine_gives(folder):
    golden = np.load(folder / "golden.npz")
    engine = open_engine(open_bundle(folder))
    assert golden["images"].std() > 0.1  # not a constant input
    for image, logits, boxes in zip(golden["images"], golden["logits"], golden["boxes"], strict=True):
        outputs = engine.infer(image[None].astype(np.float32))
        np.testing.assert_allclose(outputs["logits"][0], logits, atol=1e-5)
        np.testing.assert_allclose(outputs["boxes"][0], boxes, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: (f / "bundle.json").unlink(), "bundle.json is missing"),
        (lambda f: (f / "bundle.json").write_text("{"), "cannot read"),
        (lambda f: (f / "bundle.json").write_bytes(b"\xff\xfe"), "cannot read"),
        (lambda f: (f / "bundle.json").write_text("[]"), "is not a vit_perception bundle"),
        (lambda f: edit(f, format_version=2), "newer than the 1 that this package reads"),
        (lambda f: edit(f, labels=[]), "do not fit together"),
        (lambda f: edit(f, labels=None), "do not fit together"),
        (lambda f: edit(f, files=[]), "malformed"),
        (lambda f: edit(f, input=INPUT | {"width": 97}), "do not fit together"),
        (lambda f: edit(f, input=INPUT | {"color": "cmyk"}), "malformed"),
        (lambda f: edit(f, thresholds={"score": 0.3}), "malformed"),
        (lambda f: (f / "model.onnx").unlink(), "lacks model.onnx"),
        (lambda f: (f / "model.onnx").write_bytes((f / "model.onnx").read_bytes()[:-1]), "sha256 differs"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(folder, change, says):
    change(folder)
    with pytest.raises(BundleError, match=says) as e:
        open_bundle(folder)
    assert "\n" not in str(e.value) and str(folder) in str(e.value)


def test_missing_key_is_named(folder):
    manifest = json.loads((folder / "bundle.json").read_text())
    del manifest["head"]
    (folder / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="lacks head"):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "sub/model.onnx"])
def test_no_path_leaves_the_bundle(folder, name):
    (folder.parent / "secret").write_text("x")
    edit(folder, files={"fp32": {"path": name, "sha256": "0" * 64}})
    with pytest.raises(BundleError, match="outside its folder"):
        open_bundle(folder)


def test_a_link_out_of_the_bundle_is_refused(folder):
    outside = folder.parent / "model.onnx"
    (folder / "model.onnx").rename(outside)
    (folder / "model.onnx").symlink_to(outside)
    with pytest.raises(BundleError, match="outside its folder"):
        open_bundle(folder)


def test_unknown_backend_and_precision(folder):
    bundle = open_bundle(folder)
    with pytest.raises(EngineError, match="unknown backend 'tpu'; choose one of: auto, tensorrt, onnxruntime"):
        open_engine(bundle, backend="tpu")
    with pytest.raises(EngineError, match="unknown precision 'int4'; choose one of: auto, fp32, fp16, int8"):
        open_engine(bundle, precision="int4")
    with pytest.raises(EngineError, match="no 'int8' file for ONNX Runtime; it has: fp32"):
        open_engine(bundle, precision="int8")
    with pytest.raises(BundleError, match="no 'int8' file; it has: fp32, golden"):
        bundle.file("int8")


def test_the_engine_refuses_other_inputs_and_use_after_close(folder):
    engine = open_engine(open_bundle(folder))
    with pytest.raises(EngineError, match="the model takes float32"):
        engine.infer(np.zeros((1, 1, 32, 32), np.float32))
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.infer(np.zeros((1, 1, 64, 96), np.float32))


def test_a_broken_onnx_file_is_an_engine_error(folder):
    from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

    (folder / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(EngineError, match="cannot run"):
        OnnxRuntimeEngine(str(folder / "junk.onnx"))
