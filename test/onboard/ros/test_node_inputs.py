"""Bad and missing inputs over real DDS: each has a defined behaviour, one warning, and an end."""

import math

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
pytest.importorskip("onnx", reason="onnx is not installed (make setup)")

from flight import HEIGHT, WIDTH, positions, running, white_blocks  # noqa: E402
from geometry_msgs.msg import TransformStamped, TwistStamped  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402

BLACK = np.zeros((HEIGHT, WIDTH), np.uint8)
AHEAD = white_blocks((3, 2), (4, 2))  # two people side by side, 10.6 m ahead
NAN = math.nan


@pytest.fixture
def flown(client, bundle, log):
    """A client connected to a running node; the node's output is in `log`."""
    with running("node", log, model=bundle):
        client.connect()
        yield client


def warnings(log, words):
    return sum(words in line and "WARN" in line for line in log.read_text().splitlines())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fx": 0.0}, "camera_info is uncalibrated"),
        ({"fx": NAN}, "camera_info is uncalibrated"),
        ({"d": [NAN] * 5, "distortion_model": "plumb_bob"}, "camera_info is uncalibrated"),
        ({"width": 2 * WIDTH}, "camera_info is for 256 x 96 pixels, but images have 128 x 96"),
    ],
)
def test_a_camera_info_that_goes_bad_silences_the_scan_until_it_is_good_again(flown, log, changes, words):
    def has_obstacles():
        return bool(flown.messages("obstacles") and flown.messages("obstacles")[-1].detections)

    flown.calibrate()
    assert flown.fly_until(AHEAD, lambda: flown.messages("obstacle_scan") and has_obstacles(), images=12)
    assert flown.fly_until(AHEAD, lambda: not has_obstacles(), each=lambda: flown.calibrate(**changes))
    flown.spin(0.2)  # until what was under way is here
    flown.forget()
    flown.fly(AHEAD, 0.6, each=lambda: flown.calibrate(**changes))
    assert flown.messages("obstacle_scan") == [] and flown.messages("obstacles")[-1].detections == []
    assert flown.messages("detections")[-1].detections, "detections need no calibration"
    assert warnings(log, words) == 1
    flown.calibrate()
    assert flown.fly_until(AHEAD, lambda: flown.messages("obstacle_scan") and has_obstacles(), images=10)


def test_stamps_that_are_wrong_are_warned_of_once_each_and_frames_go_on(flown, log):
    flown.calibrate()
    flown.fly(AHEAD, 0.1)
    flown.settle(AHEAD)  # answers are counted from here on
    now = flown.node.get_clock().now().to_msg().sec
    ids = []
    for stamps, words in (
        ([(now - 9, i * 50000000) for i in range(4)], "image stamps went back"),
        ([(now - 8, 0)] * 4, "the same stamp"),
        ([(0, 0)] * 4, "no stamps"),
        ([(now + 100 + i, 0) for i in range(4)], "ahead of the ROS clock"),
    ):
        flown.spin(0.1)
        flown.forget()
        for i, stamp in enumerate(stamps):
            flown.send(AHEAD, stamp)
            assert flown.wait(lambda n=i: len(flown.messages("detections")) > n)
            got = flown.messages("detections")[-1].header.stamp
            assert (got.sec, got.nanosec) == stamp
        assert warnings(log, words) == 1, words
        ids += [int(d.id) for m in flown.messages("detections") for d in m.detections if d.id]
    flown.forget()
    flown.fly(AHEAD, 0.5)
    tracked = lambda: all(d.id for d in flown.messages("detections")[-1].detections)  # noqa: E731
    assert flown.fly_until(AHEAD, lambda: flown.messages("obstacle_scan") and tracked()), "good stamps: all is well"
    assert min(int(d.id) for d in flown.messages("detections")[-1].detections) > max(ids, default=0) or not ids
    assert "ahead of the ROS clock" in flown.diagnostics(AHEAD)[2]["warnings"]


