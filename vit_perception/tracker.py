"""Multi-object tracking: greedy, class-aware IoU association over constant-velocity predictions."""

import numpy as np


class Track:
    """One object followed through the frames.

    Attributes:
        id (int): unique in a run.
        class_index (int), score (float): of the newest detection.
        box (4,) float32: x1, y1, x2, y2 in pixels; the detection's, or predicted while coasting.
        velocity (4,) float32: of the box's centre x, y and size w, h, pixels per second.
        detection (int): index in this frame's detections, or -1 while coasting.
        hits (int): detections so far. confirmed (bool): whether there were enough of them.
        start_s, stamp_s (float): stamps of the first and the newest detection.
    """

    __slots__ = (
        "id", "class_index", "score", "box", "velocity",
        "detection", "hits", "confirmed", "start_s", "stamp_s",
    )  # fmt: skip

    def __init__(self, track_id, class_index, stamp_s):
        self.id, self.class_index = track_id, class_index
        self.score, self.box, self.velocity = 0.0, None, None
        self.detection, self.hits, self.confirmed = -1, 0, False
        self.start_s = self.stamp_s = stamp_s


class Tracker:
    """Follows detections from frame to frame.

    Args:
        iou_threshold: least overlap of a detection with a track's prediction, both grown by `margin`.
        margin: growth of boxes for matching, as a part of their size on each side; helps 10-pixel objects.
        new_score: a detection below it may continue a track but starts none.
        confirm_hits: detections in consecutive frames that confirm a track.
        max_coast_s: a confirmed track without detections for longer is dropped.
        max_gap_s: a longer pause between frames, or a stamp that goes back, drops all tracks.
    """

    def __init__(
        self, iou_threshold=0.2, margin=0.25, new_score=0.4, confirm_hits=3, max_coast_s=0.5, max_gap_s=1.0
    ):  # fmt: skip
        self.iou_threshold, self.margin, self.new_score = iou_threshold, margin, new_score
        self.confirm_hits, self.max_coast_s, self.max_gap_s = confirm_hits, max_coast_s, max_gap_s
        self._next_id = 1  # never reset: an id means one object for the whole run
        self.reset()

    def reset(self):
        """Drop all tracks; ids go on counting."""
        self._tracks = []
        self._state = np.zeros((0, 4), np.float32)  # centre x, y, size w, h of every track; pixels
        self._velocity = np.zeros((0, 4), np.float32)
        self._stamp_s = None

    def update(self, detections, stamp_s):
        """Take one frame's detections.

        Args:
            detections: boxes (n, 4), scores (n,), classes (n,), as `vit_perception.detector.Detections`.
            stamp_s: the image's stamp in seconds.

        Returns:
            The confirmed tracks, those that coast included, oldest first.
        """
        dt = 0.0 if self._stamp_s is None else stamp_s - self._stamp_s
        if dt < 0 or dt > self.max_gap_s:
            self.reset()
            dt = 0.0
        self._stamp_s = stamp_s
        self._predict(dt)
        matches = self._match(detections)
        self._correct(matches, detections, stamp_s)
        self._drop(stamp_s)
        self._start(detections, {d for _, d in matches}, stamp_s)
        for i, track in enumerate(self._tracks):
            track.velocity = self._velocity[i]
        return [t for t in self._tracks if t.confirmed]

    def _predict(self, dt):
        self._state = self._state + dt * self._velocity
        self._state[:, 2:] = np.maximum(self._state[:, 2:], 1.0)
        for track, box in zip(self._tracks, _corners(self._state)):
            track.box, track.detection = box, -1

    def _match(self, detections):
        """Pairs (track, detection), best overlap first, each used once."""
        if not self._tracks or not len(detections):
            return []
        overlap = iou(_grow(_corners(self._state), self.margin), _grow(detections.boxes, self.margin))
        overlap[np.array([t.class_index for t in self._tracks])[:, None] != detections.classes[None]] = 0.0
        ts, ds = np.nonzero(overlap >= self.iou_threshold)
        pairs, used_t, used_d = [], set(), set()
        for i in np.argsort(-overlap[ts, ds], kind="mergesort"):
            t, d = int(ts[i]), int(ds[i])
            if t not in used_t and d not in used_d:
                used_t.add(t)
                used_d.add(d)
                pairs.append((t, d))
        return pairs

    def _correct(self, matches, detections, stamp_s):
        if not matches:
            return
        ts, ds = (np.array(v) for v in zip(*matches))
        elapsed = np.array([stamp_s - self._tracks[t].stamp_s for t in ts], np.float32)
        for t, d in matches:
            self._hit(self._tracks[t], detections, d, stamp_s)
        # Growing-memory alpha-beta filter: the least-squares line through the first hits, then it fades.
        k = np.minimum([self._tracks[t].hits for t in ts], 6).astype(np.float32)[:, None]
        alpha, beta = 2 * (2 * k - 1) / (k * (k + 1)), 6 / (k * (k + 1))
        residual = _center_size(detections.boxes[ds]) - self._state[ts]
        self._state[ts] += alpha * residual
        moved = elapsed > 0  # equal stamps say nothing about velocity
        self._velocity[ts[moved]] += (beta * residual)[moved] / elapsed[moved, None]

    def _hit(self, track, detections, d, stamp_s):
        track.hits += 1
        track.confirmed = track.confirmed or track.hits >= self.confirm_hits
        track.box, track.score, track.detection = detections.boxes[d], float(detections.scores[d]), d
        track.stamp_s = stamp_s

    def _drop(self, stamp_s):
        keep = []
        for i, t in enumerate(self._tracks):
            # Not zero: a camera that never sets its stamps must not let tracks coast for ever.
            coasts = t.confirmed and 0 < stamp_s - t.stamp_s <= self.max_coast_s
            if t.detection >= 0 or coasts:
                keep.append(i)
        if len(keep) < len(self._tracks):
            self._tracks = [self._tracks[i] for i in keep]
            self._state, self._velocity = self._state[keep], self._velocity[keep]

    def _start(self, detections, matched, stamp_s):
        strong = np.flatnonzero(detections.scores >= self.new_score).tolist()
        new = [d for d in strong if d not in matched]
        if not new:
            return
        for d in new:
            track = Track(self._next_id, int(detections.classes[d]), stamp_s)
            self._hit(track, detections, d, stamp_s)
            self._tracks.append(track)
            self._next_id += 1
        self._state = np.concatenate([self._state, _center_size(detections.boxes[new])])
        self._velocity = np.concatenate([self._velocity, np.zeros((len(new), 4), np.float32)])


def iou(a, b):
    """Intersection over union of every box in a (n, 4) with every box in b (m, 4): (n, m)."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.maximum(bottom_right - top_left, 0), axis=2)
    area_a, area_b = np.prod(a[:, 2:] - a[:, :2], axis=1), np.prod(b[:, 2:] - b[:, :2], axis=1)
    return inter / np.maximum(area_a[:, None] + area_b[None] - inter, 1e-9)


def _grow(boxes, margin):
    size = margin * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - size, boxes[:, 2:] + size], axis=1)


def _corners(state):
    return np.concatenate([state[:, :2] - 0.5 * state[:, 2:], state[:, :2] + 0.5 * state[:, 2:]], axis=1)


def _center_size(boxes):
    return np.concatenate([0.5 * (boxes[:, :2] + boxes[:, 2:]), boxes[:, 2:] - boxes[:, :2]], axis=1)
