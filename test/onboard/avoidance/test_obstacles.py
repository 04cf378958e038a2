"""Obstacles: time to contact from tracks, direction, range, position and their errors, and the scan made of them."""

import math
import time
from types import SimpleNamespace

import numpy as np
import pytest

from vit_perception.avoidance.camera import Camera
from vit_perception.avoidance.geometry import Ego, Mount, level_from_angles, rotation_z
from vit_perception.avoidance.obstacles import NOSE, ObstacleEstimator
from vit_perception.avoidance.scan import make_scan

WIDTH, HEIGHT = 640, 480
CAMERA = Camera(400, 400, 320, 240, WIDTH, HEIGHT)
SIZES = {0: (2.0, 0.2)}


def track(box, track_id=1, class_index=0, detection=0, growth=None):
    box = np.asarray(box, np.float32)
    return SimpleNamespace(id=track_id, box=box, class_index=class_index, detection=detection, growth=growth)


def square(center_x, center_y, size):
    return (center_x - size / 2, center_y - size / 2, center_x + size / 2, center_y + size / 2)


def approach(estimator, ttc_at_end, frames=25, dt=0.1, size_at_end=60.0, center=(320, 240), camera=None):
    """An object at constant closing speed, last frame at stamp 100; returns its obstacle then."""
    for i in range(frames):
        t = (i - frames + 1) * dt
        box = square(center[0], center[1], size_at_end * ttc_at_end / (ttc_at_end - t))
        obstacle = estimator.update([track(box)], 100.0 + t, camera, WIDTH, HEIGHT)[0]
    return obstacle


def one(estimator, box, camera=CAMERA, mount=None, ego=None, **of_track):
    return estimator.update([track(box, **of_track)], 0.0, camera, WIDTH, HEIGHT, mount, ego)[0]


def seen(corners, camera=CAMERA):
    """The box around points (n, 3) of the optical frame."""
    corners = np.asarray(corners, float)
    pixels = corners[:, :2] / corners[:, 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    return np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])


# Time to contact


@pytest.mark.parametrize("ttc", [0.8, 3.0, 10.0])
def test_growth_gives_time_to_contact(ttc):
    assert approach(ObstacleEstimator(), ttc).ttc_s == pytest.approx(ttc, rel=0.03)


def test_calibrated_it_is_the_nearest_point_that_counts():
    obstacle = approach(ObstacleEstimator(), 3.0, camera=CAMERA)
    assert obstacle.ttc_s == pytest.approx(3.0 * (1 - NOSE * 60 / 400), rel=0.03)


def test_unknown_before_enough_hits_and_when_receding():
    assert approach(ObstacleEstimator(min_hits=6), 1.0, frames=5).ttc_s is None
    assert approach(ObstacleEstimator(min_hits=6), 1.0, frames=6).ttc_s is not None
    assert approach(ObstacleEstimator(min_hits=6), 3.0, frames=6).ttc_s is None  # slower: six looks leave it unsure
    assert approach(ObstacleEstimator(), -3.0).ttc_s is None
    assert approach(ObstacleEstimator(max_ttc_s=20.0), 30.0).ttc_s is None


def test_border_freezes_time_to_contact_and_counts_it_down():
    estimator = ObstacleEstimator(hold_s=1.0)
    before = approach(estimator, 3.0).ttc_s
    cut = track((300, 440, 340, 480))  # cut off by the lower border: the box seems to shrink
    obstacle = estimator.update([cut], 100.2, None, WIDTH, HEIGHT)[0]
    assert obstacle.ttc_s == pytest.approx(before - 0.2)
    assert estimator.update([cut], 101.5, None, WIDTH, HEIGHT)[0].ttc_s is None  # too old to be believed


def test_the_whole_side_goes_on_telling_when_the_other_is_cut_off():
    """A person that reaches the lower border: the width still grows, and no jump where the height is lost."""
    estimator = ObstacleEstimator()
    for i in range(31):
        ttc = 4.0 - 0.1 * i
        w, h = 40 * 4 / ttc, 100 * 4 / ttc
        box = (320 - w / 2, max(240 - h / 2, 0), 320 + w / 2, min(240 + h / 2, HEIGHT))
        obstacle = estimator.update([track(box)], 0.1 * i, None, WIDTH, HEIGHT)[0]
    assert obstacle.ttc_s == pytest.approx(1.0, rel=0.1)


def test_an_object_never_seen_whole_has_no_time_to_contact():
    estimator = ObstacleEstimator()
    for i in range(20):
        obstacle = estimator.update([track((300, 380 - 4 * i, 340 + i, 480))], 0.1 * i, CAMERA, WIDTH, HEIGHT)[0]
    assert obstacle.ttc_s is None


