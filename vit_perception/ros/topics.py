"""The topics of one part of the node, from configuration to clean-up."""

from .qos import output_events


class Topics:
    """Publishers whose messages ~/dump keeps, too.

    Args:
        node: the rclpy node.
        warn: warn(kind, sentence), which throttles: it tells of subscribers that ask for more than is offered.
        keep: keep(topic, message, latched), of `Dump`; or None.
    """

    def __init__(self, node, warn, keep):
        self._node, self._warn, self._keep = node, warn, keep
        self._names = {}  # full name of each publisher's topic

    def create(self, kind, topic, qos):
        """A publisher."""
        publisher = self._node.create_publisher(kind, topic, qos, event_callbacks=output_events(topic, self._warn))
        self._names[publisher] = publisher.topic_name
        return publisher

    def send(self, publisher, msg, latched=False):
        """Keep a message and publish it; in this order, for who hears it may call ~/dump at once."""
        if self._keep is not None:
            self._keep(self._names[publisher], msg, latched)
        publisher.publish(msg)

    def subscribers(self):
        """{last part of a topic's name: how many subscribers it has found}."""
        return {name.rpartition("/")[2]: p.get_subscription_count() for p, name in self._names.items()}

    def close(self):
        """Take the topics away."""
        for publisher in self._names:
            self._node.destroy_publisher(publisher)
