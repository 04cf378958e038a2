"""What goes wrong with TensorRT engines, on the stand-in: clear words each time, and no half-written cache."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed (make setup)")

from engines import NANO, ORIN, write_full_bundle  # noqa: E402
from tensorrt_surfaces import BINDINGS  # noqa: E402

from tools.ros_environment import ROOT  # noqa: E402
from vit_perception.bundles.bundle import open_bundle  # noqa: E402
from vit_perception.engines import open_engine, tensorrt_build
from vit_perception.engines.tensorrt_open import Board  # noqa: E402
from vit_perception.errors import EngineError  # noqa: E402

OLD, NEW = "8.2", "10.3.0"  # the Nano's, and JetPack 6.2's


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_full_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def bundle(folder):
    return open_bundle(folder)


# What goes wrong while building


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("parse_error", r"TensorRT 8.2.1.8 cannot read the ONNX file: node \d+: .+"),
        ("build_none", "TensorRT 8.2.1.8 could not build the engine: .*memory.*; if it is memory, add swap or"),
        ("context_none", "TensorRT cannot make an execution context: "),
        ("deserialize_none", "TensorRT 8.2.1.8 refuses the engine: "),
        ("execute_false", "TensorRT could not start the inference"),
    ],
)
def test_a_build_that_fails_says_why_and_keeps_nothing(standin, bundle, folder, fault, words):
    standin.use(OLD, fault=fault)
    with pytest.raises(EngineError, match=words):
        Board(bundle, "fp32", standin.cache).build(64)
    assert set(standin.kept()) <= {"cache"}  # measured kernels may be kept
    result = standin.build(folder, "--precision", "fp32")
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1 and result.stderr.startswith("build_engine: ")
    with pytest.raises(EngineError, match="the build of the engine failed: " + words):
        open_engine(bundle, "tensorrt", "fp32", cache=standin.cache)
    engine = open_engine(bundle, "auto", "fp32", cache=standin.cache)
    assert engine.name == "onnxruntime" and engine.reason.startswith("auto: TensorRT cannot be used: the build of")
    standin.use(OLD)
    assert Board(bundle, "fp32", standin.cache).build(64)[1].startswith("cosine")
    assert set(standin.kept()) == {"cache", "engine", "json"}


def test_an_engine_that_computes_something_else_is_refused_and_remembered(standin, bundle, folder):
    standin.use(OLD, fault="wrong_output=boxes")
    with pytest.raises(EngineError, match="golden check failed in fp32: .*boxes overlap less than 0.98"):
        open_engine(bundle, "tensorrt", "fp32", cache=standin.cache)
    assert standin.kept() == ["cache", "json"]
    standin.use(OLD, fault="build_slow=100")  # a second build would be seen
    with pytest.raises(EngineError, match="was refused: golden check failed .* but with build_engine --force"):
        open_engine(bundle, "tensorrt", "fp32", cache=standin.cache)
    assert open_engine(bundle, "auto", "fp32", cache=standin.cache).name == "onnxruntime"
    standin.use(OLD)
    result = standin.build(folder, "--precision", "fp32")
    assert result.returncode == 1 and "was refused" in result.stderr
    result = standin.build(folder, "--precision", "fp32", "--force")
    assert result.returncode == 0, result.stderr
    assert "golden check passed: cosine 1.00000" in result.stdout
    standin.use(OLD, fault="nan_output=logits")  # proven once is not proven for ever
    with pytest.raises(EngineError, match="golden check failed in fp32: logits holds values that are not finite"):
        open_engine(bundle, "tensorrt", "fp32", cache=standin.cache)
    result = standin.build(folder, "--precision", "fp32", "--force")
    assert result.returncode == 1
    assert "engine" in standin.kept(), "the engine that was proven before is not lost"


def test_a_full_disk_leaves_no_half_engine(standin, bundle, folder):
    standin.use(OLD)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))

    command = standin.command(folder, "--precision", "fp32")
    result = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, preexec_fn=small)
    assert result.returncode == 1
    assert result.stderr.startswith("build_engine: cannot write ") and "free some space" in result.stderr
    assert set(standin.kept()) <= {"cache"}
    assert standin.build(folder, "--precision", "fp32").returncode == 0


def test_a_build_that_is_killed_leaves_nothing_and_can_be_repeated(standin, bundle, folder):
    standin.use(OLD, fault="build_slow=100")
    process = subprocess.Popen(standin.command(folder, "--precision", "fp32"), cwd=ROOT, env=os.environ)
    assert _wait(lambda: any(name.endswith(".lock") for name in _names(standin.cache)))
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert standin.kept() == []
    standin.use(OLD)
    assert standin.build(folder, "--precision", "fp32").returncode == 0


def test_a_build_that_the_kernel_kills_is_told_from_one_that_fails(standin, bundle):
    standin.use(OLD, fault="build_slow=100")

    def kill_the_builder(text):
        if "building a TensorRT engine, " in text:
            subprocess.run(["pkill", "-KILL", "-f", standin.cache], check=True)

    from vit_perception.engines import tensorrt_open

    tensorrt_open.REPORT_EVERY_S, before = 0.5, tensorrt_open.REPORT_EVERY_S
    try:
        with pytest.raises(EngineError, match="was killed, most likely by the kernel for lack of memory; add swap"):
            open_engine(bundle, "tensorrt", "fp32", cache=standin.cache, progress=kill_the_builder)
    finally:
        tensorrt_open.REPORT_EVERY_S = before


def test_two_that_want_the_same_engine_build_it_once(standin, folder):
    standin.use(OLD, fault="build_slow=3")
    command = standin.command(folder, "--precision", "fp32")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, cwd=ROOT, env=os.environ, **pipes) for _ in range(2)]
    t0 = time.monotonic()
    said = [p.communicate(timeout=60) for p in both]
    assert [p.returncode for p in both] == [0, 0], said
    assert sum("another process is building this engine; waiting for it" in out for out, _ in said) == 1
    assert time.monotonic() - t0 < 6, "one build, not two"


def test_a_small_board_without_memory_is_told_before_it_builds(standin, bundle, monkeypatch, tmp_path):
    standin.use(OLD)
    meminfo = tmp_path / "meminfo"
    monkeypatch.setattr(tensorrt_build, "MEMINFO", str(meminfo))
    nano = "MemTotal: 4059392 kB\nMemAvailable: 1024000 kB\nSwapFree: {} kB\n"
    meminfo.write_text(nano.format(0))
    board = Board(bundle, "fp32", standin.cache)
    with pytest.raises(EngineError, match="needs about 1256 MB of free memory and swap, and there are 1000 MB; add a"):
        board.build(256)
    board.build(256, ignore_memory=True)
    meminfo.write_text(nano.format(4 << 20))
    board.build(256, force=True)
    meminfo.write_text(nano.format(0).replace("4059392", "16000000"))  # a large machine needs no such advice
    board.build(256, force=True)


def test_a_damaged_timing_cache_costs_time_only(standin, bundle):
    standin.use(OLD)
    Board(bundle, "fp32", standin.cache).build(64)
    standin.use(OLD, fault="timing_none")
    assert Board(bundle, "fp32", standin.cache).build(64, force=True)[1].startswith("cosine")


# What is in the cache is not what it should be


def test_a_truncated_or_altered_engine_is_built_again(standin, bundle):
    standin.use(OLD)
    path = Path(Board(bundle, "fp32", standin.cache).build(256)[0])
    for damage in (lambda data: data[:-100], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: b""):
        good = path.read_bytes()
        path.write_bytes(damage(good))
        said: list[str] = []
        open_engine(bundle, "tensorrt", "fp32", cache=standin.cache, progress=said.append).close()
        assert said[0].endswith(f"{path} is truncated or altered (its sha256 differs from its json)")
        assert path.read_bytes() == good
    path.with_suffix(".json").write_text("{")
    said.clear()
    open_engine(bundle, "tensorrt", "fp32", cache=standin.cache, progress=said.append).close()
    assert said == ["building a TensorRT engine: it was not built yet"]


@pytest.mark.parametrize(
    ("version", "gpu", "words"),
    [(OLD, ORIN, "gpu NVIDIA Tegra X1, not Orin"), (NEW, NANO, "tensorrt 8.2.1.8, not 10.3.0")],
)
def test_an_engine_of_another_board_or_version_is_not_loaded(standin, bundle, version, gpu, words):
    standin.use(OLD)
    foreign = Path(Board(bundle, "fp32", standin.cache).build(64)[0])
    standin.use(version, gpu=gpu)
    own = Path(Board(bundle, "fp32", standin.cache).build(64)[0])
    assert own != foreign, "the names differ, so one cache serves a disk that moves between boards"
    for suffix in (".engine", ".json"):  # somebody renames the files
        shutil.copy(foreign.with_suffix(suffix), own.with_suffix(suffix))
    said: list[str] = []
    open_engine(bundle, "tensorrt", "fp32", cache=standin.cache, progress=said.append).close()
    assert said[0] == f"building a TensorRT engine: {own} is for {words}"
    # and if even the json is made to fit, TensorRT itself refuses it
    board = Board(bundle, "fp32", standin.cache)
    board.cache.store(board.key, foreign.read_bytes(), "")
    with pytest.raises(EngineError, match="refuses the engine: .*(incompatible device|version tag does not match)"):
        open_engine(bundle, "tensorrt", "fp32", cache=standin.cache)


def test_a_bundle_that_changed_gets_an_engine_of_its_own(standin, folder, tmp_path):
    standin.use(OLD)
    changed = tmp_path / "changed"
    shutil.copytree(folder, changed)
    first = Board(open_bundle(changed), "fp16", standin.cache).build(64)[0]
    manifest = json.loads((changed / "bundle.json").read_text())
    manifest["fp32_layers"].pop()
    (changed / "bundle.json").write_text(json.dumps(manifest))
    board = Board(open_bundle(changed), "fp16", standin.cache)
    assert board.cache.load(board.key) == (None, "it was not built yet")
    assert board.build(64)[0] != first
    with open(changed / "model.onnx", "ab") as f:
        f.write(b"\0")
    result = standin.build(changed)
    assert result.returncode == 1 and "sha256 differs" in result.stderr


# What is missing on the machine


def test_precisions_that_the_gpu_or_the_bundle_lacks(standin, bundle):
    standin.use(OLD)
    with pytest.raises(EngineError, match="this GPU has no fast int8; choose another precision"):
        Board(bundle, "int8", standin.cache).build(64)
    del bundle.manifest["files"]["fp16"], bundle.manifest["files"]["int8_trt"]
    with pytest.raises(EngineError, match="no 'int8_trt' file, from which int8 would be built; make it with --target"):
        open_engine(bundle, "tensorrt", "int8", cache=standin.cache)
    assert Board(bundle, "auto", standin.cache).precision == "fp16"
    bundle.fp16_refused = "no fp16 variant: /head reaches 1e6"
    assert Board(bundle, "auto", standin.cache).precision == "fp32"
    with pytest.raises(EngineError, match="no fp16 variant: /head reaches 1e6"):
        Board(bundle, "fp16", standin.cache)
    bundle.fp16_refused = ""
    standin.use("11.0.0.114")
    assert Board(bundle, "auto", standin.cache).precision == "fp32"
    with pytest.raises(EngineError, match="no 'fp16' file, from which fp16 would be built"):
        Board(bundle, "fp16", standin.cache)


def test_no_gpu(standin, bundle):
    standin.use(OLD, cuda_fault="cudaGetDeviceCount:1:100")
    with pytest.raises(EngineError, match="cudaGetDeviceCount failed: no CUDA-capable device .*--runtime nvidia"):
        open_engine(bundle, "tensorrt", cache=standin.cache)
    engine = open_engine(bundle, "auto", cache=standin.cache)
    assert engine.name == "onnxruntime" and "no GPU is visible here" in engine.reason and "\n" not in engine.reason


def test_the_real_cuda_runtime_without_a_gpu(standin, bundle, monkeypatch):
    real = sorted(Path("/usr/local").glob("cuda*/lib64/libcudart.so"))
    if not real or os.path.exists("/dev/nvidiactl") or os.path.exists("/dev/nvhost-gpu"):
        pytest.skip("no CUDA runtime here, or a GPU: this test is for a runtime without one")
    standin.use(OLD)
    monkeypatch.setenv("VIT_PERCEPTION_CUDART", str(real[0]))
    with pytest.raises(EngineError, match="CUDA: cudaGetDeviceCount failed: .+ [(](35|100)[)]; "):
        open_engine(bundle, "tensorrt", cache=standin.cache)


def test_no_cuda_runtime(standin, bundle, monkeypatch):
    standin.use(OLD)
    monkeypatch.setenv("VIT_PERCEPTION_CUDART", "/no/such/libcudart.so")
    with pytest.raises(EngineError, match="no CUDA runtime: /no/such/libcudart.so: .*; install JetPack's CUDA, or set"):
        open_engine(bundle, "tensorrt", cache=standin.cache)


def test_no_tensorrt(bundle, tmp_path):
    with pytest.raises(EngineError, match="TensorRT is not installed for this Python; it is a part of JetPack"):
        open_engine(bundle, "tensorrt", cache=str(tmp_path))
    engine = open_engine(bundle, "auto", cache=str(tmp_path))
    assert engine.reason == (
        "auto: TensorRT cannot be used: TensorRT is not installed for this Python; it is a part of JetPack"
    )


def test_a_real_tensorrt_whose_libraries_are_missing(bundle, folder, tmp_path):
    real = BINDINGS / NEW / "tensorrt_bindings"
    if not real.is_dir():
        pytest.skip(f"the bindings of TensorRT {NEW} are not installed (make test)")
    (tmp_path / "tensorrt").symlink_to(real)
    command = [sys.executable, "-m", "vit_perception.build_engine", "--model", str(folder), "--cache", str(tmp_path)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert "TensorRT is installed but cannot be loaded: libnv" in result.stderr, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def _names(path):
    return os.listdir(path) if os.path.isdir(path) else []


def _wait(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()
