"""Tracks: identity through motion, misses and jumps of time."""

import time

import numpy as np
import pytest

from vit_perception.avoidance.geometry import rotation_about, turned_image
from vit_perception.boxes import greedy, iou
from vit_perception.detector import Detections
from vit_perception.tracking.box_filter import BoxFilter
from vit_perception.tracking.tracker import MAX_BOXES, Tracker

PAN = np.array([[1, 0, 40], [0, 1, 0]], np.float64)  # the background goes 40 px to the right between two images


def frame(*objects):
    """Detections from (x, y, size, class, score) with class 0 and score 0.9 by default."""
    rows = [(*o, *(0, 0.9)[len(o) - 3 :]) for o in objects]
    return Detections(
        [(x - s / 2, y - s / 2, x + s / 2, y + s / 2) for x, y, s, _, _ in rows],
        [score for *_, score in rows],
        [c for *_, c, _ in rows],
    )


def run(tracker, frames, dt=0.1, start=100.0):
    return [tracker.update(f, start + i * dt) for i, f in enumerate(frames)]


def test_confirmed_after_three_hits_and_linked_to_its_detection():
    results = run(Tracker(), [frame((200, 50, 20), (50, 50, 20)) for _ in range(3)])
    assert [len(r) for r in results] == [0, 0, 2]
    assert sorted(t.detection for t in results[-1]) == [0, 1]
    assert results[-1][0].hits == 3


def test_a_single_false_detection_never_becomes_a_track():
    assert run(Tracker(), [frame((50, 50, 20)), frame(), frame(), frame((50, 50, 20)), frame()])[-1] == []


def test_fast_small_object_keeps_its_id_once_its_velocity_is_known():
    """10 px boxes that move 8 px a frame overlap little: prediction carries them."""
    frames = [frame((20 + 8 * i, 60 + 3 * i, 10)) for i in range(40)]
    ids = {t.id for tracks in run(Tracker(), frames) for t in tracks}
    assert len(ids) == 1


def test_velocity_is_in_pixels_per_second():
    track = run(Tracker(), [frame((20 + 4 * i, 60, 20)) for i in range(10)])[-1][0]
    np.testing.assert_allclose(track.velocity, [40, 0, 0, 0], atol=0.5)


def test_irregular_stamps_do_not_disturb_prediction():
    tracker, rng, t = Tracker(), np.random.default_rng(0), 0.0
    for _ in range(60):
        t += rng.uniform(0.02, 0.2)
        tracks = tracker.update(frame((20 + 100 * t, 60, 20)), t)
    assert [x.id for x in tracks] == [1]


def test_crossing_objects_keep_their_ids():
    frames = [frame((50 + 5 * i, 100, 20), (250 - 5 * i, 112, 20)) for i in range(40)]
    tracks = run(Tracker(), frames)[-1]
    assert [t.id for t in tracks] == [1, 2]
    assert tracks[0].box[0] > tracks[1].box[0]


def test_classes_are_not_mixed():
    results = run(Tracker(), [frame((50, 50, 20, 0), (52, 50, 20, 1)) for _ in range(4)])
    assert {(t.id, t.class_index) for t in results[-1]} == {(1, 0), (2, 1)}
    tracks = run(Tracker(confirm_hits=1), [frame((50, 50, 20, 0)), frame((50, 50, 20, 1))])[-1]
    assert {(t.id, t.class_index, t.detection) for t in tracks} == {(1, 0, -1), (2, 1, 0)}


def test_coasts_at_constant_velocity_then_dies_and_its_id_is_not_reused():
    tracker = Tracker(max_coast_s=0.5)
    run(tracker, [frame((50 + 5 * i, 50, 20)) for i in range(10)], start=0.0)
    coasting = tracker.update(frame(), 1.2)[0]
    assert coasting.detection == -1
    assert (coasting.box[0] + coasting.box[2]) / 2 == pytest.approx(95 + 15, abs=1.0)
    assert tracker.update(frame(), 1.3) and not tracker.update(frame(), 1.45)
    tracks = run(tracker, [frame((110, 50, 20))] * 3, start=1.5)[-1]
    assert [t.id for t in tracks] == [2]


