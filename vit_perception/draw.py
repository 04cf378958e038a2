"""One frame's results drawn into its picture, for people: boxes, tracks by threat, range, time to contact, alert."""

import cv2
import numpy as np

from .avoidance.alerts import ERROR
from .motion_obstacles import by_motion
from .palette import NO_TRACK, OF_LEVEL, OF_THREAT, bgr
from .plates import Plates

_BLACK = (0, 0, 0)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FARTHEST = 32000  # pixels; a predicted box may lie far outside, and OpenCV draws with whole numbers


def draw(image, order, result, labels, zoom=1, overlay=None):
    """Return a picture of one frame with its results.

    A track has a thick box, dashed where it is only predicted or remembered; a detection that is no track has a thin
    one and its class and score. A track's text is class, id and score, then range and time to contact where known;
    where there is no place for it, its id; where there is none for that either, nothing. Colours: palette.py.

    Args:
        image, order: uint8 (H, W) if order is 'mono', (H, W, 3) if it is 'rgb' or 'bgr'. It is not changed.
        result: `vit_perception.pipeline.Result` of it; None: nothing was looked for.
        labels: the class names by index.
        zoom: how many times larger the picture is to be, a whole number: small images have no room for letters.
        overlay: `vit_perception.segmentation.overlay.Overlay`: what lies where, under the boxes; None: not known.

    Returns:
        uint8 (H * zoom, W * zoom, 3) BGR, a new array.
    """
    picture = _to_bgr(image, order)
    if zoom > 1:
        picture = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
    if overlay is not None:
        overlay.blend(picture)
        overlay.legend(picture)
    if result is None:
        return picture
    pen = Pen(picture)
    found, tracks = result.detections, result.tracks
    tracked = {t.detection for t in tracks}
    for i in range(len(found)):
        if i not in tracked:
            text = "{} {:.2f}".format(labels[found.classes[i]], found.scores[i])
            pen.box(zoom * found.boxes[i], NO_TRACK, text, bold=False)
    # Obstacles are the tracks and what is remembered; the threatening ones last, on top of the others.
    for o in sorted(result.obstacles, key=lambda o: bool(o.threatens)):
        seen = o.track.detection >= 0 and any(t is o.track for t in tracks) or (by_motion(o) and not o.remembered)
        texts = _caption(o, labels), "#{}".format(o.track.id)
        pen.box(zoom * np.asarray(o.track.box), OF_THREAT[o.threatens], *texts, dashed=not seen)
    if result.alert.level:
        pen.banner(result.alert, labels)
    pen.write()
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


class Pen:
    """Draws on a picture, BGR uint8 (H, W, 3), with lines and letters that fit its size; `write` ends it.

    Args:
        letters: how much larger than usual, lines and letters alike.
    """

    def __init__(self, picture, letters=1.0):
        self._picture = picture
        self._height, self._width = picture.shape[:2]
        side = max(self._width, self._height)
        self._scale = max(letters * side / 1500.0, 0.4)  # 0.43 at 640 pixels, 0.85 at 1280, 2.6 at 3840
        self._line = max(2, int(round(letters * side / 640.0)))
        self._stroke = max(1, int(round(self._scale / 0.7)))
        self._plates = Plates(picture, self._scale, self._stroke)

    def box(self, box, colour, *texts, **how):
        """A box (x1, y1, x2, y2) in '#rrggbb', and one of its texts; how: bold=True, dashed=False."""
        x1, y1, x2, y2 = (int(round(min(max(float(v), -_FARTHEST), _FARTHEST))) for v in box)
        bold = how.get("bold", True) and min(x2 - x1, y2 - y1) > 10 * self._line  # something small stays visible
        line, ink = self._line if bold else (self._line + 1) // 2, bgr(colour)
        for shade, width in ((_BLACK, line + 2), (ink, line)):  # with a rim it is seen on any background
            if how.get("dashed"):
                self._dashes((x1, y1), (x2, y2), shade, width)
            else:
                cv2.rectangle(self._picture, (x1, y1), (x2, y2), shade, width)
        self._plates.add((x1, y1, x2, y2), colour, *texts)

    def write(self):
        """Write the texts of all boxes."""
        self._plates.write()

    def _dashes(self, low, high, colour, line):
        """A rectangle of which each side is drawn in its first, third ... part, within the picture."""
        (x1, y1), (x2, y2) = low, high
        for start, end in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1))):
            parts = 2 * min(max(max(abs(end[0] - start[0]), abs(end[1] - start[1])) // 12, 2), 40) - 1
            points = np.linspace(start, end, parts + 1).round().astype(int).tolist()
            for a, b in zip(points[0:-1:2], points[1::2]):
                cv2.line(self._picture, tuple(a), tuple(b), colour, line)

    def banner(self, alert, labels):
        """The alert over the whole width, at the lower border, where no text covers it."""
        text = "ERROR" if alert.level == ERROR else "WARN"
        if alert.obstacle is not None:
            text += "  " + _caption(alert.obstacle, labels)
        scale, stroke = 1.4 * self._scale, self._stroke + 1
        (w, h), base = cv2.getTextSize(text, _FONT, scale, stroke)
        if w > self._width - 8:  # a small picture
            scale, stroke = scale * (self._width - 8.0) / w, 1
            (w, h), base = cv2.getTextSize(text, _FONT, scale, stroke)
        y = self._height - base - 3
        cv2.rectangle(self._picture, (0, y - h - 6), (self._width, self._height), bgr(OF_LEVEL[alert.level]), -1)
        cv2.putText(self._picture, text, (4, y), _FONT, scale, _BLACK, stroke, cv2.LINE_AA)
        self._plates.reserve(0, y - h - 6, self._width, self._height)