def test_an_image_out_of_order_is_rejected_and_nothing_forgotten(flown, log):
    flown.calibrate()
    flown.fly(AHEAD, 0.5)
    last = flown.settle(AHEAD)  # none that is newer is under way
    ids, newest = {d.id for d in last.detections}, last.header.stamp
    flown.forget()
    flown.send(AHEAD, divmod(newest.sec * 10**9 + newest.nanosec - 10**6, 10**9))
    assert flown.wait(lambda: "image rejected" in log.read_text())
    flown.spin(0.2)
    assert flown.messages("detections") == []
    flown.fly(AHEAD, 0.3)
    assert {d.id for d in flown.settle(AHEAD).detections} == ids
    values = flown.diagnostics(AHEAD)[2]
    assert values["rejected"] == "1" and values["last_rejection"] == "it is 0.001 s older than the image before it"


def test_one_stamp_that_is_too_far_ahead_does_not_blind_the_node(flown):
    flown.calibrate()
    flown.fly(AHEAD, 0.3)
    now = flown.node.get_clock().now().nanoseconds
    flown.answer(AHEAD, divmod(now + 9 * 10**8, 10**9))
    flown.forget()
    assert flown.fly_until(
        AHEAD, lambda: len(flown.messages("detections")) >= 5 and flown.messages("obstacle_scan"), images=12
    )
    assert flown.diagnostics(AHEAD)[2]["rejected"] == "3"


def test_a_picture_that_stands_still_grows_stale_however_often_it_comes(flown):
    flown.calibrate()
    flown.set_parameter("alerts.warn_range_m", 30.0)
    assert flown.fly_until(AHEAD, lambda: flown.messages("alert"))
    assert flown.messages("alert")[-1].level[0] == 1
    now = flown.node.get_clock().now().to_msg()
    flown.forget()

    def repeat(seconds):
        for _ in range(round(seconds / 0.05)):
            flown.send(AHEAD, (now.sec, now.nanosec))
            flown.spin(0.05)

    repeat(0.3)
    assert flown.wait(lambda: flown.messages("obstacle_scan")), "one repeated now and then is fresh enough"
    repeat(0.7)
    ends = lambda: [m.level[0] for m in flown.messages("alert")][-2:] == [1, 3]  # noqa: E731
    assert flown.wait(ends), "the alert ends, once"
    flown.forget()
    repeat(1.2)
    assert flown.messages("alert") == []
    assert flown.messages("obstacle_scan") == [] and len(flown.messages("detections")) > 10
    assert flown.wait(lambda: flown.messages("diagnostics") or repeat(0.05))
    status = flown.messages("diagnostics")[-1].status[0]
    assert status.level[0] == 2 and "stale" in status.message
    flown.forget()
    assert flown.fly_until(AHEAD, lambda: flown.messages("obstacle_scan"), images=10)


def test_stamps_of_another_clock_are_warned_of_once(flown, log):
    for i in range(5):
        flown.answer(BLACK, (1000, i * 50000000))
    assert warnings(log, "behind the ROS clock") == 1


def test_an_image_full_of_boxes_is_processed_at_the_cameras_rate(flown):
    flown.calibrate()
    white = np.full((HEIGHT, WIDTH), 255, np.uint8)
    flown.fly(white, 1.0)
    flown.forget()
    sent = []
    flown.fly(white, 3.0, rate=15.0, each=lambda: sent.append(1))  # fewer than 45, where this process stood still
    detections = flown.messages("detections")
    assert len(detections) >= 2 * len(sent) / 3 and {len(m.detections) for m in detections} == {48}
    assert len({d.id for m in detections for d in m.detections}) == 48, "nobody changes identity"
    assert len(flown.messages("obstacle_scan")) >= 24


def test_simulated_time_that_jumps_back_starts_tracks_anew(client, bundle, log):
    from rosgraph_msgs.msg import Clock

    with running("node", log, model=bundle, use_sim_time=True):
        clock = client.node.create_publisher(Clock, "/clock", 10)
        client.connect()
        client.calibrate()

        def fly(first):
            for i in range(8):
                msg = Clock()
                msg.clock.sec, msg.clock.nanosec = first, i * 50000000
                clock.publish(msg)
                answer = client.answer(AHEAD, (first, i * 50000000))
            return {d.id for d in answer.detections}

        assert fly(500) == {"1", "2"}
        client.forget()
        assert fly(20) == {"3", "4"}
        assert client.wait(lambda: client.messages("obstacle_scan")) and warnings(log, "went back by") == 1


