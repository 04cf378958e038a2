"""Which obstacles will the vehicle hit? Sets `threatens` of each, by a corridor around the direction of flight.

Two kinds of evidence, each with its sigma:

- the corridor: an obstacle of known position is inside a box of the vehicle's width and height plus margin that reaches
  along the velocity, or, where that is unknown, along the optical axis, opened by how far flight may differ from it;
- the course: at constant velocity, an object on a collision course keeps its bearing. In a frame that does not turn,
  miss = range * rate of the line of sight * time to contact. Where range is unknown, the object counts as `min_size_m`
  wide, so that its miss comes out too small rather than too large.

An obstacle counts as a threat until the corridor test can rule it out. All vectors are base_link FLU, metres.
"""

import math
from collections import namedtuple

import numpy as np

from .geometry import norm
from .line_of_sight import LineOfSight, Turn

# Speed (m/s), and what it takes to stop from it: reaction time + v / a (s), v * reaction time + v^2 / 2a (m).
Stopping = namedtuple("Stopping", "speed_mps time_s distance_m")

_UP = np.array([0.0, 0.0, 1.0])
DIP = math.sin(math.radians(5.0))  # what is seen lower than this is below the vehicle, whatever its range
MOVES_SIGMAS = 2.0  # by which a line of sight turns otherwise than to what stands
FAR_END = 0.3  # sigma of what the inner edge of an object cut by the image's side is farther, as a part of its range
# Of the growth of what stands: what surely grows less moves along with the vehicle, at half its speed or more.
ALONG = 0.5
GROUND = 0.7  # of the height above ground: so much of it is left where an object stands, as far as is known


