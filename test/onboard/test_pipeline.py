"""The whole frame without ROS: configuration reaches its parts, results hang together."""

import cv2
import numpy as np
import pytest
from textured_way import CAMERA as WAY_CAMERA
from textured_way import MOUNT as WAY_MOUNT
from textured_way import flight as way_flight

from vit_perception.avoidance.camera import Camera
from vit_perception.avoidance.geometry import Ego, Mount
from vit_perception.detector import Detections
from vit_perception.errors import PerceptionError
from vit_perception.pipeline import Pipeline


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
    assert result.obstacles[0].ttc_s == pytest.approx(1.9, rel=0.1)
    assert result.scan_ranges[36] == pytest.approx(400 * 2 / (60 * 3 / 1.9), rel=0.01)
    assert result.alert.threat == "LOW"  # 1.9 s asks for HIGH, but in this one frame only
    assert list(result.stage_ms) == ["infer", "motion", "track", "growth", "obstacles", "unclassed", "alerts"]


def test_a_single_strong_detection_is_in_the_scan_at_once_and_nowhere_else():
    pipeline = Pipeline(Script([80.0] * 5))
    pipeline.publish_clear, pipeline.obstacles.sizes = True, {0: (2.0, 0.2)}
    result = pipeline.process(IMAGE, "mono", 0.0, CAMERA)
    assert result.scan_ranges[36] == pytest.approx(10.0, rel=0.05) and result.scan_ranges[32] > 40
    assert result.tracks == result.obstacles == [] and len(result.detections) == 1
    unknown = Pipeline(Script([80.0]))
    unknown.publish_clear = True
    assert np.isnan(unknown.process(IMAGE, "mono", 0.0, CAMERA).scan_ranges[36]), "without a range it is not clear"


@pytest.mark.parametrize("pause", [60.0, -5.0])
def test_an_alert_of_before_a_pause_is_cleared_not_raised_anew(pause):
    sizes = [60 * 3 / (3 - 0.1 * i) for i in range(20)]
    pipeline = Pipeline(Script(sizes + [2.0] * 9))
    assert fly(pipeline, 20).alert.level == 2
    alerts = [pipeline.process(IMAGE, "mono", 11.9 + pause + 0.1 * i, CAMERA).alert for i in range(9)]
    assert [a.level for a in alerts] == [0] * 9 and [a.cleared for a in alerts] == [True] + [False] * 8


def test_an_alert_about_what_a_pause_left_in_memory_goes_on():
    """Somebody 5.7 m ahead of a vehicle that flies 1 m/s."""
    pipeline = Pipeline(Script(400 * 1.7 / (5.7 - t) for t in (*np.arange(0.0, 1.8, 0.1), 3.0, 3.1)))
    pipeline.configure({"camera_motion": False, "pixel_growth": False})
    pipeline.obstacles.sizes = {0: (1.7, 0.15)}
    ego = Ego((1.0, 0.0, 0.0), (0.0, 0.0, 0.0), np.eye(3), 1.5)
    alerts = []
    for stamp_s in (*np.arange(0.0, 1.8, 0.1), 3.0, 3.1):
        result = pipeline.process(IMAGE, "mono", stamp_s, CAMERA, None, ego)
        alerts.append((result.alert.level, result.alert.cleared))
    assert alerts[-3:] == [(1, False)] * 3 and [o.remembered for o in result.obstacles] == [True]


def test_what_a_scan_calls_clear_belongs_to_its_own_limits():
    pipeline = Pipeline(Script([10.0] * 2))
    pipeline.configure({"publish_clear": True, "range_max_m": 10.0})
    result = pipeline.process(IMAGE, "mono", 0.0, CAMERA)
    assert result.scan_limits == (0.5, 10.0) and np.nanmax(result.scan_ranges) == pytest.approx(10.01, abs=1e-3)


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
            "corridor.width_m": 3.0,
            "camera_motion": False,
            "alerts.warn_ttc_s": 9.0,
            "model": "x",
        }
    )
    assert pipeline.detector.score_threshold == pipeline.tracker.high_score == 0.1 and pipeline.range_max_m == 30.0
    assert pipeline.tracker.confirm_hits == 2 and pipeline.alerts.warn_ttc_s == 9.0
    assert pipeline.corridor.width_m == 3.0 and pipeline.camera_motion is False
    assert not hasattr(pipeline, "model")


