"""Start the perception node, its camera driver if wanted, connected to the flight stack.

ros2 launch vit_perception drone.launch.py camera:=v4l2_camera flight_stack:=ardupilot
"""

import importlib.util
import os

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

BOOLEAN = ("true", "false")
UNSET = ("", "true", "false")

# name, default, choices (None: anything), description. {share} is the package's share folder.
# Empty parameters of the node are as params_file says; empty topics are as flight_stack says.
ARGUMENTS = (
    (
        "flight_stack",
        "none",
        ("none", "px4", "mavros_px4", "ardupilot", "mavlink"),
        "sets topics, messages and on_stale: PX4 by uXRCE-DDS or mavros; ArduPilot by mavros, or by MAVLink without it",
    ),
    ("namespace", "", None, "namespace of the node, of the camera, and of their relative topics"),
    (
        "params_file",
        "{share}/config/drone.yaml",
        None,
        "YAML file of the node's parameters; motion_obstacles.enabled: true there tells trees, poles, walls too",
    ),
    ("model", "", None, "folder or installed name of the model bundle"),
    ("backend", "", None, "inference backend: auto, tensorrt or onnxruntime"),
    ("precision", "", None, "auto, fp32, fp16 or int8"),
    ("threads", "", None, "CPU threads of ONNX Runtime; 0 lets it choose"),
    ("image_transport", "", ("", "raw", "compressed"), "subscribe image_topic, or image_topic/compressed"),
    ("reliable_input", "", UNSET, "queue images instead of taking the newest: for replay, not for flight"),
    ("publish_mavros", "", UNSET, "mavros_msgs StatusText and CompanionProcessStatus; empty: as flight_stack says"),
    ("publish_px4", "", UNSET, "px4_msgs ObstacleDistance; empty: as flight_stack says"),
    (
        "on_stale",
        "",
        ("", "silent", "blocked"),
        "what the scan says while nothing is known; empty: as flight_stack says",
    ),
    ("guard", "", UNSET, "start the guard, which blocks the scan of a dead node; empty: as flight_stack says"),
    ("mavlink_url", "udpout:127.0.0.1:14551", None, "of flight_stack:=mavlink; /dev/ttyTHS1:921600 is a serial port"),
    ("autostart", "true", BOOLEAN, "configure and activate the node at start; false waits for ros2 lifecycle set"),
    ("respawn", "true", BOOLEAN, "start a process that ended again after 2 s"),
    ("image_topic", "image_raw", None, "sensor_msgs/Image topic of the camera"),
    ("camera_info_topic", "camera_info", None, "sensor_msgs/CameraInfo topic of the same camera"),
    ("scan_topic", "", None, "obstacle scan"),
    ("odometry_topic", "", None, "nav_msgs/Odometry, optional"),
    ("twist_topic", "", None, "geometry_msgs/TwistStamped, optional"),
    ("height_topic", "height", None, "PoseStamped or Range, as the parameter height_source says"),
    ("fix_topic", "", None, "sensor_msgs/NavSatFix, optional: for finds on a map"),
    ("heading_source", "", ("", "none", "odometry", "pose", "px4"), "finds.heading_source: whose heading is true"),
    ("camera", "none", ("none", "v4l2_camera", "gscam"), "camera driver to start; none: it runs already"),
    ("video_device", "/dev/video0", None, "of the camera driver"),
    ("frame_id", "camera_optical", None, "the camera's OPTICAL frame, of the camera driver's images"),
    ("camera_params_file", "", None, "YAML file of more parameters of the camera driver: size, rate, calibration"),
    ("loopback_only", "false", BOOLEAN, "true: DDS finds nobody beyond this computer"),
    ("dds_profile", "", None, "file of Fast DDS profiles; {share}/config/fastdds_images.xml for images over 512 KiB"),
    ("enclave", "", None, "SROS2 enclave of the node's keys: /vit_perception; empty: none of its own"),
    ("log_level", "info", ("debug", "info", "warn", "error", "fatal"), "of the node"),
    ("use_sim_time", "false", BOOLEAN, "true takes the ROS clock from /clock"),
)

