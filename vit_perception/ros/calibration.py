"""Keeps the newest camera_info, checks that it fits the images, and warns where it does not."""

import numpy as np

from ..avoidance.camera import Camera

OFF_CENTER = 0.2  # of the image: in one of twice the size, the middle lies a quarter aside


class Calibration:
    """The newest camera_info as a `Camera`.

    Args:
        values: the node's parameters by name; `rectified_input` says which matrix the images belong to.
        warn: warn(kind, sentence), which throttles.
    """

    def __init__(self, values, warn):
        self._values, self._warn = values, warn
        self.camera = None
        self._known = None  # what `camera` was made of

    def take(self, msg):
        """Take a sensor_msgs/CameraInfo. One that says nothing usable takes the calibration away."""
        rectified = self._values["rectified_input"]
        known = (
            rectified, msg.width, msg.height, tuple(msg.k), tuple(msg.d), tuple(msg.p), msg.distortion_model,
            msg.binning_x, msg.binning_y, msg.roi.x_offset, msg.roi.y_offset, msg.roi.width, msg.roi.height,
        )  # fmt: skip
        if known != self._known:  # cameras repeat it with each image
            self._known, self.camera = known, Camera.from_info(msg, rectified)
        camera = self.camera
        if camera is None:
            text = "camera_info is uncalibrated ({}): no range, no scan"
            self._warn("camera_info", text.format(_problem(msg, rectified)))
            return
        if camera.ignored:
            self._warn("distortion", "camera_info: {}; the lens counts as ideal".format(camera.ignored))
        x, y = (msg.p[2], msg.p[6]) if rectified else (msg.k[2], msg.k[5])
        if max(abs(x / msg.width - 0.5), abs(y / msg.height - 0.5)) >= OFF_CENTER:
            text = (
                "camera_info: the principal point ({:.0f}, {:.0f}) is far from the middle of its {} x {} pixels: is it"
            )
            self._warn("center", (text + " of another size?").format(x, y, msg.width, msg.height))

    def camera_for(self, width, height):
        """The Camera of images of this size, or None."""
        camera = self.camera
        if camera is None or camera.fits(width, height):
            return camera
        text = "camera_info is for {} x {} pixels, but images have {} x {}: no range, no scan"
        self._warn("camera_size", text.format(camera.width, camera.height, width, height))
        return None


def _problem(msg, rectified):
    """What makes a camera_info uncalibrated."""
    name, matrix, needed = ("P", msg.p, 12) if rectified else ("K", msg.k, 9)
    if len(matrix) < needed:
        return "{} has {} numbers, not {}".format(name, len(matrix), needed)
    if not np.isfinite(matrix).all():
        return "{} holds what is no number".format(name)
    if not rectified and not np.isfinite(msg.d).all():
        return "D holds what is no number"
    if not (msg.width and msg.height):
        return "it is for images of {} x {} pixels; set its width and height".format(msg.width, msg.height)
    return "{} is zero, or has focal lengths that are not positive".format(name)
