"""The ROS edge: the lifecycle node, what it subscribes to, and what it publishes. Enter by `node.main`.

Nothing outside of this room, the commands and replay imports ROS.
"""
