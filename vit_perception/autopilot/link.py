"""A MAVLink link in a thread of its own: obstacles, texts and heartbeats out, what the vehicle does in.

A slow line delays nobody: of scans only the newest waits; a message that finds the line full is dropped and counted.
The line that breaks is opened again; an autopilot that falls silent is said once, and the link goes on.
"""

import struct
import threading
import time
from typing import Any

from ..errors import PerceptionError
from .connection import ARDUPILOT, NAMES, Connection
from .state import VehicleState
from .timesync import TimeSync

UNKNOWN_CM = 65535
BODY_FRD, SENSOR_UNKNOWN = 12, 4
LOST_S = 3.0  # without a HEARTBEAT
STREAM_S = 2.0  # without an ATTITUDE
AGAIN_S = 1.0  # between two tries to open the line
SET_MESSAGE_INTERVAL = 511
# Message ids and the rates asked for, Hz: ATTITUDE, LOCAL_POSITION_NED, GLOBAL_POSITION_INT, DISTANCE_SENSOR.
STREAMS = ((30, 20.0), (32, 10.0), (33, 2.0), (132, 10.0))
SLOW_BAUD = 115200  # below it the streams are asked for at a third
FULL_BYTES = 400  # that wait: a scan waits, too, and the next one replaces it


def distances_cm(ranges):
    """72 uint16 centimetres of a LaserScan's ranges, as mavros makes them: float32 times 100, rounded to it, cut."""
    found = []
    for metres in ranges:
        cm = struct.unpack("f", struct.pack("f", metres * 100.0))[0] if -1e30 < metres < 1e30 else -1.0
        found.append(int(cm) if 0.0 <= cm < UNKNOWN_CM else UNKNOWN_CM)
    return found