def test_what_the_side_cuts_all_along_grows_in_height():
    """On a collision course from beside: always at the left border, never seen whole, 3 s to contact at the end."""
    estimator = ObstacleEstimator()
    for i in range(30):
        t = 0.1 * (i - 29)
        tall = 80 * 3.0 / (3.0 - t)
        obstacle = estimator.update([track((0, 240, 0.3 * tall, 240 + tall))], 10.0 + t, None, WIDTH, HEIGHT)[0]
    assert obstacle.ttc_s == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("wide", [30, 110])
def test_what_comes_into_view_from_the_side_is_no_approach(wide):
    """First its height is seen alone, then all of it: another measure is no growth."""
    estimator, told = ObstacleEstimator(), []
    for i in range(40):
        right = 0.1 * wide + 6 * i
        box = (max(right - wide, 0), 200, right, 260)
        told.append(estimator.update([track(box)], 0.1 * i, None, WIDTH, HEIGHT)[0].ttc_s)
    assert told == [None] * 40


def test_pixels_tell_of_the_growth_of_what_the_border_cuts():
    """Never seen whole, 4 s to contact at first, compared every 0.4 s as vit_perception.tracking.growth does."""
    estimator = ObstacleEstimator()
    for i in range(20):
        t = 0.1 * i
        growth = ((4.0 - t + 0.4) / (4.0 - t), 0.015, 0.4) if i and i % 4 == 0 else None
        of_border = track((300, 380 - 4 * i, 340 + i, 480), growth=growth)
        obstacle = estimator.update([of_border], t, None, WIDTH, HEIGHT)[0]
    assert obstacle.ttc_s == pytest.approx(4.0 - t, rel=0.1)


def test_growth_of_pixels_by_turning_is_none():
    """A flat lens shows what it turns aside larger, by a third after 1.2 s at 30 degrees/s. Its distance stays."""
    estimator, size, told = ObstacleEstimator(), 0.12, []
    for i in range(13):
        angle = np.radians(3.0 * i)
        edges = 320 + 400 * np.tan([angle - size / 2, angle + size / 2])
        tall = 400 * size / np.cos(angle)
        pixels = np.sqrt((edges[1] - edges[0]) * tall)
        growth = (pixels / told[i - 4], 0.001, 0.4) if i and i % 4 == 0 else None
        told.append(pixels)
        box = (edges[0], 240 - tall / 2, edges[1], 240 + tall / 2)
        obstacle = estimator.update([track(box, growth=growth)], 0.1 * i, CAMERA, WIDTH, HEIGHT)[0]
    assert obstacle.ttc_s is None and told[-1] > 1.2 * told[0]


def test_another_shape_is_another_object_and_no_growth():
    """What a lost track found again: as wide, and thrice as tall."""
    estimator = ObstacleEstimator()
    for i in range(20):
        estimator.update([track((300, 200, 320, 210))], 0.1 * i, CAMERA, WIDTH, HEIGHT)
    told = [
        estimator.update([track((300, 180, 318, 212))], 2.4 + 0.1 * i, CAMERA, WIDTH, HEIGHT)[0].ttc_s
        for i in range(10)
    ]
    assert told == [None] * 10


def test_coasting_adds_no_size():
    estimator = ObstacleEstimator()
    before = approach(estimator, 3.0).ttc_s
    obstacle = estimator.update([track(square(320, 240, 10), detection=-1)], 100.1, None, WIDTH, HEIGHT)[0]
    assert obstacle.ttc_s == pytest.approx(before - 0.1)


def test_turning_the_camera_is_no_approach():
    """A pole 20 m away sweeps through a wide view at 60 degrees a second: in pixels it grows by 70% a second."""
    wide = Camera(320, 320, 320, 240, WIDTH, HEIGHT)
    calibrated, blind, closest = ObstacleEstimator(), ObstacleEstimator(), [math.inf, math.inf]
    corners = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.5, 1.5) for z in (-1.0, 1.0)])
    for i in range(20):
        c, s = (f(math.radians(-4 + 60 * i / 30.0)) for f in (math.cos, math.sin))
        turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        box = track(seen((corners + [0, 0, 20]) @ turn.T, wide))
        for k, (estimator, camera) in enumerate(((calibrated, wide), (blind, None))):
            obstacle = estimator.update([box], i / 30.0, camera, WIDTH, HEIGHT)[0]
            closest[k] = min(closest[k], obstacle.ttc_s or math.inf)
    assert closest[0] > 15 > 5 > closest[1]


