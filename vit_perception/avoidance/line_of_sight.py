"""How one obstacle grows and how its line of sight turns, fitted over a window, the vehicle's own turning taken out."""

import math
from collections import deque, namedtuple
from typing import Deque

import numpy as np

from .geometry import rotation_about

MAX_GAP_S = 1.0  # between frames; over a longer pause nothing is known of the vehicle's turning

# Growth (1/s) and rate of the line of sight (3,) rad/s in base_link, or None; with their sigmas. side_growth: the most
# that width or height may grow, two sigmas up: who turns sideways gets narrower, not farther.
Fit = namedtuple("Fit", "growth growth_sigma side_growth rate rate_sigma")


class Turn:
    """The vehicle's turning, integrated: directions of different frames in one frame that does not turn.

    epoch counts the moments at which the turning was unknown: directions across them cannot be compared.
    """

    def __init__(self):
        self.rotation, self.epoch = np.eye(3), 0
        self._stamp_s = self._rate = None

    def update(self, stamp_s, rate):
        dt = None if self._stamp_s is None else stamp_s - self._stamp_s
        if dt is not None and dt == 0:
            return
        if rate is None or self._rate is None or dt is None or not 0 < dt <= MAX_GAP_S:
            self.epoch += 1
        else:
            self.rotation = self.rotation.dot(rotation_about(0.5 * dt * (rate + self._rate)))
        self._stamp_s, self._rate = stamp_s, rate


class LineOfSight:
    """Sizes and directions of one track over the window. threatens, grew (bool): what was found of it so far."""

    def __init__(self):
        self.threatens = self.grew = False
        # Stamp, logs of size, width and height, `Obstacle.rays` in the frame that does not turn (zeros without), epoch
        # or None.
        self._samples: Deque[tuple] = deque()
        self._rotation = np.eye(3)

    def add(self, track, rays, turn, window_s):
        if self._samples and track.stamp_s <= self._samples[-1][0]:
            return
        x1, y1, x2, y2 = track.box.tolist()
        wide, tall = math.log(max(x2 - x1, 1.0)), math.log(max(y2 - y1, 1.0))
        still = (0.0,) * 9 if rays is None else tuple(rays.dot(turn.rotation.T).ravel().tolist())
        self._samples.append(
            (track.stamp_s, (0.5 * (wide + tall), wide, tall), still, None if rays is None else turn.epoch)
        )
        self._rotation = turn.rotation
        while self._samples[0][0] < track.stamp_s - window_s:
            self._samples.popleft()

    def fit(self, o, min_samples, box_sigma_px):
        """The Fit as of the newest sample; None: too few samples."""
        n = len(self._samples)
        if n < max(min_samples, 3):
            return None
        first = 3 * o.steady
        table = np.array([(s[0],) + s[1] + s[2][first : first + 3] for s in self._samples])
        table -= table.mean(axis=0)
        times, values = table[:, 0], table[:, 1:]
        spread = float(times.dot(times))
        slopes = times.dot(values) / spread
        noise = ((values - times[:, None] * slopes) ** 2).sum(axis=0) / (n - 2)
        x1, y1, x2, y2 = o.track.box.tolist()
        sides = math.sqrt((x2 - x1) * (y2 - y1)), x2 - x1, y2 - y1
        floors = [box_sigma_px / max(side, 1.0) for side in sides]
        sigmas = [math.sqrt(max(float(n), floor * floor) / spread) for n, floor in zip(noise[:3], floors)]
        growth, growth_sigma = float(slopes[0]), sigmas[0]
        side_growth = max(float(s) + 2 * sigma for s, sigma in zip(slopes[1:3], sigmas[1:]))
        epochs = {s[3] for s in self._samples}
        if o.sector is None or len(epochs) > 1 or None in epochs:
            return Fit(growth, growth_sigma, side_growth, None, None)
        pixel = ((o.sector[1] - o.sector[0]) % (2 * math.pi)) / max(x2 - x1, 1.0)  # rad
        floor = box_sigma_px * pixel
        rate_sigma = math.sqrt(max(float(noise[3:].sum()), floor * floor) / spread)
        return Fit(growth, growth_sigma, side_growth, self._rotation.T.dot(slopes[3:]), rate_sigma)
