"""What runs side by side (pytest-xdist): tests that mostly wait, and beside them tests that compute.

Tests of nodes wait for messages and for the clock, and what they measure is time: two of their files side by side
leave much of two cores idle. So of three or more workers the first two take these files, and the others take those that
compute, in the time that the first two leave over.
"""

import os

WAITS = "test/onboard/"
WAITING = 2  # workers that take what waits: a third would make the others late on two cores


def waits(nodeid):
    """Whether the test, or the file, mostly waits."""
    return nodeid.startswith(WAITS)


def may_wait(worker, workers):
    """Whether the worker of this number takes what waits."""
    return workers <= WAITING or worker < WAITING


def give_way():
    """From here on this process, and what it starts, leaves the core to those that wait as soon as they want it.

    By nice 10 a tenth of a core stays in any case: deadlines of minutes hold where other programs fill the machine.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(10, os.getpriority(os.PRIO_PROCESS, 0)))
