"""Print what vit_perception finds in each image: `python examples/listener.py` (docs/quick_start.md)."""

import contextlib

import rclpy.executors
from vision_msgs.msg import Detection2DArray


def on_detections(msg):
    found = [d.results[0].hypothesis for d in msg.detections]
    words = ", ".join(f"{h.class_id} {h.score:.2f}" for h in found)
    print(f"{msg.header.stamp.sec}.{msg.header.stamp.nanosec:09d}: {words or 'nothing'}", flush=True)


rclpy.init()
node = rclpy.create_node("listener")
node.create_subscription(Detection2DArray, "/vit_perception/detections", on_detections, 5)
with contextlib.suppress(KeyboardInterrupt, rclpy.executors.ExternalShutdownException):  # Ctrl-C
    rclpy.spin(node)
