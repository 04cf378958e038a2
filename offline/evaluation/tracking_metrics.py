"""How good tracks are: MOTA, identity switches and fragmentations (CLEAR MOT), and IDF1.

    scores = Sequence()
    for each frame: scores.add(true_ids, true_boxes, track_ids, track_boxes)
    metrics(scores, other_sequences, ...)

Bernardin, Stiefelhagen: Evaluating multiple object tracking performance: the CLEAR MOT metrics, 2008.
Ristani et al.: Performance measures and a data set for multi-target, multi-camera tracking, 2016 (IDF1).
"""

from collections import Counter

import numpy as np

from vit_perception.boxes import iou

_NEVER = 1e6  # cost of a pair that must not be matched


def assign(cost: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (row, column) of least total cost; every row or every column, whichever are fewer, gets a partner.

    cost: (n, m), finite. The Hungarian method with potentials: one augmenting path a row, O(n^2 m).
    """
    cost = np.asarray(cost, np.float64)
    if cost.shape[0] > cost.shape[1]:
        return sorted((r, c) for c, r in assign(cost.T))
    n, m = cost.shape
    row_of, u, v = np.full(m + 1, -1), np.zeros(n), np.zeros(m + 1)  # column m is where each path begins
    for row in range(n):
        row_of[m], column = row, m
        reach, back, done = np.full(m, np.inf), np.full(m, m), np.zeros(m + 1, bool)
        while row_of[column] >= 0:
            done[column] = True
            r = row_of[column]
            reduced = cost[r] - u[r] - v[:m]
            closer = ~done[:m] & (reduced < reach)
            reach[closer], back[closer] = reduced[closer], column
            nearest = int(np.argmin(np.where(done[:m], np.inf, reach)))
            step = reach[nearest]
            u[row_of[done]] += step
            v[done] -= step
            reach[~done[:m]] -= step
            column = nearest
        while column != m:
            row_of[column], column = row_of[back[column]], back[column]
    return sorted((int(row_of[c]), c) for c in range(m) if row_of[c] >= 0)


class Sequence:
    """Counts of one clip, frame by frame. Identities must not be shared between clips: one instance each.

    Args:
        threshold: least overlap (IoU) of a track's box with the true box that it may stand for.
    """

    def __init__(self, threshold: float = 0.5):
        self.threshold = threshold
        self.truths = self.tracks = self.misses = self.false_positives = self.switches = 0
        self.frames = 0
        self._overlaps: Counter[tuple[int, int]] = Counter()  # frames in which a true id and a track id overlap
        self._partner: dict[int, int] = {}  # newest track of a true id
        self._seen: dict[int, list[bool]] = {}  # per true id: found or not in each frame that it was in

    def add(self, true_ids, true_boxes, track_ids, track_boxes) -> None:
        """One frame: ids (n,), boxes (n, 4) x1, y1, x2, y2 px."""
        true_ids, track_ids = [int(i) for i in true_ids], [int(i) for i in track_ids]
        overlap = iou(
            np.asarray(true_boxes, np.float64).reshape(-1, 4), np.asarray(track_boxes, np.float64).reshape(-1, 4)
        )
        self.frames += 1
        self.truths += len(true_ids)
        self.tracks += len(track_ids)
        for t, k in zip(*np.nonzero(overlap >= self.threshold), strict=True):
            self._overlaps[true_ids[t], track_ids[k]] += 1
        found = self._match(true_ids, track_ids, overlap)
        for t, name in enumerate(true_ids):
            self._seen.setdefault(name, []).append(t in found)
            if t in found:
                partner = track_ids[found[t]]
                self.switches += self._partner.get(name, partner) != partner
                self._partner[name] = partner
        self.misses += len(true_ids) - len(found)
        self.false_positives += len(track_ids) - len(found)

    def _match(self, true_ids: list[int], track_ids: list[int], overlap: np.ndarray) -> dict[int, int]:
        """{index of a truth: index of its track}: partners that still overlap first, then the best assignment."""
        where = {name: k for k, name in enumerate(track_ids)}
        found: dict[int, int] = {}
        for t, name in enumerate(true_ids):
            k = where.get(self._partner.get(name, -1))
            if k is not None and overlap[t, k] >= self.threshold and k not in found.values():
                found[t] = k
        ts = [t for t in range(len(true_ids)) if t not in found]
        ks = [k for k in range(len(track_ids)) if k not in found.values()]
        left = overlap[np.ix_(ts, ks)]
        cost = np.where(left >= self.threshold, 1 - left, _NEVER)
        found.update({ts[i]: ks[j] for i, j in assign(cost) if cost[i, j] < _NEVER})
        return found

    @property
    def fragmentations(self) -> int:
        """How often a true object that was found was lost and later found again."""
        count = 0
        for seen in self._seen.values():
            hits = np.flatnonzero(seen)
            count += int((np.diff(hits) > 1).sum())
        return count

    @property
    def mostly_tracked(self) -> float:
        """Part of the true objects that were found in at least 80% of their frames."""
        return float(np.mean([np.mean(s) >= 0.8 for s in self._seen.values()])) if self._seen else 0.0

    @property
    def objects(self) -> int:
        return len(self._seen)

    def identity_matches(self) -> int:
        """IDTP: frames in which each true id overlaps the one track that it is given for the whole clip."""
        true_ids = sorted({t for t, _ in self._overlaps})
        track_ids = sorted({k for _, k in self._overlaps})
        counts = np.array([[self._overlaps[t, k] for k in track_ids] for t in true_ids], np.float64)
        return int(sum(counts[pair] for pair in assign(-counts))) if len(true_ids) else 0


def metrics(*sequences: Sequence) -> dict[str, float]:
    """Figures of all clips together: idf1, mota, id_switches, fragmentations, recall, precision, mostly_tracked."""
    truths, tracks = sum(s.truths for s in sequences), sum(s.tracks for s in sequences)
    misses, false = sum(s.misses for s in sequences), sum(s.false_positives for s in sequences)
    switches, objects = sum(s.switches for s in sequences), sum(s.objects for s in sequences)
    return {
        "idf1": 2 * sum(s.identity_matches() for s in sequences) / max(truths + tracks, 1),
        "mota": 1 - (misses + false + switches) / max(truths, 1),
        "id_switches": switches,
        "fragmentations": sum(s.fragmentations for s in sequences),
        "recall": 1 - misses / max(truths, 1),
        "precision": 1 - false / max(tracks, 1),
        "mostly_tracked": sum(s.mostly_tracked * s.objects for s in sequences) / max(objects, 1),
    }
