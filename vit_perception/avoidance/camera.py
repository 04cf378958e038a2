"""A calibrated camera: pixels to directions and back. Optical frame: x right, y down, z ahead; right, up positive."""

import math

import cv2
import numpy as np

# sensor_msgs/distortion_models -> numbers of coefficients that OpenCV takes of it. plumb_bob is the start of
# rational_polynomial: their first five coefficients mean the same, and drivers give either name to either number.
_BROWN = (4, 5, 8, 12, 14)
_FISHEYE = (4,)
_COEFFICIENTS = {"plumb_bob": _BROWN, "rational_polynomial": _BROWN, "equidistant": _FISHEYE, "fisheye": _FISHEYE}
_NUMBERS = {_BROWN: "4, 5, 8, 12 or 14", _FISHEYE: "4"}
_ITERATIONS = (cv2.TERM_CRITERIA_MAX_ITER + cv2.TERM_CRITERIA_EPS, 30, 1e-8)
SAME_RAY = 0.02  # slope; a direction farther off the one that its pixel has is outside what the lens's model describes


class Camera:
    """Pinhole camera with the lens's distortion.

    Attributes:
        fx, fy, cx, cy (float): pixels of the image as published, after binning and region of interest.
        width, height (int): of that image.
        distortion (n,) float64 or None: coefficients in OpenCV's order; None for a rectified image or an ideal lens.
        fisheye (bool): they are those of the equidistant model.
        ignored (str): why the distortion is not undone, though there is one, e.g. "distortion model x is not known";
            else "".
    """

    __slots__ = ("fx", "fy", "cx", "cy", "width", "height", "distortion", "fisheye", "ignored")

    def __init__(self, fx, fy, cx, cy, width, height, distortion=None, model="plumb_bob"):
        self.fx, self.fy, self.cx, self.cy = float(fx), float(fy), float(cx), float(cy)
        self.width, self.height = int(width), int(height)
        d = np.array([] if distortion is None else distortion, np.float64).reshape(-1)
        self.distortion, self.ignored = _coefficients(d, model)
        self.fisheye = self.distortion is not None and _COEFFICIENTS.get(model) is _FISHEYE

    @classmethod
    def from_values(cls, k, width, height, binning=(1, 1), roi=(0, 0, 0, 0), distortion=None, model="plumb_bob"):
        """Camera of an image, or None if it is uncalibrated: K[0] == 0, or no sane numbers.

        Args:
            k: 9 numbers, the 3 x 3 matrix K row by row, for the full sensor image.
            width, height: of the full sensor image.
            binning: (x, y) pixels combined into one; 0 means 1.
            roi: (x_offset, y_offset, width, height) in full sensor pixels; zero width and height mean all.
            distortion, model: the coefficients, and the name of their model as in sensor_msgs/CameraInfo.
        """
        values = [float(v) for v in k] + [float(v) for v in (() if distortion is None else distortion)]
        if len(k) < 9 or not all(map(math.isfinite, values)):
            return None
        fx, fy, cx, cy = (values[i] for i in (0, 4, 2, 5))
        bx, by = (max(1, int(b)) for b in binning)
        x0, y0, w, h = (int(v) for v in roi)
        w, h = (w or int(width)) // bx, (h or int(height)) // by
        if not (fx > 0 and fy > 0 and w > 0 and h > 0):
            return None
        return cls(fx / bx, fy / by, (cx - x0) / bx, (cy - y0) / by, w, h, distortion, model)

    @classmethod
    def from_info(cls, msg, rectified=False):
        """Camera from anything with the fields of sensor_msgs/CameraInfo, or None if it is uncalibrated.

        Args:
            rectified: the image went through image_proc: P holds for it and no distortion is left. Else K and D.
        """
        roi = (msg.roi.x_offset, msg.roi.y_offset, msg.roi.width, msg.roi.height)
        binning = (msg.binning_x, msg.binning_y)
        if rectified:
            p = msg.p
            return (
                None if len(p) < 12 else cls.from_values([p[i] for i in _P_TO_K], msg.width, msg.height, binning, roi)
            )
        distortion, model = getattr(msg, "d", None), getattr(msg, "distortion_model", "plumb_bob")
        return cls.from_values(msg.k, msg.width, msg.height, binning, roi, distortion, model)

    def fits(self, width, height):
        """Whether this calibration belongs to images of `width` x `height` pixels."""
        return (self.width, self.height) == (width, height)

    def rays(self, points):
        """Directions of image points: (n, 2) pixels -> (n, 3) float64, optical frame, z = 1, distortion undone."""
        points = np.array(points, np.float64).reshape(-1, 2)
        rays = np.ones((len(points), 3))
        rays[:, :2] = (points - (self.cx, self.cy)) / (self.fx, self.fy)
        if self.distortion is not None and len(points):
            undone = self._undistort(points)
            # Where a lens model cannot be inverted, far outside the calibrated part, the plain pinhole is nearer.
            sane = np.isfinite(undone).all(axis=1) & (np.abs(undone) < 1e3).all(axis=1)
            rays[sane, :2] = undone[sane]
        return rays

    def pixels(self, slopes):
        """Image points of directions: (n, 2) x / z and y / z in the optical frame -> (n, 2) float64 pixels, distorted.

        NaN where the lens's model does not hold: where the pixel's own direction is another one.
        """
        slopes = np.array(slopes, np.float64).reshape(-1, 2)
        if self.distortion is None or not len(slopes):
            return slopes * (self.fx, self.fy) + (self.cx, self.cy)
        points, none, k = np.concatenate([slopes, np.ones((len(slopes), 1))], 1), np.zeros(3), self._matrix()
        if self.fisheye:
            pixels = cv2.fisheye.projectPoints(points[None], none, none, k, self.distortion)[0].reshape(-1, 2)
        else:
            pixels = cv2.projectPoints(points[:, None], none, none, k, self.distortion)[0].reshape(-1, 2)
        same = np.abs(self.rays(pixels)[:, :2] - slopes).max(axis=1) < SAME_RAY
        return np.where(same[:, None], pixels, np.nan)

    def bearing(self, u, v=None):
        """Angle right of the optical axis of image column `u`, in row `v` (None: the principal point's)."""
        return math.atan(self.rays([(u, self.cy if v is None else v)])[0, 0])

    def elevation(self, v, u=None):
        """Angle above the optical axis of image row `v`, in column `u` (None: the principal point's)."""
        return math.atan(-self.rays([(self.cx if u is None else u, v)])[0, 1])

    def field_of_view(self):
        """(left, right): bearings of the image's two side edges; left is negative in an ordinary camera."""
        return self.bearing(0.0), self.bearing(float(self.width))

    def _matrix(self):
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def _undistort(self, points):
        k = self._matrix()
        if self.fisheye:
            return cv2.fisheye.undistortPoints(points[None], k, self.distortion)[0]
        points = points[:, None]
        if hasattr(cv2, "undistortPointsIter"):
            return cv2.undistortPointsIter(points, k, self.distortion, None, None, _ITERATIONS)[:, 0]
        undistort = getattr(cv2, "undistortPoints")  # noqa: B009  # from OpenCV 5 on it takes the criteria itself
        return undistort(points, k, self.distortion, criteria=_ITERATIONS)[:, 0]


def _coefficients(d, model):
    """(coefficients in a number that OpenCV takes, or None; why they are left out, or '').

    Drivers send more than a model has, with zeros behind, and fewer: what is not sent is zero. Three are not guessed
    at: the third could be tangential or radial. An equidistant lens bends with all coefficients zero, too.
    """
    used = int(np.flatnonzero(d)[-1]) + 1 if d.any() else 0
    known = _COEFFICIENTS.get(model)
    if not used and (known is not _FISHEYE or not len(d)):
        return None, ""
    if known is None:
        return None, "distortion model '{}' is not known".format(" ".join(str(model).split())[:40])
    if used > known[-1] or (known is _BROWN and len(d) == 3):
        return None, "distortion model {} takes {} coefficients, not {}".format(model, _NUMBERS[known], used)
    length = next(n for n in known if n >= used)
    return np.concatenate([d[:length], np.zeros(max(length - len(d), 0))]), ""


_P_TO_K = (0, 1, 2, 4, 5, 6, 8, 9, 10)  # the 3 x 3 part of the 3 x 4 matrix P, row by row