class Link:
    """Starts at once; `close` ends it.

    Args:
        url: as `transport.FORMS`.
        on_state: on_state(what, VehicleState), in the link's thread: odometry, height or fix can be told anew;
            what 'armed' comes with True or False instead.
        on_problem: on_problem(kind, sentence), in the link's thread.
        wants_blocked: whether the scan may be a blocked one, which is for ArduPilot.
        clock: our time, seconds, that of the stamps given to `send_scan`.

    Raises:
        PerceptionError: the URL names nothing, or pymavlink is missing.
    """

    def __init__(self, url, on_state, on_problem, wants_blocked=False, clock=time.time):
        self.url, self._on_state, self._on_problem, self._clock = url, on_state, on_problem, clock
        self._wants_blocked = wants_blocked
        self.sync, self.state, self.counts = TimeSync(), VehicleState(), {"scans": 0, "replaced": 0, "lost": 0}
        self._scan, self._texts, self._lock = None, [], threading.Lock()
        self._said, self._stopping = set(), threading.Event()
        self._heard = self._attitude = self._asked = 0.0
        self.connection: Any = Connection(url)
        self._thread = threading.Thread(target=self._run, name="mavlink", daemon=True)
        self._thread.start()

    def send_scan(self, ranges, range_min, range_max, stamp_s):
        """Send a scan as soon as the line takes it; one that waits still is replaced.

        ranges: 72 metres, the first straight back, clockwise. stamp_s: of the image.
        """
        with self._lock:
            self.counts["replaced"] += self._scan is not None
            self._scan = (distances_cm(ranges), int(range_min * 100.0), int(range_max * 100.0), stamp_s)

    def send_text(self, severity, text):
        """A STATUSTEXT: MAV_SEVERITY, and at most 50 characters of text."""
        with self._lock:
            self._texts = (self._texts + [(severity, text[:50])])[-5:]

    def close(self):
        """End the thread and give the line back."""
        self._stopping.set()
        self._thread.join(3.0)

    def summary(self):
        """(fine?, one sentence) for diagnostics."""
        c, now = self.connection, time.monotonic()
        if c is None or c.autopilot is None or now - self._heard > LOST_S:
            return False, "no autopilot on {}".format(self.url)
        if c.others:
            return False, "{} autopilots on {}: only system {} is served".format(1 + len(c.others), self.url, c.system)
        if now - self._attitude > STREAM_S:
            return False, "{} sends no ATTITUDE: nothing is known of the vehicle".format(c.kind())
        return True, "connected to {}, system {}".format(c.kind(), c.system)

    def _run(self):
        while not self._stopping.is_set():
            try:
                if self.connection is None:
                    self.connection = Connection(self.url)
                    self._said.discard("line")
                self._serve(self.connection)
            except (OSError, PerceptionError) as e:
                self._problem("line", "the line {} broke: {}; it is opened again".format(self.url, e))
                self._drop()
                self._stopping.wait(AGAIN_S)
            except Exception as e:  # a message that nobody foresaw must not end the link
                self._problem("error", "the link failed: {!r}; it goes on".format(e))
                self._stopping.wait(0.1)
        self._drop()

    def _drop(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def _serve(self, c):
        while not self._stopping.is_set():
            self._send(c)
            for msg in c.receive(0.01):
                self._take(c, msg, self._clock())
            c.beat(time.monotonic())
            self._watch(c, time.monotonic())

    def _send(self, c):
        with self._lock:
            texts, self._texts, scan = self._texts, [], None
            if self._scan is not None and c.transport.waiting < FULL_BYTES:
                scan, self._scan = self._scan, None
        m = c.dialect
        if scan is not None:
            cm, low, high, stamp = scan
            usec = max(int(1e6 * (stamp + (self.sync.offset_s or 0.0))), 0)
            c.send(m.MAVLink_obstacle_distance_message(usec, SENSOR_UNKNOWN, cm, 5, low, high, 5.0, -180.0, BODY_FRD))
            self.counts["scans"] += 1
        for severity, text in texts:
            c.send(m.MAVLink_statustext_message(severity, text.encode("ascii", "replace")))

    def _take(self, c, msg, now):
        kind = msg.get_type()
        if kind == "HEARTBEAT" and msg.autopilot != 8:
            if self._heard == 0.0 or "lost" in self._said:
                self._greet(c)
            self._heard = time.monotonic()
            self._on_state("armed", c.armed)
        elif kind == "TIMESYNC":
            self._sync(c, msg, now)
        else:
            stamp = now
            if hasattr(msg, "time_boot_ms"):
                stamp = self.sync.ours(1e-3 * msg.time_boot_ms, now)
            if kind == "ATTITUDE":
                self._attitude = time.monotonic()
            what = self.state.take(msg, stamp)
            if what:
                self._on_state(what, self.state)

    def _greet(self, c):
        """First HEARTBEAT, or the first again: ask for what is needed, and say what does not fit."""
        self._said.discard("lost")
        if c.autopilot.autopilot not in NAMES:
            self._problem("kind", "{} answers on {}: neither PX4 nor ArduPilot".format(c.kind(), self.url))
        elif self._wants_blocked and c.autopilot.autopilot != ARDUPILOT:
            self._problem("kind", "on_stale is blocked, but PX4 answers: pushed on, it flies back from it; set silent")
        share = 1.0
        if self.url.startswith("/") and int(self.url.rpartition(":")[2] or 0) < SLOW_BAUD:
            share = 1.0 / 3.0
        for number, hz in STREAMS:
            us = int(1e6 / (share * hz))
            c.send(
                c.dialect.MAVLink_command_long_message(c.system, 1, SET_MESSAGE_INTERVAL, 0, number, us, 0, 0, 0, 0, 0)
            )

    def _sync(self, c, msg, now):
        if msg.tc1 == 0:
            c.send(c.dialect.MAVLink_timesync_message(int(1e9 * now), msg.ts1))
        elif self.sync.answer(1e-9 * msg.ts1, 1e-9 * msg.tc1, now):
            self._problem("clock", "a clock jumped: the autopilot started anew, or ours was set; times start anew")
            self._said.discard("clock")

    def _watch(self, c, now):
        if now - self._asked >= 1.0:
            self._asked = now
            c.send(c.dialect.MAVLink_timesync_message(0, int(1e9 * self._clock())))
        if self._heard and now - self._heard > LOST_S:
            self._problem("lost", "no HEARTBEAT of the autopilot for {:.0f} s on {}".format(LOST_S, self.url))
        if self._attitude and now - self._attitude > STREAM_S:
            self._problem("stream", "ATTITUDE stopped: the vehicle's motion is not known")
        elif "stream" in self._said and now - self._attitude <= STREAM_S:
            self._said.discard("stream")
        if c.others:
            text = "two autopilots on {}: systems {}; only {} is served"
            self._problem("two", text.format(self.url, sorted(c.others | {c.system}), c.system))
        self.counts["lost"] = c.transport.dropped

    def _problem(self, kind, sentence):
        if kind not in self._said:
            self._said.add(kind)
            self._on_problem(kind, sentence)
