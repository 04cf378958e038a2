"""MAVLink without mavros, and what an autopilot must be set to. No ROS. pymavlink (LGPL-3) is optional."""
