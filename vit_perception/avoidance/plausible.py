"""Can an object of its class stand where this box is? Where height and attitude are known, a ghost seldom can.

A box low in the image and small stands near by the ground and far by its size: it would be a person of a foot's height,
or stand far below the ground. A box above the horizon hangs in the air. Such a box is left out of the scan and alerts
nobody, but only if what else it may be - a small thing on the ground, a big one in the air - passes below or above.
"""

import math

SIGMAS = 3.0  # by which it contradicts its class
CLEAR_SIGMAS = 1.0  # by which it passes: that it contradicts its class is evidence already
HILL = 0.2  # slope of the ground that may lift an object
STEEP = 1.0  # slope of what is seen so much from above that its depth counts
MOST_LOOKS = 0.8  # of a track's looks at which it was impossible: so many make a ghost, one does not


def is_impossible(top, bottom, size, box_noise, height_m, height_sigma_m, angle_sigma, reach_m):
    """Whether nothing of this class can be there, and what else it may be passes above or below the vehicle.

    Args:
        top, bottom: slopes of the upper and lower edge of a box that is whole in view, against gravity.
        size: (height, standard deviation) of the class, metres. box_noise: of the box's height, as a part of it.
        height_m, height_sigma_m: of the camera above the ground. angle_sigma: of the edges' elevation, radians.
        reach_m: of the vehicle above and below base_link, margin included.
    """
    shown = top - bottom
    if not (shown > 0 and size[0] > 0 and height_m > 0 and bottom > -STEEP):
        return False
    by_size, spread = size[0] / shown, math.hypot(size[1] / size[0], box_noise)
    if bottom > SIGMAS * angle_sigma:
        return _hangs(bottom * by_size, by_size, spread, height_m, height_sigma_m, angle_sigma, reach_m)
    if bottom > -SIGMAS * angle_sigma:
        return False
    # It stands on the ground: how high is it then?
    tall = -shown * height_m / bottom
    error = math.hypot(height_sigma_m / height_m, (1 + bottom * bottom) / bottom * angle_sigma)
    too_small = size[0] - tall > SIGMAS * math.hypot(size[1], tall * math.hypot(box_noise, error))
    as_small = tall - height_m + CLEAR_SIGMAS * math.hypot(height_sigma_m, tall * box_noise)
    as_its_class = top * by_size * (1.0 - min(CLEAR_SIGMAS * spread, 0.9))
    return too_small and as_small < -reach_m and as_its_class < -reach_m


def _hangs(foot, distance, spread, height_m, height_sigma_m, angle_sigma, reach_m):
    """Whether what is `distance` away has its foot so high that no hill lifts it, and passes above."""
    sigma = math.hypot(foot * spread, distance * angle_sigma)
    ground = HILL * distance - height_m + SIGMAS * math.hypot(sigma, height_sigma_m)
    return foot > ground and foot - CLEAR_SIGMAS * sigma > reach_m
