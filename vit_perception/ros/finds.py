"""The ROS edge of finds: fix, orientation and height in; ~/finds, ~/find and the service ~/write_finds out."""

import json
import math
import time
from collections import deque
from typing import Deque

import numpy as np
from sensor_msgs.msg import NavSatFix, NavSatStatus
from vision_msgs.msg import Detection3DArray

from ..avoidance.geometry import matrix_from_quaternion
from ..errors import PerceptionError
from ..finds.exports import records
from ..finds.search import Search
from . import px4_pose
from .messages import finds_message, seconds_to_stamp, stamp_to_seconds
from .publishers import installed
from .qos import BEST_EFFORT_NEWEST
from .service import Trigger, offer
from .topics import Topics

MAP_FRAME = "map"  # REP 105: ENU, about the first position
LIST_EVERY_S = 1.0  # of ~/finds
MOST_LISTED = 1000  # confirmed finds in ~/finds and in the service's answer
MOST_WAITING = 4000  # messages of the vehicle that wait for an image
GROUND_SIGMA_M = 5.0  # of the ground's altitude little is known


class FindsInputs:
    """What the vehicle's messages tell a `Search`: (name of its method, arguments). Used by node and replay.

    Args:
        values: the node's parameters by name. warn: warn(kind, sentence), which throttles.
    """

    def __init__(self, values, warn):
        self._heading, self._height = values["finds.heading_source"], values["height_source"]
        self._warn = warn

    def read(self, name, msg, ego_inputs, now_s):
        """Of a message on 'fix', 'odometry' or 'height' that arrived at steady time `now_s` and `ego_inputs` took."""
        if name == "fix":
            return self._fix(msg)
        calls, stamp_s = [], stamp_to_seconds(msg.header.stamp)
        if (name, self._heading) in (("odometry", "odometry"), ("height", "pose")):
            q = getattr(msg.pose, "pose", msg.pose).orientation
            calls.append(("add_orientation", (stamp_s, matrix_from_quaternion(q.x, q.y, q.z, q.w))))
        if name == ("odometry" if self._height == "odometry" else "height"):
            ego = ego_inputs.ego(now_s)
            calls.append(("add_height", (stamp_s, None if ego is None else ego.height_m)))
        return calls

    def read_px4(self, name, msg):
        """Of a px4_msgs/VehicleAttitude or VehicleGlobalPosition: 'attitude' or 'position'."""
        if name == "attitude":
            return px4_pose.of_attitude(msg)
        return px4_pose.of_position(msg, self._height == "none", self._warn)

    def _fix(self, msg):
        if self._heading == "px4":
            return []  # PX4 tells where it is itself
        if msg.status.status < NavSatStatus.STATUS_FIX:
            text = "the receiver has no fix: no finds until it has one"
            if msg.status.status < NavSatStatus.STATUS_NO_FIX:  # STATUS_UNKNOWN, what newer messages begin with
                text = "status.status in fix is {}: its publisher does not say whether it has a fix, so no finds"
            self._warn("finds_fix", text.format(msg.status.status))
            return []
        for source, text in ((self._heading, "finds.heading_source"), (self._height, "height_source")):
            if source == "none":
                self._warn("finds_off", "positions come, but {} is none: no finds without it".format(text))
        sigma = None
        if msg.position_covariance_type != NavSatFix.COVARIANCE_TYPE_UNKNOWN:
            variance = max(msg.position_covariance[0], msg.position_covariance[4])
            sigma = math.sqrt(variance) if math.isfinite(variance) and variance > 0 else None
        return [("add_fix", (stamp_to_seconds(msg.header.stamp), msg.latitude, msg.longitude, msg.altitude, sigma))]


