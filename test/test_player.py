"""The player as a process: a folder of images becomes a camera."""

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")

from blob_bundle import make_bundle  # noqa: E402
from flight import NAME, Client, running, start, white_blocks  # noqa: E402
from vision_msgs.msg import Detection2DArray  # noqa: E402

CAMERA = "width: 128\nheight: 96\nfps: 50\nframe_id: nose\nK: [100, 0, 64, 0, 100, 48, 0, 0, 1]\n"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "flight"
    path.mkdir()
    for i in range(12):
        cv2.imwrite(str(path / f"{i:03d}.png"), white_blocks((i % 8, i % 6)))
    (tmp_path / "camera.yaml").write_text(CAMERA)  # beside the folder, as rendered flights have it
    return path


def test_lockstep_gets_every_image_answered_in_order(ros_context, folder, tmp_path):
    client = Client(ros_context)
    with running("node", tmp_path / "log", model=make_bundle(tmp_path / "blob"), reliable_input=True):
        client.connect()
        player = start(
            "player", tmp_path / "player", folder=folder, reliable=True, wait_for_subscribers=1,
            lockstep_topic=NAME + "/detections", start_stamp_s=50.0,
        )  # fmt: skip
        assert client.wait(lambda: player.poll() is not None, 20)
        client.spin(0.3)
    assert player.returncode == 0 and "12 images published, 0 unanswered" in (tmp_path / "player").read_text()
    answers = client.messages("detections")
    stamps = [m.header.stamp.sec + 1e-9 * m.header.stamp.nanosec for m in answers]
    assert stamps == pytest.approx([50 + i / 50 for i in range(12)], abs=1e-6)
    assert {m.header.frame_id for m in answers} == {"nose"}
    centers = [(m.detections[0].bbox.center.position.x, m.detections[0].bbox.center.position.y) for m in answers]
    assert centers == [(16 * (i % 8) + 8, 16 * (i % 6) + 8) for i in range(12)]
    assert client.messages("obstacle_scan"), "camera_info arrived"
    client.close()


def test_goes_on_without_an_answer(ros_context, folder, tmp_path):
    client = Client(ros_context)
    client.node.create_publisher(Detection2DArray, "/mute", 10)
    player = start(
        "player", tmp_path / "log", folder=folder, wait_for_subscribers=0, fps=1000.0,
        lockstep_topic="/mute", lockstep_timeout_s=0.05,
    )  # fmt: skip
    assert client.wait(lambda: player.poll() is not None, 20)
    assert player.returncode == 0 and "12 images published, 12 unanswered" in (tmp_path / "log").read_text()
    client.close()


def test_a_list_chooses_and_colour_is_played_as_bgr8(ros_context, folder, tmp_path):
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    cv2.imwrite(str(folder / "red.png"), np.full((4, 6, 3), (10, 20, 200), np.uint8))
    (tmp_path / "list").write_text("red.png\n001.png\n")
    client, images = Client(ros_context), []
    client.node.create_subscription(Image, "image_raw", images.append, qos_profile_sensor_data)
    player = start("player", tmp_path / "log", folder=folder, list=tmp_path / "list", fps=10.0)
    assert client.wait(lambda: player.poll() is not None, 20)
    client.spin(0.2)
    assert [(m.encoding, m.width, m.height, m.step) for m in images] == [
        ("bgr8", 6, 4, 18),
        ("mono8", 128, 96, 128),
    ]
    assert bytes(images[0].data[:3]) == bytes([10, 20, 200])
    client.close()


@pytest.mark.parametrize(
    ("parameters", "camera", "words"),
    [
        ({"folder": "/no/such/folder"}, CAMERA, "no folder '/no/such/folder'"),
        ({"list": "/no/such/list"}, CAMERA, "cannot read the list"),
        ({}, "K: [1, 2]\nwidth: 3\nheight: 4\n", "camera.yaml is malformed"),
        ({}, "[]", "camera.yaml is malformed"),
        ({"wait_for_subscribers": 9, "wait_timeout_s": 0.1}, CAMERA, "has 0 subscribers"),
        (
            {"wait_for_subscribers": 0, "wait_timeout_s": 0.1, "lockstep_topic": "/nobody"},
            CAMERA,
            "nobody publishes /nobody",
        ),
    ],
)
def test_bad_input_is_one_sentence(folder, tmp_path, parameters, camera, words):
    (folder / "camera.yaml").write_text(camera)
    player = start("player", tmp_path / "log", **{"folder": folder, **parameters})
    assert player.wait(20) == 1
    lines = (tmp_path / "log").read_text().strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("player: ") and words in lines[0]


def test_an_unreadable_image_ends_it_with_its_name(folder, tmp_path):
    (folder / "000.png").write_bytes(b"not an image")
    player = start("player", tmp_path / "log", folder=folder, wait_for_subscribers=0)
    assert player.wait(20) == 1
    assert "000.png: not an 8-bit" in (tmp_path / "log").read_text()
