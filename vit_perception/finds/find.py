"""One find: where somebody is, how fast they go, and how sure that is, over all looks.

A Kalman filter over east, north and their rates that *considers* the lasting errors of `sighting.LASTING` without
estimating them (Schmidt 1966; Jazwinski, Stochastic Processes and Filtering Theory, 1970, 8.4): it keeps how far the
place's error goes with each of them, so a hundred looks past the same tilted mount shrink nothing, and a look from the
other side does.
"""

import math

import numpy as np

from .sighting import COUNT, FADES_S

SPEED_SIGMA_MPS = 2.0  # of what nothing is known of yet: most stand, some walk, and what is no person does as it likes
WANDER = 0.05  # m^2/s^3, white acceleration of somebody in view: 0.2 m/s in a second
# What somebody who stands does out of view, m^2/s: a metre in a minute.
FIDGET = 0.02
STILL_MPS = 0.3  # standard deviation of the speed of somebody who stands
LAPSE_S = 3.0  # out of view for longer, who stands is taken to stay and who walks to walk on
WALKS_MPS, WALKS_SIGMAS = 0.45, 2.2  # who is faster, and hardly standing, walks ...
MOST_SIGMA_MPS = 0.5  # ... once the speed is known so well
# Who walks keeps a course for about so long (s), and then goes at about this speed anywhere.
COURSE_S, PACE_MPS = 60.0, 0.5


class Find:
    """Somebody, or something, on the map.

    Attributes:
        id (int), label (str). state (4,): east, north, m; their rates, m/s. covariance (4, 4).
        shared (4, COUNT): covariance of the state's error with each lasting error of unit variance.
        looks (int), score_sum (float), best_score (float), first_s, last_s (float): stamps of the looks.
        confirmed (bool): looks, score and duration suffice. settled (bool): compared with those of before for good.
        walks (bool). born (int): the image of the first look, counted. carried (2,): as `sighting.Sightings` has it.
        ground_m (float or None): altitude of the ground there, above the ellipsoid.
        size_px (float): sqrt(w h) of the box of the best look.
        apart (set): ids that were seen in the same image: others, surely.
        track (int or None): the tracker's id that it is seen by. misfits (int): looks in a row that did not fit.
        merged (list): ids of finds that were found to be this one.
        told (tuple or None): (position, sigma, confirmed) as last told; for `map.FindMap.news`.
    """

    __slots__ = (
        "id", "label", "state", "covariance", "shared", "looks", "score_sum", "best_score", "first_s", "last_s",
        "born", "confirmed", "carried", "settled", "walks", "ground_m", "size_px", "apart", "track", "misfits",
        "merged", "told",
    )  # fmt: skip

    def __init__(self, find_id, label, stamp_s, place, noise, lasting):
        self.id, self.label = find_id, label
        self.state = np.array([place[0], place[1], 0.0, 0.0])
        self.covariance = np.zeros((4, 4))
        self.covariance[:2, :2] = noise + lasting.dot(lasting.T)
        self.covariance[2, 2] = self.covariance[3, 3] = SPEED_SIGMA_MPS**2
        self.shared = np.zeros((4, COUNT))
        self.shared[:2] = -lasting
        self.looks, self.score_sum, self.best_score, self.born = 1, 0.0, 0.0, 0
        self.first_s = self.last_s = stamp_s
        self.confirmed = self.settled = self.walks = False
        self.ground_m, self.size_px, self.carried = None, 0.0, (0.0, 0.0)
        self.apart, self.track, self.misfits, self.merged, self.told = set(), None, 0, [], None

    @property
    def score(self):
        """Mean score of the looks."""
        return self.score_sum / max(self.looks, 1)

    @property
    def sigma_m(self):
        """Radius of a circle as large as the ellipse of one standard deviation, metres."""
        return math.sqrt(math.sqrt(max(float(np.linalg.det(self.covariance[:2, :2])), 0.0)))

    def predicted(self, stamp_s, walks=None):
        """(state, covariance, shared) at a moment; the find stays as it is. walks: None takes what it seems to do."""
        dt = stamp_s - self.last_s
        if dt <= 0:
            return self.state, self.covariance, self.shared
        move, noise = self.transition(dt, walks)
        shared = move.dot(self.shared) * np.exp(-dt / FADES_S)
        return move.dot(self.state), move.dot(self.covariance).dot(move.T) + noise, shared

    def transition(self, dt, walks=None):
        """Motion (4, 4) and its noise (4, 4) over `dt` seconds; 0 and less moves nothing."""
        if dt <= LAPSE_S:
            return _steady(max(dt, 0.0))
        if self.walks if walks is None else walks:
            return _on_course(dt)
        return np.diag([1.0, 1.0, 0.0, 0.0]), np.diag([FIDGET * dt, FIDGET * dt, STILL_MPS**2, STILL_MPS**2])

    def misfit(self, stamp_s, place, noise, lasting):
        """Squared Mahalanobis distance of a look from what is known."""
        state, covariance, shared = self.predicted(stamp_s)
        difference = place - state[:2]
        return float(difference.dot(np.linalg.solve(_spread(covariance, shared, noise, lasting), difference)))

    def look(self, stamp_s, place, noise, lasting):
        """Take one look into account: the Schmidt-Kalman update. Arguments as `sighting.Sightings` has them, of one."""
        state, covariance, shared = self.predicted(stamp_s)
        spread = _spread(covariance, shared, noise, lasting)
        gain = np.linalg.solve(spread, (covariance[:, :2] + shared.dot(lasting.T)).T).T
        self.state = state + gain.dot(place - state[:2])
        covariance = covariance - gain.dot(spread).dot(gain.T)
        self.covariance = 0.5 * (covariance + covariance.T)
        self.shared = shared - gain.dot(shared[:2] + lasting)
        self.looks, self.last_s = self.looks + 1, max(stamp_s, self.last_s)
        self._judge_walk()

    def _judge_walk(self):
        speed = float(np.hypot(self.state[2], self.state[3]))
        ray = self.state[2:] / max(speed, 1e-9)
        sigma = math.sqrt(max(float(ray.dot(self.covariance[2:, 2:]).dot(ray)), 0.0))
        sure = (0.7 if self.walks else 1.0) * max(WALKS_MPS, WALKS_SIGMAS * sigma)
        self.walks = sigma < MOST_SIGMA_MPS and speed > sure

    def absorb(self, older, walks):
        """Take in where an older find of the same person was, and how fast, as a measurement with common errors."""
        state, covariance, shared = older.predicted(self.last_s, walks)
        common = self.shared.dot(shared.T)
        spread = self.covariance + covariance - common - common.T
        gain = np.linalg.solve(spread, (self.covariance - common).T).T
        self.state = self.state + gain.dot(state - self.state)
        merged = self.covariance - gain.dot(spread).dot(gain.T)
        self.covariance = 0.5 * (merged + merged.T)
        self.shared = self.shared + gain.dot(shared - self.shared)
        self._judge_walk()
        self.looks += older.looks
        self.score_sum += older.score_sum
        if older.best_score >= self.best_score:
            self.best_score, self.size_px = older.best_score, older.size_px
        self.first_s, self.confirmed = min(self.first_s, older.first_s), self.confirmed or older.confirmed
        self.apart |= older.apart
        self.told = older.told
        if self.ground_m is None:
            self.ground_m = older.ground_m