# What flight_stack says of topics and parameters that are not set themselves.
FLIGHT_STACKS = {
    "none": {"scan_topic": "obstacle_scan", "odometry_topic": "odometry", "twist_topic": "twist", "fix_topic": "fix"},
    "px4": {
        "scan_topic": "obstacle_scan",
        "odometry_topic": "odometry",
        "twist_topic": "twist",
        "fix_topic": "fix",
        "publish_px4": "true",
    },
    "mavros_px4": {
        "scan_topic": "/mavros/obstacle/send",
        "odometry_topic": "/mavros/local_position/odom",
        "twist_topic": "/mavros/local_position/velocity_body",
        "fix_topic": "/mavros/global_position/global",
        "heading_source": "odometry",
        "publish_mavros": "true",
    },
    "ardupilot": {
        "scan_topic": "/mavros/obstacle/send",
        "odometry_topic": "/mavros/local_position/odom",
        "twist_topic": "/mavros/local_position/velocity_body",
        "fix_topic": "/mavros/global_position/global",
        "heading_source": "odometry",
        "publish_mavros": "true",
        "on_stale": "blocked",
        "guard": "true",
    },
    "mavlink": {
        "scan_topic": "obstacle_scan",
        "odometry_topic": "odometry",
        "twist_topic": "twist",
        "fix_topic": "fix",
        "heading_source": "odometry",
        "on_stale": "blocked",
        "guard": "true",
    },
}
TEXTS = ("model", "backend", "precision", "image_transport", "on_stale")
FILES = ("params_file", "camera_params_file", "dds_profile")
SWITCHES = ("reliable_input", "publish_mavros", "publish_px4", "autostart", "use_sim_time")


def check(arguments):
    """RuntimeError with one sentence if one of {argument: text} is unknown or wrong.

    To be called before anything is started: launch may leave behind what it starts while an exception ends it.
    """
    known = {name: choices for name, _, choices, _ in ARGUMENTS}
    for name, text in arguments.items():
        if name not in known:
            raise RuntimeError("drone.launch.py has no argument '{}'; it has: {}".format(name, ", ".join(known)))
        if name == "flight_stack" and text == "mavros":
            raise RuntimeError("flight_stack mavros is called mavros_px4 or ardupilot now: each stops in its own way")
        if known[name] and text not in known[name]:
            raise RuntimeError("{} is '{}', but must be one of: {}".format(name, text, ", ".join(known[name])))
        if name in FILES and text and not os.path.isfile(text):  # launch_ros would go on without it
            raise RuntimeError("{}: no file '{}'".format(name, text))
        if name == "threads" and text and not text.isdigit():
            raise RuntimeError("threads is '{}', but must be a whole number, 0 or more".format(text))
    if arguments.get("flight_stack") == "mavlink" and importlib.util.find_spec("pymavlink") is None:
        raise RuntimeError("flight_stack mavlink needs pymavlink, which is not installed: pip install pymavlink")
    if arguments.get("camera", "none") != "none":
        try:
            get_package_share_directory(arguments["camera"])
        except PackageNotFoundError:
            raise RuntimeError("camera: the package {} is not installed".format(arguments["camera"])) from None