def test_a_transform_that_comes_late_replaces_the_parameters_mount(client, bundle, log):
    tf2_msgs = pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed (make setup)")
    with running("node", log, model=bundle, **{"obstacles.camera_yaw_deg": -90.0}):
        client.connect()
        client.calibrate()
        assert client.fly_until(AHEAD, lambda: client.messages("obstacles") and positions(client), images=12)
        assert all(y > 9 for _, y, _ in positions(client)), "the parameter: it looks to the left"
        assert warnings(log, "no transform base_link <- cam") == 1
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        static = client.node.create_publisher(tf2_msgs.TFMessage, "/tf_static", latched)
        camera = TransformStamped(child_frame_id="cam")
        camera.header.frame_id = "base_link"
        r = camera.transform.rotation
        r.x, r.y, r.z, r.w = -0.5, 0.5, -0.5, 0.5  # ahead
        camera.transform.translation.x = 2.0
        static.publish(tf2_msgs.TFMessage(transforms=[camera]))

        def ahead():
            found = positions(client)
            return found and all(x == pytest.approx(12.6, rel=0.15) and abs(y) < 2 for x, y, _ in found)

        assert client.fly_until(AHEAD, ahead, images=16)
        assert warnings(log, "no transform") == 1
        assert client.diagnostics(AHEAD)[2]["mount"] == "tf"


def test_the_mount_of_the_parameters_alone_warns_of_nothing(client, bundle, log):
    with running("node", log, model=bundle, mount_from_tf=False):
        client.connect()
        client.fly(AHEAD, 0.3)
    assert warnings(log, "") == 0


def sideways(client, frame="base_link"):
    msg = TwistStamped()
    msg.header.frame_id = frame
    msg.twist.linear.y = 6.0
    return lambda: client.twists.publish(msg)


@pytest.fixture
def warned(client, bundle, log):
    """A node that warns of what is nearer than 15 m, and a publisher of velocities."""
    client.twists = client.node.create_publisher(TwistStamped, "twist", 10)
    with running("node", log, model=bundle, **{"alerts.warn_range_m": 15.0}):
        client.connect()
        client.calibrate()
        yield client


def test_a_velocity_that_stops_coming_is_unknown_and_the_corridor_goes_back_to_the_optical_axis(warned, log):
    warned.fly(BLACK, 0.3, each=sideways(warned))
    warned.fly(AHEAD, 1.0, each=sideways(warned))
    assert warned.messages("alert") == [], "it flies to the left"

    def said():
        reports = [{v.key: v.value for v in m.status[0].values} for m in warned.messages("diagnostics")]
        return any("velocity" in values["ego"] for values in reports)

    assert warned.fly_until(AHEAD, said, images=60, each=sideways(warned)), "said while it came"
    assert warned.fly_until(AHEAD, lambda: warned.messages("alert"), images=24)
    assert warned.messages("alert")[-1].level == b"\x01"
    assert warned.diagnostics(AHEAD)[2]["ego"] == "nothing"


def test_a_velocity_in_a_frame_that_nobody_knows_is_unknown_and_warned_of_once(warned, log):
    each = sideways(warned, "map")
    assert warned.fly_until(AHEAD, lambda: warned.messages("alert"), each=each), "around the optical axis"
    assert warnings(log, "velocity is given in frame 'map'") == 1


def test_odometry_is_heard(client, bundle, log):
    nav_msgs = pytest.importorskip("nav_msgs.msg", reason="nav_msgs is not installed (make setup)")
    odometry = client.node.create_publisher(nav_msgs.Odometry, "odometry", 10)
    msg = nav_msgs.Odometry(child_frame_id="base_link")
    msg.header.frame_id = "odom"
    msg.pose.pose.position.z = 12.0
    with running("node", log, model=bundle, height_source="odometry"):
        client.connect()
        client.fly(BLACK, 1.5, each=lambda: odometry.publish(msg))
        client.received["diagnostics"].clear()
        assert client.wait(lambda: odometry.publish(msg) or client.messages("diagnostics"), 3.0)
        values = {v.key: v.value for v in client.messages("diagnostics")[-1].status[0].values}
    assert values["ego"] == "velocity, angular_velocity, level, height_m"


