"""Writes the report of a replay: annotated video, tables of detections, tracks and alerts, timing, and a page."""

import csv
import glob
import json
import os
from collections import Counter
from typing import Dict, List

import cv2
import numpy as np

from ..errors import PerceptionError
from ..files import write_whole
from .page import page
from .timeline import timeline
from .video import CODECS, Video

_PLACE, _BOX = ("frame", "stamp_s"), ("x1", "y1", "x2", "y2")
# New columns go to the end: people count them.
DETECTIONS = _PLACE + ("class", "score") + _BOX + ("track_id", "image")
TRACKS = (
    _PLACE
    + ("track_id", "class", "seen", "range_m", "range_sigma_m", "bearing_deg", "ttc_s", "ttc_sigma_s", "threatens")
    + _BOX
    + ("image",)
)
ALERTS = _PLACE + ("level", "threat", "class", "track_id", "ttc_s", "range_m", "bearing_deg") + _BOX + ("image",)
MOST_WIDTH = 1280  # of pictures, pixels
LEVELS = ("OK", "WARN", "ERROR", "STALE")
MOST_POINTS = 200000  # of the timeline
PICTURES = 8  # frames kept as PNG, at most: where alerts begin, and some spread over the flight


class Notes:
    """Says each sentence once, and keeps it for the page.

    Args:
        say: say(sentence).
    """

    def __init__(self, say):
        self._say, self.kept = say, []

    def __call__(self, sentence):
        if sentence not in self.kept:
            self.kept.append(sentence)
            self._say(sentence)


class Counts:
    """What a flight had, in numbers.

    Attributes:
        frames, detections, tracks (int). warnings, errors (int): how often an alert rose to that level.
        by_class (Counter): detections by class. seconds (float): from the first frame's stamp to the last one's.
    """

    def __init__(self):
        self.frames = self.detections = self.warnings = self.errors = 0
        self.by_class: Dict[str, int] = Counter()
        self._classes: Dict[str, str] = {}  # track id -> class
        self._stamps: List[float] = []  # first and last
        self._level = 0

    def add(self, stamp_s, detections, tracks, level):
        """One frame; level: of the alert, 0 to 2. Returns whether it was raised."""
        raised = level > self._level
        self.frames += 1
        self.detections += len(detections)
        for d in detections:
            self.by_class[d["class"]] += 1
        self._classes.update((t["track_id"], t["class"]) for t in tracks)
        self._stamps = [min(self._stamps[:1] + [stamp_s]), max(self._stamps[1:] + [stamp_s])]
        self.warnings += raised and level == 1
        self.errors += raised and level == 2
        self._level = level
        return raised

    @property
    def tracks(self):
        """How many tracks there were."""
        return len(self._classes)

    @property
    def seconds(self):
        """Of flight."""
        return self._stamps[1] - self._stamps[0] if self._stamps else 0.0

    def tracks_of(self, name):
        """How many tracks were of this class in the end."""
        return sum(1 for label in self._classes.values() if label == name)


