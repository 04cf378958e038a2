"""Obstacles without a class on images of textured planes: what is told, and that bad input ends in one sentence."""

import cv2
import numpy as np
import pytest
from textured_way import CAMERA, FPS, MOUNT, SIZE, flight, image

from vit_perception.avoidance.alerts import OK, AlertPolicy
from vit_perception.avoidance.camera import Camera
from vit_perception.avoidance.geometry import Ego, rotation_about
from vit_perception.avoidance.scan import make_scan
from vit_perception.motion_obstacles import FIRST_ID, by_motion
from vit_perception.motion_obstacles import watcher as words
from vit_perception.motion_obstacles.followed import Followed
from vit_perception.motion_obstacles.watcher import MotionObstacles

NONE = np.zeros((0, 4), np.float32)


def look(watcher, picture, stamp_s, ego, boxes=NONE, camera=CAMERA, order="mono"):
    return watcher.update(picture, order, stamp_s, camera, MOUNT, ego, boxes, 0.9, 0.75)


def fly(frames, boxes=NONE, watcher=None, change=lambda i, picture: picture):
    """(watcher, [(obstacles, state, true time to contact)])."""
    watcher, seen = watcher or MotionObstacles(enabled=True), []
    for i, (picture, stamp_s, ego, truth) in enumerate(frames):
        found = look(watcher, change(i, picture), stamp_s, ego, boxes)
        seen.append((found, watcher.state, truth))
    return watcher, seen


def alarms(seen):
    """How often an alert began."""
    policy, level, begun = AlertPolicy(), OK, 0
    for found, _, _ in seen:
        alert = policy.update(found)
        begun += alert.level > OK and level == OK
        level = alert.level
    return begun


@pytest.fixture(scope="module")
def approach():
    return fly(flight())[1]


def test_a_wall_ahead_is_told_with_its_time_to_contact(approach):
    told = [(found[0], truth) for found, _, truth in approach if found and truth > 1]
    assert len(told) > 20 and told[0][1] > 2.5
    error = [o.ttc_s / truth - 1 for o, truth in told]
    assert abs(np.median(error)) < 0.06 and np.percentile(np.abs(error), 90) < 0.2
    within = [abs(o.ttc_s - truth) < 2 * o.ttc_sigma_s for o, truth in told]
    assert np.mean(within) > 0.8


def test_an_obstacle_keeps_one_id_beyond_those_of_tracks_and_stands_where_it_is(approach):
    found, _, truth = approach[30]
    o = found[0]
    assert by_motion(o) and o.track.id >= FIRST_ID and o.threatens and o.track.score < 0.3
    assert o.position[0] == pytest.approx(5 * truth, rel=0.2) and abs(o.position[1]) < 0.5
    assert o.range_sigma_m >= 0.1 * o.range_m and o.sector[0] < 0 < o.sector[1]
    assert {a.track.id for a in approach[38][0]} & {b.track.id for b in approach[25][0]}


def test_it_fills_the_scan_and_never_clears_it(approach):
    found, _, truth = approach[32]
    empty, scan = make_scan([]), make_scan(found)
    assert np.isnan(empty).all()
    assert scan[36] == pytest.approx(5 * truth, rel=0.25) and np.nanmax(scan) < 41
    assert np.isnan(scan[0]) and np.isnan(scan[54])


def test_what_is_too_near_to_be_followed_is_still_there():
    watcher, seen = fly(flight())
    flat = np.full(SIZE[::-1], 90, np.uint8)
    ego = Ego([5.0, 0, 0], [0, 0, 0], np.eye(3))
    found = look(watcher, flat, 10.0 + 45 / FPS, ego)
    assert found and found[0].remembered and found[0].track.id == seen[-1][0][0].track.id


