"""Recorded images as a camera: a folder or a video as image_raw and camera_info, or a bag as it was recorded.

    ros2 run vit_perception player --ros-args -p folder:=flight -p fps:=10.0
    ros2 run vit_perception player --ros-args -p bag:=flight_bag -r /camera/image_raw:=/image_raw

camera.yaml in the folder, or beside it or the video, holds width, height, fps, frame_id and K (9 numbers).
A bag's messages keep their names and stamps; a recorded topic is remapped like any other.
"""

import array
import os
import sys
import threading
import time

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import Detection2DArray

from .errors import PerceptionError
from .parameters import Spec, declare
from .recording.bag import open_bag
from .recording.bag_inputs import IMAGE_TYPES, inputs, message_class, stamp_of
from .recording.sources import Images, Video
from .ros.messages import seconds_to_stamp
from .ros.process import run
from .ros.qos import STATIC

SPECS = (
    Spec("folder", "", None, None, "", True, "folder of images, played in the order of their names"),
    Spec("list", "", None, None, "", True, "file with one image name per line; empty plays the folder"),
    Spec("video", "", None, None, "", True, "video file"),
    Spec("bag", "", None, None, "", True, "rosbag2 bag"),
    Spec("topics", "", None, None, "", True, "of a bag, comma-separated; all: all; empty: what the node can take"),
    Spec("rate", 1.0, 0.001, 1000.0, "", True, "speed of a bag; 2 is twice as fast as recorded"),
    Spec("fps", 0.0, 0.0, 1000.0, "Hz", True, "images a second; 0 takes camera.yaml's, the video's, or 10"),
    Spec("frame_id", "", None, None, "", True, "frame_id of the images; empty takes camera.yaml's, or camera"),
    Spec("loop", False, None, None, "", True, "start again after the last image"),
    Spec("reliable", False, None, None, "", True, "publish RELIABLE rather than as a sensor"),
    Spec("wait_for_subscribers", 1, 0, 100, "", True, "start when the images have as many subscribers"),
    Spec("wait_timeout_s", 30.0, 0.0, 3600.0, "s", True, "give up waiting for subscribers after"),
    Spec("start_stamp_s", 0.0, 0.0, 4e9, "s", True, "first stamp, the others 1/fps apart; 0: the clock; not for bags"),
    Spec("lockstep_topic", "", None, None, "", True, "wait on it for each image's detections"),
    Spec("lockstep_timeout_s", 5.0, 0.01, 3600.0, "s", True, "go on without the answer after"),
)


