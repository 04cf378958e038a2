"""The camera for points of the small image that is looked at."""

import numpy as np

LEAST_AHEAD = 0.3  # cosine between flight and optical axis: beyond, a focus of expansion is far from any lens's middle


class Lens:
    """The camera, for points of the small image. K (3, 3): without its distortion."""

    def __init__(self, camera, shape):
        self._camera, self._shape = camera, shape
        self.scale = float(shape[1]) / camera.width
        self.focal = self.scale * camera.fx
        self.K = np.array([[self.focal, 0.0, self.scale * camera.cx - 0.5],
                           [0.0, self.scale * camera.fy, self.scale * camera.cy - 0.5], [0.0, 0.0, 1.0]])  # fmt: skip
        self.inverse = np.linalg.inv(self.K)

    def shows(self, direction):
        """Whether this direction (3,), optical frame, lies in the image."""
        x, y, z = self.K.dot(direction).tolist()
        return z > LEAST_AHEAD and 0 <= x / z <= self._shape[1] and 0 <= y / z <= self._shape[0]

    def rays(self, points):
        """Directions (n, 3), z = 1, of pixel centres (n, 2) as OpenCV counts them."""
        return self._camera.rays((points + 0.5) / self.scale)
