"""Large images in overlapping slices, so that small people keep their pixels (as SAHI does: Akyon et al.,
arXiv 2202.06934), and as a whole, so that what is large and near is not cut to pieces.

    slices: 1x1     the image as a whole: scaled to the model's input
    slices: 3x2     3 columns and 2 rows of slices, and the whole
    slices: auto    as many as give the model every pixel of the image; the image as a whole if it is hardly larger

    slices_per_frame: 0 all of them in every image; 2: two, the next two in the next image, and so on, and the whole
"""

import re

import numpy as np

from .boxes import iou

OVERLAP = 0.15  # of a slice's width and height: what is smaller is whole in one of two neighbours
MOST = 8  # slices each way
ENOUGH = 1.25  # auto: an image that is larger than the model's input by less is not sliced
CUT_PX = 2.0  # a box so near to an edge that is none of the image's is cut off by it
SAME = 0.6  # of the smaller box: what the whole image shows there is what a slice has found already
_GRID = re.compile(r"([1-9])x([1-9])\Z")


def parse(text):
    """'1x1', 'CxR' or 'auto' -> (columns, rows), None for auto. Raises ValueError with one sentence."""
    if text == "auto":
        return None
    found = _GRID.match(text)
    if not found or max(int(n) for n in found.groups()) > MOST:
        raise ValueError("slices is '{}', not auto and not COLUMNSxROWS up to {}x{}, e.g. 2x2".format(text, MOST, MOST))
    return int(found.group(1)), int(found.group(2))


def plan(grid, width, height, model_width, model_height):
    """Slices of an image: list of (x1, y1, x2, y2) in its pixels, row by row; empty: the image as a whole.

    grid: what `parse` returned.
    """
    columns_rows = grid or (_needed(width, model_width), _needed(height, model_height))
    if columns_rows == (1, 1):
        return []
    least = (0, 0) if grid else (model_width, model_height)  # auto: not a pixel is enlarged
    columns, rows = (_spans(*of) for of in zip((width, height), columns_rows, least))
    return [(x1, y1, x2, y2) for y1, y2 in rows for x1, x2 in columns]


def picture_size(grid, width, height, model_width, model_height):
    """(width, height), in pixels of the image, of the pictures that the model sees at its finest: of a slice, or of the
    image as a whole where there are none. grid: what `parse` returned."""
    every = plan(grid, width, height, model_width, model_height)
    return (every[0][2] - every[0][0], every[0][3] - every[0][1]) if every else (width, height)


def in_turn(all_slices, count, first):
    """`count` of the slices from number `first` on, round and round; 0: all -> (those, the others)."""
    if not 0 < count < len(all_slices):
        return all_slices, []
    turn = [(first + i) % len(all_slices) for i in range(count)]
    return [all_slices[i] for i in turn], [s for i, s in enumerate(all_slices) if i not in turn]


def passed_over(boxes, looked_at, others):
    """Which boxes (n, 4) lie, with their centres, in slices of `others` and in none of `looked_at`: bool (n,)."""
    return _inside(boxes, others) & ~_inside(boxes, looked_at)


def _inside(boxes, rectangles):
    x, y = 0.5 * (boxes[:, 0] + boxes[:, 2]), 0.5 * (boxes[:, 1] + boxes[:, 3])
    found = np.zeros(len(boxes), bool)
    for x1, y1, x2, y2 in rectangles:
        found |= (x1 <= x) & (x <= x2) & (y1 <= y) & (y <= y2)
    return found


def _needed(size, model_size):
    """How many slices of the model's size cover `size` with OVERLAP."""
    if size <= ENOUGH * model_size:
        return 1
    return min(MOST, int(np.ceil((size - OVERLAP * model_size) / ((1 - OVERLAP) * model_size))))


def _spans(size, count, least):
    """`count` ranges of equal length over 0..size, each overlapping the next by OVERLAP of its length or more.

    least: pixels that each is long, if there are as many.
    """
    length = min(size, max(least, int(np.ceil(size / (count - (count - 1) * OVERLAP)))))
    starts = np.linspace(0, size - length, count).round().astype(int).tolist()
    return [(start, start + length) for start in starts]


def uncut(boxes, slice_, width, height):
    """Which boxes (n, 4), in pixels of the image, no edge of `slice_` inside the image cuts off: bool (n,)."""
    x1, y1, x2, y2 = slice_
    keep = np.ones(len(boxes), bool)
    for side, edge, inside in ((0, x1, x1 > 0), (1, y1, y1 > 0), (2, x2, x2 < width), (3, y2, y2 < height)):
        if inside:
            keep &= np.abs(boxes[:, side] - edge) > CUT_PX
    return keep


def not_seen_yet(boxes, classes, seen_boxes, seen_classes):
    """Which boxes (n, 4) are none of those (m, 4) that slices have found, of the same class: bool (n,).

    The slices show them larger, so their boxes are the better ones; but of what is more than twice as large they may
    have found a part alone, and it is kept.
    """
    if not len(boxes) or not len(seen_boxes):
        return np.ones(len(boxes), bool)
    area, seen_area = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (boxes, seen_boxes))
    overlap = iou(boxes, seen_boxes)
    both = overlap / (1 + overlap) * (area[:, None] + seen_area)  # pixels
    same = both > SAME * np.minimum(area[:, None], seen_area)
    same &= (area[:, None] <= 2 * seen_area) & (classes[:, None] == seen_classes)
    return ~same.any(1)
