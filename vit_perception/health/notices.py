"""Throttled warnings: each kind is logged at most once in a period, however often it happens."""

import time


class Notices:
    """Throttled warnings.

    Args:
        log: log(sentence).
        period_s: time between two warnings of one kind.
        clock: steady seconds.
    """

    def __init__(self, log, period_s=10.0, clock=time.monotonic):
        self._log, self._period_s, self._clock = log, period_s, clock
        self._said, self._newest = {}, {}  # kind -> when it was last logged; kind -> (when it last happened, sentence)

    def warn(self, kind, sentence):
        """Say `sentence` of this kind, unless one was said less than period_s ago."""
        now = self._clock()
        self._newest[kind] = (now, sentence)
        if now - self._said.get(kind, -float("inf")) >= self._period_s:
            self._said[kind] = now
            self._log(sentence)

    def current(self):
        """Sentences of all kinds that happened within the last period_s, joined; for /diagnostics."""
        now = self._clock()
        return "; ".join(text for when, text in list(self._newest.values()) if now - when < self._period_s)
