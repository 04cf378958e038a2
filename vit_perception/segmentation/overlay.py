"""A class map drawn into a picture, for people: its colours, and which class covers how much."""

import cv2
import numpy as np

from .class_map import shares

MOST_NAMES = 8  # in the legend
LEAST_SHARE = 0.005  # of a class that the legend names
_FONT = cv2.FONT_HERSHEY_SIMPLEX


class Overlay:
    """One image's class map with what it takes to draw it.

    Args:
        mask: uint8 (h', w'), as `class_map` returns it. labels, colors: of each class, as bundles name them.
        opacity: 0 to 1, of the colours over the picture.
    """

    def __init__(self, mask, labels, colors, opacity):
        self.mask, self.labels, self.opacity = mask, labels, opacity
        self._bgr = np.array(colors, np.uint8).reshape(-1, 3)[:, ::-1]

    def blend(self, picture):
        """Lay the colours over a picture, uint8 (H, W, 3) BGR, in place."""
        height, width = picture.shape[:2]
        colours = cv2.resize(self._bgr[self.mask], (width, height), interpolation=cv2.INTER_NEAREST)
        cv2.addWeighted(colours, self.opacity, picture, 1.0 - self.opacity, 0.0, picture)

    def legend(self, picture):
        """Write the classes that are seen, the largest first, down the right border of a picture, in place."""
        seen = [(share, i) for i, share in enumerate(shares(self.mask, len(self.labels))) if share >= LEAST_SHARE]
        scale = max(max(picture.shape[:2]) / 1500.0, 0.35)
        step, pad = int(36 * scale) + 2, int(8 * scale) + 1
        for line, (share, i) in enumerate(sorted(seen, reverse=True)[:MOST_NAMES]):
            text = "{} {:.0%}".format(self.labels[i], share)
            (width, _), _ = cv2.getTextSize(text, _FONT, scale, 1)
            x, y = picture.shape[1] - width - step - 2 * pad, pad + line * step
            cv2.rectangle(picture, (x - pad, y), (picture.shape[1], y + step), (0, 0, 0), -1)
            colour = tuple(int(value) for value in self._bgr[i])
            cv2.rectangle(picture, (x, y + pad), (x + step - 2 * pad, y + step - pad), colour, -1)
            at = (x + step - pad, y + step - pad)
            cv2.putText(picture, text, at, _FONT, scale, (235, 235, 235), 1, cv2.LINE_AA)
