"""The launch file: parses for old Pythons, and describes what it should where `launch` can be imported."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PATH = ROOT / "launch" / "drone.launch.py"


def arguments():
    """ARGUMENTS of the launch file, read without importing it."""
    for node in ast.parse(PATH.read_text(), feature_version=(3, 6)).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "ARGUMENTS":
            return ast.literal_eval(node.value)
    raise AssertionError("no ARGUMENTS")


def test_compiles():
    compile(PATH.read_text(), str(PATH), "exec")


def test_arguments_are_described_and_complete():
    names = [name for name, _, _ in arguments()]
    assert set(names) == {
        "model", "image_topic", "camera_info_topic", "scan_topic", "odometry_topic", "twist_topic", "height_topic",
        "namespace", "params_file", "backend", "precision", "log_level", "use_sim_time",
    }  # fmt: skip
    assert all(text for _, _, text in arguments())


def test_the_default_parameter_file_is_installed():
    defaults = {name: default for name, default, _ in arguments()}
    assert (ROOT / defaults["params_file"].replace("{share}/", "")).is_file()


def test_describes_one_node_with_remappings(monkeypatch):
    launch = pytest.importorskip("launch", reason="the package launch is not installed")
    pytest.importorskip("launch_ros", reason="the package launch_ros is not installed")
    import ament_index_python.packages as index
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    monkeypatch.setattr(index, "get_package_share_directory", lambda name: str(ROOT))
    description = get_launch_description_from_python_launch_file(str(PATH))
    context = launch.LaunchContext()
    context.launch_configurations.update({"namespace": "drone1", "image_topic": "/cam/image", "use_sim_time": "true"})
    nodes = []
    for entity in description.entities:
        nodes += entity.visit(context) or []
    assert [(n.node_package, n.node_executable) for n in nodes] == [("vit_perception", "vit_perception")]
