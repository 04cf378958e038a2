"""Opening a bundle: what is missing, altered, newer or hostile is refused with one sentence."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import INPUT, LABELS, write_bundle

from vit_perception.bundles.bundle import find_bundle, open_bundle, sha256_of
from vit_perception.bundles.golden import read_golden
from vit_perception.detector import Detector
from vit_perception.engines import open_engine
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine
from vit_perception.errors import BundleError, EngineError, GoldenError


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("original") / "tiny")


@pytest.fixture
def folder(original, tmp_path):
    """A bundle of the test's own, to damage."""
    return Path(shutil.copytree(original, tmp_path / "tiny"))


def edit(folder, **changes):
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_images_that_are_shrunk_too_much_are_told_with_what_that_does_to_objects(folder):
    assert open_bundle(folder).shrinks(INPUT["width"] * 2, INPUT["height"] * 2) == ""
    large = INPUT["width"] * 6, INPUT["height"] * 6
    assert "what is found reliably, of 10 pixels, is 60 pixels large" in open_bundle(folder).shrinks(*large)
    edit(folder, object_px={LABELS[0]: [12.0, 20.0, 40.0], LABELS[1]: []})
    words = (
        f"6.0 times to the model's {INPUT['width']}x{INPUT['height']}: the smallest {LABELS[0]} that it was trained on"
    )
    assert f"{words}, of 12 pixels, is 72 pixels" in open_bundle(folder).shrinks(*large)


def test_what_slices_show_the_model_in_full_is_not_shrunk(folder):
    large, shrinks = (INPUT["width"] * 6, INPUT["height"] * 6), open_bundle(folder).shrinks
    assert "look at it in slices (slices: auto), crop it" in shrinks(*large)
    assert shrinks(*large, "auto") == shrinks(*large, "4x4") == ""
    side = [int(np.ceil(s / 1.85)) for s in large]  # two of them, that overlap by 15%
    assert "in slices of {}x{}, are shrunk 3.2 times".format(*side) in shrinks(*large, "2x2")
    assert "take more slices" in shrinks(*large, "2x2")
    bundle = open_bundle(folder)
    bundle.labels = []  # as of one that only segments, which looks at whole images
    assert bundle.shrinks(*large).endswith("large in such an image; crop it, zoom in, or train with a larger input")


@pytest.mark.parametrize("sizes", [[1.0], [1, 2, "3"], [1, 2, float("inf")], 3])
def test_sizes_that_are_none_are_refused(folder, sizes):
    edit(folder, object_px={LABELS[0]: sizes})
    with pytest.raises(BundleError, match="object_px must give 3 sizes|is no number"):
        open_bundle(folder)


