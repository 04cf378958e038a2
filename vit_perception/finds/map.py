"""All finds of a flight: which look belongs to whom, who is new, who fades.

A track of the tracker makes a find of its own, or goes on with one that was lost just now. Whether that is somebody of
before is decided later, by `settle`. Every merge and split is an event that holds both finds as they were, so that it
can be undone.
"""

import heapq
import math
from collections import namedtuple
from typing import Any, Dict, List, Set

import numpy as np

from .find import LAPSE_S, Find, plain, restored
from .people import nobody, speed_sigma
from .settle import Settler

Look = namedtuple("Look", "track label score place noise lasting size_px ground_m carried")
Look.__new__.__defaults__ = ((0.0, 0.0),)
Look.__doc__ = """One box of one image: the track's id, its class's name and score, place (2,), noise (2, 2) and lasting
(2, COUNT) as `sighting.Sightings` has them, sqrt(w h) in pixels, altitude of the ground or None, and carried (2,)."""

SAME_TRACK, LOST_TRACK = 16.0, 9.21  # chi-square of 2, of a place: 99.97%, 99%
MISFITS = 3  # looks in a row far from where their track's find is: the track is now on another object
# Of the images since the first look, the share with a look in a find that is confirmed. The committed detector finds
# people in 88% and what it takes for one again in 35% (offline/simulate/noise.json, miss and false_again).
LEAST_SHARE = 0.4
FORGOTTEN_S, KEPT_LOOKS = 10.0, 3  # unconfirmed and of fewer looks: forgotten so long after the last
TOLD_EVERY_S, BETTER, MOVED = 1.0, 0.8, 0.5  # news: a sigma smaller by this, or a place moved by this part of it
CELL_M = 25.0  # of the grid that finds what is near
SPEED_KNOWN_MPS = 1.3  # one standard deviation: until then it is too early to say who it is
MOST_APART = 256  # ids kept of who was seen beside somebody