def test_a_vehicle_that_stops_before_it_does_not_forget_it():
    watcher, seen = fly(flight(frames=34))
    standing = Ego([0.0, 0, 0], [0, 0, 0], np.eye(3))
    for k in range(60):
        found = look(watcher, image(20 - 5 * 33 / FPS), 10.0 + (34 + k) / FPS, standing)
    assert watcher.state == words.STANDS
    assert [o.track.id for o in found] == [o.track.id for o in seen[-1][0]]
    assert not found[0].threatens and found[0].ttc_s is None and found[0].range_m < 11


def test_nothing_in_the_way_is_silent_also_while_turning():
    for rate in ((0, 0, 0), (0, 0.15, 0), (0.1, -0.12, 0.2)):
        _, seen = fly(flight(frames=30, wall=False, rate=rate))
        assert not any(found for found, _, _ in seen) and seen[-1][1] == words.WATCHING


def test_turning_towards_it_does_not_hide_it():
    _, seen = fly(flight(frames=40, rate=(0, 0.05, 0)))
    told = [(found[0].ttc_s, truth) for found, _, truth in seen if found]
    assert len(told) > 12 and abs(np.median([a / b - 1 for a, b in told])) < 0.12


def test_boxes_of_detections_are_left_out():
    _, seen = fly(flight(), boxes=np.array([[0.0, 0.0, 640.0, 512.0]]))
    assert not any(found for found, _, _ in seen)


def test_without_velocity_alerts_but_no_range():
    _, seen = fly(flight(velocity=None))
    found, state, truth = seen[36]
    assert state.endswith(words.NO_VELOCITY) and found[0].range_m is None and found[0].position is None
    assert found[0].ttc_s == pytest.approx(truth, rel=0.3) and alarms(seen) == 1


def test_without_gyro_the_turning_is_estimated():
    _, seen = fly(flight(frames=40, rate=(0, 0.08, 0), angular_velocity=None))
    told = [(found[0].ttc_s, truth) for found, _, truth in seen if found]
    assert seen[-1][1].endswith(words.NO_GYRO) and len(told) > 10
    assert abs(np.median([a / b - 1 for a, b in told])) < 0.15


# Bad input: one sentence each, no alarm storm, no exception.


def test_standing_and_flying_aside_say_why_they_are_blind():
    _, seen = fly(flight(frames=12, velocity=[0.1, 0, 0]))
    assert seen[-1][1] == words.STANDS and not any(f for f, _, _ in seen)
    _, seen = fly(flight(frames=12, velocity=[0.0, 4.0, 0]))
    assert seen[-1][1] == words.ASIDE and not any(f for f, _, _ in seen)
    _, seen = fly(flight(frames=12, velocity=[-4.0, 0, 0]))
    assert seen[-1][1] == words.ASIDE


def test_a_camera_without_calibration():
    watcher = MotionObstacles(enabled=True)
    for picture, stamp_s, ego, _ in flight(frames=6):
        assert look(watcher, picture, stamp_s, ego, camera=None) == []
    assert watcher.state == words.UNCALIBRATED


def test_a_gyro_with_the_wrong_sign_is_noticed():
    _, seen = fly(flight(frames=24, rate=(0, 0.3, 0), angular_velocity=MOUNT.rotation.dot([0, -0.3, 0])))
    assert words.GYRO_ASTRAY in seen[-1][1] and alarms(seen) == 0


def test_a_gyro_with_the_wrong_sign_does_not_hide_what_is_ahead():
    _, seen = fly(flight(frames=40, rate=(0, 0.08, 0), angular_velocity=MOUNT.rotation.dot([0, -0.08, 0])))
    told = [(found[0].ttc_s, truth) for found, _, truth in seen if found]
    assert len(told) > 10 and abs(np.median([a / b - 1 for a, b in told])) < 0.15


def vibrating(amplitude_deg, hertz, wall=True, frames=45):
    """A flight whose camera swings about all axes, and whose gyro tells the rate when each image is taken."""
    w, phase = 2 * np.pi * hertz, np.array([0.3, 1.5, 2.6])
    amplitude = np.radians(amplitude_deg)
    for i in range(frames):
        t, to_wall = i / FPS, 20 - 5 * i / FPS
        turned = rotation_about(-amplitude * np.sin(w * t + phase))
        rate = MOUNT.rotation.dot(amplitude * w * np.cos(w * t + phase))
        velocity = MOUNT.rotation.dot(turned.dot([0.0, 0.0, 5.0]))
        yield image(to_wall, turned, wall), 10 + t, Ego(velocity, rate, np.eye(3)), to_wall / 5


