"""Where the vehicle could come down: the largest circle of flat classes on level ground, near a point of the image.

The ground is taken to be level and as far below as the height says. A class is what a pixel looks like: it is no proof
that the ground is level, firm, or free of what the model has no class for.
"""

import cv2
import numpy as np

from ..errors import PerceptionError
from .class_map import shares

NO_PROOF = "a class is no proof of level ground"
CELLS = 8  # of the ground's grid in the radius that the vehicle needs
MOST_CELLS = 512  # of the grid each way
LARGEST = 3.0  # times the radius that the vehicle needs: a circle that is larger is told as one of this size
SIGMAS = 2.0  # of the height, which scales the circle, by which it must be large enough
SLOPE = 0.1  # a ray to the ground must dip by more (6 degrees): beyond, a pixel covers metres


class Place:
    """A circle on the ground.

    Attributes:
        position (3,): its centre in base_link, FLU, metres. pixel: (u, v) of it in the image.
        radius_m, radius_sigma_m (float): of the circle, and how far the height's error makes it wrong.
    """

    __slots__ = ("position", "pixel", "radius_m", "radius_sigma_m")

    def __init__(self, position, pixel, radius_m, radius_sigma_m):
        self.position, self.pixel, self.radius_m, self.radius_sigma_m = position, pixel, radius_m, radius_sigma_m


def flat_classes(names, labels):
    """bool (len(labels),): which of a map's classes `names` names, in any case.

    Raises:
        PerceptionError: it names none, or one that the map does not have.
    """
    known, wanted = [label.lower() for label in labels], [name.strip().lower() for name in names if name.strip()]
    for name in wanted:
        if name not in known:
            text = "landing.classes names '{}', but the classes of the masks are {}"
            raise PerceptionError(text.format(name, ", ".join(labels)))
    if not wanted:
        raise PerceptionError("landing.classes names no class; the masks have {}".format(", ".join(labels)))
    return np.array([label in wanted for label in known])


def find_place(mask, flat, camera, mount, ego, point, search_m, needed_m, height_sigma_m):
    """The largest circle of flat classes, as a `Place`.

    Args:
        mask: uint8 (h', w'), a class map. flat: bool (classes,), see `flat_classes`.
        camera: `Camera` of the image, or None. mount: `Mount` of it. ego: `Ego` at the image's time, or None.
        point: (x, y) in the image, 0 to 1 from its upper left corner; the circle's centre is at most `search_m` metres
            from where it is on the ground.
        needed_m: radius of what the vehicle needs. height_sigma_m: standard deviation of the height.

    Raises:
        PerceptionError: one sentence about what is missing, or why there is no such place.
    """
    if camera is None:
        raise PerceptionError("no landing place: the camera is not calibrated, so nothing is known of the ground")
    if ego is None or ego.height_m is None:
        raise PerceptionError("no landing place: the height above ground is not known; see height_source")
    if ego.level is None:
        raise PerceptionError("no landing place: the vehicle's attitude is not known; it comes with odometry or pose")
    ground = Ground(camera, mount, ego)
    middle = ground.of_pixel(point[0] * camera.width, point[1] * camera.height)
    if not any(flat & (np.array(shares(mask, len(flat))) > 0)):
        raise PerceptionError("no landing place: not one pixel is of a class of landing.classes")
    radius, centre, pixel = _largest(mask, flat, ground, middle, search_m, needed_m)
    radius = max(radius, 0.0)
    sigma = radius * height_sigma_m / ground.height_m
    if radius - SIGMAS * sigma < needed_m:
        text = "no landing place: within {:.1f} m of the point the largest circle has {:.2f} m, give or take {:.2f} m; "
        raise PerceptionError((text + "the vehicle needs {:.2f} m").format(search_m, radius, sigma, needed_m))
    return Place(ground.to_base(centre), pixel, radius, sigma)


