"""Start the perception node: ros2 launch vit_perception drone.launch.py image_topic:=/camera/image_raw"""

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

# name, default, description. {share} is the package's share folder.
ARGUMENTS = (
    ("model", "", "folder or installed name of the model bundle; empty: as params_file says"),
    ("image_topic", "image_raw", "sensor_msgs/Image topic of the camera"),
    ("camera_info_topic", "camera_info", "sensor_msgs/CameraInfo topic of the same camera"),
    ("scan_topic", "obstacle_scan", "topic of the obstacle scan; with mavros: /mavros/obstacle/send"),
    ("odometry_topic", "odometry", "nav_msgs/Odometry, optional; with mavros: /mavros/local_position/odom"),
    ("twist_topic", "twist", "geometry_msgs/TwistStamped, optional; with mavros: /mavros/local_position/velocity_body"),
    ("height_topic", "height", "PoseStamped or Range, as the parameter height_source says"),
    ("namespace", "", "namespace of the node and of its relative topics"),
    ("params_file", "{share}/config/drone.yaml", "YAML file of the node's parameters"),
    ("backend", "", "inference backend: auto, tensorrt or onnxruntime; empty: as params_file says"),
    ("precision", "", "auto, fp32, fp16 or int8; empty: as params_file says"),
    ("log_level", "info", "debug, info, warn, error or fatal"),
    ("use_sim_time", "false", "true takes the ROS clock from /clock"),
)


def start_node(context):
    value = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    overrides = {name: value[name] for name in ("model", "backend", "precision") if value[name]}
    overrides["use_sim_time"] = value["use_sim_time"].lower() in ("true", "1")
    node = Node(
        package="vit_perception",
        executable="vit_perception",
        name="vit_perception",
        namespace=value["namespace"],
        parameters=[value["params_file"], overrides],
        remappings=[
            ("image_raw", value["image_topic"]),
            ("camera_info", value["camera_info_topic"]),
            ("obstacle_scan", value["scan_topic"]),
            ("odometry", value["odometry_topic"]),
            ("twist", value["twist_topic"]),
            ("height", value["height_topic"]),
        ],
        arguments=["--ros-args", "--log-level", value["log_level"]],
        output="screen",
        emulate_tty=True,
    )
    return [node]


def generate_launch_description():
    share = get_package_share_directory("vit_perception")
    declared = [
        DeclareLaunchArgument(name, default_value=default.format(share=share), description=text)
        for name, default, text in ARGUMENTS
    ]
    return LaunchDescription(declared + [OpaqueFunction(function=start_node)])
