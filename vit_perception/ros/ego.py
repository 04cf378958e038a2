"""The vehicle's own topics: velocity, turning, attitude, height, and where the camera sits.

All of them are optional. A value that is missing, stale or not a number is None in `Ego`.
"""

import math
import time

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from sensor_msgs.msg import NavSatFix, Range

from ..avoidance.geometry import Ego, level_from_rotation, matrix_from_quaternion
from .messages import stamp_to_seconds
from .qos import BEST_EFFORT_NEWEST, STATIC
from .transforms import StaticTransforms

try:
    from nav_msgs.msg import Odometry
except ImportError:
    Odometry = None
try:
    from tf2_msgs.msg import TFMessage
except ImportError:
    TFMessage = None

MAX_AGE_S = 0.5
MOST = 1e4  # m, m/s, rad/s: a message that says more is garbage
LOOKS_UP = 0.7  # sine of 45 degrees, about: no camera that looks for obstacles is mounted so


class EgoInputs:
    """Keeps the newest message of each input, and makes the `Ego` of a frame from them.

    Callbacks run in the executor's thread, `ego` and `mount` in the worker's; each hand-over is one assignment.

    Args:
        base_frame: of the vehicle, FLU, as odometry and TF call it.
        height_source: one of `parameters.HEIGHT_SOURCES`: whose z, or range to the ground, is base_link's height.
        warn: warn(key, sentence), which throttles.
    """

    def __init__(self, base_frame, height_source, warn):
        self.base_frame, self.height_source, self._warn = base_frame, height_source, warn
        self.transforms = StaticTransforms()
        self.listener = None  # called with the arguments of `take`, after them
        self._newest = {}  # name of the input -> (time of arrival on the steady clock, message)
        self._mounts = {}  # camera frame -> Mount or None, until the transforms change
        self.mount_problem = ""  # one sentence, where the newest mount is rather that of another frame

    def subscribe(self, node):
        """Subscribe what this environment has message packages for; returns the subscriptions."""
        kinds = {"twist": TwistStamped, "odometry": Odometry, "fix": NavSatFix}
        kinds["height"] = {"pose": PoseStamped, "range": Range}.get(self.height_source)
        found = [self._listen(node, kind, topic) for topic, kind in kinds.items() if kind is not None]
        if TFMessage is not None:
            found.append(node.create_subscription(TFMessage, "/tf_static", self.on_transforms, STATIC))
        return found

    def _listen(self, node, kind, topic):
        def on_message(msg):
            self.take(topic, msg, time.monotonic())

        return node.create_subscription(kind, topic, on_message, BEST_EFFORT_NEWEST)

    def take(self, name, msg, now_s):
        """Keep `msg`, that arrived at steady time `now_s` on 'odometry', 'twist', 'height' or 'fix'."""
        self._newest[name] = (now_s, msg)
        if self.listener is not None:
            self.listener(name, msg, now_s)

    def on_transforms(self, msg):
        """Take a tf2_msgs/TFMessage of /tf_static."""
        for t in msg.transforms:
            q, v = t.transform.rotation, t.transform.translation
            if not self.transforms.set(t.header.frame_id, t.child_frame_id, (q.x, q.y, q.z, q.w), (v.x, v.y, v.z)):
                pair = "{} <- {}".format(t.header.frame_id, t.child_frame_id)
                self._warn("transform", "the transform {} in /tf_static is none and was ignored".format(pair))
        self._mounts = {}

    def mount(self, camera_frame):
        """Mount of the camera with this optical frame, or None (with a warning) if /tf_static does not connect it."""
        mounts = self._mounts
        if len(mounts) > 16:  # frame ids that change from image to image must not fill the memory
            mounts.clear()
        if camera_frame not in mounts:
            mounts[camera_frame] = self.transforms.mount(self.base_frame, camera_frame)
        if mounts[camera_frame] is None:
            text = "no transform {} <- {} in /tf_static: the camera's mount is taken from obstacles.camera_*_deg"
            self._warn("mount", text.format(self.base_frame, camera_frame))
            self.mount_problem = ""
        else:
            self.mount_problem = _frame_problem(camera_frame, mounts[camera_frame])
        return mounts[camera_frame]

    def ego(self, now_s):
        """Ego from what arrived less than MAX_AGE_S before steady time `now_s`, or None if that is nothing."""
        odometry, twist, height = (self._fresh(n, now_s) for n in ("odometry", "twist", "height"))
        to_world = world = None
        if odometry is not None:
            to_world, world = _rotation(odometry.pose.pose), odometry.header.frame_id
        elif self.height_source == "pose" and height is not None:
            to_world, world = _rotation(height.pose), height.header.frame_id
        velocity = angular = None
        if odometry is not None:
            velocity, angular = self._motion(odometry.twist.twist, odometry.child_frame_id, to_world, world)
        if velocity is None and twist is not None:
            velocity, angular = self._motion(twist.twist, twist.header.frame_id, to_world, world)
        level = None if to_world is None else level_from_rotation(to_world)
        height_m = self._height(odometry, height, level)
        if velocity is None and angular is None and level is None and height_m is None:
            return None
        source = odometry or twist or height
        return Ego(velocity, angular, level, height_m, stamp_to_seconds(source.header.stamp))

    def known(self, now_s):
        """What `ego` knows at steady time `now_s`, in words for /diagnostics."""
        ego = self.ego(now_s)
        names = ("velocity", "angular_velocity", "level", "height_m")
        return ", ".join(n for n in names if ego is not None and getattr(ego, n) is not None) or "nothing"

    def _fresh(self, name, now_s):
        arrived, msg = self._newest.get(name, (None, None))
        return msg if arrived is not None and now_s - arrived <= MAX_AGE_S else None

    def _motion(self, twist, frame, to_world, world):
        """(velocity, angular velocity) in base_link of a Twist in `frame`; None for what is not known there."""
        rotation = self._to_base(frame, to_world, world)
        if rotation is None:
            text = "velocity is given in frame '{}', which nothing connects with {}: it is not used"
            self._warn("velocity", text.format(frame, self.base_frame))
            return None, None
        vectors = (np.array([v.x, v.y, v.z]) for v in (twist.linear, twist.angular))
        return tuple(rotation.dot(v) if (np.abs(v) < MOST).all() else None for v in vectors)  # NaN is not less

    def _to_base(self, frame, to_world, world):
        if frame in ("", self.base_frame):
            return np.identity(3)
        if frame == world:
            return None if to_world is None else to_world.T
        found = self.transforms.find(self.base_frame, frame)
        return None if found is None else found[0]

    def _height(self, odometry, height, level):
        if self.height_source == "odometry" and odometry is not None:
            value = odometry.pose.pose.position.z
        elif self.height_source == "pose" and height is not None:
            value = height.pose.position.z
        elif self.height_source == "range" and height is not None:
            if not (height.max_range > height.min_range >= 0):  # also where one of them is no number
                text = "Range messages have no usable limits (min_range {}, max_range {}): any distance is taken"
                self._warn("range_limits", text.format(height.min_range, height.max_range))
            elif not height.min_range <= height.range <= height.max_range:
                return None
            value = height.range * (1.0 if level is None else level[2, 2])  # along the tilted body's z
        else:
            return None
        return float(value) if 0 < value < MOST else None


def _frame_problem(frame, mount):
    """One sentence if `frame` is rather the camera's body (x forward, z up) than its optical frame, or ''.

    Taken for an optical frame, a body frame looks up where the camera looks ahead, and lies on its side where the
    camera looks down: z is up or ahead then, and x is ahead or down.
    """
    right, axis = mount.rotation[2, 0], mount.rotation[2, 2]  # how far up x and z of the frame point
    if axis > LOOKS_UP:
        what = "looks {:.0f} deg up".format(math.degrees(math.asin(min(axis, 1.0))))
    elif abs(right) > LOOKS_UP:
        what = "lies on its side"
    else:
        return ""
    text = "by /tf_static the camera {}; is '{}' an optical frame (z forward, x right; REP 103)? Give images the "
    text += "optical frame's frame_id, or set mount_from_tf to false: until then the scan may leave out what is ahead"
    return text.format(what, frame)


def _rotation(pose):
    q = pose.orientation
    return matrix_from_quaternion(q.x, q.y, q.z, q.w)
