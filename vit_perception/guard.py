"""The program `guard`: the ROS edge of it is `vit_perception.ros.flight_stack.guard`."""

import sys

from .ros.flight_stack.guard import main

if __name__ == "__main__":
    sys.exit(main())
