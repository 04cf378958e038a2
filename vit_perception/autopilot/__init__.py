"""MAVLink without mavros, and what an autopilot must be set to. No ROS. pymavlink is the user's own: LGPL-3, optional."""
