"""The DDS domain that a run takes for itself."""

import socket
from pathlib import Path

import pytest

from tools.ros_environment import free_domain

SHM = Path("/dev/shm")


def test_a_domain_in_use_is_passed_over():
    start = free_domain(50)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as participant:
        participant.bind(("", 7410 + 250 * start))
        assert free_domain(50) == start % 100 + 1


@pytest.mark.skipif(not SHM.is_dir(), reason="no shared memory at /dev/shm")
def test_what_killed_processes_left_of_it_is_removed():
    domain = free_domain(50)
    first = 7400 + 250 * domain
    left = [SHM / f"fastrtps_port{first + 11}", SHM / f"fastrtps_port{first + 249}_el"]
    left += [SHM / f"sem.fastrtps_port{first}_mutex"]
    others = [SHM / f"fastrtps_port{first + 498}", SHM / f"fastrtps_port{first}_of_nobody"]  # 498: nobody's yet
    try:
        for path in left + others:
            path.touch()
        assert free_domain(50) == domain
        assert not any(path.exists() for path in left) and all(path.exists() for path in others)
    finally:
        for path in left + others:
            path.unlink(missing_ok=True)