@pytest.mark.parametrize("hertz", [30.2, 37.0])  # at 15 images a second: the same moment of a swing nearly, and not
def test_vibration_does_not_blind_it(hertz):
    _, seen = fly(vibrating(0.15, hertz))
    told = [(found[0], truth) for found, _, truth in seen if found and truth > 1]
    assert len(told) > 20 and told[0][1] > 2.5
    assert abs(np.median([o.ttc_s / truth - 1 for o, truth in told])) < 0.1
    assert words.TURNS not in seen[-1][1] and alarms(seen) == 1
    assert (words.GYRO_ASTRAY in seen[-1][1]) == (hertz < 31)  # at 37 Hz what is wrong cancels over four images
    assert alarms(fly(vibrating(0.15, hertz, wall=False))[1]) == 0


def test_a_gyro_that_is_right_again_is_used_again():
    watcher, seen = fly(vibrating(0.15, 30.2, frames=20))
    assert words.GYRO_ASTRAY in seen[-1][1]
    still = [(p, s + 20 / FPS, e, t) for p, s, e, t in flight(frames=40, start_m=20.0 - 5 * 20 / FPS, speed=3.0)]
    _, seen = fly(still, watcher=watcher)
    assert seen[-1][1] == words.WATCHING


def test_odometry_in_a_wrong_unit():
    """Half of the speed: the time to contact stays right, ranges are half. A thousand times: said so, silent."""
    _, seen = fly(flight(velocity=[2.5, 0, 0]))
    told = [(found[0], truth) for found, _, truth in seen if found and truth > 1]
    assert len(told) > 15 and abs(np.median([o.ttc_s / truth - 1 for o, truth in told])) < 0.1
    assert np.median([o.range_m / (2.5 * truth) for o, truth in told]) == pytest.approx(1.0, abs=0.15)
    _, seen = fly(flight(frames=20, velocity=[5000.0, 0, 0]))
    assert seen[-1][1] == words.TOO_FAST and alarms(seen) == 0


def test_while_it_turns_fast_nothing_new_is_told_and_what_was_known_stays():
    _, seen = fly(flight(frames=14, rate=(0, 0.4, 0)))
    assert words.TURNS in seen[-1][1] and not any(found for found, _, _ in seen)
    frames = list(flight(frames=40))
    watcher, seen = fly(frames[:30])
    known, turned = seen[-1][0][0].track.id, np.eye(3)
    for _, stamp_s, _, truth in frames[30:36]:
        turned = rotation_about(np.array([0, -0.4, 0]) / FPS).dot(turned)
        told = Ego(MOUNT.rotation.dot(turned.dot([0, 0, 5.0])), MOUNT.rotation.dot([0, 0.4, 0]), np.eye(3))
        found = look(watcher, image(5 * truth, turned), stamp_s, told)
    assert [o.track.id for o in found] == [known] and found[0].ttc_s == pytest.approx(truth, rel=0.25)


def test_a_gyro_that_vibrates_does_not_count_as_turning_fast():
    rng = np.random.default_rng(2)
    frames = [(p, s, Ego(e.velocity, rng.choice([-0.4, 0.4], 3), e.level), t) for p, s, e, t in flight(frames=40)]
    _, seen = fly(frames)
    assert not any(words.TURNS in state for _, state, _ in seen)


def test_odometry_in_a_wrong_frame_alerts_nobody():
    """The velocity turned by 25 degrees: still in the image, but not where it flies."""
    _, seen = fly(flight(frames=40, wall=False, velocity=[5 * np.cos(0.44), 5 * np.sin(0.44), 0]))
    assert alarms(seen) == 0


