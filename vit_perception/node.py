"""The node: python -m vit_perception.node, or `ros2 run vit_perception vit_perception`. See ros/node.py."""

from .ros.node import main

if __name__ == "__main__":
    main()
