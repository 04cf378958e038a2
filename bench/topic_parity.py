"""Is what the node publishes what was evaluated? Replays a data set through the running node and scores the topics.

    python -m tools.ros_environment python bench/topic_parity.py --model models/NAME --data DIR --val F.json
        [--ignore DontCare] [--classes A,B] [--precision fp32] [--score 0.01] [--quick]

A camera process publishes every image, reliably and paced by the answers; the node process answers over DDS. This
process computes mAP from the published Detection2DArray messages and, in the same run, by offline.evaluate's own path.
If the bundle segments, it compares every pixel of the published masks too; of a bundle that only segments, --data is
any folder with images. Without --data it renders a small set. Needs the ROS environment (`make bench` sets it). The
last line is one JSON object.
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
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from offline.data import FORMATS, Dataset, read_dataset
from offline.data.images import decode
from offline.errors import one_sentence
from offline.evaluate import pick_classes
from offline.evaluation.accuracy import EVALUATION_SCORE, coco_metrics, evaluate, keep_classes
from offline.render import write_dataset
from tools.demo import start, stop
from vit_perception.bundles.bundle import open_bundle
from vit_perception.detector import Detections, Detector
from vit_perception.engines import open_engine
from vit_perception.images.files import SUFFIXES, read_bytes
from vit_perception.ros.messages import read_detections, stamp_to_seconds
from vit_perception.segmentation.segmenter import Segmenter

QUICK_IMAGES = 60
FIRST_STAMP_S, FPS = 1000.0, 1000.0  # image i carries the stamp FIRST + i / FPS


def index_of(msg) -> int:
    """Which image an answer is to."""
    return round((stamp_to_seconds(msg.header.stamp) - FIRST_STAMP_S) * FPS)


def play(model: str, images: list[Path], listen: dict, parameters: dict, timeout_s: float) -> None:
    """Play `images`, of one folder, to a node, and listen: {topic: (type, callback)}; the last one paces the camera."""
    rclpy.init()
    listener, executor = Node("parity_listener"), SingleThreadedExecutor()
    for topic, (kind, callback) in listen.items():
        listener.create_subscription(kind, topic, callback, QoSProfile(depth=1000))
    executor.add_node(listener)
    given = {"model": Path(model).resolve(), "reliable_input": "true", **parameters}
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "images.txt"
        names.write_text("".join(f"{path.name}\n" for path in images))
        node = start("vit_perception.node", *(x for k, v in given.items() for x in ("-p", f"{k}:={v}")))
        camera = start(
            "vit_perception.player", "-p", f"folder:={images[0].parent}", "-p", f"list:={names}",
            "-p", "reliable:=true", "-p", f"fps:={FPS}", "-p", f"start_stamp_s:={FIRST_STAMP_S}",
            "-p", f"lockstep_topic:={list(listen)[-1]}", "-p", f"lockstep_timeout_s:={timeout_s}",
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


def replay(
    model: str, precision: str, score: float, data: Dataset, labels: list[str], timeout_s: float
) -> list[Detections]:
    """Detections published for every image of `data`, in its order; missing answers are empty."""
    answers: dict[int, Detections] = {}

    def on_detections(msg: Detection2DArray) -> None:
        boxes, scores, class_ids, _ = read_detections(msg)
        found = Detections(boxes, scores, np.array([int(c) for c in class_ids], np.int64))
        answers[index_of(msg)] = keep_classes(found, labels, data.labels)

    listen = {"vit_perception/detections": (Detection2DArray, on_detections)}
    parameters = {"precision": precision, "score_threshold": score}
    play(model, [s.path for s in data.samples], listen, parameters, timeout_s)
    nothing = Detections(np.zeros((0, 4)), [], [])
    print(f"{len(answers)} of {len(data)} images answered")
    return [answers.get(i, nothing) for i in range(len(data))]


def compare_detections(bundle, precision: str, score: float, data: Dataset) -> dict[str, float]:
    """mAP of the published detections and of offline.evaluate's."""
    detector = Detector(bundle, open_engine(bundle, precision=precision), score_threshold=score)
    offline = evaluate(detector, bundle.labels, bundle.input["color"], data)
    topic = coco_metrics(data, replay(bundle.path, precision, score, data, bundle.labels, timeout_s=10.0))
    print(f"{'':<10}{'topic':>9}{'offline':>9}{'difference':>12}")
    for key in ("map", "map50"):
        print(f"{key:<10}{topic[key]:>9.4f}{offline[key]:>9.4f}{topic[key] - offline[key]:>+12.4f}")
    figures = {"map_topic": topic["map"], "map_offline": offline["map"], "frames": len(data)}
    return figures | {"map50_topic": topic["map50"], "map50_offline": offline["map50"]}


def compare_masks(bundle, precision: str, images: list[Path], timeout_s: float = 10.0) -> dict[str, float]:
    """Every pixel of every published mask beside what the same code gives for the same image file, without ROS."""
    masks: dict[int, np.ndarray] = {}

    def on_mask(msg: Image) -> None:
        masks[index_of(msg)] = np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width)

    parameters = {"precision": precision, "segment_only": str(bundle.task == "segment").lower()}
    play(bundle.path, images, {"vit_perception/segmentation": (Image, on_mask)}, parameters, timeout_s)
    segmenter = Segmenter(bundle, open_engine(bundle, precision=precision))
    order = "mono" if bundle.input["color"] == "gray" else "rgb"
    pixels = equal = alike = 0
    classes: set[int] = set()
    for i, path in enumerate(images):
        wanted = segmenter.segment(decode(read_bytes(path), path, bundle.input["color"], bundle.input), order)
        pixels += wanted.size
        if i in masks and masks[i].shape == wanted.shape:
            equal += int((masks[i] == wanted).sum())
            alike += bool((masks[i] == wanted).all())
        classes |= set(np.unique(wanted).tolist())
    print(
        f"{len(masks)} of {len(images)} masks published; {alike} equal to the last pixel; {len(classes)} classes seen"
    )
    return {"mask_images": len(images), "masks_equal": alike, "mask_pixels": pixels, "mask_pixels_equal": equal}


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
        bundle, figures = open_bundle(args.model), {}
        if bundle.task == "segment":
            images = sorted(p for p in args.data.rglob("*") if p.suffix.lower() in SUFFIXES)
            images = [p for p in images if p.parent == images[0].parent]
        else:
            classes = pick_classes(args.classes, bundle.labels)
            data = read_dataset(args.data, args.val, args.format, tuple(args.ignore), classes)
            data.samples = data.samples[: QUICK_IMAGES if args.quick else None]
            images = [s.path for s in data.samples]
            figures = compare_detections(bundle, args.precision, args.score, data)
        if bundle.segmentation is not None:
            figures |= compare_masks(bundle, args.precision, images[: QUICK_IMAGES if args.quick else None])
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
