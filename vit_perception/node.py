"""The ROS edge: topics and parameters around one `Pipeline`.

The executor thread only keeps the newest image; one worker thread processes it and publishes. So a slow model
drops frames (counted) instead of queueing them, and timers keep their rate.
"""

import sys
import threading
import time
from typing import Optional, Tuple

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image

from . import messages, parameters
from .bundle import find_bundle, open_bundle
from .calibration import Calibration
from .detector import Detector
from .ego import EgoInputs
from .engines import open_engine
from .errors import EngineError, ImageError, PerceptionError
from .health import report, stamp_problem
from .image import view
from .notices import Notices
from .pipeline import Pipeline, sizes_by_index
from .process import run
from .publishers import BEST_EFFORT_NEWEST, Publishers
from .stats import NodeStats


class PerceptionNode(Node):
    """Images in; detections, obstacle scan, alerts and diagnostics out.

    The worker opens the engine, which may have to be built first: until then the node is up, says so in /diagnostics
    and publishes nothing else. If no engine can be had, it sets `stop`, and `close` raises what was wrong.

    Args:
        stop: threading.Event that ends the program.

    Raises:
        PerceptionError: the bundle cannot be used, or parameters contradict each other.
        rclpy.exceptions.ParameterException: a parameter has the wrong type or is out of range.
    """

    def __init__(self, stop):
        super().__init__("vit_perception")
        start = parameters.declare(self, parameters.STARTUP)
        self.bundle = open_bundle(find_bundle(start["model"]))
        limits = self.bundle.thresholds
        evaluated = {"score_threshold": float(limits["score"]), "nms_iou": float(limits["nms_iou"])}
        values = parameters.declare(self, parameters.SPECS, evaluated)
        problem = parameters.check(values)
        if problem:
            raise PerceptionError("parameters contradict each other: " + problem)
        self.values = values
        self._start, self._stop, self._failure = start, stop, None
        self.engine = self._pipeline = None
        self.starting = "opening the engine"  # what it is doing until there is an engine

        self.stats = NodeStats()
        self.notices = Notices(self.get_logger().warning)
        self.calibration = Calibration(values, self.notices.warn)
        self.ego_inputs = EgoInputs(values["base_frame"], values["height_source"], self.notices.warn)
        self.mount_source = ""  # tf or parameters, once there is an image
        self.scan_silent = "no image yet"  # why there is no scan, or ''
        self.newest_received_s = None  # steady clock, newest image that arrived
        self._answered = None  # (time received, header, scan ranges or None) of the newest processed image
        self._stamp_s = None  # of the newest processed image
        self._slot: Optional[Tuple[Image, float]] = None  # waits for the worker, with its time of arrival
        self._stopping = False
        self._wakeup = threading.Condition()

        self.outputs = Publishers(self, values, self.bundle.labels, self.bundle.name)
        self.outputs.labels()
        parameters.watch(self, values, self._on_change)
        self._subscribe()
        self._worker = threading.Thread(target=self._work, name="perception")
        self._worker.start()

    def _subscribe(self):
        images = QoSProfile(depth=10) if self.values["reliable_input"] else BEST_EFFORT_NEWEST
        subscription = self.create_subscription(Image, "image_raw", self._on_image, images)
        self.image_topic = subscription.topic_name
        self.create_subscription(CameraInfo, "camera_info", self.calibration.take, BEST_EFFORT_NEWEST)
        self.ego_inputs.subscribe(self)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # timers run on, whatever simulated time does
        self.create_timer(1.0 / self.values["scan_rate_hz"], self._publish_scan, clock=steady)
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)

    # The executor's thread

    def _on_image(self, msg):
        now = time.monotonic()
        self.stats.received += 1
        self.stats.input_rate.add(now)
        self.newest_received_s = now
        with self._wakeup:
            if self._slot is not None:
                self.stats.dropped += 1
            self._slot = (msg, now)
            self._wakeup.notify()

    def _on_change(self, changes):
        pipeline = self._pipeline  # None while the engine opens; what opens it takes self.values then
        if pipeline is not None:
            pipeline.configure(changes)
        if "score_threshold" in changes:
            self.outputs.labels()

    def _publish_scan(self):
        answered = self._answered
        age = None if answered is None else time.monotonic() - answered[0]
        if answered is None:
            self.scan_silent = "no image processed yet"
        elif age > self.values["stale_after_s"]:
            self.scan_silent = "newest processed image is stale"
            self.outputs.end_alert("no fresh image")
        elif self.stats.consecutive_failures >= self.values["max_failures"]:
            self.scan_silent = "{} frames in a row failed".format(self.stats.consecutive_failures)
        elif answered[2] is None:
            self.scan_silent = "no calibrated camera_info that fits the image"
        else:
            self.scan_silent = ""
            self.outputs.scan(answered[1].stamp, answered[2])

    def _publish_diagnostics(self):
        level, text, values = report(self, time.monotonic())
        self.outputs.diagnostics(level, text, values, bool(self.starting))

    # The worker's thread

    def _work(self):
        try:
            pipeline = self._open_pipeline()
        except Exception as e:  # the executor's thread ends the program with this sentence
            if not self._stop.is_set():
                known = isinstance(e, PerceptionError)
                self._failure = e if known else EngineError("cannot open the engine: {!r}".format(e))
                self._stop.set()
            return
        while True:
            with self._wakeup:
                self._wakeup.wait_for(lambda: self._slot is not None or self._stopping)
                waiting, self._slot = self._slot, None
            if self._stopping or waiting is None:
                return
            try:
                self._process(pipeline, *waiting)
            except ImageError as e:
                self.stats.add_rejection(str(e))
                self.get_logger().warning("image rejected: {}".format(e), throttle_duration_sec=5.0)
            except Exception as e:  # one bad frame must not end the flight; diagnostics carry it
                self.stats.add_failure("{}: {}".format(type(e).__name__, e))
                self.get_logger().error("frame failed: {!r}".format(e), throttle_duration_sec=5.0)

    def _open_pipeline(self):
        start = self._start
        self.engine = open_engine(
            self.bundle,
            start["backend"],
            start["precision"],
            start["threads"],
            start["engine_cache"],
            start["workspace_mb"],
            self._on_progress,
            self._stop,
        )
        pipeline = Pipeline(Detector(self.bundle, self.engine))
        heights = [self.values["obstacles." + n] for n in ("classes", "heights_m", "height_sigmas_m")]
        heights.append(self.bundle.manifest.get("sizes"))
        pipeline.obstacles.sizes = sizes_by_index(self.bundle.labels, *heights)
        self._pipeline = pipeline
        pipeline.configure(dict(self.values))  # after it is known to _on_change, so that no change is lost
        self.starting = ""
        self.get_logger().info(
            "{} ({}) on {}, {}, {}: {}; golden check: {}; images from {}".format(
                self.bundle.name,
                self.bundle.sha256[:12],
                self.engine.name,
                self.engine.device,
                self.engine.precision,
                self.engine.reason,
                self.engine.proof,
                self.image_topic,
            )
        )
        return pipeline

    def _on_progress(self, text):
        self.starting = text
        self.get_logger().info(text)

    def _process(self, pipeline, msg, received):
        image, order = view(msg)
        stamp_s = messages.stamp_to_seconds(msg.header.stamp)
        self._check_stamp(stamp_s)
        camera = self.calibration.camera_for(msg.width, msg.height)
        mount = self.ego_inputs.mount(msg.header.frame_id) if self.values["mount_from_tf"] else None
        self.mount_source = "parameters" if mount is None else "tf"
        result = pipeline.process(image, order, stamp_s, camera, mount, self.ego_inputs.ego(received))
        t0 = time.perf_counter()
        self.outputs.result(msg.header, result)
        self._answered = (received, msg.header, result.scan_ranges)
        stages = dict(result.stage_ms, publish=1e3 * (time.perf_counter() - t0))
        latency = 1e-9 * self.get_clock().now().nanoseconds - stamp_s
        now = time.monotonic()
        self.stats.add_frame(stages, 1e3 * latency, 1e3 * (now - received), now)

    def _check_stamp(self, stamp_s):
        problem = stamp_problem(stamp_s, self._stamp_s, 1e-9 * self.get_clock().now().nanoseconds)
        self._stamp_s = stamp_s
        if problem:
            self.notices.warn(*problem)

    def close(self):
        """Stop the worker and release the engine. The executor must no longer spin this node.

        Raises:
            PerceptionError: no engine could be opened.
        """
        with self._wakeup:
            self._stopping = True
            self._wakeup.notify()
        self._worker.join()
        if self.engine is not None:
            self.engine.close()
        if self._failure is not None:
            raise self._failure


def main(args=None):
    """Run the node until SIGINT or SIGTERM. Returns the exit code."""
    return run("vit_perception", PerceptionNode, args)


if __name__ == "__main__":
    sys.exit(main())
