"""When it is decided who somebody is: once they have left the view, together with all others of that pass.

While they are in view, their place and speed are still getting better, and the others of the pass, who lie beside their
old places to the same side (`match`), have not been seen yet. Somebody who comes back is therefore listed twice for a
few seconds.
"""

from typing import List, Set

import numpy as np

from .find import FIDGET, LAPSE_S, drifted, plain, restored
from .match import Matcher, Pair
from .people import speed_sigma

EVERY_S = 1.0
LONG_S = 10.0  # who is in view for so long is known well enough
SPEED_MPS = 0.7  # standard deviation of the speed of who helps to decide, though in view
KNOWN_S, MOST_KNOWN = 40.0, 8  # for so long a pair of before tells of the errors of now; a pass lasts so long
MOST, PARTNERS = 10, 5  # finds that are compared at once; with how many of each kind: bounds the time it takes
GATE = 10.0  # squared distance by the sum of the variances, beyond which a pair is not looked at; five sigmas


class Settler:
    """Decides for a `map.FindMap`, whose finds those in `open` (ids) wait to be compared with the ones before."""

    def __init__(self, finds):
        self._map = finds
        self.open: Set[int] = set()
        self._known: List[Pair] = []
        self._due_s = -float("inf")

    def now_and_then(self, stamp_s):
        """Once in EVERY_S: whoever it is time for."""
        if not 0 <= self._due_s - stamp_s < 60.0:  # or the clock was set back
            self.settle(stamp_s)

    def settle(self, stamp_s, everybody=False):
        """Join those who left the view, or are in it for long, to those of before who they are.

        Args:
            everybody: those in view as well: the flight ends.
        """
        self._due_s = stamp_s + EVERY_S
        self._known = [k for k in self._known if stamp_s - k.find.last_s < KNOWN_S]
        fresh = [self._map.finds[i] for i in self.open]
        due = {f.id for f in fresh if everybody or _is_due(f, stamp_s)}
        if not due:
            return
        for find in fresh:
            if find.id in due and not find.confirmed:
                self._done(find)
        fresh = [f for f in fresh if f.confirmed and (f.id in due or speed_sigma(f) < SPEED_MPS)]
        fresh = sorted(fresh, key=lambda f: (f.id not in due, f.last_s))
        for i in range(0, len(due) if everybody else 1, MOST):
            self._decide(fresh[i : i + MOST], due)

    def _decide(self, fresh, due):
        pairs = [pair for find in fresh for pair in self._pairs(find)]
        self._known = self._known[-MOST_KNOWN:]
        found = Matcher(self._known, pairs).best() if pairs else []
        settled = [f for f in fresh if f.id in due]
        for pair in sorted(found, key=lambda p: p.find.last_s):
            if pair.find in settled:
                self._join(pair)
        for find in settled:
            self._done(find)

    def _done(self, find):
        self.open.discard(find.id)
        find.settled = True

    def _pairs(self, find):
        """Pairs of a find with those that it may be, the nearest of who stand and of who walked on."""
        near = [f for f in self._map.near(find.state[:2]) if _may_be(find, f)]
        if not near:
            return []
        state, spread = (np.array([getattr(f, name) for f in near]) for name in ("state", "covariance"))
        dt = find.last_s - np.array([f.last_s for f in near])
        here = float(np.trace(find.covariance[:2, :2]))
        pairs = []
        for walks in (False, True):
            lasts, noise = drifted(dt) if walks else (np.zeros(len(dt)), FIDGET * dt)
            offset = find.state[:2] - state[:, :2] - lasts[:, None] * state[:, 2:]
            doubt = spread[:, [0, 1], [0, 1]] + 2 * lasts[:, None] * spread[:, [0, 1], [2, 3]]
            doubt = doubt + (lasts**2)[:, None] * spread[:, [2, 3], [2, 3]]
            misfit = (offset**2).sum(axis=1) / (here + doubt.sum(axis=1) + 2 * noise)
            order = [int(i) for i in np.argsort(misfit) if misfit[i] < GATE and (dt[i] > LAPSE_S or not walks)]
            pairs += [Pair(find, near[i], walks) for i in order[:PARTNERS]]
        return pairs

    def _join(self, pair):
        find, older = pair.find, pair.older
        there = self._map.finds.get(find.id) is find and self._map.finds.get(older.id) is older
        if there and not (find.id in older.apart or older.id in find.apart):  # by what was joined just now
            self._known.append(Pair(restored(plain(find)), restored(plain(older)), pair.walks))
            self._map.merge(older, find, pair.walks)


def _is_due(find, stamp_s):
    return stamp_s - find.last_s > LAPSE_S or find.confirmed and find.last_s - find.first_s > LONG_S


def _may_be(find, older):
    """Whether a find may be one of before, but for its place."""
    if older.id == find.id or older.label != find.label or older.last_s >= find.last_s or older.looks < 3:
        return False
    return not (older.id in find.apart or find.id in older.apart)
