"""Images of high bit depth (16 bits, floats: thermal cameras, depth) -> 8 bits, which detectors are trained on."""

import cv2
import numpy as np

SAMPLES = 16384  # pixels, about, from which percentiles are taken: a thousandth of them is 16 pixels
_LARGEST = 1e30  # float32 ends at 3e38; differences and products of values below this one stay finite


def to_uint8(image, values):
    """Scale linearly so that a low value becomes black and a high one white; what is beyond them too.

    Percentiles are taken anew from a part of each image's pixels, so the result needs no calibration and follows the
    scene, as a thermal camera's own gain control does. An image of one value becomes black. NaN becomes black.

    Args:
        image: uint16 or float32, any shape, byte order and strides.
        values: the parameters high_bit_depth.*: scaling ('percentile' | 'fixed'); low_percent and high_percent; min
            and max.

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
