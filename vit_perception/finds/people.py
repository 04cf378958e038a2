"""How people move: whether a find stands, walks, or moves as nobody on foot does."""

import math

import numpy as np

WALKERS = 0.3  # share of people who walk, before anything was seen of them; a guess, as both speeds are
STANDS_MPS, PACE_MPS = 0.3, 0.9  # standard deviation of each axis of the speed of who stands and who walks
FASTEST_MPS = 3.0  # whoever is probably faster is no person on foot
CARRIED = math.log(3.0)  # a stain is so much likelier


def speeds(find):
    """(logarithm of the likelihood of a find's speed if it stands, the same if it walks), each with its share."""
    both = []
    for share, sigma in ((1 - WALKERS, STANDS_MPS), (WALKERS, PACE_MPS)):
        both.append(math.log(share) + _normal(find.state[2:], find.covariance[2:, 2:] + sigma**2 * np.eye(2)))
    return both


def speed_sigma(find):
    """Standard deviation of a find's speed along the axis that is known worse, m/s."""
    return math.sqrt(max(float(find.covariance[2, 2]), float(find.covariance[3, 3]), 0.0))


def nobody(find):
    """Whether a find is faster than people, or moves as what stands still in the image: a stain on the lens."""
    if float(np.hypot(find.state[2], find.state[3])) - speed_sigma(find) > FASTEST_MPS:
        return True
    if float(np.hypot(*find.carried)) < 2 * PACE_MPS:
        return False  # a vehicle as slow as people: somebody may walk along with it
    spread = find.covariance[2:, 2:] + STANDS_MPS**2 * np.eye(2)
    return _normal(find.state[2:] - find.carried, spread) > float(np.logaddexp(*speeds(find))) + CARRIED


def _normal(offset, spread):
    misfit = float(offset.dot(np.linalg.solve(spread, offset)))
    return -0.5 * (misfit + math.log(float(np.linalg.det(spread)))) - math.log(2 * math.pi)
