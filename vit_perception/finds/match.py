"""Who was seen before: finds of one pass against those of before, all together.

One lasting error moves everybody of a pass by nearly the same: where the compass is off, all who are seen anew lie
beside where they lay, each to the same side. So pairs are judged together: the errors of all finds are one normal
distribution, tied by the lasting errors that they have in common, and each pair that is taken for one person tells how
far the others lie beside theirs. What is best is sought from several first pairs, each followed greedily, as joint
compatibility does (Neira and Tardos 2001).

Whether a pair is one person is a ratio of likelihoods: that they are, by place and speed, against somebody new there.
"""

import math
from collections import namedtuple
from typing import Dict, List

import numpy as np

from .find import Find
from .people import speeds
from .sighting import FADES_S

# Somebody not seen before stands anywhere: so many a square metre. A guess, 55 m from one to the next. It decides close
# calls alone.
NEW_PER_M2 = 1.0 / 3000.0
GATE = 18.47  # chi-square of 4: 99.9%
FIRST_PAIRS = 6  # pairs that the search begins with

Pair = namedtuple("Pair", "find older walks")
Pair.__doc__ = """A find, one of before, and whether that one is taken to have walked on since."""


class Matcher:
    """The joint distribution of some finds, with pairs among them.

    Args:
        known: pairs that were found to be one person just now, as copies of both as they were before.
        pairs: those in question.
    """

    def __init__(self, known, pairs):
        self._finds: List[Find] = []
        index: Dict[int, int] = {}
        for pair in list(known) + list(pairs):
            for find in (pair.find, pair.older):
                if id(find) not in index:
                    index[id(find)] = len(self._finds)
                    self._finds.append(find)
        self.pairs = list(pairs)
        everything = list(known) + self.pairs
        self._new = np.array([index[id(p.find)] for p in everything], int)
        self._old = np.array([index[id(p.older)] for p in everything], int)
        steps = [p.older.transition(p.find.last_s - p.older.last_s, p.walks) for p in everything]
        self._move, self._noise = (np.array([s[i] for s in steps]).reshape(-1, 4, 4) for i in (0, 1))
        self._odds = np.array([_odds(p) for p in everything])
        self._mean = np.array([f.state for f in self._finds])
        self._spread = _joint(self._finds)
        for i in range(len(known)):
            self._mean, self._spread = self._joined(self._mean, self._spread, i)
        self._first = len(known)

    def best(self):
        """[Pair]: the likeliest set in which nobody has two finds before or two after."""
        alone = self._gains(self._mean, self._spread)
        order = np.argsort(-alone)[:FIRST_PAIRS]
        best, most = [], 0.0
        for i in order:
            if alone[i] > 0:
                found = self._follow(int(i), float(alone[i]))
                total = sum(gain for _, gain in found)
                if total > most:
                    best, most = found, total
        return [pair for pair, _ in best]

    def _follow(self, i, gain):
        """[(Pair, its gain)] from pair i on, each the best that is left once those before it are one person."""
        mean, spread, found = self._mean, self._spread, []
        free = np.ones(len(self.pairs), bool)
        while True:
            found.append((self.pairs[i], gain))
            k = i + self._first
            free &= (self._new[self._first :] != self._new[k]) & (self._old[self._first :] != self._old[k])
            if not free.any():
                return found
            mean, spread = self._joined(mean, spread, k)
            gains = np.where(free, self._gains(mean, spread), -np.inf)
            i = int(np.argmax(gains))
            gain = float(gains[i])
            if gain <= 0:
                return found

    def _apart(self, mean, spread, which):
        """Differences (k, 4) of pairs, new less old, and their covariances (k, 4, 4)."""
        new, old, move = self._new[which], self._old[which], self._move[which]
        turned = np.transpose(move, (0, 2, 1))
        difference = mean[new] - np.matmul(move, mean[old][:, :, None])[:, :, 0]
        cross = np.matmul(spread[new, :, old, :], turned)
        back = np.matmul(np.matmul(move, spread[old, :, old, :]), turned)
        return difference, spread[new, :, new, :] + back - cross - np.transpose(cross, (0, 2, 1)) + self._noise[which]

    def _gains(self, mean, spread):
        """(n,) logarithms: how much likelier each pair is one person than two; -inf beyond the gate."""
        difference, apart = self._apart(mean, spread, slice(self._first, None))
        misfit = (difference * np.linalg.solve(apart, difference[:, :, None])[:, :, 0]).sum(axis=1)
        size = np.linalg.slogdet(apart)[1]
        gains = -0.5 * (misfit + size) + self._odds[self._first :]
        return np.where(misfit < GATE, gains, -np.inf)

    def _joined(self, mean, spread, k):
        """(mean, spread) once pair k is one person."""
        difference, apart = self._apart(mean, spread, slice(k, k + 1))
        move = self._move[k]
        cross = spread[:, :, self._new[k], :] - spread[:, :, self._old[k], :].dot(move.T)  # (n, 4, 4)
        gain = np.linalg.solve(apart[0], cross.reshape(-1, 4).T).T.reshape(cross.shape)
        joined = mean - gain.dot(difference[0])
        flat = gain.reshape(-1, 4).dot(cross.reshape(-1, 4).T)
        return joined, spread - flat.reshape(spread.shape)


def _joint(finds):
    """Covariance (n, 4, n, 4) of finds, each at its own last look, tied by what lasts."""
    n = len(finds)
    shared = np.array([f.shared for f in finds])  # (n, 4, COUNT)
    when = np.array([f.last_s for f in finds])
    keep = np.exp(-np.abs(when[:, None] - when[None, :])[:, :, None] / FADES_S)  # (n, n, COUNT)
    spread = np.zeros((n, 4, n, 4))
    for i in range(n):
        spread[i] = np.transpose(np.matmul(shared * keep[i][:, None, :], shared[i].T), (2, 0, 1))
        spread[i, :, i, :] = finds[i].covariance
    return spread


def _odds(pair):
    """What a pair's likelihood is compared with, as a logarithm: somebody new there, and what the older one does."""
    stands, walks = speeds(pair.older)
    does = (walks if pair.walks else stands) - np.logaddexp(stands, walks)
    new = math.log(NEW_PER_M2) + float(np.logaddexp(*speeds(pair.find)))
    return float(does) - new - 2 * math.log(2 * math.pi)
