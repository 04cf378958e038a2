"""Onboard perception for small drones: a compressed Vision Transformer detector as a ROS 2 node."""

__version__ = "0.1.0"
