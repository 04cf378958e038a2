"""Looks for what stands in the vehicle's way and has no class, in every image.

Of the newest image, corners are followed back to one about a quarter of a second before: some all over the image, which
tell how the camera moved, and a dense set around the focus of expansion, where what the vehicle will hit is seen. That
one is looked for in the earlier image turned and zoomed as the motion says, for a window of fixed size does not find
what has grown.
"""

import math

import cv2
import numpy as np

from ..avoidance.geometry import norm, rotation_about
from ..images.formats import to_gray
from .ego_motion import STEPS, refine
from .flow import Texture, follow
from .followed import Followed
from .groups import Way, make_groups
from .lens import Lens
from .parallax import Points
from .prior import Prior

WIDTH = 320  # px; the longer side of the images that are compared
BASELINE_S, LONGEST_S = 0.25, 0.7  # between them; 0.6 s and half the size gained nothing
WIDE_CELL, WIDE_MOST, WIDE_LEVELS = 12, 160, 3
DENSE_CELL, DENSE_MOST, DENSE_LEVELS = 6, 220, 2
DENSE_RAD = math.radians(13.0)  # around the focus of expansion
ZOOMED_S = 2.2  # time to contact to which the earlier image is zoomed
GROWN = 0.15  # of a detection's box, on each side: what moves by itself must not look near
LEAST_HALF_PX = 4.0  # of an obstacle's width
LEAST_POINTS = 25  # fewer tell nothing of the camera's motion
LEAST_AGREE = 0.5  # of the points must lie near their lines
DISAGREES = 10  # images in a row before it is said
FROZEN_S = 0.35  # so long after the last new image it is said; a slower camera is too slow anyway
# Faster, what an image is late or a shutter rolls (30 ms) turns it by half a degree: as much as the parallax of what is
# near shows. Then nothing new is made.
TURNS_FAST_RAD_S = math.radians(15.0)
FASTEST_MPS = 60.0  # no small vehicle's speed: odometry in a wrong unit
ASSUMED_MPS = 4.5  # where no velocity is told
FIRST_STEPS = 3  # of the refinement before the focus of expansion is looked at

WATCHING, STANDS, ASIDE = "watching", "blind: no motion", "blind: flies aside of the view"
OFF, NO_VELOCITY, NO_GYRO = "off", "no velocity: alerts only, no range", "no gyro: turning from images"
GYRO_ASTRAY = "gyro tells otherwise than the images (vibration, sign, frame, delay?): turning from images"
TURNS = "turns fast: nothing new, keeps what it knew"
FLAT, FROZEN = "blind: too little texture", "blind: the image stands still"
TOO_FAST = "blind: odometry tells an impossible speed (unit?)"
UNCALIBRATED, STARTING = "blind: no calibrated camera", "blind: too few images yet"
CONTRADICTED = "blind: the image moves otherwise than odometry tells (frame, mount, delay?)"


class _View:
    """An image that is kept: small (H, W) uint8, its stamp, the vehicle's speed, and how the camera turned since."""

    def __init__(self, small, stamp_s, speed):
        self.small, self.stamp_s, self.speed, self.turned = small, stamp_s, speed, np.eye(3)


