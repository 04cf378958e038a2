"""Time to contact from growth: at a constant closing speed 1/s is linear in time, and zero at contact.

s is an object's size in the image, in any unit. Used as an angle, s = 2 tan(angle / 2), it does not change when the
camera turns, so turning cannot fake growth.
"""

import math

import numpy as np

SIZE_NOISE = 0.07  # a box's size jitters by this part of it (offline/simulate/noise.json: 0.04 to 0.11) ...
NOISE_TIME_S = 0.05  # ... and for this long the jitter is the same: faster frames are no independent looks
# What a detector takes for an object's edge wanders as the object grows. Where pixels tell the growth better, sizes
# count as if the jitter lasted this long, and rather hold the scale.
WANDER_S = 0.6
PATIENT_S = 0.12  # the same where pixels are going to tell, and have not yet: a jump to another box is no growth
CLOSING_CHANGE = 0.07  # 1 / sqrt(s): how the closing speed wanders, as a part of it
APPROACH_SPREAD = 0.5  # 1 / s: standard deviation of -(d(1/s)/dt) / (1/s) before anything was measured
GATE = 3.5  # standard deviations; what lies beyond is a merged or torn box, not motion
OFF = 0.4  # log; so is a size this far from the filter's, however noisy: led by pixels, that must not drift away
GROWTH_GATE = 2.5  # the same of a growth from pixels, whose errors have longer tails
# So many growths in a row contradict the rate: then the rate is taken from them, and told when the next one agrees.
CONTRADICTIONS = 2
REACQUIRE = 4  # so many outliers in a row, of one size, are the object's new size
CONTRADICT = 3.0  # sigmas
RESCALED_SPREAD = 0.06  # 1 / s: what is added to the rate's uncertainty then
CLOSING_SIGMAS = 3.5  # a rate nearer to zero is not told from a standstill, and its time to contact would be a guess
# One frame is not enough: in so many frames in a row the rate must be at least this far from a standstill.
MAYBE_CLOSING_SIGMAS, CLOSING_FRAMES = 1.75, 3
LEAST_SIGMA = 1e-4  # of y, as a part of it, and of its rate, 1 / s: a fiftieth of the least that 300 approaches came to
PRIOR_LOOKS = 40.0  # looks that the assumed noise counts for when the noise is estimated from the innovations


