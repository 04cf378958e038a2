"""Recorded images as messages, one after the other: of a folder, a video or a bag. For the player and the replay."""

import array
import os
import sys

from sensor_msgs.msg import CameraInfo, Image

from ..errors import ImageError, PerceptionError
from ..recording.bag import open_bag
from ..recording.bag_inputs import IMAGE_TYPES, inputs, message_class, stamp_of
from ..recording.calibration_file import camera_of
from ..recording.sources import Images, Video
from .messages import seconds_to_stamp
from .qos import STATIC


def make_tape(node, values, image_qos, names=None, skip=None, warn=None):
    """What `values` say is to be played.

    Args:
        node: the rclpy node that publishes. image_qos: of images and camera_info.
        values: the player's parameters folder, list, video, bag, topics, rate, fps, frame_id and start_stamp_s.
        names: {topic of the bag: name under which it is published}, where they differ.
        skip: skip(why) is called for an image that cannot be read; None ends the tape by an ImageError.
        warn: warn(sentence); None: the node's log.

    Raises:
        PerceptionError: it is not one thing, or cannot be read.
    """
    given = [name for name in ("folder", "video", "bag") if values[name]]
    if len(given) != 1:
        raise PerceptionError("set exactly one of the parameters folder, video and bag; {} are set".format(len(given)))
    path, warn = os.path.expanduser(values[given[0]]), warn or node.get_logger().warning
    if given == ["bag"]:
        return BagTape(node, values, path, image_qos, names or {}, warn)
    source = Video(path) if given == ["video"] else Images(path, values["list"])
    return PictureTape(node, values, source, image_qos, skip, warn)


class PictureTape:
    """A folder or a video. Iterating yields (pause in seconds before it, make); make() -> (stamp, publish).

    A stamp is (sec, nanosec) of an image, or None for other messages.

    Attributes:
        images (list): the publishers of images. name (str): of the newest image's file, or ''.
    """

    def __init__(self, node, values, source, image_qos, skip, warn):
        self._node, self._source, self._calibration = node, source, source.calibration
        self._fps = values["fps"] or source.fps
        self._frame_id = values["frame_id"] or self._calibration.get("frame_id", "camera")
        self._start_s, self._index = values["start_stamp_s"], 0
        self._skip, self.name = skip, ""
        self.images = [node.create_publisher(Image, "image_raw", image_qos)]
        self._infos = node.create_publisher(CameraInfo, "camera_info", image_qos)
        problem = camera_of(self._calibration)[1]
        if problem:
            warn(problem)
        self._warn, self._told = warn, set()
        self._tell_notes()

    @property
    def publishers(self):
        """All publishers."""
        return self.images + [self._infos]

    def __iter__(self):
        for name, image, problem in self._source.named():
            self.name = name
            self._tell_notes()
            if problem and self._skip is None:
                raise ImageError(problem)
            if problem:
                self._skip(problem)
                self._index += 1  # its place in time is kept
                continue
            yield (1.0 / self._fps if self._index else 0.0), lambda i=image: self._make(i)
        self._tell_notes()

    def _tell_notes(self):
        """What the source has met so far, each sentence once however often it is played."""
        for sentence in self._source.notes:
            if sentence not in self._told:
                self._told.add(sentence)
                self._warn(sentence)

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

    name = ""

    def __init__(self, node, values, path, image_qos, renamed, warn):
        self._bag, self._rate = open_bag(path), values["rate"]
        names, topics = values["topics"], self._bag.topics
        chosen = inputs(topics) if not names else sorted(topics)
        if names not in ("", "all"):
            chosen = [n.strip() for n in names.split(",") if n.strip()]
        for sentence in list(self._bag.notes) + [self._bag.damage]:
            if sentence:
                warn(sentence)
        self._publishers, self._images = {}, set()
        for name in chosen:
            if name not in topics:
                raise PerceptionError("{} has no topic {}; it has: {}".format(path, name, ", ".join(sorted(topics))))
            kind, is_image = message_class(topics[name]), topics[name] in IMAGE_TYPES
            if kind is None:
                text = "{} is not played: no package is installed for {}"
                warn(text.format(name, topics[name]))
                continue
            qos = image_qos if is_image else STATIC if name.endswith(("tf_static", "label_info")) else 10
            self._publishers[name] = node.create_publisher(kind, renamed.get(name, name), qos)
            if is_image:
                self._images.add(name)
        self.images = [self._publishers[name] for name in sorted(self._images)]
        if not self.images:
            raise PerceptionError("no images to play in {}; its topics: {}".format(path, ", ".join(sorted(topics))))

    @property
    def publishers(self):
        """All publishers."""
        return list(self._publishers.values())

    def __iter__(self):
        before_ns = None
        for topic, stamp_ns, data in self._bag.messages(sorted(self._publishers)):
            pause_s = 0.0 if before_ns is None else max(1e-9 * (stamp_ns - before_ns) / self._rate, 0.0)
            before_ns = stamp_ns
            yield pause_s, lambda t=topic, d=data: self._make(t, d)

    def _make(self, topic, data):
        stamp = stamp_of(data) if topic in self._images else None
        return stamp, lambda: self._publishers[topic].publish(data)


_ENCODINGS = {("uint8", 2): "mono8", ("uint8", 3): "bgr8", ("uint16", 2): "mono16", ("uint16", 3): "bgr16"}


def image_message(image):
    """(H, W) or BGR (H, W, 3) of uint8 or uint16, or float32 (H, W) -> Image; the header is left to the caller."""
    encoding = _ENCODINGS.get((image.dtype.name, image.ndim), "32FC1")
    if encoding == "32FC1" and (image.ndim, image.dtype.name) != (2, "float32"):
        raise ImageError("no message holds colour images of {}; convert them to 8 or 16 bits".format(image.dtype))
    height, width = image.shape[:2]
    msg = Image(height=height, width=width, encoding=encoding, step=image[0].nbytes)
    msg.is_bigendian = int(sys.byteorder == "big")
    msg.data = array.array("B", image.tobytes())  # ten to a hundred times faster than bytes or an ndarray
    return msg


def info_message(header, calibration):
    """CameraInfo from {width, height, K} and, where there are, D and distortion_model."""
    k, d = calibration["K"], calibration.get("D") or [0.0] * 5
    msg = CameraInfo(header=header, width=calibration["width"], height=calibration["height"])
    msg.distortion_model, msg.d, msg.k = calibration.get("distortion_model", "plumb_bob"), d, k
    msg.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    msg.p = k[:3] + [0.0] + k[3:6] + [0.0] + k[6:] + [0.0]
    return msg
