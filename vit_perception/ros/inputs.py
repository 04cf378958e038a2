"""The node's subscriptions, and the sentence that tells why no image comes."""

from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ..errors import PerceptionError
from .messages import type_name
from .qos import BEST_EFFORT_NEWEST, input_events

SUFFIX = "/compressed"  # of a topic of image_transport
RAW, COMPRESSED = type_name(Image), type_name(CompressedImage)


class Inputs:
    """The node's subscriptions, from activation to deactivation.

    Args:
        node: the rclpy node. values: its parameters by name.
        listeners: on_image(Image or CompressedImage), on_info(CameraInfo), `EgoInputs`.
        warn: warn(kind, sentence), which throttles.

    Attributes:
        image_topic, info_topic (str): resolved names.

    Raises:
        PerceptionError: an input is remapped to a topic that the node itself publishes.
    """

    def __init__(self, node, values, listeners, warn):
        self._node = node
        on_image, on_info, ego = listeners
        qos = QoSProfile(depth=10) if values["reliable_input"] else BEST_EFFORT_NEWEST
        self.image_topic = node.resolve_topic_name("image_raw")
        kind = Image
        if values["image_transport"] == "compressed":  # as image_transport names it
            kind = CompressedImage
            if not self.image_topic.endswith(SUFFIX):  # remapped to the whole name
                self.image_topic += SUFFIX
        self._wanted = type_name(kind)
        events = input_events(self.image_topic, warn)
        image = node.create_subscription(kind, self.image_topic, on_image, qos, event_callbacks=events)
        self.image_topic = image.topic_name  # where image_raw/compressed itself is remapped
        info = node.create_subscription(CameraInfo, "camera_info", on_info, BEST_EFFORT_NEWEST)
        self.info_topic = info.topic_name
        self._subscriptions = [image, info] + ego.subscribe(node)
        self._refuse_loops()

    def close(self):
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def why_no_image(self):
        """One sentence for when no image has come, with the remedy where one is known."""
        topic = self.image_topic
        found = self._node.get_publishers_info_by_topic(topic)
        others = sorted({p.topic_type for p in found if p.topic_type != self._wanted})
        if others:
            text = "no image on {}: it carries {}, not {}; set image_transport, or remap image_raw"
            return text.format(topic, ", ".join(others), self._wanted)
        if found:
            text = "no image on {} yet, from {} publishers; check the camera. If it does publish, DDS loses images "
            return (text + "that are larger than its shared memory: see dds_profile in docs/launch.md").format(
                topic, len(found)
            )
        return "no image on {}: nobody publishes it; start the camera, or {}".format(topic, self._remedy())

    def why_no_more_images(self, age_s):
        """One sentence for when images came, the last one `age_s` seconds ago."""
        text = "no image on {} for {:.1f} s: ".format(self.image_topic, age_s)
        if self._node.count_publishers(self.image_topic):
            return text + "its publisher is there but sends nothing; check the camera and the network"
        return text + "its publisher is gone; start the camera again"

    def _remedy(self):
        """What to set so that images come that others publish."""
        own = self._node.get_fully_qualified_name()
        topics = [(t, k) for t, k in self._node.get_topic_names_and_types() if t != self.image_topic]
        topics = [(t, k) for t, k in topics if not t.startswith(own + "/")]
        found = [t for t, kinds in topics if self._wanted in kinds]
        if found and self._wanted == COMPRESSED:  # the transport's suffix is added
            plain = [t[: -len(SUFFIX)] for t in found if t.endswith(SUFFIX)]
            if not plain:
                return "remap image_raw/compressed to one of: " + ", ".join(found[:5])
            found = plain
        if found:
            return "remap image_raw to one of: " + ", ".join(found[:5])
        raw = self._wanted == COMPRESSED
        others = [t for t, kinds in topics if (RAW if raw else COMPRESSED) in kinds]
        if others:
            text = "set image_transport to {} and remap image_raw to one of: {}"
            others = [t if raw or not t.endswith(SUFFIX) else t[: -len(SUFFIX)] for t in others]
            return text.format("raw" if raw else "compressed", ", ".join(others[:5]))
        return "remap image_raw"

    def _refuse_loops(self):
        own = {p.topic_name for p in self._node.publishers}
        loops = own.intersection(s.topic_name for s in self._subscriptions)
        if loops:
            self.close()
            text = "an input is remapped to {}, which this node itself publishes; check the remappings"
            raise PerceptionError(text.format(", ".join(sorted(loops))))