@pytest.mark.parametrize("given", [{"scaling": "log"}, "fixed", {"min": 9, "max": 1}])
def test_a_conversion_to_8_bits_that_makes_no_sense_is_refused(folder, given):
    edit(folder, input=INPUT | {"high_bit_depth": given})
    with pytest.raises(BundleError, match="input.high_bit_depth"):
        open_bundle(folder)


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
        assert logits.dtype == boxes.dtype == np.float16  # whose steps are 1/1000 of a value
        np.testing.assert_allclose(outputs["logits"][0], logits, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(outputs["boxes"][0], boxes, rtol=1e-3, atol=1e-5)


def put(folder, data):
    (folder / "bundle.json").write_bytes(data)


def edit_text(folder, old, new):
    """Replace a piece of bundle.json's text, which must be there."""
    text = (folder / "bundle.json").read_text()
    assert old in text
    (folder / "bundle.json").write_text(text.replace(old, new, 1))


def listed(folder, key="fp32", **changes):
    """Change the entry of one file in the manifest."""
    files = json.loads((folder / "bundle.json").read_text())["files"]
    edit(folder, files=files | {key: files.get(key, {}) | changes})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: (f / "bundle.json").unlink(), "bundle.json is missing"),
        (lambda f: put(f, b"{"), "cannot read"),
        (lambda f: put(f, b""), "cannot read"),
        (lambda f: put(f, b"\xff\xfe"), "cannot read"),
        (lambda f: put(f, b"\xef\xbb\xbf{}"), "cannot read"),
        (lambda f: put(f, b"[" * 200000), "nested too deeply"),
        (lambda f: put(f, b'{"a":' * 100000), "nested too deeply"),
        (lambda f: put(f, b" " * (5 << 20)), "more than 4194304 bytes"),
        (lambda f: put(f, b'{"format": 1, "format": 2}'), "given twice"),
        (lambda f: put(f, b'{"n": ' + b"9" * 1000000 + b"}"), "is no number"),
        (lambda f: edit_text(f, '"score": 0.3', '"score": NaN'), "NaN is no number"),
        (lambda f: edit_text(f, '"score": 0.3', '"score": -Infinity'), "Infinity is no number"),
        (lambda f: edit_text(f, '"score": 0.3', '"score": 1e999'), "1e999 is no number"),
        (lambda f: put(f, b"[]"), "is not a vit_perception bundle"),
        (lambda f: edit(f, format_version=3), "newer than the 2 that this package reads"),
        (lambda f: edit(f, format_version=2), "format_version 2 is for the tasks segment and both"),
        (lambda f: edit(f, task="classify"), "task must be one of: detect, segment, both"),
        (lambda f: edit(f, task=["detect"]), "task must be one of: detect, segment, both"),
        (lambda f: edit(f, task="both"), "lacks segmentation"),
        (lambda f: edit(f, format_version=True), "format version true"),
        (lambda f: edit(f, format_version=None), "format version null"),
        (lambda f: edit(f, name=""), "name must be a short text"),
        (lambda f: edit(f, name="a\nb"), "name must be a short text"),
        (lambda f: edit(f, labels=[]), "labels must be 1 to 1000 names"),
        (lambda f: edit(f, labels=[str(i) for i in range(1001)]), "labels must be 1 to 1000 names"),
        (lambda f: edit(f, labels=None), "labels must be a list"),
        (lambda f: edit(f, labels={"Person": 0}), "labels must be a list"),
        (lambda f: edit(f, labels=["Person", ""]), "labels must be short texts"),
        (lambda f: edit(f, labels=["Person", 1]), "labels must be short texts"),
        (lambda f: edit(f, labels=["Per\x1b[2Json"]), "labels must be short texts of printable"),
        (lambda f: edit(f, labels=["\ud800"]), "labels must be short texts of printable"),
        (lambda f: edit(f, labels=["x" * 201]), "labels must be short texts"),
        (lambda f: edit(f, labels=["Car", "Car"]), "labels must differ"),
        (lambda f: edit(f, files=[]), "files must be an object"),
        (lambda f: edit(f, files={}), "files must hold 'fp32'"),
        (lambda f: edit(f, files={"fp32": "model.onnx"}), "files.fp32 must have a path"),
        (lambda f: edit(f, files={"fp32": {"path": ["model.onnx"], "sha256": ""}}), "files.fp32 must have a path"),
        (lambda f: listed(f, sha256="ABC"), "files.fp32 must have a sha256"),
        (lambda f: listed(f, sha256=None), "files.fp32 must have a sha256"),
        (lambda f: edit(f, input=INPUT | {"width": 97}), "do not fit together"),
        (lambda f: edit(f, input=INPUT | {"width": True}), "input.width must be a whole number"),
        (lambda f: edit(f, input=INPUT | {"width": 96.0}), "input.width must be a whole number"),
        (lambda f: edit(f, input=INPUT | {"height": 8 * 10**12}), "input.height must be a whole number"),
        (lambda f: edit(f, input=INPUT | {"width": 8192, "height": 8192}), "more than 8388608"),
        (lambda f: edit(f, input=INPUT | {"color": "cmyk"}), "input.color must be one of: gray, rgb"),
        (lambda f: edit(f, input=INPUT | {"color": ["gray"]}), "input.color must be one of"),
        (lambda f: edit(f, input=INPUT | {"mean": [0.5, 0.5]}), "input.mean must be 1 numbers"),
        (lambda f: edit(f, input=INPUT | {"std": [0]}), "input.std must be 1 numbers"),
        (lambda f: edit(f, input=INPUT | {"std": [True]}), "input.std must be 1 numbers"),
        (lambda f: edit(f, input=INPUT | {"std": "1"}), "input.std must be 1 numbers"),
        (lambda f: edit(f, head={}), "head.strides must be whole numbers"),
        (lambda f: edit(f, head={"strides": [0]}), "head.strides must be whole numbers"),
        (lambda f: edit(f, head={"strides": "8"}), "head.strides must be whole numbers"),
        (lambda f: edit(f, thresholds={"score": 0.3}), "thresholds.nms_iou must be a number"),
        (
            lambda f: edit(f, thresholds={"score": 0.3, "weak_score": "low", "nms_iou": 0.5}),
            "thresholds.weak_score must",
        ),
        (lambda f: edit(f, thresholds=[0.3, 0.5, 10]), "thresholds must be an object"),
        (
            lambda f: edit(f, thresholds={"score": 0.3, "nms_iou": 0.5, "max_detections": 10**18}),
            "max_detections must be a whole number from 1 to 100000",
        ),
        (lambda f: edit(f, fp32_layers=[1]), "fp32_layers must be names"),
        (lambda f: edit(f, metrics={}), "metrics must be a list"),
        (lambda f: (f / "model.onnx").unlink(), "lacks model.onnx"),
        (lambda f: (f / "model.onnx").write_bytes((f / "model.onnx").read_bytes()[:-1]), "sha256 differs"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(folder, change, says):
    change(folder)
    with pytest.raises(BundleError, match=says) as e:
        open_bundle(folder)
    assert "\n" not in str(e.value) and str(folder) in str(e.value) and len(str(e.value)) < 500


@pytest.mark.parametrize("name", ["bundle.json", "model.onnx"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda p: p.symlink_to("/dev/zero"), lambda p: p.symlink_to(p)])
def test_what_is_no_regular_file_neither_hangs_nor_is_read(folder, name, make):
    (folder / name).unlink()
    make(folder / name)
    with pytest.raises(BundleError):
        open_bundle(folder)


@pytest.mark.parametrize("path", ["", "\0", "a\0b", "nowhere", "x" * 5000, "bundle.json"])
def test_a_folder_that_is_none(path, folder):
    with pytest.raises(BundleError, match=r"bundle.json"):
        open_bundle(folder / path if path == "bundle.json" else path)


@pytest.mark.parametrize("name", ["", "  ", "a\0b"])
def test_a_model_must_be_named(name):
    with pytest.raises(BundleError, match="no model is named"):
        find_bundle(name)


def test_a_file_altered_after_the_check_is_not_used(folder):
    bundle = open_bundle(folder)
    assert bundle.read("fp32") == (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match="sha256 differs"):
        bundle.read("fp32")


@pytest.mark.parametrize("place", ["/etc/passwd", "../../../../etc/passwd", "weights.bin"])
def test_a_model_with_data_in_other_files_is_refused(folder, place):
    model = onnx.load(folder / "model.onnx")
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    tensor.ClearField("raw_data")
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    listed(folder, sha256=sha256_of(folder / "model.onnx"))
    with pytest.raises(BundleError, match="refers to data in other files"):
        open_bundle(folder)


def damaged_golden(folder, **arrays):
    """golden.npz with other arrays, listed as it is."""
    np.savez(folder / "golden.npz", **(dict(np.load(folder / "golden.npz")) | arrays))
    listed(folder, "golden", sha256=sha256_of(folder / "golden.npz"))


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": np.array([{"a": 1}], object)},
        {"images": np.zeros((0, 1, 64, 96), np.float32)},
        {"images": np.zeros((1, 1, 64, 96), "U1")},
        {"logits": np.zeros((1, 96, 3), np.float32)},
        {"boxes": np.float32(1)},
    ],
)
def test_golden_data_that_is_something_else_is_refused(folder, arrays):
    damaged_golden(folder, **arrays)
    with pytest.raises(BundleError, match="golden.npz of bundle .* cannot be used"):
        read_golden(open_bundle(folder))


