"""The whole frame without ROS: configuration reaches its parts, results hang together."""

import numpy as np
import pytest

from vit_perception.camera import Camera
from vit_perception.detector import Detections
from vit_perception.pipeline import Pipeline, sizes_by_index


class Script:
    """Detector whose detections are given: one box that grows as at a constant closing speed."""

    score_threshold = nms_iou = 0.5
    stage_ms = {"infer": 1.0}

    def __init__(self, sizes):
        self.sizes = iter(sizes)

    def detect(self, image, order):
        half = next(self.sizes) / 2
        return Detections([[320 - half, 240 - half, 320 + half, 240 + half]], [0.9], [0])


IMAGE = np.zeros((480, 640), np.uint8)
CAMERA = Camera(400, 400, 320, 240, 640, 480)


def fly(pipeline, frames, camera=CAMERA):
    for i in range(frames):
        result = pipeline.process(IMAGE, "mono", 10.0 + 0.1 * i, camera)
    return result


def test_an_approaching_object_becomes_a_track_an_obstacle_a_ray_and_an_alert():
    pipeline = Pipeline(Script(60 * 3 / (3 - 0.1 * i) for i in range(12)))
    pipeline.obstacles.sizes = {0: (2.0, 0.2)}
    result = fly(pipeline, 12)
    assert [t.id for t in result.tracks] == [1] and result.tracks[0].detection == 0
    assert result.obstacles[0].ttc_s == pytest.approx(1.9, abs=0.05)
    assert result.scan_ranges[36] == pytest.approx(400 * 2 / (60 * 3 / 1.9), rel=1e-3)
    assert result.alert.threat == "LOW"  # 1.9 s asks for HIGH, but in this one frame only
    assert list(result.stage_ms) == ["infer", "track", "obstacles"]


def test_without_calibration_there_is_no_scan_but_the_rest():
    result = fly(Pipeline(Script(60 * 3 / (3 - 0.1 * i) for i in range(12))), 12, camera=None)
    assert result.scan_ranges is None
    assert result.obstacles[0].ttc_s is not None and result.alert.level == 1


def test_camera_yaw_turns_the_clear_sector_too():
    pipeline = Pipeline(Script([10.0] * 5))
    pipeline.configure({"publish_clear": True, "obstacles.camera_yaw_deg": 90.0})
    scan = pipeline.process(IMAGE, "mono", 0.0, CAMERA).scan_ranges
    clear = np.flatnonzero(np.isfinite(scan))
    assert clear[0] > 36 and (clear[0] + clear[-1]) / 2 == 54


def test_configure_reaches_every_part_and_leaves_foreign_names_alone():
    pipeline = Pipeline(Script([]))
    pipeline.configure(
        {
            "score_threshold": 0.1,
            "range_max_m": 30.0,
            "tracker.confirm_hits": 2,
            "alerts.warn_ttc_s": 9.0,
            "model": "x",
        }
    )
    assert pipeline.detector.score_threshold == 0.1 and pipeline.range_max_m == 30.0
    assert pipeline.tracker.confirm_hits == 2 and pipeline.alerts.warn_ttc_s == 9.0
    assert not hasattr(pipeline, "model")


def test_sizes_are_found_by_name_in_any_case():
    table = sizes_by_index(["Person", "Car", "DontCare"], ["car", "person", "ship"], [1.5, 1.7, 9.0], [0.2, 0.1, 3.0])
    assert table == {1: (1.5, 0.2), 0: (1.7, 0.1)}