def test_what_lies_aside_is_abeam_sooner_than_it_is_hit():
    """Flying past at 5 m/s: the time is that to the plane across the flight, from the velocity, wherever it is seen."""
    for ahead, velocity in ((rotation_z(0.0), (5, 0, 0)), (rotation_z(-0.5), rotation_z(-0.5) @ [5, 0, 0])):
        estimator, mount = ObstacleEstimator(), Mount(ahead @ Mount.from_angles().rotation)
        for i in range(30):
            depth = 25.0 - 0.5 * i
            box = seen([(4 - 0.3, -1, depth), (4 + 0.3, 1, depth)])
            ego = Ego(velocity=velocity)
            obstacle = estimator.update([track(box)], 0.1 * i, CAMERA, WIDTH, HEIGHT, mount, ego)[0]
        assert obstacle.ttc_s == pytest.approx(depth / 5, rel=0.12)


def test_history_ends_with_its_track():
    estimator = ObstacleEstimator()
    approach(estimator, 3.0)
    estimator.update([], 100.1, CAMERA, WIDTH, HEIGHT)
    assert estimator.update([track(square(320, 240, 60))], 100.2, CAMERA, WIDTH, HEIGHT)[0].ttc_s is None


def test_without_calibration_there_is_time_to_contact_alone():
    obstacle = approach(ObstacleEstimator(SIZES), 3.0)
    assert obstacle.ttc_s is not None
    assert obstacle.bearing is obstacle.elevation is obstacle.sector is obstacle.position is obstacle.range_m is None


@pytest.mark.parametrize("stamps", [[5.0] * 20, [5.0 - 0.1 * i for i in range(20)]])
def test_stamps_that_do_not_advance_give_no_time_to_contact(stamps):
    estimator = ObstacleEstimator()
    for i, stamp in enumerate(stamps):
        obstacle = estimator.update([track(square(320, 240, 40 + i))], stamp, CAMERA, WIDTH, HEIGHT)[0]
    assert obstacle.ttc_s is None


# Direction and range


def test_range_and_bearing_of_a_known_class():
    obstacle = one(ObstacleEstimator(SIZES), (500, 200, 540, 280))
    assert obstacle.range_m == pytest.approx(10 * math.hypot(1, 0.5))
    assert obstacle.bearing == pytest.approx(math.atan(0.5))
    assert obstacle.elevation == pytest.approx(0.0)
    assert obstacle.range_sigma_m > 0.1 * obstacle.range_m
    assert obstacle.position == pytest.approx([10, -5, 0])
    assert obstacle.sector == pytest.approx((math.atan(0.45), math.atan(0.55)))
    assert obstacle.threatens is None


def test_no_range_for_an_unknown_class_without_a_height_above_ground():
    obstacle = one(ObstacleEstimator(SIZES), (50, 50, 59, 59), class_index=7)
    assert obstacle.range_m is None and obstacle.position is None and obstacle.bearing is not None


def test_covariance_is_long_along_the_line_of_sight_and_turns_with_it():
    for yaw in (0.0, 90.0):
        obstacle = one(ObstacleEstimator(SIZES), square(320, 240, 40), mount=Mount.from_angles(yaw))
        variances = np.diag(obstacle.covariance)
        along = 0 if yaw == 0 else 1
        assert variances[along] == pytest.approx(obstacle.range_sigma_m**2)
        assert variances[1 - along] < 0.01 * variances[along] and variances[2] < 0.01 * variances[along]
        assert np.linalg.eigvalsh(obstacle.covariance).min() > 0


def test_a_mount_turns_and_shifts_what_is_seen():
    """2 m wide and high, 10 m along the axis of a camera that looks 30 degrees down, 90 to the right, 1 m up."""
    mount = Mount.from_angles(90, -30, 0, (0.5, 0.0, 1.0))
    obstacle = one(ObstacleEstimator(SIZES), square(320, 240, 80), mount=mount)
    x, y, z = obstacle.position
    assert obstacle.bearing == pytest.approx(math.atan2(-y, x)) and obstacle.bearing < math.pi / 2, "from the vehicle"
    assert obstacle.sector[0] < obstacle.bearing < obstacle.sector[1]
    assert obstacle.elevation == pytest.approx(math.atan2(z, obstacle.range_m)) and obstacle.elevation > -math.pi / 6
    direction = (obstacle.position - mount.translation) / np.linalg.norm(obstacle.position - mount.translation)
    assert direction == pytest.approx([0, -math.cos(math.pi / 6), -0.5], abs=1e-9)
    assert obstacle.range_m == pytest.approx(math.hypot(obstacle.position[0], obstacle.position[1]))