def test_a_class_filter_leaves_the_others_out_of_everything():
    pipeline = Pipeline(Script([60] * 8))
    pipeline.labels = ["Person", "Car"]
    assert len(fly(pipeline, 4).tracks) == 1
    pipeline.configure({"class_filter": " car"})
    result = fly(pipeline, 1)
    assert len(result.detections) == 0
    pipeline.configure({"class_filter": "car, PERSON"})
    assert len(fly(pipeline, 1).detections) == 1
    with pytest.raises(PerceptionError, match="'tree', but the model's labels are Person, Car"):
        pipeline.configure({"class_filter": "tree"})
    assert len(fly(pipeline, 1).detections) == 1
    pipeline.configure({"class_filter": ""})
    assert len(fly(pipeline, 1).detections) == 1


class Fading(Script):
    """A box that is sure for four frames and weak from then on, beside one that always is."""

    weak = Detections([[500, 100, 520, 120]], [0.3], [0])

    def __init__(self):
        super().__init__([60.0] * 10)
        self.frame = 0

    def detect(self, image, order):
        found, self.frame = super().detect(image, order), self.frame + 1
        scores = [0.3, 0.9 if self.frame <= 4 else 0.3]
        boxes, classes = ([getattr(d, k)[0] for d in (self.weak, found)] for k in ("boxes", "classes"))
        keep = [i for i in (0, 1) if scores[i] >= self.score_threshold]
        return Detections([boxes[i] for i in keep], [scores[i] for i in keep], [classes[i] for i in keep])


def test_weak_detections_are_told_where_they_continue_a_track():
    pipeline = Pipeline(Fading())
    pipeline.configure({"score_threshold": 0.5, "weak_score": 0.2, "tracker.weak_hits": 0})
    assert pipeline.detector.score_threshold == 0.2
    assert len(fly(pipeline, 1).detections) == 1
    result = fly(pipeline, 8)
    assert [t.id for t in result.tracks] == [1] and result.tracks[0].detection == 0
    assert result.detections.scores.tolist() == pytest.approx([0.3]) and result.detections.boxes[0, 0] == 290
    for frames, told in ((7, 1), (8, 2)):
        pipeline = Pipeline(Fading())
        pipeline.configure({"score_threshold": 0.5, "weak_score": 0.2, "tracker.weak_hits": 8})
        assert len(fly(pipeline, frames).detections) == told  # the weak one persists
    pipeline = Pipeline(Fading())
    pipeline.configure({"score_threshold": 0.5, "weak_score": 0.9})  # over it: without effect
    assert pipeline.detector.score_threshold == 0.5 and len(fly(pipeline, 8).detections) == 0


class Boxes:
    """Detector that finds the same boxes in every image."""

    score_threshold = nms_iou = 0.5
    stage_ms = {"infer": 1.0}

    def __init__(self, boxes):
        self.boxes = np.array(boxes, np.float32).reshape(-1, 4)

    def detect(self, image, order):
        return Detections(self.boxes, np.full(len(self.boxes), 0.9), np.zeros(len(self.boxes), int))


def ranged(boxes):
    pipeline = Pipeline(Boxes(boxes))
    pipeline.obstacles.sizes = {0: (2.0, 0.2)}
    return pipeline


AHEAD = [[310, 220, 330, 260]]  # 20 m away


def test_the_mount_moves_obstacles_and_the_parameters_serve_where_there_is_none():
    by_mount, by_parameter = ranged(AHEAD), ranged(AHEAD)
    by_parameter.configure({"obstacles.camera_yaw_deg": 40.0, "obstacles.camera_pitch_deg": -20.0})
    for i in range(5):
        mount = Mount.from_angles(yaw_deg=40, pitch_deg=-20)
        a = by_mount.process(IMAGE, "mono", 1 + 0.1 * i, CAMERA, mount)
        b = by_parameter.process(IMAGE, "mono", 1 + 0.1 * i, CAMERA)
    assert np.degrees(a.obstacles[0].bearing) == pytest.approx(40, abs=0.1)
    assert np.degrees(a.obstacles[0].elevation) == pytest.approx(-20, abs=0.1)
    np.testing.assert_allclose(a.obstacles[0].position, b.obstacles[0].position, atol=1e-6)
    np.testing.assert_array_equal(a.scan_ranges, b.scan_ranges)
    assert np.isfinite(a.scan_ranges[44]) and not np.isfinite(a.scan_ranges[36])


