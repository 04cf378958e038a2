"""What happens to one image message, in the worker's thread: read, processed, published, counted."""

import time

from ..avoidance.scan import horizon_in_view
from ..errors import EngineLost, ImageError
from ..health.report import stamp_problem
from ..stats import Stopwatch
from . import messages

LOOK_S = 1.0  # between two looks at where the camera looks
MOST_OLDER = 3  # images in a row that are rejected as out of order


class FrameProcessor:
    """Processes image messages with their time of arrival. It counts and logs every error and raises none.

    Args:
        node: a configured `PerceptionNode`, whose stats, notices, calibration, ego inputs and outputs it uses.
        reader: `ImageReader`. pipeline: `Pipeline`. debug: `DebugImage`. dump: `Dump`, or None.

    Attributes:
        answered: (time, header, scan ranges or None, their limits) of the newest processed image, or None. The time is
            when it was received or, if images repeat its stamp, when the first of them was: a picture that stands still
            grows old.
        mount_source: 'tf' or 'parameters', '' before the first image.
    """

    def __init__(self, node, reader, pipeline, debug, dump):
        self._node, self._reader, self._pipeline = node, reader, pipeline
        self._debug, self._dump = debug, dump
        self._stamp_s, self._since, self._older, self._looked = None, 0.0, 0, -LOOK_S
        self.answered, self.mount_source = None, ""

    def __call__(self, item):
        """Process (topic, message, time received on the steady clock)."""
        node = self._node
        try:
            self._process(*item)
        except ImageError as e:
            node.stats.add_rejection(str(e))
            node.get_logger().warning("image rejected: {}".format(e), throttle_duration_sec=5.0)
        except EngineLost as e:
            node.stats.add_failure(str(e))
            node.give_up(e)
        except Exception as e:  # one bad frame must not end the flight; diagnostics carry it
            node.stats.add_failure("{}: {}".format(type(e).__name__, e))
            node.get_logger().error("frame failed: {!r}".format(e), throttle_duration_sec=5.0)

    def _process(self, topic, msg, received):
        node = self._node
        if self._dump is not None:
            self._dump.keep(topic, msg)
        watch = Stopwatch()
        image, order = self._reader.read(msg)
        watch.stop("read")
        stamp_s = messages.stamp_to_seconds(msg.header.stamp)
        self._check_stamp(stamp_s, received)
        height, width = image.shape[:2]
        shrinks = node.bundle.shrinks(width, height, self._pipeline.slices)
        if shrinks:
            node.notices.warn("shrinks", shrinks)
        camera = node.calibration.camera_for(width, height)
        mount = node.ego_inputs.mount(msg.header.frame_id) if node.values["mount_from_tf"] else None
        self.mount_source = "parameters" if mount is None else "tf"
        problems = self._pipeline.problems(image, order)
        for kind, problem in dict(problems, mount=node.ego_inputs.mount_problem).items():
            node.notices.hold(kind, problem)
        ego = node.ego_inputs.ego(received)
        stages, result = self._perceive(msg.header, image, order, stamp_s, received, camera, mount, ego)
        stages = dict(watch.stage_ms, **stages)
        latency = 1e-9 * node.get_clock().now().nanoseconds - stamp_s
        now = time.monotonic()
        response_ms = 1e3 * (now - received)
        watch.start()
        mask = self._segment(msg.header, (width, height), self._fresh(received), camera, mount, ego)
        if mask is not None:
            watch.stop("segmentation")
            stages["segmentation"] = watch.stage_ms["segmentation"]
        node.stats.add_frame(stages, 1e3 * latency, response_ms, now)
        self._show(msg.header, image, order, result, mask)

    def _perceive(self, header, image, order, stamp_s, received, camera, mount, ego):
        """Detect, publish what was detected and what it means. Returns ({stage: milliseconds}, Result)."""
        node = self._node
        if self._pipeline.memory is not None:
            self._pipeline.memory.disarmed = node.blocked_ends.disarmed
        seen = self._pipeline.detect_and_track(image, order, stamp_s, camera, mount, ego)
        watch = Stopwatch()
        node.outputs.detections(header, seen)  # at once: what they mean takes as long again
        watch.stop("publish_detections")
        if camera is not None and received - self._looked >= LOOK_S:
            self._looked = received
            node.outputs.look(horizon_in_view(camera, self._pipeline.mount if mount is None else mount))
        result = self._pipeline.assess(seen, camera, mount, ego)
        watch.start()
        # Of a picture that stands still, the scan's timer tells: it ends the alert.
        node.outputs.result(header, result, self._fresh(received))
        self._look_for(header, seen, camera, mount)
        self.answered = (self._since, header, result.scan_ranges, result.scan_limits)
        watch.stop("publish")
        return dict(watch.stage_ms, **result.stage_ms), result

    def _fresh(self, received):
        """Whether the image is no picture that stands still."""
        return received - self._since <= self._node.values["stale_after_s"]

    def _segment(self, header, size, *about):
        """What becomes of the masks, last of all. Returns class_map(), as `Segmentation.image`, or None without masks.

        A mask that cannot be made is told; the frame's detections are out and count.
        """
        if self._node.segmentation is None:
            return None
        try:
            return self._node.segmentation.image(header, size, self._pipeline.segmenter, *about)
        except Exception as e:
            self._node.notices.warn("segmentation", "no mask of this image: {}".format(e))
            return None

    def _look_for(self, header, seen, camera, mount):
        try:
            self._node.finds.image(header, seen, camera, self._pipeline.mount if mount is None else mount)
        except Exception as e:  # the frame is processed; only the map lacks it
            self._node.notices.warn("finds", "no finds from this image: {!r}".format(e))

    def _show(self, *picture):
        try:
            self._debug.show(*picture)
        except Exception as e:  # the frame is processed; only its picture is missing
            self._node.notices.warn("debug_image", "no debug image: {!r}".format(e))

    def _check_stamp(self, stamp_s, received):
        node = self._node
        back = 0.0 if self._stamp_s is None else self._stamp_s - stamp_s
        # Out of order; a clock that was set back goes farther, or on. After three of them it was the other one.
        if 0 < back < node.values["tracker.max_gap_s"] and self._older < MOST_OLDER:
            self._older += 1
            raise ImageError("it is {:.3f} s older than the image before it".format(back))
        self._older = 0
        if stamp_s != self._stamp_s or stamp_s <= 0:  # zero: a camera without stamps, whose images may be fresh
            self._since = received
        problem = stamp_problem(stamp_s, self._stamp_s, 1e-9 * node.get_clock().now().nanoseconds)
        self._stamp_s = stamp_s
        if problem:
            node.notices.warn(*problem)


class SegmentingFrames(FrameProcessor):
    """The same where the node only segments: `pipeline` is a `SegmentOnly`."""

    def _perceive(self, header, image, order, stamp_s, received, camera, mount, ego):
        stages = self._pipeline.process(image, order)
        self.answered = (self._since, header, None, None)
        return stages, None

    def _segment(self, header, size, *about):
        """As above, but here the mask is all there is: what goes wrong is the frame's failure."""
        return self._node.segmentation.image(header, size, self._pipeline.segmenter, *about)
