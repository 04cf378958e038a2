"""Readers of the scan, as the autopilots read it.

They are written from the documented formulas of their sources, in single precision where those compute so: mavros 2.12
`obstacle_distance` plugin; PX4 `CollisionPrevention` (map of 36 x 10 degrees) and its MAVLink receiver; ArduPilot
`AP_Proximity_MAV` and `AP_Proximity_Boundary_3D` (8 faces of 45 degrees). None of them uses anything of
`vit_perception.avoidance.scan`.
"""

import math
from types import SimpleNamespace

import numpy as np

UNKNOWN = 65535
f32 = np.float32


def mavros_distances(scan, range_min, range_max):
    """OBSTACLE_DISTANCE that mavros makes of a LaserScan with these ranges, angle_min -pi and 5 degrees."""
    assert len(scan) <= 72, "more would be pooled"
    distances = []
    for value in scan.astype(f32):
        cm = f32(float(value) * 1e2)
        distances.append(UNKNOWN if np.isnan(cm) or cm >= UNKNOWN or cm < 0 else int(cm))
    return SimpleNamespace(
        distances=distances + [UNKNOWN] * (72 - len(distances)),
        increment=f32(float(f32(math.radians(5))) * 180 / math.pi),
        angle_offset=f32(float(f32(-math.pi)) * 180 / math.pi),
        min_distance=int(float(f32(range_min)) * 1e2),
        max_distance=int(float(f32(range_max)) * 1e2),
    )


def wrap_360(angle):
    return angle % f32(360)


def px4_map(message):
    """The 36 distances in centimetres, 10 degrees apart and clockwise from ahead, of an empty map that takes it."""
    factor = f32(1) / f32(message.increment)
    filled = []
    for i in range(36):
        index = int(np.ceil(wrap_360(f32(i * 10) - f32(message.angle_offset)) * factor))
        filled.append(message.distances[index])  # an index past the array would raise here
    return filled


def ardupilot_faces(message):
    """{face: (distance in metres, yaw in degrees)} of the 8 faces of 45 degrees, 0 ahead, clockwise."""
    total = int(min(f32(360) / abs(f32(message.increment)) + f32(0.5), 72))
    faces = {}
    for j in range(total):
        cm = message.distances[j]
        if cm in (0, UNKNOWN) or not message.min_distance <= cm <= message.max_distance:
            continue
        yaw = wrap_360(f32(j) * f32(message.increment) + wrap_360(f32(message.angle_offset)))
        face = int(wrap_360(yaw + f32(22.5)) / f32(45))
        if face not in faces or cm * 0.01 < faces[face][0]:
            faces[face] = (cm * 0.01, float(yaw))
    return faces


def obstacle(left, right, range_m, height=None):
    """What `make_scan` needs of an obstacle; angles in degrees."""
    position = None if height is None else np.array([range_m, 0.0, height])
    sector = (math.radians(left), math.radians(right))
    return SimpleNamespace(sector=sector, range_m=range_m, position=position, covariance=np.eye(3) * 0.25)


def random_obstacles(rng, count):
    for _ in range(count):
        left = rng.choice([rng.uniform(-180, 180), rng.uniform(150, 210), 5.0 * rng.integers(-36, 36)])
        right = left + rng.choice([0.0, rng.uniform(0, 3), rng.uniform(0, 40)])
        yield left, right, rng.choice([rng.uniform(0.5, 40.0), rng.uniform(0.1, 0.6), rng.uniform(39, 90)])
