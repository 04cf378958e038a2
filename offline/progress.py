"""Progress that people can watch: a bar with ETA on a terminal, a line now and then in a log."""

import logging
import sys
import time
from collections.abc import Iterator

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

log = logging.getLogger(__name__)
LINE_EVERY_S = 15.0


class Bar:
    """`with Bar("teacher", total=800) as bar: bar.advance(loss=1.2)`. Elsewhere than on a terminal it logs lines."""

    def __init__(self, label: str, total: int, done: int = 0):
        self.label, self.total, self.done = label, total, done
        self._first, self._start, self._line = done, time.monotonic(), time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> "Bar":
        if sys.stderr.isatty():
            columns = (
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("eta"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(TextColumn("{task.description}"), *columns, TextColumn("{task.fields[note]}"))
            self._bar.__enter__()
            self._task = self._bar.add_task(self.label, total=self.total, completed=self.done, note="")
        return self

    def __exit__(self, *exc) -> None:
        if self._bar is not None:
            self._bar.__exit__(*exc)

    def advance(self, **figures: float) -> None:
        """One step is done; `figures` are shown beside it."""
        self.done += 1
        note = " ".join(f"{k} {v:.3g}" for k, v in figures.items())
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=note)
        elif now - self._line > LINE_EVERY_S:
            self._line = now
            left = (now - self._start) / (self.done - self._first) * (self.total - self.done)
            log.info("%s %d/%d, eta %s %s", self.label, self.done, self.total, clock(left), note)


def track(items, label: str) -> Iterator:
    """Iterate over a sequence with a bar."""
    with Bar(label, len(items)) as bar:
        for item in items:
            yield item
            bar.advance()


def clock(seconds: float) -> str:
    """Seconds -> '1:02:03' or '2:03'."""
    minutes, s = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{s:02d}" if hours else f"{minutes}:{s:02d}"