COLOURED = np.dstack([AHEAD, AHEAD // 2, AHEAD // 4 + 40])


def test_a_gray_model_on_a_colour_camera_is_warned_of_once_and_diagnostics_say_it(flown, log):
    flown.calibrate()
    colour = {"encoding": "rgb8", "step": 3 * WIDTH}
    flown.fly(COLOURED, 1.0, **colour)
    flown.received["diagnostics"].clear()
    assert flown.fly_until(COLOURED, lambda: flown.messages("diagnostics"), images=60, **colour)
    status = flown.messages("diagnostics")[-1].status[0]
    values = {v.key: v.value for v in status.values}
    words = "the images are in colour but the model blob was trained on gray ones"
    assert status.level == b"\x01" and words in status.message and words in values["warnings"]
    assert warnings(log, words) == 1
    flown.fly(AHEAD, 2.0)  # a camera that is switched over
    assert flown.wait(lambda: flown.diagnostics(AHEAD)[0] == 0)


def test_gray_pixels_in_rgb8_are_no_reason_to_warn(flown, log):
    flown.calibrate()
    flown.fly(np.dstack([AHEAD] * 3), 1.0, encoding="rgb8", step=3 * WIDTH)
    assert warnings(log, "the images are") == 0


def test_a_model_of_classes_without_a_known_height_is_told(client, bundle, log):
    with running("node", log, model=bundle, **{"obstacles.classes": "[tree, house, boat]"}):
        client.connect()
        client.calibrate()
        client.fly(AHEAD, 0.6)
        level, text, values = client.diagnostics(AHEAD)
    assert level == 1 and "no class of the model (person, car) has a known height" in values["warnings"]
    assert "set obstacles.classes and obstacles.heights_m" in text and warnings(log, "has a known height") == 1


def test_a_camera_frame_that_is_not_optical_is_told(client, bundle, log):
    tf2_msgs = pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed (make setup)")
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = client.node.create_publisher(tf2_msgs.TFMessage, "/tf_static", latched)
    transform = TransformStamped()
    transform.header.frame_id, transform.child_frame_id = "base_link", "cam"
    publisher.publish(tf2_msgs.TFMessage(transforms=[transform]))  # x forward, as the vehicle's
    with running("node", log, model=bundle):
        client.connect()
        client.calibrate()
        client.fly(AHEAD, 0.6)
        level, _, values = client.diagnostics(AHEAD)
    assert level == 1 and "looks 90 deg up; is 'cam' an optical frame" in values["warnings"]
    assert warnings(log, "optical frame") == 1


@pytest.mark.parametrize("remapped", ["/cam/image_raw", "/cam/image_raw/compressed"])
def test_compressed_images_are_found_by_what_the_hint_says_and_by_the_whole_name(client, bundle, log, remapped):
    from sensor_msgs.msg import CompressedImage

    camera = client.node.create_publisher(CompressedImage, "/cam/image_raw/compressed", 10)
    client.node.destroy_publisher(client.images)
    msg = CompressedImage(format="jpeg", data=cv2.imencode(".jpg", AHEAD)[1].tobytes())

    def fly():
        for _ in range(40):
            msg.header.stamp = client.node.get_clock().now().to_msg()
            camera.publish(msg)
            client.spin(0.05)

    with running("node", log, model=bundle, image_transport="compressed"):
        assert client.wait(lambda: client.messages("diagnostics"), 15)
        fly()
        text = client.messages("diagnostics")[-1].status[0].message
        assert text.rpartition(", or ")[2] == "remap image_raw to one of: /cam/image_raw"
    with running("node", log, model=bundle):
        client.forget()
        words = "set image_transport to compressed"
        assert client.wait(lambda: any(words in m.status[0].message for m in client.messages("diagnostics")), 20), (
            client.messages("diagnostics")
        )
        text = client.messages("diagnostics")[-1].status[0].message
    assert "set image_transport to compressed and remap image_raw to one of: /cam/image_raw" in text
    client.forget()
    with running("node", log, model=bundle, image_transport="compressed", remap={"image_raw": remapped}):
        assert client.wait(lambda: camera.get_subscription_count() > 0, 15)
        fly()
        assert client.messages("detections")[-1].detections