class Corridor:
    """Judges which obstacles threaten.

    Args:
        width_m, height_m: of the vehicle, propellers included. margin_m: kept free around it.
        reaction_s: from an alert to full braking: latency, operator or flight stack.
        deceleration_mps2: that the vehicle brakes with.
        min_speed_mps: a slower vehicle counts as hovering: only what comes towards it threatens.
        axis_spread_deg: how far flight may differ from the optical axis while the velocity is unknown.
        keep_m: an obstacle nearer than this, depth below or height above included, threatens in any case.
        window_s, min_samples: history that growth and the rate of the line of sight are fitted to.
        box_sigma_px: least standard deviation of a box's edges. min_size_m: least width, where range is unknown.
        not_closing_s: an obstacle that needs at least this long to arrive counts as not closing in.
        others_fly: whether obstacles may leave the ground. False: what is far above or below does not come up.
    """

    def __init__(
        self,
        width_m=0.8,
        height_m=0.5,
        margin_m=0.5,
        reaction_s=0.5,
        deceleration_mps2=3.0,
        min_speed_mps=0.5,
        axis_spread_deg=10.0,
        keep_m=1.5,
        window_s=0.8,
        min_samples=5,
        box_sigma_px=1.5,
        min_size_m=0.4,
        not_closing_s=10.0,
        others_fly=False,
    ):
        self.width_m, self.height_m, self.margin_m = width_m, height_m, margin_m
        self.reaction_s, self.deceleration_mps2, self.min_speed_mps = reaction_s, deceleration_mps2, min_speed_mps
        self.axis_spread_deg, self.keep_m = axis_spread_deg, keep_m
        self.window_s, self.min_samples, self.box_sigma_px = window_s, min_samples, box_sigma_px
        self.min_size_m, self.not_closing_s, self.others_fly = min_size_m, not_closing_s, others_fly
        self.reset()

    def reset(self):
        """Forget everything, as at the start."""
        self._histories = {}  # track id -> LineOfSight
        self._turn = Turn()

    def assess(self, obstacles, ego=None, axis=(1.0, 0.0, 0.0)):
        """Set `threatens` of every obstacle of a frame.

        Args:
            obstacles: from `ObstacleEstimator.update`.
            ego: `vit_perception.avoidance.geometry.Ego`, or None.
            axis: (3,) direction of the optical axis in base_link: `mount.rotation[:, 2]`.

        Returns:
            Stopping of the known speed, or None.
        """
        velocity = None if ego is None else _finite(ego.velocity)
        speed = None if velocity is None else norm(velocity)
        if obstacles:
            stamp_s = max(o.track.stamp_s for o in obstacles)
            self._turn.update(stamp_s, None if ego is None else _finite(ego.angular_velocity))
        self._histories = {o.track.id: self._histories.get(o.track.id) or LineOfSight() for o in obstacles}
        for o in obstacles:
            history, direction = self._histories[o.track.id], _direction(o)
            if o.track.detection >= 0:
                history.add(o.track, o.rays, self._turn, self.window_s)
            history.threatens = o.threatens = self._threatens(o, history, direction, velocity, speed, axis, ego)
        return None if speed is None else self.stopping(speed)

    def stopping(self, speed_mps):
        """Time and distance to stop from a speed in m/s: `Stopping`."""
        braking_s = speed_mps / max(self.deceleration_mps2, 1e-3)
        return Stopping(speed_mps, self.reaction_s + braking_s, speed_mps * (self.reaction_s + 0.5 * braking_s))

    def _threatens(self, o, history, direction, velocity, speed, axis, ego):
        if o.gone or (o.ghost and not self.others_fly):
            return False
        if self._is_near(o):
            return True
        if o.remembered and o.ttc_s is not None:  # it left the view on a collision course
            return True
        # A predicted box is no new evidence: it may keep a threat, not make one.
        if o.track.detection < 0 and not (o.remembered or history.threatens):
            return False
        fit = history.fit(o, self.min_samples, self.box_sigma_px)
        history.grew = history.grew or o.ttc_s is not None
        closing = self._closing(o, fit, history.threatens and history.grew)
        if speed is None:  # the optical axis, unless the course is known
            if closing is False:
                return False
            course = self._course(o, fit, direction, -1.0)
            return self._inside_corridor(o, np.array(axis, np.float64), True) is not False if course is None else course
        if speed < self.min_speed_mps:  # nothing is hit by hovering; what closes in comes by itself
            comes = closing is True and self._course(o, fit, direction, -1.0) is not False
            return comes and self._at_height(o, ego)
        if self._flies_along(o, fit, direction, velocity):
            return False
        inside = self._inside_corridor(o, velocity / speed, False, self._range_by_motion(o, direction, velocity))
        if inside is None:
            return closing is not False and self._course(o, fit, direction, -1.0) is not False
        # Outside the corridor, only what surely moves into it.
        comes = closing is True and self._course(o, fit, direction, 1.0) is True
        return inside or (comes and self._moves(o, fit, velocity) and self._at_height(o, ego))

    def _is_near(self, o):
        """A distance of which nothing is certain says nothing of being near, unless even its far end is."""
        if o.position is None:
            return False
        distance, sigma = o.sight()
        if o.remembered:  # it was moved nearer by a sigma
            return distance + sigma < self.keep_m
        return distance < self.keep_m and (sigma <= distance or distance + sigma < self.keep_m)

    def _closing(self, o, fit, was_threat):
        """True, False, or None if it cannot be told."""
        if o.ttc_s is not None:
            return True
        if fit is None:
            return None
        # What grew and threatened goes on until it surely shrinks: a box cut by the image border stops growing.
        limit = 0.0 if was_threat else 1.0 / self.not_closing_s
        return False if fit.growth + fit.growth_sigma < limit else None

    def _course(self, o, fit, direction, sigmas):
        """Whether the miss is within the vehicle's and the object's size: `sigmas` is added to it. None: unknown."""
        if fit is None or fit.rate is None or direction is None:
            return None
        growth, sigma = fit.growth, fit.growth_sigma
        if o.ttc_s is not None:
            growth = 1.0 / max(o.ttc_s, 0.1)
            sigma = o.ttc_sigma_s * growth * growth
        if growth <= 0:
            return None
        half_width, half_height, distance = self._half_size(o, o.range_m)
        miss = distance / growth * fit.rate
        rate = norm(fit.rate)
        miss_sigma = distance / growth * math.hypot(fit.rate_sigma, rate * sigma / growth)
        return self._overlaps(miss, direction, half_width, half_height, -sigmas * miss_sigma)

    def _flies_along(self, o, fit, direction, velocity):
        """Whether it surely comes much slower than what stands there: it leads the way, or sits on the lens."""
        if not o.whole or fit is None or o.range_m is None or o.ttc_s is not None:
            return False
        distance, sigma = o.sight()
        stands = float(velocity.dot(direction)) / (distance + 2 * sigma)
        return fit.side_growth < ALONG * stands

    def _moves(self, o, fit, velocity):
        """Whether its line of sight turns otherwise than it would if it stood where it is."""
        if o.position is None:
            return True
        ray, distance = o.rays[o.steady], norm(o.position)
        stands = (float(velocity.dot(ray)) * ray - velocity) / max(distance, 0.1)
        off, rate = fit.rate - stands, norm(stands)
        sigma = math.hypot(fit.rate_sigma, rate * min(o.range_sigma_m / max(o.range_m, 1e-6), 1.0))
        if o.steady:
            off[2], sigma = 0.0, math.hypot(sigma, rate * FAR_END)
        return norm(off) > MOVES_SIGMAS * sigma

    def _at_height(self, o, ego):
        """Whether an object that moves on the ground can be at the vehicle's height at contact."""
        if self.others_fly or o.position is None or o.ttc_s is None:
            return True
        up = _UP if ego.level is None else ego.level[2]
        above, climbed = float(up.dot(o.position)), o.ttc_s * float(up.dot(ego.velocity))
        _, half_height, _ = self._half_size(o, o.range_m)
        reach = half_height + 0.5 * self.height_m + self.margin_m
        # A range that came out too short lifts an object off the ground. Only of what is below the horizon as a whole,
        # at any range: beside a hill the ground is higher than the height above it tells.
        dips = above + half_height < -DIP * norm(o.position)
        if dips and ego.height_m is not None and half_height - GROUND * ego.height_m - climbed < -reach:
            return False
        sigma = 0.0 if o.covariance is None else math.sqrt(max(float(up.dot(o.covariance).dot(up)), 0.0))
        return abs(above - climbed) - sigma <= reach

    def _inside_corridor(self, o, ahead, spread, range_m=None):
        """Whether its position is in the corridor along the unit vector `ahead`; None without a position."""
        position, covariance = o.position, o.covariance
        if position is None:
            direction = _direction(o)
            if range_m is None or direction is None:
                return None
            position, covariance = range_m * direction, None
        along = float(position.dot(ahead))
        if along <= 0:
            return False
        across = position - along * ahead
        distance = max(norm(across), 1e-9)
        unit = across / distance
        # Without a covariance it is range by motion: as uncertain as the time to contact that is believed.
        variance = (0.3 * distance) ** 2 if covariance is None else float(unit.dot(covariance).dot(unit))
        sigma = math.sqrt(max(variance, 0.0))
        slack = sigma + (along * math.tan(math.radians(self.axis_spread_deg)) if spread else 0.0)
        half_width, half_height, _ = self._half_size(o, o.range_m if range_m is None else range_m)
        aside = slack
        if covariance is not None and not (spread or o.remembered):
            # Its inner edge was seen: a wrong range moves it along its own line of sight, not with the middle.
            sight, error = o.sight()
            across_sight = max(float(np.trace(covariance)) - error**2, 0.0) / 2
            edge = max(distance - half_width, 0.0) * min(error / max(sight, 1e-6), 1.0)
            aside = min(slack, math.hypot(edge, math.sqrt(across_sight)))
        return self._overlaps(across, ahead, half_width, half_height, slack, aside)

    def _range_by_motion(self, o, direction, velocity):
        """Range of an object that stands still: closing speed * time to contact; None if there is no such."""
        if o.ttc_s is None or direction is None or o.range_m is not None:
            return None
        closing = float(velocity.dot(direction))
        return closing * o.ttc_s if closing > 0 else None

    def _half_size(self, o, range_m):
        """Half width, half height and distance of an object, metres; of an unknown range, as if `min_size_m` wide."""
        left, right = o.sector
        angle = max((right - left) % (2 * math.pi), 1e-4)
        x1, y1, x2, y2 = o.track.box.tolist()
        distance = self.min_size_m / angle if range_m is None else range_m
        half = 0.5 * angle * distance
        return half, half * (y2 - y1) / max(x2 - x1, 1.0), distance

    def _overlaps(self, across, ahead, half_width, half_height, slack, slack_aside=None):
        """Whether a body at `across`, perpendicular to `ahead`, touches the vehicle's cross-section plus margin."""
        slack_aside = slack if slack_aside is None else slack_aside
        # Side (up x ahead) and top (ahead x side) of the cross-section, in plain numbers: this runs for every track.
        x, y, z = ahead.tolist()
        flat = math.hypot(x, y)
        side_x, side_y = (0.0, 1.0) if flat < 1e-3 else (-y / flat, x / flat)
        a, b, c = across.tolist()
        aside = abs(a * side_x + b * side_y)
        above = abs(z * (b * side_x - a * side_y) + c * (x * side_y - y * side_x))
        return (
            aside - slack_aside <= half_width + 0.5 * self.width_m + self.margin_m
            and above - slack <= half_height + 0.5 * self.height_m + self.margin_m
        )


def _direction(o):
    """Unit vector from the vehicle to the obstacle, or None without calibration."""
    if o.bearing is None:
        return None
    elevation = o.elevation or 0.0
    flat = math.cos(elevation)
    return np.array([flat * math.cos(o.bearing), -flat * math.sin(o.bearing), math.sin(elevation)])


def _finite(vector):
    """A (3,) float64 array, or None for what is missing or not finite."""
    if vector is None:
        return None
    vector = np.array(vector, np.float64).reshape(-1)
    return vector if vector.shape == (3,) and np.isfinite(vector).all() else None
