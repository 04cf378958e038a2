"""Bundles that segment: opened, proven, refused in one sentence; what a reader of earlier bundles makes of them."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed (make setup)")

from segment_bundle import COLORS, LABELS, make_segment_bundle  # noqa: E402

from vit_perception.bundles.bundle import open_bundle, sha256_of  # noqa: E402
from vit_perception.bundles.golden import _agreement, read_golden  # noqa: E402
from vit_perception.detector import Detector  # noqa: E402
from vit_perception.engines import open_engine  # noqa: E402
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine  # noqa: E402
from vit_perception.errors import BundleError, EngineError, GoldenError  # noqa: E402
from vit_perception.segmentation.segmenter import Segmenter  # noqa: E402

SPEC = {"labels": LABELS, "colors": COLORS, "stride": 8, "ignore": 255}


@pytest.fixture(params=["segment", "both"])
def task(request):
    return request.param


@pytest.fixture
def folder(tmp_path, task):
    return Path(make_segment_bundle(tmp_path / task, task))


def edit(folder, remove=(), **changes):
    path = folder / "bundle.json"
    manifest = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in manifest.items() if k not in remove}))


def test_it_opens_and_proves_itself(folder, task):
    bundle = open_bundle(folder)
    assert (bundle.task, bundle.version, bundle.segmentation) == (task, 2, SPEC)
    assert bundle.labels == ([] if task == "segment" else ["person", "car"])
    engine = open_engine(bundle, "onnxruntime")
    assert engine.proof.startswith("cosine 1.00000")
    assert engine.proof.endswith("100.00% of the pixels get the same class")
    assert ("boxes overlap" in engine.proof) == (task == "both")
    engine.close()


def test_an_output_that_is_left_for_later_is_the_same(folder, task):
    bundle = open_bundle(folder)
    engine = open_engine(bundle, "onnxruntime")
    batch = read_golden(bundle)["images"][:1].astype(np.float32)
    whole, rest = engine.infer(batch), engine.infer(batch, later=("classes",))
    assert set(rest) == set(whole) - {"classes"} and set(rest) == ({"logits", "boxes"} if task == "both" else set())
    np.testing.assert_array_equal(engine.read("classes"), whole["classes"])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format_version": 1}, "a bundle that segments must have format_version 2"),
        ({"task": "detect"}, "lacks head, thresholds|format_version 2 is for the tasks segment and both"),
        ({"segmentation": []}, "segmentation must be an object"),
        ({"segmentation": SPEC | {"labels": []}}, "segmentation.labels must be 1 to 255 names"),
        ({"segmentation": SPEC | {"labels": [str(i) for i in range(256)]}}, "segmentation.labels must be 1 to 255"),
        ({"segmentation": SPEC | {"labels": "ground"}}, "segmentation.labels must be a list"),
        ({"segmentation": SPEC | {"labels": ["a", "a", "b", "c"]}}, "segmentation.labels must differ"),
        ({"segmentation": SPEC | {"labels": LABELS[:3]}}, "segmentation.colors must be a colour"),
        ({"segmentation": SPEC | {"colors": [[0, 0, 256]] * 4}}, "segmentation.colors must be a colour"),
        ({"segmentation": SPEC | {"colors": [[0, 0]] * 4}}, "segmentation.colors must be a colour"),
        ({"segmentation": SPEC | {"stride": 2}}, "segmentation.stride must be one of: 4, 8"),
        ({"segmentation": SPEC | {"stride": 8.0}}, "segmentation.stride must be one of: 4, 8"),
        ({"segmentation": SPEC | {"ignore": 3}}, "segmentation.ignore must be a whole number up to 255 that is no"),
        ({"segmentation": {"labels": LABELS}}, "segmentation.colors must be"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(folder, changes, says):
    edit(folder, **changes)
    with pytest.raises(BundleError, match=says) as e:
        open_bundle(folder)
    assert "\n" not in str(e.value) and str(folder) in str(e.value) and len(str(e.value)) < 500


def test_parts_of_a_detector_in_a_bundle_that_only_segments_are_refused(tmp_path):
    for changes in ({"labels": ["person"]}, {"head": {"strides": [8]}}, {"thresholds": {}}):
        folder = Path(make_segment_bundle(tmp_path / "segment"))
        edit(folder, **changes)
        with pytest.raises(BundleError, match="task is segment, so labels must be empty, and there must be no head"):
            open_bundle(folder)


def test_a_part_that_is_missing_is_named(folder, task):
    edit(folder, remove=["segmentation"])
    with pytest.raises(BundleError, match="lacks segmentation"):
        open_bundle(folder)
    if task == "both":
        edit(folder, remove=["head"], segmentation=SPEC)
        with pytest.raises(BundleError, match="lacks head"):
            open_bundle(folder)


def test_golden_data_without_the_pixels_is_refused(folder):
    golden = dict(np.load(folder / "golden.npz"))
    del golden["classes"]
    np.savez(folder / "golden.npz", **golden)
    relist(folder, "golden", "golden.npz")
    with pytest.raises(BundleError, match="golden.npz of bundle .* cannot be used"):
        read_golden(open_bundle(folder))


@pytest.mark.parametrize("share", [0.0, 0.03])
def test_an_engine_that_sees_other_classes_is_refused(folder, share):
    """More than a thousandth of the pixels differ from what was evaluated."""
    golden = dict(np.load(folder / "golden.npz"))
    flat = golden["classes"].transpose(0, 2, 3, 1).reshape(-1, 4).copy()
    changed = np.random.default_rng(0).random(len(flat)) < share
    order = np.argsort(flat[changed], axis=1)  # the two best of a pixel change places, which the cosine hardly sees
    rows = np.flatnonzero(changed)[:, None]
    flat[rows, order[:, -2:]] = flat[rows, order[:, -2:][:, ::-1]]
    n, c, h, w = golden["classes"].shape
    golden["classes"] = flat.reshape(n, h, w, c).transpose(0, 3, 1, 2)
    np.savez(folder / "golden.npz", **golden)
    relist(folder, "golden", "golden.npz")
    if share:
        with pytest.raises(GoldenError, match="less than 99.9% of the pixels get the same class"):
            open_engine(open_bundle(folder), "onnxruntime")
    else:
        open_engine(open_bundle(folder), "onnxruntime").close()


def test_golden_outputs_in_float16_serve_too(folder):
    """Rounding makes ties: a pixel whose two best are as large but for it may get either."""
    golden = dict(np.load(folder / "golden.npz"))
    logits = golden["classes"].astype(np.float32)
    second = np.argsort(logits, axis=1)[:, -2:-1]
    best = logits.max(1, keepdims=True)
    np.put_along_axis(logits, second, best.astype(np.float16).astype(np.float32), 1)  # everywhere, the worst case
    np.savez(folder / "golden.npz", **golden | {"classes": logits.astype(np.float16)})
    relist(folder, "golden", "golden.npz")
    bundle = open_bundle(folder)
    found = OnnxRuntimeEngine(bundle.file("fp32")).infer(golden["images"][:1].astype(np.float32))["classes"][0]
    assert _agreement(found, read_golden(bundle)["classes"][0]) == 1.0
    assert _agreement(-found, read_golden(bundle)["classes"][0]) < 0.6


def test_golden_outputs_of_another_size_are_refused(folder):
    golden = dict(np.load(folder / "golden.npz"))
    golden["classes"] = golden["classes"][:, :, :4]
    np.savez(folder / "golden.npz", **golden)
    relist(folder, "golden", "golden.npz")
    with pytest.raises(GoldenError, match=r"classes is float32 \(4, 6, 8\), not floats of shape \(4, 4, 8\)"):
        open_engine(open_bundle(folder), "onnxruntime")


def test_a_model_with_other_classes_than_the_bundle_names_is_refused(folder):
    edit(folder, segmentation=SPEC | {"labels": LABELS[:3], "colors": COLORS[:3]})
    bundle = open_bundle(folder)
    engine = open_engine(bundle, "onnxruntime")
    segmenter = Segmenter(bundle, engine)
    with pytest.raises(
        EngineError, match=r"the model gives classes \(1, 4, 6, 8\) but bundle.json says \(1, 3, 6, 8\)"
    ):
        segmenter.segment(np.zeros((48, 64), np.uint8), "mono")


def test_a_detector_refuses_a_bundle_that_only_segments(tmp_path):
    bundle = open_bundle(make_segment_bundle(tmp_path / "segment"))
    with pytest.raises(BundleError, match="segments images and detects nothing; give one that detects"):
        Detector(bundle, open_engine(bundle, "onnxruntime"))


def relist(folder, key, name):
    """List a changed file as it is."""
    files = json.loads((folder / "bundle.json").read_text())["files"]
    edit(folder, files=files | {key: files[key] | {"sha256": sha256_of(folder / name)}})
