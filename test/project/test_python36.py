"""Onboard code in a real Python 3.6 with the libraries of a board, as JetPack 4.6 has them.

Two environments, made once below .venv/python36: "system" has the NumPy and OpenCV of JetPack's own packages;
"container" has a newer NumPy, because ONNX Runtime 1.10, the last for Python 3.6, takes no other. The interpreter is
$VIT_PERCEPTION_PYTHON36, else python3.6 on the path, else pyenv's.
"""

import fcntl
import functools
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import python36_check
import tensorrt_surfaces

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".venv" / "python36"
COMMON = ["opencv-python-headless==4.1.1.26", "PyYAML==5.4.1"]
PACKAGES = {
    "system": ["numpy==1.13.3", *COMMON],
    "container": ["numpy==1.19.5", *COMMON, "onnxruntime==1.10.0", "protobuf==3.19.6", "flatbuffers==25.12.19"],
}
# May need ROS; all others must be imported.
ROS_MODULES = {
    "guard", "mavlink", "node", "player", "replay.exchange", "replay.ros", "ros.debug_image", "ros.dump", "ros.ego",
    "ros.finds", "ros.flight_messages", "ros.flight_stack.armed", "ros.flight_stack.guard",
    "ros.flight_stack.mavlink", "ros.flight_stack.px4_blocked", "ros.frames", "ros.inputs", "ros.lifecycle",
    "ros.messages", "ros.node", "ros.node_parameters", "ros.process", "ros.publishers", "ros.qos", "ros.segmentation",
    "ros.service", "ros.tapes", "ros.topics",
}  # fmt: skip


@functools.cache
def interpreter() -> str:
    """A Python 3.6 that runs. A pyenv shim may be on the path and refuse to."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [os.environ.get("VIT_PERCEPTION_PYTHON36", ""), shutil.which("python3.6") or ""]
    candidates += [str(p) for p in sorted(pyenv.glob("versions/3.6*/bin/python"))]
    for candidate in filter(None, candidates):
        try:
            said = subprocess.run([candidate, "--version"], capture_output=True, text=True, timeout=60).stdout
        except OSError:
            continue
        if said.startswith("Python 3.6."):
            return candidate
    pytest.skip("there is no Python 3.6 here; install one, or name it in VIT_PERCEPTION_PYTHON36")


@functools.cache
def environment(name: str) -> str:
    """The Python of an environment, made if need be."""
    folder, wanted = FOLDER / name, "\n".join(PACKAGES[name])
    done, python = folder / "packages", folder / "bin" / "python"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / f"{name}.lock", "w") as lock:  # two test runs at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (done.exists() and done.read_text() == wanted and python.exists()):
            shutil.rmtree(folder, ignore_errors=True)
            pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
            for command in (
                [interpreter(), "-m", "venv", str(folder)],
                [*pip, "pip==21.3.1"],  # the last for Python 3.6, the first that knows these wheels
                [*pip, "--only-binary=:all:", *PACKAGES[name]],
            ):
                run = subprocess.run(command, capture_output=True, text=True, timeout=600)
                if run.returncode:
                    why = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
                    pytest.skip(f"the Python 3.6 environment '{name}' cannot be made: {why}")
            done.write_text(wanted)
    return str(python)


def run(name: str, script: str, *arguments: str, **variables: str) -> str:
    """Standard output of a script in an environment; it must end well."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")}
    command = [environment(name), str(ROOT / "test" / "helpers" / script), *arguments]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env=clean | {"OMP_NUM_THREADS": "1"} | variables
    )
    assert not ended.returncode, ended.stderr
    return ended.stdout


def check(name: str, part: str, **variables: str) -> dict:
    found = json.loads(run(name, "python36_check.py", part, **variables))
    assert found["python"].startswith("3.6.") and f"numpy=={found['numpy']}" in PACKAGES[name]
    return found[part]


def assert_same_flight(found: dict, expected: dict) -> None:
    """Old and new libraries give the same tracks and alerts, and boxes that agree within a tenth of a pixel."""
    for order, old in found.items():
        new = expected[order]
        assert len(old["tracks"]) >= 2 and len(old["boxes"]) >= 4, "nothing flew past"
        np.testing.assert_allclose(old["boxes"], new["boxes"], atol=0.1)
        np.testing.assert_allclose(old["scores"], new["scores"], atol=1e-3)
        ranges = np.array(old["ranges"], float)  # a range that is not known: None, here NaN
        np.testing.assert_allclose(ranges, np.array(new["ranges"], float), rtol=1e-2)
        assert np.isfinite(ranges).any(), "nothing was ranged"
        assert all(old[key] == new[key] for key in ("classes", "tracks", "rays", "alert"))


@pytest.mark.parametrize("name", PACKAGES)
def test_every_onboard_module_compiles_and_is_imported_unless_it_needs_ros(name):
    found = check(name, "imports")
    compiled_only = {m for m, how in found.items() if how != "imported"}
    assert {m for m in compiled_only if not m.startswith("launch.")} <= {f"vit_perception.{m}" for m in ROS_MODULES}
    assert len(found) - len(compiled_only) > 15


@pytest.mark.parametrize("name", PACKAGES)
def test_frames_become_tracks_and_alerts_as_with_new_libraries(name):
    assert_same_flight(check(name, "pipeline"), python36_check.pipeline())


@pytest.mark.parametrize("name", PACKAGES)
def test_a_wall_is_told_by_motion_as_with_new_libraries(name):
    old, new = check(name, "motion"), python36_check.motion()
    assert len(old) >= 5
    np.testing.assert_allclose(old, new, rtol=0.02)


def test_the_bundle_runs_on_the_last_onnx_runtime_for_python36():
    found, new = check("container", "onnxruntime"), python36_check.onnxruntime()
    assert found["version"] == "1.10.0" != new["version"]
    assert "cosine" in found["fp32"] and "cosine" in found["int8"]
    assert_same_flight(found["frames"], new["frames"])


def test_an_engine_is_built_proven_and_flown_on_tensorrt_8_2():
    found = check("container", "tensorrt", **tensorrt_surfaces.standin_environment("8.2"))
    assert found["version"].startswith("8.2.") and found["engine"][:2] == ["tensorrt", "fp16"]
    assert "cosine" in found["proof"]
    assert found["built"] == [True, False]  # the second start takes the engine out of the cache
    assert_same_flight(found["frames"], python36_check.onnxruntime()["frames"])


def test_the_table_of_old_libraries_is_what_these_have():
    committed = (ROOT / "test" / "helpers" / "old_libraries.json").read_text()
    assert json.loads(run("system", "old_libraries.py")) == json.loads(committed)
