"""One frame's results drawn into its picture, for people: boxes, tracks by threat, range, time to contact, alert."""

import cv2
import numpy as np

from .avoidance.alerts import ERROR

# BGR. Red threatens, orange is not judged, green passes; white is a detection that is no track (yet).
THREAT_COLOURS = {True: (60, 60, 255), None: (0, 165, 255), False: (80, 210, 60)}
NO_TRACK = (235, 235, 235)
_BLACK = (0, 0, 0)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FARTHEST = 32000  # pixels; a predicted box may lie far outside, and OpenCV draws with whole numbers


def draw(image, order, result, labels):
    """Return a picture of one frame with its results.

    A track has a thick box, dashed where it is only predicted or remembered; a detection that is no track has a thin
    one and its class and score. A track's text is class, id and score, then range and time to contact where known.

    Args:
        image, order: uint8 (H, W) if order is 'mono', (H, W, 3) if it is 'rgb' or 'bgr'. It is not changed.
        result: `vit_perception.pipeline.Result` of it.
        labels: the class names by index.

    Returns:
        uint8 (H, W, 3) BGR, a new array.
    """
    picture = _to_bgr(image, order)
    pen = _Pen(picture)
    found, tracks = result.detections, result.tracks
    tracked = {t.detection for t in tracks}
    for i in range(len(found)):
        if i not in tracked:
            text = "{} {:.2f}".format(labels[found.classes[i]], found.scores[i])
            pen.box(found.boxes[i], NO_TRACK, text, bold=False)
    # Obstacles are the tracks and what is remembered; the threatening ones last, on top of the others.
    for o in sorted(result.obstacles, key=lambda o: bool(o.threatens)):
        seen = o.track.detection >= 0 and any(t is o.track for t in tracks)
        pen.box(o.track.box, THREAT_COLOURS[o.threatens], _caption(o, labels), dashed=not seen)
    if result.alert.level:
        pen.banner(result.alert, labels)
    return picture


def _to_bgr(image, order):
    if order == "mono":
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if order == "rgb" else image.copy()


def _caption(o, labels):
    parts = ["{} #{} {:.2f}".format(labels[o.track.class_index], o.track.id, o.track.score)]
    if o.range_m is not None:
        parts.append("{:.1f} m".format(o.range_m))
    if o.ttc_s is not None:
        parts.append("{:.1f} s".format(o.ttc_s))
    return "  ".join(parts)


class _Pen:
    """Draws with lines and letters that fit the picture's size."""

    def __init__(self, picture):
        self._picture = picture
        self._height, self._width = picture.shape[:2]
        self._scale = min(max(self._width / 1500.0, 0.4), 1.5)  # 0.43 at 640 pixels, 0.85 at 1280
        self._line = 2 if self._width < 1600 else 3
        self._stroke = 1 if self._scale < 0.8 else 2

    def box(self, box, colour, text, bold=True, dashed=False):
        x1, y1, x2, y2 = (int(round(min(max(float(v), -_FARTHEST), _FARTHEST))) for v in box)
        line = self._line if bold and min(x2 - x1, y2 - y1) > 10 * self._line else 1  # something small stays visible
        if dashed:
            self._dashes((x1, y1), (x2, y2), colour, line)
        else:
            cv2.rectangle(self._picture, (x1, y1), (x2, y2), _BLACK, line + 2)  # seen on any background
            cv2.rectangle(self._picture, (x1, y1), (x2, y2), colour, line)
        self._text(text, x1, y1, y2, colour)

    def _dashes(self, low, high, colour, line):
        """A rectangle of which each side is drawn in its first, third ... part, within the picture."""
        (x1, y1), (x2, y2) = low, high
        for start, end in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1))):
            parts = 2 * min(max(max(abs(end[0] - start[0]), abs(end[1] - start[1])) // 12, 2), 40) - 1
            points = np.linspace(start, end, parts + 1).round().astype(int).tolist()
            for a, b in zip(points[0:-1:2], points[1::2]):
                cv2.line(self._picture, tuple(a), tuple(b), colour, line)

    def _text(self, text, x, top, bottom, colour):
        """Dark letters on the box's colour, above the box, or below it at the upper border, never outside."""
        (w, h), base = cv2.getTextSize(text, _FONT, self._scale, self._stroke)
        y = top - base if top - base - h >= 0 else bottom + h + base
        x, y = max(min(x, self._width - w), 0), max(min(y, self._height - base), h)
        cv2.rectangle(self._picture, (x, y - h - 1), (x + w, y + base - 1), colour, -1)
        cv2.putText(self._picture, text, (x, y), _FONT, self._scale, _BLACK, self._stroke, cv2.LINE_AA)

    def banner(self, alert, labels):
        """The alert over the whole width, at the lower border: boxes' texts are above them."""
        text = "ERROR" if alert.level == ERROR else "WARN"
        if alert.obstacle is not None:
            text += "  " + _caption(alert.obstacle, labels)
        scale, stroke = 1.4 * self._scale, self._stroke + 1
        (w, h), base = cv2.getTextSize(text, _FONT, scale, stroke)
        if w > self._width - 8:  # a small picture
            scale, stroke = scale * (self._width - 8.0) / w, 1
            (w, h), base = cv2.getTextSize(text, _FONT, scale, stroke)
        y = self._height - base - 3
        colour = THREAT_COLOURS[True] if alert.level == ERROR else THREAT_COLOURS[None]
        cv2.rectangle(self._picture, (0, y - h - 6), (self._width, self._height), colour, -1)
        cv2.putText(self._picture, text, (4, y), _FONT, scale, _BLACK, stroke, cv2.LINE_AA)
