"""Simulated approaches and the noise of the detector: truth is the renderer's, noise is what was measured."""

import numpy as np
import pytest

from offline.render import Renderer, Scene
from offline.simulate import noise as measured
from offline.simulate.approaches import SIZE, approach, quiet
from offline.simulate.noise import DetectorNoise
from vit_perception.detector import Detections


def test_boxes_and_times_are_those_of_the_renderer():
    """The same scene painted: boxes within a pixel and a half, time to contact the same."""
    flight = approach(3)
    views = [v for i, v in enumerate(flight.views) if i in (5, 40)]
    scene = Scene(3, "thermal", density=0.5)
    compared = 0
    for view in views:
        frame = Renderer(scene, *SIZE).render(view.camera, view.stamp_s)
        painted = {o.track_id: o for o in frame.objects}
        for truth in view.truths:
            if truth.track_id not in painted or painted[truth.track_id].truncated > 0:
                continue  # the scene here has neither the target nor the cleared way
            x, y, w, h = painted[truth.track_id].bbox
            assert truth.box == pytest.approx([x, y, x + w, y + h], abs=1.5)
            assert truth.ttc_s == pytest.approx(painted[truth.track_id].ttc_s)
            assert truth.depth_m == pytest.approx(painted[truth.track_id].depth_m)
            compared += 1
    assert compared > 3


def test_an_approach_ends_in_contact_at_constant_speed():
    flight = approach(4)
    seen = [(v.stamp_s, s) for v in flight.views for s in v.truths if s.track_id == flight.target]
    stamps = np.array([t for t, _ in seen])
    contact = stamps + [s.ttc_s for _, s in seen]
    assert np.ptp(contact[stamps > stamps[-1] - 4]) < 0.25  # the camera shakes, the vehicle does not
    assert seen[0][1].range_m > 5 * flight.speed and seen[-1][1].range_m < 1.5 * flight.speed
    assert 0.5 / flight.fps < np.median(np.diff(stamps)) < 1.5 / flight.fps


def test_flights_are_the_same_again():
    first, second = (next(iter(quiet("yaw", 5)[1])) for _ in range(2))
    assert np.array_equal(first.boxes, second.boxes)
    assert first.ego.height_m == second.ego.height_m


def test_the_yawing_flight_turns_by_60_degrees_a_second():
    turning = [v.ego.angular_velocity for v, _ in zip(quiet("yaw", 6)[1], range(5), strict=False)]
    rates = [abs(float(w[2])) for w in turning if w is not None]
    assert rates == pytest.approx([np.radians(60)] * 5, rel=0.03)


def noisy(boxes, frames, dt=0.1, **options):
    generator = DetectorNoise(*SIZE, **options)
    rng = np.random.default_rng(0)
    return [generator.apply(boxes, [0] * len(boxes), rng, dt) for _ in range(frames)]


def test_without_noise_the_boxes_are_exact():
    found = noisy([[100, 100, 150, 180]], 3, strength=0, misses=0, false_positives=0)
    assert all(isinstance(f, Detections) for f in found)
    assert all(f.boxes == pytest.approx(np.array([[100, 100, 150, 180]])) for f in found)


@pytest.mark.parametrize("column", range(len(measured.SIZE_PX)))
def test_jitter_and_misses_have_the_measured_size(column):
    size = measured.SIZE_PX[column]
    boxes, frames = [[150, 120, 150 + size, 120 + size]] * 200, 40
    generator, rng = DetectorNoise(*SIZE, false_positives=0), np.random.default_rng(0)
    logs = np.full((frames, len(boxes)), np.nan)
    for k in range(frames):
        found = generator.apply(boxes, np.arange(len(boxes)), rng, 1.0)  # the class tells who is who
        logs[k, found.classes] = np.log((found.boxes[:, 2] - found.boxes[:, 0]) / size)
    often = logs[:, np.isfinite(logs).sum(axis=0) > 9]
    jitter = np.sqrt(np.mean(np.nanvar(often, axis=0, ddof=1)))
    assert jitter == pytest.approx(measured.SIZE_JITTER[column], rel=0.1)
    assert np.isnan(logs).mean() == pytest.approx(measured.MISS[column], rel=0.2, abs=0.02)


def test_false_positives_come_as_often_as_measured_and_mostly_stay():
    found = noisy([], 150)
    assert np.mean([len(f) for f in found]) == pytest.approx(measured.FALSE_PER_IMAGE, rel=0.2)
    assert all((f.boxes[:, 2:] > f.boxes[:, :2]).all() for f in found)


def test_jitter_lasts_from_frame_to_frame():
    """Frames 10 ms apart have nearly the same error; a second apart, another."""

    def steps(dt):
        widths = [
            f.boxes[0, 2] - f.boxes[0, 0] for f in noisy([[100, 100, 160, 160]], 300, dt, misses=0, false_positives=0)
        ]
        return np.std(np.diff(widths))

    assert steps(0.01) < 0.7 * steps(1.0)
