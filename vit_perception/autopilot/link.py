"""A MAVLink link in a thread of its own: obstacles, texts and heartbeats out, what the vehicle does in.

A slow line delays nobody: of scans only the newest waits, and not for long; a message that finds the line full is
dropped and counted. A line that breaks, or is not there yet, is opened again and again; an autopilot that falls silent
is said once, and the link goes on.
"""

import struct
import threading
import time
from typing import Any

from ..errors import PerceptionError
from .connection import ARDUPILOT, NAMES, NO_AUTOPILOT, Connection, mavlink
from .state import VehicleState
from .timesync import TimeSync
from .transport import parse_url

UNKNOWN_CM = 65535
BODY_FRD, SENSOR_UNKNOWN = 12, 4
LOST_S = 3.0  # without a HEARTBEAT
STREAM_S = 2.0  # without an ATTITUDE
AGAIN_S = 1.0  # between two tries to open the line
ASK_S = 5.0  # between two requests for a stream that does not come: one may get lost, an autopilot may start anew
OLD_S = 0.5  # a scan that waited longer for the line is not sent: as old as what PX4 and the guard take for silence
SET_MESSAGE_INTERVAL = 511
# Messages, and the rates asked for, Hz.
STREAMS = (("ATTITUDE", 20.0), ("LOCAL_POSITION_NED", 10.0), ("GLOBAL_POSITION_INT", 2.0), ("DISTANCE_SENSOR", 10.0))
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
        on_problem: on_problem(kind, sentence), in the link's thread; of kind 'connected' it is none.
        wants_blocked: whether the scan may be a blocked one, which is for ArduPilot.
        clock: our time, seconds, that of the stamps given to `send_scan`.

    Raises:
        PerceptionError: the URL is none, or pymavlink is missing. A line that is not there yet is waited for.
    """

    def __init__(self, url, on_state, on_problem, wants_blocked=False, clock=time.time):
        self.url, self._on_state, self._on_problem, self._clock = url, on_state, on_problem, clock
        self._wants_blocked = wants_blocked
        self.sync, self.state, self.counts = TimeSync(), VehicleState(), {"scans": 0, "replaced": 0, "lost": 0}
        self._scan, self._texts, self._lock = None, [], threading.Lock()
        self._said, self._stopping = set(), threading.Event()
        self._heard = self._asked = 0.0
        self._began, self._question, self._greeted = time.monotonic(), 0, None
        self._streams = {}  # name -> when it was heard, or asked for: (heard, asked)
        kind, _, number = parse_url(url)
        self._share = 1.0 / 3.0 if kind == "serial" and number < SLOW_BAUD else 1.0
        mavlink()
        self.connection: Any = None
        self._thread = threading.Thread(target=self._run, name="mavlink", daemon=True)
        self._thread.start()

    def send_scan(self, ranges, range_min, range_max, stamp_s):
        """Send a scan as soon as the line takes it; one that waits still is replaced.

        ranges: 72 metres, the first straight back, clockwise. stamp_s: of the image.
        """
        with self._lock:
            self.counts["replaced"] += self._scan is not None
            limits = min(int(range_min * 100.0), UNKNOWN_CM - 1), min(int(range_max * 100.0), UNKNOWN_CM - 1)
            self._scan = (distances_cm(ranges), limits, stamp_s, time.monotonic())

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
        if c is None:
            return False, "the line {} is not open".format(self.url)
        if c.autopilot is None or now - self._heard > LOST_S:
            return False, "no autopilot on {}".format(self.url)
        if c.others:
            return False, "{} autopilots on {}: only system {} is served".format(1 + len(c.others), self.url, c.system)
        if now - self._last("ATTITUDE") > STREAM_S:
            return False, "{} sends no ATTITUDE: nothing is known of the vehicle".format(c.kind())
        text = "connected to {}, system {}".format(c.kind(), c.system)
        if now - self._last("LOCAL_POSITION_NED") > STREAM_S:
            text += ", which sends no LOCAL_POSITION_NED: its velocity is not known"
        return True, text

    def _last(self, stream):
        return self._streams.get(stream, (0.0, 0.0))[0]

    def _run(self):
        while not self._stopping.is_set():
            try:
                if self.connection is None:
                    self.connection = Connection(self.url)
                    self._began = time.monotonic()
                    self._said.discard("line")
                self._serve(self.connection)
            except (OSError, PerceptionError) as e:
                self._problem("line", "{}; it is tried again every second".format(self._broken(e)))
                self._drop()
                self._stopping.wait(AGAIN_S)
            except Exception as e:  # a message that nobody foresaw must not end the link
                self._problem("error", "the link failed: {!r}; it goes on".format(e))
                self._stopping.wait(0.1)
        self._drop()

    def _broken(self, error):
        return str(error) if self.connection is None else "the line {} broke: {}".format(self.url, error)

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
        if scan is not None and time.monotonic() - scan[3] <= OLD_S:
            cm, (low, high), stamp, _ = scan
            usec = max(int(1e6 * (stamp + (self.sync.offset_s or 0.0))), 0)
            c.send(m.MAVLink_obstacle_distance_message(usec, SENSOR_UNKNOWN, cm, 5, low, high, 5.0, -180.0, BODY_FRD))
            self.counts["scans"] += 1
        for severity, text in texts:
            c.send(m.MAVLink_statustext_message(severity, text.encode("ascii", "replace")))

    def _take(self, c, msg, now):
        kind = msg.get_type()
        if kind == "HEARTBEAT" and msg.autopilot != NO_AUTOPILOT:
            if self._greeted is not c or "lost" in self._said:
                self._greet(c)
            self._heard = time.monotonic()
            self._on_state("armed", c.armed)
        elif kind == "TIMESYNC":
            self._sync(c, msg, now)
        else:
            stamp = now
            if hasattr(msg, "time_boot_ms"):
                stamp = self.sync.ours(1e-3 * msg.time_boot_ms, now)
            what = self.state.take(msg, stamp)
            self._streams[kind] = time.monotonic(), self._streams.get(kind, (0.0, 0.0))[1]
            if what:
                self._on_state(what, self.state)

    def _greet(self, c):
        """First HEARTBEAT, or the first again: say who is there, and what does not fit."""
        self._greeted = c
        self._said -= {"lost", "connected", "kind"}
        self._streams.clear()
        self._problem("connected", "{} answers on {}, system {}".format(c.kind(), self.url, c.system))
        if c.autopilot.autopilot not in NAMES:
            self._problem("kind", "{} answers on {}: neither PX4 nor ArduPilot".format(c.kind(), self.url))
        elif self._wants_blocked and c.autopilot.autopilot != ARDUPILOT:
            self._problem("kind", "on_stale is blocked, but PX4 answers: pushed on, it flies back from it; set silent")

    def _ask(self, c, now):
        """Ask for the streams that do not come, again and again."""
        for name, hz in STREAMS:
            heard, asked = self._streams.get(name, (0.0, 0.0))
            if now - max(heard, asked) > (ASK_S if asked else 0.0):
                self._streams[name] = heard, now
                number, us = getattr(c.dialect, "MAVLINK_MSG_ID_" + name), int(1e6 / (self._share * hz))
                c.send(
                    c.dialect.MAVLink_command_long_message(c.system, 1, SET_MESSAGE_INTERVAL, 0, number, us, *[0] * 5)
                )

    def _sync(self, c, msg, now):
        if msg.tc1 == 0:
            c.send(c.dialect.MAVLink_timesync_message(int(1e9 * now), msg.ts1))
        elif msg.ts1 == self._question:  # others ask it, too, and may hear its answers to them here
            self._question = 0
            if self.sync.answer(1e-9 * msg.ts1, 1e-9 * msg.tc1, now):
                self._problem("clock", "a clock jumped: the autopilot started anew, or ours was set; times start anew")
                self._said.discard("clock")

    def _watch(self, c, now):
        if now - self._asked >= 1.0:
            self._asked, self._question = now, int(1e9 * self._clock())
            c.send(c.dialect.MAVLink_timesync_message(0, self._question))
        if c.autopilot is not None and now - self._heard <= LOST_S:
            self._ask(c, now)
        if now - max(self._heard, self._began) > LOST_S:
            self._problem("lost", "no HEARTBEAT of an autopilot for {:.0f} s on {}".format(LOST_S, self.url))
        attitude = self._last("ATTITUDE")
        if attitude and now - attitude > STREAM_S:
            self._problem("stream", "ATTITUDE stopped: the vehicle's motion is not known")
        elif attitude:
            self._said.discard("stream")
        if c.others:
            text = "two autopilots on {}: systems {}; only {} is served"
            self._problem("two", text.format(self.url, sorted(c.others + [c.system]), c.system))
        if c.signed:
            text = "the autopilot on {} signs its messages, and may not take ours, which are not: no scan may reach it"
            self._problem("signed", text.format(self.url))
        self.counts["lost"] = c.transport.dropped

    def _problem(self, kind, sentence):
        if kind not in self._said:
            self._said.add(kind)
            self._on_problem(kind, sentence)
