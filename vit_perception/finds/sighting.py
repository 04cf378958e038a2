"""Boxes of one image -> places on flat ground, with what makes them wrong, apart by how long it lasts.

Two kinds of errors. What is new in each look (the box's jitter, the attitude's jitter) is averaged away by many looks.
What lasts (a compass off by degrees, a tilted mount, a drift of the position, clocks apart) is not, however many looks
there are; it counts less only where the same object is seen from another side. Each lasting error is a number of unit
variance, told by name in LASTING, that fades with its own time; a sighting says how much one of it moves the place.
"""

import math

import numpy as np

# Name, and seconds in which it changes (inf: never in a flight). Guesses, but for compass and mount: those stay.
LASTING = (
    ("heading", float("inf")), ("mount_roll", float("inf")), ("mount_pitch", float("inf")),
    ("attitude_roll", 10.0), ("attitude_pitch", 10.0), ("position_east", 60.0), ("position_north", 60.0),
    ("height", 300.0), ("clock", float("inf")), ("posture", float("inf")), ("box_x", 20.0), ("box_y", 20.0),
)  # fmt: skip
FADES_S = np.array([seconds for _, seconds in LASTING])
COUNT = len(LASTING)
# A person's middle is at 0.85 m standing, 0.45 m sitting, 0.15 m lying: with the mean of the first, an error of this.
POSTURE_SIGMA_M = 0.3
# Of a box's centre, parts of its size: what changes from image to image and what stays with the object; as measured of
# uav_thermal's second stage on objects of 15 px; uav_thermal itself has 0.059 and 0.068 there (position_jitter and
# position_bias in offline/simulate/noise.json).
CENTRE_JITTER, CENTRE_BIAS = 0.053, 0.072
ATTITUDE_JITTER_RAD = math.radians(0.15)  # from image to image; a guess
STEEPEST_SIGMAS = 3.0  # a ray must dip by so many sigmas of the attitude, as avoidance/ranging.py asks
LEAST_DIP_RAD = math.radians(8.0)  # and by so much: nearer to the horizon, ground is not flat enough
STEP_S = 0.05  # for the place's rate in time


class Sigmas:
    """Standard deviations of what lasts, as the parameters finds.*_sigma_* give them."""

    __slots__ = ("position_m", "height_m", "heading_rad", "attitude_rad", "mount_rad", "clock_s")

    def __init__(self, position_m=1.5, height_m=0.5, heading_deg=5.0, attitude_deg=1.0, mount_deg=1.0, clock_s=0.1):
        self.position_m, self.height_m, self.clock_s = position_m, height_m, clock_s
        self.heading_rad, self.attitude_rad, self.mount_rad = (
            math.radians(v) for v in (heading_deg, attitude_deg, mount_deg)
        )

    def of(self, pose):
        """(COUNT,) by LASTING, of unit meaning but for the box, whose columns come scaled."""
        position = self.position_m if pose.position_sigma_m is None else max(self.position_m, pose.position_sigma_m)
        return np.array(
            [self.heading_rad, self.mount_rad, self.mount_rad, self.attitude_rad, self.attitude_rad]
            + [position, position, self.height_m, self.clock_s, POSTURE_SIGMA_M, 1.0, 1.0]
        )


class View:
    """A camera at one moment over the ground.

    Args:
        camera: `avoidance.camera.Camera`. mount: `avoidance.geometry.Mount`. pose: `poses.Pose` at the image's stamp.

    Attributes:
        eye (3,): of the camera, metres east, north and above the ground. rotation (3, 3): optical frame -> ENU.
    """

    def __init__(self, camera, mount, pose):
        self.camera, self.mount, self.pose = camera, mount, pose
        arm = pose.rotation.dot(mount.translation)
        self.eye = np.array([pose.position[0] + arm[0], pose.position[1] + arm[1], pose.height_m + arm[2]])
        self.rotation = pose.rotation.dot(mount.rotation)

    def rays(self, points):
        """Pixels (n, 2) -> directions (n, 3) in ENU, of any length."""
        return self.camera.rays(points).dot(self.rotation.T)

    def above_horizon(self):
        """Whether no corner of the image looks down."""
        w, h = self.camera.width, self.camera.height
        return not (self.rays([(0.0, 0.0), (w, 0.0), (0.0, h), (w, h)])[:, 2] < 0).any()

    def ground(self, rays, above_m=0.0):
        """Where rays (n, 3) meet the plane `above_m` over the ground: (n, 2) metres; NaN where they do not."""
        reach = np.full(len(rays), np.nan)
        down = rays[:, 2] < -1e-6
        reach[down] = ((above_m - self.eye[2]) * np.ones(len(rays)))[down] / rays[down, 2]
        if self.eye[2] <= np.max(above_m):
            reach[:] = np.nan
        return self.eye[:2] + reach[:, None] * rays[:, :2]


