"""Multi-object tracking: greedy, class-aware IoU association over predictions of a constant-velocity Kalman filter.

Strong detections are matched first, then the weak ones with the tracks that are left (Zhang et al.: ByteTrack, 2022).
The camera's own motion, where it is known, moves the tracks before they are predicted (Aharon et al.: BoT-SORT, 2022).
"""

import math
from collections import deque
from typing import Deque

import numpy as np

from ..avoidance.geometry import turned_image
from ..boxes import greedy, iou
from ..slices import passed_over
from .box_filter import BoxFilter

SCORES = 10  # detections that a track's mean score is about
SURE_HITS, SURE_COAST = 10, 3.0  # a track of more detections than this is looked for longer, up to so many times
PROVEN = 6  # detections of a size that prove that the detector finds it at this size
LARGE_PX = 28.0  # sqrt(w h); what is so large is near, and seldom a ghost
MAX_BOXES = 300  # best-scored detections of a frame that are looked at, and tracks that are kept: bounds the time


class Track:
    """One object followed through the frames.

    Attributes:
        id (int): unique in a run.
        class_index (int), score (float): of the newest detection. mean_score (float): of the last ones, about ten.
        box (4,) float32: x1, y1, x2, y2 in pixels; the detection's, or predicted while coasting.
        velocity (4,) float32: of the box's centre x, y and size w, h, pixels per second.
        detection (int): index in this frame's detections, or -1 while coasting.
        hits (int): detections so far. missed (int): frames since the newest.
        strong (bool): whether one of them was. confirmed (bool): whether they suffice.
        frames (int): from its first detection to the newest, both included.
        found (tuple): width and height of the newest detection, pixels.
        proven_px (float): sqrt(w h) that the last PROVEN detections all reached.
        start_s, stamp_s (float): stamps of the first and the newest detection.
        unlooked_s (float): seconds since the newest detection for which nobody looked where it is.
        growth (tuple or None): what `vit_perception.tracking.growth` says in this frame of how much it grew.
    """

    __slots__ = (
        "id", "class_index", "score", "mean_score", "box", "velocity", "found", "_sizes",
        "detection", "hits", "missed", "frames", "strong", "confirmed", "start_s", "stamp_s", "unlooked_s",
        "growth",
    )  # fmt: skip

    def __init__(self, track_id, class_index, stamp_s):
        self.id, self.class_index = track_id, class_index
        self.score, self.mean_score, self.box, self.velocity = 0.0, 0.0, None, None
        self.detection, self.hits, self.missed, self.strong, self.confirmed = -1, 0, 0, False, False
        self.start_s = self.stamp_s = stamp_s
        self.unlooked_s = 0.0
        self.growth, self.frames, self.found = None, 0, (0.0, 0.0)
        self._sizes: Deque[float] = deque(maxlen=PROVEN)

    @property
    def proven_px(self):
        return min(self._sizes) if self._sizes else 0.0

    def hit(self, box, score, detection, stamp_s):
        """Take a detection."""
        self.hits, self.frames, self.missed = self.hits + 1, self.frames + self.missed + (self.hits == 0), 0
        self.box, self.score, self.detection, self.stamp_s, self.unlooked_s = box, score, detection, stamp_s, 0.0
        self.mean_score += (score - self.mean_score) / min(self.hits, SCORES)
        x1, y1, x2, y2 = box.tolist()
        self.found = x2 - x1, y2 - y1
        self._sizes.append(math.sqrt(max((x2 - x1) * (y2 - y1), 0.0)))