@pytest.mark.parametrize("data", [b"", b"PK\3\4 junk", b"\x80\x04N."])
def test_golden_data_that_is_no_archive_is_refused(folder, data):
    (folder / "golden.npz").write_bytes(data)
    listed(folder, "golden", sha256=sha256_of(folder / "golden.npz"))
    with pytest.raises(BundleError, match="cannot be used"):
        read_golden(open_bundle(folder))


def test_a_golden_archive_that_would_fill_the_memory_is_refused(folder):
    with zipfile.ZipFile(folder / "golden.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", b"\0" * 1000)
        archive.infolist()[0].file_size = 1 << 40
    listed(folder, "golden", sha256=sha256_of(folder / "golden.npz"))
    with pytest.raises(BundleError, match="when unpacked, more than"):
        read_golden(open_bundle(folder))


def test_missing_key_is_named(folder):
    manifest = json.loads((folder / "bundle.json").read_text())
    del manifest["head"]
    (folder / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="lacks head"):
        open_bundle(folder)


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/hostname", "sub/model.onnx", "..", ".", "", "..\\secret", "C:secret", "a\0b", "~/x", "\ud800"],
)
def test_no_path_leaves_the_bundle(folder, name):
    (folder.parent / "secret").write_text("x")
    edit(folder, files={"fp32": {"path": name, "sha256": "0" * 64}})
    with pytest.raises(BundleError, match="outside its folder"):
        open_bundle(folder)


def test_a_bundle_of_links_as_colcon_installs_it_opens_where_the_files_lie(folder, tmp_path):
    installed = tmp_path / "installed"
    installed.mkdir()
    for path in folder.iterdir():
        (installed / path.name).symlink_to(path)
    assert open_bundle(installed).path == str(folder)


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


def test_a_model_that_is_no_detector_is_refused(folder):
    model = onnx.load(folder / "model.onnx")
    for node in model.graph.node:
        node.output[:] = ["scores" if name == "logits" else name for name in node.output]
    next(o for o in model.graph.output if o.name == "logits").name = "scores"
    onnx.save(model, folder / "model.onnx")
    listed(folder, sha256=sha256_of(folder / "model.onnx"))
    with pytest.raises(GoldenError, match="the model gives boxes, scores, not logits and boxes"):
        open_engine(open_bundle(folder), backend="onnxruntime")


def test_a_model_without_an_input_is_an_engine_error():
    from onnx import TensorProto, helper

    node = helper.make_node("Constant", [], ["y"], value=helper.make_tensor("y", TensorProto.FLOAT, [1], [1.0]))
    graph = helper.make_graph([node], "none", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 7
    with pytest.raises(EngineError, match="the model takes no input"):
        OnnxRuntimeEngine(model.SerializeToString())


def test_a_broken_onnx_file_is_an_engine_error(folder):
    (folder / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(EngineError, match="cannot run"):
        OnnxRuntimeEngine(str(folder / "junk.onnx"))
