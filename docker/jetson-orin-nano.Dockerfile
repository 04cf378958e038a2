# UNTESTED: this image has not been built yet. vit_perception for the Jetson Orin Nano, JetPack 6.2.
#
# On the Orin Nano, in the folder of the repository:
#   docker build -f docker/jetson-orin-nano.Dockerfile -t vit_perception:orin .
# Build the engine once, then fly. The volume of the cache keeps the engine; leave out the camera that you do not have:
#   run="docker run -it --rm --runtime nvidia --network host -v $HOME/models:/models
#        -v $HOME/.cache/vit_perception:/root/.cache/vit_perception
#        -v /tmp/argus_socket:/tmp/argus_socket --device /dev/video0"
#   $run vit_perception:orin ros2 run vit_perception build_engine --model uav_thermal_tiny
#   $run --name vit vit_perception:orin ros2 launch vit_perception drone.launch.py model:=uav_thermal_tiny \
#       backend:=tensorrt image_topic:=/camera/image_raw camera_info_topic:=/camera/camera_info
# See docs/jetson.md.

# Ubuntu 22.04 with CUDA 12.6 and TensorRT 10.3.
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0
SHELL ["/bin/bash", "-c"]
ENV DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8

# ROS 2's own package of its sources and keys; then JetPack's OpenCV goes, which keeps cv_bridge out (docs/jetson.md).
ARG ROS_APT_SOURCE=1.2.0
RUN apt-get update && apt-get install -y --no-install-recommends curl ca-certificates \
    && curl -fsSL -o /tmp/ros2.deb "https://github.com/ros-infrastructure/ros-apt-source/releases/download/\
${ROS_APT_SOURCE}/ros2-apt-source_${ROS_APT_SOURCE}.jammy_all.deb" \
    && dpkg -i /tmp/ros2.deb && rm /tmp/ros2.deb \
    && (apt-get purge -y '.*opencv.*' || true) \
    && apt-get update && apt-get install -y --no-install-recommends \
        ros-humble-ros-base ros-humble-vision-msgs ros-humble-v4l2-camera ros-humble-gscam \
        python3-colcon-common-extensions python3-numpy python3-opencv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /ws
COPY package.xml setup.py setup.cfg LICENSE src/vit_perception/
COPY resource src/vit_perception/resource
COPY config src/vit_perception/config
COPY launch src/vit_perception/launch
COPY models src/vit_perception/models
COPY vit_perception src/vit_perception/vit_perception
RUN source /opt/ros/humble/setup.bash && colcon build --packages-select vit_perception \
    && echo 'source /ws/install/setup.bash' >> /root/.bashrc

ENTRYPOINT ["/bin/bash", "-c", "source /ws/install/setup.bash && exec \"$0\" \"$@\""]
CMD ["bash"]
