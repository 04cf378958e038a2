"""vision_msgs as built from our .msg files, and the tool that builds it."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
vision_msgs = pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed (make setup)")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402

from tools.ros_environment import ROOT  # noqa: E402
from tools.ros_messages.generate import type_hashes  # noqa: E402

OURS = ROOT / "tools" / "ros_messages" / "vision_msgs"
DETECTION_2D_ARRAY = "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968"

ECHO = """
import rclpy
from vision_msgs.msg import Detection2DArray

rclpy.init()
node = rclpy.create_node("echo")
answer = node.create_publisher(Detection2DArray, "answer", 5)
node.create_subscription(Detection2DArray, "question", answer.publish, 5)
try:
    rclpy.spin(node)
except BaseException:
    pass
"""


def run_tool(*arguments, python=sys.executable, env=None):
    command = [str(python), "-m", "tools.ros_messages", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)


def test_type_hash_equals_upstream():
    """Only then does a node built against a distribution's vision_msgs understand ours."""
    if not type_hashes("vision_msgs"):
        pytest.skip("vision_msgs comes from a ROS installation, not from this environment")
    assert type_hashes("vision_msgs")["Detection2DArray"] == DETECTION_2D_ARRAY


def test_every_message_has_type_support(ros_context):
    node = rclpy.create_node("type_support", context=ros_context)
    for path in sorted((OURS / "msg").glob("*.msg")):
        node.create_publisher(getattr(vision_msgs, path.stem), f"of_type/{path.stem}", 1)
    node.destroy_node()


def detections(count):
    message = vision_msgs.Detection2DArray()
    message.header.frame_id = "camera"
    message.header.stamp.sec, message.header.stamp.nanosec = 12, 345_678_901
    for index in range(count):
        detection = vision_msgs.Detection2D(header=message.header, id=f"track {index}")
        detection.bbox.center.position.x = 1.5 * index
        detection.bbox.center.theta = 0.25
        detection.bbox.size_x, detection.bbox.size_y = 10.0, 20.0 + index
        result = vision_msgs.ObjectHypothesisWithPose()
        result.hypothesis.class_id, result.hypothesis.score = "3", 0.875
        result.pose.covariance[35] = 7.0
        detection.results = [result]
        message.detections.append(detection)
    return message


@pytest.mark.parametrize("count", [0, 300])
def test_round_trip_between_two_processes(ros_context, count):
    """Every field survives the way to another process over DDS and back, for an empty and a large array."""
    node = rclpy.create_node("asker", context=ros_context)
    executor = SingleThreadedExecutor(context=ros_context)
    executor.add_node(node)
    answers = []
    publisher = node.create_publisher(vision_msgs.Detection2DArray, "question", 5)
    node.create_subscription(vision_msgs.Detection2DArray, "answer", answers.append, 5)
    sent = detections(count)
    with subprocess.Popen([sys.executable, "-c", ECHO]) as echo:
        try:
            deadline = time.monotonic() + 20
            while not answers and time.monotonic() < deadline:
                publisher.publish(sent)  # again and again: the other process needs a moment to appear
                executor.spin_once(timeout_sec=0.1)
        finally:
            echo.kill()  # a request to end may hang in the middleware's own shutdown, which is not what is tested
    executor.shutdown()
    node.destroy_node()
    assert answers, "no answer from the other process within 20 s"
    assert answers[0] == sent


def test_tool_does_nothing_where_the_same_is_installed():
    if not (Path(sys.prefix) / "share" / "vision_msgs").exists():
        pytest.skip("vision_msgs comes from a ROS installation, not from this environment")
    result = run_tool(OURS)
    assert result.returncode == 0, result.stderr
    assert "installed already" in result.stdout


def package_with(tmp_path, name, text):
    root = tmp_path / "broken_msgs"
    (root / "msg").mkdir(parents=True)
    shutil.copy(OURS / "package.xml", root)
    manifest = root / "package.xml"
    manifest.write_text(manifest.read_text().replace("<name>vision_msgs", "<name>broken_msgs"))
    (root / "msg" / name).write_text(text)
    return root


@pytest.mark.parametrize(
    "name, text, told",
    [
        ("Bad.msg", "float64\n", "Bad.msg: not a valid message definition"),
        ("Bad.msg", "float64 x\nfloat64 x\n", "Bad.msg: not a valid message definition"),
        ("Bad.msg", "nothing_msgs/Thing thing\n", "field 'thing' has type nothing_msgs/Thing"),
        ("Bad.msg", "Thing thing\n", "field 'thing' has type broken_msgs/Thing"),
        ("Bad.msg", "uint8 level 300\n", "Bad.msg: not a valid message definition"),
        ("lower_case.msg", "float64 x\n", "lower_case.msg: not a valid message definition"),
        ("Bad.txt", "float64 x\n", "no .msg files"),
    ],
)
def test_bad_definitions_are_told_in_one_sentence(tmp_path, name, text, told):
    result = run_tool(package_with(tmp_path, name, text))
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and told in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (Path(sys.prefix) / "share" / "broken_msgs").exists()


def test_missing_manifest_is_told(tmp_path):
    result = run_tool(tmp_path)
    assert result.returncode == 1
    assert "package.xml: not a readable package manifest" in result.stderr


def test_missing_compiler_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    result = run_tool(package_with(tmp_path, "Good.msg", "float64 x\n"))
    assert result.returncode == 1
    assert "compiler 'no-such-compiler' not found" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_compiler_error_is_told(tmp_path, monkeypatch):
    """A compiler that fails leaves nothing installed."""
    monkeypatch.setenv("CC", "false")
    result = run_tool(package_with(tmp_path, "Good.msg", "float64 x\n"))
    assert result.returncode == 1
    assert "failed" in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert not (Path(sys.prefix) / "share" / "broken_msgs").exists()


def test_outside_of_an_environment_is_told():
    base = Path(sys.base_prefix) / "bin" / "python3"
    if not base.exists() or sys.prefix == sys.base_prefix:
        pytest.skip("no interpreter outside of this environment to try it with")
    result = run_tool(OURS, python=base, env={"PATH": "/usr/bin:/bin"})
    assert result.returncode == 1
    assert "is not a virtual environment with the ROS wheels" in result.stderr
