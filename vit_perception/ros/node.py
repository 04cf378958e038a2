"""The ROS edge: a lifecycle node around one `Pipeline`.

    configure    open the bundle, build or load its engine, prove it; the topics appear
    activate     subscribe and publish
    deactivate   unsubscribe, fall silent
    clean up     close the engine, take the topics away

The executor's thread only keeps the newest image; a worker thread processes it and publishes. So a slow model drops
frames (counted) instead of queueing them, and timers keep their rate.
"""

import gc
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Dict

import cv2
from std_msgs.msg import Bool

from .. import parameters
from ..avoidance.blocked import BLOCKED
from ..bundles.bundle import find_bundle, open_bundle
from ..engines import open_configured
from ..errors import EngineLost, PerceptionError
from ..health.board import return_free_memory
from ..health.notices import Notices
from ..health.report import SEGMENT_ONLY, STALE, report
from ..images.read import ImageReader
from ..motion_obstacles import LABEL
from ..pipeline import make_pipeline
from ..stats import NodeStats, RateLimit
from .calibration import Calibration
from .debug_image import DebugImage
from .ego import EgoInputs
from .finds import Finds
from .flight_messages import State
from .flight_stack.armed import BlockedEnds
from .frames import FrameProcessor, SegmentingFrames
from .inputs import Inputs
from .lifecycle import ManagedNode
from .node_parameters import declare, watch
from .process import run
from .publishers import Diagnostics, Publishers
from .segmentation import Segmentation
from .worker import Worker

LAST_FRAME_S = 2.0  # how long the frame under way may take when the node is deactivated


