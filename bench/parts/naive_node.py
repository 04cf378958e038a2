"""What node_overhead.py compares with: a detector node as one writes it first. Never fly this.

Default QoS, a multi-threaded executor, inference in the callback, images copied and converted on the way, and, with the
parameter annotate, a picture with boxes published for every image whether anybody looks or not. It only detects: no
camera motion, tracks, obstacles or scan.
"""

import contextlib

import cv2
import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

from vit_perception.bundles.bundle import open_bundle
from vit_perception.detector import Detector
from vit_perception.engines import open_engine


class NaiveNode(Node):
    def __init__(self):
        super().__init__("naive")
        bundle = open_bundle(self.declare_parameter("model", "models/uav_thermal").value)
        threads = self.declare_parameter("threads", 0).value
        self.annotate = self.declare_parameter("annotate", True).value
        self.detector = Detector(bundle, open_engine(bundle, "onnxruntime", threads=threads))
        self.detections = self.create_publisher(Detection2DArray, "~/detections", 10)
        self.pictures = self.create_publisher(Image, "~/image", 10)
        self.create_subscription(Image, "image_raw", self.on_image, 10)

    def on_image(self, msg):
        channels = 1 if msg.encoding == "mono8" else 3
        image = np.frombuffer(bytes(msg.data), np.uint8).reshape(msg.height, msg.width, channels)
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if channels == 1 else image.copy()
        found = self.detector.detect(image, "bgr")
        self.detections.publish(self.message(msg.header, found))
        if self.annotate:
            for x1, y1, x2, y2 in found.boxes.astype(int).tolist():
                cv2.rectangle(image, (x1, y1), (x2, y2), (0, 255, 0), 2)
            picture = Image(header=msg.header, height=msg.height, width=msg.width, encoding="bgr8", step=3 * msg.width)
            picture.data = image.tobytes()
            self.pictures.publish(picture)

    def message(self, header, found):
        msg = Detection2DArray()
        msg.header = header
        for box, score, index in zip(found.boxes, found.scores, found.classes, strict=True):
            detection = Detection2D()
            detection.header = header
            detection.bbox.center.position.x = float(box[0] + box[2]) / 2
            detection.bbox.center.position.y = float(box[1] + box[3]) / 2
            detection.bbox.size_x = float(box[2] - box[0])
            detection.bbox.size_y = float(box[3] - box[1])
            result = ObjectHypothesisWithPose()
            result.hypothesis.class_id = str(index)
            result.hypothesis.score = float(score)
            detection.results.append(result)
            msg.detections.append(detection)
        return msg


def main():
    rclpy.init()
    node = NaiveNode()
    executor = MultiThreadedExecutor()
    executor.add_node(node)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        executor.spin()


if __name__ == "__main__":
    main()