class Finds:
    """The node's part, while it is configured.

    The vehicle's messages come in the executor's thread and are kept, as plain values, until the next image takes them
    in the worker's: `search` belongs to the worker.

    Args:
        node: the rclpy node, with `ego_inputs`. values: its parameters. labels: the model's. keep: of `Dump`, or None.

    Attributes:
        search (`Search`).

    Raises:
        PerceptionError: the search area cannot be read, or px4_msgs is missed.
    """

    def __init__(self, node, values, labels, warn, keep):
        self._node, self._topics = node, Topics(node, warn, keep)
        self.search, self._inputs = Search(values, labels, warn), FindsInputs(values, warn)
        self._waiting: Deque[tuple] = deque(maxlen=MOST_WAITING)
        self._listed_s = -float("inf")
        self._list = self._topics.create(Detection3DArray, "~/finds", 5)
        self._find = self._topics.create(NavSatFix, "~/find", 50)
        self._px4 = self._subscribe_px4() if values["finds.heading_source"] == "px4" else []
        self._service = None
        if Trigger is not None:
            self._service = offer(node, "~/write_finds", self._written, "cannot write the finds: {!r}")

    def _subscribe_px4(self):
        kinds = (("attitude", px4_pose.VehicleAttitude), ("position", px4_pose.VehicleGlobalPosition))
        topics = {"attitude": px4_pose.ATTITUDE, "position": px4_pose.POSITION}

        def listen(name, kind):
            def on_message(msg):
                self._waiting.extend(self._inputs.read_px4(name, msg))

            kind = installed(kind, "finds.heading_source: px4", "px4_msgs")
            return self._node.create_subscription(kind, topics[name], on_message, BEST_EFFORT_NEWEST)

        return [listen(name, kind) for name, kind in kinds]

    def take(self, name, msg, now_s):
        """Keep what a message of the vehicle tells; in the executor's thread."""
        if name in ("fix", "odometry", "height"):
            self._waiting.extend(self._inputs.read(name, msg, self._node.ego_inputs, now_s))

    def image(self, header, seen, camera, mount):
        """One image: a `FrameDetections`, its camera or None, and mount; in the worker's thread."""
        while self._waiting:
            method, arguments = self._waiting.popleft()
            getattr(self.search, method)(*arguments)
        if self.search.frame is not None:
            self._publish(header.stamp, self.search.add_image(
                seen.stamp_s, seen.tracks, seen.image, seen.order, camera, mount
            ))  # fmt: skip

    def _publish(self, stamp, news):
        for find in news:
            self._topics.send(self._find, find_message(find, self.search.frame, type(stamp)()))
        now = time.monotonic()
        if now - self._listed_s >= LIST_EVERY_S:
            self._listed_s = now
            self._topics.send(self._list, finds_message(stamp, MAP_FRAME, self._confirmed()))

    def _confirmed(self):
        sure = [f for f in list(self.search.finds.finds.values()) if f.confirmed]
        return sorted(sure, key=lambda f: -f.score)[:MOST_LISTED]

    def _written(self):
        """(success, text): the folder and the list, or one sentence."""
        search = self.search
        if search.frame is None:
            return False, "no finds yet: {}".format(search.missing())
        try:
            folder = search.writer.write_now(search) if search.writer is not None else ""
        except PerceptionError as e:
            return False, str(e)
        names = ("id", "label", "latitude", "longitude", "sigma_m", "score", "last")
        rows = [{n: row[n] for n in names} for row in records(self._confirmed(), search.frame)]
        return True, json.dumps({"folder": folder, "finds": rows})

    def status(self):
        """{key: text} for /diagnostics."""
        search = self.search
        sure = sum(f.confirmed for f in list(search.finds.finds.values()))
        values = {"finds": "{} confirmed, {} in all".format(sure, len(search.finds.finds))}
        values["finds_images"] = "{} placed, {} without a pose".format(search.placed, search.unplaced)
        if search.missing():
            values["finds_missing"] = search.missing()
        if search.writer is not None and search.writer.failure:
            values["finds_files"] = search.writer.failure
        return values

    def subscribers(self):
        """{last part of a topic's name: how many subscribers it has found}."""
        return self._topics.subscribers()

    def close(self):
        """Write what is known and take the topics away."""
        self.search.close()
        self._topics.close()
        for subscription in self._px4:
            self._node.destroy_subscription(subscription)
        if self._service is not None:
            self._node.destroy_service(self._service)


def find_message(find, frame, stamp):
    """NavSatFix of a `Find`: where it is, with its covariance in ENU, at the stamp of its last look.

    stamp: a builtin_interfaces/Time to write it into.
    """
    latitude, longitude, _ = frame.to_geodetic(find.state[0], find.state[1])
    msg = NavSatFix(latitude=latitude, longitude=longitude)
    msg.altitude = float("nan") if find.ground_m is None else float(find.ground_m)
    msg.header.stamp, msg.header.frame_id = seconds_to_stamp(find.last_s, stamp), MAP_FRAME
    msg.status.status, msg.status.service = NavSatStatus.STATUS_FIX, NavSatStatus.SERVICE_GPS
    covariance = np.zeros((3, 3))
    covariance[:2, :2] = find.covariance[:2, :2]
    covariance[2, 2] = GROUND_SIGMA_M**2
    msg.position_covariance = covariance.ravel()
    msg.position_covariance_type = NavSatFix.COVARIANCE_TYPE_KNOWN
    return msg
