"""Tracks -> obstacles: direction, range and position with their errors, and time to contact from growth.

Bearings are clockwise from straight ahead (right positive) in the horizontal plane of base_link, elevations above it.
"""

import math

import numpy as np

from .box_view import views_of
from .contact import NOISE_TIME_S, PATIENT_S, more_certain
from .geometry import Mount, norm, wrap
from .growth_history import GrowthHistory
from .plausible import is_impossible
from .ranging import LEAST_SLOPE_SIGMAS, fuse, range_from_ground, range_from_size

# What stays wrong with an object's box, as a part of its size and in pixels (offline/simulate/noise.py, SIZE_BIAS). It
# does not matter for growth, but for range.
BOX_BIAS, BOX_BIAS_PX = 0.085, 3.3
# An object's outline stands behind its nearest point, by this part of its height: 0.2 (people) to 0.43 (cars) in clean
# flights of offline/simulate/approaches.py.
NOSE = 0.3
LEVEL_JITTER_RAD = math.radians(
    0.3
)  # of an attitude from frame to frame; what stays wrong with it does not fake motion
LEVEL_UNKNOWN_RAD = math.radians(5.0)  # how far from level a vehicle is taken to be that tells nothing of its attitude
# A ray to the ground must dip by so many sigmas of the attitude before its rate is used: an error of the attitude that
# stays is a part 1 / this of the rate.
STAND_SLOPE_SIGMAS = 12.0
ASIDE = 0.7  # cosine; what lies farther off the flight's direction comes by itself, if it comes
MIN_GROWTHS = 2  # comparisons of pixels that are worth as much as min_hits sizes
LEVEL_MPS = 0.5  # a vehicle that climbs or descends faster flies up or down to what passed
ROOM_M = 0.2  # above and below the vehicle, for what is no object of its class
BELOW = 1.0  # slope; what is seen more steeply is seen from above
STANDS_OUT_M = 1.0  # what is seen from above and of no known height stands out of the ground, by about so much


class Obstacle:
    """One confirmed track, seen as something to avoid.

    Attributes:
        track (Track): what it was made from.
        bearing, elevation (float or None): of the box's centre in base_link, radians, right and up positive; None
            without calibration.
        sector (tuple or None): bearings of the box's left and right end, left <= right, around `bearing`.
        rays (3, 3) or None: unit vectors in base_link to the box's middle, left and right edge.
        steady (int): which of the rays follows the object: 0, or the inner edge of what the image's side cuts.
        range_m, range_sigma_m (float or None): horizontal distance from base_link; None if camera or class size and
            height above ground are unknown.
        position (3,) or None: m in base_link FLU. covariance (3, 3) or None: of it, m^2.
        ttc_s, ttc_sigma_s (float or None): time to contact; None if it is not closing, or not known yet.
        whole (bool): its box is detected in this frame, and no border cuts it.
        remembered (bool): seen no more, but still there: `vit_perception.avoidance.memory`.
        ghost (bool): nothing of its class can be there: `vit_perception.avoidance.plausible`. It is in nobody's way.
        appeared (bool): looks at its place, before it was found first, missed it: `vit_perception.avoidance.memory`.
        gone (bool): it is predicted, and looks that would find it do not.
        threatens (bool or None): whether the vehicle is going to hit it; `vit_perception.avoidance.corridor` sets it.
    """

    __slots__ = (
        "track", "bearing", "elevation", "sector", "rays", "steady", "range_m", "range_sigma_m",
        "position", "covariance", "ttc_s", "ttc_sigma_s", "whole", "remembered", "ghost", "threatens",
        "appeared", "gone",
    )  # fmt: skip

    def __init__(self, track):
        self.track = track
        self.bearing = self.elevation = self.sector = self.rays = self.range_m = self.range_sigma_m = None
        self.steady, self.whole, self.remembered, self.ghost = 0, False, False, False
        self.appeared = self.gone = False
        self.position = self.covariance = self.ttc_s = self.ttc_sigma_s = self.threatens = None

    def sight(self):
        """(distance, its sigma) along the line of sight, metres; None without a position."""
        if self.position is None:
            return None
        slant = norm(self.position)
        ray = self.position / max(slant, 1e-6)
        return slant, math.sqrt(max(float(ray.dot(self.covariance).dot(ray)), 0.0))