class Sightings:
    """What one image says of n boxes.

    Attributes:
        places (n, 2): metres east and north; NaN where a box says nothing: at or above the horizon, or near it.
        noise (n, 2, 2): covariance of what is new in each look, m^2.
        lasting (n, 2, COUNT): metres that one unit of each lasting error moves the place.
        carried (n, 2): metres a second at which the place of what stands still in the image moves over the ground.
    """

    __slots__ = ("places", "noise", "lasting", "carried")

    def __init__(self, places, noise, lasting, carried):
        self.places, self.noise, self.lasting, self.carried = places, noise, lasting, carried

    def covariance(self, i):
        """(2, 2) of one place, by this look alone."""
        return self.noise[i] + self.lasting[i].dot(self.lasting[i].T)


def sightings(view, around, boxes, middles_m, sigmas):
    """`Sightings` of boxes.

    Args:
        view: `View` at the image's stamp. around: (pose STEP_S before it, pose STEP_S after), either may be None.
        boxes: (n, 4) x1, y1, x2, y2 pixels. middles_m: (n,) height of the objects' middle above the ground.
        sigmas: `Sigmas`.
    """
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    centres = 0.5 * (boxes[:, :2] + boxes[:, 2:])
    sizes = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
    rays = view.rays(centres)
    places = view.ground(rays, np.asarray(middles_m))
    dip = np.arctan2(-rays[:, 2], np.hypot(rays[:, 0], rays[:, 1]))
    doubt = math.hypot(sigmas.attitude_rad, sigmas.mount_rad)
    places[~(dip > max(LEAST_DIP_RAD, STEEPEST_SIGMAS * doubt))] = np.nan
    down = np.minimum(rays[:, 2], -1e-3)
    reach = (np.asarray(middles_m) - view.eye[2]) / down

    def moved(change):
        """Metres (n, 2) that a change (n, 3) of the rays moves the places."""
        return reach[:, None] * (change[:, :2] - (change[:, 2] / down)[:, None] * rays[:, :2])

    by_x, by_y = (moved(view.rays(centres + step) - rays) for step in ((1.0, 0.0), (0.0, 1.0)))
    roll, pitch = (moved(np.cross(view.pose.rotation[:, i], rays)) for i in (0, 1))
    heading = moved(np.cross((0.0, 0.0, 1.0), rays))
    lower = rays[:, :2] / -down[:, None]  # one metre more below
    lasting = np.zeros((len(boxes), 2, COUNT))
    columns = [heading, roll, pitch, roll, pitch, (1.0, 0.0), (0.0, 1.0), lower]
    carried = _rate(view, around, centres, middles_m)
    columns += [carried, -lower]
    columns += [CENTRE_BIAS * sizes[:, :1] * by_x, CENTRE_BIAS * sizes[:, 1:] * by_y]
    for i, column in enumerate(columns):
        lasting[:, :, i] = column
    lasting *= sigmas.of(view.pose)
    jitter = [CENTRE_JITTER * sizes[:, :1] * by_x, CENTRE_JITTER * sizes[:, 1:] * by_y]
    jitter += [ATTITUDE_JITTER_RAD * roll, ATTITUDE_JITTER_RAD * pitch]
    noise = sum(j[:, :, None] * j[:, None, :] for j in jitter)
    return Sightings(places, noise, lasting, carried)


def _rate(view, around, centres, middles_m):
    """Metres a second (n, 2) at which the places move with the pose's time; 0 where it is not known."""
    if around[0] is None or around[1] is None:
        return np.zeros((len(centres), 2))
    ends = []
    for pose in around:
        moment = View(view.camera, view.mount, pose)
        ends.append(moment.ground(moment.rays(centres), np.asarray(middles_m)))
    rate = (ends[1] - ends[0]) / (2 * STEP_S)
    return np.where(np.isfinite(rate), rate, 0.0)
