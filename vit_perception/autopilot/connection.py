"""MAVLink messages over a Transport, by pymavlink's dialect `common`."""

import time
from typing import Any

from ..errors import PerceptionError
from .transport import open_transport

try:
    from pymavlink.dialects.v20 import common
except ImportError:
    common = None

COMPONENT = 196  # MAV_COMP_ID_OBSTACLE_AVOIDANCE
ARDUPILOT, PX4 = 3, 12  # MAV_AUTOPILOT
NAMES = {ARDUPILOT: "ArduPilot", PX4: "PX4"}
COPTERS = (2, 3, 4, 13, 14, 15, 29, 35)  # MAV_TYPE of what hovers by rotors
NO_AUTOPILOT = 8  # MAV_AUTOPILOT_INVALID: a ground station, a camera, a companion
AUTOPILOT_COMPONENT = 1  # MAV_COMP_ID_AUTOPILOT1
SIGNED_FLAG = 1  # MAVLINK_IFLAG_SIGNED
ARMED_FLAG = 128  # MAV_MODE_FLAG_SAFETY_ARMED
HEARTBEAT_S = 1.0
OTHERS_S = 10.0  # an autopilot not heard for longer is no second one any more


def mavlink():
    """The module of the dialect. PerceptionError if pymavlink is not installed."""
    if common is None:
        raise PerceptionError("MAVLink needs the package pymavlink, which is not installed: pip install pymavlink")
    return common


class Connection:
    """One line to an autopilot, from opening to close.

    A vehicle's gimbal, camera and companions speak under its system id, and some of them send HEARTBEATs, ATTITUDE and
    TIMESYNC of their own: only component 1, the autopilot itself, is heard.

    Args:
        url: as `transport.FORMS`. component: of this program.

    Attributes:
        autopilot: its newest HEARTBEAT, or None. system: its system id. signed: whether it signs its messages.

    Raises:
        PerceptionError: no pymavlink, or the URL cannot be opened.
    """

    def __init__(self, url, component=COMPONENT):
        self.url, self.dialect = url, mavlink()
        self.transport = open_transport(url)
        self._mav = self.dialect.MAVLink(None, srcSystem=1, srcComponent=component)
        self._mav.robust_parsing = True
        self.autopilot: Any = None
        self.system, self.signed = 0, False
        self._beat, self._others = 0.0, {}  # system id of another autopilot -> when it was heard

    def receive(self, timeout_s):
        """Messages of the autopilot that came within the time. OSError: the line is gone."""
        found = self._mav.parse_buffer(self.transport.read(timeout_s)) or []
        its = [m for m in found if self._is_its(m)]
        if its:
            self.transport.settle()
        return its

    def _is_its(self, msg):
        if msg.get_type() == "BAD_DATA" or msg.get_srcComponent() != AUTOPILOT_COMPONENT:
            return False
        sender, is_beat = msg.get_srcSystem(), msg.get_type() == "HEARTBEAT" and msg.autopilot != NO_AUTOPILOT
        if self.autopilot is None and is_beat:
            self.system = self._mav.srcSystem = sender
        if sender != self.system or self.system == 0:
            if is_beat:
                self._others[sender] = time.monotonic()
            return False
        self.signed = self.signed or bool(msg.get_header().incompat_flags & SIGNED_FLAG)
        if is_beat:
            self.autopilot = msg
        return self.autopilot is not None

    @property
    def others(self):
        """Sorted system ids of the other autopilots that speak here."""
        now = time.monotonic()
        return sorted(system for system, at in list(self._others.items()) if now - at <= OTHERS_S)  # of two threads

    def send(self, msg):
        """Send one message of the dialect."""
        self.transport.write(msg.pack(self._mav))

    def beat(self, now):
        """Send a companion's HEARTBEAT once a second; `now` on a steady clock."""
        if now - self._beat >= HEARTBEAT_S:
            self._beat = now
            self.send(self.dialect.MAVLink_heartbeat_message(18, 8, 0, 0, 4, 3))  # onboard controller, active

    def wait_for_autopilot(self, timeout_s):
        """Wait for its HEARTBEAT. PerceptionError if none comes in time."""
        end = time.monotonic() + timeout_s
        while self.autopilot is None:
            self.beat(time.monotonic())
            if time.monotonic() > end:
                text = "no HEARTBEAT of an autopilot on {} in {:.0f} s; check the URL, the baud rate and the cable"
                raise PerceptionError(text.format(self.url, timeout_s))
            self.receive(0.1)
        return self.autopilot

    @property
    def armed(self):
        """Whether the autopilot says that it is armed; None before it says anything."""
        return None if self.autopilot is None else bool(self.autopilot.base_mode & ARMED_FLAG)

    def kind(self):
        """'ArduPilot', 'PX4', or what it is by number."""
        number = -1 if self.autopilot is None else self.autopilot.autopilot
        return NAMES.get(number, "an autopilot of another kind (MAV_AUTOPILOT {})".format(number))

    def close(self):
        """Give the line back."""
        self.transport.close()
