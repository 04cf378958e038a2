"""A flight's ranges, times to contact and alert levels over time, as a picture drawn with OpenCV."""

import cv2
import numpy as np

from ..draw import THREAT_COLOURS

WIDTH, PANEL, LEFT, GAP = 1200, 200, 70, 44
_FONT, _GRAY, _INK = cv2.FONT_HERSHEY_SIMPLEX, (225, 225, 225), (60, 60, 60)
_TRACKS = ((180, 119, 31), (14, 127, 255), (44, 160, 44), (40, 39, 214), (189, 103, 148), (75, 86, 140))  # BGR, by id


def timeline(points, levels):
    """Three panels, one under the other.

    Args:
        points: list of (stamp_s, track id, range_m or None, ttc_s or None).
        levels: list of (stamp_s, alert level), one per frame.

    Returns:
        uint8 (H, 1200, 3) BGR.
    """
    picture = np.full((3 * (PANEL + GAP) + GAP, WIDTH, 3), 255, np.uint8)
    stamps = [s for s, _ in levels] or [0.0]
    span = (min(stamps), max(max(stamps), min(stamps) + 1e-3))
    _dots(picture, 0, "range [m]", span, [(s, i, r) for s, i, r, _ in points if r is not None])
    _dots(picture, 1, "time to contact [s]", span, [(s, i, t) for s, i, _, t in points if t is not None])
    top = _panel(picture, 2, "alert: OK, WARN, ERROR", span, 2.0, ("OK", "WARN", "ERROR"))
    for (start, level), (end, _) in zip(levels, levels[1:] + [(span[1], 0)]):
        a, b = _x(start, span), max(_x(end, span), _x(start, span) + 1)
        y, colour = top + PANEL - level * PANEL // 2, THREAT_COLOURS[{0: False, 1: None}.get(level, True)]
        cv2.rectangle(picture, (a, min(y, top + PANEL - 4)), (b, top + PANEL), colour, -1)
    return picture


def _dots(picture, index, title, span, points):
    # A predicted box may shrink to nothing and its range go through the roof: such dots stay at the upper edge.
    largest = 1.2 * float(np.percentile([v for _, _, v in points] or [1.0], 95))
    top = _panel(picture, index, title, span, largest, ["{:.3g}".format(k * largest / 2) for k in range(3)])
    for stamp, track, value in points:
        y = top + PANEL - int(round(PANEL * min(value / largest, 1.0)))
        cv2.circle(picture, (_x(stamp, span), y), 2, _TRACKS[int(track) % len(_TRACKS)], -1)


def _panel(picture, index, title, span, largest, ticks):
    """Frame, title and ticks of a panel; returns its upper edge."""
    top = GAP + index * (PANEL + GAP)
    for k, text in enumerate(ticks):
        y = top + PANEL - k * PANEL // 2
        cv2.line(picture, (LEFT, y), (WIDTH - 20, y), _GRAY, 1)
        cv2.putText(picture, text, (8, y + 5), _FONT, 0.45, _INK, 1, cv2.LINE_AA)
    for k in range(5):
        seconds = k * (span[1] - span[0]) / 4
        x = _x(span[0] + seconds, span)
        cv2.line(picture, (x, top), (x, top + PANEL), _GRAY, 1)
        cv2.putText(picture, "{:.1f} s".format(seconds), (x - 18, top + PANEL + 16), _FONT, 0.4, _INK, 1, cv2.LINE_AA)
    cv2.putText(picture, title, (LEFT, top - 8), _FONT, 0.5, _INK, 1, cv2.LINE_AA)
    return top


def _x(stamp, span):
    return LEFT + int(round((WIDTH - 20 - LEFT) * (stamp - span[0]) / (span[1] - span[0])))
