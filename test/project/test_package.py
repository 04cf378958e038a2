"""The ROS package: its manifests agree, it installs as `ros2 run` and launch expect, and parses on 3.6."""

import ast
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tools.ros_environment import ROOT

MANIFEST = ElementTree.parse(ROOT / "package.xml")
ONBOARD = [ROOT / "setup.py", *(ROOT / "vit_perception").rglob("*.py"), *(ROOT / "launch").rglob("*.py")]
ENTRY_POINTS = {
    "vit_perception": "vit_perception.node:main",
    "player": "vit_perception.player:main",
    "replay": "vit_perception.replay.__main__:main",
    "build_engine": "vit_perception.build_engine:main",
    "check_autopilot": "vit_perception.check_autopilot:main",
    "guard": "vit_perception.guard:main",
    "mavlink": "vit_perception.mavlink:main",
}


def setup_arguments():
    """The keyword arguments of setup(...) in setup.py, as far as they are literals."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    call = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setup"
    )
    arguments = {}
    for keyword in call.keywords:
        try:
            arguments[keyword.arg] = ast.literal_eval(keyword.value)
        except ValueError:
            continue
    return arguments


def test_manifest_and_setup_agree():
    arguments = setup_arguments()
    assert MANIFEST.getroot().get("format") == "3"
    assert MANIFEST.findtext("name") == "vit_perception"
    assert MANIFEST.findtext("version") == arguments["version"]
    assert MANIFEST.findtext("license") == arguments["license"] == "Apache-2.0"
    assert MANIFEST.findtext("export/build_type") == "ament_python"
    assert (ROOT / "resource" / "vit_perception").exists()


def test_manifest_lists_every_ros_package_that_is_imported():
    """An import that package.xml does not declare works here and fails after `rosdep install`."""
    ros = re.compile(r"^\s*(?:from|import) (rclpy|ament_index_python|launch|launch_ros|\w+_msgs)\b", re.MULTILINE)
    imported = {name for path in ONBOARD for name in ros.findall(path.read_text())}
    declared = {element.text for element in MANIFEST.iter("exec_depend")}
    assert imported - declared - {"px4_msgs", "mavros_msgs"} == set()  # optional, where PX4 or mavros is flown


def test_entry_points_are_importable():
    pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
    pytest.importorskip("vision_msgs", reason="vision_msgs is not installed (make setup)")
    scripts = setup_arguments()["entry_points"]["console_scripts"]
    assert dict(re.split(r"\s*=\s*", script) for script in scripts) == ENTRY_POINTS
    for target in ENTRY_POINTS.values():
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_lock_file_satisfies_the_extras():
    requirements = pytest.importorskip("packaging.requirements")
    lines = (ROOT / "requirements" / "lock.txt").read_text().splitlines()
    locked = dict(line.lower().split("==") for line in lines if "==" in line and not line.startswith("#"))
    for name in [name for group in setup_arguments()["extras_require"].values() for name in group]:
        requirement = requirements.Requirement(name)
        assert requirement.specifier.contains(locked[requirement.name]), name


def test_lock_file_is_what_is_installed():
    """Guards against tests that pass in an environment other than the one `make setup` makes."""
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("not running in .venv")
    lines = (ROOT / "requirements" / "lock.txt").read_text().splitlines()
    locked = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    assert [name for name, version in locked if metadata.version(name).split("+")[0] != version] == []


@pytest.mark.parametrize("path", ONBOARD, ids=lambda path: str(path.relative_to(ROOT)))
def test_onboard_code_parses_as_python_3_6(path):
    ast.parse(path.read_text(), filename=str(path), feature_version=(3, 6))


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A real `colcon build` of a copy of the package; the install prefix of the package."""
    if importlib.util.find_spec("colcon_core") is None:
        pytest.skip("colcon is not installed (make setup)")
    workspace = tmp_path_factory.mktemp("workspace")
    source = workspace / "src" / "vit_perception"
    source.mkdir(parents=True)
    for name in ["package.xml", "setup.py", "setup.cfg", "pyproject.toml", "LICENSE"]:
        shutil.copy(ROOT / name, source)
    for name in ["vit_perception", "resource", "launch", "config", "models", "test"]:
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "colcon", "build", "--event-handlers", "console_direct+"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return workspace / "install" / "vit_perception"


def test_colcon_installs_the_canonical_layout(installed):
    assert {path.name for path in (installed / "lib" / "vit_perception").iterdir()} == set(ENTRY_POINTS)
    share = installed / "share" / "vit_perception"
    assert (share / "package.xml").is_file()
    assert (installed / "share/ament_index/resource_index/packages/vit_perception").is_file()
    for folder, pattern in [("launch", "*.launch.py"), ("config", "*.*"), ("models", "*/*")]:
        expected = {str(path.relative_to(ROOT)) for path in (ROOT / folder).glob(pattern) if path.is_file()}
        found = {str(path.relative_to(share)) for path in share.glob(f"{folder}/{pattern}")}
        assert found == expected
    packages = next(installed.glob("lib/python*/site-packages"))
    modules = {str(path.relative_to(packages)) for path in packages.glob("vit_perception/**/*.py")}
    assert modules == {str(path.relative_to(ROOT)) for path in (ROOT / "vit_perception").rglob("*.py")}
    assert (packages / "vit_perception" / "finds" / "page.html").is_file()
    assert not list(packages.glob("offline")) and not list(packages.glob("test"))


@pytest.mark.parametrize("name, parameter", [("vit_perception", "model"), ("player", "folder")])
def test_installed_executables_run(installed, name, parameter):
    """`ros2 run` executes exactly this file. Given a path that is not there, it must say so and end."""
    pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
    site = next(installed.glob("lib/python*/site-packages"))
    environment = dict(os.environ, PYTHONPATH=str(site))
    result = subprocess.run(
        [str(installed / "lib/vit_perception" / name), "--ros-args", "-p", f"{parameter}:=/no/such/path"],
        cwd=installed,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert "/no/such/path" in result.stderr and "Traceback" not in result.stderr, result.stderr


def test_what_the_package_reads_is_installed_with_it():
    installed = setup_arguments()["package_data"]["vit_perception"]
    found = [p for p in (ROOT / "vit_perception").rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")]
    assert sorted(str(p.relative_to(ROOT / "vit_perception")) for p in found) == sorted(installed)