@pytest.mark.parametrize(("hits", "seconds"), [(5, 0.5), (10, 0.5), (20, 1.0), (200, 1.5)])
def test_what_was_seen_long_is_looked_for_longer_but_not_told_of(hits, seconds):
    for gap, found in ((seconds - 0.05, True), (seconds + 0.05, False)):
        tracker = Tracker(max_coast_s=0.5)
        run(tracker, [frame((50, 50, 20))] * hits, start=1.0 - 0.1 * (hits - 1))
        told = [bool(tracker.update(frame(), t)) for t in np.arange(1.05, 1.01 + gap, 0.1)]
        assert told == [True] * min(5, len(told)) + [False] * (len(told) - 5)
        assert [t.id for t in tracker.update(frame((50, 50, 20)), 1.1 + gap)] == ([1] if found else [])


def test_found_again_after_a_gap_keeps_its_id():
    frames = [frame((50 + 5 * i, 50, 20)) if i % 10 not in (7, 8, 9) else frame() for i in range(30)]
    ids = {t.id for tracks in run(Tracker(), frames) for t in tracks}
    assert ids == {1}


@pytest.mark.parametrize("jump", [-50.0, -0.01, 1.5])
def test_time_that_jumps_drops_all_tracks_but_ids_go_on(jump):
    tracker = Tracker()
    run(tracker, [frame((50, 50, 20))] * 5, start=100.0)
    assert tracker.update(frame((50, 50, 20)), 100.4 + jump) == []
    tracks = run(tracker, [frame((50, 50, 20))] * 3, start=100.5 + jump)[-1]
    assert [t.id for t in tracks] == [2]


def test_repeated_stamp_is_survived():
    tracker = Tracker()
    for t in (0.0, 0.1, 0.1, 0.2, 0.2):
        tracks = tracker.update(frame((50, 50, 20)), t)
    assert [t.id for t in tracks] == [1]
    assert np.isfinite(tracks[0].velocity).all()


def test_tracks_die_even_if_the_camera_never_sets_its_stamps():
    tracker = Tracker()
    assert len(run(tracker, [frame((50, 50, 20))] * 5, dt=0.0, start=0.0)[-1]) == 1
    assert tracker.update(frame(), 0.0) == []


def test_many_weak_detections_make_a_track():
    weak = [frame((50, 50, 20, 0, 0.3))]
    for hits, frames in ((8, 8), (4, 4), (1, 3)):  # fewer than a strong one needs are not enough
        tracker = Tracker(high_score=0.5, weak_hits=hits)
        found = run(tracker, weak * 12, start=0.0)
        assert [len(tracks) for tracks in found] == [0] * (frames - 1) + [1] * (13 - frames)
    tracker = Tracker(high_score=0.5, weak_hits=8)
    assert not any(run(tracker, (weak * 7 + [frame()]) * 4))  # a miss ends it
    strong = run(tracker, weak + [frame((50, 50, 20, 0, 0.8))] + weak, start=200.0)
    assert [len(tracks) for tracks in strong] == [0, 0, 1]


def test_weak_detections_continue_tracks_but_start_none():
    tracker = Tracker(high_score=0.5, weak_hits=0)
    assert not any(run(tracker, [frame((50, 50, 20, 0, 0.3))] * 5))
    run(tracker, [frame((50, 50, 20, 0, 0.8))] * 3, start=101)
    assert tracker.update(frame((50, 50, 20, 0, 0.3)), 101.3)[0].detection == 0


def test_a_weak_detection_does_not_take_a_track_from_a_strong_one():
    """The weak box lies better, the strong one is the object."""
    tracker = Tracker(high_score=0.5, weak_hits=0)
    run(tracker, [frame((50, 50, 20))] * 4, start=0.0)
    tracks = tracker.update(frame((50, 50, 20, 0, 0.45), (55, 50, 20, 0, 0.9)), 0.4)
    assert [(t.id, t.detection) for t in tracks] == [(1, 1)]
    assert not run(tracker, [frame((200, 50, 20, 0, 0.45))] * 8, start=0.5)[-1]  # and starts none itself


def test_weak_detections_go_to_the_tracks_that_are_left():
    tracker = Tracker(high_score=0.5)
    run(tracker, [frame((50, 50, 20), (120, 50, 20))] * 4, start=0.0)
    tracks = tracker.update(frame((120, 50, 20, 0, 0.35), (50, 50, 20, 0, 0.9)), 0.4)
    assert [(t.id, t.detection) for t in tracks] == [(1, 1), (2, 0)]


