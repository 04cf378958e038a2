"""Qualities of service, and plain words for pairs that do not fit."""

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # before Iron
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

BEST_EFFORT_NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)  # matches any other side
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STATIC = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)  # of /tf_static and a bag's latched topics


def input_events(topic, warn):
    """Event callbacks of a subscription to images: they say whose images will never come, and what to do.

    Args:
        warn: warn(kind, sentence), which throttles.
    """

    def on_incompatible(event):
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        remedy = "set reliable_input to false" if policy == "RELIABILITY" else "change the camera's QoS"
        text = "a publisher of {} offers less {} than the node asks for, so its images do not come; {}"
        warn("input_qos", text.format(topic, policy, remedy))

    return SubscriptionEventCallbacks(incompatible_qos=on_incompatible)


def output_events(topic, warn):
    """Event callbacks of a publisher: they say which topic has a subscriber that will never hear it, and why."""

    def on_incompatible(event):
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        text = "a subscriber of {} asks for more {} than the node offers, so it hears nothing; lower its QoS"
        warn("output_qos", text.format(topic, policy))

    return PublisherEventCallbacks(incompatible_qos=on_incompatible)
