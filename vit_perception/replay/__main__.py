"""A recorded flight through the node's code, and a report of what it saw: post-flight analysis, and a first look.

    python -m vit_perception.replay flight_bag --model models/NAME --out report
    python -m vit_perception.replay video.mp4 --params config/drone.yaml --ros

--offline (the default) runs the pipeline in this process, on every image, and needs no ROS; --ros starts the node and
plays to it over DDS, image by image, in the namespace /replay.
"""

import argparse
import signal
import sys
import threading

from ..errors import PerceptionError
from .offline import replay_offline

INPUTS = ("image_raw", "camera_info", "odometry", "twist", "height", "fix")
INTERRUPTED = 130  # as a shell names a program that Ctrl-C ended


def main(argv=None):
    """Run the command. Returns the exit code: 0, 1 after one sentence, 130 after Ctrl-C."""
    args = _arguments(argv)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        given = _given_topics(args.topic)
        if args.ros:
            from .ros import replay_ros  # needs ROS

            replay_ros(args, given, stop)
        else:
            replay_offline(args, given, stop)
    except PerceptionError as e:
        print("replay: {}".format(" ".join(str(e).split())), file=sys.stderr)
        return 1
    except ImportError as e:
        if not args.ros or (e.name or "").startswith("vit_perception"):
            raise
        print("replay: {}; --ros needs a sourced ROS 2 with vision_msgs".format(e), file=sys.stderr)
        return 1
    return INTERRUPTED if stop.is_set() else 0


def _arguments(argv):
    parser = argparse.ArgumentParser(prog="replay", description=__doc__.split("\n")[0])
    parser.add_argument("source", help="folder of images, video, or rosbag2 bag")
    parser.add_argument("--model", help="folder of a bundle, or the name of an installed one (default: of --params)")
    parser.add_argument("--out", default="replay", help="folder of the report (default: replay)")
    parser.add_argument("--params", help="parameter file of the node, as config/drone.yaml")
    parser.add_argument("--backend", help="auto, tensorrt or onnxruntime")
    parser.add_argument("--precision", help="auto, fp32, fp16 or int8")
    parser.add_argument("--fps", type=float, default=0.0, help="of a folder or video (default: as recorded, or 10)")
    parser.add_argument("--topic", action="append", default=[], metavar="INPUT:=TOPIC",
                        help="which topic of a bag is one of: " + ", ".join(INPUTS))  # fmt: skip
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--offline", action="store_true", help="in this process, without ROS (default)")
    where.add_argument("--ros", action="store_true", help="through a node, over DDS")
    args = parser.parse_args(argv)
    if not 0 <= args.fps <= 1000:
        parser.error("--fps must be from 0 to 1000")
    return args


def _given_topics(pairs):
    given = {}
    for pair in pairs:
        name, separator, topic = pair.partition(":=")
        if not separator or name not in INPUTS:
            raise PerceptionError("--topic {}: write for instance image_raw:=/camera/image_raw".format(pair))
        given[name] = "/" + topic.lstrip("/")
    return given


if __name__ == "__main__":
    sys.exit(main())
