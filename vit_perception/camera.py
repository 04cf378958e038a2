"""Pinhole camera: pixels to directions and distances. Angles in radians, right and up positive."""

import math


class Camera:
    """An undistorted pinhole camera looking along +z, x right, y down (REP 103 optical frame).

    Lens distortion is not modelled: near the edge of a wide lens a bearing is off by what the lens bends.

    Attributes:
        fx, fy, cx, cy (float): pixels of the image as published, after binning and region of interest.
        width, height (int): of that image.
    """

    __slots__ = ("fx", "fy", "cx", "cy", "width", "height")

    def __init__(self, fx, fy, cx, cy, width, height):
        self.fx, self.fy, self.cx, self.cy = float(fx), float(fy), float(cx), float(cy)
        self.width, self.height = int(width), int(height)

    @classmethod
    def from_values(cls, k, width, height, binning=(1, 1), roi=(0, 0, 0, 0)):
        """Camera of the raw image, or None if it is uncalibrated: K[0] == 0, or no sane numbers.

        Args:
            k: 9 numbers, the 3 x 3 matrix K row by row, for the full sensor image.
            width, height: of the full sensor image.
            binning: (x, y) pixels combined into one; 0 means 1.
            roi: (x_offset, y_offset, width, height) in full sensor pixels; zero width and height mean all.
        """
        fx, fy, cx, cy = (float(k[i]) for i in (0, 4, 2, 5))
        bx, by = (max(1, int(b)) for b in binning)
        x0, y0, w, h = (int(v) for v in roi)
        w, h = (w or int(width)) // bx, (h or int(height)) // by
        if not (fx > 0 and fy > 0 and w > 0 and h > 0 and all(map(math.isfinite, (fx, fy, cx, cy)))):
            return None
        return cls(fx / bx, fy / by, (cx - x0) / bx, (cy - y0) / by, w, h)

    @classmethod
    def from_info(cls, msg):
        """Camera from anything with the fields of sensor_msgs/CameraInfo, or None if it is uncalibrated."""
        roi = (msg.roi.x_offset, msg.roi.y_offset, msg.roi.width, msg.roi.height)
        return cls.from_values(msg.k, msg.width, msg.height, (msg.binning_x, msg.binning_y), roi)

    def fits(self, width, height):
        """Whether this calibration belongs to images of `width` x `height` pixels."""
        return (self.width, self.height) == (width, height)

    def bearing(self, u):
        """Angle right of the optical axis of image column `u`."""
        return math.atan2(u - self.cx, self.fx)

    def elevation(self, v):
        """Angle above the optical axis of image row `v`."""
        return math.atan2(self.cy - v, self.fy)

    def field_of_view(self):
        """(left, right): bearings of the image's two side edges; left is negative in an ordinary camera."""
        return self.bearing(0.0), self.bearing(float(self.width))

    def range_from_height(self, box, size_m, size_sigma_m, box_sigma_px):
        """Horizontal distance to an object of known height: Z = fy H / h, r = Z sqrt(1 + ((u - cx) / fx)^2).

        Args:
            box: x1, y1, x2, y2 in pixels.
            size_m, size_sigma_m: height of such objects, and its spread.
            box_sigma_px: standard deviation of the box's height.

        Returns:
            (range, sigma) in metres, with (sigma / range)^2 = (sigma_H / H)^2 + (sigma_h / h)^2.
        """
        x1, y1, x2, y2 = box
        h = max(y2 - y1, 1e-3)
        depth = self.fy * size_m / h
        slant = depth * math.hypot(1.0, (0.5 * (x1 + x2) - self.cx) / self.fx)
        return slant, slant * math.hypot(size_sigma_m / size_m, box_sigma_px / h)
