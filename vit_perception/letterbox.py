"""An image scaled into the model's input."""

import cv2
import numpy as np

from .errors import ImageError
from .images.formats import to_gray


class Letterbox:
    """Fits any image into the model's input: scaled to fit, top-left aligned, the rest left at the mean (zero).

    Args:
        spec: the bundle's `input`: width, height, color, mean, std.

    Attributes:
        invert (bool): dark and bright are exchanged on the way.
        filled: (height, width) of the batch that the newest image takes.
    """

    def __init__(self, spec):
        self.width, self.height, self.color = spec["width"], spec["height"], spec["color"]
        self._gain = [1.0 / (255.0 * std) for std in spec["std"]]  # (u8 / 255 - mean) / std = u8 * gain + offset
        self._offset = [-float(mean) / std for mean, std in zip(spec["mean"], spec["std"])]
        self.batch = np.zeros((1, len(self._gain), self.height, self.width), np.float32)
        self.invert, self.filled = False, (self.height, self.width)
        self._gray = self._scaled = None  # written anew by every image; another size replaces them
        self._halves = []  # so are these: half the size, a quarter, ...

    def __call__(self, image, order):
        """Returns (batch, scale): float32 (1, C, H, W), which the next call overwrites; model pixels per source pixel.

        Args:
            image: uint8 (H, W) if order is 'mono', (H, W, 3) if it is 'rgb' or 'bgr'.
        """
        if image.dtype != np.uint8 or image.ndim != (2 if order == "mono" else 3) or not image.size:
            raise ImageError("order '{}' does not fit an image of {} {}".format(order, image.dtype, image.shape))
        height, width = image.shape[:2]
        scale = min(self.width / float(width), self.height / float(height))
        w = min(self.width, max(1, int(round(width * scale))))
        h = min(self.height, max(1, int(round(height * scale))))
        if self.color == "gray" and order != "mono":
            image = self._gray = to_gray(image, order, self._gray)
        image = self._halve(image, scale)
        if (h, w) != image.shape[:2]:
            image = self._scaled = cv2.resize(image, (w, h), self._scaled, interpolation=cv2.INTER_LINEAR)
        if (h, w) != self.filled:
            self.batch[:] = 0.0
            self.filled = (h, w)
        self._fill(image, order, self.batch[0, :, :h, :w])
        return self.batch, scale

    def _halve(self, image, scale):
        """Halve until linear interpolation skips no pixel, and with it no small person: from half the size on.

        Means of 2 x 2 pixels are several times as fast as OpenCV's area interpolation by any other factor. An odd last
        row or column is left out: less than a pixel of the model's input.
        """
        done = 0
        while scale <= 0.5:
            height, width = max(1, image.shape[0] // 2), max(1, image.shape[1] // 2)
            if done == len(self._halves):
                self._halves.append(None)
            even, out = image[: 2 * height, : 2 * width], self._halves[done]
            image = self._halves[done] = cv2.resize(even, (width, height), out, interpolation=cv2.INTER_AREA)
            scale, done = 2 * scale, done + 1
        return image

    def _fill(self, image, order, out):
        """Normalise the image's planes into `out`, float32 (C, h, w), in the model's order: one pass for each."""
        planes = [image] * len(out) if image.ndim == 2 else cv2.split(image)
        for i, plane in enumerate(planes[::-1] if order == "bgr" else planes):
            gain, offset = self._gain[i], self._offset[i]
            if self.invert:  # (255 - u8) * gain + offset
                gain, offset = -gain, offset + 255.0 * gain
            cv2.addWeighted(plane, gain, plane, 0.0, offset, out[i], cv2.CV_32F)
