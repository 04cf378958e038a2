"""Several cameras: one perception node each, under a namespace of its own.

ros2 launch vit_perception multi_camera.launch.py cameras_file:=cameras.yaml flight_stack:=ardupilot

Arguments of drone.launch.py hold for all nodes; cameras_file says what differs.
"""

import os
import runpy

import yaml
from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchDescription


def start(context):
    """drone.launch.py once for each camera, each in a scope of its own."""
    path = LaunchConfiguration("cameras_file").perform(context)
    drone = os.path.join(get_package_share_directory("vit_perception"), "launch", "drone.launch.py")
    cameras, groups = read_cameras(path), []
    check = runpy.run_path(drone)["check"]
    for arguments in cameras.values():  # all of them, before any of them is started
        check(arguments)
    for namespace, arguments in cameras.items():
        arguments = dict(arguments, namespace=namespace)
        source = PythonLaunchDescriptionSource(drone)
        groups.append(GroupAction([IncludeLaunchDescription(source, launch_arguments=arguments.items())]))
    return groups


def read_cameras(path):
    """{namespace: {argument of drone.launch.py: text}} of a YAML file."""
    try:
        with open(path) as f:
            cameras = yaml.safe_load(f)
        return {str(n): {str(k): as_text(v) for k, v in (a or {}).items()} for n, a in cameras.items()}
    except (OSError, yaml.YAMLError, AttributeError) as e:
        reason = " ".join(str(e).split())
        raise RuntimeError(
            "cameras_file {} must hold 'namespace: {{argument: value}}': {}".format(path, reason)
        ) from None


def as_text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def generate_launch_description():
    share = get_package_share_directory("vit_perception")
    cameras = os.path.join(share, "config", "cameras.yaml")
    text = "YAML file: namespaces, and for each the arguments of drone.launch.py that differ"
    return LaunchDescription(
        [
            DeclareLaunchArgument("cameras_file", default_value=cameras, description=text),
            OpaqueFunction(function=start),
        ]
    )
