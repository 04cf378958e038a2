"""A folder of images as a camera: publishes image_raw and camera_info. For demos, replay and benchmarks.

    ros2 run vit_perception player --ros-args -p folder:=flight -p fps:=10.0

camera.yaml in the folder or beside it, if there is one, holds width, height, fps, frame_id and K (9 numbers).
"""

import array
import os
import sys
import threading
import time

import cv2
import yaml
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import Detection2DArray

from .errors import PerceptionError
from .messages import seconds_to_stamp
from .parameters import Spec, declare
from .process import run

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")

SPECS = (
    Spec("folder", "", None, None, "", True, "folder of images, played in the order of their names"),
    Spec("list", "", None, None, "", True, "file with one image name per line; empty plays the folder"),
    Spec("fps", 0.0, 0.0, 1000.0, "Hz", True, "images a second; 0 takes camera.yaml's, or 10"),
    Spec("frame_id", "", None, None, "", True, "frame_id of the images; empty takes camera.yaml's, or camera"),
    Spec("loop", False, None, None, "", True, "start again after the last image"),
    Spec("reliable", False, None, None, "", True, "publish RELIABLE rather than as a sensor"),
    Spec("wait_for_subscribers", 1, 0, 100, "", True, "start when image_raw has as many subscribers"),
    Spec("wait_timeout_s", 30.0, 0.0, 3600.0, "s", True, "give up waiting for subscribers after"),
    Spec("start_stamp_s", 0.0, 0.0, 4e9, "s", True, "first stamp, the others 1/fps apart; 0 takes the clock"),
    Spec("lockstep_topic", "", None, None, "", True, "wait on it for each image's detections"),
    Spec("lockstep_timeout_s", 5.0, 0.01, 3600.0, "s", True, "go on without the answer after"),
)


class Player(Node):
    """Publishes the images from its own thread, then sets the event `done`.

    Raises:
        PerceptionError: the folder, the list or camera.yaml cannot be used.
    """

    def __init__(self, done):
        super().__init__("player")
        self.values = declare(self, SPECS)
        folder = os.path.expanduser(self.values["folder"])
        self.files = find_images(folder, self.values["list"])
        self.calibration = read_calibration(folder)
        self.fps = self.values["fps"] or self.calibration.get("fps", 10.0)
        self.frame_id = self.values["frame_id"] or self.calibration.get("frame_id", "camera")
        self.published = self.unanswered = 0
        reliability = ReliabilityPolicy.RELIABLE if self.values["reliable"] else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=10, reliability=reliability)
        self._images = self.create_publisher(Image, "image_raw", qos)
        self._infos = self.create_publisher(CameraInfo, "camera_info", qos)
        self._awaited = None  # (sec, nanosec) of the image whose detections are awaited
        self._answer = threading.Event()
        self._answers = None
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

    def _run(self):
        try:
            self._wait_for_subscribers()
            self._play()
        except Exception as e:  # for close() to raise in the main thread
            self._error = e
        self._done.set()

    def _play(self):
        index, due = 0, time.monotonic()
        while not self._done.is_set() and (index < len(self.files) or self.values["loop"]):
            self._publish(self.files[index % len(self.files)], index)
            index += 1
            due = max(due + 1.0 / self.fps, time.monotonic())  # after a delay: no burst to catch up
            self._done.wait(due - time.monotonic())

    def _on_detections(self, msg):
        if (msg.header.stamp.sec, msg.header.stamp.nanosec) == self._awaited:
            self._answer.set()

    def _wait_for_subscribers(self):
        deadline = time.monotonic() + self.values["wait_timeout_s"]
        while not self._done.is_set():
            count = self._images.get_subscription_count()
            if count >= self.values["wait_for_subscribers"] and self._lockstep_is_ready():
                self._done.wait(0.2)  # the other side may know us a moment later
                return
            if time.monotonic() > deadline:
                lacking = "{} has {} subscribers".format(self._images.topic_name, count)
                if count >= self.values["wait_for_subscribers"]:
                    lacking = "nobody publishes {}".format(self.values["lockstep_topic"])
                wait = self.values["wait_timeout_s"]
                raise PerceptionError("{} after {} s; start the node, or check topic names".format(lacking, wait))
            self._done.wait(0.05)

    def _lockstep_is_ready(self):
        return self._answers is None or self.count_publishers(self._answers.topic_name) > 0

    def _publish(self, name, index):
        image = cv2.imread(name, cv2.IMREAD_UNCHANGED)
        if image is None or image.dtype.name != "uint8" or image.ndim == 3 and image.shape[2] != 3:
            raise PerceptionError("cannot play {}: not an 8-bit gray or colour image".format(name))
        msg = image_message(image)
        if self.values["start_stamp_s"] > 0:
            seconds_to_stamp(self.values["start_stamp_s"] + index / self.fps, msg.header.stamp)
        else:
            msg.header.stamp = self.get_clock().now().to_msg()
        msg.header.frame_id = self.frame_id
        self._answer.clear()
        self._awaited = (msg.header.stamp.sec, msg.header.stamp.nanosec)
        if "K" in self.calibration:
            self._infos.publish(info_message(msg.header, self.calibration))
        self._images.publish(msg)
        self.published += 1
        if self._answers is not None and not self._answered():
            self.unanswered += 1

    def _answered(self):
        deadline = time.monotonic() + self.values["lockstep_timeout_s"]
        while time.monotonic() < deadline and not self._done.is_set():
            if self._answer.wait(0.1):
                return True
        return False


