"""The node: python -m vit_perception.node, or `ros2 run vit_perception vit_perception`. See ros/node.py."""

import sys

from .ros.node import main

if __name__ == "__main__":
    sys.exit(main())