class FlightReport:
    """Collects the frames of a flight. Every file is written beside its name and gets it in `close`.

    Args:
        folder: where to. about: {name: value} that the page shows: the source, the model.
        fps: of the video. total: frames to come, 0 if that is not known.
        notes: `Notes`, of what was guessed or could not be done; the page shows them.

    Attributes:
        counts (Counts).

    Raises:
        PerceptionError: the folder cannot be written; in every method.
    """

    def __init__(self, folder, about, fps, total, notes):
        self.folder, self._about, self._fps, self._notes = os.path.expanduser(folder), about, fps, notes
        self.counts, self._calibrated, self.links = Counts(), False, []
        self._every = max(1, total // (PICTURES // 2)) if total else 100
        self._points, self._levels, self._pictures = [], [], []
        self._video = None
        try:
            os.makedirs(os.path.join(self.folder, "frames"), exist_ok=True)
            for old in self._left_over():
                os.remove(old)
            columns = {"detections": DETECTIONS, "tracks": TRACKS, "alerts": ALERTS}
            self._tables = {name: _Table(os.path.join(self.folder, name + ".csv"), c) for name, c in columns.items()}
        except OSError as e:
            raise self._failure(e) from None

    def _left_over(self):
        """Files of an earlier replay into this folder that this one may not replace."""
        names = [name for name, _, _ in CODECS] + ["timeline.png", "timeline.svg"]
        found = [os.path.join(self.folder, name) for name in set(names)]
        return [f for f in found if os.path.exists(f)] + glob.glob(os.path.join(self.folder, "frames", "[0-9]*.png"))

    @property
    def frames(self):
        """How many there were."""
        return self.counts.frames

    @property
    def alerts(self):
        """How many were raised."""
        return self.counts.warnings + self.counts.errors

    def add(self, stamp_s, picture, detections, tracks, alert, name="", calibrated=False):
        """One frame.

        Args:
            picture: annotated, BGR uint8 (H, W, 3), or None. detections, tracks: lists of {column: value}.
            alert: {column: value} while there is one, or when it ends; else None.
            name: of the image, where it was a file. calibrated: whether its camera is known.
        """
        place = {"frame": self.frames, "stamp_s": "{:.6f}".format(stamp_s), "image": name}
        level = 0 if alert is None else LEVELS.index(alert["level"]) % 3
        raised = self.counts.add(stamp_s, detections, tracks, level)
        self._calibrated |= bool(calibrated)
        try:
            for table, rows in (("detections", detections), ("tracks", tracks), ("alerts", [alert] if alert else [])):
                self._tables[table].add(place, rows)
            if picture is not None:
                self._show(picture, place, raised and "{} is raised".format(alert["level"]))
        except OSError as e:
            raise self._failure(e) from None
        self._points += [(stamp_s, t["track_id"], t.get("range_m"), t.get("ttc_s")) for t in tracks]
        if len(self._points) > MOST_POINTS:  # an hour's dots lie on each other anyway
            self._points = self._points[::2]
        self._levels.append((stamp_s, level))

    def _show(self, picture, place, raised):
        height, width = picture.shape[:2]
        if width > MOST_WIDTH:  # encoders and browsers take long for more, and nobody sees it
            size = MOST_WIDTH, int(round(height * MOST_WIDTH / float(width)))
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        if self._video is None:
            self._video = Video(self.folder, self._fps, picture.shape[1::-1], self._notes)
        self._video.add(picture)
        spread = place["frame"] % self._every == self._every // 2
        kept = len([1 for _, _, why in self._pictures if bool(why) == bool(raised)])
        if (raised or spread) and kept < PICTURES // 2:
            name = "frames/{:06d}.png".format(place["frame"])
            write_whole(os.path.join(self.folder, name), cv2.imencode(".png", picture)[1].tobytes())
            self._pictures.append((name, place, raised))

    def close(self, timing, note=""):
        """Finish every file.

        Args:
            timing: {name: value}, with 'stages': {stage: {'p50_ms': ..., 'p95_ms': ...}}.
            note: what went wrong on the way, if anything.
        """
        try:
            for table in self._tables.values():
                table.close()
            video = (self._video.close(), self._video.plays) if self._video is not None else ("", False)
            plot = timeline(self._points, self._levels, self._calibrated)
            write_whole(os.path.join(self.folder, "timeline.svg"), plot.encode("utf-8"))
            c = self.counts
            found = {"detections": c.detections, "tracks": c.tracks, "calibrated": "yes" if self._calibrated else "no"}
            facts = dict(
                self._about,
                notes=self._notes.kept,
                frames=self.frames,
                alerts=self.alerts,
                note=note,
                **dict(found, **timing),
            )
            write_whole(os.path.join(self.folder, "timing.json"), (json.dumps(facts, indent=1) + "\n").encode())
            files = (
                [t + ".csv" for t in self._tables]
                + ["timing.json", "timeline.svg"]
                + ([video[0]] if video[0] else [])
                + self.links
            )
            pictures = [
                (name, self._why(place, raised)) for name, place, raised in sorted(self._pictures, key=lambda p: p[0])
            ]
            text = page(facts, c, timing["stages"], plot, video, pictures, files)
            write_whole(os.path.join(self.folder, "index.html"), text.encode("utf-8"))
        except OSError as e:
            raise self._failure(e) from None

    def _why(self, place, raised):
        """Caption of a picture."""
        seconds = float(place["stamp_s"]) - min([s for s, _ in self._levels])
        parts = ["frame {}".format(place["frame"]), place["image"], "{:.1f} s".format(seconds), raised or ""]
        return ", ".join(part for part in parts if part)

    def _failure(self, error):
        return PerceptionError("cannot write the report in {}: {}".format(self.folder, error.strerror or error))


class _Table:
    """A csv file that grows under a temporary name."""

    def __init__(self, path, columns):
        self._path, self._columns = path, columns
        self._file = open(path + ".tmp", "w", newline="", encoding="utf-8")  # noqa: SIM115 (closed by close)
        self._writer = csv.DictWriter(self._file, columns, restval="", extrasaction="ignore")
        self._writer.writeheader()

    def add(self, place, rows):
        for row in rows:
            self._writer.writerow({k: _short(v) for k, v in dict(row, **place).items()})

    def close(self):
        self._file.close()
        os.replace(self._path + ".tmp", self._path)


def _short(value):
    if value is None:
        return ""
    return "{:.4f}".format(float(value)) if isinstance(value, (float, np.floating)) else value
