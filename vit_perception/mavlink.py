"""The program `mavlink`: the ROS edge of it is `vit_perception.ros.mavlink`."""

import sys

from .ros.mavlink import main

if __name__ == "__main__":
    sys.exit(main())
