"""Boxes as arrays (n, 4) of x1, y1, x2, y2 in pixels: their overlap, and matching by it."""

import numpy as np


def iou(a, b):
    """Intersection over union of every box in a (n, 4) with every box in b (m, 4): (n, m)."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.maximum(bottom_right - top_left, 0), axis=2)
    area_a, area_b = np.prod(a[:, 2:] - a[:, :2], axis=1), np.prod(b[:, 2:] - b[:, :2], axis=1)
    return inter / np.maximum(area_a[:, None] + area_b[None] - inter, 1e-9)


def greedy(overlap, threshold):
    """Pairs (row, column) of overlap (n, m), best first, each used once, down to `threshold`."""
    rows, columns = np.nonzero(overlap >= threshold)
    pairs, used_rows, used_columns = [], set(), set()
    for i in np.argsort(-overlap[rows, columns], kind="mergesort").tolist():
        row, column = int(rows[i]), int(columns[i])
        if row not in used_rows and column not in used_columns:
            used_rows.add(row)
            used_columns.add(column)
            pairs.append((row, column))
    return pairs
