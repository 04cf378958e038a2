"""torch2trt: the file that its TRTModule loads, and the builder that goes through it. It is not installed here."""

import errno
import io
import os
import re
import subprocess
import sys
import types

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from offline.export.contract import OPSET, TENSORRT_8_2, operators
from offline.export.torch2trt_builder import build
from tools.ros_environment import ROOT
from vit_perception.bundles.bundle import open_bundle
from vit_perception.engines.torch2trt import write_module
from vit_perception.errors import EngineError

NAMES = (["images"], ["logits", "boxes"])


def test_module_holds_what_trt_module_reads(tmp_path):
    path = tmp_path / "model.pth"
    data = bytes(range(256)) * 3  # every byte value: none may be changed on the way through pickle
    write_module(data, *NAMES, path)
    state = torch.load(path, weights_only=True)  # the default since torch 2.6
    assert state == {"engine": bytearray(data), "input_names": ["images"], "output_names": ["logits", "boxes"]}
    assert isinstance(state["engine"], bytearray)
    assert os.listdir(tmp_path) == ["model.pth"]


class TRTModuleLike(torch.nn.Module):
    """Loads its state as torch2trt's TRTModule does: everything by name, through a child's prefix too."""

    def _load_from_state_dict(self, state_dict, prefix, *_):
        self.loaded = [state_dict[prefix + name] for name in ("engine", "input_names", "output_names")]
        self.flattened = "input_flattener" in state_dict


def test_module_loads_through_load_state_dict(tmp_path):
    write_module(b"engine", *NAMES, tmp_path / "model.pth")
    module = TRTModuleLike()
    module.load_state_dict(torch.load(tmp_path / "model.pth"))
    assert module.loaded == [bytearray(b"engine"), *NAMES]
    assert not module.flattened


def test_no_torch_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineError, match="PyTorch"):
        write_module(b"engine", *NAMES, tmp_path / "model.pth")
    assert not os.listdir(tmp_path)


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.pth"
    path.write_bytes(b"old")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EngineError, match=r"cannot write .*model\.pth: No space left"):
        write_module(b"engine", *NAMES, path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.pth"]


@pytest.fixture
def torch2trt_standin(monkeypatch):
    """Stand-in for torch2trt, which wants a GPU: exports as it does; the "engine" is the ONNX file, or None."""
    seen = types.SimpleNamespace(options=None, built=True)

    class Engine:
        def __init__(self, data):
            self.serialize = lambda: memoryview(data)  # as IHostMemory: a buffer

    def torch2trt(module, inputs, input_names, output_names, onnx_opset, use_onnx, **options):
        seen.options = options
        module(*inputs)
        f = io.BytesIO()
        axes = {"dynamic_axes": {"images": {}}, "opset_version": onnx_opset}
        torch.onnx.export(module, tuple(inputs), f, input_names=input_names, output_names=output_names, **axes)
        return types.SimpleNamespace(engine=Engine(f.getvalue()) if seen.built else None)

    fake = types.ModuleType("torch2trt")
    fake.torch2trt = torch2trt
    monkeypatch.setitem(sys.modules, "torch2trt", fake)
    return seen


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the tracing exporter, which is wanted
def test_what_torch2trt_is_given_computes_the_golden_outputs(torch2trt_standin):
    bundle = open_bundle(ROOT / "models" / "uav_thermal_tiny")
    export = torch.onnx.export
    data = build(bundle, "fp16", 128, device="cpu")
    assert torch.onnx.export is export
    assert torch2trt_standin.options["fp16_mode"] is True
    assert torch2trt_standin.options["max_workspace_size"] == 128 << 20
    model = onnx.load_from_string(data)
    assert {o.version for o in model.opset_import if o.domain == ""} == {OPSET}
    assert not set(operators(model)) - TENSORRT_8_2
    assert [v.name for v in (*model.graph.input, *model.graph.output)] == ["images", "logits", "boxes"]
    golden = np.load(bundle.file("golden"))
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    logits, boxes = session.run(None, {"images": golden["images"][:1].astype(np.float32)})
    for given, name in ((logits, "logits"), (boxes, "boxes")):  # golden outputs are float16: half a step is 2^-11
        np.testing.assert_allclose(given, golden[name][:1].astype(np.float32), rtol=2**-11, atol=1e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_nothing_built_is_one_sentence(torch2trt_standin):
    torch2trt_standin.built = False
    with pytest.raises(EngineError, match="torch2trt built no engine"):
        build(open_bundle(ROOT / "models" / "uav_thermal_tiny"), "fp32", 64, device="cpu")


def run_builder(folder, **environment):
    command = [sys.executable, "-m", "offline.export.torch2trt_builder", "--model", "models/uav_thermal_tiny"]
    command += ["--out", str(folder / "x.engine")]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("modules", "sentence"),
    [
        ({"tensorrt": "raise ImportError('libnvinfer.so.8: cannot open')"}, "needs tensorrt, .*libnvinfer.so.8"),
        ({"tensorrt": "__version__ = '11.4.0'", "onnx_graphsurgeon": ""}, "does not work with TensorRT 11.4.0"),
        ({"tensorrt": "__version__ = '10.3.0'", "onnx_graphsurgeon": ""}, "no CUDA device"),
    ],
)
def test_what_is_missing_is_one_sentence(tmp_path, modules, sentence):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    for name, text in modules.items():
        (tmp_path / f"{name}.py").write_text(text)
    done = run_builder(tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert re.search(sentence, done.stderr)
    assert "--builder tensorrt" in done.stderr
    assert not (tmp_path / "x.engine").exists()
