"""The player as a process: a folder of images, a video or a bag becomes a camera."""

import signal

import cv2
import numpy as np
import PIL.Image
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")

import rclpy  # noqa: E402
from blob_bundle import make_bundle  # noqa: E402
from flight import NAME, Client, running, start, white_blocks  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from vision_msgs.msg import Detection2DArray  # noqa: E402

from vit_perception.errors import PerceptionError  # noqa: E402
from vit_perception.player import SPECS, make_tape  # noqa: E402
from vit_perception.recording.bag_writer import BagWriter  # noqa: E402

# Takes from every publisher, and loses none of a few images where this process stands still.
ANY_QOS = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
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
    cv2.imwrite(str(folder / "red.png"), np.full((4, 6, 3), (10, 20, 200), np.uint8))
    (tmp_path / "list").write_text("red.png\n001.png\n")
    client, images = Client(ros_context), []
    client.node.create_subscription(Image, "image_raw", images.append, qos_profile_sensor_data)
    player = start("player", tmp_path / "log", folder=folder, list=tmp_path / "list", fps=10.0)
    assert client.wait(lambda: player.poll() is not None, 20)
    client.wait(lambda: len(images) >= 2)
    assert [(m.encoding, m.width, m.height, m.step) for m in images] == [
        ("bgr8", 6, 4, 18),
        ("mono8", 128, 96, 128),
    ]
    assert bytes(images[0].data[:3]) == bytes([10, 20, 200])
    client.close()


def images_and_infos(client):
    """Lists that fill with the images and camera_infos that are published."""
    images, infos = [], []
    client.node.create_subscription(Image, "image_raw", images.append, ANY_QOS)
    client.node.create_subscription(CameraInfo, "camera_info", infos.append, qos_profile_sensor_data)
    return images, infos


def times_of_sending(client):
    """A list that fills with when each image was sent, seconds: this process may stand still, and hear it later."""
    sent = []
    note = lambda msg, info: sent.append(1e-9 * info["source_timestamp"])  # noqa: E731
    client.node.create_subscription(Image, "image_raw", note, ANY_QOS)
    return sent


def test_a_video_is_a_camera_of_its_rate(ros_context, tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 20.0, (128, 96))
    for i in range(10):
        writer.write(cv2.cvtColor(white_blocks((i % 8, 2)), cv2.COLOR_GRAY2BGR))
    writer.release()
    (tmp_path / "camera.yaml").write_text(CAMERA.replace("fps: 50\n", ""))
    client = Client(ros_context)
    images, infos = images_and_infos(client)
    player = start("player", tmp_path / "log", video=tmp_path / "v.avi", reliable=True, start_stamp_s=9.0)
    assert client.wait(lambda: player.poll() is not None, 20)
    client.wait(lambda: len(images) >= 10)
    assert player.returncode == 0 and "10 images published" in (tmp_path / "log").read_text()
    assert [(m.encoding, m.width, m.height, m.header.frame_id) for m in images] == 10 * [("bgr8", 128, 96, "nose")]
    stamps = [m.header.stamp.sec + 1e-9 * m.header.stamp.nanosec for m in images]
    assert stamps == pytest.approx([9 + i / 20 for i in range(10)], abs=1e-6)
    assert infos and infos[0].k[0] == 100.0
    pixels = np.array(images[3].data).reshape(96, 128, 3)
    assert pixels[40, 56].min() > 200 and pixels[8, 8].max() < 60
    client.close()


def test_deep_images_are_played_as_mono16(ros_context, tmp_path):
    deep = np.arange(128 * 96, dtype=np.uint16).reshape(96, 128) * 5
    cv2.imwrite(str(tmp_path / "0.png"), deep)
    client = Client(ros_context)
    images, _ = images_and_infos(client)
    player = start("player", tmp_path / "log", folder=tmp_path)
    assert client.wait(lambda: player.poll() is not None and images, 20)
    assert (images[0].encoding, images[0].step) == ("mono16", 256)
    assert (np.frombuffer(images[0].data, np.uint16).reshape(96, 128) == deep).all()
    client.close()


@pytest.fixture
def bag(tmp_path):
    """Ten images, 50 ms apart, an odometry between two of them, and recorded detections."""
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/image_raw", "sensor_msgs/msg/Image")
        writer.add_topic("/odometry", "nav_msgs/msg/Odometry")
        writer.add_topic(NAME + "/detections", "vision_msgs/msg/Detection2DArray")
        for i in range(10):
            msg = Image(width=4, height=2, step=4, encoding="mono8", data=bytes([i] * 8))
            msg.header.stamp.sec, msg.header.frame_id = 1000 + i, "tail"
            writer.write("/image_raw", 10**18 + i * 50000000, serialize_message(msg))
            odometry = Odometry()
            odometry.header.stamp.sec = 2000 + i
            writer.write("/odometry", 10**18 + i * 50000000 + 1000, serialize_message(odometry))
            writer.write(NAME + "/detections", 10**18 + i * 50000000 + 2000, serialize_message(Detection2DArray()))
    return tmp_path / "bag"


