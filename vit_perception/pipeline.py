"""Takes one frame and its stamp, returns one result. No ROS; only the stopwatch of the stages reads a clock."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .avoidance.alerts import AlertPolicy
from .avoidance.blocked import BLOCKED, SILENT
from .avoidance.class_sizes import sizes_by_index
from .avoidance.corridor import Corridor
from .avoidance.geometry import Mount
from .avoidance.memory import Memory
from .avoidance.obstacles import ObstacleEstimator
from .avoidance.scan import horizon_in_view, make_scan
from .detector import Detections, Detector
from .images.saturation import ColourCheck
from .motion_obstacles import LABEL
from .motion_obstacles.watcher import MotionObstacles
from .parameters import wanted_classes
from .segmentation.alone import SegmentOnly
from .segmentation.segmenter import OUTPUT, Segmenter
from .stats import Stopwatch
from .tracking.camera_motion import CameraMotion
from .tracking.growth import Expansion
from .tracking.tracker import Tracker

_PARTS = ("tracker", "obstacles", "memory", "corridor", "alerts", "motion_obstacles")
_DETECTOR_VALUES = ("nms_iou", "invert_image", "slices", "slices_per_frame")
_SCORES = ("score_threshold", "weak_score")
_OWN_VALUES = (
    "camera_motion", "pixel_growth", "publish_clear", "range_min_m", "range_max_m", "max_height_difference_m",
    "on_stale",
)  # fmt: skip
_MOUNT_VALUES = {"obstacles.camera_" + angle: angle for angle in ("yaw_deg", "pitch_deg", "roll_deg")}


class FrameDetections:
    """The detections and tracks of one frame, before the second half judges what they mean for the vehicle.

    Attributes:
        detections (Detections): in pixels of the image; those over score_threshold, and weaker ones of `tracks`.
        found (n, 4): boxes of all that the detector found, weak ones too.
        tracks (list of Track): the confirmed ones; `track.detection` is an index into detections.
        tentative (list of Track): those of strong detections that are not confirmed.
        slices: of the image, those that were looked at and those that were passed over, x1, y1, x2, y2.
        image, order, stamp_s: what was looked at. stage_ms (dict): milliseconds of each stage so far.
    """

    __slots__ = ("detections", "found", "tracks", "tentative", "slices", "image", "order", "stamp_s", "stage_ms")

    def __init__(self, detections, found, tracks, tentative, slices, image, order, stamp_s, stage_ms):
        self.detections, self.found, self.tracks, self.tentative = detections, found, tracks, tentative
        self.slices = slices
        self.image, self.order, self.stamp_s, self.stage_ms = image, order, stamp_s, stage_ms


class Result:
    """The result of one frame.

    Attributes:
        detections (Detections): in pixels of the image.
        tracks (list of Track): the confirmed ones; `track.detection` is an index into detections.
        obstacles (list of Obstacle): one per track, those that vanished near and are remembered, those without a class.
        scan_ranges: float32 (72,), or None without a calibrated camera: nothing can be said about space then.
        scan_limits: (range_min, range_max) with which they were made, metres.
        alert (Alert).
        stage_ms (dict): milliseconds of each stage, in order; of motion, what it took beyond the detection.
    """

    __slots__ = ("detections", "tracks", "obstacles", "scan_ranges", "scan_limits", "alert", "stage_ms")

    def __init__(self, detections, tracks, obstacles, scan_ranges, alert, stage_ms, scan_limits=None):
        self.detections, self.tracks, self.obstacles = detections, tracks, obstacles
        self.scan_ranges, self.scan_limits = scan_ranges, scan_limits
        self.alert, self.stage_ms = alert, stage_ms


class Pipeline:
    """Detector, camera motion, tracker, obstacles, memory, corridor, scan and alerts in a row.

    Args:
        detector: has detect(image, order) -> Detections and stage_ms, as `vit_perception.detector.Detector`; one that
            knows slices has looked_at and passed_over too.
        tracker, obstacles, corridor, alerts: `Tracker`, `ObstacleEstimator`, `Corridor`, `AlertPolicy`; None takes the
            defaults.

    Attributes:
        camera_motion (bool): whether the tracker is told how the camera moved, from the images. Where they do not tell,
            it is told how the camera turned, from the vehicle.
        pixel_growth (bool): whether the growth of objects is taken from their pixels too, not from their boxes alone.
        expansion (Expansion): measures that growth.
        memory (Memory or None): remembers what vanished near; None switches it off.
        motion_obstacles (MotionObstacles): finds what stands in the way and has no class.
        score_threshold, weak_score (float): from the one on detections are published, and strong for the tracker; from
            the other on they are published if they belong to a confirmed track.
        mount (Mount): of the camera, for frames that come without one.
        labels (list of str): the model's, for class_filter. names (list of str): of all obstacles' class indices.
        colour_check (ColourCheck or None): whether the images suit the model.
        segmenter (Segmenter or None): what the model says of each pixel of the newest image, if anybody asks.
    """

    def __init__(self, detector, tracker=None, obstacles=None, corridor=None, alerts=None):
        self.detector, self.motion, self.labels, self.colour_check = detector, CameraMotion(), [], None
        self.segmenter = None
        self.tracker = tracker or Tracker()
        self.obstacles = obstacles or ObstacleEstimator()
        self.memory, self.corridor = Memory(), corridor or Corridor()
        self.motion_obstacles = MotionObstacles()
        self.alerts = alerts or AlertPolicy()
        self.camera_motion, self.pixel_growth, self.max_height_difference_m = True, True, 0.0
        self.expansion = Expansion()
        self.publish_clear, self.range_min_m, self.range_max_m, self.on_stale = False, 0.5, 40.0, SILENT
        self.score_threshold = self.weak_score = self.tracker.high_score = detector.score_threshold
        self.alerts.sure_score = detector.score_threshold
        self._angles, self.mount = {}, Mount.from_angles()
        self._wanted = None  # class indices, or None: all
        self._beside = ThreadPoolExecutor(1)  # OpenCV and the engine let go of Python's lock: both work at once

    @property
    def names(self):
        return self.labels + [LABEL]

    @property
    def slices(self):
        """The detector's: how large images are cut."""
        return self.detector.slices

    def configure(self, values):
        """Set what `values` (parameter name -> value) names; names of others are left alone.

        'nms_iou', 'invert_image', 'slices' and 'slices_per_frame' are the detector's; 'obstacles.camera_*_deg' turn
        `mount`; 'tracker.x', 'obstacles.x', 'memory.x', 'corridor.x' and 'alerts.x' are attribute x of that part. Safe
        between two frames and, since each is one assignment, during one.
        """
        for name, value in values.items():
            part, _, attribute = name.rpartition(".")
            if name in _MOUNT_VALUES:
                self._angles[_MOUNT_VALUES[name]] = value
                self.mount = Mount.from_angles(**self._angles)
            elif part in _PARTS:
                setattr(getattr(self, part), attribute, value)
            elif name in _DETECTOR_VALUES:
                setattr(self.detector, name, value)
            elif name in _SCORES:
                setattr(self, name, value)
                self.tracker.high_score = self.alerts.sure_score = self.score_threshold
                self.detector.score_threshold = min(self.score_threshold, self.weak_score)
            elif name in _OWN_VALUES:
                setattr(self, name, value)
            elif name == "class_filter":
                self._wanted = wanted_classes(value, self.labels)

    def process(self, image, order, stamp_s, camera=None, mount=None, ego=None):
        """Process one frame: `detect_and_track`, then `assess`, which tell of the arguments. Returns a Result."""
        return self.assess(self.detect_and_track(image, order, stamp_s, camera, mount, ego), camera, mount, ego)

    def detect_and_track(self, image, order, stamp_s, camera=None, mount=None, ego=None):
        """Detect and track: the first half of a frame. Returns a FrameDetections; publish it while `assess` works.

        Args:
            image, order: as `vit_perception.images.read.view` returns them.
            stamp_s: the image's stamp in seconds; the only time that the algorithms know. One that goes back, or
                jumps, starts all tracks anew; one that repeats tells nothing of motion.
            camera, mount, ego: as `assess` takes them; the vehicle's turning carries tracks where the images do not
                tell the camera's motion.
        """
        watch = Stopwatch()
        looking = self._beside.submit(self._camera_motion, image, order)
        try:
            detections = _only(self._wanted, self.detector.detect(image, order))
        finally:
            watch.start()
            motion = looking.result()
        watch.stop("motion")
        turning = _turning(camera, self.mount if mount is None else mount, ego)
        slices = getattr(self.detector, "looked_at", ()), getattr(self.detector, "passed_over", ())
        tracks = self.tracker.update(detections, stamp_s, motion, turning, slices)
        tentative, found = self.tracker.tentative, detections.boxes
        detections = _published(detections, tracks, self.score_threshold)
        watch.stop("track")
        stages = dict(self.detector.stage_ms, **watch.stage_ms)
        return FrameDetections(detections, found, tracks, tentative, slices, image, order, stamp_s, stages)

    def assess(self, seen, camera=None, mount=None, ego=None):
        """The second half of a frame: ranges, memory, corridor, alert and scan. Returns a Result.

        Args:
            seen: what `detect_and_track` returned of this frame.
            camera: `Camera` of this image, or None if uncalibrated.
            mount: `vit_perception.avoidance.geometry.Mount` of the camera; None takes the one of the parameters.
            ego: `vit_perception.avoidance.geometry.Ego`, what is known of the vehicle now, or None.
        """
        mount = self.mount if mount is None else mount
        height, width = seen.image.shape[:2]
        watch = Stopwatch()
        if self.pixel_growth:
            self.expansion.update(seen.image, seen.order, seen.stamp_s, seen.tracks)
        else:
            self.expansion.reset()
        watch.stop("growth")
        self.obstacles.pixel_growth = self.pixel_growth
        self.obstacles.half_height_m = 0.5 * self.corridor.height_m
        obstacles = self.obstacles.update(seen.tracks, seen.stamp_s, camera, width, height, mount, ego)
        half_width_m = 0.5 * self.corridor.width_m + self.corridor.margin_m
        if self.memory is not None:
            axis, boxes = mount.rotation[:, 2], seen.found
            obstacles = self.memory.update(
                obstacles, seen.stamp_s, width, height, ego, axis, half_width_m, camera, mount, seen.slices, boxes
            )
        if self.tracker.restarted:  # after a pause: what is neither seen nor remembered alerts no more
            self.alerts.reset({o.track.id for o in obstacles})
        watch.stop("obstacles")
        without_class = self._without_class(seen, camera, mount, ego, half_width_m)
        watch.stop("unclassed")
        stopping = self.corridor.assess(obstacles, ego, mount.rotation[:, 2])
        obstacles = obstacles + without_class
        alert = self.alerts.update(obstacles, stopping)
        scan, limits = None, (self.range_min_m, self.range_max_m)
        if camera is not None:
            # What is not yet, or no more, a track may be an obstacle: nothing that was found is announced as clear.
            single_frame = self.obstacles.single_frame_obstacles(
                seen.tentative, seen.stamp_s, camera, width, height, mount, ego
            )
            seen_now = [o for o in obstacles + single_frame if not o.gone and (self.corridor.others_fly or not o.ghost)]
            scan = self._scan(seen_now, limits, camera, mount, ego)
        watch.stop("alerts")
        stages = dict(seen.stage_ms, **watch.stage_ms)
        return Result(seen.detections, seen.tracks, obstacles, scan, alert, stages, limits)

    def _without_class(self, seen, camera, mount, ego, half_width_m):
        """Obstacles that no detection covers, confirmed or not."""
        boxes = np.concatenate([seen.detections.boxes] + [t.box[None] for t in seen.tracks + seen.tentative])
        half_height_m = 0.5 * self.corridor.height_m + self.corridor.margin_m
        self.motion_obstacles.followed.class_index = len(self.labels)
        return self.motion_obstacles.update(
            seen.image, seen.order, seen.stamp_s, camera, mount, ego, boxes, half_width_m, half_height_m
        )

    def problems(self, image, order):
        """{kind: one sentence, or ''}: what is wrong with this model for these images, or for ranges. Once an image."""
        sizes = ""
        if self.labels and not self.obstacles.sizes:
            text = "no class of the model ({}) has a known height: no range from sizes, only from the height above "
            sizes = (text + "ground; set obstacles.classes and obstacles.heights_m").format(", ".join(self.labels))
        look = getattr(self.detector, "look", None)
        colour = self.colour_check.update(image, order) if self.colour_check else ""
        return {"colour": colour, "sizes": sizes, "look": look.problem if look else ""}

    def _camera_motion(self, image, order):
        if self.camera_motion:
            return self.motion.update(image, order)
        self.motion.reset()  # switched on again, it must not compare with an image of long ago
        return None

    def _scan(self, obstacles, limits, camera, mount, ego):
        view = None
        if self.publish_clear:
            view = horizon_in_view(camera, mount, None if ego is None else ego.level)
        # An autopilot that needs a blocked scan takes unknown for free: what has no range is put in, near.
        width = self.corridor.min_size_m if self.on_stale == BLOCKED else 0.0
        return make_scan(obstacles, view, limits[0], limits[1], self.publish_clear, self.max_height_difference_m, width)