class ContactFilter:
    """Kalman filter on y = 1/s and its rate, for one object, on real stamps.

    The measured y has a noise in proportion to y. Its factor is estimated from the innovations, starting from the given
    one. A size that does not fit (`GATE`) is left out; `REACQUIRE` of them in a row that agree with each other change
    the scale, and the time to contact is kept but less certain.

    Args:
        noise_time_s: for how long the noise of sizes is the same, as long as no growth was taken.

    Attributes:
        hits, growths (int): sizes and growths taken. stamp_s (float or None): of the newest.
        contradictions (int): growths in a row that contradict the rate. closing_frames (int): frames in a row in which
            the rate was at least MAYBE_CLOSING_SIGMAS from a standstill.
    """

    __slots__ = (
        "hits", "growths", "contradictions", "closing_frames", "stamp_s",
        "_noise_time_s", "_y", "_v", "_yy", "_yv", "_vv", "_excess", "_looks", "_outliers",
    )  # fmt: skip

    def __init__(self, noise_time_s=NOISE_TIME_S):
        self._noise_time_s = noise_time_s
        self.hits, self.growths, self.contradictions, self.closing_frames, self.stamp_s = 0, 0, 0, 0, None
        self._y = self._v = self._yy = self._yv = self._vv = 0.0
        self._excess, self._looks = PRIOR_LOOKS, PRIOR_LOOKS
        self._outliers = []

    def add(self, stamp_s, size, noise=SIZE_NOISE):
        """Take one size (> 0); noise: its standard deviation, as a part of it. An old stamp is ignored."""
        if not (size > 0 and math.isfinite(size)):
            return
        if self.stamp_s is None:
            self._start(1.0 / size, noise)
        elif stamp_s <= self.stamp_s or not self._correct(stamp_s, 1.0 / size, noise):
            return
        self.hits += 1
        self.stamp_s = stamp_s
        self._count_closing()

    def grow(self, stamp_s, ratio, sigma, since_s):
        """Take that it is `ratio` of the size that it was `since_s` before, with its standard deviation.

        1/s was y - v since_s, which is ratio y: linear in y and v, with a noise of sigma y. It shares no noise with the
        sizes, and needs none but a first. An old stamp is ignored.
        """
        if not self.hits or stamp_s < self.stamp_s:
            return
        y, v, yy, yv, vv = self._predicted(stamp_s - self.stamp_s)
        if y <= 0:
            return
        self._y, self._v, self._yy, self._yv, self._vv, self.stamp_s = y, v, yy, yv, vv, stamp_s
        surprise, cross_y, cross_v, total = self._expect(ratio, sigma, since_s)
        # Points that slid along an edge or, if it comes again, boxes that faked an approach.
        if surprise * surprise > GROWTH_GATE**2 * total:
            self.contradictions += 1
            if self.contradictions < CONTRADICTIONS:
                return
            self._v, self._yv, self._vv = 0.0, 0.0, (APPROACH_SPREAD * self._y) ** 2
            surprise, cross_y, cross_v, total = self._expect(ratio, sigma, since_s)
        else:
            self.contradictions = 0
        if total <= 0:  # y underflows
            return
        self.growths += 1
        gain_y, gain_v = cross_y / total, cross_v / total
        self._y, self._v = self._y + gain_y * surprise, self._v + gain_v * surprise
        self._yy, self._yv, self._vv = (
            self._yy - gain_y * cross_y,
            self._yv - gain_y * cross_v,
            self._vv - gain_v * cross_v,
        )
        self._keep_valid()
        self._count_closing()

    def rescale(self, factor):
        """Sizes are going to come in another unit: what was 1 is `factor` then."""
        self._y, self._v = self._y / factor, self._v / factor
        self._yy, self._yv, self._vv = (value / factor**2 for value in (self._yy, self._yv, self._vv))

    def _expect(self, ratio, sigma, since_s):
        """Surprise of a growth, its covariances with y and v, and its variance: (ratio - 1) y + v since_s is zero."""
        cross_y = self._yy * (ratio - 1.0) + self._yv * since_s
        cross_v = self._yv * (ratio - 1.0) + self._vv * since_s
        total = (ratio - 1.0) * cross_y + since_s * cross_v + (sigma * self._y) ** 2
        return -(ratio - 1.0) * self._y - since_s * self._v, cross_y, cross_v, total

    def at(self, stamp_s):
        """(ttc, sigma) in seconds as of `stamp_s`, ttc >= 0; None if it is not surely closing, or pixels deny it."""
        if self.closing_frames < CLOSING_FRAMES or self.contradictions or self._closing_sigmas() < CLOSING_SIGMAS:
            return None
        y, v, yy, yv, vv = self._predicted(max(stamp_s - self.stamp_s, 0.0))  # unseen, it goes on counting down
        ttc = -y / v
        return max(ttc, 0.0), math.sqrt(max(yy + 2 * ttc * yv + ttc * ttc * vv, 0.0)) / -v

    def rate_at(self, stamp_s):
        """(rate, sigma) of closing, 1 / ttc, negative when receding; None before the first size, or past contact."""
        y, v, yy, yv, vv = self._predicted(max(stamp_s - self.stamp_s, 0.0)) if self.hits else (0.0,) * 5
        if y <= 0:
            return None
        rate = -v / y
        return rate, math.sqrt(max(vv + 2 * rate * yv + rate * rate * yy, 0.0)) / y

    def size_at(self, stamp_s):
        """(size, relative sigma): the filtered size as of `stamp_s`; None before the first, or past contact."""
        if not self.hits:
            return None
        y, _, yy, _, _ = self._predicted(max(stamp_s - self.stamp_s, 0.0))
        return (1.0 / y, math.sqrt(max(yy, 0.0)) / y) if y > 0 else None

    def _count_closing(self):
        self.closing_frames = self.closing_frames + 1 if self._closing_sigmas() >= MAYBE_CLOSING_SIGMAS else 0

    def _closing_sigmas(self):
        """How far the rate is from a standstill as of the last look, in sigmas; closing is positive."""
        return -self._v / math.sqrt(self._vv) if self._vv > 0 else 0.0

    def _start(self, y, noise):
        self._y, self._v = y, 0.0
        self._yy, self._yv, self._vv = (noise * y) ** 2, 0.0, (APPROACH_SPREAD * y) ** 2

    def _predicted(self, dt):
        y, v = self._y + dt * self._v, self._v
        # White noise on the rate: the closing speed changes, by at least what one of 20 s to contact is worth.
        q = (CLOSING_CHANGE * max(abs(v), 0.05 * self._y)) ** 2
        yy = self._yy + 2 * dt * self._yv + dt * dt * self._vv + q * dt**3 / 3
        yv = self._yv + dt * self._vv + q * dt * dt / 2
        return y, v, yy, yv, self._vv + q * dt

    def _correct(self, stamp_s, measured, noise):
        """Returns whether the size was taken."""
        dt = stamp_s - self.stamp_s
        y, v, yy, yv, vv = self._predicted(dt)
        if y <= 0:  # past contact and still there: start anew
            self.hits, self.growths, self.contradictions, self.closing_frames, self._outliers = 0, 0, 0, 0, []
            self._start(measured, noise)
            return True
        scale = self._excess / self._looks
        white = scale * (noise * y) ** 2
        surprise = measured - y
        if surprise * surprise > GATE**2 * (yy + white) or abs(math.log(measured / y)) > OFF:
            return self._outlier(stamp_s, measured / y, noise)
        self._outliers = []
        ratio = surprise * surprise / (yy + white)
        self._excess = min(max(self._excess + scale * (ratio - 1.0), 0.1 * PRIOR_LOOKS), 16.0 * PRIOR_LOOKS)
        same = math.exp(-dt / (WANDER_S if self.growths else self._noise_time_s))
        total = yy + white * (1 + same) / (1 - same)
        gain_y, gain_v = yy / total, yv / total
        self._y, self._v = y + gain_y * surprise, v + gain_v * surprise
        self._yy, self._yv, self._vv = (1 - gain_y) * yy, (1 - gain_y) * yv, vv - gain_v * yv
        self._keep_valid()
        return True

    def _keep_valid(self):
        """Near contact y is tiny, and so is the noise of what is measured: rounding must make no variance negative."""
        least = (LEAST_SIGMA * self._y) ** 2
        self._yy, self._vv = max(self._yy, least), max(self._vv, least)
        # At a correlation of one the rate would be known without doubt.
        limit = (1.0 - LEAST_SIGMA) * math.sqrt(self._yy * self._vv)
        self._yv = max(-limit, min(self._yv, limit))

    def _outlier(self, stamp_s, ratio, noise):
        """A size that is `ratio` of the expected one (in y). Returns whether it is taken for the new scale."""
        self._outliers = (self._outliers + [ratio])[-REACQUIRE:]
        mean = sum(self._outliers) / len(self._outliers)
        if len(self._outliers) < REACQUIRE or max(abs(r - mean) for r in self._outliers) > GATE * noise * mean:
            return False  # too few, or they do not agree: noise, not a new scale
        y, v, _, _, vv = self._predicted(stamp_s - self.stamp_s)
        self._y, self._v = mean * y, mean * v
        self._yy, self._yv = (noise * self._y) ** 2, 0.0
        self._vv = mean * mean * vv + (RESCALED_SPREAD * self._y) ** 2
        self._outliers = []
        return True


def angular_size(a, b):
    """2 tan(angle / 2) between two rays (n, 3) each, row by row: width over distance of what lies across the view."""
    cross = np.cross(a, b)
    sine = np.sqrt((cross * cross).sum(axis=1))
    return 2 * np.tan(0.5 * np.arctan2(sine, (a * b).sum(axis=1)))


def more_certain(first, second, stamp_s):
    """Of two filters on one object (second may be None) the one that knows its closing better as of `stamp_s`.

    If they contradict, the one that closes faster: safer. Their errors may be correlated, so they are not averaged.
    """
    a, b = first.rate_at(stamp_s), None if second is None else second.rate_at(stamp_s)
    if a is None or b is None:
        return second if a is None and b is not None else first
    if abs(a[0] - b[0]) > CONTRADICT * math.hypot(a[1], b[1]):
        return first if a[0] > b[0] else second
    return first if a[1] <= b[1] else second
