"""Range of one box: by its class's known height, by where it stands on the ground, and both fused. Metres, radians.

A slope is the tangent of an elevation against gravity: negative below the horizon. Ranges are horizontal distances from
the camera. Each comes as (range, sigma), or None where nothing can be said.
"""

import math

# How deep an object is, as a part of its width in the image, and the spread of it: 2.5 for a car from the front, 0.4
# from its side. Seen from above, the depth adds to the height in the image.
DEPTH, DEPTH_SPREAD = 1.0, 0.6
LEAST_SHOWN = 0.3  # of the height in the image must be the object's height rather than its depth
LEAST_SLOPE_SIGMAS = 3.0  # a ray to the ground must dip by so many sigmas of its angle
DISAGREE = 3.0  # sigmas


def range_from_size(top, bottom, width, size, box_noise, level_sigma=0.0):
    """Range of an upright object of known height: H = d (slope of its top - slope of its bottom), plus its depth.

    Near the horizon this is Z = f H / h with (sigma_Z / Z)^2 = (sigma_H / H)^2 + (sigma_h / h)^2.

    Args:
        top, bottom: slopes of the middles of the box's upper and lower edge.
        width: of the box, 2 tan(angle / 2).
        size: (height, standard deviation) of such objects.
        box_noise: standard deviation of the box's height, as a part of it.
        level_sigma: of the attitude, radians.
    """
    height, spread = size[0], size[1]
    shown, middle = top - bottom, 0.5 * abs(top + bottom)
    depth = DEPTH * width * math.hypot(1.0, middle) * middle
    upright = shown - depth
    if not (shown > 0 and height > 0 and upright > LEAST_SHOWN * shown):
        return None
    distance = height / upright
    error = math.hypot(math.hypot(box_noise, 2 * middle * level_sigma) * shown, DEPTH_SPREAD / DEPTH * depth) / upright
    return distance, distance * math.hypot(spread / height, error)


def range_from_ground(bottom, height_m, height_sigma_m, angle_sigma):
    """Range of what stands on flat ground: the ray through the box's lower edge meets the ground at d = -h / slope.

    Args:
        bottom: slope of the middle of the box's lower edge.
        height_m, height_sigma_m: of the camera above the ground.
        angle_sigma: standard deviation of that ray's elevation: attitude and box.

    Returns:
        None too if the ray comes near the horizon, where a small error of the angle is a large one of the range.
    """
    if not (height_m > 0 and -bottom > math.tan(min(LEAST_SLOPE_SIGMAS * angle_sigma, 1.5))):
        return None
    distance = -height_m / bottom
    return distance, distance * math.hypot(height_sigma_m / height_m, (1 + bottom * bottom) / bottom * angle_sigma)


def fuse(first, second):
    """Both ranges, weighted by inverse variance. If they contradict, the nearer one with the larger sigma: safer."""
    if first is None or second is None:
        return second if first is None else first
    (a, sigma_a), (b, sigma_b) = first, second
    if abs(a - b) > DISAGREE * math.hypot(sigma_a, sigma_b):
        return min(a, b), max(sigma_a, sigma_b)
    weight_a, weight_b = 1.0 / max(sigma_a**2, 1e-12), 1.0 / max(sigma_b**2, 1e-12)
    return (weight_a * a + weight_b * b) / (weight_a + weight_b), (weight_a + weight_b) ** -0.5