def test_a_camera_that_jerks_loses_nothing_when_its_motion_is_known():
    """Standing objects of 12 px, and a camera that pans 40 px a frame to and fro, at no constant rate."""
    xs, motions, x = [], [], 200.0
    for i in range(30):
        step = 40 if (i // 2) % 2 else -40
        xs.append(x := x + step)
        motions.append(np.array([[1, 0, step], [0, 1, 0]], np.float64))
    for known, ids in ((True, {1, 2}), (False, None)):
        tracker, seen = Tracker(), set()
        for i, (x, motion) in enumerate(zip(xs, motions, strict=True)):
            tracks = tracker.update(frame((x, 50, 12), (x + 100, 80, 12)), i / 10, motion if known else None)
            seen |= {t.id for t in tracks}
        assert seen == ids if known else seen != {1, 2}


def test_the_camera_turns_and_climbs():
    """Positions, sizes and velocities are carried along: the same tracks, and coasting boxes where they belong."""
    angle, scale = np.radians(6), 0.93
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    motion = np.column_stack([linear, [300, 200] - linear @ [300, 200]])
    points, size, tracker = np.array([[120.0, 80], [400, 300], [500, 120]]), 40.0, Tracker()
    for i in range(8):
        tracks = tracker.update(frame(*[(x, y, size) for x, y in points]) if i < 6 else frame(), i / 10, motion)
        if i == 7:
            break
        points, size = points @ linear.T + motion[:, 2], size * scale
    assert [t.id for t in tracks] == [1, 2, 3]
    boxes = np.array([t.box for t in tracks])
    np.testing.assert_allclose(0.5 * (boxes[:, :2] + boxes[:, 2:]), points, atol=1.5)
    np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], size, atol=1.5)


def test_velocity_is_that_in_the_image_with_and_without_camera_motion():
    """On a steady pan the answer is the same, whichever way the tracker came to it."""
    for known in (True, False):
        tracker = Tracker()
        for i in range(12):
            tracks = tracker.update(frame((20 + 40 * i, 60, 60)), i / 10, PAN if known else None)
        np.testing.assert_allclose(tracks[0].velocity, [400, 0, 0, 0], atol=8)


def test_camera_motion_that_comes_and_goes_keeps_the_tracks():
    """20 px boxes on a pan of 40 px a frame, whose motion is found in most frames only."""
    tracker = Tracker()
    seen = set()
    for i in range(40):
        motion = None if i % 5 == 4 else PAN
        seen |= {t.id for t in tracker.update(frame((20 + 40 * i, 60, 20)), i / 10, motion)}
    assert seen == {1}


K = np.array([[400.0, 0, 320], [0, 400, 256], [0, 0, 1]])


@pytest.mark.parametrize("knows", [True, False])
def test_turning_that_only_the_vehicle_knows_carries_the_tracks(knows):
    """To and fro by up to 60 deg/s, at 10 Hz, in front of what stands far away: images tell no motion here."""
    rng, tracker, far = np.random.default_rng(3), Tracker(), np.array([[-0.3, 0.1, 1], [0.2, -0.1, 1], [0.5, 0.2, 1]])
    angle, ids, rates = np.zeros(3), set(), np.zeros(3)
    for i in range(40):
        view = far @ rotation_about(-angle).T @ K.T
        rows = [(*(p[:2] / p[2]), 14) for p in view]
        turning = (K, rates) if knows else None
        ids |= {t.id for t in tracker.update(frame(*rows), 100 + 0.1 * i, turning=turning)}
        rates = np.array([0.3, 1.0, 0.0]) * rng.uniform(-1, 1, 3)  # until the next image
        angle = angle + 0.1 * rates
    assert (len(ids) == 3) is knows


def test_what_turned_out_of_sight_stays_finite():
    tracker = Tracker()
    for i in range(60):
        boxes = frame((600, 256, 40)) if i < 12 else frame()
        with np.errstate(all="raise"):
            tracker.update(boxes, 100 + 0.05 * i, turning=(K, np.array([0.0, -4.0 if i >= 12 else 0.0, 0.0])))


