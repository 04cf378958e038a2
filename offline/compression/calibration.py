"""Training images as the node feeds them: the ranges of activations, and with them int8 and fp16, come from these."""

import numpy as np

from vit_perception.detector import Letterbox

from ..data import Dataset, read_image

CALIBRATION_IMAGES = 32


def calibration_images(data: Dataset, spec: dict, inverted: bool) -> list[np.ndarray]:
    """Whole images of `data`, spread over the set: float32 (1, C, H, W) each.

    Args:
        spec: the bundle's `input`.
        inverted: every second one with dark and bright exchanged: the ranges must hold for both polarities.
    """
    letterbox = Letterbox(spec)
    order = "mono" if spec["color"] == "gray" else "rgb"
    images = [read_image(s, spec["color"], spec) for s in data.spread(CALIBRATION_IMAGES).samples]
    if inverted:
        images[1::2] = [255 - image for image in images[1::2]]
    return [letterbox(image, order)[0].copy() for image in images]
