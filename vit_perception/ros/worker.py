"""One thread that processes the newest item; an item that waits is replaced by one that is newer."""

import threading
import time


class Worker:
    """Starts at once; `close` ends it.

    Args:
        process: process(item), called in the thread. It must not raise.

    Attributes:
        busy_since: steady time at which the item under way was begun, or None while there is none.
    """

    def __init__(self, process):
        self.busy_since = None
        self._process, self._item, self._stopping = process, None, False
        self._wakeup = threading.Condition()
        # A daemon: an engine that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="perception", daemon=True)
        self._thread.start()

    def offer(self, item):
        """Hand over an item (not None). Returns True if it took the place of one that waited."""
        with self._wakeup:
            replaced, self._item = self._item is not None, item
            self._wakeup.notify()
        return replaced

    def close(self, timeout_s):
        """End after the item under way. Returns False if that took longer: the thread is then left alone.

        The item that waits is dropped; `waiting` tells whether there is one.
        """
        with self._wakeup:
            self._stopping = True
            self._wakeup.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def waiting(self):
        """Whether an item waits."""
        return self._item is not None

    def _run(self):
        while True:
            with self._wakeup:
                self._wakeup.wait_for(lambda: self._item is not None or self._stopping)
                if self._stopping:
                    return
                item, self._item = self._item, None
                self.busy_since = time.monotonic()
            self._process(item)
            self.busy_since = None
