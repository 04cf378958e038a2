"""What the guard costs and how soon it answers: kill -9, SIGSTOP, out of memory, a respawn loop. Over real DDS.

    python -m tools.ros_environment python bench/guard.py [--tries 20] [--quick]

A small process that publishes scans at 10 Hz stands in for the node; out of memory is that process with a limit on its
address space (RLIMIT_AS), which it runs into. In the respawn loop it dies 10 times, each time as soon as it was heard,
and is started anew. Memory is the guard's share of all pages (PSS)
and its anonymous ones, beside those of a bare rclpy node with the same two topics. The last line is one JSON object.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
TALKER = """
import rclpy, time
from sensor_msgs.msg import LaserScan
rclpy.init()
node = rclpy.create_node("talker")
publisher = node.create_publisher(LaserScan, "obstacle_scan", 10)
while True:
    publisher.publish(LaserScan(scan_time=0.1, range_min=0.5, range_max=40.0, ranges=[9.0] * 72))
    time.sleep(0.1)
"""
EATER = TALKER.replace(  # it begins once the guard and the ear hear it
    "    time.sleep(0.1)",
    "    time.sleep(0.1)\n    if publisher.get_subscription_count() > 1:\n"
    "        eaten = globals().get('eaten', []) + [bytearray(20 << 20)]",
)
LIMIT = 900 << 20  # bytes of address space
RESPAWNS = 10
BARE = """
import rclpy
from sensor_msgs.msg import LaserScan
rclpy.init()
node = rclpy.create_node("bare")
publisher = node.create_publisher(LaserScan, "obstacle_scan", 10)
subscription = node.create_subscription(LaserScan, "obstacle_scan", lambda m: None, 10)
rclpy.spin(node)
"""


def memory(pid: int) -> dict[str, float]:
    """MB that a process has: its share of all pages, and its own anonymous ones."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kb = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return {"pss_mb": round(kb["Pss"] / 1024, 1), "anonymous_mb": round(kb["Anonymous"] / 1024, 1)}


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Ear:
    """Hears obstacle_scan: when the last scan of a node came, and the first of a guard after `forget`."""

    def __init__(self):
        import rclpy
        from sensor_msgs.msg import LaserScan

        rclpy.init()
        self._rclpy, self.node = rclpy, rclpy.create_node("ear")
        self.node.create_subscription(LaserScan, "obstacle_scan", self._hear, 50)
        self.forget()

    def _hear(self, msg):
        now = time.monotonic()
        if msg.scan_time > 0:
            self.scan = now
        elif self.blocked is None:
            self.blocked = now

    def forget(self):
        self.scan = self.blocked = None

    def until(self, condition, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            self._rclpy.spin_once(self.node, timeout_sec=0.02)
        return bool(condition())


def talker() -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", TALKER])


def eater() -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", EATER], stderr=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT)),
    )  # fmt: skip


def dies(ear: Ear, fault: str) -> float:
    """Seconds from the last scan of a node that `fault` ends to the guard's first."""
    node = eater() if fault == "out of memory" else talker()
    ear.forget()
    assert ear.until(lambda: ear.scan is not None, 20.0), "no scan came"
    if fault == "out of memory":
        assert ear.until(lambda: node.poll() is not None, 30.0), "the memory limit ended nobody"
    else:
        ear.until(lambda: False, 0.0 if fault == "respawn loop" else 1.0)
    ear.blocked = None
    if node.poll() is None:
        node.send_signal(signal.SIGSTOP if fault == "SIGSTOP" else signal.SIGKILL)
    assert ear.until(lambda: ear.blocked is not None, 5.0), "the guard did not answer"
    node.kill()
    node.wait()
    return ear.blocked - ear.scan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tries", type=int, default=20, help="of each fault (default %(default)s)")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    tries, ear, figures = (3 if args.quick else args.tries), Ear(), {}
    arguments = ["--ros-args", "-p", "on_stale:=blocked"]
    guard = subprocess.Popen([sys.executable, "-m", "vit_perception.guard", *arguments], cwd=ROOT)
    bare = subprocess.Popen([sys.executable, "-c", BARE])
    try:
        before, begun, used = None, 0.0, 0.0
        times: dict[str, list[float]] = {}
        for fault in ("kill -9", "SIGSTOP", "out of memory", "respawn loop"):
            begun, used = time.monotonic(), cpu_s(guard.pid)
            times[fault] = [dies(ear, fault) for _ in range(RESPAWNS if fault == "respawn loop" else tries)]
            before = before or memory(guard.pid)
        figures["cpu_percent_respawn_loop"] = round(100 * (cpu_s(guard.pid) - used) / (time.monotonic() - begun), 2)
        figures["grown_mb"] = round(memory(guard.pid)["anonymous_mb"] - before["anonymous_mb"], 1)
        for fault, found in times.items():
            figures[fault] = {"p50_s": round(float(np.median(found)), 2), "max_s": round(max(found), 2)}
            print(f"{fault}: last scan to blocked {figures[fault]}", flush=True)
        begun, used = time.monotonic(), cpu_s(guard.pid)
        ear.until(lambda: False, 3.0 if args.quick else 20.0)
        figures["cpu_percent_blocking"] = round(100 * (cpu_s(guard.pid) - used) / (time.monotonic() - begun), 2)
        node = talker()
        ear.forget()
        ear.until(lambda: ear.scan is not None, 20.0)
        begun, used = time.monotonic(), cpu_s(guard.pid)
        ear.until(lambda: False, 3.0 if args.quick else 20.0)
        figures["cpu_percent_watching"] = round(100 * (cpu_s(guard.pid) - used) / (time.monotonic() - begun), 2)
        figures["guard"], figures["bare_rclpy_node"] = memory(guard.pid), memory(bare.pid)
        node.kill()
        node.wait()
    finally:
        for process in (guard, bare):
            process.kill()
            process.wait()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