def test_what_turns_beside_what_stands_agrees_with_the_images():
    """Of a small turn, the vehicle's and the images' account carry a track alike, its velocity too."""
    rate, dt = np.array([0.0, 0.1, 0.05]), 0.1
    told, seen = Tracker(), Tracker()
    affine = (turned_image(K, dt * rate) / turned_image(K, dt * rate)[2, 2])[:2]
    for i in range(8):
        boxes = frame((320 + 3 * i, 256, 30))
        by_vehicle = told.update(boxes, 100 + dt * i, turning=(K, rate))
        by_images = seen.update(boxes, 100 + dt * i, affine)
    np.testing.assert_allclose(by_vehicle[0].box, by_images[0].box, atol=0.5)
    for track in (by_vehicle[0], by_images[0]):
        np.testing.assert_allclose(track.velocity, [30, 0, 0, 0], atol=5.0)  # in the image


def test_camera_motion_that_is_not_finite_is_none():
    tracker = Tracker()
    for i in range(6):
        tracks = tracker.update(frame((50, 50, 20)), i / 10, np.full((2, 3), np.nan))
    assert [t.id for t in tracks] == [1] and np.isfinite(tracks[0].velocity).all()


def test_one_lost_frame_ends_an_unconfirmed_track_only():
    tracker = Tracker(confirm_hits=3)
    assert not any(run(tracker, [frame((50, 50, 20)), frame((50, 50, 20)), frame()] * 4))
    assert len(run(tracker, [frame((50, 50, 20))] * 3 + [frame()], start=102)[-1]) == 1


def test_a_large_unconfirmed_track_may_be_missed_once():
    large = frame((200, 200, 40))
    assert len(run(Tracker(confirm_hits=3), [large, frame(), large, frame(), large])[-1]) == 1
    assert not any(run(Tracker(confirm_hits=3), [large, large, frame(), frame()] * 4))


def test_ids_are_never_given_twice():
    """Objects come and go, frames drop, time jumps: an id once gone stays gone."""
    rng, tracker, now = np.random.default_rng(0), Tracker(confirm_hits=1, max_coast_s=0.2), 0.0
    gone, before = set(), set()
    for i in range(400):
        now += rng.choice([0.0, 0.03, 0.1, 0.3, 2.0, -5.0], p=[0.05, 0.4, 0.4, 0.1, 0.025, 0.025])
        tracks = tracker.update(frame(*[(x, y, 20) for x, y in rng.integers(0, 12, (rng.integers(5), 2)) * 50]), now)
        ids = [t.id for t in tracks]
        assert len(set(ids)) == len(ids) and not gone & set(ids), i
        gone, before = gone | (before - set(ids)), set(ids)
    assert len(gone) > 100


def test_a_stamp_that_is_no_number_is_survived():
    tracker = Tracker()
    run(tracker, [frame((50, 50, 20))] * 3, start=0.0)
    assert tracker.update(frame((50, 50, 20)), float("nan")) == []
    assert [t.id for t in run(tracker, [frame((50, 50, 20))] * 4, start=1.0)[-1]] == [3]


def test_boxes_that_are_not_finite_are_left_out():
    boxes = [(40, 40, 60, 60), (np.nan, 0, 20, 20), (0, 0, np.inf, 20)]
    tracker = Tracker()
    for i in range(4):
        tracks = tracker.update(Detections(boxes, [0.9] * 3, [0] * 3), i / 10)
    assert [(t.id, t.detection) for t in tracks] == [(1, 0)]


def test_a_box_larger_than_the_image_and_one_of_no_size():
    boxes = [(-500, -500, 2000, 2000), (50, 50, 50, 50)]
    tracker = Tracker()
    for i in range(4):
        tracks = tracker.update(Detections(boxes, [0.9] * 2, [0] * 2), i / 10)
    assert tracks[0].id == 1 and all(np.isfinite(t.box).all() for t in tracks)


