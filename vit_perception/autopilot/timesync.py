"""The autopilot's clock against ours, by MAVLink TIMESYNC. Seconds."""

JUMP_S = 0.02  # clocks that drift by 1000 ppm differ by so much in the 10 s of KEEP answers; more is a jump
KEEP = 10  # answers of which the one that was under way for the shortest time counts


class TimeSync:
    """Offset of the autopilot's clock: its time less ours.

    Attributes:
        offset_s: or None before the first answer. round_trip_s: of the answer that counts.
        jumps (int): how often a clock jumped.
    """

    def __init__(self):
        self.offset_s = self.round_trip_s = None
        self.jumps, self._answers = 0, []

    def answer(self, asked_s, its_s, now_s):
        """Take an answer: when we asked, its clock, and now. Returns True if a clock jumped since the last one."""
        trip = now_s - asked_s
        if trip < 0 or trip > 1.0:
            return False
        offset = its_s - 0.5 * (asked_s + now_s)  # wrong by half the trip at most, as every one is
        jumped = self.offset_s is not None and abs(offset - self.offset_s) > JUMP_S + 0.5 * (trip + self.round_trip_s)
        if jumped:
            self.jumps, self._answers = self.jumps + 1, []
        self._answers = (self._answers + [(trip, offset)])[-KEEP:]
        self.round_trip_s, self.offset_s = min(self._answers)
        return jumped

    def ours(self, its_s, now_s):
        """Our time of a moment of its clock; `now_s` where that is unknown, or cannot be."""
        if self.offset_s is None:
            return now_s
        ours = its_s - self.offset_s
        return ours if now_s - 2.0 <= ours <= now_s + 0.1 else now_s
