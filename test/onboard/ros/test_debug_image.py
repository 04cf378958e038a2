"""~/debug_image over real DDS: only for those who look."""

import time

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")

import rclpy  # noqa: E402
from frame_results import LABELS, images, result  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from vit_perception.draw import draw  # noqa: E402
from vit_perception.images.read import ImageReader  # noqa: E402
from vit_perception.ros.debug_image import DebugImage  # noqa: E402


class Watched(dict):
    """Parameters that know whether they were read: no picture is begun without."""

    reads = 0

    def __getitem__(self, name):
        Watched.reads += 1
        return super().__getitem__(name)


@pytest.fixture
def rig(ros_context):
    """(node, DebugImage, its values, spin(until))."""
    node = rclpy.create_node("eye", context=ros_context)
    executor = SingleThreadedExecutor(context=ros_context)
    executor.add_node(node)
    values = Watched({"debug.max_rate_hz": 0.0, "debug.jpeg_quality": 80})
    debug = DebugImage(node, values, LABELS)

    def spin(until, timeout_s=5.0):
        deadline = time.monotonic() + timeout_s
        while not until() and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.02)
        return until()

    yield node, debug, values, spin
    executor.shutdown()
    node.destroy_node()


def header():
    h = Header(frame_id="nose")
    h.stamp.sec, h.stamp.nanosec = 12, 34
    return h


def test_nothing_is_computed_without_a_subscriber(rig):
    _, debug, _, _ = rig
    Watched.reads = 0
    t0 = time.thread_time()  # of this thread: others may take the core
    for _ in range(1000):
        debug.show(header(), None, "no order", None)  # would raise if it were looked at
    assert Watched.reads == 0
    assert time.thread_time() - t0 < 0.5


def test_a_subscriber_gets_the_picture_with_the_images_header(rig):
    node, debug, _, spin = rig
    raw, jpeg, shown = [], [], result(range_m=4.0, level=2)
    node.create_subscription(Image, "eye/debug_image", raw.append, 10)
    assert spin(lambda: node.count_subscribers("/eye/debug_image") == 1 and debug._raw.get_subscription_count() == 1)
    image = images()["rgb"]
    debug.show(header(), image, "rgb", shown)
    assert spin(lambda: raw)
    assert raw[0].header == header() and raw[0].encoding == "bgr8" and raw[0].step == 3 * 640
    expected = draw(image, "rgb", shown, LABELS)
    assert (np.array(raw[0].data).reshape(512, 640, 3) == expected).all()

    node.create_subscription(CompressedImage, "eye/debug_image/compressed", jpeg.append, 10)
    assert spin(lambda: debug._jpeg.get_subscription_count() == 1)
    debug.show(header(), image, "rgb", shown)
    assert spin(lambda: jpeg)
    assert jpeg[0].header == header() and len(jpeg[0].data) < 0.2 * expected.size
    decoded = cv2.imdecode(np.frombuffer(jpeg[0].data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(decoded.astype(int) - expected).mean() < 3
    again, order = ImageReader({}).read(jpeg[0])  # the node's own reader understands it
    assert order == "bgr" and (again == decoded).all()


def test_the_rate_is_limited_and_changes_at_run_time(rig):
    node, debug, values, spin = rig
    got = []
    node.create_subscription(Image, "eye/debug_image", got.append, 100)
    assert spin(lambda: debug._raw.get_subscription_count() == 1)

    def shown_in_a_second():
        got.clear()
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            debug.show(header(), images(64, 48)["mono"], "mono", result((5, 5, 9, 9)))
            spin(lambda: False, 0.02)
        return len(got)

    values["debug.max_rate_hz"] = 5.0
    assert 4 <= shown_in_a_second() <= 6
    values["debug.max_rate_hz"] = 10.0
    assert 8 <= shown_in_a_second() <= 11


def test_close_takes_the_topics_away(rig):
    node, debug, _, spin = rig
    assert spin(lambda: node.count_publishers("/eye/debug_image") == 1)
    debug.close()
    assert spin(lambda: node.count_publishers("/eye/debug_image") == 0)
