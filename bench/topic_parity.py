"""Is what the node publishes what was evaluated? Replays a data set through the running node and scores the topics.

    python -m tools.ros_environment python bench/topic_parity.py --model models/NAME --data DIR --val F.json
        [--ignore DontCare] [--classes A,B] [--precision fp32] [--score 0.01] [--quick]

A camera process publishes every image, reliably and paced by the answers; the node process answers over DDS. This
process computes mAP from the published Detection2DArray messages and, in the same run, by offline.evaluate's own path.
Without --data it renders a small set. Needs the ROS environment (`make bench` sets it). The last line is one JSON
object.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from vision_msgs.msg import Detection2DArray

from offline.data import FORMATS, Dataset, read_dataset
from offline.errors import one_sentence
from offline.evaluate import pick_classes
from offline.evaluation.accuracy import EVALUATION_SCORE, coco_metrics, evaluate, keep_classes
from offline.render import write_dataset
from tools.demo import start, stop
from vit_perception.bundles.bundle import open_bundle
from vit_perception.detector import Detections, Detector
from vit_perception.engines import open_engine
from vit_perception.ros.messages import read_detections, stamp_to_seconds

QUICK_IMAGES = 60
FIRST_STAMP_S, FPS = 1000.0, 1000.0  # image i carries the stamp FIRST + i / FPS


def replay(
    model: str, precision: str, score: float, data: Dataset, labels: list[str], timeout_s: float
) -> list[Detections]:
    """Detections published for every image of `data`, in its order; missing answers are empty."""
    answers: dict[int, Detections] = {}

    def on_detections(msg: Detection2DArray) -> None:
        boxes, scores, class_ids, _ = read_detections(msg)
        index = round((stamp_to_seconds(msg.header.stamp) - FIRST_STAMP_S) * FPS)
        found = Detections(boxes, scores, np.array([int(c) for c in class_ids], np.int64))
        answers[index] = keep_classes(found, labels, data.labels)

    rclpy.init()
    listener, executor = Node("parity_listener"), SingleThreadedExecutor()
    listener.create_subscription(Detection2DArray, "vit_perception/detections", on_detections, QoSProfile(depth=1000))
    executor.add_node(listener)
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "images.txt"
        names.write_text("".join(f"{s.path.name}\n" for s in data.samples))
        node = start(
            "vit_perception.node", "-p", f"model:={Path(model).resolve()}", "-p", f"precision:={precision}",
            "-p", f"score_threshold:={score}", "-p", "reliable_input:=true",
        )  # fmt: skip
        camera = start(
            "vit_perception.player", "-p", f"folder:={data.samples[0].path.parent}", "-p", f"list:={names}",
            "-p", "reliable:=true", "-p", f"fps:={FPS}", "-p", f"start_stamp_s:={FIRST_STAMP_S}",
            "-p", "lockstep_topic:=vit_perception/detections", "-p", f"lockstep_timeout_s:={timeout_s}",
        )  # fmt: skip
        try:
            while camera.poll() is None and node.poll() is None:
                executor.spin_once(timeout_sec=0.1)
            for _ in range(10):
                executor.spin_once(timeout_sec=0.05)
        finally:
            stop(camera)
            stop(node)
            executor.shutdown()
            listener.destroy_node()
            rclpy.shutdown()
    if node.returncode not in (0, None) or camera.returncode not in (0, None):
        sys.exit("error: the node or the camera process failed; its message is above")
    nothing = Detections(np.zeros((0, 4)), [], [])
    print(f"{len(answers)} of {len(data)} images answered")
    return [answers.get(i, nothing) for i in range(len(data))]


@one_sentence
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="models/uav_thermal")
    parser.add_argument("--data", type=Path, help="folder with the images and their labels (default: rendered flights)")
    parser.add_argument("--val", default="val.json")
    parser.add_argument("--format", choices=sorted(FORMATS), help="how the data is labelled (default: found out)")
    parser.add_argument("--ignore", action="append", default=[], metavar="CLASS")
    parser.add_argument("--classes", help="comma-separated labels that count")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--score", type=float, default=EVALUATION_SCORE)
    parser.add_argument("--quick", action="store_true", help=f"the first {QUICK_IMAGES} images")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        if args.data is None:
            args.data, args.ignore, args.classes = Path(folder), ["DontCare"], args.classes or "Person,Car,Bicycle"
            write_dataset(folder, "thermal", train=1, val=QUICK_IMAGES, size=(320, 256), seed=3)
        bundle = open_bundle(args.model)
        classes = pick_classes(args.classes, bundle.labels)
        data = read_dataset(args.data, args.val, args.format, tuple(args.ignore), classes)
        if args.quick:
            data.samples = data.samples[:QUICK_IMAGES]
        detector = Detector(bundle, open_engine(bundle, precision=args.precision), score_threshold=args.score)
        offline = evaluate(detector, bundle.labels, bundle.input["color"], data)
        topic = coco_metrics(data, replay(args.model, args.precision, args.score, data, bundle.labels, timeout_s=10.0))
    print(f"{'':<10}{'topic':>9}{'offline':>9}{'difference':>12}")
    for key in ("map", "map50"):
        print(f"{key:<10}{topic[key]:>9.4f}{offline[key]:>9.4f}{topic[key] - offline[key]:>+12.4f}")
    figures = {"map_topic": topic["map"], "map_offline": offline["map"], "frames": len(data)}
    print(json.dumps(figures | {"map50_topic": topic["map50"], "map50_offline": offline["map50"]}))


if __name__ == "__main__":
    main()
