"""The vehicle's topics -> velocity, attitude, height and the camera's mount in base_link."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")

from geometry_msgs.msg import PoseStamped, TransformStamped, TwistStamped  # noqa: E402
from sensor_msgs.msg import Range  # noqa: E402

from vit_perception.avoidance.geometry import Mount  # noqa: E402
from vit_perception.ros.ego import EgoInputs  # noqa: E402
from vit_perception.ros.transforms import StaticTransforms  # noqa: E402

NOW = 100.0
OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # x, y, z, w of a forward camera's optical frame in its body frame


def quaternion(yaw=0.0, pitch=0.0):
    """x, y, z, w of a yaw to the left and a nose-down pitch, radians (REP 103)."""
    cy, sy, cp, sp = math.cos(yaw / 2), math.sin(yaw / 2), math.cos(pitch / 2), math.sin(pitch / 2)
    return -sy * sp, cy * sp, sy * cp, cy * cp


def odometry(
    velocity=(1.0, 2.0, 3.0), orientation=(0.0, 0.0, 0.0, 1.0), z=20.0, child="base_link", rates=(0.0, 0.0, 0.5)
):
    """The fields of nav_msgs/Odometry, of real messages where geometry_msgs has them."""
    pose, twist = PoseStamped().pose, TwistStamped().twist
    pose.position.z = z
    o = pose.orientation
    o.x, o.y, o.z, o.w = orientation
    twist.linear.x, twist.linear.y, twist.linear.z = velocity
    twist.angular.x, twist.angular.y, twist.angular.z = rates
    header = PoseStamped().header
    header.frame_id, header.stamp.sec = "odom", 50
    return SimpleNamespace(
        header=header, child_frame_id=child, pose=SimpleNamespace(pose=pose), twist=SimpleNamespace(twist=twist)
    )


def twist(frame, velocity=(1.0, 0.0, 0.0)):
    msg = TwistStamped()
    msg.header.frame_id, msg.header.stamp.sec = frame, 51
    msg.twist.linear.x, msg.twist.linear.y, msg.twist.linear.z = velocity
    return msg


def transform(parent, child, rotation=(0.0, 0.0, 0.0, 1.0), translation=(0.0, 0.0, 0.0)):
    msg = TransformStamped(child_frame_id=child)
    msg.header.frame_id = parent
    r, t = msg.transform.rotation, msg.transform.translation
    r.x, r.y, r.z, r.w = rotation
    t.x, t.y, t.z = translation
    return SimpleNamespace(transforms=[msg])


@pytest.fixture
def said():
    return []


@pytest.fixture
def inputs(said):
    return EgoInputs("base_link", "none", lambda kind, text: said.append(kind))


def test_nothing_is_known_without_messages(inputs, said):
    assert inputs.ego(NOW) is None and inputs.known(NOW) == "nothing" and said == []


def test_odometry_gives_velocity_rates_and_tilt(inputs):
    inputs.take("odometry", odometry(orientation=quaternion(yaw=1.0, pitch=0.3)), NOW)
    ego = inputs.ego(NOW + 0.1)
    np.testing.assert_allclose(ego.velocity, [1, 2, 3])
    np.testing.assert_allclose(ego.angular_velocity, [0, 0, 0.5])
    # Its yaw is out, its pitch is in: the nose points down.
    np.testing.assert_allclose(ego.level.dot([1, 0, 0]), [math.cos(0.3), 0, -math.sin(0.3)], atol=1e-12)
    assert ego.height_m is None and ego.stamp_s == 50
    assert inputs.known(NOW) == "velocity, angular_velocity, level"


def test_what_is_stale_is_unknown(inputs):
    inputs.take("odometry", odometry(), NOW)
    assert inputs.ego(NOW + 0.45) is not None and inputs.ego(NOW + 0.55) is None
    inputs.take("twist", twist("base_link"), NOW + 0.5)
    np.testing.assert_allclose(inputs.ego(NOW + 0.6).velocity, [1, 0, 0])


def test_a_velocity_in_the_world_is_turned_by_the_attitude(inputs, said):
    inputs.take("odometry", odometry(velocity=(math.nan,) * 3, orientation=quaternion(yaw=math.pi / 2)), NOW)
    inputs.take("twist", twist("odom", (0.0, 5.0, 0.0)), NOW)
    np.testing.assert_allclose(inputs.ego(NOW).velocity, [5, 0, 0], atol=1e-12)  # it looks along the world's y
    assert said == []


def test_a_velocity_in_a_connected_frame_is_turned_by_the_transform(inputs):
    inputs.on_transforms(transform("base_link", "base_link_frd", (1.0, 0.0, 0.0, 0.0)))
    inputs.take("odometry", odometry(child="base_link_frd"), NOW)
    np.testing.assert_allclose(inputs.ego(NOW).velocity, [1, -2, -3], atol=1e-12)


def test_a_turned_sensors_velocity_is_turned_back(inputs):
    inputs.on_transforms(transform("base_link", "imu", quaternion(yaw=math.pi / 2)))  # its x is the vehicle's left
    inputs.take("twist", twist("imu", (4.0, 0.0, 0.0)), NOW)
    np.testing.assert_allclose(inputs.ego(NOW).velocity, [0, 4, 0], atol=1e-12)


def test_a_velocity_in_an_unknown_frame_is_not_used_and_said_once(inputs, said):
    inputs.take("twist", twist("map"), NOW)
    assert inputs.ego(NOW) is None and said == ["velocity"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e160])
def test_what_is_no_number_is_unknown(inputs, bad):
    inputs.take("odometry", odometry(velocity=(bad, 0.0, 0.0), orientation=(bad, 0.0, 0.0, 1.0)), NOW)
    ego = inputs.ego(NOW)
    assert ego.velocity is None and ego.level is None and ego.angular_velocity is not None
    inputs.take("odometry", odometry(orientation=(0.0, 0.0, 0.0, 0.0)), NOW)  # an attitude that nobody set
    assert inputs.ego(NOW).level is None


def height_of(source, msg, said, name="height"):
    inputs = EgoInputs("base_link", source, lambda kind, text: said.append(kind))
    inputs.take("odometry", odometry(orientation=quaternion(pitch=0.5)), NOW)
    if msg is not None:
        inputs.take(name, msg, NOW)
    return inputs.ego(NOW).height_m


def test_height_comes_from_the_chosen_source_alone(said):
    pose = PoseStamped()
    pose.pose.position.z = 8.0
    down = Range(min_range=0.2, max_range=30.0, range=10.0)
    assert height_of("none", pose, said) is None
    assert height_of("odometry", None, said) == 20.0
    assert height_of("pose", pose, said) == 8.0
    assert height_of("range", down, said) == pytest.approx(10 * math.cos(0.5))
    for reading in (0.1, 30.5, math.inf, math.nan):
        assert height_of("range", Range(min_range=0.2, max_range=30.0, range=reading), said) is None
    for z in (-3.0, 1e160, math.nan):  # below ground: it is not above ground that this tells
        pose.pose.position.z = z
        assert height_of("pose", pose, said) is None


def test_the_mount_is_chained_through_static_transforms(inputs, said):
    assert inputs.mount("cam_optical") is None and said == ["mount"]
    inputs.on_transforms(transform("base_link", "gimbal", translation=(0.1, 0.0, -0.2)))
    inputs.on_transforms(transform("gimbal", "cam", quaternion(yaw=-0.3, pitch=0.5), (0.05, 0.0, 0.0)))
    inputs.on_transforms(transform("cam", "cam_optical", OPTICAL))
    mount = inputs.mount("cam_optical")  # it came late, and is taken
    expected = Mount.from_angles(math.degrees(0.3), math.degrees(-0.5))
    np.testing.assert_allclose(mount.rotation, expected.rotation, atol=1e-12)
    np.testing.assert_allclose(mount.translation, [0.15, 0, -0.2], atol=1e-12)
    assert inputs.mount("cam_optical") is mount and said == ["mount"]


@pytest.mark.parametrize(
    ("rotation", "words"),
    [
        (OPTICAL, ""),
        ((0.0, 0.0, 0.0, 1.0), "looks 90 deg up"),  # x forward, z up
        (quaternion(yaw=1.0), "looks 90 deg up"),
        (quaternion(pitch=0.4), "looks 67 deg up"),
        (quaternion(pitch=math.pi / 2), "lies on its side"),  # the body of a camera that looks down
        ((0.0, 1.0, 0.0, 0.0), ""),  # an optical frame that looks down, its x back
        ((math.sqrt(0.5), -math.sqrt(0.5), 0.0, 0.0), ""),  # the same, x to the right
    ],
)
def test_a_camera_frame_that_is_not_optical_is_known_by_its_geometry(inputs, said, rotation, words):
    inputs.on_transforms(transform("base_link", "cam", rotation))
    assert inputs.mount("cam") is not None and said == []
    assert inputs.mount_problem == "" if not words else words in inputs.mount_problem
    assert not words or "is 'cam' an optical frame (z forward" in inputs.mount_problem


@pytest.mark.parametrize(
    "angles", [(0, 0, 0), (180, 0, 0), (90, -30, 0), (0, -90, 0), (0, 40, 0), (0, 0, 180), (0, -45, 20)]
)
def test_mounts_that_drones_have_are_no_problem(angles):
    from vit_perception.ros.ego import _frame_problem

    assert _frame_problem("cam", Mount.from_angles(*angles)) == ""


def test_ranges_without_limits_are_taken_and_said(said):
    for low, high in ((0.0, 0.0), (math.nan, math.nan), (0.0, math.nan), (5.0, 1.0)):
        down = Range(min_range=low, max_range=high, range=10.0)
        assert height_of("range", down, said) == pytest.approx(10 * math.cos(0.5))
    assert said == ["range_limits"] * 4
    assert height_of("range", Range(range=math.inf), said) is None


def test_transforms_that_are_none_are_ignored_with_a_warning(inputs, said):
    for bad in (
        transform("base_link", "cam", (0.0, 0.0, 0.0, 0.0)),
        transform("base_link", "cam", translation=(math.nan, 0.0, 0.0)),
        transform("cam", "cam"),
    ):
        inputs.on_transforms(bad)
    assert said == ["transform"] * 3 and inputs.mount("cam") is None


def test_frames_are_found_up_and_down_the_tree_and_loops_end():
    tree = StaticTransforms()
    tree.set("root", "/base", quaternion(yaw=0.5), (1.0, 2.0, 3.0))
    tree.set("/root", "cam", OPTICAL, (4.0, 0.0, 0.0))
    there, back = tree.find("base", "cam"), tree.find("cam", "base")
    np.testing.assert_allclose(there[0].dot(back[0]), np.identity(3), atol=1e-12)
    np.testing.assert_allclose(there[0].dot(back[1]) + there[1], np.zeros(3), atol=1e-12)
    tree.set("cam", "lens", quaternion(), (0.0, 0.0, 0.1))  # along the optical axis: the root's x
    np.testing.assert_allclose(tree.find("root", "lens")[1], [4.1, 0, 0], atol=1e-12)
    assert tree.find("base", "nowhere") is None
    tree.set("a", "b", OPTICAL, (0.0, 0.0, 0.0))
    tree.set("b", "a", OPTICAL, (0.0, 0.0, 0.0))
    assert tree.find("a", "base") is None and tree.find("a", "b") is not None
