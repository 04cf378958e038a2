"""Recorded images as a camera: a folder or a video as image_raw and camera_info, or a bag as it was recorded.

    ros2 run vit_perception player --ros-args -p folder:=flight -p fps:=10.0
    ros2 run vit_perception player --ros-args -p bag:=flight_bag -r /camera/image_raw:=/image_raw

camera.yaml in the folder, or beside it or the video, holds width, height, fps, frame_id, K (9 numbers) and D; one that
camera_calibration wrote is taken as well.
A bag's messages keep their names and stamps; a recorded topic is remapped like any other.
"""

import sys
import threading
import time

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from .errors import PerceptionError
from .parameters import Spec
from .ros.node_parameters import declare
from .ros.process import run
from .ros.tapes import make_tape

SPECS = (
    Spec("folder", "", None, None, "", True, "folder of images, played in the order of the numbers in their names"),
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
    Spec("lockstep_topic", "", None, None, "", True, "wait on it for each image's detections, or mask"),
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
        self._awaited = None  # (sec, nanosec) of the image whose detections, or mask, are awaited
        self._answer = threading.Event()
        self._answers = None
        reliability = ReliabilityPolicy.RELIABLE if self.values["reliable"] else ReliabilityPolicy.BEST_EFFORT
        self._tape = make_tape(self, self.values, QoSProfile(depth=10, reliability=reliability))
        if self.values["lockstep_topic"]:
            topic = self.values["lockstep_topic"]
            kind = Image if topic.endswith("segmentation") else Detection2DArray
            self._answers = self.create_subscription(kind, topic, self._on_answer, 10)
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

    def _on_answer(self, msg):
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


def main(args=None):
    """Play to the end, or until SIGINT or SIGTERM. Returns the exit code."""
    return run("player", Player, args)


if __name__ == "__main__":
    sys.exit(main())
