"""Obstacles that have no class: what stands in the vehicle's way, told by how points of the image move. Knows no ROS.

`watcher.MotionObstacles` takes an image, what is known of the vehicle and the boxes to leave out; the order of a frame
is `flow`, `prior`, `ego_motion`, `parallax`, `groups`, `followed`.
"""

LABEL = "obstacle"  # the class name of what has none
FIRST_ID = 1000000  # of their ids: tracks of detections never get there


def by_motion(obstacle):
    """Whether this `Obstacle` was told by motion, not by the detector."""
    return obstacle.track.id >= FIRST_ID
