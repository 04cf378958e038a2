"""Tracks: identity through motion, misses and jumps of time."""

import numpy as np
import pytest

from vit_perception.detector import Detections
from vit_perception.tracker import Tracker, iou


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


def test_weak_detections_continue_tracks_but_start_none():
    tracker = Tracker(new_score=0.5)
    assert not any(run(tracker, [frame((50, 50, 20, 0, 0.3))] * 5))
    run(tracker, [frame((50, 50, 20, 0, 0.8))] * 3, start=101)
    assert tracker.update(frame((50, 50, 20, 0, 0.3)), 101.3)[0].detection == 0


def test_iou_values():
    a = np.array([[0, 0, 10, 10]], np.float32)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    np.testing.assert_allclose(iou(a, b), [[1, 1 / 3, 0]], rtol=1e-6)


def test_a_crowd_costs_little():
    """100 objects for 50 frames: milliseconds a frame even on a slow machine."""
    import time

    rng = np.random.default_rng(0)
    start = rng.uniform(0, 1000, (100, 2))
    frames = [frame(*[(x + i, y, 20) for x, y in start]) for i in range(50)]
    t0 = time.perf_counter()
    run(Tracker(), frames)
    assert (time.perf_counter() - t0) / 50 < 0.02
