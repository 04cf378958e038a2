"""Global camera motion between two images: corners all over the image, pyramidal Lucas-Kanade, a robust affine.

Phase correlation was tried in its place: it sees no rotation and locks to the fixed pattern of thermal sensors. An
affine fits ground that is seen at an angle better than a similarity does; neither fits a low flight ahead, where near
and far move differently. Few corners agree then, and the answer is None.
"""

import cv2
import numpy as np

from ..images.formats import to_gray

WIDTH = 160  # px; the longer side of the images that are compared
CELL = 10  # px; one corner is followed in each such square, so no textured object can outvote the rest of the image
MIN_POINTS = 16  # fewest corners for an affine, in images that are too small for many squares
MIN_CORNER = 1e-5  # least eigenvalue of a corner; below it a square is flat
LIMIT_PX = 1.0  # of the small image: how far an inlier may lie from the affine
LIMIT_SCALE = 1.5  # larger growth or shrinkage of any direction between two images is no camera motion


class CameraMotion:
    """Follows the background from image to image.

    Args:
        min_share: the least part of the image's squares whose corners must agree: one object covers fewer, and
            an affine that fits only near or only far ground does harm elsewhere.
    """

    def __init__(self, min_share=0.6):
        self.min_share = min_share
        self.reset()

    def reset(self):
        """Forget the previous image."""
        self._previous, self._shape = None, None

    def update(self, image, order):
        """Take the next image.

        Args:
            image: uint8 (H, W) if order is 'mono', (H, W, 3) if it is 'rgb' or 'bgr'.

        Returns:
            float64 (2, 3): affine from pixels (edge coordinates, as boxes have) of the previous image to pixels of
            this one, or None: the first image, another size than before, or too little agreement to trust it.
        """
        try:
            small = _shrink(image, order)
            previous, shape = self._previous, self._shape
            self._previous, self._shape = small, image.shape
            if previous is None or shape != image.shape:
                return None
            affine = self._estimate(previous, small)
        except cv2.error:  # whatever OpenCV refuses says nothing about motion
            return None
        if affine is None:
            return None
        scale = np.array([small.shape[1], small.shape[0]], np.float64) / [image.shape[1], image.shape[0]]
        linear = affine[:, :2]
        shift = affine[:, 2] + 0.5 - linear.sum(axis=1) * 0.5  # OpenCV's pixel centres are at whole numbers
        return np.column_stack([linear * scale / scale[:, None], shift / scale])

    def _estimate(self, previous, current):
        """Affine (2, 3) between two small images, or None."""
        points, squares = _corners(previous)
        fewest = max(MIN_POINTS, self.min_share * squares)
        if len(points) < fewest:
            return None
        moved, found, _ = cv2.calcOpticalFlowPyrLK(previous, current, points, None, winSize=(11, 11), maxLevel=3)
        found = found.ravel() == 1
        points, moved = points[found], moved[found]
        if len(points) < fewest:
            return None
        affine, inlier = cv2.estimateAffine2D(points, moved, ransacReprojThreshold=LIMIT_PX, maxIters=200)
        if affine is None or not np.isfinite(affine).all():
            return None
        most, least = np.linalg.svd(affine[:, :2], compute_uv=False)
        plausible = np.linalg.det(affine[:, :2]) > 0 and least > 1 / LIMIT_SCALE and most < LIMIT_SCALE
        return affine if plausible and inlier.sum() >= fewest else None


def _shrink(image, order):
    height, width = image.shape[:2]
    scale = float(WIDTH) / max(height, width, 1)
    size = max(1, int(round(width * scale))), max(1, int(round(height * scale)))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if order != "mono":
        image = to_gray(image, order)
    return cv2.equalizeHist(image)  # thermal cameras change their gain from image to image


def _corners(image):
    """The best corner of every square of CELL pixels that has one, float32 (n, 1, 2), and the number of squares."""
    rows, columns = image.shape[0] // CELL, image.shape[1] // CELL
    strength = cv2.cornerMinEigenVal(image, 3)[: rows * CELL, : columns * CELL]
    cells = strength.reshape(rows, CELL, columns, CELL).transpose(0, 2, 1, 3).reshape(rows * columns, CELL * CELL)
    best = cells.argmax(axis=1)
    row, column = np.divmod(np.arange(rows * columns), columns)
    points = np.stack([column * CELL + best % CELL, row * CELL + best // CELL], axis=1)
    return points[cells.max(axis=1) > MIN_CORNER].astype(np.float32)[:, None], rows * columns