class Tracker:
    """Follows detections from frame to frame.

    A track is born of a detection that continues no other and is confirmed after `confirm_hits` detections in
    consecutive frames, or `weak_hits` if none of them was strong; one miss before that ends it or, if it is large, two
    in a row. Then it coasts on its velocity while it is missed, and dies after `max_coast_s` of that, or later if it
    had many detections, or when time jumps.

    Args:
        iou_threshold: least overlap of a detection with a track's prediction, both grown by `margin`.
        margin: growth of boxes for matching, as a part of their size on each side; helps 10-pixel objects.
        high_score: detections from it on are strong: they are matched first, weaker ones with the tracks that are left.
        confirm_hits: detections in consecutive frames that confirm a track. weak_hits: the same without a strong one;
            0: never.
        max_coast_s: a confirmed track without detections for longer is told of no more and dropped; one of many
            detections, that is surely an object, up to SURE_COAST times as late: found again by then, it is itself.
        max_gap_s: a longer pause between frames, or a stamp that goes back, drops all tracks.

    Attributes:
        restarted (bool): whether the last frame did.
    """

    def __init__(
        self, iou_threshold=0.2, margin=0.25, high_score=0.4, confirm_hits=3, max_coast_s=0.5, max_gap_s=1.0,
        weak_hits=8,
    ):  # fmt: skip
        self.iou_threshold, self.margin, self.high_score = iou_threshold, margin, high_score
        self.confirm_hits, self.weak_hits = confirm_hits, weak_hits
        self.max_coast_s, self.max_gap_s = max_coast_s, max_gap_s
        self._next_id = 1  # never reset: an id means one object for the whole run
        self.restarted = False
        self.reset()

    def reset(self):
        """Drop all tracks; ids go on counting."""
        self._tracks = []
        self._filter = BoxFilter()
        self._stamp_s = None

    def update(self, detections, stamp_s, motion=None, turning=None, slices=((), ())):
        """Take one frame's detections.

        Args:
            detections: boxes (n, 4), scores (n,), classes (n,), as `vit_perception.detector.Detections`.
            stamp_s: the image's stamp in seconds.
            motion: affine (2, 3) from pixels of the previous image to pixels of this one, as
                `vit_perception.tracking.camera_motion.CameraMotion` finds it, or None.
            turning: (K (3, 3), rate (3,) rad/s in the optical frame) of the camera, or None: used where `motion` is
                unknown, as in low flight, where near and far move differently.
            slices: (those that were looked at, those that were passed over) of this image, x1, y1, x2, y2: a track in
                the latter alone is not missed.

        Returns:
            The confirmed tracks, those that coast for at most max_coast_s included, oldest first.
        """
        dt = 0.0 if self._stamp_s is None else stamp_s - self._stamp_s
        self.restarted = not 0 <= dt <= self.max_gap_s
        if self.restarted:
            self.reset()
            dt = 0.0
        self._stamp_s = stamp_s
        if motion is None and turning is not None:
            self._filter.move(turned_image(turning[0], dt * turning[1]), dt, stands=False)
        else:
            self._filter.move(None if motion is None else np.vstack([motion, (0.0, 0.0, 1.0)]), dt)
        self._filter.predict(dt)
        predicted = self._filter.boxes()
        for track, box, unlooked in zip(self._tracks, predicted, passed_over(predicted, *slices)):
            track.box, track.detection, track.growth = box, -1, None
            track.missed += not unlooked
            track.unlooked_s += dt * unlooked
        usable = _usable(detections)
        matches = self._match(detections, usable)
        self._correct(matches, detections, stamp_s)
        self._drop(stamp_s)
        taken = {d for _, d in matches}
        self._start([d for d in usable if d not in taken], detections, stamp_s)
        for track, velocity in zip(self._tracks, self._filter.image_velocity()):
            track.velocity = velocity
        return [t for t in self._tracks if t.confirmed and _missed_s(t, stamp_s) <= self.max_coast_s]

    @property
    def tentative(self):
        """Tracks not confirmed (yet) that had a strong detection: in this frame or, if they are large, just before."""
        return [t for t in self._tracks if t.strong and not t.confirmed]

    def _match(self, detections, usable):
        """Pairs (track, detection): strong detections first, then weak ones with the tracks that are left."""
        overlap = self._overlap(detections, usable)
        strong = detections.scores[usable] >= self.high_score
        pairs = greedy(np.where(strong, overlap, 0.0), self.iou_threshold)
        left = overlap.copy()
        left[[t for t, _ in pairs]] = 0.0
        left[:, strong] = 0.0
        pairs += greedy(left, self.iou_threshold)
        return [(t, int(usable[d])) for t, d in pairs]

    def _overlap(self, detections, usable):
        """IoU (tracks, usable detections) of grown boxes; 0 between classes."""
        predicted, boxes = self._filter.boxes(), detections.boxes[usable]
        overlap = iou(_grow(predicted, self.margin), _grow(boxes, self.margin))
        classes = np.array([t.class_index for t in self._tracks], np.int64)
        overlap[classes[:, None] != detections.classes[usable][None]] = 0.0
        return overlap

    def _correct(self, matches, detections, stamp_s):
        for t, d in matches:
            self._hit(self._tracks[t], detections, d, stamp_s)
        if matches:
            tracks, found = (np.array(v) for v in zip(*matches))
            self._filter.correct(tracks, detections.boxes[found])

    def _hit(self, track, detections, d, stamp_s):
        track.hit(detections.boxes[d], float(detections.scores[d]), d, stamp_s)
        track.strong = track.strong or track.score >= self.high_score
        enough = self.confirm_hits if track.strong else max(self.weak_hits, self.confirm_hits)
        track.confirmed = track.confirmed or track.hits >= enough

    def _drop(self, stamp_s):
        self._keep([i for i, t in enumerate(self._tracks) if t.detection >= 0 or self._lives(t, stamp_s)])

    def _lives(self, track, stamp_s):
        """Whether a track goes on without a detection in this frame."""
        if not track.confirmed:
            x1, y1, x2, y2 = track.box.tolist()
            return not track.missed or (track.missed == 1 and (x2 - x1) * (y2 - y1) >= LARGE_PX**2)
        # Not zero: a camera that never sets its stamps must not let tracks coast for ever.
        waited = _missed_s(track, stamp_s) <= longest_coast(track.hits, self.max_coast_s)
        return stamp_s > track.stamp_s and waited

    def _start(self, candidates, detections, stamp_s):
        new = [d for d in candidates if self.weak_hits or detections.scores[d] >= self.high_score]
        room = MAX_BOXES - len(new)
        if len(self._tracks) > room:  # what was seen longest ago makes room
            by_age = sorted(range(len(self._tracks)), key=lambda i: -self._tracks[i].stamp_s)
            self._keep(sorted(by_age[:room]))
        for d in new:
            track = Track(self._next_id, int(detections.classes[d]), stamp_s)
            self._hit(track, detections, d, stamp_s)
            self._tracks.append(track)
            self._next_id += 1
        self._filter.add(detections.boxes[new])

    def _keep(self, indices):
        if len(indices) < len(self._tracks):
            self._tracks = [self._tracks[i] for i in indices]
            self._filter.keep(indices)


def _missed_s(track, stamp_s):
    """Seconds for which looks missed a track."""
    return stamp_s - track.stamp_s - track.unlooked_s


def longest_coast(hits, max_coast_s):
    """Seconds for which a confirmed track of so many detections is looked for without one."""
    return max_coast_s * min(max(hits / SURE_HITS, 1.0), SURE_COAST)


def _usable(detections):
    """Indices of the at most MAX_BOXES best-scored detections with finite boxes."""
    finite = np.flatnonzero(np.isfinite(detections.boxes).all(axis=1))
    return finite[np.argsort(-detections.scores[finite], kind="mergesort")[:MAX_BOXES]]


def _grow(boxes, margin):
    size = margin * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - size, boxes[:, 2:] + size], axis=1)
