"""PX4's own position and attitude, through px4_msgs, for finds: what its uXRCE-DDS client publishes.

Stamps are timestamp_sample, when it was measured; the client converts both stamps to the ROS system clock, unless
UXRCE_DDS_SYNCT is 0. VehicleOdometry is not read: its position counts from where the estimator began.
"""

import math
from typing import List

import numpy as np

from ..avoidance.geometry import matrix_from_quaternion

try:
    from px4_msgs.msg import VehicleAttitude, VehicleGlobalPosition
except ImportError:
    VehicleAttitude = VehicleGlobalPosition = None

POSITION, ATTITUDE = "/fmu/out/vehicle_global_position", "/fmu/out/vehicle_attitude"
ENU_OF_NED = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
FRD_OF_FLU = np.diag([1.0, -1.0, -1.0])


def of_attitude(msg):
    """A px4_msgs/VehicleAttitude as [(name of a method of `finds.search.Search`, arguments)]."""
    w, x, y, z = (float(v) for v in msg.q)
    turned = matrix_from_quaternion(x, y, z, w)
    rotation = None if turned is None else ENU_OF_NED.dot(turned).dot(FRD_OF_FLU)
    return [("add_orientation", (1e-6 * msg.timestamp_sample, rotation))]


def of_position(msg, with_height, warn):
    """A px4_msgs/VehicleGlobalPosition, the same.

    Args:
        with_height: take the height above ground from it too, where PX4 knows how high the ground is.
        warn: warn(kind, sentence), which throttles.
    """
    stamp_s = 1e-6 * msg.timestamp_sample
    if not getattr(msg, "lat_lon_valid", True):  # PX4 before 1.16 publishes only what is valid
        warn("finds_fix", "PX4 says that its position is not valid: no finds until it is")
        return []
    sigma = float(msg.eph) if math.isfinite(msg.eph) and msg.eph > 0 else None
    calls: List[tuple] = [("add_fix", (stamp_s, msg.lat, msg.lon, float(msg.alt_ellipsoid), sigma))]
    if with_height:
        if msg.terrain_alt_valid and getattr(msg, "alt_valid", True):
            calls.append(("add_height", (stamp_s, float(msg.alt) - float(msg.terrain_alt))))
        else:
            text = "PX4 does not know its height above ground: no finds without it; add a range finder, or set {}"
            warn("finds_height", text.format("height_source"))
    return calls
