"""Play to a node and hear its answers, in one process and in step: the next image is sent when one is answered."""

import math
import os
import time
from typing import Any, Dict

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image, LaserScan
from vision_msgs.msg import Detection2DArray, Detection3DArray

from ..errors import PerceptionError
from ..images.read import view
from ..ros import messages
from ..ros.tapes import make_tape
from ..stats import Samples
from .report import LEVELS

SPACE = "/replay"
NODE = SPACE + "/vit_perception"
LOOK_S = 0.7  # for another replay; DDS finds a process on the same machine in a tenth of that
READY_S = 30.0  # for what the node says of itself, once a second, to say that it is ready; an engine's build may last
ANSWER_S = 60.0  # for the detections of one image
REST_S = 5.0  # for its obstacles and its picture, after that
SETTLE_S = 0.5  # between the node's being found and the first image: it may find us a moment later
HEARS = ("detections", "obstacles", "alert", "debug_image")  # topics of the node that must know that we listen


class Exchange(Node):
    """Hears what the node publishes, writes it to a bag as it was serialised, and to the report by frame.

    Alerts have no stamp: one belongs to the frame that is being answered.

    Args:
        bag: `BagWriter`. labels: the class names by index. named: whether the node publishes them.
        say: say(sentence).

    Attributes:
        rejected (int): images that the node could not use. begun: steady time of the first image.
        unreadable (list of str): why images were not sent.
    """

    def __init__(self, bag, labels, named, say):
        super().__init__("replay", namespace=SPACE)
        self._bag, self._labels, self._named, self._say = bag, labels, named, say
        self.begun, self.rejected, self.unreadable = time.monotonic(), 0, []
        self._tape: Any = None
        self._awaited: Any = None  # stamp of the image that is being answered
        self._part: Dict[str, Any] = {}  # what has come of it
        self._stages: Dict[str, Dict[str, float]] = {}
        self._answer_ms = Samples(100000)
        self._health: Dict[str, str] = {}
        self._reports, self._told = 0, set()  # of the node's health; its warnings
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

    def check_alone(self):
        """Raises PerceptionError if another replay runs in this DDS domain: the answers would be mixed up."""
        self._spin(lambda: self.count_publishers(NODE + "/detections"), LOOK_S)
        if self.count_publishers(NODE + "/detections"):
            text = "another replay runs in DDS domain {}; wait for its end, or set another ROS_DOMAIN_ID"
            raise PerceptionError(text.format(os.environ.get("ROS_DOMAIN_ID") or 0))

    def open_tape(self, values, renamed):
        """What to play; arguments as `make_tape` takes them."""
        self._tape = make_tape(self, values, QoSProfile(depth=10), renamed, self.unreadable.append, self._say)

    def close(self):
        """Hear nothing more."""
        self._executor.shutdown()
        self.destroy_node()

    def play(self, process, report, progress, stop):
        """Send every image and wait for its answer; returns the PerceptionError that ended it early, or None.

        Args:
            process: the node's. report: `FlightReport`. progress: `Progress`. stop: threading.Event.
        """

        def gone():
            return stop.is_set() or process.poll() is not None

        try:
            self._wait_until_ready(gone)
            self.begun, sent = time.monotonic(), 0
            due = self.begun
            for pause_s, make in self._tape:
                due = max(due + pause_s, time.monotonic())  # after a delay: no burst to catch up
                self._spin(gone, due - time.monotonic())
                name, (stamp, publish) = self._tape.name, make()
                if gone():
                    break
                self._awaited, self._part = stamp, {}
                began = time.monotonic()
                publish()
                if stamp is not None:
                    sent += 1
                    if self._answered(gone, sent, began):
                        self._report(report, name)
                        progress.step(report.frames)
            if not gone():
                reports = self._reports
                self._spin(lambda: gone() or self._reports > reports + 1, 3.0)  # of the last frames' times
            if process.poll() is not None and not stop.is_set():
                return PerceptionError("the node ended; its message is above")
        except PerceptionError as e:
            return e
        return None

    def stages(self):
        """{stage: {'p50_ms': ..., 'p95_ms': ...}} as the node last told; 'answer': from sending to hearing."""
        found = {n: s for n, s in self._stages.items() if len(s) == 2}
        if self._answer_ms.percentile(50) is not None:
            found["answer"] = {"p{}_ms".format(q): round(self._answer_ms.percentile(q), 3) for q in (50, 95)}
        return found

    def engine(self):
        """What the node computed with, in words."""
        return ", ".join(self._health.get(n, "") for n in ("backend", "device", "precision", "backend_reason"))

    def _spin(self, until, seconds):
        """Handle what comes until `until()` is true, for `seconds` at most; returns whether it became true."""
        end = time.monotonic() + seconds
        while not until():
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._executor.spin_once(timeout_sec=min(left, 0.05))
        return True

    def _wait_until_ready(self, gone):
        """The node is active, and every side knows the other: nothing is lost from the first image on."""

        def ready():
            heard = dict(pair.rpartition(" ")[::2] for pair in self._health.get("subscribers", "").split(", "))
            knows = all(int(heard.get(topic, 0)) > 0 for topic in HEARS)
            found = all(p.get_subscription_count() > 0 for p in self._tape.images)
            return self._health.get("state") == "active" and knows and found

        reports, since = 0, time.monotonic()
        while not self._spin(lambda: gone() or ready(), 1.0):
            if self._reports > reports and self._health.get("state") != "active":
                reports, since = self._reports, time.monotonic()  # it lives: opening an engine takes minutes
            if time.monotonic() - since > READY_S:
                text = "the node is not ready after {:.0f} s (it says: {}); is DDS confined differently for it?"
                raise PerceptionError(text.format(READY_S, self._health.get("state") or "nothing"))
        self._spin(gone, SETTLE_S)

    def _answered(self, gone, sent, began):
        """Wait for all that belongs to the image; False if the node could not use it. Raises PerceptionError."""
        unusable = self.rejected
        heard = self._spin(lambda: gone() or "detections" in self._part or self.rejected > unusable, ANSWER_S)
        if gone():
            return "detections" in self._part
        if not heard:
            text = "image {} was not answered within {:.0f} s; the node says: {}"
            raise PerceptionError(text.format(sent, ANSWER_S, self._health.get("backend_reason", "nothing")))
        if "detections" not in self._part:
            return False
        self._answer_ms.add(1e3 * (self._part["heard"] - began))
        if not self._spin(lambda: gone() or {"obstacles", "picture"} <= set(self._part), REST_S) and not gone():
            missing = {"obstacles", "picture"} - set(self._part)
            text = "no {} of image {} came; the node's last failure: {}"
            why = self._health.get("last_failure") or "none"
            raise PerceptionError(text.format(" and no ".join(sorted(missing)), sent, why))
        for _ in range(3):  # the alert of this frame was sent before its picture
            self._executor.spin_once(timeout_sec=0)
        return True

    def _report(self, report, name):
        part, detections = self._part, self._part["detections"]
        alert = part.get("alert")
        tracks = _tracks(detections, part.get("obstacles", []), alert)
        stamp_s = self._awaited[0] + 1e-9 * self._awaited[1]
        calibrated = self._health.get("calibrated") == "yes"
        report.add(stamp_s, part.get("picture"), detections, tracks, alert, name, calibrated)

    def _ours(self, msg):
        return (msg.header.stamp.sec, msg.header.stamp.nanosec) == self._awaited

    def _on_detections(self, msg):
        if not self._ours(msg) or "detections" in self._part:
            text = "an answer came that no image asked for; is another node called {}?"
            raise PerceptionError(text.format(NODE))
        boxes, scores, class_ids, ids = messages.read_detections(msg)
        self._part["heard"] = time.monotonic()
        self._part["detections"] = [
            dict(zip(("x1", "y1", "x2", "y2"), box), score=score, track_id=i, **{"class": self._label(c)})
            for box, score, c, i in zip(boxes, scores, class_ids, ids)
        ]

    def _on_obstacles(self, msg):
        if self._ours(msg):
            self._part["obstacles"] = [
                {
                    "track_id": i,
                    "range_m": math.hypot(x, y),
                    "class": self._label(c),
                    "bearing_deg": math.degrees(math.atan2(-y, x)),
                }
                for (x, y, _), c, i in zip(*messages.read_obstacles(msg))
            ]

    def _on_alert(self, msg):
        level = msg.level[0] if isinstance(msg.level, bytes) else int(msg.level)
        self._part["alert"] = dict({v.key: v.value for v in msg.values}, level=LEVELS[level])

    def _on_picture(self, msg):
        if self._ours(msg):
            self._part["picture"] = view(msg)[0]

    def _on_diagnostics(self, msg):
        self._reports += 1
        self._health = {v.key: v.value for s in msg.status for v in s.values}
        values = self._health
        self.rejected = sum(int(values.get(n) or 0) for n in ("rejected", "failures", "dropped", "skipped"))
        for key, value in values.items():
            stage, separator, q = key.partition("_ms_p")
            if separator and q in ("50", "95") and value and stage != "latency":  # that is since the flight
                self._stages.setdefault(stage, {})["p{}_ms".format(q)] = float(value)
        said = values.get("warnings", "").split("; ") + [values.get("last_rejection"), values.get("last_failure")]
        for sentence in said:  # stamps of a recording are old
            if sentence and not sentence.startswith("image stamps are") and sentence not in self._told:
                self._told.add(sentence)
                self._say("node: " + sentence)

    def _label(self, class_id):
        return class_id if self._named else self._labels[int(class_id)]


def _tracks(detections, obstacles, alert):
    """Rows of tracks: with a position, then those that were only detected. Only the alert tells times to contact."""
    seen = {d["track_id"]: d for d in detections if d["track_id"]}
    rows = [dict(o, seen="yes" if o["track_id"] in seen else "predicted") for o in obstacles]
    known = {o["track_id"] for o in obstacles}
    rows += [{"track_id": i, "class": d["class"], "seen": "yes"} for i, d in seen.items() if i not in known]
    for row in rows:
        row.update({n: seen[row["track_id"]][n] for n in ("x1", "y1", "x2", "y2") if row["track_id"] in seen})
        if alert is not None and alert.get("track_id") == row["track_id"] and "ttc_s" in alert:
            row["ttc_s"], row["ttc_sigma_s"] = float(alert["ttc_s"]), float(alert["ttc_sigma_s"])
    return rows
