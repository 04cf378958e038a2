"""Reads an autopilot's parameters by MAVLink, judges them, and sets them when asked."""

import struct
import time
from collections import namedtuple

from ..errors import PerceptionError
from . import parameters
from .connection import ARDUPILOT, COPTERS, NAMES, PX4, Connection

HEARTBEAT_S, ANSWER_S, TRIES = 5.0, 0.5, 4
WHOLE = (1, 2, 3, 4, 5, 6)  # MAV_PARAM_TYPE of integers of up to 32 bits

# value None: the autopilot has no such parameter, or did not tell. before: what it was, where it was set now.
Line = namedtuple("Line", "name value safe to_set unit why before")


class Parameters:
    """The parameter protocol over a Connection, whose autopilot is known."""

    def __init__(self, connection):
        self._c, self._kinds = connection, {}
        self._bytewise = connection.autopilot.autopilot == PX4  # it sends an int32's bytes as a float

    def read(self, name):
        """Its value, or None: the autopilot does not answer to this name."""
        for _ in range(TRIES):
            self._c.send(self._c.dialect.MAVLink_param_request_read_message(self._c.system, 1, name.encode(), -1))
            found = self._wait(name)
            if found is not None:
                return found
        return None

    def write(self, name, value):
        """Set it, and return what the autopilot says it is now. `read` it before: that tells its type."""
        kind = self._kinds[name]
        encoded = float(value)
        if self._bytewise and kind in WHOLE:
            encoded = struct.unpack("<f", struct.pack("<i", int(value)))[0]
        for _ in range(TRIES):
            msg = self._c.dialect.MAVLink_param_set_message(self._c.system, 1, name.encode(), encoded, kind)
            self._c.send(msg)
            found = self._wait(name)
            if found is not None:
                return found
        return None

    def _wait(self, name):
        end = time.monotonic() + ANSWER_S
        while time.monotonic() < end:
            self._c.beat(time.monotonic())
            for msg in self._c.receive(0.05):
                if msg.get_type() == "PARAM_VALUE" and msg.param_id == name:
                    return self._decode(msg)
        return None

    def _decode(self, msg):
        self._kinds[msg.param_id] = msg.param_type
        if self._bytewise and msg.param_type in WHOLE:
            return struct.unpack("<i", struct.pack("<f", msg.param_value))[0]
        return msg.param_value


def check(url, write=False, say=None):
    """What the autopilot at `url` is set to.

    Args:
        write: set what is not safe. Refused while it is armed. say: say(sentence), of what is under way.

    Returns:
        (kind of autopilot, list of Line, list of sentences).

    Raises:
        PerceptionError: no line, no autopilot, another kind, or it is armed and shall be written to.
    """
    connection = Connection(url, component=191)  # MAV_COMP_ID_ONBOARD_COMPUTER: beside a link that runs
    try:
        beat = connection.wait_for_autopilot(HEARTBEAT_S)
        if beat.autopilot not in NAMES:
            raise PerceptionError("{} answers on {}: only PX4 and ArduPilot are known".format(connection.kind(), url))
        if write:
            _refuse_in_flight(connection)
        return (connection.kind(), *_lines(connection, beat.autopilot, write, say or (lambda text: None)))
    finally:
        connection.close()


def _refuse_in_flight(connection):
    if connection.armed:
        raise PerceptionError("the vehicle is armed: parameters are not written in flight")


def _lines(connection, kind, write, say):
    protocol, lines, values = Parameters(connection), [], {}
    for wanted in parameters.BY_AUTOPILOT[kind]:
        say(wanted.name)
        if write:
            _refuse_in_flight(connection)  # it may have been armed meanwhile
        line = _line(protocol, wanted, write)
        lines.append(line)
        if line.value is not None:
            values[wanted.name] = line.value
    sentences = [
        "{} was set: it takes effect when the autopilot starts anew; reboot it, and check again".format(line.name)
        for wanted, line in zip(parameters.BY_AUTOPILOT[kind], lines)
        if wanted.name in parameters.REBOOT and line.before is not None
    ]
    if kind == ARDUPILOT:
        options = protocol.read(parameters.GUID_OPTIONS)
        if options is not None:
            values[parameters.GUID_OPTIONS] = options
        sentences.append(parameters.guided(values))
    if connection.others:
        text = "several autopilots answer: systems {}; only {} was asked"
        sentences.append(text.format(sorted(connection.others + [connection.system]), connection.system))
    if connection.autopilot.type not in COPTERS:
        text = "it is no multicopter (MAV_TYPE {}), which alone this table was made for"
        sentences.append(text.format(connection.autopilot.type))
    if connection.signed:
        sentences.append("it signs its messages, and may not take ours, which are not: neither parameters nor scans")
    if all(line.value is None for line in lines):
        sentences.append("the autopilot answers to none of these names: is it a Copter, and is the line two-way?")
    return lines, [s for s in sentences if s]


def _line(protocol, wanted, write):
    for name in parameters.names(wanted):
        value = protocol.read(name)
        if value is None:
            continue
        safe, to_set = parameters.judge(wanted, name, value)
        before = None
        if write and not safe and to_set is not None:
            now = protocol.write(name, to_set)
            if now is not None and abs(now - to_set) < 1e-4 * max(abs(to_set), 1.0):
                before, value, safe = value, now, True
        unit = wanted.unit if name == wanted.name else wanted.old_unit or wanted.unit
        return Line(name, value, safe, to_set, unit, wanted.why, before)
    return Line(wanted.name, None, wanted.may_miss, wanted.value, wanted.unit, wanted.why, None)
