"""~/dump: the last seconds of images and results, kept by reference, written to a bag when somebody asks."""

import os
import threading
import time
from collections import deque
from typing import Deque

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.serialization import serialize_message
from rclpy.task import Future

from ..errors import BagError
from ..recording.bag_writer import BagWriter
from .messages import type_name

try:
    from std_srvs.srv import Trigger
except ImportError:
    Trigger = None

SMALL, PER_ITEM = 2000, 4000  # bytes that a message takes in Python, and each detection or status in it; estimates
LAST_WORDS_S = 1.0  # how long a dump under way may take to notice that the node ends


class Dump:
    """Keeps what it is handed and offers the service `~/dump`, which answers with the path of the bag.

    Writing happens in a thread of its own; the executor goes on. What is being written stays in memory meanwhile,
    beside what is newly kept.

    Args:
        node: the rclpy node. values: its parameters by name: `dump.seconds`, `dump.max_mb`, `dump.folder`.
    """

    def __init__(self, node, values):
        self._node, self._seconds = node, values["dump.seconds"]
        self._limit = 1e6 * values["dump.max_mb"]
        self._folder = os.path.expanduser(values["dump.folder"])
        self._kept: Deque[tuple] = deque()  # of (steady time, topic, message, bytes)
        self._bytes, self._latched = 0, {}
        self._lock = threading.Lock()
        self._thread, self._ending = None, threading.Event()
        self._service = None
        if Trigger is None:
            node.get_logger().warning("~/dump needs the package std_srvs, which is not installed: nothing is kept")
            self._seconds = 0.0
        else:
            # In the node's own group, which runs one callback at a time, an answer that waits would stop every timer.
            group = ReentrantCallbackGroup()
            self._service = node.create_service(Trigger, "~/dump", self._on_dump, callback_group=group)

    def keep(self, topic, msg, latched=False):
        """Keep a message, from any thread. It must not be changed any more.

        Args:
            topic: its full name. latched: the newest one is kept however old, and comes first in the bag.
        """
        if self._seconds <= 0:
            return
        now = time.monotonic()
        entry = (now, topic, msg, _size(msg))
        with self._lock:
            if latched:
                self._latched[topic] = entry
                return
            self._kept.append(entry)
            self._bytes += entry[3]
            while self._kept and (now - self._kept[0][0] > self._seconds or self._bytes > self._limit):
                self._bytes -= self._kept.popleft()[3]

    async def _on_dump(self, request, response):
        try:
            response.message = await self._start()
            response.success = True
        except BagError as e:
            response.message = str(e)
            self._node.get_logger().error("no dump: {}".format(e))
        return response

    def _start(self):
        """Begin to write; returns a Future of the bag's path."""
        with self._lock:
            entries = list(self._kept)
            latched = [(entries[0][0],) + e[1:] for e in self._latched.values()] if entries else []
        if not entries:
            reason = "dump.seconds is 0" if self._seconds <= 0 else "no image has come"
            raise BagError("nothing is kept yet: {}".format(reason))
        if self._thread is not None and self._thread.is_alive():
            raise BagError("a dump is being written already; ask again when it is done")
        future = Future()
        arguments = (latched + entries, frozenset(self._latched), future)
        self._thread = threading.Thread(target=self._write, args=arguments, name="dump", daemon=True)
        self._thread.start()
        return future

    def _write(self, entries, latched, future):
        try:
            path = self._write_bag(entries, latched)
        except Exception as e:  # the one who asked hears it
            future.set_exception(e if isinstance(e, BagError) else BagError("cannot write the dump: {!r}".format(e)))
        else:
            self._node.get_logger().info("dumped {} messages to {}".format(len(entries), path))
            future.set_result(path)

    def _write_bag(self, entries, latched):
        # Steady times moved onto the wall clock as it stands now: a clock that jumped in flight keeps the order.
        offset = time.time() - time.monotonic()
        with BagWriter(self._new_path()) as bag:
            for when, topic, msg, _ in entries:
                if self._ending.is_set():
                    raise BagError("the node ends, so the dump was given up")
                bag.add_topic(topic, type_name(type(msg)), topic in latched)
                bag.write(topic, int(1e9 * (when + offset)), serialize_message(msg))
        return bag.folder

    def _new_path(self):
        name = self._node.get_fully_qualified_name().strip("/").replace("/", "_")
        path = os.path.join(self._folder, name + time.strftime("_%Y%m%d_%H%M%S"))
        number, free = 1, path
        while os.path.exists(free):  # a second dump in the same second
            number += 1
            free = "{}_{}".format(path, number)
        return free

    def close(self):
        """End the service; a dump under way is given up and leaves nothing behind."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(LAST_WORDS_S)
        if self._service is not None:
            self._node.destroy_service(self._service)
        with self._lock:
            self._kept.clear()
            self._latched.clear()
            self._bytes, self._seconds = 0, 0.0


def _size(msg):
    items = sum(len(getattr(msg, name, ())) for name in ("detections", "status"))
    return len(getattr(msg, "data", ())) + SMALL + PER_ITEM * items