def start(context):
    """The processes: the node, with the camera driver, guard and link that are wanted."""
    value = {argument[0]: LaunchConfiguration(argument[0]).perform(context) for argument in ARGUMENTS}
    check(value)
    for name, implied in FLIGHT_STACKS[value["flight_stack"]].items():
        value[name] = value[name] or implied
    process = {
        "namespace": value["namespace"],
        "additional_env": environment(value),
        "respawn": value["respawn"] == "true",
        "respawn_delay": 2.0,
        "output": "screen",
        "emulate_tty": True,
    }
    ros_arguments = ["--log-level", value["log_level"]]
    if value["enclave"]:
        ros_arguments += ["--enclave", value["enclave"]]
    node = Node(
        package="vit_perception",
        executable="vit_perception",
        name="vit_perception",
        parameters=[value["params_file"], overrides(value)],
        remappings=[
            ("image_raw", value["image_topic"]),
            ("camera_info", value["camera_info_topic"]),
            ("obstacle_scan", value["scan_topic"]),
            ("odometry", value["odometry_topic"]),
            ("twist", value["twist_topic"]),
            ("height", value["height_topic"]),
            ("fix", value["fix_topic"]),
        ]
        + state(value),
        ros_arguments=ros_arguments,
        **process,
    )
    started = [camera(value, process), node] if value["camera"] != "none" else [node]
    if value["guard"] == "true":
        started.append(helper("guard", value, process, {}))
    if value["flight_stack"] == "mavlink":
        started.append(helper("mavlink", value, process, {"mavlink_url": value["mavlink_url"]}))
    return started


def helper(name, value, process, parameters):
    """The guard or the link: a process beside the node, of the same parameters, on the same topics."""
    topics = [(name, name + "_topic") for name in ("odometry", "height", "fix")] + [("obstacle_scan", "scan_topic")]
    return Node(
        package="vit_perception",
        executable=name,
        name=name,
        parameters=[value["params_file"], overrides(value), parameters],
        remappings=[(topic, value[argument]) for topic, argument in topics] + state(value),
        ros_arguments=["--enclave", "/" + name] if value["enclave"] else [],
        **dict(process, respawn_delay=0.5),
    )


def state(value):
    """Where mavros tells whether the vehicle is armed, with its texts or without."""
    mavros = value["flight_stack"] in ("mavros_px4", "ardupilot") or value["publish_mavros"] == "true"
    return [("state", "/mavros/state")] if mavros else []


def overrides(value):
    """Parameters of the node that arguments set over params_file."""
    parameters = {name: value[name] for name in TEXTS if value[name]}
    parameters.update({name: value[name] == "true" for name in SWITCHES if value[name]})
    if value["threads"]:
        parameters["threads"] = int(value["threads"])
    if value["heading_source"]:
        parameters["finds.heading_source"] = value["heading_source"]
    return parameters


def environment(value):
    """Environment variables of the processes."""
    variables = {}
    if value["loopback_only"] == "true":
        if os.environ.get("ROS_DISTRO") == "humble":  # knows only the older variable, which is deprecated later
            variables["ROS_LOCALHOST_ONLY"] = "1"
        else:
            variables["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if value["dds_profile"]:
        fast_dds_2 = os.environ.get("ROS_DISTRO", "jazzy") in ("humble", "iron", "jazzy")
        prefix = "FASTRTPS" if fast_dds_2 else "FASTDDS"  # each is unknown to, or deprecated by, the other
        variables[prefix + "_DEFAULT_PROFILES_FILE"] = value["dds_profile"]
    return variables


def camera(value, process):
    """The camera driver, under the topics that the node subscribes."""
    topics, parameters = "", {"video_device": value["video_device"], "camera_frame_id": value["frame_id"]}
    if value["camera"] == "gscam":
        pipeline = "v4l2src device={} ! videoconvert".format(value["video_device"])
        topics, parameters = "camera/", {"gscam_config": pipeline, "frame_id": value["frame_id"]}
    return Node(
        package=value["camera"],
        executable=value["camera"] + "_node",
        name="camera",
        parameters=[parameters] + ([value["camera_params_file"]] if value["camera_params_file"] else []),
        remappings=[
            (topics + "image_raw", value["image_topic"]),
            (topics + "image_raw/compressed", value["image_topic"] + "/compressed"),
            (topics + "camera_info", value["camera_info_topic"]),
        ],
        **process,
    )


def generate_launch_description():
    share = get_package_share_directory("vit_perception")
    declared = [
        DeclareLaunchArgument(
            name, default_value=default.format(share=share), choices=choices, description=text.format(share=share)
        )
        for name, default, choices, text in ARGUMENTS
    ]
    return LaunchDescription(declared + [OpaqueFunction(function=start)])
