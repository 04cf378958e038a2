"""The node on a (stand-in) TensorRT, over real DDS: it builds at its first launch, falls back or ends as asked, and a
CUDA error in flight silences it."""

import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
pytest.importorskip("torch", reason="torch is not installed (make setup)")

from flight import HEIGHT, WIDTH, running, start, white_blocks  # noqa: E402

BLACK = np.zeros((HEIGHT, WIDTH), np.uint8)


def parameters(bundle, standin, **others):
    return {"model": bundle, "engine_cache": standin.cache, "precision": "fp32"} | others


def test_it_builds_at_first_launch_says_so_and_then_flies(client, bundle, standin, tmp_path):
    standin.use("8.2", fault="build_slow=4")
    with running("node", tmp_path / "log", **parameters(bundle, standin)):
        assert client.wait(lambda: client.received["diagnostics"], 15)
        level, text, values = client.diagnostics(BLACK)
        assert level == 1 and text.startswith("building a TensorRT engine"), text
        assert values["backend"] == "" and values["backend_reason"] == text and values["state"] == "unconfigured"
        assert client.messages("detections") == [] and client.messages("obstacle_scan") == []
        client.connect()
        assert client.wait(lambda: client.answer(white_blocks((2, 1)), (5, 0)) is not None, 20)
        values = client.diagnostics(BLACK)[2]
        assert values["backend"] == "tensorrt" and values["device"] == "NVIDIA Tegra X1 (TensorRT 8.2.1.8)"
        assert values["backend_reason"] == "auto: TensorRT passed its golden check"
        assert values["golden_check"].startswith("cosine 1.00000")
        kept = next(Path(standin.cache).glob("*.engine")).read_bytes()
        assert values["engine_sha256"] == hashlib.sha256(kept).hexdigest() and values["precision"] == "fp32"
    assert standin.kept() == ["cache", "engine", "json"]
    client.forget()
    with running("node", tmp_path / "again", **parameters(bundle, standin)):
        client.connect()
        assert client.wait(lambda: client.answer(white_blocks((2, 1)), (6, 0)) is not None, 20)
    assert "building" in (tmp_path / "log").read_text()
    assert "building" not in (tmp_path / "again").read_text(), "the engine comes from the cache"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_build_ends_node_and_build(client, bundle, standin, tmp_path, number):
    standin.use("8.2", fault="build_slow=100")
    process = start("node", tmp_path / "log", **parameters(bundle, standin))
    assert client.wait(lambda: os.path.isdir(standin.cache), 20)
    t0 = time.monotonic()
    process.send_signal(number)
    assert process.wait(10) == 0, (tmp_path / "log").read_text()
    assert time.monotonic() - t0 < 3
    assert subprocess.run(["pgrep", "-f", standin.cache]).returncode == 1, "no builder is left behind"
    assert standin.kept() == []


def test_auto_falls_back_and_says_why(client, bundle, standin, tmp_path):
    standin.use("8.2", fault="wrong_output=logits")
    with running("node", tmp_path / "log", **parameters(bundle, standin)):
        client.connect()
        assert client.wait(lambda: client.answer(white_blocks((2, 1)), (5, 0)) is not None, 20)
        values = client.diagnostics(BLACK)[2]
        assert values["backend"] == "onnxruntime"
        assert values["backend_reason"].startswith(
            "auto: TensorRT cannot be used: the build of the engine failed: golden"
        )
    assert "cannot be used" in (tmp_path / "log").read_text()


def test_tensorrt_by_name_never_falls_back(bundle, standin, tmp_path):
    standin.use("8.2", fault="parse_error")
    process = start("node", tmp_path / "log", **parameters(bundle, standin, backend="tensorrt"))
    assert process.wait(30) == 1
    last = (tmp_path / "log").read_text().strip().splitlines()[-1]
    assert last.startswith("vit_perception: the build of the engine failed: TensorRT 8.2.1.8 cannot read the ONNX file")


def test_a_lost_gpu_in_flight_silences_the_node_and_ends_it_to_be_started_anew(client, bundle, standin, tmp_path):
    standin.use("8.2", cuda_fault="cudaStreamSynchronize:40:719")
    process = start("node", tmp_path / "log", **parameters(bundle, standin))
    client.connect()
    client.calibrate()
    assert client.wait(lambda: client.answer(white_blocks((2, 1)), (5, 0)) is not None, 20)
    assert client.wait(lambda: client.fly(white_blocks((4, 2)), 0.2) or process.poll() is not None, 20)
    assert process.returncode == 1
    last = (tmp_path / "log").read_text().strip().splitlines()[-1]
    assert last.startswith("vit_perception: CUDA: cudaStreamSynchronize failed: unspecified launch failure (719)")
    assert "context is lost; restart the process" in last
    client.spin(0.3)  # until what was under way is here
    client.forget()
    client.fly(BLACK, 0.5)
    assert client.messages("obstacle_scan") == [] and client.messages("detections") == []
    standin.use("8.2")
    with running("node", tmp_path / "again", **parameters(bundle, standin)):  # as launch does, with the kept engine
        client.connect()
        assert client.wait(lambda: client.answer(white_blocks((2, 1)), (6, 0)) is not None, 20)
    assert "building" not in (tmp_path / "again").read_text()
