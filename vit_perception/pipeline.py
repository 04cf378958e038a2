"""One frame and its stamp in, one result out. No ROS, and no clock but the stopwatch of the stages."""

import math
import time

from .alerts import AlertPolicy
from .obstacles import ObstacleEstimator, make_scan
from .tracker import Tracker

_DETECTOR_VALUES = ("score_threshold", "nms_iou")
_SCAN_VALUES = ("publish_clear", "range_min_m", "range_max_m")


class Result:
    """What one frame gave.

    Attributes:
        detections (Detections): in pixels of the image.
        tracks (list of Track): the confirmed ones; `track.detection` is an index into detections.
        obstacles (list of Obstacle): one per track.
        scan_ranges: float32 (72,), or None without a calibrated camera: nothing can be said about space then.
        alert (Alert).
        stage_ms (dict): milliseconds of each stage, in order.
    """

    __slots__ = ("detections", "tracks", "obstacles", "scan_ranges", "alert", "stage_ms")

    def __init__(self, detections, tracks, obstacles, scan_ranges, alert, stage_ms):
        self.detections, self.tracks, self.obstacles = detections, tracks, obstacles
        self.scan_ranges, self.alert, self.stage_ms = scan_ranges, alert, stage_ms


class Pipeline:
    """Detector, tracker, obstacles and alerts in a row.

    Args:
        detector: has detect(image, order) -> Detections and stage_ms, as `vit_perception.detector.Detector`.
        tracker, obstacles, alerts: `Tracker`, `ObstacleEstimator`, `AlertPolicy`; None takes the defaults.
    """

    def __init__(self, detector, tracker=None, obstacles=None, alerts=None):
        self.detector = detector
        self.tracker = tracker or Tracker()
        self.obstacles = obstacles or ObstacleEstimator()
        self.alerts = alerts or AlertPolicy()
        self.publish_clear, self.range_min_m, self.range_max_m = False, 0.5, 40.0

    def configure(self, values):
        """Set what `values` (parameter name -> value) names; names of others are left alone.

        'score_threshold' and 'nms_iou' are the detector's; 'tracker.x', 'obstacles.x' and 'alerts.x' are
        attribute x of that part. Safe between two frames and, since each is one assignment, during one.
        """
        for name, value in values.items():
            part, _, attribute = name.rpartition(".")
            if part in ("tracker", "obstacles", "alerts"):
                setattr(getattr(self, part), attribute, value)
            elif name in _DETECTOR_VALUES:
                setattr(self.detector, name, value)
            elif name in _SCAN_VALUES:
                setattr(self, name, value)

    def process(self, image, order, stamp_s, camera=None):
        """Process one frame.

        Args:
            image, order: as `vit_perception.image.view` returns them.
            stamp_s: the image's stamp in seconds; the only time that the algorithms know.
            camera: `Camera` of this image, or None if uncalibrated.

        Returns:
            Result.
        """
        height, width = image.shape[:2]
        detections = self.detector.detect(image, order)
        t0 = time.perf_counter()
        tracks = self.tracker.update(detections, stamp_s)
        t1 = time.perf_counter()
        obstacles = self.obstacles.update(tracks, stamp_s, camera, width, height)
        scan = None if camera is None else self._scan(obstacles, camera)
        alert = self.alerts.update(obstacles)
        t2 = time.perf_counter()
        stage_ms = dict(self.detector.stage_ms, track=1e3 * (t1 - t0), obstacles=1e3 * (t2 - t1))
        return Result(detections, tracks, obstacles, scan, alert, stage_ms)

    def _scan(self, obstacles, camera):
        yaw = math.radians(self.obstacles.camera_yaw_deg)
        view = tuple(yaw + edge for edge in camera.field_of_view())
        return make_scan(obstacles, view, self.range_min_m, self.range_max_m, self.publish_clear)


def sizes_by_index(labels, names, heights, sigmas):
    """Class sizes as parameters give them -> {class index: (height, spread)}, metres; any case of names."""
    index = {label.lower(): i for i, label in enumerate(labels)}
    return {index[n.lower()]: (h, s) for n, h, s in zip(names, heights, sigmas) if n.lower() in index}
