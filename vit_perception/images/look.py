"""Does a picture look like those that the model was trained on?

bundle.json may say what they looked like, under `input.look`, as the detector saw them, scaled to the model's input:

    {"brightness": [[7 low shares], [7 high shares]], "sharpness": [low, high]}

A share is that of the pixels darker than 1/8, 2/8 ... 7/8 of the range: the cumulated histogram. Sharpness is the mean
difference of neighbouring pixels by that of pixels four apart: about 1/4 in a blurred picture, 1 in noise, whatever the
contrast. A bundle without `look` says nothing, and nothing is told.
"""

import numpy as np

BINS = 8
FAR = 4  # pixels apart
ROW_STEP = 4  # every so manieth row is looked at: a quarter of the time, for the same figures
EVERY = 5  # images, of which one is looked at
SMOOTHING = 0.1  # weight of the newest: about ten looked at tell, 50 images
SURE = 10  # looked at before anything is said
BRIGHTNESS_MARGIN = 0.1  # share of the pixels
SHARPNESS_MARGIN = 1.15  # factor


def measure(plane):
    """What a picture looks like.

    Args:
        plane: float32 (h, w) in 0..1.

    Returns:
        float64 (8,): seven cumulated shares, then sharpness.
    """
    rows = plane[::ROW_STEP]
    levels = np.clip(rows * BINS, 0, BINS - 1).astype(np.uint8)
    shares = np.cumsum(np.bincount(levels.ravel(), minlength=BINS)) / float(levels.size)
    near, far = np.abs(rows[:, 1:] - rows[:, :-1]).mean(), np.abs(rows[:, FAR:] - rows[:, :-FAR]).mean()
    return np.concatenate([shares[:-1], [near / max(float(far), 1e-6)]])


def find_problem(given):
    """What is wrong with `input.look` of a manifest, of any type: a few words, or ''."""
    fits = isinstance(given, dict) and set(given) == {"brightness", "sharpness"}
    fits = fits and all(isinstance(v, list) and len(v) == 2 for v in given.values())
    rows = given["brightness"] + [given["sharpness"]] if fits else []
    sizes = (BINS - 1, BINS - 1, 2)
    for row, size in zip(rows, sizes):
        fits = fits and isinstance(row, list) and len(row) == size
        fits = fits and all(type(v) in (int, float) and 0 <= v <= 1e3 for v in row)
    return "" if fits else "input.look must hold 'brightness', two lists of 7 shares, and 'sharpness', two numbers"


class Look:
    """Compares what the camera shows, over some seconds, with what the bundle says of the training images.

    Args:
        spec: the bundle's `input`, which has a `look`.

    Attributes:
        problem: one sentence of how it differs, or ''.
    """

    def __init__(self, spec):
        look = spec["look"]
        (self._low, self._high), self._sharpness = np.asarray(look["brightness"]), look["sharpness"]
        channel = len(spec["mean"]) // 2  # green says how bright it is
        self._channel, self._mean, self._std = channel, spec["mean"][channel], spec["std"][channel]
        self._count, self._seen, self.problem = 0, None, ""

    def add(self, planes, height, width):
        """Look at the model's input: float32 (C, H, W), normalised; the picture fills height x width of it."""
        self._count += 1
        if (self._count - 1) % EVERY or min(height, width) <= FAR:
            return
        found = measure(planes[self._channel, :height, :width] * self._std + self._mean)
        self._seen = found if self._seen is None else self._seen + SMOOTHING * (found - self._seen)
        if self._count > EVERY * (SURE - 1):
            self.problem = self._compare(self._seen)

    def _compare(self, seen):
        words = []
        more, less = (seen[:-1] - self._high).max(), (self._low - seen[:-1]).max()
        if max(more, less) > BRIGHTNESS_MARGIN:
            words.append("darker" if more > less else "brighter")
        if seen[-1] * SHARPNESS_MARGIN < self._sharpness[0]:
            words.append("more blurred")
        elif seen[-1] > SHARPNESS_MARGIN * self._sharpness[1]:
            words.append("noisier or sharper")
        if not words:
            return ""
        text = "the picture is {} than those that the model was trained on: it may find less; check camera and polarity"
        return text.format(" and ".join(words))
