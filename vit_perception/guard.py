"""The program `guard`: the ROS edge of it is `vit_perception.ros.guard`."""

import sys

from .ros.guard import main

if __name__ == "__main__":
    sys.exit(main())