def find_images(folder, list_file=""):
    """Paths of the images to play. Raises PerceptionError if there are none, or a listed one is missing."""
    if not os.path.isdir(folder):
        raise PerceptionError("no folder '{}'; set the parameter folder to a folder of images".format(folder))
    if list_file:
        try:
            with open(os.path.expanduser(list_file)) as f:
                names = [line.strip() for line in f if line.strip()]
        except (OSError, UnicodeDecodeError) as e:
            raise PerceptionError("cannot read the list of images: {}".format(e)) from None
    else:
        names = sorted(n for n in os.listdir(folder) if n.lower().endswith(IMAGES))
    missing = [n for n in names if not os.path.isfile(os.path.join(folder, n))]
    if missing:
        text = "{} of {} listed images are not in {}, first: {}"
        raise PerceptionError(text.format(len(missing), len(names), folder, missing[0]))
    if not names:
        raise PerceptionError("no images in {}; supported: {}".format(list_file or folder, " ".join(IMAGES)))
    return [os.path.join(folder, n) for n in names]


def read_calibration(folder):
    """camera.yaml in `folder` or beside it as a dict, {} if there is none. PerceptionError if it is malformed."""
    places = [os.path.join(p, "camera.yaml") for p in (folder, os.path.dirname(os.path.abspath(folder)))]
    path = next((p for p in places if os.path.isfile(p)), None)
    if path is None:
        return {}
    try:
        with open(path) as f:
            values = yaml.safe_load(f)
        if not isinstance(values, dict):
            raise ValueError("no names and values")
        if "K" in values:
            values["K"] = [float(v) for v in values["K"]]
            values["width"], values["height"] = int(values["width"]), int(values["height"])
            if len(values["K"]) != 9:
                raise ValueError("K has {} numbers, not 9".format(len(values["K"])))
        if "fps" in values:
            values["fps"] = float(values["fps"])
            if not values["fps"] > 0:
                raise ValueError("fps must be positive")
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as e:
        text = "{} is malformed ({}); it needs width, height, fps, frame_id, K"
        raise PerceptionError(text.format(path, " ".join(str(e).split()))) from None
    return values


def image_message(image):
    """uint8 (H, W) -> mono8 Image, (H, W, 3) -> bgr8; the header is left to the caller."""
    height, width = image.shape[:2]
    channels = 1 if image.ndim == 2 else 3
    encoding = "mono8" if channels == 1 else "bgr8"
    msg = Image(height=height, width=width, encoding=encoding, step=width * channels)
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
