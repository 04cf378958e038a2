"""What the demo hears on the topics, and its comparison with the truth of the rendered flight."""

import csv
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, LaserScan
from vision_msgs.msg import Detection2DArray

from offline.report.samples import annotate, sheet, write_image
from vit_perception.boxes import iou
from vit_perception.detector import Detections
from vit_perception.images.read import view
from vit_perception.palette import NO_TRACK, THREATENS, WARNING, bgr
from vit_perception.ros.messages import read_detections, stamp_to_seconds

NAMES = ("Person", "Car", "Bicycle")
LEVELS = ("OK", "WARN", "ERROR", "STALE")
SHOW = 9  # frames on the contact sheet


class Recorder:
    """Subscribes to the camera and to all that the node publishes; keeps what came, by image stamp."""

    def __init__(self, flight: Path):
        self.flight = flight
        self.frames: list[tuple[float, np.ndarray]] = []  # (stamp, image) in order of publication: index = frame
        self.answers: dict[float, tuple[Detections, list[str], float]] = {}  # stamp -> detections, ids, latency ms
        self.alerts: list[tuple[float, int, dict[str, str]]] = []  # (time heard, level, values)
        self.scans = 0
        self.rss_mb = float("nan")

    def __enter__(self) -> "Recorder":
        rclpy.init()
        self.node = Node("demo_listener")
        every = QoSProfile(depth=100)  # reliable
        self.node.create_subscription(Image, "image_raw", self._on_image, every)
        self.node.create_subscription(Detection2DArray, "vit_perception/detections", self._on_detections, every)
        self.node.create_subscription(DiagnosticStatus, "vit_perception/alert", self._on_alert, every)
        self.node.create_subscription(LaserScan, "obstacle_scan", self._on_scan, every)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        return self

    def __exit__(self, *exc) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown()

    def wait_for_node(self, process: subprocess.Popen, timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not self.node.count_publishers("vit_perception/detections"):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit("error: the node did not come up; its message is above")
            self.executor.spin_once(timeout_sec=0.1)

    def listen(self, done) -> None:
        """Until `done()` is true and a moment longer, with one line of status."""
        until, shown = None, 0.0
        while until is None or time.monotonic() < until:
            self.executor.spin_once(timeout_sec=0.05)
            if until is None and done():
                until = time.monotonic() + 1.5
            if time.monotonic() - shown > (0.2 if sys.stdout.isatty() else 3.0):
                shown = time.monotonic()
                self._show()
        print(flush=True)

    def _show(self) -> None:
        latest = next(reversed(self.answers.values()), None)
        found = "-"
        if latest:
            per_class = np.bincount(latest[0].classes, minlength=len(NAMES))
            found = " ".join(f"{n} {c}" for n, c in zip(NAMES, per_class, strict=True))
        _, level, values = self.alerts[-1] if self.alerts else (0.0, 0, {})
        alert = (
            f"{LEVELS[level]} {values.get('class', '')} ttc {values['ttc_s']} s" if "ttc_s" in values else LEVELS[level]
        )
        counts = f"images {len(self.frames):3d}  answers {len(self.answers):3d}  scans {self.scans:3d}"
        line = f"{counts}  {found}  alert {alert}"
        print(
            f"\r{line:<100}" if sys.stdout.isatty() else line,
            end="" if sys.stdout.isatty() else "\n",
            flush=True,
        )

    def _on_image(self, msg: Image) -> None:
        image, _ = view(msg)
        self.frames.append((stamp_to_seconds(msg.header.stamp), image.copy()))

    def _on_detections(self, msg: Detection2DArray) -> None:
        boxes, scores, class_ids, ids = read_detections(msg)
        stamp = stamp_to_seconds(msg.header.stamp)
        found = Detections(boxes, scores, np.array([int(c) for c in class_ids], np.int64))
        self.answers[stamp] = (found, ids, 1e3 * (time.time() - stamp))

    def _on_alert(self, msg: DiagnosticStatus) -> None:
        level = msg.level[0] if isinstance(msg.level, bytes) else int(msg.level)
        self.alerts.append((time.time(), level, {v.key: v.value for v in msg.values}))

    def _on_scan(self, msg: LaserScan) -> None:
        self.scans += 1


def read_truth(path: Path) -> dict[int, list[dict]]:
    """truth.csv -> {frame: rows of all objects of the detector's classes}."""
    truth: dict[int, list[dict]] = {}
    with path.open(newline="") as f:
        for row in csv.DictReader(f):
            if row["kind"] in NAMES:
                truth.setdefault(int(row["frame"]), []).append(row)
    return truth


def should_be_found(row: dict) -> bool:
    """Whether enough of the object is in the picture."""
    return float(row["visible"]) >= 0.3 and min(float(row["w"]), float(row["h"])) >= 4


def box_of(row: dict) -> np.ndarray:
    x, y, w, h = (float(row[k]) for k in "xywh")
    return np.array([[x, y, x + w, y + h]], np.float32)


def found_share(record: Recorder, truth: dict[int, list[dict]]) -> dict[str, list[int]]:
    """{class: [objects found at IoU >= .5, objects that should be]} over the frames that were answered."""
    shares = {n: [0, 0] for n in NAMES}
    for index, (stamp, _) in enumerate(record.frames):
        if stamp not in record.answers:
            continue
        found = record.answers[stamp][0]
        for row in filter(should_be_found, truth.get(index, [])):
            share = shares[row["kind"]]
            share[1] += 1
            same = found.classes == NAMES.index(row["kind"])
            share[0] += bool((iou(box_of(row), found.boxes[same]) >= 0.5).any())
    return shares


def false_share(record: Recorder, truth: dict[int, list[dict]]) -> dict[str, list[int]]:
    """{class: [published boxes where no such object is, IoU < .3; published boxes]}."""
    shares = {n: [0, 0] for n in NAMES}
    for index, (stamp, _) in enumerate(record.frames):
        if stamp not in record.answers:
            continue
        found = record.answers[stamp][0]
        for box, k in zip(found.boxes, found.classes, strict=True):
            there = [box_of(row) for row in truth.get(index, []) if row["kind"] == NAMES[k]]
            shares[NAMES[k]][0] += not there or float(iou(box[None], np.concatenate(there)).max()) < 0.3
            shares[NAMES[k]][1] += 1
    return shares


def first_alert(record: Recorder, truth: dict[int, list[dict]]) -> dict | None:
    """The first alert with a time to contact beside the truth of what stood where its track was seen last.

    Returns:
        published, true (s; None: it does not close in, or nothing is there), of (kind), or None without such an alert.
    """
    alert = next(((heard, values) for heard, _, values in record.alerts if "ttc_s" in values), None)
    if alert is None:
        return None
    heard, values = alert
    row = truth_of_track(record, truth, values["track_id"], heard)
    true = float(row["ttc_s"]) if row else float("inf")
    return {
        "published": float(values["ttc_s"]),
        "true": round(true, 2) if np.isfinite(true) else None,
        "of": row["kind"] if row else "nothing there",
    }


def truth_of_track(record: Recorder, truth: dict[int, list[dict]], track_id: str, until: float) -> dict | None:
    """The row of what overlaps a track most where it was seen last; None if that is less than 0.3."""
    for index, (stamp, _) in reversed(list(enumerate(record.frames))):
        found, ids, _ = record.answers.get(stamp, (None, [], 0.0))
        if stamp > until or found is None or track_id not in ids:
            continue
        box = found.boxes[ids.index(track_id)][None]
        overlaps = [(float(iou(box, box_of(row))[0, 0]), row) for row in truth.get(index, [])]
        best, row = max(overlaps, key=lambda pair: pair[0], default=(0.0, None))
        return row if best >= 0.3 else None
    return None


def report(record: Recorder, picture: Path) -> dict:
    """Print the table of one flight, write its contact sheet, and return the figures."""
    truth = read_truth(record.flight / "truth.csv")
    latencies = [answer[2] for answer in record.answers.values()] or [float("nan")]
    summary = {
        "images_published": len(record.frames),
        "images_answered": len(record.answers),
        "latency_ms_p50": round(float(np.median(latencies)), 1),
        "latency_ms_p95": round(float(np.percentile(latencies, 95)), 1),
        "scans": record.scans,
        "alerts": sum(level > 0 for _, level, _ in record.alerts),
        "first_alert_ttc_s": first_alert(record, truth),
        "node_rss_mb": round(record.rss_mb, 1),
        "found": {name: f"{hit}/{there}" for name, (hit, there) in found_share(record, truth).items()},
        "false": {name: f"{wrong}/{told}" for name, (wrong, told) in false_share(record, truth).items()},
    }
    print(f"\n== 4 report '{record.flight.name}': what the topics said, against the truth of the flight")
    for key, value in summary.items():
        text = " ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        print(f"{key.replace('_', ' '):<22}{text}")
    write_image(picture, contact_sheet(record))
    return summary


def contact_sheet(record: Recorder) -> np.ndarray:
    """Frames spread over the flight with the published detections, and the alert that held then."""
    picks = np.linspace(0, len(record.frames) - 1, min(SHOW, len(record.frames))).astype(int)
    pictures = []
    for i in picks:
        stamp, image = record.frames[i]
        canvas = image.copy() if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        if stamp in record.answers:
            annotate(canvas, record.answers[stamp][0], list(NAMES))
        alert = next(((level, v) for heard, level, v in reversed(record.alerts) if heard <= stamp + 0.1), (0, {}))
        text = f"{stamp - record.frames[0][0]:.1f} s  {LEVELS[alert[0]]}"
        if "ttc_s" in alert[1]:
            text += f"  ttc {alert[1]['ttc_s']} s"
        color = bgr((NO_TRACK, WARNING, THREATENS, NO_TRACK)[alert[0]])
        cv2.rectangle(canvas, (0, 0), (canvas.shape[1], 15), (0, 0, 0), -1)
        cv2.putText(canvas, text, (4, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.38, color, 1, cv2.LINE_AA)
        pictures.append(canvas)
    return sheet(pictures)
