"""Time to contact, range, and the scan that an autopilot will act on: indices and sides exact."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from vit_perception.camera import Camera
from vit_perception.obstacles import ObstacleEstimator, make_scan, time_to_contact

WIDTH, HEIGHT = 640, 480
CAMERA = Camera(400, 400, 320, 240, WIDTH, HEIGHT)
SIZES = {0: (2.0, 0.2)}


def track(box, track_id=1, class_index=0, detection=0):
    return SimpleNamespace(id=track_id, box=np.asarray(box, np.float32), class_index=class_index, detection=detection)


def square(center_x, center_y, size):
    return (center_x - size / 2, center_y - size / 2, center_x + size / 2, center_y + size / 2)


def approach(estimator, ttc_at_end, frames=12, dt=0.1, size_at_end=60.0, jitter=None, center=(320, 240)):
    """An object at constant closing speed, last frame at stamp 100; returns its obstacle then."""
    for i in range(frames):
        t = (i - frames + 1) * dt
        size = size_at_end * ttc_at_end / (ttc_at_end - t)
        w, h = (size, size) if jitter is None else size + jitter(2)
        box = (center[0] - w / 2, center[1] - h / 2, center[0] + w / 2, center[1] + h / 2)
        obstacle = estimator.update([track(box)], 100.0 + t, CAMERA, WIDTH, HEIGHT)[0]
    return obstacle


# Time to contact


@pytest.mark.parametrize("ttc", [0.8, 3.0, 10.0])
def test_exact_growth_gives_exact_time_to_contact(ttc):
    obstacle = approach(ObstacleEstimator(box_sigma_px=0.0), ttc)
    assert obstacle.ttc_s == pytest.approx(ttc, rel=1e-4)


def test_unknown_before_enough_hits_and_when_receding():
    assert approach(ObstacleEstimator(min_hits=5), 3.0, frames=4).ttc_s is None
    assert approach(ObstacleEstimator(min_hits=5), 3.0, frames=5).ttc_s is not None
    assert approach(ObstacleEstimator(), -3.0).ttc_s is None
    assert approach(ObstacleEstimator(max_ttc_s=20.0), 30.0).ttc_s is None


def test_noise_is_as_published_and_sigma_tells_it():
    """60 px box, 1.5 px jitter, 10 Hz, 3 s: 8% with 10 frames; the reported sigma agrees with it."""
    rng, values, sigmas = np.random.default_rng(0), [], []
    for _ in range(400):
        times = np.arange(-9, 1) * 0.1
        sizes = 60 * 3.0 / (3.0 - times) + rng.normal(0, 1.5 / math.sqrt(2), 10)
        ttc, sigma = time_to_contact(times, 1 / sizes)
        values.append(ttc)
        sigmas.append(sigma)
    spread = np.std(values) / 3.0
    assert 0.05 < spread < 0.10
    assert abs(np.mean(values) / 3.0 - 1) < 0.05
    assert np.median(sigmas) / np.std(values) == pytest.approx(1.0, abs=0.35)


def test_real_stamps_matter_not_the_frame_rate():
    rng = np.random.default_rng(1)
    times = np.sort(rng.uniform(-0.8, 0.0, 10))
    assert time_to_contact(times, (2.0 - times) / 100.0)[0] == pytest.approx(2.0)


def test_border_freezes_time_to_contact_and_counts_it_down():
    estimator = ObstacleEstimator(box_sigma_px=0.0)
    approach(estimator, 3.0)
    cut = track((300, 440, 340, 480))  # cut off by the lower border: the box seems to shrink
    obstacle = estimator.update([cut], 100.2, CAMERA, WIDTH, HEIGHT)[0]
    assert obstacle.ttc_s == pytest.approx(2.8, rel=1e-3)
    assert estimator.update([cut], 101.5, CAMERA, WIDTH, HEIGHT)[0].ttc_s is None  # too old to be believed


def test_coasting_adds_no_size_to_the_fit():
    estimator = ObstacleEstimator(box_sigma_px=0.0)
    approach(estimator, 3.0)
    obstacle = estimator.update([track(square(320, 240, 10), detection=-1)], 100.1, CAMERA, WIDTH, HEIGHT)[0]
    assert obstacle.ttc_s == pytest.approx(2.9, rel=1e-3)


def test_time_to_contact_needs_no_calibration_but_bearing_and_range_do():
    estimator = ObstacleEstimator(SIZES)
    for i in range(10):
        obstacle = estimator.update([track(square(320, 240, 60 * 3 / (4 - 0.1 * i)))], i * 0.1, None, WIDTH, HEIGHT)[0]
    assert obstacle.ttc_s == pytest.approx(3.1, rel=1e-3)
    assert obstacle.bearing is None and obstacle.range_m is None


def test_history_ends_with_its_track():
    estimator = ObstacleEstimator()
    approach(estimator, 3.0)
    estimator.update([], 100.1, CAMERA, WIDTH, HEIGHT)
    assert estimator.update([track(square(320, 240, 60))], 100.2, CAMERA, WIDTH, HEIGHT)[0].ttc_s is None


# Range


def test_range_and_bearing_of_a_known_class():
    obstacle = ObstacleEstimator(SIZES).update([track((500, 200, 540, 280))], 0.0, CAMERA, WIDTH, HEIGHT)[0]
    assert obstacle.range_m == pytest.approx(10 * math.hypot(1, 0.5))
    assert obstacle.bearing == pytest.approx(math.atan(0.5))
    assert obstacle.range_sigma_m == pytest.approx(obstacle.range_m * math.hypot(0.1, 1.5 / 80))


def test_no_range_for_an_unknown_class():
    obstacle = ObstacleEstimator(SIZES).update([track((0, 0, 9, 9), class_index=7)], 0.0, CAMERA, WIDTH, HEIGHT)[0]
    assert obstacle.range_m is None and obstacle.bearing is not None


def test_a_box_cut_in_height_does_not_move_away():
    estimator = ObstacleEstimator(SIZES)
    whole = estimator.update([track((300, 390, 340, 470))], 0.0, CAMERA, WIDTH, HEIGHT)[0]
    cut = estimator.update([track((300, 420, 340, 480))], 0.1, CAMERA, WIDTH, HEIGHT)[0]
    assert cut.range_m == whole.range_m == pytest.approx(10.0)
    nearer = estimator.update([track((300, 320, 340, 480))], 0.2, CAMERA, WIDTH, HEIGHT)[0]
    assert nearer.range_m == pytest.approx(5.0)


def test_camera_yaw_turns_bearings():
    estimator = ObstacleEstimator(SIZES, camera_yaw_deg=90.0)
    assert estimator.update([track(square(320, 240, 80))], 0.0, CAMERA, WIDTH, HEIGHT)[0].bearing == pytest.approx(
        math.pi / 2
    )


# Scan


def obstacle(left_deg, right_deg, range_m):
    return SimpleNamespace(sector=(math.radians(left_deg), math.radians(right_deg)), range_m=range_m)


def known(scan):
    return {i: float(scan[i]) for i in np.flatnonzero(np.isfinite(scan))}


def test_scan_has_72_unknown_rays_when_nothing_is_known():
    scan = make_scan([])
    assert scan.shape == (72,) and scan.dtype == np.float32 and np.isnan(scan).all()


@pytest.mark.parametrize(
    ("left", "right", "rays"),
    [
        (-1, 1, [35, 36, 37]),  # straight ahead, and one more on each side
        (-2.4, 2.4, [35, 36, 37]),
        (-2.6, 2.6, [34, 35, 36, 37, 38]),
        (9, 11, [37, 38, 39]),  # right is clockwise: higher index
        (-11, -9, [33, 34, 35]),
        (89, 91, [53, 54, 55]),  # the right side
        (-91, -89, [17, 18, 19]),  # the left side
        (179, 181, [71, 0, 1]),  # straight back wraps
        (-181, -179, [71, 0, 1]),
        (2.6, 7.4, [36, 37, 38]),
    ],
)
def test_scan_rays_are_exact(left, right, rays):
    assert known(make_scan([obstacle(left, right, 7.0)])) == dict.fromkeys(rays, 7.0)


def test_scan_side_matches_the_image():
    """A box in the right half of the image fills rays above 36 only."""
    right = ObstacleEstimator(SIZES).update([track((520, 200, 560, 280))], 0.0, CAMERA, WIDTH, HEIGHT)
    bearing = math.degrees(right[0].bearing)
    rays = known(make_scan(right))
    assert min(rays) > 36 and 36 + round(bearing / 5) in rays


def test_nearest_obstacle_wins_and_ranges_are_clamped():
    scan = make_scan([obstacle(-1, 1, 9.0), obstacle(4, 6, 5.0)])
    assert known(scan) == {35: 9.0, 36: 5.0, 37: 5.0, 38: 5.0}
    assert make_scan([obstacle(-1, 1, 0.1)], range_min=0.5)[36] == 0.5
    assert make_scan([obstacle(-1, 1, 99.0)], range_max=40.0)[36] == 40.0


def test_clear_only_on_request_only_in_view():
    view = (math.radians(-22.5), math.radians(22.5))
    assert np.isnan(make_scan([], view, publish_clear=False)).all()
    clear = make_scan([], view, range_max=40.0, publish_clear=True)
    assert known(clear) == pytest.approx(dict.fromkeys(range(32, 41), 40.01), abs=1e-5)
    assert all(r > 40.0 for r in known(clear).values())
    narrower = make_scan([], (math.radians(-22.4), math.radians(22.4)), publish_clear=True)
    assert sorted(known(narrower)) == list(range(33, 40))  # a ray half out of view is unknown
    assert np.isnan(make_scan([], None, publish_clear=True)).all()


def test_detected_without_range_is_unknown_not_clear():
    view = (math.radians(-22.5), math.radians(22.5))
    scan = make_scan([obstacle(-1, 1, None), obstacle(4, 6, 5.0)], view, publish_clear=True)
    assert np.isnan(scan[35])
    assert scan[36] == scan[37] == scan[38] == 5.0
    assert scan[34] > 40.0
    uncalibrated = SimpleNamespace(sector=None, range_m=None)
    assert np.isnan(make_scan([uncalibrated])).all()
