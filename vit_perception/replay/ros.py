"""A recorded flight through a node over DDS: the node is a process, this one plays to it and listens, image by image.

Everything happens in the namespace /replay, and what would speak to an autopilot is switched off: a recorded flight
must not be taken for a real one.
"""

import json
import os
import shutil
import subprocess
import sys
from typing import Any, Dict

import rclpy

from ..bundles.bundle import find_bundle
from ..child import child_environment
from ..errors import PerceptionError
from ..motion_obstacles import LABEL
from ..recording.bag import open_bag
from ..recording.bag_inputs import IMAGE_TYPES, find_inputs
from ..recording.bag_writer import BagWriter
from ..recording.sources import Images, Video
from ..ros.process import init
from .dds import confined
from .exchange import SPACE, Exchange
from .flights import assumed_rate, kind_of, mean_rate
from .offline import Progress, finish, read_parameters
from .report import FlightReport, Notes

QUIET = {
    "publish_px4": False, "publish_mavros": False, "reliable_input": True, "debug.max_rate_hz": 0.0, "max_rate_hz": 0.0,
}  # fmt: skip


def replay_ros(args, given, stop, say=print):
    """Play to a node until the end or `stop` (threading.Event). Raises PerceptionError."""
    bundle, values = read_parameters(args, say)
    if values["segment_only"]:
        raise PerceptionError("--ros waits for detections, and with segment_only there are none; leave --ros out")
    source, kind = os.path.expanduser(args.source), kind_of(os.path.expanduser(args.source))
    inputs, compressed, damage, notes = {}, False, "", Notes(say)
    if values["finds.heading_source"] == "px4":  # its topics have absolute names, as of a real vehicle
        notes("with --ros no finds are made of PX4's own topics; leave --ros out")
    if kind == "bag":
        bag = open_bag(source)
        inputs = find_inputs(bag.topics, given)
        compressed, total = bag.topics[inputs["image_raw"]] != IMAGE_TYPES[0], bag.counts[inputs["image_raw"]]
        fps, damage = mean_rate(bag, inputs["image_raw"]), bag.damage
    else:
        pictures = Images(source) if kind == "folder" else Video(source)
        total, fps = len(pictures), args.fps or pictures.fps
        if assumed_rate(pictures, args.fps):
            notes(assumed_rate(pictures, args.fps))
    about = {"source": source, "model": "{} {}".format(bundle.name, bundle.sha256[:12]), "engine": ""}
    report = FlightReport(args.out, about, fps, total, notes)
    recorded = os.path.join(report.folder, "topics")
    shutil.rmtree(recorded, ignore_errors=True)  # of an earlier replay into the same folder
    node = None
    with confined():
        _start(lambda: init(args=[]))
        try:
            with BagWriter(recorded) as writer:
                exchange = _start(lambda: Exchange(writer, bundle.labels + [LABEL], values["class_id_as_name"], notes))
                try:
                    exchange.check_alone()
                    node = _start_node(args, compressed)
                    tape, renamed = _tape(kind, source, inputs, compressed, fps)
                    exchange.open_tape(tape, renamed)
                    problem = exchange.play(node, report, Progress(total, say), stop)
                finally:
                    exchange.close()
            if problem is None and not stop.is_set():
                problem = _missing(exchange, report.frames, 0 if kind == "video" else total, damage)
            about["engine"] = exchange.engine()
            finish(report, exchange.stages(), exchange.begun, stop, problem, exchange.rejected, say)
        finally:
            _end(node)
            rclpy.shutdown()


def _start(part):
    """part(); what rcl says of the environment, a domain that is none, as a PerceptionError."""
    try:
        return part()
    except RuntimeError as e:
        raise PerceptionError("ROS cannot start: {}".format(" ".join(str(e).split())[:300])) from None


def _missing(exchange, frames, total, damage):
    """A PerceptionError about images that were not played, or not answered, or None. total: 0 if it is not exact."""
    left_out, heard = exchange.unreadable, frames + exchange.rejected + len(exchange.unreadable)
    if left_out:
        damage = "cannot read {} of the images; the first: {}".format(len(left_out), left_out[0])
    elif heard < total:
        damage = "only {} of {} images were answered".format(heard, total)
    return PerceptionError(damage) if damage else None


def _start_node(args, compressed):
    parameters = dict(QUIET, image_transport="compressed" if compressed else "raw")
    parameters["finds.folder"] = os.path.abspath(os.path.join(os.path.expanduser(args.out), "finds"))
    given = {n: getattr(args, n) for n in ("model", "backend", "precision") if getattr(args, n) is not None}
    if "model" in given:
        given["model"] = find_bundle(given["model"])
    remaps = {"/diagnostics": SPACE + "/diagnostics", "/tf_static": SPACE + "/tf_static", "__ns": SPACE}
    command = [sys.executable, "-m", "vit_perception.node", "--ros-args", "--log-level", "error"]
    command += ["--params-file", args.params] if args.params else []
    for name, value in dict(parameters, **given).items():
        command += ["-p", "{}:={}".format(name, json.dumps(value))]
    for old, new in remaps.items():
        command += ["-r", "{}:={}".format(old, new)]
    # A session of its own: Ctrl-C in a terminal goes to this process alone, which ends the other.
    return subprocess.Popen(command, env=child_environment(), start_new_session=True)


def _tape(kind, source, inputs, compressed, fps):
    """(what `make_tape` takes, {topic of the bag: name in the namespace})."""
    values: Dict[str, Any] = dict.fromkeys(("folder", "list", "video", "bag", "topics", "frame_id"), "")
    values.update({kind: os.path.abspath(source), "fps": float(fps), "rate": 1.0, "start_stamp_s": 1.0})
    values["topics"] = ",".join(sorted(inputs.values()))
    image = "image_raw/compressed" if compressed else "image_raw"
    renamed = {topic: SPACE + "/" + (image if n == "image_raw" else n.lstrip("/")) for n, topic in inputs.items()}
    return values, renamed


def _end(process):
    if process is not None and process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
