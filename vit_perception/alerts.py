"""Obstacles -> one alert, with hysteresis and debounce, so that it neither flickers nor hangs."""

OK, WARN, ERROR = 0, 1, 2  # the levels of diagnostic_msgs/DiagnosticStatus
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
        warn_range_m, error_range_m: the same for range.
        release_factor: a level is held until the value exceeds its threshold times this (>= 1).
        max_ttc_sigma: a time to contact is believed if its sigma is below this part of it, or of one
            second.
        trigger_count, release_count: consecutive frames that raise and that lower the level of a track.
    """

    def __init__(
        self,
        warn_ttc_s=4.0,
        error_ttc_s=2.0,
        warn_range_m=8.0,
        error_range_m=3.0,
        release_factor=1.3,
        max_ttc_sigma=0.35,
        trigger_count=3,
        release_count=5,
    ):
        self.warn_ttc_s, self.error_ttc_s = warn_ttc_s, error_ttc_s
        self.warn_range_m, self.error_range_m = warn_range_m, error_range_m
        self.release_factor, self.max_ttc_sigma = release_factor, max_ttc_sigma
        self.trigger_count, self.release_count = trigger_count, release_count
        self._states = {}  # track id -> _TrackState
        self._level = OK

    def reset(self):
        """Forget everything, as at the start."""
        self._states = {}
        self._level = OK

    def update(self, obstacles):
        """One frame's alert. A track that is gone counts as harmless, so its level is released, not cut."""
        seen = {o.track.id: o for o in obstacles}
        for track_id in seen:
            self._states.setdefault(track_id, _TrackState())
        for track_id, state in self._states.items():
            obstacle = seen.get(track_id)
            state.obstacle = obstacle or state.obstacle
            self._step(state, obstacle)
        self._states = {i: s for i, s in self._states.items() if i in seen or s.level > OK}
        alert = Alert(cleared=self._level > OK)
        worst = max(self._states.values(), key=_urgency, default=None)
        if worst is not None and worst.level > OK:
            alert = Alert(worst.level, worst.obstacle)
        self._level = alert.level
        return alert

    def _step(self, state, obstacle):
        asked = self._asked(obstacle, 1.0)
        held = max(asked, min(self._asked(obstacle, self.release_factor), state.level))
        # Trigger on the level that every one of the last frames reached; release likewise.
        state.rising = (state.rising + [asked])[-self.trigger_count :]
        state.falling = (state.falling + [held])[-self.release_count :]
        if len(state.rising) == self.trigger_count and min(state.rising) > state.level:
            state.level = min(state.rising)
        elif len(state.falling) == self.release_count and max(state.falling) < state.level:
            state.level = max(state.falling)

    def _asked(self, obstacle, factor):
        """The level that the obstacle's values ask for, with the thresholds times `factor`."""
        if obstacle is None:
            return OK
        for level, ttc, distance in (
            (ERROR, self.error_ttc_s, self.error_range_m),
            (WARN, self.warn_ttc_s, self.warn_range_m),
        ):
            if self._believes_ttc(obstacle) and obstacle.ttc_s < ttc * factor:
                return level
            if obstacle.range_m is not None and obstacle.range_m < distance * factor:
                return level
        return OK

    def _believes_ttc(self, obstacle):
        if obstacle.ttc_s is None:
            return False
        return obstacle.ttc_sigma_s <= self.max_ttc_sigma * max(obstacle.ttc_s, 1.0)


class _TrackState:
    def __init__(self):
        self.level, self.rising, self.falling, self.obstacle = OK, [], [], None


def _urgency(state):
    """Sort key: the higher level first, then the earlier contact, then the nearer one."""
    o = state.obstacle
    ttc = float("inf") if o.ttc_s is None else o.ttc_s
    distance = float("inf") if o.range_m is None else o.range_m
    return (state.level, -ttc, -distance)
