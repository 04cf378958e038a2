# UNTESTED: this image has not been built yet. vit_perception for the Jetson Nano, JetPack 4.6.1 or later 4.6.x.
#
# On the Nano, in the folder of the repository (CSI=1 adds gscam for CSI cameras):
#   docker build -f docker/jetson-nano.Dockerfile --build-arg CSI=0 -t vit_perception:nano .
# Build the engine once, then fly. The volume of the cache keeps the engine; leave out the camera that you do not have:
#   run="docker run -it --rm --runtime nvidia --network host -v $HOME/models:/models
#        -v $HOME/.cache/vit_perception:/root/.cache/vit_perception
#        -v /tmp/argus_socket:/tmp/argus_socket --device /dev/video0"
#   $run vit_perception:nano ros2 run vit_perception build_engine --model uav_thermal_tiny
#   $run --name vit vit_perception:nano ros2 launch vit_perception drone.launch.py model:=uav_thermal_tiny \
#       backend:=tensorrt image_topic:=/camera/image_raw camera_info_topic:=/camera/camera_info
# CUDA and TensorRT are not in the image: the NVIDIA runtime mounts the board's. See docs/jetson.md.

# Humble built from source on Ubuntu 18.04 and Python 3.6, with vision_msgs, v4l2_camera, colcon, NumPy and OpenCV.
FROM dustynv/ros:humble-ros-base-l4t-r32.7.1
SHELL ["/bin/bash", "-c"]

# The image's ROS sources have an expired key, and are not needed: ROS is in /opt/ros. 18.04's own GCC is too old.
ARG CSI=0
RUN if [ "$CSI" = 1 ]; then set -e; \
        rm -f /etc/apt/sources.list.d/ros2.list; \
        apt-get update; \
        apt-get install -y --no-install-recommends libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev; \
        rm -rf /var/lib/apt/lists/*; \
        git clone --depth 1 -b ros2 https://github.com/ros-drivers/gscam /ws/src/gscam; \
        source "$ROS_ROOT/install/setup.bash"; \
        cd /ws; CC=gcc-8 CXX=g++-8 colcon build --packages-select gscam --cmake-args -DBUILD_TESTING=OFF; \
    fi

WORKDIR /ws
COPY package.xml setup.py setup.cfg LICENSE src/vit_perception/
COPY resource src/vit_perception/resource
COPY config src/vit_perception/config
COPY launch src/vit_perception/launch
COPY models src/vit_perception/models
COPY vit_perception src/vit_perception/vit_perception
RUN source "$ROS_ROOT/install/setup.bash" && colcon build --packages-select vit_perception \
    && echo 'source $ROS_ROOT/install/setup.bash && source /ws/install/setup.bash' >> /root/.bashrc

# NumPy 1.19.5 dies of an illegal instruction on this CPU without it (numpy issue 18131).
ENV OPENBLAS_CORETYPE=ARMV8
ENTRYPOINT ["/ros_entrypoint.sh", "/bin/bash", "-c", "source /ws/install/setup.bash && exec \"$0\" \"$@\""]
CMD ["bash"]
