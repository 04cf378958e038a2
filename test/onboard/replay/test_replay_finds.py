"""A recorded flight with positions leaves the files of finds, in one process and through a node."""

import csv
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
pytest.importorskip("onnx", reason="onnx is not installed (make setup)")
Odometry = pytest.importorskip("nav_msgs.msg", reason="nav_msgs is not installed (make setup)").Odometry

from flight import HEIGHT, ROOT, WIDTH, white_blocks  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from sensor_msgs.msg import NavSatFix  # noqa: E402

from vit_perception.recording.bag_writer import BagWriter  # noqa: E402
from vit_perception.ros import px4_pose  # noqa: E402
from vit_perception.ros.tapes import image_message, info_message  # noqa: E402

K = [100.0, 0.0, WIDTH / 2, 0.0, 100.0, HEIGHT / 2, 0.0, 0.0, 1.0]
FRAMES, FPS, BEGIN_S = 30, 10.0, 1700000000
PARAMETERS = """/**:
  ros__parameters:
    height_source: odometry
    obstacles: {camera_pitch_deg: -45.0}
    finds: {heading_source: odometry}
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """(bag, parameter file): hovering 20 m above ground, looking down and east at one person."""
    root = tmp_path_factory.mktemp("search")
    topics = {
        "/image_raw": "sensor_msgs/msg/Image",
        "/camera_info": "sensor_msgs/msg/CameraInfo",
        "/mavros/global_position/global": "sensor_msgs/msg/NavSatFix",
        "/odometry": "nav_msgs/msg/Odometry",
    }
    with BagWriter(root / "bag") as bag:
        for topic, kind in topics.items():
            bag.add_topic(topic, kind)
        for i in range(FRAMES):
            image, fix, odometry = image_message(white_blocks((4, 3))), NavSatFix(), Odometry()
            fix.latitude, fix.longitude, fix.altitude = 47.4, 8.5, 430.0
            fix.status.status = 0
            odometry.child_frame_id, odometry.header.frame_id = "base_link", "map"
            odometry.pose.pose.position.z, odometry.pose.pose.orientation.w = 20.0, 1.0
            for msg in (image, fix, odometry):
                msg.header.stamp.sec, msg.header.stamp.nanosec = BEGIN_S + i // 10, int(1e9 / FPS) * (i % 10)
            info = info_message(image.header, {"K": K, "width": WIDTH, "height": HEIGHT})
            for topic, msg in zip(topics, (image, info, fix, odometry), strict=True):
                bag.write(topic, int(1e9 * (BEGIN_S + i / FPS)), serialize_message(msg))
    (root / "drone.yaml").write_text(PARAMETERS)
    return root / "bag", root / "drone.yaml"


def replay(recording, bundle, out, *options, fix="fix:=/mavros/global_position/global"):
    command = [sys.executable, "-m", "vit_perception.replay", str(recording[0]), "--out", str(out), "--model", bundle]
    command += ["--params", str(recording[1]), *(("--topic", fix) if fix else ()), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("options", [(), ("--ros",)])
def test_files_of_finds(recording, bundle, tmp_path, options):
    done = replay(recording, bundle, tmp_path, *options)
    assert done.returncode == 0, done.stderr + done.stdout
    folder = tmp_path / "finds"
    if options:
        folder = folder / os.listdir(folder)[0]  # the node makes one for each flight
    else:
        assert "confirmed finds, 1 in all; 29 images placed, 0 without a pose" in done.stdout
        assert 'href="finds/finds.html"' in (tmp_path / "index.html").read_text()
    with open(folder / "finds.csv", newline="") as f:
        (row,) = csv.DictReader(f)
    assert row["state"] == "confirmed" and row["last"].startswith("2023-11-14T22:13:2")
    assert float(row["latitude"]) == pytest.approx(47.4, abs=1e-4) and int(row["looks"]) > 10
    assert 8.5 < float(row["longitude"]) < 8.5006, "east of the vehicle, within 40 m"
    assert json.loads((folder / "finds.geojson").read_text())["features"][0]["properties"]["picture"]
    assert (folder / "finds.html").is_file()


def test_without_a_heading_there_are_no_finds_and_it_is_said_once(recording, bundle, tmp_path):
    recording[1].parent.joinpath("none.yaml").write_text(
        PARAMETERS.replace("heading_source: odometry", "heading_source: none")
    )
    done = replay((recording[0], recording[1].parent / "none.yaml"), bundle, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finds.heading_source is none: no finds without it") == 1
    with open(tmp_path / "finds" / "finds.csv", newline="") as f:
        assert list(csv.DictReader(f)) == []


def test_without_positions_the_topic_to_name_is_said(recording, bundle, tmp_path):
    done = replay(recording, bundle, tmp_path, fix=None)
    assert done.returncode == 0, done.stderr
    text = "no finds, for the bag has no positions on /fix; name their topic with --topic fix:=TOPIC (it has /mavros/"
    assert done.stdout.count(text) == 1 and not (tmp_path / "finds").exists()


def with_px4(parameters, root):
    path = root / "px4.yaml"
    path.write_text(
        parameters.read_text()
        .replace("heading_source: odometry", "heading_source: px4")
        .replace("height_source: odometry", "height_source: none")
    )
    return path


def test_a_bag_without_px4s_topics_says_so(recording, bundle, tmp_path):
    done = replay((recording[0], with_px4(recording[1], tmp_path)), bundle, tmp_path, "--ros", fix=None)
    assert done.returncode == 0 and done.stdout.count("with --ros no finds are made of PX4's own topics") == 1
    done = replay((recording[0], with_px4(recording[1], tmp_path)), bundle, tmp_path)
    words = ("the bag holds neither /fmu/out/vehicle_attitude nor", "takes ROS 2 and px4_msgs")
    assert done.returncode == 0, done.stderr
    assert sum(done.stdout.count("finds.heading_source is px4, but " + w) for w in ("the bag", "reading")) == 1
    assert any(w in done.stdout for w in words)


def test_px4s_own_topics_in_a_bag(recording, bundle, tmp_path):
    px4 = pytest.importorskip("px4_msgs.msg", reason="px4_msgs is not installed (make setup)")
    topics = {
        "/image_raw": "sensor_msgs/msg/Image",
        "/camera_info": "sensor_msgs/msg/CameraInfo",
        px4_pose.POSITION: "px4_msgs/msg/VehicleGlobalPosition",
        px4_pose.ATTITUDE: "px4_msgs/msg/VehicleAttitude",
    }
    half = math.sqrt(0.5)
    with BagWriter(tmp_path / "bag") as bag:
        for topic, kind in topics.items():
            bag.add_topic(topic, kind)
        for i in range(FRAMES):
            image = image_message(white_blocks((4, 3)))
            image.header.stamp.sec, image.header.stamp.nanosec = BEGIN_S + i // 10, int(1e9 / FPS) * (i % 10)
            info = info_message(image.header, {"K": K, "width": WIDTH, "height": HEIGHT})
            where = px4.VehicleGlobalPosition(lat=47.4, lon=8.5, alt=430.0, terrain_alt=410.0, eph=0.8)
            where.terrain_alt_valid = where.lat_lon_valid = where.alt_valid = True
            how = px4.VehicleAttitude(q=np.array([half, 0.0, 0.0, half], np.float32))  # nose to the east
            where.timestamp_sample = how.timestamp_sample = int(1e6 * (BEGIN_S + i / FPS))
            for topic, msg in zip(topics, (image, info, where, how), strict=True):
                bag.write(topic, int(1e9 * (BEGIN_S + i / FPS)), serialize_message(msg))
    done = replay((tmp_path / "bag", with_px4(recording[1], tmp_path)), bundle, tmp_path / "out", fix=None)
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "out" / "finds" / "finds.csv", newline="") as f:
        (row,) = csv.DictReader(f)
    assert row["state"] == "confirmed" and float(row["latitude"]) == pytest.approx(47.4, abs=1e-4)
    assert 8.5 < float(row["longitude"]) < 8.5006, "east of the vehicle, within 40 m"
