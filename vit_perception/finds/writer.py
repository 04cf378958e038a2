"""The files of a flight, written while it lasts: each whole or not at all, in a thread beside the flight."""

import contextlib
import json
import os
import threading
import time
from typing import Any, Dict, List, Set

import cv2
import numpy as np

from ..errors import PerceptionError
from ..files import write_whole
from . import exports
from .page import page

PAGE_EVERY_S = 10.0  # the page holds all pictures, so it is written less often
MOST_PICTURES, MOST_EVENTS = 512, 20000  # that wait for a disk that is full
JPEG_QUALITY = 85
REST = 3.0  # times as long as a write took, until the next: of thousands of finds it takes seconds of a core
LAST_WORDS_S = 5.0  # how long a write under way may take when the flight ends
LOG = "finds.log.jsonl"


class Writer:
    """Writes a `search.Search` now and then.

    Args:
        folder: where to; it is made with the first find or position. own: make a folder for this flight inside it.
        every_s: seconds between two writes. warn: warn(kind, sentence), which throttles.

    Attributes:
        folder (str): of this flight; "" until the first write. failure (str): why the last write failed.
    """

    def __init__(self, folder, own, every_s, warn):
        self._root, self._own, self._every_s, self._warn = folder, own, every_s, warn
        self.folder, self.failure = "", ""
        self._pictures: Dict[int, tuple] = {}
        self._events: List[dict] = []
        self._have: Set[int] = set()
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._thread: Any = None
        self._due = self._page_due = 0.0  # steady clock

    def log(self, event):
        """An event of the map, for finds.log.jsonl."""
        with self._lock:
            self._events.append(event)
            del self._events[:-MOST_EVENTS]

    def picture(self, find_id, crop, label, score, stamp_s):
        """The best look so far of a find: BGR uint8."""
        with self._lock:
            if find_id in self._pictures or len(self._pictures) < MOST_PICTURES:
                self._pictures[find_id] = crop, label, score, stamp_s

    def due(self, search):
        """Begin to write, if it is time and nothing is being written."""
        now = time.monotonic()
        if now < self._due or search.frame is None or (self._thread is not None and self._thread.is_alive()):
            return
        self._due = now + self._every_s
        with_page = now >= self._page_due
        if with_page:
            self._page_due = now + max(PAGE_EVERY_S, self._every_s)
        arguments = (_Snapshot(search), with_page)
        self._thread = threading.Thread(target=self._write, args=arguments, name="finds", daemon=True)
        self._thread.start()

    def write_now(self, search):
        """Write everything and wait for it. Returns the folder.

        Raises:
            PerceptionError: nothing is known yet, or the disk; one sentence.
        """
        if search.frame is None:
            raise PerceptionError("no finds yet: {}".format(search.missing()))
        if self._thread is not None:
            self._thread.join(LAST_WORDS_S)
        with search.lock:
            snapshot = _Snapshot(search)
        self._write(snapshot, True)
        if self.failure:
            raise PerceptionError(self.failure)
        return self.folder

    def close(self, search):
        """The last write, if there is anything to tell."""
        if search.frame is not None:
            with contextlib.suppress(PerceptionError):  # the warning has told
                self.write_now(search)

    def _write(self, snapshot, with_page):
        with self._writing:  # one at a time
            begun = time.monotonic()
            self._write_all(snapshot, with_page)
            ended = time.monotonic()
            self._due = max(self._due, ended + REST * (ended - begun))

    def _write_all(self, snapshot, with_page):
        try:
            self._make_folder()
            self._write_pictures(snapshot)
            self._write_log()
            rows = exports.records(snapshot.finds, snapshot.frame, self._have)
            self._whole("finds.geojson", exports.geojson(rows, snapshot.path, snapshot.area))
            self._whole("finds.kml", exports.kml(rows, snapshot.path))
            self._whole("finds.csv", exports.table(rows))
            if with_page:
                self._whole("finds.html", page(rows, snapshot, self.folder))
            self.failure = ""
        except OSError as e:
            where = self.folder or self._root
            text = "cannot write the finds in {}: {}; the flight goes on, and what was written before stays"
            self.failure = text.format(where, e.strerror or e)
            self._warn("finds_files", self.failure)
        except Exception as e:  # a fault here must not end the thread without a word
            self.failure = "cannot write the finds: {!r}".format(e)
            self._warn("finds_files", self.failure)

    def _make_folder(self):
        if not self.folder:
            path = os.path.join(self._root, time.strftime("%Y%m%d_%H%M%S")) if self._own else self._root
            number, free = 1, path
            while True:
                try:
                    os.makedirs(free, exist_ok=not self._own)
                    break
                except FileExistsError:
                    if not os.path.isdir(free):
                        raise
                number += 1  # a node that was started in the same second
                free = "{}_{}".format(path, number)
            self.folder = free
        os.makedirs(os.path.join(self.folder, "crops"), exist_ok=True)

    def _whole(self, name, data):
        write_whole(os.path.join(self.folder, name), data)

    def _write_pictures(self, snapshot):
        known = {f.id: f for f in snapshot.finds}
        with self._lock:
            waiting = list(self._pictures.items())
        for find_id, entry in waiting:
            find = known.get(find_id)
            if find is not None and find.looks > 1:  # of one look most are nothing
                place = snapshot.frame.to_geodetic(find.state[0], find.state[1])
                self._whole("crops/{}.jpg".format(find_id), _jpeg(place, *entry))
                self._have.add(find_id)
            elif find is not None and find.last_s > snapshot.newest_s - 2.0:
                continue
            with self._lock:
                if self._pictures.get(find_id) is entry:
                    del self._pictures[find_id]
        self._have &= set(known)

    def _write_log(self):
        with self._lock:
            events, self._events = self._events, []
        path, size = os.path.join(self.folder, LOG), None
        try:
            with open(path, "ab") as f:
                size = f.tell()
                f.write("".join(json.dumps(e) + "\n" for e in events).encode("utf-8"))
                f.flush()
                os.fsync(f.fileno())
        except OSError:
            with self._lock:
                self._events = events + self._events
            if size is not None:
                with contextlib.suppress(OSError):
                    os.truncate(path, size)  # what was written of them comes again
            raise


class _Snapshot:
    """What a write needs, taken in the flight's own thread."""

    def __init__(self, search):
        self.finds = [f for f in list(search.finds.finds.values()) if f.confirmed or f.looks >= 3]
        self.newest_s = max([f.last_s for f in self.finds] or [0.0])
        self.frame, self.path, self.area = search.frame, list(search.path), search.area
        self.coverage = search.coverage.copy()
        self.rings = search.area_rings()
        self.of_area = self.coverage.of_area(self.rings)
        self.placed, self.unplaced, self.forgotten = search.placed, search.unplaced, search.finds.forgotten
        self.warning = search.coverage.warning()


def _jpeg(place, crop, label, score, stamp_s):
    """A picture with a line of text below it: what, score, time, place."""
    height = max(1, int(round(320.0 * crop.shape[0] / crop.shape[1])))
    picture = cv2.resize(crop, (320, height), interpolation=cv2.INTER_LINEAR)
    strip = np.full((40, 320, 3), 24, np.uint8)
    lines = ("{} {:.2f}  {}".format(label, score, exports.told_time(stamp_s)), "{:.6f}, {:.6f}".format(*place[:2]))
    for i, text in enumerate(lines):
        cv2.putText(strip, text, (6, 16 + 17 * i), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (235, 235, 235), 1, cv2.LINE_AA)
    done, data = cv2.imencode(".jpg", np.concatenate([picture, strip]), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise OSError("a picture cannot be encoded")
    return data.tobytes()