def _largest(mask, flat, ground, middle, search_m, needed_m):
    """(radius, (x, y) on the ground, (u, v)) of the largest circle whose centre is within search_m of `middle`."""
    half = search_m + LARGEST * needed_m
    cell = max(needed_m / CELLS, 2.0 * half / MOST_CELLS)
    offsets = cell * np.arange(-int(np.ceil(half / cell)), int(np.ceil(half / cell)) + 1)  # one of them is 0
    row, column = np.mgrid[: len(offsets), : len(offsets)]
    x, y = middle[0] + offsets[column], middle[1] + offsets[row]
    u, v, seen = ground.to_pixels(x.ravel(), y.ravel())
    width, height = ground.camera.width, ground.camera.height
    rows = np.clip((v * mask.shape[0] / height).astype(int), 0, mask.shape[0] - 1)
    columns = np.clip((u * mask.shape[1] / width).astype(int), 0, mask.shape[1] - 1)
    free = (flat[mask[rows, columns]] & seen).reshape(x.shape).astype(np.uint8)
    free = cv2.copyMakeBorder(free, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)  # nothing is known beyond
    radius = cell * cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1].astype(np.float64)
    # What is not flat begins up to half a cell's diagonal before its centre, and up to a pixel of the mask before that.
    pixel_rad = max(width / (mask.shape[1] * ground.camera.fx), height / (mask.shape[0] * ground.camera.fy))
    distance_2 = (x - ground.camera_at[0]) ** 2 + (y - ground.camera_at[1]) ** 2 + ground.height_m**2
    radius -= 0.71 * cell + pixel_rad * distance_2 / ground.height_m
    away = np.hypot(x - middle[0], y - middle[1])
    radius = np.where(away <= search_m + 1e-9, np.minimum(radius, LARGEST * needed_m), -np.inf)
    best = np.flatnonzero(radius.ravel() >= radius.max() - 1e-9)
    best = best[np.argmin(away.ravel()[best])]  # of equal ones the nearest
    return float(radius.flat[best]), (x.flat[best], y.flat[best]), (float(u[best]), float(v[best]))


class Ground:
    """Level ground below a camera: its points and the image's pixels. x, y: metres in the level frame of base_link.

    Args:
        camera: `Camera`. mount: `Mount`. ego: `Ego` with level and height_m.

    Attributes:
        camera_at (3,): the camera's centre in the level frame. height_m (float): of it above the ground.

    Raises:
        PerceptionError: the camera is not above the ground.
    """

    def __init__(self, camera, mount, ego):
        self.camera, self._level, self._base_height_m = camera, ego.level, ego.height_m
        self._rotation = ego.level.dot(mount.rotation)  # optical -> level
        self.camera_at = ego.level.dot(mount.translation)
        self.height_m = ego.height_m + float(self.camera_at[2])
        if not self.height_m > 0:
            text = "no landing place: the height above ground puts the camera {:.2f} m above it"
            raise PerceptionError(text.format(self.height_m))

    def of_pixel(self, u, v):
        """(x, y) where the ray of a pixel meets the ground. Raises PerceptionError: it does not, or far away."""
        ray = self._rotation.dot(self.camera.rays([(u, v)])[0])
        if -ray[2] <= SLOPE * np.hypot(ray[0], ray[1]):
            raise PerceptionError("no landing place: at landing.point the camera does not look down at the ground")
        return self.camera_at[:2] - ray[:2] * self.height_m / ray[2]

    def to_pixels(self, x, y):
        """(u, v, seen) of ground points, (n,) each: pixels, and whether the image shows the point."""
        below = np.full(len(x), -self.height_m)
        rays = np.stack([x - self.camera_at[0], y - self.camera_at[1], below], 1).dot(self._rotation)  # optical frame
        ahead = rays[:, 2] > 1e-6
        slopes = rays[:, :2] / np.where(ahead, rays[:, 2], 1.0)[:, None]
        pixels = self.camera.pixels(slopes)
        u, v = np.where(np.isfinite(pixels), pixels, -1.0).T  # what the lens's model does not tell is outside
        seen = ahead & (u >= 0) & (v >= 0) & (u < self.camera.width) & (v < self.camera.height)
        return np.where(seen, u, 0.0), np.where(seen, v, 0.0), seen

    def to_base(self, point):
        """(3,) in base_link of a ground point (x, y)."""
        return self._level.T.dot([point[0], point[1], -self._base_height_m])
