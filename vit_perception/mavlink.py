"""The program `mavlink`: the ROS edge of it is `vit_perception.ros.flight_stack.mavlink`."""

import sys

from .ros.flight_stack.mavlink import main

if __name__ == "__main__":
    sys.exit(main())
