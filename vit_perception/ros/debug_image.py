"""~/debug_image and ~/debug_image/compressed: what the node sees in each picture, only while somebody looks."""

import array
import time

import cv2
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image

from ..draw import draw
from ..errors import PerceptionError
from ..segmentation.overlay import Overlay

NEWEST = QoSProfile(depth=1)  # reliable: RViz's default would not match BEST_EFFORT


class DebugImage:
    """Publishes annotated pictures.

    Args:
        node: the rclpy node. labels: the class names by index.
        values: its parameters by name, read live: `debug.max_rate_hz` (0: every picture), `debug.jpeg_quality` and
            `debug.mask_opacity`.
        segmentation: of the bundle, or None.
    """

    def __init__(self, node, values, labels, segmentation=None):
        self._node, self._values, self._labels, self._segmentation = node, values, labels, segmentation
        self._raw = node.create_publisher(Image, "~/debug_image", NEWEST)
        self._jpeg = node.create_publisher(CompressedImage, "~/debug_image/compressed", NEWEST)
        self._due = 0.0  # steady time of the next picture

    def show(self, header, image, order, result, class_map=None):
        """Draw and publish, if somebody subscribes and it is time for a picture.

        Args:
            header: of the image message; published as it is.
            image, order: as `vit_perception.draw.draw` takes them. result: what the pipeline made of it, or None.
            class_map: class_map() gives its class map; None: it has none.

        Raises:
            cv2.error, PerceptionError: the picture cannot be drawn or encoded; nothing is published then.
        """
        raw, jpeg = (p.get_subscription_count() > 0 for p in (self._raw, self._jpeg))
        now = time.monotonic()
        if not (raw or jpeg) or now < self._due:
            return
        rate = self._values["debug.max_rate_hz"]
        if rate > 0:  # the rate holds on average; a picture that came late delays the next by half a period at least
            self._due = max(self._due, now - 0.5 / rate) + 1.0 / rate
        overlay = None
        if class_map is not None and self._values["debug.mask_opacity"] > 0:
            spec, opacity = self._segmentation, self._values["debug.mask_opacity"]
            overlay = Overlay(class_map(), spec["labels"], spec["colors"], opacity)
        picture = draw(image, order, result, self._labels, overlay=overlay)
        if raw:
            self._raw.publish(bgr_message(header, picture))
        if jpeg:
            self._jpeg.publish(jpeg_message(header, picture, self._values["debug.jpeg_quality"]))

    def subscribers(self):
        """{'debug_image': how many subscribers the raw pictures have}."""
        return {"debug_image": self._raw.get_subscription_count()}

    def close(self):
        """Take both topics away."""
        for publisher in (self._raw, self._jpeg):
            self._node.destroy_publisher(publisher)


def bgr_message(header, picture):
    """uint8 (H, W, 3) BGR, C-contiguous -> sensor_msgs/Image bgr8."""
    height, width = picture.shape[:2]
    msg = Image(header=header, height=height, width=width, encoding="bgr8", step=3 * width)
    msg.data = _bytes(picture)
    return msg


def jpeg_message(header, picture, quality):
    """uint8 (H, W, 3) BGR -> sensor_msgs/CompressedImage, as image_transport's subscribers expect it."""
    done, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    if not done:
        raise PerceptionError("cannot encode a picture of {} x {} as jpeg".format(*picture.shape[1::-1]))
    msg = CompressedImage(header=header, format="bgr8; jpeg compressed bgr8")
    msg.data = _bytes(encoded)
    return msg


def _bytes(values):
    data = array.array("B")  # ten to a hundred times faster for rclpy than bytes or an ndarray
    data.frombytes(values.reshape(-1).data)
    return data
