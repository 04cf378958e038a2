"""For tests of TensorRT engines: a bundle with every file that a TensorRT wants, and the stand-in of a version."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from bundles import write_bundle
from tensorrt_surfaces import STANDIN, standin_environment

from offline.compression.quantize import quantise_tensorrt
from offline.compression.quantize_fp16 import activation_ranges, convert_fp16, keeps_fp32
from offline.export.onnx_export import file_entry
from tools.ros_environment import ROOT

NANO, ORIN = "NVIDIA Tegra X1,5.3,integrated", "Orin,8.7,integrated"


def write_full_bundle(folder: Path) -> Path:
    """A tiny ViT detector with the fp16 and the int8_trt file and the names of the layers that stay fp32."""
    import numpy as np

    write_bundle(folder)
    master, manifest = folder / "model.onnx", json.loads((folder / "bundle.json").read_text())
    images = [x[None].astype(np.float32) for x in np.load(folder / "golden.npz")["images"]]
    convert_fp16(master, folder / "model.fp16.onnx", activation_ranges(master, images))
    quantise_tensorrt(master, folder / "model.int8_trt.onnx", images)
    manifest["files"]["fp16"] = file_entry(folder / "model.fp16.onnx", "fp16", "TensorRT 11")
    manifest["files"]["int8_trt"] = file_entry(folder / "model.int8_trt.onnx", "int8", "TensorRT")
    manifest["fp32_layers"] = [n.name for n in onnx.load(str(master)).graph.node if keeps_fp32(n)]
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


class Standin:
    """The stand-in TensorRT of one version, in this process and in those it starts, until `leave`."""

    def __init__(self, monkeypatch, folder: Path):
        self._monkeypatch, self._folder, self._runs = monkeypatch, folder, 0
        self.cache = str(folder / "cache")
        self.environment: dict[str, str] = {}

    def use(self, version: str, gpu: str = NANO, fault: str = "", cuda_fault: str = "", log: str = "") -> None:
        """From now on `import tensorrt` and the CUDA runtime are new ones, with these faults."""
        self.leave()
        self._runs += 1
        library = self._folder / f"cuda{self._runs}" / "libcudart.so"  # a copy has counters of its own
        library.parent.mkdir()
        try:
            self.environment = standin_environment(version, gpu, fault, cuda_fault, log)
        except FileNotFoundError as e:
            pytest.skip(str(e))
        shutil.copy(self.environment["VIT_PERCEPTION_CUDART"], library)
        self.environment["VIT_PERCEPTION_CUDART"] = str(library)
        for name in ("STANDIN_GPU", "STANDIN_FAULT", "STANDIN_CUDA_FAULT", "STANDIN_TENSORRT_LOG"):
            self._monkeypatch.delenv(name, raising=False)
        for name, value in self.environment.items():
            self._monkeypatch.setenv(name, value)
        sys.path.insert(0, str(STANDIN))

    def leave(self) -> None:
        for name in [n for n in sys.modules if n.partition(".")[0] == "tensorrt"]:
            del sys.modules[name]
        if str(STANDIN) in sys.path:
            sys.path.remove(str(STANDIN))

    def kept(self) -> list[str]:
        """Kinds of the files in the cache, locks aside: ['engine', 'json', 'cache'] ('cache' is the timing cache)."""
        names = os.listdir(self.cache) if os.path.isdir(self.cache) else []
        return sorted(name.rpartition(".")[2] for name in names if not name.endswith(".lock"))

    def command(self, bundle, *arguments: str) -> list[str]:
        command = [sys.executable, "-m", "vit_perception.build_engine", "--model", str(bundle), "--cache", self.cache]
        return [*command, *arguments]

    def build(self, bundle, *arguments: str) -> subprocess.CompletedProcess:
        """Run the command `build_engine` to its end."""
        command = self.command(bundle, *arguments)
        return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=120)
