"""Tracks -> obstacles: bearing, range from known size, time to contact from growth, and the autopilot's scan.

Bearings are clockwise from straight ahead (right positive) in the body's horizontal plane; the camera is
taken as level with the body.
"""

import math
from collections import deque
from typing import Deque, Tuple

import numpy as np

BINS = 72  # what PX4 and ArduPilot take without rescaling: 72 rays, 5 degrees apart
ANGLE_MIN = -math.pi
ANGLE_INCREMENT = math.radians(5.0)


class Obstacle:
    """One confirmed track, seen as something to avoid.

    Attributes:
        track (Track): what it was made from.
        bearing (float or None): of the box's centre, radians, right positive; None without calibration.
        sector (tuple or None): bearings of the box's left and right edges.
        range_m, range_sigma_m (float or None): horizontal distance; None if camera or class size is unknown.
        ttc_s, ttc_sigma_s (float or None): time to contact; None if it is not closing, or not known yet.
    """

    __slots__ = ("track", "bearing", "sector", "range_m", "range_sigma_m", "ttc_s", "ttc_sigma_s")

    def __init__(self, track):
        self.track = track
        self.bearing = self.sector = self.range_m = self.range_sigma_m = self.ttc_s = self.ttc_sigma_s = None


class ObstacleEstimator:
    """Bearing, range and time to contact of tracks.

    Args:
        sizes: {class index: (height, spread)} in metres; other classes get no range.
        window_s: length of the history that the time to contact is fitted to.
        min_hits: fewest sizes in the window for a fit.
        max_ttc_s: a longer time to contact is not reported.
        border_px: a box this close to the image border counts as cut off by it.
        box_sigma_px: standard deviation of a box's size.
        camera_yaw_deg: direction of the optical axis in the body frame, degrees, right positive.
    """

    def __init__(
        self,
        sizes=None,
        window_s=0.8,
        min_hits=5,
        max_ttc_s=20.0,
        border_px=2.0,
        box_sigma_px=1.5,
        camera_yaw_deg=0.0,
    ):
        self.sizes = dict(sizes or {})
        self.window_s, self.min_hits, self.max_ttc_s = window_s, min_hits, max_ttc_s
        self.border_px, self.box_sigma_px, self.camera_yaw_deg = border_px, box_sigma_px, camera_yaw_deg
        self._histories = {}  # track id -> _History

    def update(self, tracks, stamp_s, camera, width, height):
        """One frame's obstacles.

        Args:
            tracks: confirmed tracks of this frame, from `Tracker.update`.
            stamp_s: the image's stamp, seconds.
            camera: `Camera`, or None if uncalibrated: then no bearing and no range, but time to contact.
            width, height: of the image, pixels.

        Returns:
            list of Obstacle, one per track, in the same order.
        """
        self._histories = {t.id: self._histories.get(t.id) or _History() for t in tracks}
        return [self._obstacle(t, stamp_s, camera, width, height) for t in tracks]

    def _obstacle(self, track, stamp_s, camera, width, height):
        x1, y1, x2, y2 = track.box.tolist()
        m = self.border_px
        cut_x, cut_y = x1 <= m or x2 >= width - m, y1 <= m or y2 >= height - m
        history = self._histories[track.id]
        obstacle = Obstacle(track)
        if track.detection >= 0 and not (cut_x or cut_y):  # truncation would fake a change of size
            history.add(stamp_s, 1.0 / math.sqrt(max((x2 - x1) * (y2 - y1), 1.0)), self.window_s)
        if history.is_recent(stamp_s, self.window_s):
            self._fit_ttc(obstacle, history, stamp_s)
        if camera is not None:
            self._locate(obstacle, history, camera, (x1, y1, x2, y2), cut_y)
        return obstacle

    def _fit_ttc(self, obstacle, history, stamp_s):
        if len(history.samples) < self.min_hits:
            return
        times, inverse_sizes = zip(*history.samples)
        fit = time_to_contact([t - stamp_s for t in times], inverse_sizes, self.box_sigma_px)
        if fit is not None and fit[0] <= self.max_ttc_s:
            obstacle.ttc_s, obstacle.ttc_sigma_s = fit

    def _locate(self, obstacle, history, camera, box, cut_y):
        yaw = math.radians(self.camera_yaw_deg)
        bearing = yaw + camera.bearing(0.5 * (box[0] + box[2]))
        obstacle.bearing = (bearing + math.pi) % (2 * math.pi) - math.pi
        obstacle.sector = (yaw + camera.bearing(box[0]), yaw + camera.bearing(box[2]))
        size = self.sizes.get(obstacle.track.class_index)
        if size is None:
            return
        measured = camera.range_from_height(box, size[0], size[1], self.box_sigma_px)
        if not cut_y:
            history.range = measured
        elif history.range is not None:
            # A box cut in height looks farther than it is: the last whole view bounds it from above.
            measured = min(measured, history.range)
        obstacle.range_m, obstacle.range_sigma_m = measured