class MotionObstacles:
    """Obstacles without a class, from image motion.

    Attributes:
        enabled (bool): off, nothing is kept and nothing is found.
        least_points (int): that must agree to be an obstacle. max_sigma (float): relative standard deviation of a
            point's distance up to which it counts. min_size_m: extent of an obstacle. min_speed_mps: a slower vehicle
            sees nothing.
        refined, masked (bool): whether the motion is refined from the image, and detections' boxes left out; off for
            benchmarks only.
        state (str): what it does, or why it sees nothing: WATCHING, with what is not told, or a "blind" sentence.
    """

    def __init__(self, enabled=False, least_points=3, max_sigma=0.5, min_size_m=0.4, min_speed_mps=0.7):
        self.enabled, self.least_points, self.max_sigma = enabled, least_points, max_sigma
        self.min_size_m, self.min_speed_mps = min_size_m, min_speed_mps
        self.refined = self.masked = True
        self.followed, self._texture, self._prior = Followed(), Texture(), Prior()
        self.state = STARTING
        self.reset()

    def reset(self):
        """Forget all images and obstacles."""
        self._views, self._shape, self._contrary, self._rate, self._last_s = [], None, 0, None, None
        self._prior.reset()
        self.followed.reset()

    def update(self, image, order, stamp_s, camera, mount, ego, boxes, half_width_m, half_height_m):
        """Take the next image.

        Args:
            image, order: as `vit_perception.images.read.view` returns them. stamp_s: seconds.
            camera: `Camera` of this image, or None. mount: `Mount` of the camera. ego: `Ego`, or None.
            boxes: (n, 4) px of what has a class, detected or tracked.
            half_width_m, half_height_m: of the way, the vehicle's half and the margin.

        Returns:
            list of Obstacle: ranges only where the velocity was told.
        """
        if not self.enabled or camera is None:
            self.reset()
            self.state = UNCALIBRATED if self.enabled else OFF
            return []
        half = half_width_m, half_height_m
        last = self._last_s
        if last is not None and stamp_s == last:
            return self._told(ego, mount, half_width_m)
        if last is not None and not (0 < stamp_s - last <= LONGEST_S and self._shape == image.shape):
            self.reset()
            last = None
        self._shape, self._last_s = image.shape, stamp_s
        velocity, rate = _vector(ego, "velocity"), _vector(ego, "angular_velocity")
        course = ASSUMED_MPS * mount.rotation[:, 2] if velocity is None else velocity
        view = _View(_shrink(image, order), stamp_s, norm(course))
        dt = 0.0 if last is None else stamp_s - last
        self._turn(dt, rate, mount)
        frozen = bool(self._views) and np.array_equal(self._views[-1].small, view.small)
        if not frozen:
            self._views = [v for v in self._views if stamp_s - v.stamp_s <= LONGEST_S] + [view]
        turning = self._prior.rate if rate is None or self._prior.astray else rate
        self.followed.move(dt, course, turning, mount.rotation[:, 2])
        if frozen and stamp_s - self._views[-1].stamp_s < FROZEN_S and norm(course) >= self.min_speed_mps:
            return self._told(ego, mount, half_width_m)  # the same image once more: nothing new
        try:
            seen = self._look(view, frozen, camera, mount, ego, course, boxes, half)
        except (cv2.error, np.linalg.LinAlgError):  # what they refuse says nothing of obstacles
            seen = FLAT
        if isinstance(seen, str):
            self.state, self._prior.rate = seen, np.zeros(3)
            self.followed.wait(seen is STANDS)
        else:
            # Of the images: a gyro's rate at an instant may be of vibration.
            turns = norm(self._prior.rate) > TURNS_FAST_RAD_S
            astray = rate is not None and self._prior.astray
            told = (velocity is None, NO_VELOCITY), (rate is None, NO_GYRO), (astray, GYRO_ASTRAY), (turns, TURNS)
            self.state = "; ".join([WATCHING] + [text for said, text in told if said])
            self.followed.correct(seen, stamp_s, view.speed, not turns)
        return self._told(ego, mount, half_width_m)

    def _told(self, ego, mount, half_width_m):
        velocity = _vector(ego, "velocity")
        course = ASSUMED_MPS * mount.rotation[:, 2] if velocity is None else velocity
        return self.followed.obstacles(course, velocity is not None, half_width_m)

    def _turn(self, dt, rate, mount):
        """The camera turned since the last image; the rate at both ends counts."""
        if rate is None or dt <= 0:
            self._rate = rate
            return
        mean = rate if self._rate is None else 0.5 * (rate + self._rate)
        step = rotation_about(-dt * mount.rotation.T.dot(mean))
        for view in self._views:
            view.turned = step.dot(view.turned)
        self._rate = rate

    def _look(self, view, frozen, camera, mount, ego, course, boxes, half):
        """What is seen in the way, as `Followed.correct` takes it; or the sentence that says why nothing can be."""
        if view.speed < self.min_speed_mps:
            return STANDS
        if view.speed > FASTEST_MPS:
            return TOO_FAST
        to_camera, lens = mount.rotation.T, Lens(camera, view.small.shape)
        told = to_camera.dot(course / view.speed)
        if not lens.shows(told):
            return ASIDE
        if frozen:
            return FROZEN
        earlier = [v for v in self._views if view.stamp_s - v.stamp_s >= BASELINE_S]
        if not earlier:
            return STARTING
        before = earlier[-1]
        dt = view.stamp_s - before.stamp_s
        gyro = _vector(ego, "angular_velocity") is not None and not self._prior.astray
        prior = self._prior.motion(before.turned, told, dt, gyro, _vector(ego, "velocity") is not None)
        motion, pixels, points = self._points(view.small, before.small, dt, prior, lens, boxes)
        if len(pixels) < LEAST_POINTS:
            return FLAT
        self._contrary = self._contrary + 1 if points.agree < LEAST_AGREE else 0
        if self._contrary:
            if gyro:
                self._prior.doubt()
            return CONTRADICTED if self._contrary >= DISAGREES else []
        self._prior.learn(prior, motion, before.turned, dt, gyro, mount)
        up = to_camera.dot(np.array([0.0, 0.0, 1.0]) if ego is None or ego.level is None else ego.level[2])
        way_m = float(np.mean([v.speed for v in self._views if v.stamp_s >= before.stamp_s])) * dt
        way = Way(motion.direction, up, way_m, *half)
        groups = make_groups(pixels, points, way, self.least_points, lens.focal, self.min_size_m)
        return [self._place(g, mount, lens) for g in groups]

    def _points(self, now, before, dt, prior, lens, boxes):
        """(Motion, refined by what was followed; places (n, 2) px in the newest small image; their `Points`)."""
        covered = _covered(boxes, now.shape, lens.scale) if self.masked else None
        self._texture.take(now)
        motion = prior
        pixels, rays_before, rays = np.zeros((0, 2), np.float32), np.zeros((0, 3)), np.zeros((0, 3))
        for dense in (False, True):
            found, places = self._follow(now, before, lens, motion, dt, covered, dense)
            pixels = np.concatenate([pixels, found])
            rays_before = np.concatenate([rays_before, lens.rays(places)])
            rays = np.concatenate([rays, lens.rays(found)])
            if self.refined:
                motion = refine(rays_before, rays, prior, STEPS if dense else FIRST_STEPS)
        tensors = self._texture.inverse_tensors(pixels)
        return motion, pixels, Points(rays_before, rays, motion, tensors, lens.focal, self.max_sigma)

    def _follow(self, now, before, lens, motion, dt, covered, dense):
        """(points (n, 2) in the newest image, their places (n, 2) in the earlier one), px of the small images."""
        height, width = now.shape
        back = lens.K.dot(motion.rotation.T).dot(lens.inverse)  # newest -> earlier, of what is far away
        if not dense:
            points = self._texture.corners(0, 0, width, height, WIDE_CELL, WIDE_MOST, covered)
            found, places = follow(now, before, points, _project(back, points), WIDE_LEVELS)
            return points[found], places[found]
        focus = lens.K.dot(motion.direction / max(motion.direction[2], 0.3))[:2]
        reach = lens.focal * math.tan(DENSE_RAD)
        left, top = np.clip(np.floor(focus - reach), 0, [width, height]).astype(int)
        right, bottom = np.clip(np.ceil(focus + reach), 0, [width, height]).astype(int)
        if min(right - left, bottom - top) < 4 * DENSE_CELL:
            return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
        shrink = 1.0 / (1.0 + dt / ZOOMED_S)
        zoom = np.array([[shrink, 0, (1 - shrink) * focus[0]], [0, shrink, (1 - shrink) * focus[1]], [0, 0, 1.0]])
        corner = np.array([[1.0, 0, left], [0, 1.0, top], [0, 0, 1.0]])
        matrix = back.dot(zoom).dot(corner)  # crop of the newest -> earlier
        size = (int(right - left), int(bottom - top))
        warped = cv2.warpPerspective(before, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                                     borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
        points = self._texture.corners(left, top, right, bottom, DENSE_CELL, DENSE_MOST, covered)
        inside = points - np.array([left, top], np.float32)
        found, places = follow(np.ascontiguousarray(now[top:bottom, left:right]), warped, inside, inside, DENSE_LEVELS)
        return points[found], _project(matrix, places[found]).astype(np.float32)

    def _place(self, group, mount, lens):
        """(place in base_link, relative sigma, half width in radians, box in px of the image) of a Group."""
        half_rad = max(group.half_rad, LEAST_HALF_PX / lens.focal)
        place = mount.translation + mount.rotation.dot(group.place)
        grown = group.box + np.array([-1.0, -1.0, 1.0, 1.0]) * LEAST_HALF_PX
        return place, group.sigma, half_rad, (grown / lens.scale).astype(np.float32)


def _shrink(image, order):
    height, width = image.shape[:2]
    scale = min(1.0, float(WIDTH) / max(height, width, 1))
    if scale < 1.0:
        size = max(1, int(round(width * scale))), max(1, int(round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.array(image) if order == "mono" else to_gray(image, order)


def _covered(boxes, shape, scale):
    """bool (H, W): where boxes (n, 4) px of the large image lie, grown; None without any."""
    if len(boxes) == 0:
        return None
    mask = np.zeros(shape, bool)
    for x1, y1, x2, y2 in scale * np.asarray(boxes, np.float64):
        dx, dy = GROWN * (x2 - x1) + 2.0, GROWN * (y2 - y1) + 2.0
        columns = slice(max(0, int(x1 - dx)), max(0, int(math.ceil(x2 + dx))))
        mask[max(0, int(y1 - dy)) : max(0, int(math.ceil(y2 + dy))), columns] = True
    return mask


def _project(matrix, points):
    moved = np.column_stack([points, np.ones(len(points))]).dot(matrix.T)
    return moved[:, :2] / np.maximum(moved[:, 2:], 1e-6)


def _vector(ego, name):
    value = None if ego is None else getattr(ego, name)
    return value if value is not None and np.isfinite(value).all() else None
