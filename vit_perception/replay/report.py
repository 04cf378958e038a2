"""Writes the report of a replay: annotated video, tables of detections, tracks and alerts, timing, and a page."""

import csv
import glob
import html
import json
import os

import cv2
import numpy as np

from ..errors import PerceptionError
from ..files import write_whole
from .timeline import timeline

DETECTIONS = ("frame", "stamp_s", "class", "score", "x1", "y1", "x2", "y2", "track_id")
TRACKS = (
    "frame", "stamp_s", "track_id", "class", "seen", "range_m", "range_sigma_m", "bearing_deg", "ttc_s", "ttc_sigma_s",
    "threatens",
)  # fmt: skip
ALERTS = ("frame", "stamp_s", "level", "threat", "class", "track_id", "ttc_s", "range_m", "bearing_deg")
LEVELS = ("OK", "WARN", "ERROR", "STALE")
# What browsers and players know best first; an OpenCV may lack any of them.
CODECS = (("annotated.mp4", "mp4v"), ("annotated.webm", "VP80"), ("annotated.avi", "MJPG"))
MOST_POINTS = 200000  # of the timeline
PICTURES = 8  # frames kept as PNG, at most: where alerts begin, and some spread over the flight


class FlightReport:
    """Collects the frames of a flight. Every file is written beside its name and gets it in `close`.

    Args:
        folder: where to. about: {name: value} that the page shows: the source, the model.
        fps: of the video. total: frames to come, 0 if that is not known.
        say: say(sentence), for what could not be done.

    Raises:
        PerceptionError: the folder cannot be written; in every method.
    """

    def __init__(self, folder, about, fps, total=0, say=print):
        self.folder, self._about, self._fps, self._say = os.path.expanduser(folder), about, fps, say
        self.frames, self.alerts = 0, 0
        self._every = max(1, total // (PICTURES // 2)) if total else 100
        self._points, self._levels, self._pictures, self._level = [], [], [], 0
        self._video = None
        try:
            os.makedirs(os.path.join(self.folder, "frames"), exist_ok=True)
            for old in glob.glob(os.path.join(self.folder, "frames", "[0-9]*.png")):
                os.remove(old)
            columns = {"detections": DETECTIONS, "tracks": TRACKS, "alerts": ALERTS}
            self._tables = {name: _Table(os.path.join(self.folder, name + ".csv"), c) for name, c in columns.items()}
        except OSError as e:
            raise self._failure(e) from None

    def add(self, stamp_s, picture, detections, tracks, alert):
        """One frame.

        Args:
            picture: annotated, BGR uint8 (H, W, 3), or None. detections, tracks: lists of {column: value}.
            alert: {column: value} while there is one, or when it ends; else None.
        """
        place = {"frame": self.frames, "stamp_s": "{:.6f}".format(stamp_s)}
        level = 0 if alert is None else LEVELS.index(alert["level"]) % 3
        try:
            for name, rows in (("detections", detections), ("tracks", tracks), ("alerts", [alert] if alert else [])):
                self._tables[name].add(place, rows)
            if picture is not None:
                self._show(picture, raised=level > self._level)
        except OSError as e:
            raise self._failure(e) from None
        self._points += [(stamp_s, t["track_id"], t.get("range_m"), t.get("ttc_s")) for t in tracks]
        if len(self._points) > MOST_POINTS:  # an hour's dots lie on each other anyway
            self._points = self._points[::2]
        self._levels.append((stamp_s, level))
        self.alerts += level > self._level
        self._level = level
        self.frames += 1

    def _show(self, picture, raised):
        if self._video is None:
            self._video = _Video(self.folder, self._fps, picture.shape[1::-1], self._say)
        self._video.add(picture)
        spread = self.frames % self._every == self._every // 2
        kept = len([1 for _, why in self._pictures if why == raised])
        if (raised or spread) and kept < PICTURES // 2:
            name = "frames/{:06d}.png".format(self.frames)
            write_whole(os.path.join(self.folder, name), cv2.imencode(".png", picture)[1].tobytes())
            self._pictures.append((name, raised))

    def close(self, timing, note=""):
        """Finish every file.

        Args:
            timing: {name: value}, with 'stages': {stage: {'p50_ms': ..., 'p95_ms': ...}}.
            note: what went wrong on the way, if anything.
        """
        try:
            for table in self._tables.values():
                table.close()
            video = self._video.close() if self._video is not None else ""
            plot = cv2.imencode(".png", timeline(self._points, self._levels))[1].tobytes()
            write_whole(os.path.join(self.folder, "timeline.png"), plot)
            facts = dict(self._about, frames=self.frames, alerts=self.alerts, note=note, **timing)
            write_whole(os.path.join(self.folder, "timing.json"), (json.dumps(facts, indent=1) + "\n").encode())
            write_whole(os.path.join(self.folder, "index.html"), self._page(facts, video).encode("utf-8"))
        except OSError as e:
            raise self._failure(e) from None

    def _page(self, facts, video):
        rows = [(k, v) for k, v in facts.items() if k != "stages" and v != ""]
        stages = [(k, "{p50_ms:.2f}".format(**v), "{p95_ms:.2f}".format(**v)) for k, v in facts["stages"].items()]
        names = [t + ".csv" for t in self._tables] + ["timing.json"] + ([video] if video else [])
        links = " &middot; ".join('<a href="{0}">{0}</a>'.format(n) for n in names)
        pictures = "".join('<figure><img src="{0}"><figcaption>{0}</figcaption></figure>'.format(n)
                           for n, _ in sorted(self._pictures))  # fmt: skip
        body = '<h1>Replay</h1>{}<p>{}</p><h2>Timeline</h2><img src="timeline.png"><h2>Milliseconds</h2>{}{}'
        page = body.format(_table(rows), links, _table([("stage", "p50", "p95")] + stages), pictures)
        style = "body{font-family:sans-serif;margin:2em}td{padding:2px 12px}img{max-width:100%}figure{margin:1em 0}"
        return '<!DOCTYPE html><meta charset="utf-8"><title>Replay</title><style>{}</style>{}\n'.format(style, page)

    def _failure(self, error):
        return PerceptionError("cannot write the report in {}: {}".format(self.folder, error.strerror or error))


def _table(rows):
    cells = ("".join("<td>{}</td>".format(html.escape(str(c))) for c in row) for row in rows)
    return "<table>{}</table>".format("".join("<tr>{}</tr>".format(c) for c in cells))


class _Table:
    """A csv file that grows under a temporary name."""

    def __init__(self, path, columns):
        self._path, self._columns = path, columns
        self._file = open(path + ".tmp", "w", newline="")  # noqa: SIM115 (closed by close)
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


class _Video:
    """The first codec that this OpenCV has; without any, a sentence and no video."""

    def __init__(self, folder, fps, size, say):
        self._size, self._writer, self._name, self._temporary = size, None, "", ""
        for name, codec in CODECS:
            temporary = os.path.join(folder, name.replace("annotated", "annotated.tmp"))
            writer = cv2.VideoWriter(temporary, int.from_bytes(codec.encode(), "little"), fps, size)
            if writer.isOpened():
                self._writer, self._name, self._temporary = writer, os.path.join(folder, name), temporary
                break
        if name != CODECS[0][0]:
            text = "no video: this OpenCV can write none" if self._writer is None else "{} instead of mp4"
            say(text.format(name) + "; its build lacks the codec")

    def add(self, picture):
        if self._writer is not None:
            fits = picture.shape[1::-1] == self._size
            self._writer.write(picture if fits else cv2.resize(picture, self._size))

    def close(self):
        """Returns the name of the video's file, '' if there is none."""
        if self._writer is None:
            return ""
        self._writer.release()
        if not os.path.isfile(self._temporary) or not os.path.getsize(self._temporary):
            raise OSError("no space for the video, or its codec failed")
        os.replace(self._temporary, self._name)
        return os.path.basename(self._name)
