"""Obstacles -> one alert, with hysteresis and debounce, so that it neither flickers nor hangs.

An alert tells of what the vehicle will hit: an obstacle that `avoidance.corridor` has ruled out raises none.
"""

OK, WARN, ERROR = 0, 1, 2  # the levels of diagnostic_msgs/DiagnosticStatus
PATIENT = 3  # times range_hits: a choice, flown in bench/closed_loop.py with all others
THREATS = ("NONE", "LOW", "HIGH")  # MAV_COLLISION_THREAT_LEVEL, by level


class Alert:
    """What one frame amounts to.

    Attributes:
        level (int): OK, WARN or ERROR. threat (str): NONE, LOW or HIGH.
        obstacle (Obstacle or None): the most threatening one, as it was last seen; None if the level is OK.
        cleared (bool): the level fell to OK in this frame.
    """

    __slots__ = ("level", "obstacle", "cleared")

    def __init__(self, level=OK, obstacle=None, cleared=False):
        self.level, self.obstacle, self.cleared = level, obstacle, cleared

    @property
    def threat(self):
        return THREATS[self.level]


class AlertPolicy:
    """Levels per track by time to contact and range; the most aggressive one wins.

    Args:
        warn_ttc_s, error_ttc_s: a time to contact below it asks for the level; 0 switches it off.
        warn_range_m, error_range_m: the same for range, less its sigma.
        release_factor: a level is held until the value exceeds its threshold times this (>= 1).
        warn_lead_s, error_lead_s: where the speed is known, the level is asked for at least so long before the
            last moment to brake: at stopping time + lead, and at stopping distance + speed * lead.
        max_ttc_sigma: a time to contact is believed if its sigma is below this part of it, or of one
            second.
        min_score: a track of a lower mean score raises no alert: at low scores most detections are false.
        range_hits: from so many detections on a track's range alone raises an alert. False ones seldom last so long. If
            its mean score is below sure_score, or it appeared: from PATIENT times as many, unless it alerts already.
        sure_score: that starts a track: most false detections are weaker, most others stronger.
        object_speed_mps: that obstacles may have by themselves: where range and speed are known, a time to contact
            that asks for more is not believed, and range alone counts.
        trigger_count, release_count: consecutive frames that raise and that lower the level of a track.
    """

    def __init__(
        self,
        warn_ttc_s=4.0,
        error_ttc_s=2.0,
        warn_range_m=8.0,
        error_range_m=3.0,
        warn_lead_s=2.0,
        error_lead_s=0.5,
        release_factor=1.3,
        max_ttc_sigma=0.35,
        min_score=0.0,
        range_hits=8,
        object_speed_mps=8.0,
        trigger_count=3,
        release_count=5,
        sure_score=0.0,
    ):
        self.warn_ttc_s, self.error_ttc_s = warn_ttc_s, error_ttc_s
        self.warn_range_m, self.error_range_m = warn_range_m, error_range_m
        self.warn_lead_s, self.error_lead_s = warn_lead_s, error_lead_s
        self.release_factor, self.max_ttc_sigma = release_factor, max_ttc_sigma
        self.min_score, self.range_hits, self.object_speed_mps = min_score, range_hits, object_speed_mps
        self._speed_mps = None  # the vehicle's, where it is known
        self.trigger_count, self.release_count, self.sure_score = trigger_count, release_count, sure_score
        self._states = {}  # track id -> _TrackState
        self._level = OK

    def reset(self, known=()):
        """Forget all tracks but `known` (ids). The alert of another is cleared in the next frame."""
        self._states = {i: state for i, state in self._states.items() if i in known}

    def update(self, obstacles, stopping=None):
        """One frame's alert. A track that is gone counts as harmless, so its level is released, not cut.

        Args:
            obstacles: list of Obstacle; `threatens` None (not judged) counts as True.
            stopping: `vit_perception.avoidance.corridor.Stopping` of the known speed, or None.
        """
        limits, self._speed_mps = self._limits(stopping), None if stopping is None else stopping.speed_mps
        seen = {o.track.id: o for o in obstacles}
        for track_id in seen:
            self._states.setdefault(track_id, _TrackState())
        for track_id, state in self._states.items():
            obstacle = seen.get(track_id)
            state.obstacle = obstacle or state.obstacle
            self._step(state, obstacle, limits)
        self._states = {i: s for i, s in self._states.items() if i in seen or s.level > OK}
        alert = Alert(cleared=self._level > OK)
        worst = max(self._states.values(), key=_urgency, default=None)
        if worst is not None and worst.level > OK:
            alert = Alert(worst.level, worst.obstacle)
        self._level = alert.level
        return alert

    def _limits(self, stopping):
        """((level, time to contact, range) ...), the gravest first: the thresholds that hold at this speed."""
        limits = []
        for level, ttc, distance, lead in (
            (ERROR, self.error_ttc_s, self.error_range_m, self.error_lead_s),
            (WARN, self.warn_ttc_s, self.warn_range_m, self.warn_lead_s),
        ):
            if stopping is not None:  # 0 stays 0: switched off
                ttc = ttc and max(ttc, stopping.time_s + lead)
                distance = distance and max(distance, stopping.distance_m + stopping.speed_mps * lead)
            limits.append((level, ttc, distance))
        return limits

    def _step(self, state, obstacle, limits):
        alerted = state.level > OK
        asked = self._asked(obstacle, limits, 1.0, alerted)
        held = max(asked, min(self._asked(obstacle, limits, self.release_factor, alerted), state.level))
        # Trigger on the level that every one of the last frames reached; release likewise.
        state.rising = (state.rising + [asked])[-self.trigger_count :]
        state.falling = (state.falling + [held])[-self.release_count :]
        if len(state.rising) == self.trigger_count and min(state.rising) > state.level:
            state.level = min(state.rising)
        elif len(state.falling) == self.release_count and max(state.falling) < state.level:
            state.level = max(state.falling)

    def _asked(self, obstacle, limits, factor, alerted):
        """The level that the obstacle's values ask for, with the thresholds times `factor`.

        alerted: it does already: what was believed is not doubted when it is too near to be detected.
        """
        if obstacle is None or obstacle.threatens is False or obstacle.track.mean_score < self.min_score:
            return OK
        for level, ttc, distance in limits:
            if self._believes_ttc(obstacle) and obstacle.ttc_s < ttc * factor:
                return level
            if distance > 0 and self._believes_range(obstacle, alerted) and _near_end(obstacle) < distance * factor:
                return level
        return OK

    def _believes_ttc(self, obstacle):
        if obstacle.ttc_s is None or self._is_too_fast(obstacle):
            return False
        return obstacle.ttc_sigma_s <= self.max_ttc_sigma * max(obstacle.ttc_s, 1.0)

    def _is_too_fast(self, obstacle):
        """Whether its range and time to contact say that it comes faster than anything does: a ghost that grew."""
        if self._speed_mps is None or obstacle.range_m is None:
            return False
        nearest = obstacle.range_m - 2 * obstacle.range_sigma_m
        return nearest > (self._speed_mps + self.object_speed_mps) * (obstacle.ttc_s + 2 * obstacle.ttc_sigma_s)

    def _believes_range(self, obstacle, alerted):
        """A range that is less certain than half of it tells nothing, unless even its far end is near."""
        sure = alerted or (obstacle.track.mean_score >= self.sure_score and not obstacle.appeared)
        if obstacle.range_m is None or obstacle.track.hits < (1 if sure else PATIENT) * self.range_hits:
            return False
        far = obstacle.range_m + obstacle.range_sigma_m
        return obstacle.range_sigma_m <= 0.5 * obstacle.range_m or far < self.warn_range_m


class _TrackState:
    def __init__(self):
        self.level, self.rising, self.falling, self.obstacle = OK, [], [], None


def _near_end(obstacle):
    """Its distance less a sigma: along the line of sight, for what is seen straight below has no horizontal range."""
    distance, sigma = obstacle.sight()
    return distance if obstacle.remembered else distance - sigma  # what is remembered was moved nearer by it


def _urgency(state):
    """Sort key: the higher level first, then the earlier contact, then the nearer one."""
    o = state.obstacle
    ttc = float("inf") if o.ttc_s is None else o.ttc_s
    distance = float("inf") if o.range_m is None else o.range_m
    return (state.level, -ttc, -distance)
