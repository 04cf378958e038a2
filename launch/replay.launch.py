"""Recorded images through the node, as if they came from a camera; ends with them.

ros2 launch vit_perception replay.launch.py folder:=flight
ros2 launch vit_perception replay.launch.py bag:=flight_bag image_topic:=/camera/image_raw

Exactly one of folder, video and bag. Arguments of drone.launch.py hold too.
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction, Shutdown, TimerAction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

# name, default, choices (None: anything), description.
ARGUMENTS = (
    ("folder", "", None, "folder of images, played in the order of their names"),
    ("video", "", None, "video file"),
    ("bag", "", None, "rosbag2 bag; its topics keep their recorded names: give image_topic and camera_info_topic"),
    ("fps", "0.0", None, "images a second of a folder or a video; 0: as recorded, or 10"),
    ("rate", "1.0", None, "speed of a bag"),
    ("loop", "false", ("true", "false"), "start again after the end"),
    ("every_image", "false", ("true", "false"), "wait for each image's detections; false drops images as in flight"),
)
SOURCES = ("folder", "video", "bag")


def start(context):
    """The player."""
    topics = {name: LaunchConfiguration(name).perform(context) for name in ("image_topic", "camera_info_topic")}
    player = Node(
        package="vit_perception",
        executable="player",
        name="player",
        namespace=LaunchConfiguration("namespace"),
        parameters=[parameters(context)],
        remappings=[("image_raw", topics["image_topic"]), ("camera_info", topics["camera_info_topic"])],
        on_exit=[TimerAction(period=1.0, actions=[Shutdown(reason="the player ended")])],  # after the last result
        output="screen",
        emulate_tty=True,
    )
    return [player]


def parameters(context):
    """The player's parameters. RuntimeError with one sentence if an argument is wrong."""
    value = {argument[0]: LaunchConfiguration(argument[0]).perform(context) for argument in ARGUMENTS}
    given = [name for name in SOURCES if value[name]]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise RuntimeError("give exactly one of folder:=, video:= and bag:=; given: {}".format(found))
    chosen = {given[0]: os.path.abspath(os.path.expanduser(value[given[0]])), "loop": value["loop"] == "true"}
    if value["every_image"] == "true":
        chosen["reliable"] = True
        chosen["lockstep_topic"] = "vit_perception/detections"
    for name in ["rate"] if given == ["bag"] else ["fps"]:
        chosen[name] = number(name, value[name])
    return chosen


def check(context):
    """Refuse wrong arguments before the node is started, which launch might leave behind then."""
    parameters(context)


def number(name, text):
    try:
        return float(text)
    except ValueError:
        raise RuntimeError("{} is '{}', but must be a number".format(name, text)) from None


def generate_launch_description():
    share = get_package_share_directory("vit_perception")
    declared = [
        DeclareLaunchArgument(name, default_value=default, choices=choices, description=text)
        for name, default, choices, text in ARGUMENTS
    ]
    source = PythonLaunchDescriptionSource(os.path.join(share, "launch", "drone.launch.py"))
    node = {"respawn": "false", "reliable_input": LaunchConfiguration("every_image")}  # best effort may lose images
    drone = IncludeLaunchDescription(source, launch_arguments=node.items())
    return LaunchDescription(declared + [OpaqueFunction(function=check), drone, OpaqueFunction(function=start)])
