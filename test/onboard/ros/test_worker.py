"""One thread that works on what is newest."""

import threading
import time

from vit_perception.ros.worker import Worker


def test_only_the_newest_waits_and_what_it_replaces_is_told():
    begun, go, seen = threading.Event(), threading.Event(), []

    def process(item):
        seen.append(item)
        begun.set()
        go.wait(5)

    worker = Worker(process)
    assert worker.busy_since is None
    assert worker.offer(1) is False
    assert begun.wait(5) and time.monotonic() - worker.busy_since < 5
    assert [worker.offer(i) for i in (2, 3, 4)] == [False, True, True] and worker.waiting
    go.set()
    while seen[-1] != 4:
        time.sleep(0.001)
    assert worker.close(5.0) and seen == [1, 4] and not worker.waiting


def test_close_waits_for_the_item_under_way_and_leaves_the_one_that_waits():
    go, seen = threading.Event(), []

    def process(item):
        go.wait(5)
        seen.append(item)

    worker = Worker(process)
    worker.offer(1)
    while worker.busy_since is None:
        time.sleep(0.001)
    worker.offer(2)
    assert worker.close(0.05) is False  # from here on it ends after the one under way
    threading.Timer(0.1, go.set).start()
    assert worker.close(5.0) and seen == [1] and worker.waiting


def test_close_gives_up_on_a_thread_that_hangs():
    hang = threading.Event()
    worker = Worker(lambda item: hang.wait(10))
    worker.offer(1)
    while worker.busy_since is None:
        time.sleep(0.001)
    assert worker.close(0.05) is False
    hang.set()
    assert worker.close(5.0) is True