def test_parameters_stand_in_for_a_missing_mount():
    estimator = ObstacleEstimator(SIZES, camera_yaw_deg=90.0, camera_pitch_deg=-20.0)
    obstacle = one(estimator, square(320, 240, 80))
    assert (obstacle.bearing, obstacle.elevation) == pytest.approx((math.pi / 2, math.radians(-20)))


def test_straight_down_there_is_no_side_that_is_free():
    obstacle = one(ObstacleEstimator(SIZES), square(320, 240, 80), mount=Mount.from_angles(0, -90))
    assert obstacle.sector[1] - obstacle.sector[0] == pytest.approx(2 * math.pi)


@pytest.mark.parametrize("pitch", [-90.0, -80.0, -70.0, -60.0])
@pytest.mark.parametrize(("u", "v"), [(320, 240), (325, 240), (300, 280)])
def test_what_is_seen_from_above_is_placed_on_the_ground(pitch, u, v):
    """20 m above ground, a thing in the image of a camera that looks down: its middle is at half of its height."""
    mount, ego = Mount.from_angles(0, pitch), Ego(level=np.eye(3), height_m=20.0)
    ray = mount.rotation @ CAMERA.rays(np.array([[u, v]], float))[0]
    for sizes, middle in (({}, 0.5), ({0: (3.0, 0.2)}, 1.5)):
        obstacle = one(ObstacleEstimator(sizes), square(u, v, 80), mount=mount, ego=ego)
        assert obstacle.position == pytest.approx((middle - 20.0) / ray[2] * ray, abs=1e-3)
        sigmas = np.sqrt(np.diag(obstacle.covariance))
        assert sigmas.min() > 0.09 and sigmas.max() < 3.0


@pytest.mark.parametrize(("height", "distance"), [(2.5, 1.3), (3.0, 1.6), (4.0, 2.0), (8.0, 4.0)])
def test_somebody_who_stands_below_is_not_told_farther_than_he_is(height, distance):
    """A person of 1.7 m, as the camera sees him that looks 45 degrees down from `height`, `distance` ahead."""
    mount, ego = Mount.from_angles(0, -45), Ego(level=np.eye(3), height_m=height)
    corners = [(distance + x, y, z - height) for x in (-0.2, 0.2) for y in (-0.2, 0.2) for z in (0.0, 1.7)]
    pixels = seen(np.array(corners) @ mount.rotation)
    obstacle = one(ObstacleEstimator({0: (1.7, 0.15)}), pixels, mount=mount, ego=ego)
    assert math.degrees(obstacle.elevation) < -45 and obstacle.range_m == pytest.approx(distance, rel=0.2)


def test_from_above_with_an_uncertain_attitude_the_size_tells_what_the_ground_cannot():
    mount, ego = Mount.from_angles(0, -50), Ego(level=np.eye(3), height_m=20.0)
    assert one(ObstacleEstimator(level_sigma_deg=20.0), square(320, 240, 80), mount=mount, ego=ego).range_m is None
    assert one(ObstacleEstimator(SIZES), square(320, 240, 80), mount=mount, ego=ego).range_m is not None


def test_what_passed_straight_below_and_leaves_at_the_border_is_not_near():
    estimator, ego = ObstacleEstimator(), Ego(level=np.eye(3), height_m=20.0)
    for i, pitch in enumerate((-90.0, -90.0, -60.0)):
        box = square(320, 240, 80) if i < 2 else (280, 420, 360, 480)
        tracks = [track(box)]
        obstacle = estimator.update(tracks, 0.1 * i, CAMERA, WIDTH, HEIGHT, Mount.from_angles(0, pitch), ego)[0]
        assert np.linalg.norm(obstacle.position) > 19.0


def test_a_glimpse_has_a_place_and_leaves_no_trace():
    estimator = ObstacleEstimator(SIZES)
    seen_once = estimator.single_frame_obstacles([track(square(320, 240, 80))], 0.0, CAMERA, WIDTH, HEIGHT)[0]
    assert seen_once.range_m == pytest.approx(10.0, rel=0.1) and seen_once.ttc_s is None and not estimator._histories


def test_a_sector_across_straight_back_stays_in_order():
    obstacle = one(ObstacleEstimator(SIZES), square(320, 240, 80), mount=Mount.from_angles(180))
    left, right = obstacle.sector
    assert left < right < left + 1