def _turning(camera, mount, ego):
    """(K, rate) of the camera, as `Tracker.update` takes it; None if it is not known."""
    rate = None if ego is None else ego.angular_velocity
    if camera is None or rate is None or not np.isfinite(rate).all():
        return None
    K = np.array([[camera.fx, 0.0, camera.cx], [0.0, camera.fy, camera.cy], [0.0, 0.0, 1.0]])
    return K, mount.rotation.T.dot(rate)


def _only(wanted, found):
    """Detections of the wanted class indices; of all if that is None."""
    if wanted is None:
        return found
    kept = np.isin(found.classes, wanted)
    return Detections(found.boxes[kept], found.scores[kept], found.classes[kept])


def _published(found, tracks, score_threshold):
    """Detections without the weak ones that continue no confirmed track; `track.detection` follows them."""
    keep = found.scores >= score_threshold
    seen = [t for t in tracks if t.detection >= 0]
    keep[[t.detection for t in seen]] = True
    if keep.all():
        return found
    place = np.cumsum(keep) - 1
    for track in seen:
        track.detection = int(place[track.detection])
    return Detections(found.boxes[keep], found.scores[keep], found.classes[keep])


def make_pipeline(bundle, engine, values):
    """The Pipeline that the node flies, or its `SegmentOnly` where segment_only is set.

    Args:
        bundle, engine: as `open_bundle` and `open_engine` return them.
        values: {parameter name: value}, as `parameters.defaults` returns them.

    Raises:
        PerceptionError: the bundle, the engine and the parameters do not fit together.
    """
    if values["segment_only"]:
        return SegmentOnly(bundle, engine, values)
    pipeline = Pipeline(Detector(bundle, engine))
    if bundle.segmentation is not None:
        pipeline.segmenter = Segmenter(bundle, engine, pipeline.detector.letterbox)
        pipeline.detector.later = (OUTPUT,)
    pipeline.labels, pipeline.colour_check = bundle.labels, ColourCheck(bundle)
    names, heights, sigmas = (values["obstacles." + n] for n in ("classes", "heights_m", "height_sigmas_m"))
    pipeline.obstacles.sizes = sizes_by_index(bundle.labels, names, heights, sigmas, bundle.manifest.get("sizes"))
    pipeline.configure(values)
    return pipeline
