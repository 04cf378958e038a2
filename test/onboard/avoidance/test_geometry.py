"""Frames: mounts, level attitude and quaternions, by hand-made cases."""

import math

import numpy as np
import pytest

from vit_perception.avoidance.geometry import (
    Ego,
    Mount,
    level_from_angles,
    level_from_quaternion,
    level_from_rotation,
    matrix_from_quaternion,
    rotation_x,
    rotation_y,
    rotation_z,
    turned_image,
    wrap,
)

AXIS, RIGHT, DOWN = np.eye(3)[2], np.eye(3)[0], np.eye(3)[1]  # of an optical frame


@pytest.mark.parametrize(
    ("angles", "forward", "right"),
    [
        ((0, 0, 0), (1, 0, 0), (0, -1, 0)),
        ((90, 0, 0), (0, -1, 0), (-1, 0, 0)),  # looks to the right
        ((-90, 0, 0), (0, 1, 0), (1, 0, 0)),
        ((180, 0, 0), (-1, 0, 0), (0, 1, 0)),
        ((0, -90, 0), (0, 0, -1), (0, -1, 0)),  # looks down
        ((0, 90, 0), (0, 0, 1), (0, -1, 0)),
        ((0, 0, 90), (1, 0, 0), (0, 0, -1)),  # its right side down
    ],
)
def test_mount_angles(angles, forward, right):
    mount = Mount.from_angles(*angles)
    assert mount.rotation @ AXIS == pytest.approx(forward, abs=1e-12)
    assert mount.rotation @ RIGHT == pytest.approx(right, abs=1e-12)


def test_yaw_turns_after_pitch():
    """A camera that looks 30 degrees down and 45 to the right: its image's down stays below its axis."""
    mount = Mount.from_angles(45, -30, 0, (0.1, 0.2, 0.3))
    forward = mount.rotation @ AXIS
    assert forward == pytest.approx(
        [math.cos(math.pi / 6) * math.sqrt(0.5), -math.cos(math.pi / 6) * math.sqrt(0.5), -0.5]
    )
    assert (mount.rotation @ RIGHT)[2] == pytest.approx(0, abs=1e-12)  # no roll
    assert (mount.rotation @ DOWN)[2] < 0
    assert mount.translation == pytest.approx([0.1, 0.2, 0.3])


def test_mount_from_the_usual_optical_quaternion():
    """(-0.5, 0.5, -0.5, 0.5) is base_link <- optical frame of every camera that looks ahead."""
    assert Mount.from_quaternion(-0.5, 0.5, -0.5, 0.5).rotation == pytest.approx(Mount.from_angles().rotation)


@pytest.mark.parametrize("bad", [(0, 0, 0, 0), (math.nan, 0, 0, 1), (math.inf, 0, 0, 1)])
def test_an_unset_orientation_is_none(bad):
    assert matrix_from_quaternion(*bad) is None
    assert Mount.from_quaternion(*bad) is None
    assert level_from_quaternion(*bad) is None


def test_a_mount_without_a_finite_place_is_none():
    assert Mount.from_quaternion(0, 0, 0, 1, (0, math.nan, 0)) is None


def test_quaternions_of_any_length_are_rotations():
    half = math.radians(25)
    q = (0, 0, 3 * math.sin(half), 3 * math.cos(half))
    assert matrix_from_quaternion(*q) == pytest.approx(rotation_z(2 * half))
    assert matrix_from_quaternion(math.sin(half), 0, 0, math.cos(half)) == pytest.approx(rotation_x(2 * half))


@pytest.mark.parametrize("yaw", [0.0, 1.0, -3.0])
def test_level_takes_out_yaw_alone(yaw):
    roll, pitch = 0.2, -0.3  # right side down, nose down
    level = level_from_angles(roll, pitch)
    assert level_from_rotation(rotation_z(yaw) @ level) == pytest.approx(level)
    nose = level @ [1, 0, 0]
    assert nose[1] == pytest.approx(0) and nose[2] == pytest.approx(math.sin(pitch))
    assert (level @ [0, -1, 0])[2] < 0  # the right side is down
    assert level_from_rotation(rotation_z(yaw)) == pytest.approx(np.eye(3))


def test_rotations_are_right_handed():
    assert rotation_x(math.pi / 2) @ [0, 1, 0] == pytest.approx([0, 0, 1])
    assert rotation_y(math.pi / 2) @ [0, 0, 1] == pytest.approx([1, 0, 0])
    assert rotation_z(math.pi / 2) @ [1, 0, 0] == pytest.approx([0, 1, 0])


def test_ego_is_unknown_unless_told():
    ego = Ego()
    assert (ego.velocity, ego.angular_velocity, ego.level, ego.height_m, ego.stamp_s) == (None,) * 5
    known = Ego(velocity=[1, 2, 3]).velocity
    assert known is not None and known.dtype == np.float64


def test_wrap():
    assert [wrap(a) for a in (0.0, math.pi, 3 * math.pi / 2, -math.pi)] == pytest.approx(
        [0, -math.pi, -math.pi / 2, -math.pi]
    )


def test_a_camera_that_turns_right_sees_things_move_left():
    K = np.array([[400.0, 0, 320], [0, 400, 256], [0, 0, 1]])
    right = turned_image(K, np.array([0.0, 0.1, 0.0])).dot([320.0, 256.0, 1.0])  # about y, down: to the right
    assert right[0] / right[2] == pytest.approx(320 - 400 * math.tan(0.1)) and right[1] / right[2] == pytest.approx(256)