class Player(Node):
    """Publishes from its own thread, then sets the event `done`.

    Raises:
        PerceptionError: what is to be played, the list or camera.yaml cannot be used.
    """

    def __init__(self, done):
        super().__init__("player")
        self.values = declare(self, SPECS)
        self.published = self.unanswered = 0
        self._awaited = None  # (sec, nanosec) of the image whose detections are awaited
        self._answer = threading.Event()
        self._answers = None
        reliability = ReliabilityPolicy.RELIABLE if self.values["reliable"] else ReliabilityPolicy.BEST_EFFORT
        self._tape = make_tape(self, self.values, QoSProfile(depth=10, reliability=reliability))
        if self.values["lockstep_topic"]:
            topic = self.values["lockstep_topic"]
            self._answers = self.create_subscription(Detection2DArray, topic, self._on_detections, 10)
        self._done, self._error = done, None
        self._thread = threading.Thread(target=self._run, name="player")
        self._thread.start()

    def close(self):
        """Wait for the thread, and raise what it met."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        self.get_logger().info("{} images published, {} unanswered".format(self.published, self.unanswered))

    def failed(self, error):
        """Say what a callback raised."""
        self.get_logger().error("a callback failed: {!r}".format(error), throttle_duration_sec=5.0)

    def _run(self):
        try:
            self._wait_for_subscribers()
            self._play()
        except Exception as e:  # for close() to raise in the main thread
            self._error = e
        self._done.set()

    def _play(self):
        due = time.monotonic()
        while not self._done.is_set():
            for pause_s, make in self._tape:
                due = max(due + pause_s, time.monotonic())  # after a delay: no burst to catch up
                self._done.wait(due - time.monotonic())
                if self._done.is_set():
                    return
                self._send(*make())
            if not self.values["loop"]:
                return

    def _send(self, stamp, publish):
        self._answer.clear()
        self._awaited = stamp
        publish()
        if stamp is not None:
            self.published += 1
            if self._answers is not None and not self._answered():
                self.unanswered += 1

    def _on_detections(self, msg):
        if (msg.header.stamp.sec, msg.header.stamp.nanosec) == self._awaited:
            self._answer.set()

    def _wait_for_subscribers(self):
        deadline = time.monotonic() + self.values["wait_timeout_s"]
        while not self._done.is_set():
            count = max(p.get_subscription_count() for p in self._tape.images)
            if count >= self.values["wait_for_subscribers"] and self._lockstep_is_ready():
                self._done.wait(0.5)  # the other side may know us a moment later
                return
            if time.monotonic() > deadline:
                lacking = "{} has {} subscribers".format(self._tape.images[0].topic_name, count)
                if count >= self.values["wait_for_subscribers"]:
                    lacking = "nobody publishes {}".format(self.values["lockstep_topic"])
                wait = self.values["wait_timeout_s"]
                raise PerceptionError("{} after {} s; start the node, or check topic names".format(lacking, wait))
            self._done.wait(0.05)

    def _lockstep_is_ready(self):
        return self._answers is None or self.count_publishers(self._answers.topic_name) > 0

    def _answered(self):
        deadline = time.monotonic() + self.values["lockstep_timeout_s"]
        while time.monotonic() < deadline and not self._done.is_set():
            if self._answer.wait(0.1):
                return True
        return False


def make_tape(node, values, image_qos):
    """What `values` say is to be played. Raises PerceptionError if that is not one thing, or cannot be read."""
    given = [name for name in ("folder", "video", "bag") if values[name]]
    if len(given) != 1:
        raise PerceptionError("set exactly one of the parameters folder, video and bag; {} are set".format(len(given)))
    path = os.path.expanduser(values[given[0]])
    if given == ["bag"]:
        return BagTape(node, values, path, image_qos)
    return PictureTape(node, values, Video(path) if given == ["video"] else Images(path, values["list"]), image_qos)


class PictureTape:
    """A folder or a video. Iterating yields (pause in seconds before it, make); make() -> (stamp, publish).

    A stamp is (sec, nanosec) of an image, or None for other messages.

    Attributes:
        images (list): the publishers of images.
    """

    def __init__(self, node, values, source, image_qos):
        self._node, self._source, self._calibration = node, source, source.calibration
        self._fps = values["fps"] or source.fps
        self._frame_id = values["frame_id"] or self._calibration.get("frame_id", "camera")
        self._start_s, self._index = values["start_stamp_s"], 0
        self.images = [node.create_publisher(Image, "image_raw", image_qos)]
        self._infos = node.create_publisher(CameraInfo, "camera_info", image_qos)

    def __iter__(self):
        for image in self._source:
            yield (1.0 / self._fps if self._index else 0.0), lambda i=image: self._make(i)

    def _make(self, image):
        msg = image_message(image)
        msg.header.frame_id = self._frame_id
        if self._start_s > 0:
            seconds_to_stamp(self._start_s + self._index / self._fps, msg.header.stamp)
        else:
            msg.header.stamp = self._node.get_clock().now().to_msg()
        self._index += 1
        return (msg.header.stamp.sec, msg.header.stamp.nanosec), lambda: self._publish(msg)

    def _publish(self, msg):
        if "K" in self._calibration:
            self._infos.publish(info_message(msg.header, self._calibration))
        self.images[0].publish(msg)


class BagTape:
    """A bag, message by message as it was serialised; yields as `PictureTape` does."""

    def __init__(self, node, values, path, image_qos):
        self._bag, self._rate = open_bag(path), values["rate"]
        names, topics = values["topics"], self._bag.topics
        chosen = inputs(topics) if not names else sorted(topics)
        if names not in ("", "all"):
            chosen = [n.strip() for n in names.split(",") if n.strip()]
        self._publishers, self._images = {}, set()
        for name in chosen:
            if name not in topics:
                raise PerceptionError("{} has no topic {}; it has: {}".format(path, name, ", ".join(sorted(topics))))
            kind, is_image = message_class(topics[name]), topics[name] in IMAGE_TYPES
            if kind is None:
                text = "{} is not played: no package is installed for {}"
                node.get_logger().warning(text.format(name, topics[name]))
                continue
            qos = image_qos if is_image else STATIC if name.endswith(("tf_static", "label_info")) else 10
            self._publishers[name] = node.create_publisher(kind, name, qos)
            if is_image:
                self._images.add(name)
        self.images = [self._publishers[name] for name in sorted(self._images)]
        if not self.images:
            raise PerceptionError("no images to play in {}; its topics: {}".format(path, ", ".join(sorted(topics))))

    def __iter__(self):
        before_ns = None
        for topic, stamp_ns, data in self._bag.messages(sorted(self._publishers)):
            pause_s = 0.0 if before_ns is None else max(1e-9 * (stamp_ns - before_ns) / self._rate, 0.0)
            before_ns = stamp_ns
            yield pause_s, lambda t=topic, d=data: self._make(t, d)

    def _make(self, topic, data):
        stamp = stamp_of(data) if topic in self._images else None
        return stamp, lambda: self._publishers[topic].publish(data)


def image_message(image):
    """uint8 -> mono8 or bgr8 Image, uint16 -> mono16 or bgr16, float32 -> 32FC1; the header is left to the caller."""
    height, width = image.shape[:2]
    if image.dtype.kind == "f":
        encoding = "32FC1" if image.ndim == 2 else "32FC3"
    else:
        encoding = "{}{}".format("bgr" if image.ndim == 3 else "mono", 8 * image.dtype.itemsize)
    msg = Image(height=height, width=width, encoding=encoding, step=image[0].nbytes)
    msg.is_bigendian = int(sys.byteorder == "big")
    msg.data = array.array("B", image.tobytes())  # ten to a hundred times faster than bytes or an ndarray
    return msg


def info_message(header, calibration):
    """CameraInfo of an undistorted camera from {width, height, K}."""
    k = calibration["K"]
    msg = CameraInfo(header=header, width=calibration["width"], height=calibration["height"])
    msg.distortion_model, msg.d, msg.k = "plumb_bob", [0.0] * 5, k
    msg.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    msg.p = k[:3] + [0.0] + k[3:6] + [0.0] + k[6:] + [0.0]
    return msg


def main(args=None):
    """Play to the end, or until SIGINT or SIGTERM. Returns the exit code."""
    return run("player", Player, args)


if __name__ == "__main__":
    sys.exit(main())