class FindMap:
    """Keeps the finds of a flight.

    Args:
        min_looks, min_duration_s, min_score: what confirms a find: looks, seconds between first and last, mean score.
        most: finds kept; beyond, unconfirmed ones of the lowest score are forgotten, then the longest unseen.
        record: record(event), called with a dict for everything that makes, joins or ends a find.

    Attributes:
        finds: {id: Find}. forgotten (int): how many had to go for want of room.
    """

    def __init__(self, min_looks=3, min_duration_s=0.2, min_score=0.5, most=10000, record=None):
        self.min_looks, self.min_duration_s, self.min_score, self.most = min_looks, min_duration_s, min_score, most
        self.finds: Dict[int, Find] = {}
        self.forgotten, self._newest_s, self._images = 0, 0.0, 0
        self._record = record or (lambda event: None)
        self._by_track: Dict[Any, int] = {}
        self._grid: Dict[tuple, Set[int]] = {}
        self._cells: Dict[int, tuple] = {}
        self._walkers: Set[int] = set()
        self._young: Set[int] = set()
        self._weak: List[int] = []  # who is forgotten next, the last first
        self._settler = Settler(self)
        self._next_id = 1

    def update(self, stamp_s, looks):
        """Take the looks of one image, one per track. Returns [(Look, Find)]: where each look went that
        fitted."""
        self._newest_s, self._images = stamp_s, self._images + 1
        pairs: List[tuple] = []
        fresh: List[Look] = []
        taken: Set[int] = set()
        for look in looks:
            find = self.finds.get(self._by_track.get(look.track, 0))
            if find is None:
                fresh.append(look)
            else:
                pairs.append((look, find))
        done = []
        for look, find in sorted(pairs, key=lambda p: p[1].misfit(stamp_s, *p[0][3:6])):
            if find.id in taken:  # two tracks of one find in one image: they were two people
                done.append((look, self._split(find, look, stamp_s)))
            elif self._fits(find, look, stamp_s):
                self._look(find, look, stamp_s)
                taken.add(find.id)
                done.append((look, find))
            elif look.track not in self._by_track:
                fresh.append(look)
        for look in fresh:
            find = self._lost_just_now(look, stamp_s, taken) or self._new(look, stamp_s)
            taken.add(find.id)
            done.append((look, find))
        self._keep_apart([f for _, f in done])
        for _, find in done:
            self._consider(find)
        self._settler.now_and_then(stamp_s)
        self._fade(stamp_s)
        return done

    def news(self, stamp_s, finds):
        """Those of `finds` that are newly confirmed, better known or elsewhere than last told; marks them as told."""
        fresh = []
        for find in finds:
            if not find.confirmed:
                continue
            if find.told is not None:
                place, sigma, when = find.told
                moved = float(np.hypot(*(find.state[:2] - place)))
                if stamp_s - when < TOLD_EVERY_S or (find.sigma_m > BETTER * sigma and moved < MOVED * sigma):
                    continue
            find.told = (find.state[:2].copy(), find.sigma_m, stamp_s)
            fresh.append(find)
        return fresh

    def undo(self, event):
        """Take back a merge or a split, an event as it was recorded: what it joined or parted is as it was before."""
        before = [restored(d) for d in event["before"]]
        ids = {f.id for f in before}
        for find_id in set(event["after"]) | ids:
            self._remove(find_id)
        for find in before:
            find.apart |= ids - {find.id}
            self._add(find)
        self._record({"event": "undone", "of": event["event"], "ids": sorted(ids)})

    # One look

    def _fits(self, find, look, stamp_s):
        """Whether a look of the find's own track is near enough; three that are not take the track away from it, and
        one from an unconfirmed find. One or two are left out."""
        if find.misfit(stamp_s, *look[3:6]) <= SAME_TRACK:
            find.misfits = 0
            return True
        find.misfits += 1
        if not find.confirmed or find.misfits >= MISFITS:
            self._by_track.pop(look.track, None)
            if find.looks < KEPT_LOOKS:
                self._remove(find.id)
        return False

    def _look(self, find, look, stamp_s):
        find.look(stamp_s, *look[3:6])
        self._score(find, look)
        self._place(find)

    def _score(self, find, look):
        find.score_sum += look.score
        if look.score > find.best_score:
            find.best_score, find.size_px = look.score, look.size_px
        find.ground_m = look.ground_m if look.ground_m is not None else find.ground_m
        find.track, find.carried = look.track, look.carried
        if self._by_track.get(look.track) != find.id:
            self._by_track[look.track] = find.id

    def _new(self, look, stamp_s):
        find = Find(self._next_id, look.label, stamp_s, *look[3:6])
        self._next_id += 1
        find.born = self._images
        self._score(find, look)
        self._add(find)
        self._make_room(find.id)
        return find

    def _lost_just_now(self, look, stamp_s, taken):
        """A find that was in view until just now, and whose track has ended: behind a tree, or missed for long."""
        best: Any = None
        for find in self.near(look.place):
            recent = 0 < stamp_s - find.last_s <= LAPSE_S and find.id not in taken and find.label == look.label
            if not recent or find.looks < 2:
                continue
            misfit = find.misfit(stamp_s, *look[3:6])
            if misfit < LOST_TRACK and (best is None or misfit < best[0]):
                best = misfit, find
        if best is None:
            return None
        self._look(best[1], look, stamp_s)
        return best[1]

    def _keep_apart(self, finds):
        ids = {f.id for f in finds}
        for find in finds:
            if len(find.apart) < MOST_APART and not ids - {find.id} <= find.apart:
                find.apart |= ids - {find.id}

    # Who is who

    def _consider(self, find):
        """Confirm a find that is ready, or take that back where it turns out to be no person's way to move."""
        if nobody(find):
            if find.confirmed:
                find.confirmed = False
                self._young.add(find.id)
            return
        ready = find.looks >= self.min_looks and find.last_s - find.first_s > self.min_duration_s - 1e-3
        ready = ready and find.looks >= LEAST_SHARE * (self._images - find.born + 1)
        if find.confirmed or not ready or find.score < self.min_score or speed_sigma(find) > SPEED_KNOWN_MPS:
            return
        find.confirmed = True
        self._young.discard(find.id)
        self._record(dict(event="confirmed", stamp_s=find.last_s, **plain(find)))

    def settle(self):
        """Decide who everybody is who is not compared with those of before yet: the flight ends."""
        self._settler.settle(self._newest_s, everybody=True)

    def near(self, place):
        """Finds within 50 m, and more, of a place (2,), and all who walk."""
        column, row = _cell(place)
        ids = set(self._walkers)
        for i in range(column - 2, column + 3):
            for j in range(row - 2, row + 3):
                ids.update(self._grid.get((i, j), ()))
        return [self.finds[i] for i in ids]

    def merge(self, older, find, walks):
        """Make a find and an older one the same; it keeps the older one's id. walks: whether that one walked on."""
        before = [plain(older), plain(find)]
        find.absorb(older, walks)
        find.merged = older.merged + [find.id] + find.merged
        self._remove(older.id)
        self._remove(find.id)
        for other in list(find.apart):
            if other in self.finds:
                self.finds[other].apart.add(older.id)
        find.id, find.confirmed, find.settled = older.id, True, True
        self._add(find)
        for track, owner in list(self._by_track.items()):
            if owner in (before[0]["id"], before[1]["id"]):
                self._by_track[track] = find.id
        if find.track is not None:
            self._by_track[find.track] = find.id
        self._record({"event": "merged", "stamp_s": find.last_s, "before": before, "after": [find.id]})

    def _split(self, find, look, stamp_s):
        """A find that two tracks claim keeps the one that fits better; the other begins anew."""
        before = [plain(find)]
        new = self._new(look, stamp_s)
        self._record({"event": "split", "stamp_s": stamp_s, "before": before, "after": [find.id, new.id]})
        return new

    # The book-keeping

    def _add(self, find):
        self.finds[find.id] = find
        if not find.confirmed:
            self._young.add(find.id)
        if not find.settled:
            self._settler.open.add(find.id)
        self._place(find)

    def _place(self, find):
        """Keep the grid true to where the find is now."""
        cell = _cell(find.state[:2])
        known = self._cells.get(find.id)
        if known != cell:
            if known is not None:
                self._grid[known].discard(find.id)
            self._grid.setdefault(cell, set()).add(find.id)
            self._cells[find.id] = cell
        (self._walkers.add if find.walks else self._walkers.discard)(find.id)

    def _remove(self, find_id):
        find = self.finds.pop(find_id, None)
        if find is None:
            return
        cell = self._cells.pop(find_id, None)
        if cell is not None:
            self._grid[cell].discard(find_id)
            if not self._grid[cell]:
                del self._grid[cell]
        self._walkers.discard(find_id)
        self._young.discard(find_id)
        self._settler.open.discard(find_id)
        if self._by_track.get(find.track) == find_id:
            del self._by_track[find.track]

    def _fade(self, stamp_s):
        for find_id in list(self._young):
            find = self.finds[find_id]
            if stamp_s - find.last_s > FORGOTTEN_S:
                if find.looks < KEPT_LOOKS or nobody(find):
                    self._remove(find_id)
                else:  # stays, unconfirmed
                    self._young.discard(find_id)
        if len(self._by_track) > 4 * MOST_APART:  # tracks end without a word
            seen = {t: i for t, i in self._by_track.items() if i in self.finds}
            newest = sorted(seen, key=lambda t: self.finds[seen[t]].last_s)[-2 * MOST_APART :]
            self._by_track = {t: seen[t] for t in newest}

    def _make_room(self, keep):
        while len(self.finds) > self.most:
            self._remove(self._weakest(keep))
            self.forgotten += 1

    def _weakest(self, keep):
        """The id of whom to forget. To seek in 10,000 takes milliseconds, so some are sought at once."""
        while True:
            while self._weak:
                find = self.finds.get(self._weak.pop())
                if find is not None and not find.confirmed and find.id != keep:
                    return find.id
            others = [f for f in self.finds.values() if not f.confirmed and f.id != keep]
            if not others:
                return min((f for f in self.finds.values() if f.id != keep), key=lambda f: f.last_s).id
            some = heapq.nsmallest(1 + self.most // 100, others, lambda f: f.score)
            self._weak = [f.id for f in some][::-1]


def _cell(place):
    return int(math.floor(place[0] / CELL_M)), int(math.floor(place[1] / CELL_M))
