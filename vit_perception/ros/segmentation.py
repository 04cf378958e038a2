"""The ROS edge of masks: ~/segmentation with its labels, and the service ~/find_landing with ~/landing."""

import array
import json
import threading
import time
from typing import Any, List

import numpy as np
from geometry_msgs.msg import PointStamped
from sensor_msgs.msg import Image

from ..avoidance.geometry import Mount
from ..errors import PerceptionError
from ..segmentation.class_map import shares
from ..segmentation.landing import NO_PROOF, find_place, flat_classes
from . import messages
from .qos import LATCHED
from .service import Trigger, offer
from .topics import Topics

SHARES_EVERY_S = 1.0  # as often as /diagnostics
ANSWER_WITHIN_S = 2.0  # a caller hears within this time that no image came


class Segmentation:
    """The node's part while it is configured, where its bundle segments.

    `image` runs in the worker's thread, after all that is published of an image's detections. It takes the class map
    out of the engine only if somebody wants it: a subscriber, a caller of ~/find_landing, once a second /diagnostics.

    Args:
        node: the rclpy node. values: its parameters by name, watched. bundle: a `Bundle` that segments.
        warn: warn(kind, sentence), which throttles. keep: as of `Publishers`.

    Raises:
        PerceptionError: landing.classes names what the masks do not have.
    """

    def __init__(self, node, values, bundle, warn, keep):
        self._node, self._values, self._topics = node, values, Topics(node, warn, keep)
        self.labels, self._shares, self._shared_s = bundle.segmentation["labels"], [], -float("inf")
        self._asked: List[Asked] = []  # callers of ~/find_landing that wait for an image
        self._flat: Any = None
        self._landing: Any = None
        self._service: Any = None
        if values["landing.enabled"]:
            self._flat = flat_classes(values["landing.classes"], self.labels)
            if Trigger is None:
                raise PerceptionError("landing.enabled needs the package std_srvs, which is not installed")
        self._mask = self._topics.create(Image, "~/segmentation", 5)
        kind = messages.LabelInfo or messages.VisionInfo
        # Of a node that only segments these are the labels; beside detections, whose labels are others, they have a
        # name of their own.
        names = ["~/segmentation/label_info"] + (["~/label_info"] if values["segment_only"] else [])
        for publisher in [self._topics.create(kind, name, LATCHED) for name in names]:
            msg = messages.label_message(node.get_clock().now().to_msg(), self.labels, 0.0, bundle.name)
            self._topics.send(publisher, msg, latched=True)
        if self._flat is not None:
            self._landing = self._topics.create(PointStamped, "~/landing", 5)
            failed = "cannot look for a landing place: {!r}"
            self._service = offer(node, "~/find_landing", self._answer, failed)

    def image(self, header, size, segmenter, fresh, camera, mount, ego):
        """One image that the engine has computed: its header and (width, height), and what is known of it.

        fresh: it is no picture that stands still; on another one nobody is told to land.

        Returns:
            class_map(): its class map, uint8 (h', w'), taken out of the engine at the first call.
        """
        kept: List[np.ndarray] = []

        def class_map():
            if not kept:
                kept.append(segmenter.newest(*size))
            return kept[0]

        if self._mask.get_subscription_count() > 0:
            self._topics.send(self._mask, mask_message(header, class_map()))
        if self._asked and fresh:
            what = (class_map(), header, camera, mount, ego)
            complete = camera is not None and ego is not None and ego.height_m is not None and ego.level is not None
            for asked in list(self._asked):
                asked.tell(what, complete)
        now = time.monotonic()
        if now - self._shared_s >= SHARES_EVERY_S:
            self._shared_s, self._shares = now, shares(class_map(), len(self.labels))
        return class_map

    def _answer(self):
        asked = Asked()
        self._asked.append(asked)
        asked.told.wait(ANSWER_WITHIN_S)
        self._asked.remove(asked)
        if not asked.what:
            text = "no landing place: no fresh image with a mask came within {:.0f} s"
            raise PerceptionError(text.format(ANSWER_WITHIN_S))
        return True, self._find(*asked.what)

    def _find(self, mask, header, camera, mount, ego):
        """The answer's text, JSON; publishes the point. Raises PerceptionError: there is none, and why."""
        v = self._values
        needed_m = 0.5 * v["corridor.width_m"] + v["corridor.margin_m"]
        mount = mount_of(v) if mount is None else mount
        point, search_m, sigma = v["landing.point"], v["landing.search_m"], v["obstacles.height_sigma_m"]
        place = find_place(mask, self._flat, camera, mount, ego, point, search_m, needed_m, sigma)
        msg = PointStamped()
        msg.header.stamp, msg.header.frame_id = header.stamp, v["base_frame"]
        msg.point.x, msg.point.y, msg.point.z = (float(p) for p in place.position)
        self._topics.send(self._landing, msg)
        found = {"radius_m": round(place.radius_m, 2), "radius_sigma_m": round(place.radius_sigma_m, 2)}
        found.update(zip("xyz", (round(float(p), 2) for p in place.position)), frame_id=v["base_frame"])
        found.update(zip("uv", (round(p, 1) for p in place.pixel)))
        stamp = {"sec": header.stamp.sec, "nanosec": header.stamp.nanosec}
        return json.dumps(dict(found, needed_m=needed_m, stamp=stamp, note=NO_PROOF))

    def status(self):
        """{key: text} for /diagnostics: the share of the view that each class has, of an image at most a second old."""
        return {"share_{}".format(n): "{:.4f}".format(s) for n, s in zip(self.labels, self._shares)}

    def subscribers(self):
        """{last part of a topic's name: how many subscribers it has found}."""
        return {"segmentation": self._mask.get_subscription_count()}

    def close(self):
        """Take the topics and the service away."""
        self._topics.close()
        if self._service is not None:
            self._node.destroy_service(self._service)


class Asked:
    """One call of ~/find_landing: it waits in `told` for an image that comes with all that is needed.

    `what` is that image, or else the newest: odometry that pauses for a moment refuses nobody a place to land.
    """

    def __init__(self):
        self.told = threading.Event()
        self.what: Any = ()

    def tell(self, what, complete):
        """complete: calibration, height and attitude are known, so that the answer need not wait for another image."""
        if not self.told.is_set():
            self.what = what
        if complete:
            self.told.set()


def mount_of(values):
    """The camera's `Mount` of the parameters obstacles.camera_*_deg."""
    return Mount.from_angles(*(values["obstacles.camera_{}_deg".format(a)] for a in ("yaw", "pitch", "roll")))


def mask_message(header, mask):
    """uint8 (h, w) of class indices -> sensor_msgs/Image mono8 under the header of the image that it is of."""
    height, width = mask.shape
    msg = Image(header=header, height=height, width=width, encoding="mono8", step=width)
    data = array.array("B")  # ten to a hundred times faster for rclpy than bytes or an ndarray
    data.frombytes(mask.tobytes())
    msg.data = data
    return msg