def _flies_level(ego):
    """Whether the vehicle surely neither climbs nor descends: what passes above or below it now goes on passing."""
    return ego.velocity is not None and abs(float(ego.level[2].dot(ego.velocity))) < LEVEL_MPS


class ObstacleEstimator:
    """Direction, range and time to contact of tracks.

    Args:
        sizes: {class index: (height, spread)} in metres; other classes get a range from the ground alone.
        min_hits: fewest sizes before a time to contact is told.
        max_ttc_s: a longer time to contact is not reported.
        hold_s: for so long a time to contact counts down when the object's size cannot be seen.
        border_px: a box this close to the image border, or as close as twice its noise, counts as cut off by it.
        box_sigma, box_sigma_px: standard deviation of a box's size, as a part of it, and in pixels; both add up.
        height_sigma_m: of the height above ground. level_sigma_deg: of the attitude, with the mount's.
        camera_yaw_deg, camera_pitch_deg: where the camera looks (right, up), for frames without a mount.

    Attributes:
        half_height_m (float): of the vehicle, above and below base_link.
        pixel_growth (bool): whether tracks come with their growth in pixels: boxes alone are believed later then.
    """

    def __init__(
        self,
        sizes=None,
        min_hits=6,
        max_ttc_s=20.0,
        hold_s=1.0,
        border_px=2.0,
        box_sigma=0.05,
        box_sigma_px=1.5,
        height_sigma_m=0.3,
        level_sigma_deg=1.0,
        camera_yaw_deg=0.0,
        camera_pitch_deg=0.0,
    ):
        self.sizes = dict(sizes or {})
        self.min_hits, self.max_ttc_s, self.hold_s, self.border_px = min_hits, max_ttc_s, hold_s, border_px
        self.box_sigma, self.box_sigma_px = box_sigma, box_sigma_px
        self.height_sigma_m, self.level_sigma_deg = height_sigma_m, level_sigma_deg
        self.camera_yaw_deg, self.camera_pitch_deg = camera_yaw_deg, camera_pitch_deg
        self.pixel_growth, self.half_height_m = False, 0.25
        self._histories = {}  # track id -> GrowthHistory

    def update(self, tracks, stamp_s, camera, width, height, mount=None, ego=None):
        """One frame's obstacles.

        Args:
            tracks: confirmed tracks of this frame, from `Tracker.update`.
            stamp_s: the image's stamp, seconds.
            camera: `Camera`, or None if uncalibrated: then no direction and no range, but time to contact. From pixels
                alone, turning of a camera that is off the object's centre changes sizes a little.
            width, height: of the image, pixels.
            mount: `Mount` of the camera; None takes camera_yaw_deg and camera_pitch_deg.
            ego: `Ego`, or None if nothing is known of the vehicle.

        Returns:
            list of Obstacle, one per track, in the same order.
        """
        self._histories = {t.id: self._histories.get(t.id) or self._new_history() for t in tracks}
        return self._look(tracks, self._histories, stamp_s, camera, (width, height), mount, ego)

    def single_frame_obstacles(self, tracks, stamp_s, camera, width, height, mount=None, ego=None):
        """Direction and range of tracks by this look alone; nothing of it is remembered. Arguments as of `update`."""
        new = {t.id: self._new_history() for t in tracks}
        return self._look(tracks, new, stamp_s, camera, (width, height), mount, ego)

    def _new_history(self):
        return GrowthHistory(PATIENT_S if self.pixel_growth else NOISE_TIME_S)

    def _look(self, tracks, histories, stamp_s, camera, image, mount, ego):
        if not tracks:
            return []
        views = [None] * len(tracks)
        if camera is not None:
            mount = mount or Mount.from_angles(self.camera_yaw_deg, self.camera_pitch_deg)
            views = views_of(np.array([t.box for t in tracks], np.float64), camera, mount, ego)
        return [self._obstacle(t, histories[t.id], stamp_s, image, v, ego) for t, v in zip(tracks, views)]

    def _obstacle(self, track, history, stamp_s, image, view, ego):
        obstacle = Obstacle(track)
        x1, y1, x2, y2 = track.box.tolist()
        w, h = max(x2 - x1, 1e-3), max(y2 - y1, 1e-3)
        noise, _ = self._box_errors(math.sqrt(w * h))
        cut_x, cut_y = history.cut((x1, y1, x2, y2), image, self.border_px, noise * max(w, h))
        obstacle.whole = track.detection >= 0 and not (cut_x or cut_y)
        # Angles where the camera is known: they do not change when it turns.
        wide, tall = (w, h) if view is None else (max(view.wide, 1e-9), max(view.tall, 1e-9))
        size = None
        if track.detection >= 0:
            size = history.add(stamp_s, wide, tall, cut_x, cut_y, noise)
            if view is not None and not cut_y:
                self._stand(history, stamp_s, view, ego, noise)
        history.grow(stamp_s, track.growth, math.sqrt(wide * tall), math.sqrt(w * h), noise)
        if track.detection >= 0 or (0 < x1 + x2 < 2 * image[0] and 0 < y1 + y2 < 2 * image[1]):  # not out of sight
            self._contact(obstacle, history, stamp_s, view)
        if view is not None:
            obstacle.rays, obstacle.steady = view.rays[:3], 0 if not cut_x else 2 if x1 < image[0] - x2 else 1
            self._locate(obstacle, history, stamp_s, view, ego, size, cut_y, math.sqrt(w * h))
            if obstacle.whole:
                history.look(self._is_impossible(track, view, ego, math.sqrt(w * h)))
            obstacle.ghost = history.is_ghost()
        return obstacle

    def _contact(self, obstacle, history, stamp_s, view):
        known = [f for f in (history.growth, history.foot) if self._knows(f, stamp_s)]
        if not known:
            return
        best = more_certain(known[0], known[1] if len(known) > 1 else None, stamp_s)
        contact = best.at(stamp_s)
        # Both tell the distance along the line of sight; what counts is the way along the flight: it is shorter by the
        # cosine, and so is the closing speed.
        part = 1.0
        if view is not None:
            part = max(float(view.rays[0].dot(view.heading)), ASIDE) ** 2
            if best is history.growth:
                part *= max(1.0 - NOSE * view.tall, 0.5)
        if contact is not None and part * contact[0] <= self.max_ttc_s:
            obstacle.ttc_s, obstacle.ttc_sigma_s = part * contact[0], part * contact[1]

    def _knows(self, contact, stamp_s):
        enough = contact.hits >= self.min_hits or contact.growths >= MIN_GROWTHS
        return enough and stamp_s - contact.stamp_s <= self.hold_s

    def _stand(self, history, stamp_s, view, ego, noise):
        """Take the distance of the object's foot on the ground: seen from above, more_certain than its size."""
        slope, height = view.slopes[4], view.height(ego)
        if height is None:
            return
        sigma = math.hypot(LEVEL_JITTER_RAD, view.tall * noise)
        if height > 0 and -slope > max(
            LEAST_SLOPE_SIGMAS * sigma, STAND_SLOPE_SIGMAS * math.radians(self.level_sigma_deg)
        ):
            history.foot.add(stamp_s, -slope / (height * math.hypot(1.0, slope)), -sigma / slope)

    def _locate(self, obstacle, history, stamp_s, view, ego, size, cut_y, pixels):
        obstacle.bearing, obstacle.elevation, obstacle.sector = view.direction()
        lean = math.hypot(1.0, view.slopes[0])
        measured = self._from_above(obstacle.track, view, view.height(ego), pixels)
        if measured is None:
            measured = self._range(obstacle.track, history, stamp_s, view, ego, size, pixels)
            if measured is None:
                return
            if not cut_y:
                history.range = measured
            elif history.range is not None:
                # A box cut in height looks farther than it is: the last whole view bounds it from above.
                measured = min(measured, history.range)
            measured = (*measured, lean * measured[1])
        slant, sigma = lean * measured[0], measured[2]
        ray, across = view.rays[0], 0.5 * view.angle_sigma(pixels, self.box_sigma_px, self.box_sigma) * slant
        obstacle.position = view.mount.translation + slant * ray
        along = np.outer(ray, ray)
        obstacle.covariance = sigma**2 * along + across**2 * (np.eye(3) - along)
        x, y, z = obstacle.position.tolist()
        obstacle.range_m = math.hypot(x, y)
        # Seen from the vehicle, not from its camera.
        obstacle.elevation = math.atan2(z, obstacle.range_m)
        turned = wrap(math.atan2(-y, x) - obstacle.bearing)
        obstacle.bearing += turned
        obstacle.sector = tuple(edge + turned for edge in obstacle.sector)
        obstacle.range_sigma_m = measured[1]

    def _range(self, track, history, stamp_s, view, ego, size, pixels):
        """(horizontal distance from the camera, sigma) or None."""
        level_sigma = math.radians(self.level_sigma_deg)
        if ego is None or ego.level is None:
            level_sigma = max(level_sigma, LEVEL_UNKNOWN_RAD)
        noise, bias = self._box_errors(pixels)
        by_size = None
        if track.class_index in self.sizes:
            smooth = history.growth.size_at(stamp_s) if size and history.growth.stamp_s == stamp_s else None
            box_noise = math.hypot(bias, noise if smooth is None else smooth[1])
            by_size = range_from_size(
                view.slopes[3], view.slopes[4], view.wide, self.sizes[track.class_index], box_noise, level_sigma
            )
            if by_size is not None and smooth is not None:
                by_size = tuple(value * size / smooth[0] for value in by_size)
        return fuse(by_size, self._by_ground(view, view.slopes[4], view.height(ego), pixels))

    def _is_impossible(self, track, view, ego, pixels):
        """Whether nothing of its class can stand where this box is, as far as is known."""
        height = view.height(ego)
        if height is None or track.class_index not in self.sizes or not _flies_level(ego):
            return False
        noise = math.hypot(*self._box_errors(pixels))
        angle_sigma = math.hypot(math.radians(self.level_sigma_deg), view.tall * noise)
        return is_impossible(
            view.slopes[3], view.slopes[4], self.sizes[track.class_index], noise, height, self.height_sigma_m,
            angle_sigma, self.half_height_m + ROOM_M,
        )  # fmt: skip

    def _from_above(self, track, view, height, pixels):
        """(horizontal distance, its sigma, sigma along the ray) of what is seen from above known ground, or None.

        Its middle tells its place then, not its lower edge: at half of its height.
        """
        slope, half = view.slopes[0], 0.5 * self.sizes.get(track.class_index, (STANDS_OUT_M,))[0]
        if height is None or slope > -BELOW:
            return None
        measured = self._by_ground(view, slope, height - half, pixels)
        if measured is None:
            return None
        sigma = math.hypot(measured[1], half / slope)
        # A wrong angle moves it on the ground, hardly along the ray.
        along = math.hypot(sigma / math.hypot(1.0, slope), math.hypot(self.height_sigma_m, half))
        return measured[0], sigma, along

    def _by_ground(self, view, slope, height, pixels):
        """`range_from_ground` of a ray of this slope; None without a height."""
        if height is None:
            return None
        noise, bias = self._box_errors(pixels)
        angle_sigma = math.hypot(math.radians(self.level_sigma_deg), view.tall * math.hypot(noise, 0.5 * bias))
        return range_from_ground(slope, height, self.height_sigma_m, angle_sigma)

    def _box_errors(self, pixels):
        """(jitter, lasting error) of a box's size, as parts of it."""
        return math.hypot(self.box_sigma, self.box_sigma_px / pixels), math.hypot(BOX_BIAS, BOX_BIAS_PX / pixels)
