"""Gives test files to pytest-xdist's workers: what waits and what computes in two queues (side_by_side.py)."""

from side_by_side import may_wait, waits
from xdist.scheduler import LoadFileScheduling

# A minute and more each on a core that is shared. The last file to begin should be a short one.
LONG = (
    "test_search.py",
    "test_ablate.py",
    "test_distill.py",
    "test_compress.py",
    "test_mobile_stem.py",
    "test_sets.py",
)


class Scheduling(LoadFileScheduling):
    """`--dist loadfile` with two queues. A worker that waits computes when nothing to wait for is left.

    A worker that computes ends when nothing to compute is left, unless no other is there any more.
    """

    def _assign_work_unit(self, node) -> None:
        left = list(self.workqueue)
        if self._waits(node):
            own = [scope for scope in left if waits(scope)] or left
        else:
            own = [scope for scope in left if not waits(scope)]
            if not own and any(self._waits(n) for n in self.nodes):
                node.shutdown()
                return
        own = own or left
        first = next((scope for name in LONG for scope in own if scope.endswith(name)), own[0])
        self.workqueue.move_to_end(first, last=False)
        super()._assign_work_unit(node)

    def _waits(self, node):
        return may_wait(int(node.workerinput["workerid"][2:]), self.numnodes)
