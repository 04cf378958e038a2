"""TensorRT engines of every API generation: built, kept, proven, run and closed on stand-ins that compute.

The stand-ins are test/standin; test_tensorrt_api.py holds them to the real API; test_tensorrt_faults.py breaks them.
"""

import ctypes
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (make setup)")

from engines import NANO, ORIN, write_full_bundle  # noqa: E402
from tensorrt_surfaces import VERSIONS  # noqa: E402

from offline.data import read_coco  # noqa: E402
from offline.evaluation.accuracy import EVALUATION_SCORE, evaluate  # noqa: E402
from tools.ros_environment import ROOT  # noqa: E402
from vit_perception.bundles.bundle import open_bundle  # noqa: E402
from vit_perception.detector import Detector  # noqa: E402
from vit_perception.engines import open_engine  # noqa: E402
from vit_perception.engines.tensorrt_open import Board  # noqa: E402
from vit_perception.errors import EngineError, GoldenError  # noqa: E402

OLD, NEW = "8.2", "10.3.0"  # the Nano's, and JetPack 6.2's


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_full_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def bundle(folder):
    return open_bundle(folder)


def images_of(bundle):
    return [x[None].astype(np.float32) for x in np.load(bundle.file("golden"))["images"]]


def plan_of(path):
    """What the stand-in wrote of how an engine was built."""
    data = Path(path).read_bytes()
    begin = data.index(b'{"')
    return json.JSONDecoder().raw_decode(data[begin : begin + 1_000_000].decode("latin1"))[0]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_generation_builds_proves_runs_and_closes(standin, bundle, version, precision):
    standin.use(version, gpu=ORIN)
    said: list[str] = []
    engine = open_engine(bundle, "tensorrt", precision, cache=standin.cache, progress=said.append)
    assert said[0] == "building a TensorRT engine: it was not built yet"
    assert (engine.name, engine.precision) == ("tensorrt", precision)
    assert engine.device.startswith(f"Orin (TensorRT {version}")
    assert "cosine" in engine.proof and engine.reason == "asked for by name"
    typed = int(version.split(".")[0]) >= 11
    variant = {"fp32": "fp32", "fp16": "fp16" if typed else "fp32", "int8": "int8_trt"}[precision]
    from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

    same = OnnxRuntimeEngine(bundle.file(variant), rounded=True)  # the stand-in's sums do not overflow either
    for image in images_of(bundle):
        given, wanted = engine.infer(image), same.infer(image)
        for name in wanted:
            np.testing.assert_allclose(given[name], wanted[name], atol=1e-5)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.infer(images_of(bundle)[0])
    said.clear()
    open_engine(bundle, "tensorrt", precision, cache=standin.cache, progress=said.append).close()
    assert said == [], "the second time it comes from the cache"


@pytest.mark.parametrize("version", [OLD, "8.6.1", NEW, "11.0.0.114"])
def test_layer_norms_and_gelus_stay_fp32_where_the_builder_chooses(standin, bundle, version):
    standin.use(version, gpu=ORIN)
    board = Board(bundle, "fp16", standin.cache)
    plan = plan_of(board.build(64)[0])
    typed = version.startswith("11")
    assert sorted(plan["pinned"]) == ([] if typed else sorted(bundle.fp32_layers))
    assert len(bundle.fp32_layers) > 20
    assert plan["workspace"] == 64 << 20
    # Without the pins the same network overflows in half arithmetic, and the golden check sees it.
    standin.use(version, gpu=ORIN, fault="half_overflow")
    Board(bundle, "fp16", standin.cache).build(64, force=True)
    bundle.fp32_layers = [n for n in bundle.fp32_layers if "/act/" in n]
    if not typed:
        with pytest.raises(GoldenError, match="golden check failed in fp16: .* not finite"):
            Board(bundle, "fp16", standin.cache).build(64)


@pytest.mark.parametrize("gpu", [NANO, "Discrete,8.6,discrete"])
def test_a_frame_allocates_nothing_and_close_frees_everything(standin, bundle, gpu):
    standin.use(NEW, gpu=gpu)
    engine = open_engine(bundle, "tensorrt", "fp32", cache=standin.cache)
    cuda = ctypes.CDLL(standin.environment["VIT_PERCEPTION_CUDART"])
    before, image = cuda.standin_allocation_calls(), images_of(bundle)[0]
    outputs = engine.infer(image)
    for _ in range(50):
        assert engine.infer(image) is outputs
    assert cuda.standin_allocation_calls() == before > 0
    assert cuda.standin_live_allocations() > 0
    kept = {name: value.copy() for name, value in outputs.items()}
    engine.close()
    assert cuda.standin_live_allocations() == 0
    for name, value in outputs.items():  # what a caller still holds stays readable
        np.testing.assert_array_equal(value, kept[name])


@pytest.mark.parametrize("function", ["cudaHostAlloc", "cudaMalloc", "cudaStreamCreate"])
def test_memory_that_runs_out_while_opening_is_given_back(standin, bundle, function):
    standin.use(NEW, gpu="Discrete,8.6,discrete")
    data = Path(Board(bundle, "fp32", standin.cache).build(64)[0]).read_bytes()
    standin.use(NEW, gpu="Discrete,8.6,discrete", cuda_fault=f"{function}:{1 if 'Stream' in function else 2}:2")
    board = Board(bundle, "fp32", standin.cache)
    with pytest.raises(EngineError, match=f"CUDA: {function} failed: out of memory .2.; free memory or add swap"):
        board.open(data)
    assert ctypes.CDLL(standin.environment["VIT_PERCEPTION_CUDART"]).standin_live_allocations() == 0


def test_map_equals_that_of_onnx_runtime(standin, tmp_path_factory):
    """On rendered flights, with the shipped model: the same detections, so the same figures."""
    data = tmp_path_factory.mktemp("flights")
    command = [sys.executable, "-m", "offline.render", "--out", str(data), "--size", "640x512", "--train", "1"]
    subprocess.run([*command, "--val", "12"], cwd=ROOT, check=True, capture_output=True)
    samples = read_coco(data, "val.json", ("DontCare",), None)
    bundle = open_bundle(ROOT / "models" / "uav_thermal_tiny")
    figures = []
    for backend, version in (("onnxruntime", OLD), ("tensorrt", OLD), ("tensorrt", NEW)):
        standin.use(version)
        engine = open_engine(bundle, backend, "fp32", cache=standin.cache)
        labels = bundle.labels
        figures.append(evaluate(Detector(bundle, engine, EVALUATION_SCORE), labels, bundle.input["color"], samples))
        engine.close()
    assert figures[0] == figures[1] == figures[2] and figures[0]["map50"] > 0
