"""A recorded flight through a node over DDS: the node and the player as processes, this one listens.

Everything happens in the namespace /replay, and what would speak to an autopilot is switched off: a recorded flight
must not be taken for a real one.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections import OrderedDict
from typing import Any, Dict

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image, LaserScan
from vision_msgs.msg import Detection2DArray, Detection3DArray

from ..bundles.bundle import find_bundle
from ..child import child_environment
from ..errors import PerceptionError
from ..images.read import view
from ..motion_obstacles import LABEL
from ..recording.bag import BagWriter, open_bag
from ..recording.bag_inputs import IMAGE_TYPES, find_inputs
from ..recording.sources import Images, Video
from ..ros import messages
from ..ros.process import init
from .flights import kind_of, mean_rate
from .offline import Progress, finish, read_parameters
from .report import LEVELS, FlightReport

SPACE = "/replay"
NODE = SPACE + "/vit_perception"
QUIET = {"publish_px4": False, "publish_mavros": False, "reliable_input": True, "debug.max_rate_hz": 0.0}


def replay_ros(args, given, stop, say=print):
    """Play to a node until the end or `stop` (threading.Event). Raises PerceptionError."""
    bundle, values = read_parameters(args, say)
    source, kind = os.path.expanduser(args.source), kind_of(os.path.expanduser(args.source))
    inputs, compressed, total, fps = {}, False, 0, args.fps
    if kind == "bag":
        bag = open_bag(source)
        inputs = find_inputs(bag.topics, given)
        compressed, total = bag.topics[inputs["image_raw"]] != IMAGE_TYPES[0], bag.counts[inputs["image_raw"]]
        fps = mean_rate(bag, inputs["image_raw"])
    else:
        pictures = Images(source) if kind == "folder" else Video(source)
        total, fps = len(pictures), args.fps or pictures.fps
    about = {"source": source, "model": "{} {}".format(bundle.name, bundle.sha256[:12]), "engine": "in the node"}
    report = FlightReport(args.out, about, fps, total, say)
    recorded = os.path.join(report.folder, "topics")
    shutil.rmtree(recorded, ignore_errors=True)  # of an earlier replay into the same folder
    processes = []
    init(args=[])
    try:
        with BagWriter(recorded) as writer:
            listener = Listener(
                report, writer, bundle.labels + [LABEL], values["class_id_as_name"], Progress(total, say)
            )
            processes.append(_start("node", _node_arguments(args, compressed)))
            processes.append(_start("player", _player_arguments(kind, source, inputs, compressed, fps)))
            problem = listener.listen(processes, stop)
        if listener.pictures_missing:
            say("{} frames are not in the video: their pictures did not come".format(listener.pictures_missing))
        finish(report, listener.stages(), listener.begun, stop, problem, listener.rejected, say)
    finally:
        for process in reversed(processes):
            _end(process)
        rclpy.shutdown()


def _node_arguments(args, compressed):
    parameters = dict(QUIET, image_transport="compressed" if compressed else "raw")
    given = {n: getattr(args, n) for n in ("model", "backend", "precision") if getattr(args, n) is not None}
    if "model" in given:
        given["model"] = find_bundle(given["model"])
    remaps = {"/diagnostics": SPACE + "/diagnostics", "/tf_static": SPACE + "/tf_static"}
    files = ["--params-file", args.params] if args.params else []
    return files + _parameters(dict(parameters, **given)) + _remaps(remaps)


def _player_arguments(kind, source, inputs, compressed, fps):
    parameters = {kind: os.path.abspath(source), "reliable": True, "wait_timeout_s": 3600.0, "lockstep_timeout_s": 60.0}
    parameters["lockstep_topic"] = NODE + "/detections"
    if kind == "bag":
        parameters["topics"] = ",".join(sorted(inputs.values()))
    else:
        parameters.update(start_stamp_s=1.0, fps=float(fps))
    image = "image_raw/compressed" if compressed else "image_raw"
    names = {topic: image if name == "image_raw" else name.lstrip("/") for name, topic in inputs.items()}
    return _parameters(parameters) + _remaps({topic: SPACE + "/" + name for topic, name in names.items()})


def _parameters(values):
    return [part for n, v in values.items() for part in ("-p", "{}:={}".format(n, json.dumps(v)))]


def _remaps(names):
    return [part for old, new in names.items() for part in ("-r", "{}:={}".format(old, new))]


def _start(module, arguments):
    command = [sys.executable, "-m", "vit_perception." + module, "--ros-args", "--log-level", "error"]
    command += arguments + _remaps({"__ns": SPACE})
    # A session of its own: Ctrl-C in a terminal goes to this process alone, which ends the others.
    return subprocess.Popen(command, env=child_environment(), start_new_session=True)


def _end(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Listener(Node):
    """Hears what the node publishes, writes it to a bag as it was serialised, and to the report by frame.

    Alerts have no stamp: one belongs to the frame whose detections were the newest when it came.
    """

    def __init__(self, report, bag, labels, named, progress):
        super().__init__("replay", namespace=SPACE)
        self._report, self._bag, self._labels, self._named, self._progress = report, bag, labels, named, progress
        self.begun, self.rejected, self.pictures_missing = time.monotonic(), 0, 0
        self._frames: Any = OrderedDict()  # stamp -> what has come of a frame
        self._stages: Dict[str, Dict[str, float]] = {}
        self._reports = 0  # of the node's health
        for topic, kind, take in (
            (NODE + "/detections", Detection2DArray, self._on_detections),
            (NODE + "/obstacles", Detection3DArray, self._on_obstacles),
            (NODE + "/alert", DiagnosticStatus, self._on_alert),
            (NODE + "/debug_image", Image, self._on_picture),
            (SPACE + "/obstacle_scan", LaserScan, None),
            (SPACE + "/diagnostics", DiagnosticArray, self._on_diagnostics),
        ):
            self._hear(topic, kind, take)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)

    def _hear(self, topic, kind, take):
        keeps = take != self._on_picture  # the pictures are in the video
        if keeps:
            self._bag.add_topic(topic, messages.type_name(kind))

        def on_data(data):
            if keeps:
                self._bag.write(topic, int(1e9 * time.time()), data)
            if take is not None:
                take(deserialize_message(data, kind))

        self.create_subscription(kind, topic, on_data, 100, raw=True)

    def listen(self, processes, stop):
        """Spin until the player has ended; returns the PerceptionError that ended it earlier, or None."""
        node, player = processes
        problem, until, reports = None, None, 0
        while not stop.is_set() and problem is None:
            self._executor.spin_once(timeout_sec=0.05)
            if node.poll() is not None:
                problem = PerceptionError("the node ended; its message is above")
            elif until is None and player.poll() is not None:
                if player.returncode != 0:
                    problem = PerceptionError("the player failed; its message is above")
                until, reports = time.monotonic() + 3.0, self._reports
            elif until is not None and (self._reports > reports + 1 or time.monotonic() > until):
                break
        self._flush(0)
        self._executor.shutdown()
        self.destroy_node()
        return problem

    def stages(self):
        """{stage: {'p50_ms': ..., 'p95_ms': ...}} as the node last told."""
        return {n: s for n, s in self._stages.items() if len(s) == 2}

    def _part(self, msg):
        """What has come of the frame with this message's stamp."""
        return self._frames.setdefault(messages.stamp_to_seconds(msg.header.stamp), {})

    def _on_detections(self, msg):
        boxes, scores, class_ids, ids = messages.read_detections(msg)
        if not self._frames:
            self.begun = time.monotonic()  # the node took its time to start
        self._part(msg)["detections"] = [
            dict(zip(("x1", "y1", "x2", "y2"), box), score=score, track_id=i, **{"class": self._label(c)})
            for box, score, c, i in zip(boxes, scores, class_ids, ids)
        ]
        self._flush(2)

    def _on_obstacles(self, msg):
        self._part(msg)["obstacles"] = [
            {
                "track_id": i,
                "range_m": math.hypot(x, y),
                "class": self._label(c),
                "bearing_deg": math.degrees(math.atan2(-y, x)),
            }
            for (x, y, _), c, i in zip(*messages.read_obstacles(msg))
        ]

    def _on_alert(self, msg):
        if self._frames:
            alert = {v.key: v.value for v in msg.values}
            level = msg.level[0] if isinstance(msg.level, bytes) else int(msg.level)
            next(reversed(self._frames.values()))["alert"] = dict(alert, level=LEVELS[level])

    def _on_picture(self, msg):
        self._part(msg)["picture"] = view(msg)[0]

    def _on_diagnostics(self, msg):
        self._reports += 1
        values = {v.key: v.value for s in msg.status for v in s.values}
        self.rejected = int(values.get("rejected", 0))
        for key, value in values.items():
            stage, separator, q = key.partition("_ms_p")
            if separator and q in ("50", "95") and value and stage != "latency":  # that is since the flight
                self._stages.setdefault(stage, {})["p{}_ms".format(q)] = float(value)

    def _flush(self, kept):
        """Hand all but the `kept` newest frames to the report: the newest ones may lack a picture or an alert yet."""
        while len(self._frames) > kept:
            stamp_s, part = self._frames.popitem(last=False)
            detections, alert = part.get("detections", []), part.get("alert")
            self.pictures_missing += "picture" not in part
            self._report.add(
                stamp_s, part.get("picture"), detections, _tracks(detections, part.get("obstacles", []), alert), alert
            )
            self._progress.step(self._report.frames)

    def _label(self, class_id):
        return class_id if self._named else self._labels[int(class_id)]


def _tracks(detections, obstacles, alert):
    """Rows of tracks: with a position, then those that were only detected. Only the alert tells times to contact."""
    seen = {d["track_id"]: d["class"] for d in detections if d["track_id"]}
    rows = [dict(o, seen="yes" if o["track_id"] in seen else "predicted") for o in obstacles]
    known = {o["track_id"] for o in obstacles}
    rows += [{"track_id": i, "class": label, "seen": "yes"} for i, label in seen.items() if i not in known]
    for row in rows:
        if alert is not None and alert.get("track_id") == row["track_id"] and "ttc_s" in alert:
            row["ttc_s"], row["ttc_sigma_s"] = float(alert["ttc_s"]), float(alert["ttc_sigma_s"])
    return rows
