"""What the autopilot's messages tell of the vehicle, in the frames of ROS: FLU body, ENU world. Plain numbers."""

import math

DOWN = 25  # MAV_SENSOR_ROTATION_PITCH_270
FRESH_S = 0.5
TELLS = {
    "ATTITUDE": "odometry", "LOCAL_POSITION_NED": "", "GLOBAL_POSITION_INT": "fix", "DISTANCE_SENSOR": "height"
}  # fmt: skip


class VehicleState:
    """Keeps the newest ATTITUDE, LOCAL_POSITION_NED, GLOBAL_POSITION_INT and DISTANCE_SENSOR, each with its time."""

    def __init__(self):
        self._newest = {}

    def take(self, msg, stamp_s):
        """Keep a message that is of the time `stamp_s`. Returns what can be told anew: odometry, height, fix, or ''."""
        kind = msg.get_type()
        if kind not in TELLS or (kind == "DISTANCE_SENSOR" and msg.orientation != DOWN):
            return ""
        self._newest[kind] = (stamp_s, msg)
        return TELLS[kind] if kind != "GLOBAL_POSITION_INT" or self.fix() else ""

    def odometry(self):
        """(stamp, quaternion x y z w ENU <- FLU, rates (3,) FLU, position (3,) ENU, velocity (3,) FLU) or None.

        Position and velocity are None where LOCAL_POSITION_NED is missing or older than FRESH_S.
        """
        if "ATTITUDE" not in self._newest:
            return None
        stamp, attitude = self._newest["ATTITUDE"]
        numbers = (
            attitude.roll,
            attitude.pitch,
            attitude.yaw,
            attitude.rollspeed,
            attitude.pitchspeed,
            attitude.yawspeed,
        )
        if not all(map(math.isfinite, numbers)):
            return None
        # Roll is the same about x ahead; pitch and yaw turn about axes that point the other way; ENU counts from east.
        roll, pitch, yaw = attitude.roll, -attitude.pitch, 0.5 * math.pi - attitude.yaw
        rates = (attitude.rollspeed, -attitude.pitchspeed, -attitude.yawspeed)
        position = velocity = None
        at, local = self._newest.get("LOCAL_POSITION_NED", (None, None))
        if (
            at is not None
            and abs(stamp - at) <= FRESH_S
            and all(map(math.isfinite, (local.x, local.y, local.z, local.vx, local.vy, local.vz)))
        ):
            position = (local.y, local.x, -local.z)
            velocity = _to_body((local.vy, local.vx, -local.vz), roll, pitch, yaw)
        return stamp, _quaternion(roll, pitch, yaw), rates, position, velocity

    def height(self):
        """(stamp, metres, least, most) of the rangefinder that looks down, or None."""
        if "DISTANCE_SENSOR" not in self._newest:
            return None
        stamp, msg = self._newest["DISTANCE_SENSOR"]
        return stamp, 0.01 * msg.current_distance, 0.01 * msg.min_distance, 0.01 * msg.max_distance

    def fix(self):
        """(stamp, latitude, longitude in degrees, altitude m) or None: before its first fix an autopilot says 0, 0."""
        stamp, msg = self._newest.get("GLOBAL_POSITION_INT", (None, None))
        if msg is None or (msg.lat == 0 and msg.lon == 0):
            return None
        return stamp, 1e-7 * msg.lat, 1e-7 * msg.lon, 1e-3 * msg.alt


def _quaternion(roll, pitch, yaw):
    """x, y, z, w of rotations about z, then y, then x."""
    cr, sr = math.cos(0.5 * roll), math.sin(0.5 * roll)
    cp, sp = math.cos(0.5 * pitch), math.sin(0.5 * pitch)
    cy, sy = math.cos(0.5 * yaw), math.sin(0.5 * yaw)
    return (
        sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy, cr * cp * cy + sr * sp * sy,
    )  # fmt: skip


def _to_body(vector, roll, pitch, yaw):
    """A vector of the world in the body that is turned so."""
    x, y, z = vector
    x, y = math.cos(yaw) * x + math.sin(yaw) * y, -math.sin(yaw) * x + math.cos(yaw) * y
    x, z = math.cos(pitch) * x - math.sin(pitch) * z, math.sin(pitch) * x + math.cos(pitch) * z
    y, z = math.cos(roll) * y + math.sin(roll) * z, -math.sin(roll) * y + math.cos(roll) * z
    return x, y, z