def test_thousands_of_boxes_are_bounded_and_the_best_are_kept():
    rng = np.random.default_rng(0)
    tracker = Tracker(confirm_hits=1, max_coast_s=10.0)
    for i in range(10):
        n = 2000
        boxes = rng.uniform(0, 600, (n, 4))
        boxes[:, 2:] = boxes[:, :2] + 20
        scores = rng.uniform(0.4, 0.8, n)
        boxes[0], scores[0] = (300, 300, 340, 340), 0.99
        start = time.perf_counter()
        tracks = tracker.update(Detections(boxes, scores, np.zeros(n)), i / 10)
        assert time.perf_counter() - start < 1.0
        assert len(tracks) <= MAX_BOXES and [t.id for t in tracks if t.detection == 0] == [1]


def test_greedy_takes_the_best_first_and_each_once():
    overlap = np.array([[0.6, 0.9, 0.0], [0.5, 0.8, 0.0], [0.0, 0.1, 0.1]])
    assert greedy(overlap, 0.2) == [(0, 1), (1, 0)]
    assert greedy(np.zeros((0, 3)), 0.2) == greedy(np.zeros((3, 0)), 0.2) == []


def test_iou_values():
    a = np.array([[0, 0, 10, 10]], np.float32)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    np.testing.assert_allclose(iou(a, b), [[1, 1 / 3, 0]], rtol=1e-6)


def test_a_crowd_costs_little():
    """100 objects for 50 frames: milliseconds a frame even on a slow machine."""
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 1000, (100, 2))
    frames = [frame(*[(x + i, y, 20) for x, y in start]) for i in range(50)]
    t0 = time.perf_counter()
    run(Tracker(), frames)
    assert (time.perf_counter() - t0) / 50 < 0.02


def test_the_mean_score_follows_the_last_ten_or_so():
    tracker = Tracker()
    track = run(tracker, [frame((50, 50, 20, 0, s)) for s in (0.5, 0.7, 0.9)])[-1][0]
    assert track.mean_score == pytest.approx(0.7)
    track = run(tracker, [frame((50, 50, 20, 0, 0.9)) for _ in range(40)], start=101.0)[-1][0]
    assert track.mean_score == pytest.approx(0.9, abs=0.01)


def test_what_had_a_strong_detection_is_tentative_until_it_is_gone():
    tracker = Tracker(high_score=0.5)
    for size, score, left in ((200, 0.9, True), (20, 0.9, False), (200, 0.3, False)):
        tracker.reset()
        tracker.update(frame((200, 200, size, 0, score)), 1.0)
        assert bool(tracker.tentative) == (score > 0.5)
        tracker.update(frame(), 1.1)
        assert bool(tracker.tentative) == left, "a large one lives on without a detection, and is not clear space"


def test_a_box_that_is_only_predicted_keeps_its_shape():
    """Its last detections grew thin, as of something that is half hidden: predicted on, its width would end at 1 px."""
    filters = BoxFilter()
    filters.add(np.array([[100.0, 100.0, 140.0, 180.0]]))
    for width in (36, 30, 24, 18):
        filters.predict(0.1)
        filters.correct(np.array([0]), np.array([[120.0 - width / 2, 100.0, 120.0 + width / 2, 180.0]]))
    seen = filters.state[0, 2:].copy()
    assert filters.velocity[0, 2] * 1.5 < 1 - seen[0]  # within these 1.5 s its width would come to nothing
    for _ in range(15):
        filters.predict(0.1)
        ratio = filters.state[0, 2:] / seen
        assert (ratio >= 0.5).all() and (ratio <= 2).all()
        assert 0.79 < ratio[0] / ratio[1] < 1.26


def test_a_prediction_from_frame_to_frame_is_not_held_up():
    filters = BoxFilter()
    filters.add(np.array([[100.0, 100.0, 140.0, 180.0]]))
    filters.velocity[0] = 50, -30, 40, 60
    filters.predict(0.1)
    np.testing.assert_allclose(filters.state[0], [125, 137, 44, 86])


def test_sizes_that_the_camera_changed_are_no_growth():
    filters = BoxFilter()
    filters.add(np.array([[100.0, 100.0, 140.0, 180.0]]))
    filters.move(np.eye(3), 0.1)  # from here on the camera's motion is known
    for _ in range(4):
        filters.move(np.diag([1.5, 1.5, 1.0]), 0.1)
        filters.predict(0.1)
    np.testing.assert_allclose(filters.state[0, 2:], np.array([40, 80]) * 1.5**4, rtol=1e-6)