def test_odometry_that_jumps_alerts_nobody_for_nothing():
    def jumping(wall):
        for i, (picture, stamp_s, ego, truth) in enumerate(flight(frames=45, wall=wall)):
            if i % 7 == 3:
                ego = Ego(ego.velocity * (30, -1)[i % 2], ego.angular_velocity, ego.level)
            yield picture, stamp_s, ego, truth

    _, seen = fly(jumping(False))
    assert alarms(seen) == 0 and {words.TOO_FAST, words.ASIDE} < {state for _, state, _ in seen}
    assert alarms(fly(jumping(True))[1]) in (1, 2)


@pytest.mark.parametrize("wall", [True, False])
def test_odometry_that_is_late_while_it_turns_is_told(wall):
    rates = [np.array([0.0, 0.22 * np.sin(2 * np.pi * 0.8 * i / FPS), 0.0]) for i in range(45)]
    turned, frames = np.eye(3), []
    for i, rate in enumerate(rates):
        turned = rotation_about(-rate / FPS).dot(turned) if i else turned
        ego = Ego(MOUNT.rotation.dot(turned.dot([0.0, 0.0, 5.0])), MOUNT.rotation.dot(rate), np.eye(3))
        frames.append((image(20 - 5 * i / FPS, turned, wall), 10 + i / FPS, ego, 4 - i / FPS))
    late = [(p, s, frames[max(i - 5, 0)][2], t) for i, (p, s, _, t) in enumerate(frames)]
    _, seen = fly(late)
    assert words.GYRO_ASTRAY in seen[-1][1] and alarms(seen) == wall


def test_not_a_number_counts_as_not_told():
    _, seen = fly(flight(frames=40, velocity=[np.nan, 0, 0], angular_velocity=[0, np.inf, 0]))
    assert words.NO_VELOCITY in seen[-1][1] and words.NO_GYRO in seen[-1][1]


def test_images_that_stand_still_or_repeat():
    first = image(20.0)
    _, seen = fly(flight(frames=30), change=lambda i, p: first)
    assert {state for _, state, _ in seen[8:]} == {words.FROZEN} and alarms(seen) == 0
    watcher, _ = fly(flight(frames=30))
    picture, ego = image(10.0), Ego([5.0, 0, 0], [0, 0, 0], np.eye(3))
    again = [look(watcher, picture, 10.0 + 29 / FPS, ego) for _ in range(5)]  # the same stamp
    assert len({o.track.id for found in again for o in found}) == 1


def test_a_camera_that_sends_each_image_twice_sees_as_well():
    twice = [(p, s + later, e, t - later) for p, s, e, t in flight() for later in (0.0, 0.5 / FPS)]
    _, seen = fly(twice)
    told = [(found[0], truth) for found, _, truth in seen if found and truth > 1]
    assert len(told) > 40 and told[0][1] > 2.5 and alarms(seen) == 1
    assert abs(np.median([o.ttc_s / truth - 1 for o, truth in told])) < 0.06
    assert not any(state == words.FROZEN for _, state, _ in seen)


@pytest.mark.parametrize("corner", [(416, 0), (416, 272), (208, 272)])
def test_what_is_fixed_to_the_camera_is_no_obstacle(corner):
    """Landing gear or a propeller guard: texture that stays where it is in the image."""
    rng, (y, x) = np.random.RandomState(5), corner
    gear = np.clip(cv2.resize(rng.uniform(0, 255, (24, 24)), (96, 96), interpolation=cv2.INTER_CUBIC), 0, 255)

    def fixed(i, picture):
        picture = picture.astype(float)
        picture[y : y + 96, x : x + 96] = gear
        return np.clip(picture + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)

    _, seen = fly(flight(frames=24, wall=False), change=fixed)
    assert seen[-1][1] == words.WATCHING and not any(found for found, _, _ in seen)


