"""The publishers of a part of the node, over real DDS."""

import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")

import rclpy  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402

from vit_perception.ros.topics import Topics  # noqa: E402


def test_a_message_is_kept_before_anybody_hears_it(ros_context, monkeypatch):
    node = rclpy.create_node("flyer", context=ros_context)
    order = []
    topics = Topics(node, None, lambda *kept: order.append(("kept", kept)))
    publisher = topics.create(Bool, "~/armed", 1)
    monkeypatch.setattr(publisher, "publish", lambda msg: order.append(("published", msg)))
    told = Bool(data=True)
    topics.send(publisher, told, latched=True)
    assert order == [("kept", ("/flyer/armed", told, True)), ("published", told)]
    topics.close()
    node.destroy_node()


def test_a_subscriber_that_asks_for_more_is_told_and_none_is_counted_after_the_end(ros_context):
    node, other = (rclpy.create_node(n, context=ros_context) for n in ("flyer", "ground"))
    executor = SingleThreadedExecutor(context=ros_context)
    executor.add_node(node)
    warned = []
    topics = Topics(node, lambda kind, text: warned.append((kind, text)), None)
    topics.create(Bool, "~/armed", 1)
    other.create_subscription(Bool, "/flyer/armed", lambda msg: None, 1)
    other.create_subscription(
        Bool, "/flyer/armed", lambda msg: None, QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    )

    def comes_true(condition):
        deadline = time.monotonic() + 5.0
        while not condition() and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.05)
        return condition()

    assert comes_true(lambda: warned and topics.subscribers() == {"armed": 1})
    assert warned[0][0] == "output_qos" and "~/armed asks for more DURABILITY" in warned[0][1]
    topics.close()
    assert comes_true(lambda: other.count_publishers("/flyer/armed") == 0)
    executor.shutdown()
    for made in (node, other):
        made.destroy_node()