@pytest.mark.parametrize("tilt", [0.0, -0.3])
def test_the_ground_gives_the_range_of_what_has_no_known_size(tilt):
    """8 m above ground, something stands 20 m ahead; the vehicle may be nose down."""
    level = level_from_angles(0.0, tilt)
    mount = Mount.from_angles(0, -20)
    to_optical = (level @ mount.rotation).T
    feet = np.array([(20, y, z) for y in (-0.5, 0.5) for z in (-8.0, -6.0)]) @ to_optical.T
    obstacle = one(ObstacleEstimator(), seen(feet), mount=mount, ego=Ego(level=level, height_m=8.0))
    assert np.linalg.norm((level @ obstacle.position)[:2]) == pytest.approx(20, rel=0.01)
    assert 0.02 < obstacle.range_sigma_m / 20 < 0.3
    assert one(ObstacleEstimator(), seen(feet), mount=mount, ego=Ego(height_m=8.0)).range_m is None  # attitude unknown


def test_size_and_ground_together_are_better_than_either():
    mount, ego = Mount.from_angles(0, -20), Ego(level=np.eye(3), height_m=8.0)
    feet = np.array([(20, y, z) for y in (-0.05, 0.05) for z in (-8.0, -6.0)]) @ mount.rotation
    both = one(ObstacleEstimator(SIZES), seen(feet), mount=mount, ego=ego)
    size = one(ObstacleEstimator(SIZES), seen(feet), mount=mount, ego=Ego(level=np.eye(3)))
    ground = one(ObstacleEstimator(), seen(feet), mount=mount, ego=ego)
    assert both.range_sigma_m < min(size.range_sigma_m, ground.range_sigma_m)
    assert abs(both.range_m - 20) < both.range_sigma_m


def test_a_box_cut_in_height_does_not_move_away():
    estimator = ObstacleEstimator(SIZES)
    whole = estimator.update([track((300, 390, 340, 470))], 0.0, CAMERA, WIDTH, HEIGHT)[0]
    cut = estimator.update([track((300, 420, 340, 480))], 0.1, CAMERA, WIDTH, HEIGHT)[0]
    assert cut.range_m == pytest.approx(whole.range_m, rel=0.02)
    nearer = estimator.update([track((300, 320, 340, 480))], 0.2, CAMERA, WIDTH, HEIGHT)[0]
    assert nearer.range_m < 0.7 * whole.range_m


def test_a_box_larger_than_the_image_is_near_and_finite():
    obstacle = one(ObstacleEstimator(SIZES), (-100, -100, 740, 580))
    assert 0 < obstacle.range_m < 5 and np.isfinite(obstacle.covariance).all() and obstacle.ttc_s is None


def test_a_box_without_an_area_breaks_nothing():
    obstacle = one(ObstacleEstimator(SIZES), (300, 200, 300, 200))
    assert obstacle.range_m is None or math.isfinite(obstacle.range_m)


@pytest.mark.parametrize("stray", ["velocity", "level", "height_m"])
def test_numbers_that_are_none_of_the_vehicle_spoil_nothing(stray):
    known = {"velocity": np.array([5.0, 0, 0]), "level": np.eye(3), "height_m": np.float64(5.0)}
    known[stray] = known[stray] * math.nan
    obstacle = one(ObstacleEstimator(SIZES), square(320, 300, 80), ego=Ego(**known))
    assert math.isfinite(obstacle.bearing)
    assert obstacle.range_m is None or (math.isfinite(obstacle.range_m) and np.isfinite(obstacle.covariance).all())


def test_three_hundred_tracks_are_no_burden():
    rng, estimator = np.random.default_rng(0), ObstacleEstimator(SIZES)
    tracks = [track(square(rng.uniform(60, 400), rng.uniform(60, 400), 30), i) for i in range(300)]
    for k in range(3):
        begun = time.process_time()
        assert (
            len(estimator.update(tracks, 0.1 * k, CAMERA, WIDTH, HEIGHT, None, Ego(level=np.eye(3), height_m=5.0)))
            == 300
        )
    assert time.process_time() - begun < 0.3


def test_scan_side_matches_the_image():
    """A box in the right half of the image fills rays above 36 only."""
    right = ObstacleEstimator(SIZES).update([track((520, 200, 560, 280))], 0.0, CAMERA, WIDTH, HEIGHT)
    bearing = math.degrees(right[0].bearing)
    rays = np.flatnonzero(np.isfinite(make_scan(right))).tolist()
    assert min(rays) > 36 and 36 + round(bearing / 5) in rays