def test_nothing_is_clear_where_the_camera_does_not_see_the_vehicles_height():
    pipeline = Pipeline(Boxes([]))
    pipeline.configure({"publish_clear": True})
    assert np.isfinite(pipeline.process(IMAGE, "mono", 1.0, CAMERA).scan_ranges).any()
    pipeline.configure({"obstacles.camera_pitch_deg": -60.0})
    assert not np.isfinite(pipeline.process(IMAGE, "mono", 1.1, CAMERA).scan_ranges).any()


def test_height_and_attitude_give_a_range_without_a_known_size():
    pipeline = Pipeline(Boxes([[310, 280, 330, 320]]))  # its feet are 11.3 degrees below the horizon
    ego = Ego(level=np.identity(3), height_m=4.0)
    for i in range(5):
        without = pipeline.process(IMAGE, "mono", 1 + 0.1 * i, CAMERA)
        known = pipeline.process(IMAGE, "mono", 1.05 + 0.1 * i, CAMERA, None, ego)
    assert without.obstacles[0].range_m is None and not np.isfinite(without.scan_ranges).any()
    assert known.obstacles[0].range_m == pytest.approx(20, rel=0.05) and np.isfinite(known.scan_ranges[36])


def alert_levels(pipeline, ego, frames=10):
    return [pipeline.process(IMAGE, "mono", 1 + 0.1 * i, CAMERA, None, ego).alert.level for i in range(frames)]


def test_only_what_lies_in_the_direction_of_flight_alerts():
    """Something 20 m ahead, warned of below 25 m: no matter for a vehicle that flies sideways."""
    for ego, alerts in (
        (None, True),  # velocity unknown: the optical axis
        (Ego(velocity=(5, 0, 0)), True),
        (Ego(velocity=(0, 5, 0)), False),
    ):
        pipeline = ranged(AHEAD)
        pipeline.configure({"alerts.warn_range_m": 25.0, "alerts.range_hits": 1, "camera_motion": False})
        assert (max(alert_levels(pipeline, ego)) > 0) is alerts


@pytest.mark.parametrize("stamps", [[5.0] * 6, [0.0] * 6, [9, 8, 7, 6, 5, 4], [1, 2e9, 3, 4e9, 5], [1, 1.1, 1.0, 1.1]])
def test_stamps_that_repeat_go_back_or_jump_yield_frames_without_motion(stamps):
    pipeline = ranged(AHEAD)
    seen = []
    for stamp in stamps:
        result = pipeline.process(IMAGE, "mono", float(stamp), CAMERA)
        assert len(result.detections) == 1 and result.scan_ranges is not None
        assert all(o.ttc_s is None for o in result.obstacles)
        seen += [t.id for t in result.tracks]
    assert seen == sorted(seen), "ids are never reused"


def test_boxes_larger_than_the_image_are_obstacles_too():
    pipeline = ranged([[-300, -200, 900, 700]])
    for i in range(5):
        result = pipeline.process(IMAGE, "mono", 1 + 0.1 * i, CAMERA)
    assert np.isfinite(result.scan_ranges[32:41]).all() and np.nanmin(result.scan_ranges) >= 0.5
    assert np.isfinite(result.obstacles[0].position).all()


@pytest.mark.parametrize("box", [[320, 240, 320, 240], [320, 240, 310, 230], [-1e6, -1e6, 1e6, 1e6]])
def test_degenerate_boxes_pass_without_numbers_that_are_none(box):
    pipeline = ranged([box])
    for i in range(5):
        result = pipeline.process(IMAGE, "mono", 1 + 0.1 * i, CAMERA)
        for o in result.obstacles:
            assert o.range_m is None or np.isfinite([o.range_m, o.range_sigma_m]).all()


def test_hundreds_of_boxes_are_kept_apart_in_time(record_property):
    """300 of them, on a grid, in one scan; within a second per frame on any machine."""
    grid = [[x, y, x + 12, y + 12] for x in range(5, 600, 32) for y in range(5, 450, 28)][:300]
    pipeline = ranged(grid)
    pipeline.camera_motion = False
    results = [pipeline.process(IMAGE, "mono", 1 + 0.1 * i, CAMERA) for i in range(8)]
    ids = [{t.id for t in r.tracks} for r in results[-2:]]
    assert len(ids[0]) == 300 and ids[0] == ids[1]
    assert np.isfinite(results[-1].scan_ranges[29:44]).all()
    ms = {k: round(v, 1) for k, v in results[-1].stage_ms.items()}
    record_property("stage_ms", str(ms))
    assert sum(ms.values()) < 1000