def test_dropped_frames_and_stamps_that_jump():
    frames = list(flight(frames=45))
    kept = [f for i, f in enumerate(frames) if i % 3 != 1]
    told = [(found[0].ttc_s, truth) for found, _, truth in fly(kept)[1] if found and truth > 1]
    assert len(told) > 8 and abs(np.median([a / b - 1 for a, b in told])) < 0.1
    watcher, _ = fly(frames)
    picture, _, ego, _ = frames[0]
    for stamp_s in (9.0, 50.0, 50.01):  # back, and far on
        assert look(watcher, picture, stamp_s, ego) == []
    assert watcher.state == words.STARTING


def test_images_of_changing_size_start_anew():
    watcher, _ = fly(flight(frames=30))
    small = cv2.resize(image(9.0), (320, 240))
    camera = Camera(250.0, 234.0, 160.0, 120.0, 320, 240)
    assert look(watcher, small, 10.0 + 30 / FPS, Ego([5.0, 0, 0], [0, 0, 0]), camera=camera) == []
    assert watcher.state == words.STARTING
    for shape in ((1, 1), (3, 400), (9, 9)):
        for k in range(8):
            tiny = np.full(shape, 7 * k, np.uint8)
            tiny[0, 0] = 200 - k
            camera = Camera(50.0, 50.0, shape[1] / 2, shape[0] / 2, shape[1], shape[0])
            assert look(watcher, tiny, 20 + k / FPS, Ego([5.0, 0, 0], [0, 0, 0]), camera=camera) == []


@pytest.mark.parametrize("what", ["flat", "saturated", "night", "blurred"])
def test_images_that_show_nothing(what):
    rng = np.random.default_rng(3)

    def spoil(i, picture):
        if what == "flat":
            return np.full_like(picture, 100 + i % 2)
        if what == "saturated":
            return np.clip(picture.astype(int) * 8 + 600 + i % 2, 0, 255).astype(np.uint8)
        if what == "night":
            return np.clip(rng.normal(12, 6, picture.shape), 0, 255).astype(np.uint8)
        return cv2.blur(picture, (151, 151))

    _, seen = fly(flight(frames=30, wall=False), change=spoil)
    assert alarms(seen) == 0
    if what in ("flat", "saturated", "night"):
        assert any(state in (words.FLAT, words.FROZEN, words.CONTRADICTED) for _, state, _ in seen)


def test_colour_and_switched_off():
    watcher = MotionObstacles(enabled=True)
    for picture, stamp_s, ego, _ in flight(frames=40):
        found = look(watcher, cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB), stamp_s, ego, order="rgb")
    assert found
    watcher.enabled = False
    assert look(watcher, picture, stamp_s + 0.1, ego) == [] and watcher.state == words.OFF


def test_while_it_turns_fast_nothing_new_is_made_and_what_is_known_stays():
    followed = Followed()
    near, far, other = (
        (np.array([d, y, 0.0]), 0.1, 0.02, np.zeros(4)) for d, y in ((6.0, 0.0), (12.0, 3.0), (9.0, -4.0))
    )
    for i in range(5):
        followed.correct([near, far], 0.1 * i, 4.0)
    for i in range(10):
        followed.correct([near, other], 0.5 + 0.1 * i, 4.0, new=False)
    places = [one.place[0] for one in followed._all]
    assert places == pytest.approx([6.0, 12.0]), "the one that was not seen stays, and nothing was made of the third"


def test_images_that_move_as_no_flight_moves_them_are_noticed():
    """64 tiles, each with a motion of its own: neither odometry nor a turning explains them."""

    def torn(i, picture):
        result, (h, w) = picture.copy(), picture.shape
        for k in range(64):
            tile = (slice(k // 8 * h // 8, (k // 8 + 1) * h // 8), slice(k % 8 * w // 8, (k % 8 + 1) * w // 8))
            shift = 6 * i * np.random.default_rng(100 * (k // 8) + k % 8).uniform(-1, 1, 2)
            result[tile] = np.roll(picture[tile], shift.astype(int), (0, 1))
        return result

    _, seen = fly(flight(frames=40), change=torn)
    assert seen[-1][1] == words.CONTRADICTED and alarms(seen) == 0
