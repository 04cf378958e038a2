"""Print what vit_perception finds in each image: `python examples/listener.py` (docs/quick_start.md)."""

import rclpy.executors
from vision_msgs.msg import Detection2DArray


def on_detections(msg):
    found = [d.results[0].hypothesis for d in msg.detections]
    words = ", ".join("{} {:.2f}".format(h.class_id, h.score) for h in found)
    print("{}.{:09d}: {}".format(msg.header.stamp.sec, msg.header.stamp.nanosec, words or "nothing"), flush=True)


rclpy.init()
node = rclpy.create_node("listener")
node.create_subscription(Detection2DArray, "/vit_perception/detections", on_detections, 5)
try:
    rclpy.spin(node)
except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
    pass  # Ctrl-C
