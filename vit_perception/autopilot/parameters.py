"""What PX4 and ArduCopter must be set to so that they stop on our scan. One table; units as the autopilot's own."""

from typing import Any, Dict, NamedTuple, Tuple

BIG = 1e9


class Wanted(NamedTuple):
    """One parameter.

    name: as the newest firmware calls it. good: (least, most) that is safe, inclusive. value: to set; None: only to
    look at. why: what is wrong otherwise. old: {earlier name: factor from its value to the newest's}, in old_unit.
    may_miss: a firmware without it does nothing of what it would do wrong.
    """

    name: str
    good: Tuple[float, float]
    value: Any
    unit: str
    why: str
    old: Dict[str, float] = {}
    old_unit: str = ""
    may_miss: bool = False


ARDUPILOT = (
    Wanted("PRX1_TYPE", (2, 2), 2, "", "2 takes OBSTACLE_DISTANCE; another type does not hear us", {"PRX_TYPE": 1.0}),
    # 0 switches it off, which is good, too: `judge`.
    Wanted("PRX_FILT", (1.0, BIG), 5.0, "Hz", "the default, 0.25, overshoots the margin by 1.1 m and bounces"),
    Wanted("AVOID_ENABLE", (2, 7), 7, "", "without bit 1 (2) proximity sensors stop nothing"),
    Wanted("AVOID_MARGIN", (3.0, 10.0), 3.0, "m", "what was flown; with 2 m it came within 0.84 m and slid past"),
    Wanted("AVOID_BEHAVE", (1, 1), 1, "", "0 slides along the obstacle, out of the camera's view"),
    Wanted(
        "AVOID_BACKUP_SPD", (0.0, 0.0), 0.0, "m/s",
        "it backs away to where no camera looks; in Guided the nose follows, and it flies into what it left",
    ),
    Wanted(
        "LOIT_SPEED_MS", (0.2, 6.0), 4.0, "m/s", "of a stick pushed to its end; the closed loop was flown up to 6 m/s",
        {"LOIT_SPEED": 0.01}, "cm/s",
    ),
    Wanted("WP_YAW_BEHAVIOR", (0, 0), 0, "", "nose and camera must not turn away from what is ahead"),
    Wanted("OA_TYPE", (0, 1), None, "", "2 and 3 (Dijkstra) were not flown; in Guided 1 needs GUID_OPTIONS 64"),
    # From here on: read in its source (AP_Proximity_MAV, AP_Proximity_Backend, AC_Avoid), not flown.
    Wanted("PRX1_ORIENT", (0, 0), 0, "", "1 mirrors the scan: left is right", {"PRX_ORIENT": 1.0}, may_miss=True),
    Wanted("PRX1_YAW_CORR", (0, 0), 0, "deg", "it turns the scan", {"PRX_YAW_CORR": 1.0}, may_miss=True),
    Wanted(
        "PRX1_MIN", (0.0, 0.5), 0.0, "m", "what is nearer is ignored, and a blocked scan is at range_min_m, 0.5 m",
        {"PRX_MIN": 1.0}, may_miss=True,
    ),
    # 0: no limit. 25 m: from 7.5 m/s it began to brake 24.5 m ahead.
    Wanted(
        "PRX1_MAX", (25.0, BIG), 0.0, "m", "what is farther is ignored: it brakes too late", {"PRX_MAX": 1.0},
        may_miss=True,
    ),
    Wanted(
        "PRX_IGN_GND", (0, 0), 0, "",
        "1 ignores what is ahead and less than 1 m above the ground as the nose points; low, nose down, that is all",
        may_miss=True,
    ),
    Wanted(
        "AVOID_ALT_MIN", (0.0, 0.0), 0.0, "m", "nothing is avoided below it, where a rangefinder looks down",
        may_miss=True,
    ),
)  # fmt: skip
PX4 = (
    Wanted("CP_DIST", (2.0, BIG), 2.0, "m", "off (-1), or nearer than it was flown", {"MPC_COL_PREV_D": 1.0}),
    Wanted("CP_DELAY", (0.4, 2.0), 0.5, "s", "latency of the chain + 0.1 to 0.5 s", {"MPC_COL_PREV_DLY": 1.0}),
    Wanted(
        "CP_GUIDE_ANG", (0, 0), 0.0, "deg", "it turns the flight to where no camera looks", {"MPC_COL_PREV_CNG": 1.0}
    ),
    Wanted("CP_GO_NO_DATA", (0, 0), 0, "", "1 lets it fly where nobody looks"),
    Wanted("MPC_VEL_MANUAL", (0.3, 4.0), 4.0, "m/s", "of a stick pushed to its end; the speed limit is 4 m/s"),
    Wanted("MPC_POS_MODE", (4, 4), 4, "", "collision prevention acts in the acceleration based mode alone"),
)  # fmt: skip
BY_AUTOPILOT = {3: ARDUPILOT, 12: PX4}
OA_TYPE, GUID_OPTIONS, WAYPOINTS_BIT = "OA_TYPE", "GUID_OPTIONS", 64

OFF_IS_GOOD = ("PRX_FILT", "PRX1_MAX")  # 0 switches it off, which is safe
REBOOT = ("PRX1_TYPE",)  # what an autopilot takes when it starts anew


def names(wanted):
    """The names to ask for, newest first."""
    return [wanted.name] + sorted(wanted.old)


def judge(wanted, name, value):
    """(safe?, value to set under `name`, in that name's unit; None where nothing is to be set)."""
    factor = 1.0 if name == wanted.name else wanted.old[name]
    new = factor * value
    low, high = wanted.good
    safe = low <= new <= high or (wanted.name in OFF_IS_GOOD and new == 0)
    if wanted.name == "AVOID_ENABLE":
        safe = bool(int(value) & 2)
    return safe, None if wanted.value is None else wanted.value / factor


def guided(values):
    """One sentence where path planning in Guided will not act as it looks, or ''. values: {name: value} as read."""
    if values.get(OA_TYPE, 0) and not int(values.get(GUID_OPTIONS, 0)) & WAYPOINTS_BIT:
        return (
            "OA_TYPE is {:.0f}, but GUID_OPTIONS has no bit 6 (64): position targets in Guided fly straight through "
            "what is in the way"
        ).format(values[OA_TYPE])
    if not values.get(OA_TYPE, 0) and GUID_OPTIONS in values:
        return "position targets in Guided get no avoidance of any kind (OA_TYPE 0): use velocity targets or Loiter"
    return ""
