"""Texts beside boxes in a picture, none of which covers another one."""

import cv2
import numpy as np

from .palette import bgr

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BLACK = (0, 0, 0)
MOST = 60  # texts in one picture; more nobody reads


class Plates:
    """Collects texts, then writes them where they are free: dark letters on the colour of their box.

    Args:
        picture: BGR uint8 (H, W, 3), that is drawn on. scale, stroke: of OpenCV's letters.
    """

    def __init__(self, picture, scale, stroke):
        self._picture, self._scale, self._stroke = picture, scale, stroke
        self._texts = []  # (box, colour, texts from long to short)
        self._taken = []  # rectangles, x1 y1 x2 y2

    def reserve(self, x1, y1, x2, y2):
        """Keep texts off this rectangle."""
        self._taken.append((x1, y1, x2, y2))

    def add(self, box, colour, *texts):
        """Of a box (x1, y1, x2, y2): one of these texts, the first that finds a place. Later ones go before."""
        self._texts.append((tuple(float(v) for v in box), colour, texts))

    def write(self):
        """Write all that find a place near their boxes."""
        boxes = np.array([box for box, _, _ in self._texts]).reshape(-1, 4)
        for box, colour, texts in self._texts[::-1][:MOST]:
            any(self._place(box, colour, text, boxes) for text in texts)

    def _place(self, box, colour, text, boxes):
        (w, h), base = cv2.getTextSize(text, _FONT, self._scale, self._stroke)
        pad = self._stroke
        w, h = w + 2 * pad, h + base + 2 * pad
        height, width = self._picture.shape[:2]
        x1, y1, x2, y2 = box
        # Above, below, above to the left, below to the left, right, left, inside; moved into the picture.
        near = ((x1, y1 - h), (x1, y2), (x2 - w, y1 - h), (x2 - w, y2), (x2, y1), (x1 - w, y1), (x1, y1))
        spots = np.array([(min(max(x, 0), max(width - w, 0)), min(max(y, 0), max(height - h, 0))) for x, y in near])
        plates = np.concatenate([spots, spots + (w, h)], 1)
        free = ~_overlaps(plates, np.array(self._taken).reshape(-1, 4)).any(1)
        if not free.any():
            return False
        hidden = _overlaps(plates, boxes).sum(1)  # other objects that the plate would cover in part
        x, y = spots[np.flatnonzero(free)[np.argmin(hidden[free])]].astype(int).tolist()
        self._taken.append((x, y, x + w, y + h))
        cv2.rectangle(self._picture, (x, y), (x + w - 1, y + h - 1), bgr(colour), -1)
        cv2.putText(self._picture, text, (x + pad, y + h - base), _FONT, self._scale, _BLACK, self._stroke, cv2.LINE_AA)
        return True


def _overlaps(a, b):
    """Whether rectangles (n, 4) and (m, 4) overlap, (n, m)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    return (high - low > 0).all(2)
