"""TensorRT engines of bundles that segment, of every API generation, on stand-ins that compute."""

import ctypes

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (make setup)")

from engines import NANO  # noqa: E402
from segment_bundle import LABELS, make_segment_bundle, picture  # noqa: E402
from tensorrt_surfaces import VERSIONS  # noqa: E402

from tools.ros_environment import ROOT  # noqa: E402
from vit_perception.bundles.bundle import open_bundle  # noqa: E402
from vit_perception.engines import open_engine  # noqa: E402
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine  # noqa: E402
from vit_perception.errors import EngineError  # noqa: E402
from vit_perception.segmentation.segmenter import Segmenter  # noqa: E402

CELLS = np.random.default_rng(4).integers(0, len(LABELS), (6, 8))


@pytest.mark.parametrize("task", ["segment", "both"])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_generation_builds_proves_and_gives_the_same_masks(standin, tmp_path, version, task):
    bundle = open_bundle(make_segment_bundle(tmp_path / task, task))
    standin.use(version)
    precision = "fp32" if version.startswith("11") else "fp16"
    engine = open_engine(bundle, "tensorrt", precision, cache=standin.cache)
    assert "of the pixels get the same class" in engine.proof
    np.testing.assert_array_equal(Segmenter(bundle, engine).segment(picture(CELLS), "mono"), CELLS)
    batch = np.random.default_rng(0).normal(0, 0.3, engine.input_shape).astype(np.float32)
    wanted = OnnxRuntimeEngine(bundle.file("fp32")).infer(batch)
    for name, values in engine.infer(batch).items():
        np.testing.assert_allclose(values, wanted[name], atol=0.02)
    engine.close()


@pytest.mark.parametrize("gpu", [NANO, "Discrete,8.6,discrete"])
def test_an_output_that_is_left_for_later_is_copied_when_it_is_read(standin, tmp_path, gpu):
    bundle = open_bundle(make_segment_bundle(tmp_path / "both", "both"))
    standin.use("8.2", gpu=gpu)
    engine = open_engine(bundle, "tensorrt", "fp32", cache=standin.cache)
    first, second = (np.random.default_rng(i).normal(0, 0.3, engine.input_shape).astype(np.float32) for i in (1, 2))
    before = {name: values.copy() for name, values in engine.infer(first).items()}
    after = {name: values.copy() for name, values in engine.infer(second).items()}
    engine.infer(first)
    cuda = ctypes.CDLL(standin.environment["VIT_PERCEPTION_CUDART"])
    allocations = cuda.standin_allocation_calls()
    rest = engine.infer(second, later=("classes",))
    assert set(rest) == {"logits", "boxes"}
    np.testing.assert_array_equal(rest["logits"], after["logits"])
    np.testing.assert_array_equal(engine._outputs["classes"], before["classes"], "not copied yet")
    np.testing.assert_array_equal(engine.read("classes"), after["classes"])
    assert cuda.standin_allocation_calls() == allocations
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.read("classes")


@pytest.mark.parametrize(("task", "names"), [("segment", ["classes"]), ("both", ["logits", "boxes", "classes"])])
def test_the_file_for_torch2trt_names_the_outputs_of_the_task(standin, tmp_path, task, names):
    import torch

    standin.use("8.2")
    path = tmp_path / "model.pth"
    done = standin.build(make_segment_bundle(tmp_path / task, task), "--precision", "fp32", "--torch2trt", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert torch.load(path, weights_only=True)["output_names"] == names


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_the_shipped_bundle_proves_itself_on_a_nano(standin, precision):
    bundle = open_bundle(ROOT / "models" / "rendered_segmentation")
    standin.use("8.2", gpu=NANO)
    engine = open_engine(bundle, "tensorrt", precision, cache=standin.cache)
    assert float(engine.proof.split("%")[0].rsplit(" ", 1)[-1]) > 99.9
    image = np.random.default_rng(3).integers(0, 256, (256, 320, 3), dtype=np.uint8)
    said = Segmenter(bundle, engine).segment(image, "rgb")
    wanted = Segmenter(bundle, OnnxRuntimeEngine(bundle.file("fp32"))).segment(image, "rgb")
    assert said.shape == (64, 80) and (said == wanted).mean() > 0.999
    engine.close()