class _History:
    """Inverse sizes of one track over the window, and its last range seen whole."""

    def __init__(self):
        self.samples: Deque[Tuple[float, float]] = deque()  # stamp, 1 / size in pixels
        self.range = None

    def add(self, stamp_s, inverse_size, window_s):
        if self.samples and stamp_s <= self.samples[-1][0]:
            return
        self.samples.append((stamp_s, inverse_size))
        while self.samples[0][0] < stamp_s - window_s:
            self.samples.popleft()

    def is_recent(self, stamp_s, window_s):
        return bool(self.samples) and stamp_s - self.samples[-1][0] <= window_s


def time_to_contact(times, inverse_sizes, size_sigma_px=0.0):
    """Time to contact from growth: at constant closing speed 1/s is linear in time, and zero at contact.

    Least squares of 1/s = a + b t; TTC = -a / b. Sigma is propagated from the fit's covariance; the noise of
    1/s is what the residuals show, but no less than size_sigma_px / s^2.

    Args:
        times: seconds, zero is the moment that the answer is for.
        inverse_sizes: 1 / sqrt(w h) at these times, 1/pixels.
        size_sigma_px: standard deviation of s, pixels.

    Returns:
        (ttc, sigma) in seconds, ttc >= 0; None if it is not closing, or fewer than 3 times are given.
    """
    n = len(times)  # a dozen: plain floats are faster than arrays
    t_mean, y_mean = sum(times) / n, sum(inverse_sizes) / n
    centered = [(t - t_mean, y - y_mean) for t, y in zip(times, inverse_sizes)]
    spread = sum(t * t for t, _ in centered)
    if n < 3 or spread <= 0:
        return None
    b = sum(t * y for t, y in centered) / spread
    if b >= 0:
        return None
    variance = max(sum((y - b * t) ** 2 for t, y in centered) / (n - 2), (size_sigma_px * y_mean**2) ** 2)
    lead = -y_mean / b  # from the middle of the window to contact; y_mean and b are uncorrelated there
    sigma = math.sqrt(variance * (1.0 / n + lead**2 / spread)) / -b
    return max(t_mean + lead, 0.0), sigma


def make_scan(obstacles, field_of_view=None, range_min=0.5, range_max=40.0, publish_clear=False):
    """The scan an autopilot takes: nearest range per 5 degree ray.

    Ray i looks along angle -pi + i * 5 degrees, CLOCKWISE seen from above (frame FRD): ray 36 is straight
    ahead, 37 is 5 degrees to the right, 0 is straight back. Each ray stands for the 2.5 degrees on its either
    side. An obstacle fills the rays of its box and one more on each side, its range clamped to
    [range_min, range_max].

    Args:
        obstacles: list of Obstacle. One without range is not put in; its rays are unknown rather than clear.
        field_of_view: (left, right) bearings of the image's edges, radians; None if uncalibrated.
        publish_clear: say `range_max + 0.01` (clear) where the camera looks and nothing was detected. A
            detector that sees nothing is no proof of free space.

    Returns:
        (72,) float32 metres; NaN is unknown.
    """
    scan = np.full(BINS, np.nan, np.float32)
    if publish_clear and field_of_view is not None:
        # Only rays whose whole 5 degrees are in view.
        first = int(math.ceil((field_of_view[0] - ANGLE_MIN) / ANGLE_INCREMENT + 0.5))
        last = int(math.floor((field_of_view[1] - ANGLE_MIN) / ANGLE_INCREMENT - 0.5))
        scan[np.arange(first, last + 1) % BINS] = range_max + 0.01
    placed = [o for o in obstacles if o.sector is not None]
    for o in placed:
        if o.range_m is None:
            scan[sector_bins(o.sector)] = np.nan
    for o in placed:
        if o.range_m is not None:
            bins = sector_bins(o.sector)
            scan[bins] = np.fmin(scan[bins], min(max(o.range_m, range_min), range_max))
    return scan


def sector_bins(sector):
    """Indices of the rays that cover the bearings (left, right), widened by one on each side."""
    first, last = (int(math.floor((angle - ANGLE_MIN) / ANGLE_INCREMENT + 0.5)) for angle in sector)
    return np.arange(first - 1, last + 2) % BINS
