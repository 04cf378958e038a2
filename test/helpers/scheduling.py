"""Which test files run side by side (pytest-xdist): those that mostly wait, and beside them those that compute.

Tests of nodes wait for messages and for the clock, and what they measure is time: two of their files side by side
leave much of two cores idle. So of three or more workers the last one, which runs at a lower priority (conftest.py),
takes the files that compute. Whoever has none of its own kind left takes the other. Of those that compute the longest
go first: a minute of one command at the very end would leave a core idle.
"""

from xdist.scheduler import LoadFileScheduling

WAITS = "test/onboard/"
LONGEST = "test/offline/test_"  # whole runs of commands


class Scheduling(LoadFileScheduling):
    """`--dist loadfile` with two queues."""

    def _assign_work_unit(self, node) -> None:
        if self.numnodes > 2:
            waits = node.workerinput["workerid"] != f"gw{self.numnodes - 1}"
            own = [scope for scope in self.workqueue if scope.startswith(WAITS) == waits] or list(self.workqueue)
            if own:
                first = max(own, key=lambda scope: scope.startswith(LONGEST))
                self.workqueue.move_to_end(first, last=False)
        super()._assign_work_unit(node)
