"""What the MAVLink link adds: a scan's way from `send_scan` to pymavlink's own parser, by UDP and at 57600 baud.

    python bench/mavlink_link.py [--seconds 20] [--quick]

The other end is a stand-in for an autopilot: it says HEARTBEAT and ATTITUDE, hears, falls silent and comes back. The
serial line is a pseudo-terminal that is read at the pace of its baud rate. The last line is one JSON object.
"""

import argparse
import contextlib
import json
import os
import select
import socket
import threading
import time

import numpy as np
from pymavlink.dialects.v20 import common

from vit_perception.autopilot.link import Link

BAUD = 57600
BYTES_S = BAUD / 10  # a start and a stop bit beside the eight
RATE_HZ = 10.0
SILENT_S = 6.0


class Autopilot(threading.Thread):
    """Says HEARTBEAT once and ATTITUDE ten times a second unless `silent`, and notes when a scan came whole.

    Args:
        fd: that it reads. write: takes bytes. pace: bytes a second that it reads; None: as they come.
    """

    def __init__(self, fd, write, pace=None):
        super().__init__(daemon=True)
        self._fd, self._write, self._pace, self.silent, self.over = fd, write, pace, False, False
        self.came: dict[int, float] = {}  # first distance, cm -> when
        self.bytes = 0

    def run(self):
        parser, speaker = common.MAVLink(None), common.MAVLink(None, srcSystem=1, srcComponent=1)
        parser.robust_parsing = True
        last = said = time.monotonic()
        count = 0
        while not self.over:
            now = time.monotonic()
            if not self.silent and now - said >= 0.1:
                said, count = now, count + 1
                beat = common.MAVLink_heartbeat_message(2, 3, 128, 0, 4, 3)
                attitude = common.MAVLink_attitude_message(int(1e3 * now) % 2**32, 0, 0, 0, 0, 0, 0)
                for message in [attitude] + [beat] * (count % 10 == 1):
                    self._write(message.pack(speaker))
            room = 65536 if self._pace is None else int((now - last) * self._pace)
            if room < 1 or not select.select([self._fd], [], [], 0.002)[0]:
                last = now if room >= 1 else last  # an idle line saves nothing up
                time.sleep(0.001)
                continue
            data, last = os.read(self._fd, room), now
            self.bytes += len(data)
            for message in parser.parse_buffer(data) or []:
                if message.get_type() == "OBSTACLE_DISTANCE":
                    self.came.setdefault(message.distances[0], time.monotonic())


def measured(autopilot: Autopilot, url: str, seconds: float) -> dict:
    """Latency, loss and return over one line."""
    told: list[tuple[float, str]] = []
    link = Link(url, lambda what, state: None, lambda kind, sentence: told.append((time.monotonic(), kind)))
    try:
        autopilot.start()
        wait(lambda: link.summary()[0], 10.0)
        begun, sent, before = time.monotonic(), {}, autopilot.bytes
        while time.monotonic() - begun < seconds:
            cm = 100 + len(sent)
            sent[cm] = time.monotonic()
            link.send_scan([0.01 * cm + 0.001] * 72, 0.5, 40.0, time.time())
            time.sleep(1 / RATE_HZ)
        time.sleep(0.5)
        ms = [1e3 * (autopilot.came[k] - t) for k, t in sent.items() if k in autopilot.came]
        used = (autopilot.bytes - before) / (time.monotonic() - begun)
        autopilot.silent, silent = True, time.monotonic()
        wait(lambda: any(kind == "lost" for _, kind in told), SILENT_S)
        lost = next((t for t, kind in told if kind == "lost"), float("nan")) - silent
        autopilot.silent, back = False, time.monotonic()
        wait(lambda: link.summary()[0], SILENT_S)
        return {
            "scans": len(sent), "arrived": len(ms), "p50_ms": round(float(np.percentile(ms, 50)), 1),
            "p95_ms": round(float(np.percentile(ms, 95)), 1), "max_ms": round(max(ms), 1), "bytes_s": round(used),
            "lost_told_s": round(lost, 2), "back_s": round(time.monotonic() - back, 2),
        }  # fmt: skip
    finally:
        link.close()
        autopilot.over = True
        if autopilot.ident is not None:
            autopilot.join(2.0)  # before its line is closed


def wait(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)


def by_udp(seconds: float) -> dict:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.bind(("127.0.0.1", 0))
        line.settimeout(5.0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        line.connect(("127.0.0.1", port))

        def write(data):
            with contextlib.suppress(ConnectionRefusedError):  # the link is not there yet
                line.send(data)

        return measured(Autopilot(line.fileno(), write), f"udpin:127.0.0.1:{port}", seconds)


def by_serial(seconds: float) -> dict:
    main, other = os.openpty()
    try:
        return measured(Autopilot(main, lambda d: os.write(main, d), BYTES_S), f"{os.ttyname(other)}:{BAUD}", seconds)
    finally:
        os.close(main)
        os.close(other)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of scans over each line (default %(default)s)")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    seconds = 3.0 if args.quick else args.seconds
    figures = {}
    for name, line in (("udp", by_udp), (f"serial_{BAUD}", by_serial)):
        figures[name] = line(seconds)
        print(name, figures[name], flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
