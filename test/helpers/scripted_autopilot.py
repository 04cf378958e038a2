"""A stand-in for an autopilot on UDP: it speaks MAVLink through pymavlink's own parser and does what a script says.

It is no flight code: it answers parameters and TIMESYNC, streams a fixed attitude, and keeps what it hears.
"""

import socket
import struct
import threading
import time

from pymavlink.dialects.v20 import common


class ScriptedAutopilot:
    """Listens on a free UDP port of the loopback until `close`.

    Args:
        autopilot: MAV_AUTOPILOT. parameters: {name: float or int}. system: its id. armed, type: in its HEARTBEAT.

    Attributes:
        url: for the other side. heard: list of (steady time, message). silent: whether it says nothing.
        streams: whether ATTITUDE and the like are sent.
    """

    def __init__(self, autopilot=3, parameters=None, system=1, armed=False, type=2):
        self.autopilot, self.parameters, self.system, self.armed = autopilot, dict(parameters or {}), system, armed
        self.type = type
        self.silent, self.streams, self.boot, self.heard = False, True, time.time(), []
        self.refuses = set()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.01)
        self.url = f"udpout:127.0.0.1:{self._socket.getsockname()[1]}"
        self._mav = common.MAVLink(None, srcSystem=system, srcComponent=1)
        self._mav.robust_parsing = True
        self._peer, self._stop, self._beat, self._stream = None, threading.Event(), 0.0, 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def kinds(self, kind):
        return [m for _, m in list(self.heard) if m.get_type() == kind]

    def send(self, msg, system=None, component=1):
        """As the autopilot, or as another system or another component of the vehicle."""
        if self._peer is not None and not self.silent:
            self._mav.srcSystem, self._mav.srcComponent = system or self.system, component
            self._socket.sendto(msg.pack(self._mav), self._peer)

    def _run(self):
        while not self._stop.is_set():
            try:
                data, self._peer = self._socket.recvfrom(65536)
            except OSError:
                data = b""
            for msg in self._mav.parse_buffer(data) or []:
                self.heard.append((time.monotonic(), msg))
                self._answer(msg)
            now = time.monotonic()
            if now - self._beat > 0.2:
                self._beat = now
                self.send(
                    common.MAVLink_heartbeat_message(self.type, self.autopilot, 128 if self.armed else 0, 0, 4, 3)
                )
            if self.streams and now - self._stream > 0.05:
                self._stream = now
                ms = int(1e3 * (time.time() - self.boot)) % (1 << 32)
                self.send(common.MAVLink_attitude_message(ms, 0.1, -0.2, 0.3, 0.01, 0.02, 0.03))
                self.send(common.MAVLink_local_position_ned_message(ms, 10.0, 20.0, -5.0, 3.0, 4.0, 0.5))
                self.send(common.MAVLink_global_position_int_message(ms, 473000000, 85000000, 500000, 5000, 0, 0, 0, 0))
                self.send(common.MAVLink_distance_sensor_message(ms, 20, 4000, 512, 0, 0, 25, 0))

    def _answer(self, msg):
        kind = msg.get_type()
        if kind == "TIMESYNC" and msg.tc1 == 0:
            self.send(common.MAVLink_timesync_message(int(1e9 * (time.time() - self.boot)), msg.ts1))
        elif kind == "PARAM_REQUEST_READ" and msg.param_id in self.parameters:
            self._tell(msg.param_id)
        elif kind == "PARAM_SET" and msg.param_id in self.parameters and msg.param_id not in self.refuses:
            self.parameters[msg.param_id] = self._decode(msg)
            self._tell(msg.param_id)

    def _tell(self, name):
        value = self.parameters[name]
        whole = isinstance(value, int)
        encoded = float(value)
        if self.autopilot == 12 and whole:  # PX4 sends the bytes of an int32
            encoded = struct.unpack("<f", struct.pack("<i", value))[0]
        self.send(common.MAVLink_param_value_message(name.encode(), encoded, 6 if whole else 9, 1, 0))

    def _decode(self, msg):
        if msg.param_type != 6:
            return msg.param_value
        if self.autopilot == 12:
            return struct.unpack("<i", struct.pack("<f", msg.param_value))[0]
        return int(msg.param_value)
