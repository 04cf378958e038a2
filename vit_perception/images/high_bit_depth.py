"""Images of high bit depth (16 bits, floats: thermal cameras, depth) -> 8 bits, which detectors are trained on.

One conversion for training, evaluation, replay and the node. The bundle names it, in bundle.json under
`input.high_bit_depth`, with the keys of DEFAULT, each optional:

    {"scaling": "percentile", "low_percent": 1.0, "high_percent": 99.0}    or
    {"scaling": "fixed", "min": 7000.0, "max": 9000.0}                       in raw values of the camera

A bundle without it (all until 0.4) means DEFAULT. `conversion(bundle.input)` gives it as the parameters
high_bit_depth.*; the node's parameters of these names override it.
"""

import cv2
import numpy as np

DEFAULT = {"scaling": "percentile", "low_percent": 1.0, "high_percent": 99.0, "min": 0.0, "max": 65535.0}
SCALINGS = ("percentile", "fixed")

SAMPLES = 16384  # pixels, about, from which percentiles are taken: a thousandth of them is 16 pixels
_LARGEST = 1e30  # float32 ends at 3e38; differences and products of values below this one stay finite


def conversion(spec):
    """{parameter name: value} of high_bit_depth.* as a bundle's `input`, `spec`, says, else as DEFAULT does."""
    return {"high_bit_depth." + k: v for k, v in dict(DEFAULT, **spec.get("high_bit_depth", {})).items()}


def find_problem(given):
    """What is wrong with `input.high_bit_depth` of a manifest or a recipe, of any type: a few words, or ''."""
    if not isinstance(given, dict) or set(given) - set(DEFAULT):
        return "input.high_bit_depth must hold some of {}, and nothing else".format(", ".join(DEFAULT))
    values = dict(DEFAULT, **given)
    if values["scaling"] not in SCALINGS:
        return "input.high_bit_depth.scaling must be one of: {}".format(", ".join(SCALINGS))
    for low, high, least, most in (("low_percent", "high_percent", 0, 100), ("min", "max", -1e9, 1e9)):
        ends = values[low], values[high]
        if not all(type(v) in (int, float) and least <= v <= most for v in ends) or ends[0] >= ends[1]:
            text = "input.high_bit_depth.{} must be less than {}, and both numbers from {:g} to {:g}"
            return text.format(low, high, least, most)
    return ""


def to_uint8(image, values):
    """Scale linearly so that a low value becomes black and a high one white; what is beyond them too.

    Percentiles are taken anew from a part of each image's pixels, so the result needs no calibration and follows the
    scene, as a thermal camera's own gain control does. An image of one value becomes black. NaN becomes black.

    Args:
        image: uint16 or float32, any shape, byte order and strides.
        values: the parameters high_bit_depth.*, as `conversion` gives them: scaling ('percentile' | 'fixed');
            low_percent and high_percent; min and max.

    Returns:
        uint8 of the same shape, contiguous, its own memory.
    """
    if values["high_bit_depth.scaling"] == "fixed":
        low, high = float(values["high_bit_depth.min"]), float(values["high_bit_depth.max"])
    else:
        low, high = _percentiles(
            image, float(values["high_bit_depth.low_percent"]), float(values["high_bit_depth.high_percent"])
        )
    if image.dtype.kind == "u":
        low = int(min(max(low, 0), 65535))
        raised = np.maximum(image, np.uint16(low))  # one pass brings byte order, gaps and the lower end in order
        raised -= np.uint16(low)
        return cv2.convertScaleAbs(raised, alpha=255.0 / max(high - low, 1.0))  # saturates the upper end
    # A span that floats of this size cannot tell from nothing would turn rounding into noise.
    span = max(high - low, 1e-6 * max(abs(low), abs(high)), 1e-30)
    raised = np.fmin(np.fmax(image, low, dtype=np.float32), low + span)  # fmax takes the number where one is NaN
    raised -= np.float32(low)
    return cv2.convertScaleAbs(raised, alpha=255.0 / span)


def _percentiles(image, low, high):
    step = int(np.ceil(np.sqrt(image.shape[0] * image.shape[1] / float(SAMPLES))))
    step |= 1  # an even step would see one colour only of a Bayer mosaic
    sample = image[::step, ::step]
    if image.dtype.kind == "f":
        sample = np.clip(sample[np.isfinite(sample)], -_LARGEST, _LARGEST)
        if not sample.size:
            return 0.0, 0.0
    ends = np.percentile(sample, [low, high])
    return float(ends[0]), float(ends[1])
