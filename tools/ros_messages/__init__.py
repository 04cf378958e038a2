"""Builds a ROS 2 message package from .msg files into the running virtual environment.

For an environment whose ROS comes from pip wheels, which hold the rosidl generators but no colcon/CMake
workspace to run them. See ``python -m tools.ros_messages --help``.
"""


class BuildError(Exception):
    """A message package cannot be built or installed; the text says what, where and what to do."""