def test_a_bag_is_played_as_recorded_and_its_results_are_not(ros_context, bag, tmp_path):
    client = Client(ros_context)
    images, _ = images_and_infos(client)
    sent = times_of_sending(client)
    odometry = []
    client.node.create_subscription(Odometry, "odometry", odometry.append, 10)
    player = start("player", tmp_path / "log", bag=bag, reliable=True)
    assert client.wait(lambda: player.poll() is not None, 20)
    client.wait(lambda: len(images) >= 10 and len(odometry) >= 10 and len(sent) >= 10)
    assert player.returncode == 0 and "10 images published" in (tmp_path / "log").read_text()
    assert [(m.header.stamp.sec, m.header.frame_id, bytes(m.data)) for m in images] == [
        (1000 + i, "tail", bytes([i] * 8)) for i in range(10)
    ]
    assert [m.header.stamp.sec for m in odometry] == [2000 + i for i in range(10)]
    assert len(sent) == 10 and np.median(np.diff(sent)) == pytest.approx(0.05, abs=0.01), "at the recorded rate"
    assert sent[-1] - sent[0] == pytest.approx(0.45, abs=0.1)
    assert client.messages("detections") == [], "old results must not be taken for new ones"
    client.close()


def test_topics_of_a_bag_can_be_chosen_and_the_speed(ros_context, bag, tmp_path):
    client = Client(ros_context)
    images, _ = images_and_infos(client)
    sent = times_of_sending(client)
    player = start("player", tmp_path / "log", bag=bag, reliable=True, topics="all", rate=100.0, loop=True)
    assert client.wait(lambda: len(images) >= 30 and len(client.messages("detections")) >= 10, 20)
    assert np.median(np.diff(sent)) < 0.025
    player.send_signal(signal.SIGINT)
    assert player.wait(5) == 0
    client.close()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "exactly one of the parameters folder, video and bag; 0 are set"),
        ({"bag": "{bag}", "video": "x.mp4"}, "exactly one of the parameters folder, video and bag; 2 are set"),
        ({"bag": "/no/such/bag"}, "no bag at '/no/such/bag'"),
        ({"bag": "{bag}", "topics": "/image_raw,/other"}, "has no topic /other; it has: /image_raw, /odometry"),
        ({"bag": "{bag}", "topics": "/odometry"}, "no images to play"),
        ({"video": "/no/such/video"}, "no video '/no/such/video'"),
        ({"video": "{bag}/metadata.yaml"}, "no video, or one that this OpenCV cannot decode"),
    ],
)
def test_a_bad_choice_is_one_sentence(ros_context, bag, parameters, words):
    node = rclpy.create_node("player", context=ros_context)
    values = dict({s.name: s.default for s in SPECS}, **{k: v.format(bag=bag) for k, v in parameters.items()})
    with pytest.raises(PerceptionError, match=words) as error:
        make_tape(node, values, 10)
    assert "\n" not in str(error.value)
    node.destroy_node()


def test_what_is_met_while_playing_is_told_once(ros_context, tmp_path):
    pages = [PIL.Image.fromarray(np.full((8, 9), i, np.uint8)) for i in range(3)]
    pages[0].save(tmp_path / "0.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "camera.yaml").write_text(CAMERA)
    node, told = rclpy.create_node("player", context=ros_context), []
    values = dict({s.name: s.default for s in SPECS}, folder=str(tmp_path))
    tape = make_tape(node, values, 10, warn=told.append)
    assert told == []
    assert [len(list(tape)) for _ in range(2)] == [1, 1]
    assert len(told) == 1 and "0.tif holds 3 pictures: of such files the first alone is played" in told[0]
    node.destroy_node()


@pytest.mark.parametrize(
    ("parameters", "camera", "words"),
    [
        ({"folder": "/no/such/folder"}, CAMERA, "no folder '/no/such/folder'"),
        ({"list": "/no/such/list"}, CAMERA, "cannot read the list"),
        ({}, "K: [1, 2]\nwidth: 3\nheight: 4\n", "camera.yaml is malformed"),
        ({}, "[]", "camera.yaml is malformed"),
        ({}, "[" * 5000, "camera.yaml is malformed"),
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
    assert "000.png: damaged, or no image" in (tmp_path / "log").read_text()