def _spread(covariance, shared, noise, lasting):
    """Covariance (2, 2) of place minus prediction."""
    cross = shared[:2].dot(lasting.T)
    return covariance[:2, :2] + cross + cross.T + lasting.dot(lasting.T) + noise


def _steady(dt):
    """Motion (4, 4) and its noise of somebody in view: constant velocity, white acceleration."""
    move = np.eye(4)
    move[0, 2] = move[1, 3] = dt
    return move, _blocks(WANDER * dt**3 / 3, WANDER * dt**2 / 2, WANDER * dt)


def _on_course(dt):
    """The same of who walks out of view: the velocity fades into any other (an Ornstein-Uhlenbeck process)."""
    keep = math.exp(-dt / COURSE_S)
    move = np.diag([1.0, 1.0, keep, keep])
    lasts, place = drifted(dt)
    move[0, 2] = move[1, 3] = lasts
    v = PACE_MPS**2
    return move, _blocks(place, v * COURSE_S * (1 - keep) ** 2, v * (1 - keep**2))


def drifted(dt):
    """(seconds by which the velocity of who walks out of view for `dt` moves the place, variance of an axis, m^2)."""
    keep = np.exp(-dt / COURSE_S)
    return COURSE_S * (1 - keep), PACE_MPS**2 * COURSE_S**2 * (2 * dt / COURSE_S - 3 + 4 * keep - keep**2)


def _blocks(place, both, speed):
    noise = np.diag([place, place, speed, speed])
    noise[0, 2] = noise[2, 0] = noise[1, 3] = noise[3, 1] = both
    return noise


_ARRAYS = ("state", "covariance", "shared")
_SETS = ("apart",)
_LEFT_OUT = ("told", "track", "misfits", "carried")


def plain(find):
    """A find as a dict of plain values, for the log."""
    values = {n: getattr(find, n) for n in Find.__slots__ if n not in _LEFT_OUT}
    values.update({n: values[n].tolist() for n in _ARRAYS})
    values.update({n: sorted(values[n]) for n in _SETS})
    values["merged"] = list(values["merged"])
    return values


def restored(values):
    """The Find of such a dict."""
    find = Find(values["id"], values["label"], values["last_s"], (0.0, 0.0), np.zeros((2, 2)), np.zeros((2, COUNT)))
    for name, value in values.items():
        if name in Find.__slots__:
            setattr(find, name, np.array(value) if name in _ARRAYS else set(value) if name in _SETS else value)
    return find
