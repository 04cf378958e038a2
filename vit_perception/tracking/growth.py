"""How much objects grew between two images, from their pixels: sharper than from their boxes.

Boxes jitter by several percent, and what a detector takes for an object's edge wanders as the object grows. Its texture
does not: pyramidal Lucas-Kanade follows points of the box forth and back, and the scale of a similarity fitted to them
(RANSAC) is the growth. Images that lie apart tell more than neighbours, and cost less.
"""

import math

import cv2
import numpy as np

from ..images.formats import to_gray

INTERVAL_S, LONGEST_S = 0.4, 1.2  # between the images that are compared
MOST_TRACKS = 16  # the largest ones: bounds the time
GRID = 8  # points along each side of a box
LEAST_PX = 8.0  # narrower boxes hold no texture
LEAST_POINTS = 10
NORMAL_PX = 40.0  # larger objects are looked at so small: windows hold more of what they are made of
MARGIN_PX = 12  # around an object, for the windows
WINDOW_PX, LEVELS = 9, 2  # of Lucas-Kanade, and of its pyramid
RETURN_PX = 0.5  # how near to its start a point must come back
INLIER_PX = 0.7  # how near to the similarity it must lie
AGREE = 0.35  # share of the points found that must
POINT_SIGMA_PX = 1.8  # neighbours share their errors (offline/simulate/measure_growth.py): all together count as this
LIMIT = 1.8  # more growth or shrinkage between two images is no object's


class Expansion:
    """Tells of confirmed tracks how much they grew since the reference image, which is renewed every INTERVAL_S."""

    def __init__(self):
        self.reset()

    def reset(self):
        """Forget the reference image."""
        self._view, self._stamp_s, self._boxes = None, 0.0, {}

    def update(self, image, order, stamp_s, tracks):
        """Take the next image, and set `track.growth` where it can be told.

        Args:
            image: uint8 (H, W) if order is 'mono', (H, W, 3) if it is 'rgb' or 'bgr'. stamp_s: its stamp, seconds.
            tracks: list of `Track`, of this image; some may coast. growth becomes (size now / size at the reference
                image, standard deviation of that, seconds in between).
        """
        since_s = stamp_s - self._stamp_s
        if self._view is not None and 0 <= since_s < INTERVAL_S:
            return
        view = self.take(image, order)
        seen = {t.id: t.box.astype(np.float64) for t in tracks}
        if self._view is not None and 0 < since_s <= LONGEST_S:
            known = [t for t in tracks if t.id in self._boxes]
            for t in sorted(known, key=lambda t: -_area(seen[t.id]))[:MOST_TRACKS]:
                found = self.compare(self._view, view, self._boxes[t.id], seen[t.id])
                t.growth = None if found is None else found + (since_s,)
        self._view, self._stamp_s, self._boxes = view, stamp_s, seen

    def take(self, image, order):
        """What is kept of an image: uint8 (H, W), its own copy."""
        return image.copy() if order == "mono" else to_gray(image, order)

    def compare(self, before, now, box, box_now):
        """(size now / size before, standard deviation) or None, of two images that were taken."""
        try:
            return growth(before, now, box, box_now) if before.shape == now.shape else None
        except cv2.error:  # whatever OpenCV refuses says nothing about growth
            return None


def growth(before, now, box, box_now):
    """How much what is in a box grew, from pixels.

    Args:
        before, now: uint8 (H, W) images. box, box_now: (4,) x1, y1, x2, y2 of the object in them.

    Returns:
        (size now / size before, standard deviation), or None where too few points can be followed, or disagree.
    """
    side = box[2:] - box[:2]
    if min(side) < LEAST_PX:
        return None
    zoom = min(1.0, NORMAL_PX / math.sqrt(_area(box)))
    (a, corner), (b, corner_now) = _cut(before, box, zoom), _cut(now, box_now, zoom)
    if a.size == 0 or b.size == 0:  # carried out of the image; OpenCV's Lucas-Kanade would never return
        return None
    share = np.linspace(0.0, 1.0, GRID)
    grid = np.column_stack([np.tile(share, GRID), np.repeat(share, GRID)])
    start = (zoom * (box[:2] + grid * side - corner)).astype(np.float32)
    guess = (zoom * (box_now[:2] + grid * (box_now[2:] - box_now[:2]) - corner_now)).astype(np.float32)
    good, moved = _follow(a, b, start, guess)
    start, moved = start[good], moved[good]
    if len(start) < LEAST_POINTS:
        return None
    affine, inlier = cv2.estimateAffinePartial2D(start, moved, ransacReprojThreshold=INLIER_PX, maxIters=200)
    if affine is None or inlier.sum() < max(LEAST_POINTS, AGREE * len(start)):
        return None
    scale, inlier = math.hypot(affine[0, 0], affine[1, 0]), inlier.ravel() == 1
    start, moved = start[inlier], moved[inlier]
    rest = moved - start.dot(affine[:, :2].T) - affine[:, 2]
    spread = math.sqrt(((start - start.mean(axis=0)) ** 2).sum())
    if not 1 / LIMIT < scale < LIMIT or not spread > 0:
        return None
    return scale, math.hypot(POINT_SIGMA_PX, math.sqrt((rest**2).mean())) / spread


def _area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def _cut(image, box, zoom):
    """The box and its surroundings, and the pixel of `image` at their corner; small ones as they are."""
    margin = MARGIN_PX / zoom
    x1, y1 = np.maximum(np.floor(box[:2] - margin), 0).astype(int)
    x2, y2 = np.maximum(np.ceil(box[2:] + margin), 0).astype(int)
    patch = image[y1:y2, x1:x2]
    if zoom < 1 and patch.size > 0:
        patch = cv2.resize(patch, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    return patch, np.array([x1, y1])


def _follow(a, b, start, guess):
    """Which points (n, 2) of patch a are found in b and from there again, and where: bool (n,), float32 (n, 2)."""
    window, guessed = (WINDOW_PX, WINDOW_PX), cv2.OPTFLOW_USE_INITIAL_FLOW
    size = max(a.shape[0], b.shape[0]), max(a.shape[1], b.shape[1])  # Lucas-Kanade wants images of one size
    a, b = (
        cv2.copyMakeBorder(p, 0, size[0] - p.shape[0], 0, size[1] - p.shape[1], cv2.BORDER_REPLICATE) for p in (a, b)
    )
    start, guess = start.reshape(-1, 1, 2), guess.reshape(-1, 1, 2)
    moved, there, _ = cv2.calcOpticalFlowPyrLK(a, b, start, guess, winSize=window, maxLevel=LEVELS, flags=guessed)
    back, again, _ = cv2.calcOpticalFlowPyrLK(b, a, moved, start.copy(), winSize=window, maxLevel=LEVELS, flags=guessed)
    returned = np.abs(back - start).max(axis=(1, 2)) < RETURN_PX
    return (there.ravel() == 1) & (again.ravel() == 1) & returned, moved[:, 0]
