"""Figures for /diagnostics from bounded windows: percentiles, rates, counts. Time is an argument, seconds."""

import time
from collections import deque
from typing import Deque, Dict

import numpy as np


class Samples:
    """The newest `size` values of one quantity."""

    def __init__(self, size=200):
        self._values: Deque[float] = deque(maxlen=size)

    def add(self, value):
        self._values.append(float(value))

    def percentile(self, q):
        """The q-th percentile (0..100) of the window, or None while it is empty."""
        values = list(self._values)  # a copy: another thread may be adding
        return float(np.percentile(values, q)) if values else None


class Rate:
    """Events per second over the last `window_s` seconds."""

    def __init__(self, window_s=5.0, size=2000):
        self._window_s = window_s
        self._times: Deque[float] = deque(maxlen=size)
        self._start = None

    def add(self, now_s):
        if self._start is None:
            self._start = now_s
        self._times.append(now_s)

    def per_second(self, now_s):
        """Rate at time `now_s`; over the time since the first event while that is shorter than the window."""
        if self._start is None:
            return 0.0
        recent = sum(1 for t in list(self._times) if t > now_s - self._window_s)
        return recent / min(self._window_s, max(now_s - self._start, 1.0))


class RateLimit:
    """Lets events pass at a limited rate, evenly: the average does not fall below the limit by their jitter."""

    def __init__(self):
        self._due_s = None

    def passes(self, now_s, per_second):
        """Whether the event at `now_s` passes. per_second: 0 lets all pass."""
        if per_second <= 0:
            return True
        latest = now_s + 1.0 / per_second  # the limit may have been a lower one
        due = self._due_s = now_s if self._due_s is None else min(self._due_s, latest)
        if now_s < due:
            return False
        self._due_s = max(due + 1.0 / per_second, now_s)
        return True


class Stopwatch:
    """Milliseconds by stage, in order, in `stage_ms`."""

    def __init__(self):
        self.stage_ms = {}
        self.start()

    def start(self):
        """What was done since the last stop belongs to no stage."""
        self._t = time.perf_counter()

    def stop(self, stage):
        """Book the time since the last stop on `stage`."""
        now = time.perf_counter()
        self.stage_ms[stage] = 1e3 * (now - self._t)
        self._t = now


class NodeStats:
    """What the node counts: the executor's thread received, dropped, skipped and input_rate, the worker the rest.

    received = processed + dropped + skipped + rejected + failures, and those that wait or are under way.
    """

    def __init__(self):
        self.received = self.dropped = self.processed = self.rejected = self.failures = 0
        self.skipped = 0  # by max_rate_hz
        self.callback_failures = 0  # exceptions that callbacks raised into the executor
        self.consecutive_failures = 0
        self.last_rejection = self.last_failure = ""
        self.last_problem = ""  # whichever of the two came last
        self.input_rate, self.output_rate = Rate(), Rate()
        self.latency_ms = Samples()  # image stamp to published result, on the ROS clock
        self.response_ms = Samples()  # image received to published result, on the steady clock
        self.stages: Dict[str, Samples] = {}  # in the order of the stages

    def add_frame(self, stage_ms, latency_ms, response_ms, now_s):
        """One processed frame."""
        self.processed += 1
        self.consecutive_failures = 0
        self.output_rate.add(now_s)
        self.latency_ms.add(latency_ms)
        self.response_ms.add(response_ms)
        for name, ms in stage_ms.items():
            self.stages.setdefault(name, Samples()).add(ms)

    def add_rejection(self, reason):
        """One image that could not be used."""
        self.rejected += 1
        self.consecutive_failures += 1
        self.last_rejection = self.last_problem = reason

    def add_failure(self, reason):
        """One frame on which the pipeline failed."""
        self.failures += 1
        self.consecutive_failures += 1
        self.last_failure = self.last_problem = reason
