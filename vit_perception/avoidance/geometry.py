"""Frames: where a camera sits in the vehicle, how the vehicle moves, and rotations between them.

base_link is FLU (x forward, y left, z up; REP 103). An optical frame is x right, y down, z forward. The level frame is
FLU with the vehicle's yaw, its z against gravity. A rotation (3, 3) "a -> b" maps vectors: v_b = R @ v_a.
"""

import math

import numpy as np

# Optical frame -> FLU of a camera that looks ahead: forward = z, left = -x, up = -y.
OPTICAL_TO_FLU = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


class Mount:
    """Where a camera sits.

    Attributes:
        rotation (3, 3) float64: optical frame -> base_link.
        translation (3,) float64: of the camera's centre in base_link, metres.
    """

    __slots__ = ("rotation", "translation")

    def __init__(self, rotation, translation=(0.0, 0.0, 0.0)):
        self.rotation = np.array(rotation, np.float64).reshape(3, 3)
        self.translation = np.array(translation, np.float64).reshape(3)

    @classmethod
    def from_angles(cls, yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0, translation=(0.0, 0.0, 0.0)):
        """A camera that looks `yaw_deg` to the right and `pitch_deg` up; positive roll lowers its right side."""
        yaw, pitch, roll = (math.radians(a) for a in (yaw_deg, pitch_deg, roll_deg))
        return cls(rotation_z(-yaw).dot(rotation_y(-pitch)).dot(rotation_x(roll)).dot(OPTICAL_TO_FLU), translation)

    @classmethod
    def from_quaternion(cls, x, y, z, w, translation=(0.0, 0.0, 0.0)):
        """From the transform base_link <- optical frame as TF gives it; None if the quaternion is no rotation."""
        rotation = matrix_from_quaternion(x, y, z, w)
        if rotation is None or not np.isfinite(np.array(translation, np.float64)).all():
            return None
        return cls(rotation, translation)


class Ego:
    """What is known of the vehicle at one moment; every attribute may be None.

    Attributes:
        velocity (3,): m/s in base_link. angular_velocity (3,): rad/s in base_link.
        level (3, 3): rotation base_link -> level frame.
        height_m (float): of base_link above the ground.
        stamp_s (float): of this knowledge.
    """

    __slots__ = ("velocity", "angular_velocity", "level", "height_m", "stamp_s")

    def __init__(self, velocity=None, angular_velocity=None, level=None, height_m=None, stamp_s=None):
        self.velocity = None if velocity is None else np.array(velocity, np.float64).reshape(3)
        self.angular_velocity = None if angular_velocity is None else np.array(angular_velocity, np.float64).reshape(3)
        self.level = None if level is None else np.array(level, np.float64).reshape(3, 3)
        self.height_m, self.stamp_s = height_m, stamp_s


def rotation_x(angle):
    """Right-handed rotation (3, 3) about x by `angle` radians."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def rotation_y(angle):
    """Right-handed rotation (3, 3) about y by `angle` radians."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def rotation_z(angle):
    """Right-handed rotation (3, 3) about z by `angle` radians."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def rotation_about(vector):
    """Rotation (3, 3) about `vector` by its length in radians (Rodrigues)."""
    angle = max(norm(vector), 1e-12)
    x, y, z = (vector / angle).tolist()
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * cross.dot(cross)


def turned_image(K, angle):
    """Homography (3, 3) of pixels when a pinhole camera turns: K R' K^-1 (Hartley and Zisserman, 2004, 8.4).

    Args:
        K: (3, 3) pixels. angle: (3,) radians, what it turned about the axes of its optical frame.
    """
    return K.dot(rotation_about(-angle)).dot(np.linalg.inv(K))


def matrix_from_quaternion(x, y, z, w):
    """Rotation (3, 3) of a quaternion of any length; None if it is zero or not finite (an unset orientation)."""
    length = math.sqrt(x * x + y * y + z * z + w * w)
    if not (math.isfinite(length) and length > 1e-6):
        return None
    x, y, z, w = (v / length for v in (x, y, z, w))
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def level_from_rotation(rotation):
    """The rotation base_link -> level of a rotation base_link -> world with z up: its yaw is taken out."""
    rotation = np.array(rotation, np.float64).reshape(3, 3)
    return rotation_z(-math.atan2(rotation[1, 0], rotation[0, 0])).dot(rotation)


def level_from_quaternion(x, y, z, w):
    """The same of an orientation as nav_msgs/Odometry gives it; None if the quaternion is no rotation."""
    rotation = matrix_from_quaternion(x, y, z, w)
    return None if rotation is None else level_from_rotation(rotation)


def level_from_angles(roll, pitch):
    """Rotation base_link -> level of a body that rolled right side down and pitched nose UP, radians."""
    return rotation_y(-pitch).dot(rotation_x(roll))


def norm(vector):
    """Length of a (3,) vector as a float; on three numbers much faster than np.linalg.norm."""
    return float(np.sqrt(vector.dot(vector)))


def cross(a, b):
    """Cross product of two (3,) vectors; much faster than np.cross."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def wrap(angle):
    """`angle` in [-pi, pi), radians."""
    return (angle + math.pi) % (2 * math.pi) - math.pi
