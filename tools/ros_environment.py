"""The environment variables under which this project's ROS processes run, in one place.

python -m tools.ros_environment COMMAND [ARGUMENT ...] runs a command under them:

    .venv/bin/python -m tools.ros_environment python -m vit_perception.node

All traffic stays on the loopback interface, in a DDS domain that no other run on this machine uses.
"""

import contextlib
import os
import re
import socket
import sys
from pathlib import Path

PARTICIPANTS = 20  # of a domain that are looked for
ROOT = Path(__file__).resolve().parents[1]


def ros_environment() -> dict[str, str]:
    """Return the variables to set, before rclpy is imported.

    ROS_DOMAIN_ID, ROS_LOG_DIR and a Fast DDS profile that the caller has chosen already are kept.
    """
    profile = str(ROOT / "config" / "fastdds_loopback.xml")
    variables = {
        "PYTHONPATH": str(ROOT),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        profile_variable(): os.environ.get(profile_variable(), profile),
        "ROS_LOG_DIR": os.environ.get("ROS_LOG_DIR", str(ROOT / "out" / "log")),
        "ROS_DOMAIN_ID": os.environ.get("ROS_DOMAIN_ID") or str(free_domain(os.getpid())),
    }
    if (Path(sys.prefix) / "share" / "ament_index").is_dir():  # ROS from wheels: the venv is the prefix
        variables["AMENT_PREFIX_PATH"] = sys.prefix
    return variables


def profile_variable() -> str:
    """Name of the variable from which Fast DDS takes its profile: version 3 (Kilted) warns of version 2's."""
    wheels = Path(sys.prefix) / "lib"
    if list(wheels.glob("libfastrtps.so*")) or os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy"):
        return "FASTRTPS_DEFAULT_PROFILES_FILE"
    return "FASTDDS_DEFAULT_PROFILES_FILE"


def is_free(port: int) -> bool:
    """Whether nobody on this machine listens on this UDP port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def free_domain(start: int, among: range = range(1, 101)) -> int:
    """Return a DDS domain id of `among` in which no participant runs on this machine.

    Looks first at the one after ``start``, modulo their number. Up to 101 they keep clear of Linux's ephemeral ports.
    The ports are the RTPS defaults for discovery traffic: 7400 + 250 * domain + 10 + 2 * participant. What killed
    processes left of the domain in shared memory is removed: it can leave who comes next deaf.
    """
    for offset in range(len(among)):
        domain = among[(start + offset) % len(among)]
        ports = range(7400 + 250 * domain, 7650 + 250 * domain)
        if not all(map(is_free, ports[10 : 10 + 2 * PARTICIPANTS : 2])):
            continue
        for left in Path("/dev/shm").glob("*"):
            port = re.fullmatch(r"(?:sem\.)?fast(?:rtps|dds)_port(\d+)(?:_el|_mutex)?", left.name)
            if port and int(port[1]) in ports:
                with contextlib.suppress(OSError):  # another user's
                    left.unlink()
        return domain
    raise RuntimeError(f"all DDS domains from {among[0]} to {among[-1]} are in use on this machine; set ROS_DOMAIN_ID")


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    os.environ.update(ros_environment())
    try:
        os.execvp(sys.argv[1], sys.argv[1:])
    except OSError as error:
        sys.exit(f"error: cannot run '{sys.argv[1]}': {error.strerror}")


if __name__ == "__main__":
    main()