def test_what_vanishes_near_stays_an_obstacle_for_a_while():
    pipeline = ranged([[240, 140, 400, 340]])  # 4 m away
    for i in range(6):
        pipeline.process(IMAGE, "mono", 1 + 0.1 * i, CAMERA)
    pipeline.detector.boxes = np.zeros((0, 4), np.float32)
    scans = [pipeline.process(IMAGE, "mono", 1.6 + 0.1 * i, CAMERA).scan_ranges for i in range(70)]
    there = [bool(np.isfinite(s[36])) for s in scans]
    assert all(there[:50]) and not any(there[60:])  # half a second as a coasting track, then 5 s
    pipeline.memory = None
    assert not np.isfinite(pipeline.process(IMAGE, "mono", 9.0, CAMERA).scan_ranges).any()


def test_camera_motion_can_be_switched_off_and_on():
    pipeline = Pipeline(Boxes([]))
    noise = np.random.default_rng(0).integers(0, 255, (480, 640), np.uint8)
    seen = []
    pipeline.tracker.update = lambda detections, stamp_s, motion=None, *rest: seen.append(motion) or []
    for i, on in enumerate((True, True, False, True, True)):
        pipeline.camera_motion = on
        pipeline.process(noise, "mono", 0.1 * i)
    # The first image after a pause has none to be compared with.
    assert [m is None for m in seen] == [True, False, True, True, False]
    np.testing.assert_allclose(seen[1], [[1, 0, 0], [0, 1, 0]], atol=1e-3)


def test_pixels_make_the_time_to_contact_surer_than_boxes_alone():
    """An image enlarged as from 4 s to contact on, in boxes whose error wanders as it grows."""

    def error(pixels, seed):
        rng, pipeline, wrong = np.random.default_rng(seed), Pipeline(Boxes([])), 0.0
        pipeline.configure({"pixel_growth": pixels, "camera_motion": False})
        image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (480, 640), np.uint8), (0, 0), 2)
        for t in np.arange(0, 1.8, 0.1):
            zoom, wrong = 4.0 / (4.0 - t), wrong + 0.03 * rng.normal()
            warp = np.array([[zoom, 0, (1 - zoom) * 320], [0, zoom, (1 - zoom) * 240]])
            half = 25 * zoom * np.exp(wrong + 0.03 * rng.normal())
            pipeline.detector.boxes = np.array([[320 - half, 240 - half, 320 + half, 240 + half]], np.float32)
            result = pipeline.process(cv2.warpAffine(image, warp, (640, 480)), "mono", 1 + t)
        ttc = result.obstacles[0].ttc_s
        return 1.0 if ttc is None else abs(ttc / (4.0 - t) - 1)

    alone, both = (np.median([error(pixels, seed) for seed in range(8)]) for pixels in (False, True))
    assert both < 0.06 and both < 0.5 * alone


def test_a_wall_without_a_class_reaches_scan_and_alert_and_a_detection_in_front_of_it_keeps_it_out():
    """Images of a textured wall ahead; the detector finds nothing, or the whole wall."""

    def last(boxes):
        pipeline = Pipeline(Boxes(boxes))
        pipeline.labels = ["person"]
        pipeline.configure({"motion_obstacles.enabled": True})
        for picture, stamp_s, ego, _ in way_flight(frames=38):
            result = pipeline.process(picture, "mono", stamp_s, WAY_CAMERA, WAY_MOUNT, ego)
        return pipeline, result

    pipeline, result = last([])
    o = result.alert.obstacle
    assert result.alert.level and pipeline.names[o.track.class_index] == "obstacle"
    assert not result.tracks and len(result.detections) == 0
    assert result.scan_ranges[36] == pytest.approx(20 - 5 * 37 / 15, rel=0.25)
    _, result = last([[100, 50, 540, 460]])
    assert all(t.class_index == 0 for t in (o.track for o in result.obstacles))


def test_a_weak_detection_that_is_no_track_yet_is_no_missed_look():
    """What is remembered comes back weak: it is looked for, and something was found there."""

    class Weak(Script):
        def detect(self, image, order):
            found = super().detect(image, order)
            return Detections(found.boxes, [0.3], [0])

    pipeline = Pipeline(Weak([80.0]))
    seen = pipeline.detect_and_track(IMAGE, "mono", 0.0)
    assert len(seen.detections) == 0 and seen.found.tolist() == [[280.0, 200.0, 360.0, 280.0]]
    views = []
    pipeline.memory.update = lambda obstacles, *rest: views.append(rest[-1]) or obstacles
    pipeline.assess(seen, CAMERA)
    assert views[0] is seen.found
