"""The vehicle's pose at an image's stamp: between two messages, never beyond them."""

import numpy as np
import pytest

from vit_perception.avoidance.geometry import rotation_x, rotation_z
from vit_perception.finds.poses import Poses, between


def filled(poses=None, until=3.0, begin=0.0):
    poses = poses or Poses()
    for t in np.arange(begin, until + 1e-9, 0.2):
        poses.add_position(t, 5.0 * t, -2.0 * t)
        poses.add_orientation(t, rotation_z(0.5 * t))
        poses.add_height(t, 30.0 + t)
    return poses


def test_everything_is_interpolated_to_the_images_stamp():
    pose = filled().at(1.3)
    assert pose.position == pytest.approx([6.5, -2.6])
    assert pose.height_m == pytest.approx(31.3)
    assert np.allclose(pose.rotation, rotation_z(0.65))


def test_nothing_is_carried_on_beyond_the_newest_message():
    poses = filled(until=3.0)
    assert poses.at(3.05) is None and poses.waits(3.05)
    assert poses.at(-0.1) is None and not poses.waits(-0.1)


def test_an_offset_of_the_clocks_is_taken_into_account():
    assert filled(Poses(offset_s=0.5)).at(1.0).position == pytest.approx([7.5, -3.0])


def test_a_gap_is_not_bridged():
    poses = filled(until=1.0)
    poses = filled(poses, begin=2.0, until=3.0)
    assert poses.at(1.5) is None, "no orientation for a second"
    assert poses.missing(1.5) == "the orientation with heading has a gap at the image's stamp"


def test_what_is_missing_has_a_name():
    poses = Poses()
    poses.add_position(0.0, 0.0, 0.0)
    assert poses.missing(0.0) == "no orientation with heading, no height above ground has come"
    assert "image stamps are 7.0 s ahead of the vehicle's" in filled().missing(10.0)
    assert "image stamps are 8.0 s behind the vehicle's" in filled(begin=4.0, until=8.0).missing(0.0)


def test_one_position_that_jumps_is_left_out_and_three_that_agree_are_believed():
    poses = filled()
    assert "jumped by 501 m" in poses.add_position(3.2, 516.0, -6.4)
    assert poses.add_position(3.4, 17.0, -6.8) == ""
    assert poses.at(3.3) is None or np.hypot(*(poses.at(3.3).position - (16.5, -6.6))) < 0.1
    said = [poses.add_position(t, 5.0 * t + 500.0, -2.0 * t) for t in (3.6, 3.8, 4.0)]
    assert "not believed" in said[0] and "stays there" in said[2]
    poses.add_orientation(4.0, rotation_z(2.0))
    poses.add_height(4.0, 34.0)
    assert poses._series["position"].newest[0] == pytest.approx([520.0, -8.0])


def test_a_clock_that_was_set_begins_anew():
    poses = filled(begin=1000.0, until=1003.0)
    poses = filled(poses, begin=10.0, until=12.0)
    assert poses.at(11.0).position == pytest.approx([55.0, -22.0])


@pytest.mark.parametrize("part", [0.0, 0.3, 1.0])
def test_rotations_are_turned_about_one_axis(part):
    first = rotation_z(0.4) @ rotation_x(0.2)
    second = first @ rotation_x(0.6)
    assert np.allclose(between(first, second, part), first @ rotation_x(0.6 * part))
