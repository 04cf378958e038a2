"""Which topics of a bag are the node's inputs, and what their messages say: by rclpy where ROS is, else by rosbags."""

import importlib
import re
import struct

from ..errors import BagError

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
INFO_TYPE = "sensor_msgs/msg/CameraInfo"
INPUT_TYPES = IMAGE_TYPES + (
    INFO_TYPE,
    "nav_msgs/msg/Odometry",
    "geometry_msgs/msg/TwistStamped",
    "geometry_msgs/msg/PoseStamped",
    "sensor_msgs/msg/Range",
    "sensor_msgs/msg/NavSatFix",
    "tf2_msgs/msg/TFMessage",
)
OWN_PICTURE = "/debug_image"  # in the name of a topic: this project's output, no input


def inputs(topics):
    """Names of the topics, of {name: type}, that can be inputs of the node."""
    return sorted(n for n, kind in topics.items() if kind in INPUT_TYPES and OWN_PICTURE not in n)


def find_inputs(topics, given):
    """Which topic of a bag feeds which input of the node.

    Args:
        topics: {name: type} of the bag.
        given: {input: topic} of those that the user names. Inputs are image_raw, camera_info, odometry, twist, height,
            fix and /tf_static.

    Returns:
        {input: topic}, without the inputs that the bag does not have; there is always image_raw.

    Raises:
        BagError: a given topic is not there, or it is unclear which images are meant.
    """
    for name, topic in given.items():
        if topic not in topics:
            text = "the bag has no topic {} for {}; it has: {}"
            raise BagError(text.format(topic, name, ", ".join(sorted(topics)) or "none"))
    images = [n for n in inputs(topics) if topics[n] in IMAGE_TYPES]
    found = {"image_raw": given.get("image_raw") or _only_image(images, topics)}
    if topics[found["image_raw"]] not in IMAGE_TYPES:
        raise BagError("{} holds no images but {}".format(found["image_raw"], topics[found["image_raw"]]))
    infos = [n for n in inputs(topics) if topics[n] == INFO_TYPE]
    beside = _camera(found["image_raw"]) + "/camera_info"
    if beside in infos or len(infos) == 1:
        found["camera_info"] = beside if beside in infos else infos[0]
    found.update({n: "/" + n.lstrip("/") for n in ("odometry", "twist", "height", "fix", "/tf_static")})
    found.update(given)
    return {name: topic for name, topic in found.items() if topic in topics}


def _only_image(images, topics):
    raw = [n for n in images if topics[n] == IMAGE_TYPES[0]] or images
    if len(raw) > 1:
        raw = [n for n in raw if n.endswith(("/image_raw", "/image_raw/compressed"))] or raw
    if len(raw) == 1:
        return raw[0]
    if not raw:
        raise BagError("the bag holds no images; its topics: {}".format(", ".join(sorted(topics)) or "none"))
    raise BagError("the bag holds several image topics, say which is meant: {}".format(", ".join(raw)))


def _camera(image_topic):
    """Namespace of a camera: /front of /front/image_raw and of /front/image_raw/compressed."""
    topic = image_topic[: -len("/compressed")] if image_topic.endswith("/compressed") else image_topic
    return topic.rpartition("/")[0]


def message_class(type_name):
    """The class of 'sensor_msgs/msg/Image', or None where its package is not installed."""
    package, _, name = type_name.partition("/msg/")
    if not (re.match(r"[a-z]\w*$", package) and re.match(r"[A-Z]\w*$", name)):
        return None
    try:
        return getattr(importlib.import_module(package + ".msg"), name, None)
    except ImportError:
        return None


def stamp_of(data):
    """(sec, nanosec) of a serialised message that begins with a header. Raises BagError if there is none."""
    try:
        return struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    except (struct.error, IndexError):
        raise BagError("an image in the bag is damaged: it has {} bytes".format(len(data))) from None


def make_decoder():
    """decode(data, type name) -> message: of rclpy where it is installed, else of the package rosbags.

    Raises:
        BagError: neither is there; from decode: the data are damaged, or the type is not known.
    """
    try:
        from rclpy.serialization import deserialize_message
    except ImportError:
        return _rosbags_decoder()

    def decode(data, type_name):
        kind = message_class(type_name)
        if kind is None:
            raise BagError("no package is installed for messages of type {}".format(type_name))
        try:
            return deserialize_message(data, kind)
        except Exception as e:  # whatever the middleware raises
            raise BagError("a message of type {} in the bag is damaged: {}".format(type_name, e)) from None

    return decode


def _rosbags_decoder():
    try:
        typesys = importlib.import_module("rosbags.typesys")
        store = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
    except (ImportError, AttributeError):
        raise BagError("reading a bag's messages takes ROS 2 (source it), or `pip install rosbags`") from None

    def decode(data, type_name):
        try:
            return store.deserialize_cdr(data, type_name)
        except Exception as e:
            raise BagError("a message of type {} in the bag cannot be read: {!r}".format(type_name, e)) from None

    return decode
