"""Points that are followed from the newest image back to an earlier one: pyramidal Lucas-Kanade, forth and back."""

import cv2
import numpy as np

WINDOW_PX = 9
BLOCK_PX = 5  # around a pixel, whose gradients make it a corner
STEPS = (cv2.TERM_CRITERIA_MAX_ITER + cv2.TERM_CRITERIA_EPS, 8, 0.03)
RETURN_PX = 0.5  # how near to its start a point must come back
MIN_CORNER = 40.0  # twice the least eigenvalue, squared grey levels per pixel; below it a square is flat
SQUARE_PX, FLATTEST, ABOVE_NOISE = 12, 10.0, 2.0  # px, percentile of squares, and how much more a corner must be


class Texture:
    """Where an image has corners, and how well a point is held in each direction. Its memory is used again."""

    def __init__(self):
        self._planes, self._least = None, 0.0

    def take(self, image):
        """The image: uint8 (H, W)."""
        if self._planes is None or self._planes[0].shape != image.shape:
            self._planes = [np.empty(image.shape, np.float32) for _ in range(7)]
        gx, gy, a, b, c, product, strength = self._planes
        cv2.Sobel(image, cv2.CV_32F, 1, 0, dst=gx, ksize=3, scale=0.125)
        cv2.Sobel(image, cv2.CV_32F, 0, 1, dst=gy, ksize=3, scale=0.125)
        for p, q, out in ((gx, gx, a), (gx, gy, b), (gy, gy, c)):
            cv2.multiply(p, q, dst=product)
            cv2.boxFilter(product, -1, (BLOCK_PX, BLOCK_PX), dst=out, normalize=False)
        # Twice the smaller eigenvalue: a + c - sqrt((a - c)^2 + (2 b)^2).
        cv2.subtract(a, c, dst=gx)
        cv2.add(b, b, dst=gy)
        cv2.magnitude(gx, gy, magnitude=product)
        cv2.add(a, c, dst=strength)
        cv2.subtract(strength, product, dst=strength)
        self._tensor, self._strength = (a, b, c), strength
        rows, columns = image.shape[0] // SQUARE_PX, image.shape[1] // SQUARE_PX
        squares = strength[: rows * SQUARE_PX, : columns * SQUARE_PX]
        squares = squares.reshape(rows, SQUARE_PX, columns, SQUARE_PX).max(axis=3).max(axis=1)
        # The flattest part of an image shows what its noise makes of nothing.
        noise = np.percentile(squares, FLATTEST) if squares.size else 0.0
        self._least = max(MIN_CORNER, ABOVE_NOISE * float(noise))

    def corners(self, left, top, right, bottom, cell, most, covered):
        """The best corner of every square of `cell` pixels in this part of the image, float32 (n, 2), n <= `most`.

        covered: bool (H, W), where none is wanted, or None.
        """
        rows, columns = (bottom - top) // cell, (right - left) // cell
        if rows < 1 or columns < 1:
            return np.zeros((0, 2), np.float32)
        part = (slice(top, top + rows * cell), slice(left, left + columns * cell))
        strength = self._strength[part]
        if covered is not None:
            strength = np.where(covered[part], 0.0, strength)
        cells = strength.reshape(rows, cell, columns, cell).transpose(0, 2, 1, 3).reshape(rows * columns, cell * cell)
        best, top_strength = cells.argmax(axis=1), cells.max(axis=1)
        row, column = np.divmod(np.arange(rows * columns), columns)
        points = np.stack([left + column * cell + best % cell, top + row * cell + best // cell], axis=1)
        kept = np.flatnonzero(top_strength > self._least)
        if len(kept) > most:
            kept = kept[np.argsort(-top_strength[kept])[:most]]
        return points[kept].astype(np.float32)

    def inverse_tensors(self, points):
        """(n, 3): xx, xy, yy of the inverse structure tensor at points (n, 2): the covariance of a followed point for
        pixel noise of one grey level."""
        index = np.rint(points).astype(int)
        a, b, c = (t[index[:, 1], index[:, 0]].astype(np.float64) for t in self._tensor)
        determinant = np.maximum(a * c - b * b, 1e-6)
        return np.stack([c, -b, a], axis=1) / determinant[:, None]


def follow(now, before, points, guess, levels):
    """Where points (n, 2) of one image are in another of the same size, looked for at guess (n, 2).

    Returns:
        (found bool (n,), places float32 (n, 2)): found there, and from there again where it came from.
    """
    if len(points) == 0:
        return np.zeros(0, bool), np.zeros((0, 2), np.float32)
    options = {"winSize": (WINDOW_PX, WINDOW_PX), "maxLevel": levels, "criteria": STEPS}
    options["flags"] = cv2.OPTFLOW_USE_INITIAL_FLOW
    start = np.ascontiguousarray(points, np.float32).reshape(-1, 1, 2)
    place = np.array(guess, np.float32).reshape(-1, 1, 2)
    place, there, _ = cv2.calcOpticalFlowPyrLK(now, before, start, place, **options)
    back, again, _ = cv2.calcOpticalFlowPyrLK(before, now, place, start.copy(), **options)
    returned = np.abs(back - start).max(axis=(1, 2)) < RETURN_PX
    return (there.ravel() == 1) & (again.ravel() == 1) & returned, place[:, 0]
