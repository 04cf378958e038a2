"""Throttled warnings: each kind is logged at most once in a period, or once for as long as it holds."""

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
        self._held = {}  # kind -> sentence that holds until further notice

    def warn(self, kind, sentence):
        """Say `sentence` of this kind, unless one was said less than period_s ago."""
        now = self._clock()
        self._newest[kind] = (now, sentence)
        if now - self._said.get(kind, -float("inf")) >= self._period_s:
            self._said[kind] = now
            self._log(sentence)

    def hold(self, kind, sentence):
        """Say `sentence` once; it is current until another one of its kind, or '', takes its place."""
        if sentence == self._held.get(kind, ""):
            return
        held = {k: text for k, text in self._held.items() if k != kind}
        if sentence:
            held[kind] = sentence
            self._log(sentence)
        self._held = held

    @property
    def held(self):
        """The sentences that hold until further notice."""
        return list(self._held.values())

    def current(self):
        """What holds, and sentences of all kinds that happened within the last period_s, joined; for /diagnostics."""
        now = self._clock()
        recent = [text for when, text in list(self._newest.values()) if now - when < self._period_s]
        return "; ".join(self.held + recent)
