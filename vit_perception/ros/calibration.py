"""Keeps the newest camera_info, checks that it fits the images, and warns where it does not."""

from ..avoidance.camera import Camera


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
        if self.camera is None:
            matrix = "P" if rectified else "K"
            text = "camera_info is uncalibrated ({} is zero or no number): no range, no scan"
            self._warn("camera_info", text.format(matrix))
        elif self.camera.ignored:
            text = "distortion model {} is not understood: the lens counts as ideal".format(self.camera.ignored)
            self._warn("distortion", text)

    def camera_for(self, width, height):
        """The Camera of images of this size, or None."""
        camera = self.camera
        if camera is None or camera.fits(width, height):
            return camera
        text = "camera_info is for {} x {} pixels, but images have {} x {}: no range, no scan"
        self._warn("camera_size", text.format(camera.width, camera.height, width, height))
        return None
