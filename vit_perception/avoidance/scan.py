"""Obstacles -> the scan that an autopilot takes: the nearest range in each of 72 directions."""

import math

import numpy as np

BINS = 72  # what PX4 and ArduPilot take without rescaling: 72 rays, 5 degrees apart
ANGLE_MIN = -math.pi
ANGLE_INCREMENT = math.radians(5.0)


def make_scan(
    obstacles, field_of_view=None, range_min=0.5, range_max=40.0, publish_clear=False, max_height_difference=0.0,
    unranged_width=0.0,
):  # fmt: skip
    """The scan an autopilot takes: nearest range per 5 degree ray.

    Ray i looks along angle -pi + i * 5 degrees, CLOCKWISE seen from above (frame FRD): ray 36 is straight
    ahead, 37 is 5 degrees to the right, 0 is straight back. Each ray stands for the 2.5 degrees on its either
    side. An obstacle fills the rays of its box and one more on each side, its range clamped to
    [range_min, range_max], its end as `range_end` says.

    Args:
        obstacles: list of Obstacle. One without range is not put in; its rays are unknown rather than clear.
        field_of_view: (left, right) bearings of what the camera sees, radians; None if uncalibrated.
        publish_clear: say "clear" (`clear_range(range_max)`) where the camera looks and nothing was detected. A
            detector that sees nothing is no proof of free space.
        max_height_difference: metres; an obstacle that is surely (2 sigma) farther above or below base_link is
            not put in. 0 keeps all: an autopilot that climbs or descends knows nothing of what was left out.
        unranged_width: metres; where more than 0, an obstacle without range counts as so wide, and is put in where
            that makes it. For an autopilot that takes unknown for free.

    Returns:
        (72,) float32 metres; NaN is unknown.
    """
    scan = np.full(BINS, np.nan, np.float32)
    if publish_clear and field_of_view is not None:
        # Only rays whose whole 5 degrees are in view.
        first = int(math.ceil((field_of_view[0] - ANGLE_MIN) / ANGLE_INCREMENT + 0.5))
        last = int(math.floor((field_of_view[1] - ANGLE_MIN) / ANGLE_INCREMENT - 0.5))
        scan[np.arange(first, last + 1) % BINS] = clear_range(range_max)
    placed = [o for o in obstacles if _has_sector(o) and not _passes(o, max_height_difference)]
    ranges = [o.range_m if _ranged(o) else _as_if_wide(o.sector, unranged_width) for o in placed]
    for o, distance in zip(placed, ranges):
        if distance is None:
            scan[sector_bins(o.sector)] = np.nan
    for o, distance in zip(placed, ranges):
        if distance is not None:
            bins = sector_bins(o.sector)
            scan[bins] = np.fmin(scan[bins], min(max(distance, range_min), range_end(range_max)))
    return scan


def sector_bins(sector):
    """Indices of the rays that cover the bearings from left clockwise to right, widened by one on each side.

    left > right means that the sector lies across straight back; right - left of a whole turn means all rays.
    """
    left, right = sector
    if right < left:
        right += 2 * math.pi
    first, last = (int(math.floor((angle - ANGLE_MIN) / ANGLE_INCREMENT + 0.5)) for angle in (left, right))
    return np.arange(first - 1, min(last + 2, first - 1 + BINS)) % BINS


def clear_range(range_max):
    """What "clear" is in the scan: range_max + 0.01, so that max_distance + 1 cm arrives in an autopilot.

    Rounded up, because mavros cuts off to whole centimetres: the float32 below 40.01 m would arrive as 40.00 m, which
    ArduPilot takes for an obstacle.
    """
    return (1 + 2.0**-23) * np.float32(range_max + 0.01)


def range_end(range_max):
    """The largest range that is no more than range_max in whole centimetres, as mavros cuts both.

    mavros cuts the limit, a float32 times 100, but rounds a range to float32 before it cuts it: 5.02 m would arrive as
    502 cm above a limit of 501, and ArduPilot skips what is beyond the limit.
    """
    return min(range_max, 0.01 * (int(100.0 * float(np.float32(range_max))) + 0.4))


def horizon_in_view(camera, mount, level=None):
    """(left, right) bearings between which the camera sees the vehicle's own height, or None where it does not.

    A camera that looks steeply down sees no such direction: what it does not detect is no free way ahead.

    Args:
        camera: `vit_perception.avoidance.camera.Camera`. mount: `vit_perception.avoidance.geometry.Mount`.
        level: (3, 3) base_link -> level frame; None takes the vehicle as level.
    """
    to_optical = mount.rotation.T if level is None else mount.rotation.T.dot(np.transpose(level))
    axis = to_optical[2]  # the optical axis in the level frame, FLU
    ahead = math.atan2(-axis[1], axis[0])
    bearings = ahead + np.radians(np.arange(-180.0, 180.0, 0.5))
    directions = np.stack([np.cos(bearings), -np.sin(bearings), np.zeros(len(bearings))])
    x, y, z = to_optical.dot(directions)
    left, top, right, bottom = _image_bounds(camera)
    seen = (z > 1e-6) & (x >= left * z) & (x <= right * z) & (y >= top * z) & (y <= bottom * z)
    middle = len(bearings) // 2
    if not seen[middle]:  # the camera's own direction; views that leave it out, by roll, count as none
        return None
    gaps = np.flatnonzero(~seen)
    before, after = gaps[gaps < middle], gaps[gaps > middle]
    first = before[-1] + 1 if len(before) else 0
    last = after[0] - 1 if len(after) else len(bearings) - 1
    return float(bearings[first]), float(bearings[last])


def _image_bounds(camera):
    """(left, top, right, bottom) of x / z and y / z that the whole image border encloses."""
    w, h = float(camera.width), float(camera.height)
    ends = np.linspace(0.0, 1.0, 5)
    sides = [[(0.0, h * t) for t in ends], [(w, h * t) for t in ends], [(w * t, 0.0) for t in ends]]
    sides.append([(w * t, h) for t in ends])
    rays = camera.rays(np.array(sides, np.float64).reshape(-1, 2)).reshape(4, 5, 3)
    return rays[0, :, 0].max(), rays[2, :, 1].max(), rays[1, :, 0].min(), rays[3, :, 1].min()


def _has_sector(obstacle):
    return obstacle.sector is not None and all(map(math.isfinite, obstacle.sector))


def _ranged(obstacle):
    return obstacle.range_m is not None and math.isfinite(obstacle.range_m)


def _as_if_wide(sector, width):
    """Range at which something `width` metres wide would take this sector; None if width is 0."""
    return width / max((sector[1] - sector[0]) % (2 * math.pi), 1e-3) if width > 0 else None


def _passes(obstacle, max_height_difference):
    """Whether the obstacle is surely farther above or below than `max_height_difference`, unless that is 0."""
    if max_height_difference <= 0 or getattr(obstacle, "position", None) is None:
        return False
    sigma = 0.0 if obstacle.covariance is None else math.sqrt(max(float(obstacle.covariance[2][2]), 0.0))
    return abs(float(obstacle.position[2])) - 2 * sigma > max_height_difference
