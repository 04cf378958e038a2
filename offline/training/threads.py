"""How many threads torch trains with: as many as the machine can spare, not as many as it has.

Threads that wait for a core hold up all the others at every step: on a machine that others work on, torch's own choice,
all cores, trains slower than half of them.
"""

import logging
import os
from pathlib import Path

import torch

log = logging.getLogger(__name__)
V2_LIMIT = Path("/sys/fs/cgroup/cpu.max")
V1_LIMIT = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def choose_threads(kept: int | None = None) -> int | None:
    """Set torch's number of threads, and say it.

    Args:
        kept: what an earlier sitting of the run had: with another number, sums round otherwise.

    Returns:
        the number; None where OMP_NUM_THREADS decides (torchrun sets it, too).
    """
    if os.environ.get("OMP_NUM_THREADS"):
        return None
    cores, load = usable_cores(), busy()
    free = max(1, round(cores - load))
    threads = kept or min(free, torch.get_num_threads())
    torch.set_num_threads(threads)
    why = "as the run began" if kept else f"{cores} cores for this process, others keep {load:.1f} of the machine busy"
    log.info("training with %d threads (%s); OMP_NUM_THREADS=N sets another number", threads, why)
    return threads


def usable_cores() -> int:
    """Cores that this process may use: its affinity and its container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return max(1, min(cores, int(quota))) if quota else cores


def _quota() -> float | None:
    """Cores that a container's limit allows, None without one."""
    try:
        if V2_LIMIT.is_file():
            allowed, period = V2_LIMIT.read_text().split()
        else:
            allowed, period = (p.read_text().strip() for p in V1_LIMIT)
        return float(allowed) / float(period) if allowed not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def busy() -> float:
    """Cores that others keep busy: the mean of the last minute, in which this process has hardly begun."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return 0.0