class PerceptionNode(ManagedNode):
    """Images in; detections, obstacle scan, alerts and diagnostics out.

    Unless the parameter autostart is false, it configures and activates itself as soon as it spins. If that fails, or
    the engine hangs, it sets `stop`, and `close` raises what was wrong.

    Args:
        stop: threading.Event that ends the program.

    Raises:
        PerceptionError: parameters contradict each other.
        rclpy.exceptions.ParameterException: a parameter has the wrong type or is out of range.
    """

    def __init__(self, stop):
        super().__init__("vit_perception", stop)
        self.values = declare(self, parameters.SPECS)
        problem = parameters.check(self.values)
        if problem:
            raise PerceptionError("parameters contradict each other: " + problem)
        watch(self, self.values, self._check, self._on_change)
        self.doing = ""  # what takes time just now: opening the engine
        self.bundle: Any = None  # from here to _dump: while configured
        self.engine: Any = None
        self.pipeline: Any = None
        self.outputs: Any = None
        self._reader: Any = None
        self._debug: Any = None
        self._dump: Any = None
        self._scan_timer: Any = None
        self.finds: Any = None
        self.segmentation: Any = None
        self.inputs: Any = None  # from here to _frames: while active
        self._worker: Any = None
        self._frames: Any = None

        self.stats, self._rate_limit = NodeStats(), RateLimit()
        self.notices = Notices(self.get_logger().warning)
        self.calibration = Calibration(self.values, self.notices.warn)
        self.ego_inputs = EgoInputs(self.values["base_frame"], self.values["height_source"], self.notices.warn)
        self.scan_silent = "not active"  # why nothing is known, or ''
        self.blocked_ends = BlockedEnds(self, (Bool, State))
        self.newest_received_s = None  # steady clock, newest image that arrived
        self.diagnostics = Diagnostics(self, self.values)
        self.create_timer(1.0, self._publish_diagnostics, clock=self._steady)
        if self.values["autostart"]:
            self._autostart()

    # Transitions, in the executor's thread

    def _configure(self):
        try:
            self.bundle = open_bundle(find_bundle(self.values["model"]))
            alone = self.values["segment_only"]
            if alone:
                self.bundle.require_segmentation()
            else:
                self.bundle.require_detections()
            evaluated = parameters.evaluated(self.bundle)
            specs = [s for s in parameters.EVALUATED if s.name in evaluated and s.name not in self.values]
            self.values.update(declare(self, specs, evaluated))
            parameters.wanted_classes(self.values["class_filter"], self.bundle.labels)
            self._reader = ImageReader(self.values)
            if self.values["dump.seconds"] > 0:
                from .dump import Dump  # with its database, memory that few need

                self._dump = Dump(self, self.values)
            self._scan_timer = self.create_timer(
                1.0 / self.values["scan_rate_hz"], self._publish_scan, clock=self._steady
            )
            keep, labels = self._dump and self._dump.keep, self.bundle.labels + [LABEL]
            if not alone:
                self.outputs = Publishers(self, self.values, labels, self.bundle.name, self.notices.warn, keep)
                self.finds = Finds(self, self.values, labels, self.notices.warn, keep)
            if self.bundle.segmentation is not None:
                self.segmentation = Segmentation(self, self.values, self.bundle, self.notices.warn, keep)
            elif self.values["landing.enabled"]:
                text = "landing.enabled needs masks, and bundle {} only detects; give one that segments"
                raise PerceptionError(text.format(self.bundle.path))
            self.engine = self._open_engine()
            self.pipeline = make_pipeline(self.bundle, self.engine, self.values)
            self._debug = DebugImage(self, self.values, labels, self.bundle.segmentation)
            if self.outputs is not None:
                self.outputs.labels(self.values["score_threshold"])
        except Exception:
            self._release()
            raise

    def _open_engine(self):
        """In a thread of its own, for a build takes minutes; /diagnostics goes on from here meanwhile."""
        self.doing = "opening the engine"
        with ThreadPoolExecutor(1) as pool:
            opening = pool.submit(open_configured, self.bundle, self.values, self._on_progress, self._stop)
            said = 0.0
            while not wait([opening], 1.0 / self.values["scan_rate_hz"]).done:
                self.blocked_ends.hear()
                self._nothing_known("opening the engine")
                if time.monotonic() - said >= 1.0:
                    said = time.monotonic()
                    self._publish_diagnostics()
        self.doing = ""
        engine = opening.result()
        text = "{} ({}) on {}, {}, {}: {}; golden check: {}"
        facts = (engine.name, engine.device, engine.precision, engine.reason, engine.proof)
        self.get_logger().info(text.format(self.bundle.name, self.bundle.sha256[:12], *facts))
        return engine

    def _on_progress(self, text):
        self.doing = text
        self.get_logger().info(text)

    def _activate(self):
        kind = SegmentingFrames if self.values["segment_only"] else FrameProcessor
        self._frames = kind(self, self._reader, self.pipeline, self._debug, self._dump)
        self._worker = Worker(self._frames)
        try:
            listeners = (self._on_image, self._on_info, self.ego_inputs)
            self.inputs = Inputs(self, self.values, listeners, self.notices.warn)
            self.ego_inputs.listener = self.finds.take if self.finds is not None else None
        except Exception:
            self._deactivate()
            raise
        gc.collect()
        return_free_memory()  # opening and proving an engine leaves 7 MB and more that flying does not need
        getattr(gc, "freeze", int)()  # from Python 3.7: what lives as long as the node is not searched again and again
        self.get_logger().info("images from {}".format(self.inputs.image_topic))

    def _deactivate(self):
        self.scan_silent = "not active"
        if self.inputs is not None:
            self.inputs.close()
        if self._worker is not None:
            lost = isinstance(self._failure, EngineLost)
            ended = self._worker.close(0.0 if lost else LAST_FRAME_S)
            self.stats.dropped += self._worker.waiting
            if not (ended or lost):
                self._end_hanging("when the node was deactivated")
            if self.outputs is not None:
                self.outputs.end_alert("the node was deactivated")
        self.inputs = self._worker = self._frames = self.newest_received_s = None

    def _release(self):
        self._deactivate()
        if isinstance(self._failure, EngineLost):  # what it still uses must not be taken from it
            return
        if self._scan_timer is not None:
            self.destroy_timer(self._scan_timer)
            self._scan_timer = None
        for part in (self.finds, self.segmentation, self._dump, self._debug, self.outputs, self.engine):
            if part is not None:
                part.close()
        self.finds = self.segmentation = self._dump = self._debug = self.outputs = None
        self.pipeline = self.engine = self.bundle = None
        self.doing = ""

    # The rest of the executor's thread

    def _on_image(self, msg):
        now = time.monotonic()
        self.stats.received += 1
        self.stats.input_rate.add(now)
        self.newest_received_s = now
        if self._worker is None:  # it arrived while the node was being deactivated
            self.stats.dropped += 1
        elif not self._rate_limit.passes(now, self.values["max_rate_hz"]):
            self.stats.skipped += 1
        elif self._worker.offer((self.inputs.image_topic, msg, now)):
            self.stats.dropped += 1

    def _on_info(self, msg):
        self.calibration.take(msg)
        if self._dump is not None:
            self._dump.keep(self.inputs.info_topic, msg, latched=True)

    def _check(self, values):
        """What is wrong with parameters to be, or ''."""
        try:
            if self.bundle is not None:
                parameters.wanted_classes(values["class_filter"], self.bundle.labels)
        except PerceptionError as e:
            return str(e)
        return parameters.check(values)

    def _on_change(self, changes):
        if self.pipeline is not None:
            self.pipeline.configure(changes)
            if "score_threshold" in changes:
                self.outputs.labels(changes["score_threshold"])

    def _publish_scan(self):
        """The scan at its steady rate; while nothing is known, silence or the blocked scan, as on_stale says."""
        self.scan_silent = self._why_nothing_known()
        if self.values["segment_only"]:
            self.scan_silent = SEGMENT_ONLY
        elif self.scan_silent:
            self._nothing_known(self.scan_silent)
        else:
            self.blocked_ends.released = False
            answered = self._frames.answered
            self.outputs.scan(answered[1].stamp, *answered[2:])

    def _why_nothing_known(self):
        if self._worker is None:
            return "not active"
        self._watch_engine()
        answered = self._frames.answered
        if answered is None:
            return "no image processed yet"
        if time.monotonic() - answered[0] > self.values["stale_after_s"]:
            if self.outputs is not None:
                self.outputs.end_alert("no fresh image")
            return STALE
        if self.stats.consecutive_failures >= self.values["max_failures"]:
            return "{} frames in a row failed".format(self.stats.consecutive_failures)
        return "" if answered[2] is not None else "no calibrated camera_info that fits the image"

    def _nothing_known(self, why):
        self.scan_silent = why
        if self.blocking:
            self.outputs.blocked_scan()

    @property
    def blocking(self):
        """Whether the scan says blocked while nothing is known; otherwise it is silent."""
        return self.values["on_stale"] == BLOCKED and not self.blocked_ends.why()

    def _watch_engine(self):
        limit, since = self.values["engine_timeout_s"], self._worker.busy_since
        if limit > 0 and since is not None and time.monotonic() - since > limit:
            self._end_hanging("for {:.0f} s (engine_timeout_s)".format(limit))

    def _end_hanging(self, when):
        self.give_up(EngineLost("the engine gave no answer {}: the node ends, to be started anew".format(when)))

    def _publish_diagnostics(self):
        level, text, values = report(self, time.monotonic())
        self.diagnostics.publish(level, text, values, bool(self.doing))

    @property
    def mount_source(self):
        """'tf' or 'parameters', '' before the first image."""
        return self._frames.mount_source if self._frames is not None else ""

    @property
    def busy_since(self):
        """Steady time at which the image under way was begun, or None."""
        return self._worker.busy_since if self._worker is not None else None

    @property
    def subscribers(self):
        """{last part of an output topic's name: how many subscribers it has found}; {} while there are no outputs."""
        found: Dict[str, int] = {}
        if self._debug is not None:
            for part in (self.outputs, self.segmentation, self.finds, self._debug):
                found.update(part.subscribers() if part is not None else {})
        return found

    def failed(self, error):
        """Count an exception that a callback raised into the executor."""
        self.stats.callback_failures += 1
        self.get_logger().error("a callback failed: {!r}".format(error), throttle_duration_sec=5.0)


def main(args=None):
    """Run the node until SIGINT or SIGTERM. Returns the exit code."""
    cv2.setNumThreads(1)  # more gain nothing at these sizes, and cost where the cores are busy
    sys.setswitchinterval(1e-4)  # the executor's thread hands over at once when the worker has an image
    return run("vit_perception", PerceptionNode, args)


if __name__ == "__main__":
    sys.exit(main())
