"""Obstacles that have no class: what stands in the vehicle's way, told by how points of the image move. Knows no ROS.

`watcher.MotionObstacles` takes an image, what is known of the vehicle and the boxes to leave out; the order of a frame
is `flow`, `ego_motion`, `parallax`, `groups`, `followed`.
"""
