"""DDS for a replay: nothing leaves this machine, and whole images fit, whatever the shell has set or not."""

import contextlib
import glob
import os
import sys
import tempfile

# Of shared memory, for each process: one 4K colour image and some more. Fast DDS's own 512 KiB hold no 640 x 480 one,
# and what does not fit goes by UDP in pieces, which a busy machine loses.
_SEGMENT = 32 << 20
_PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<profiles xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles">
  <transport_descriptors>
    <transport_descriptor>
      <transport_id>memory</transport_id><type>SHM</type><segment_size>{}</segment_size>
      <maxMessageSize>2097152</maxMessageSize>
    </transport_descriptor>
    <transport_descriptor>
      <transport_id>loopback</transport_id><type>UDPv4</type>
      <interfaceWhiteList><address>127.0.0.1</address></interfaceWhiteList>
    </transport_descriptor>
  </transport_descriptors>
  <participant profile_name="replay" is_default_profile="true">
    <rtps>
      <userTransports><transport_id>memory</transport_id><transport_id>loopback</transport_id></userTransports>
      <useBuiltinTransports>false</useBuiltinTransports>
    </rtps>
  </participant>
</profiles>
""".format(_SEGMENT)
_NAMES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


@contextlib.contextmanager
def confined():
    """For the length of a `with` block, before rclpy is initialised: environment for this process and its children.

    What the caller has chosen is kept: a profile, a discovery range. Other middlewares than Fast DDS take the range.
    """
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if any(os.environ.get(n) for n in _NAMES):
        yield
        return
    handle, path = tempfile.mkstemp(".xml", "replay_dds_")
    try:
        with os.fdopen(handle, "w") as f:
            f.write(_PROFILE)
        os.environ[_variable()] = path
        yield
    finally:
        os.environ.pop(_variable(), None)
        os.remove(path)


def _variable():
    """Fast DDS 3, from Kilted on, warns of the name that version 2 reads."""
    old = os.environ.get("ROS_DISTRO") in ("foxy", "galactic", "humble", "iron", "jazzy")
    wheels = glob.glob(os.path.join(sys.prefix, "lib", "libfastrtps.so*"))  # a ROS from wheels names no distribution
    return _NAMES[0] if old or wheels else _NAMES[1]
