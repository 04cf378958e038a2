"""A search flight: images and the vehicle's messages in, finds, coverage and files out. What node and replay use."""

import math
import os
import threading
from collections import deque
from typing import Any, Deque

import cv2
import numpy as np

from .area import read_area
from .coverage import Coverage
from .map import FindMap, Look
from .poses import LATE_S, WAIT_S, Poses, clock_was_set
from .sighting import STEP_S, Sigmas, View, sightings
from .wgs84 import LocalFrame, why_no_place
from .writer import Writer

MOST_WAITING = 64  # images that wait for poses
PATH_M = 3.0  # the path keeps a point each so many metres
MOST_PATH = 5000
CROP_PX, CROP_BOXES = 160, 3.0  # a picture's side at most, and in sizes of the box
LEAST_CROP_PX = 48
FAR_M = 20e3  # the flat map is off by 0.1 m at this distance from the first position, and by 1.5 m at 50 km
ROUGH_M = 10.0  # a receiver that is less sure: from 15 to 20 m on, nobody's speed is known well enough for a find
BORDER_PX = 2.0  # a box so near to the image's border is cut: its middle is elsewhere
PARAMETERS = (
    "classes", "heights_m", "min_looks", "min_duration_s", "min_score", "most", "position_sigma_m", "height_sigma_m",
    "heading_sigma_deg", "attitude_sigma_deg", "mount_sigma_deg", "clock_sigma_s", "clock_offset_s", "cell_m", "area",
    "folder", "write_every_s",
)  # fmt: skip


class _Seen:
    """What waits of one image: its stamp, camera, mount, and (track, label, score, box, crop) of each box."""

    __slots__ = ("stamp_s", "camera", "mount", "boxes")

    def __init__(self, stamp_s, camera, mount, boxes):
        self.stamp_s, self.camera, self.mount, self.boxes = stamp_s, camera, mount, boxes


class Search:
    """Collects a flight.

    Args:
        values: {parameter name: value} of the node, the group finds.* among them.
        labels: the model's class names by index.
        warn: warn(kind, sentence), which throttles.
        folder: of the files; None makes one of its own for this flight in the parameter finds.folder, if that is set.

    Attributes:
        finds (`FindMap`), coverage (`Coverage`), frame (`LocalFrame` or None: no position yet), poses (`Poses`).
        placed, unplaced (int): images that had a pose, and that had none.

    Raises:
        PerceptionError: the search area cannot be read.
    """

    def __init__(self, values, labels, warn, folder=None):
        v = {name: values["finds." + name] for name in PARAMETERS}
        wanted = {n.lower(): h for n, h in zip(v["classes"], v["heights_m"])}
        self._middle_m = {i: 0.5 * wanted[n.lower()] for i, n in enumerate(labels) if n.lower() in wanted}
        self._labels, self._warn = labels, warn
        self._classes = v["classes"]
        self._sigmas = Sigmas(v["position_sigma_m"], v["height_sigma_m"], v["heading_sigma_deg"],
                              v["attitude_sigma_deg"], v["mount_sigma_deg"], v["clock_sigma_s"])  # fmt: skip
        self.poses, self.coverage = Poses(v["clock_offset_s"]), Coverage(v["cell_m"])
        self._cell_m = v["cell_m"]
        self.frame: Any = None
        self._strays = 0  # positions in a row that are far from the first
        self.area = read_area(os.path.expanduser(v["area"])) if v["area"] else []
        self.path = []  # (latitude, longitude)
        self._path_end: Any = None
        self._altitude_m: Any = None
        self._newest_s: Any = None  # stamp of the newest image
        self._waiting: Deque[_Seen] = deque()
        self.placed = self.unplaced = 0
        self.lock = threading.RLock()  # who writes now, in another thread, must not see a half of an image
        self.writer: Any = None
        if folder or v["folder"]:
            self.writer = Writer(folder or os.path.expanduser(v["folder"]), folder is None, v["write_every_s"], warn)
        record = self.writer.log if self.writer is not None else None
        self.finds = FindMap(v["min_looks"], v["min_duration_s"], v["min_score"], v["most"], record)

    # The vehicle

    def add_fix(self, stamp_s, latitude_deg, longitude_deg, altitude_m, sigma_m=None):
        """A position as sensor_msgs/NavSatFix tells it; altitude above the ellipsoid or NaN, sigma of one axis."""
        problem = why_no_place(latitude_deg, longitude_deg)
        if problem:
            self._warn("finds_fix", "{}: no finds until that is mended".format(problem))
            return
        height = altitude_m if altitude_m is not None and math.isfinite(altitude_m) else None
        if self.frame is None:
            self._begin(latitude_deg, longitude_deg)
        place = self.frame.to_enu(latitude_deg, longitude_deg)
        if float(np.sqrt(place.dot(place))) > FAR_M:
            self._far_away(latitude_deg, longitude_deg, 1e-3 * float(np.sqrt(place.dot(place))))
            return
        self._strays = 0
        east, north, _ = place.tolist()
        if sigma_m is not None and sigma_m > ROUGH_M:
            text = "the position is sure to {:.3g} m alone: finds are no surer, and of 15 m and more not confirmed"
            self._warn("finds_rough", text.format(sigma_m))
        jumped = self.poses.add_position(stamp_s, east, north, sigma_m)
        if jumped:
            self._warn("finds_jump", jumped)
            return
        self._altitude_m = height
        here = np.array([east, north])
        if self._path_end is None or float(np.hypot(*(here - self._path_end))) > PATH_M:
            self._path_end = here
            self.path.append((latitude_deg, (longitude_deg + 180.0) % 360.0 - 180.0))
            if len(self.path) > MOST_PATH:
                self.path = self.path[::2]

    def _begin(self, latitude_deg, longitude_deg):
        """Make the map about this position."""
        self.frame = LocalFrame(latitude_deg, longitude_deg)
        if not self._middle_m:
            text = "no finds: the model knows none of finds.classes ({}), but {}"
            self._warn("finds_classes", text.format(", ".join(self._classes), ", ".join(self._labels)))
        corners = [self.frame.to_enu(*place) for rings in self.area for ring in rings for place in ring]
        away = min([float(np.sqrt(c.dot(c))) for c in corners] or [0.0])
        if away > FAR_M:
            text = "the search area is {:.0f} km from here: are longitude and latitude in its file in this order?"
            self._warn("finds_area", text.format(1e-3 * away))

    def _far_away(self, latitude_deg, longitude_deg, away_km):
        """A position off the map: before the first find it begins anew there, once three in a row say so."""
        text = "the position is {:.0f} km from the first one: no finds there; configure the node anew for a map there"
        self._strays += 1
        if self.finds.finds or self._strays < 3:
            self._warn("finds_far", text.format(away_km))
            return
        self._strays, self._path_end, self.path = 0, None, []
        self.poses.forget_positions()
        self.coverage = Coverage(self._cell_m)
        self._begin(latitude_deg, longitude_deg)
        self._warn("finds_anew", "the first position was {:.0f} km away: the map begins anew here".format(away_km))

    def add_orientation(self, stamp_s, rotation):
        """The rotation (3, 3) base_link -> ENU, or None: what came was no rotation."""
        if rotation is None or not np.isfinite(rotation).all():
            self._warn("finds_heading", "the orientation that came is no rotation: no finds without a heading")
        else:
            self.poses.add_orientation(stamp_s, rotation)

    def add_height(self, stamp_s, height_m):
        """Height of base_link above the ground; None, zero and less tell that it is not known."""
        if height_m is None or not (math.isfinite(height_m) and height_m > 0):
            told = "not known" if height_m is None else "{:.4g} m".format(height_m)
            self._warn("finds_height", "the height above ground is {}: no finds at it".format(told))
        else:
            self.poses.add_height(stamp_s, height_m)

    # Images

    def add_image(self, stamp_s, tracks, image, order, camera, mount):
        """One image's confirmed tracks; returns the finds that are new or better, of this image and those before.

        Args:
            tracks: of `vit_perception.tracking.tracker.Tracker`; those without a detection in this image are left out.
            image, order: as `vit_perception.images.read.view` returns them; pieces of it are copied.
            camera: `Camera` of the image, or None. mount: `Mount`.
        """
        if camera is None:
            self._warn("finds_camera", "no finds without a calibrated camera: publish camera_info")
            return []
        if not self._in_time(stamp_s):
            return []
        before_s, self._newest_s = self._newest_s or stamp_s, stamp_s
        if clock_was_set(before_s, stamp_s):
            text = "image stamps jumped by {:.0f} s: who was found before may be listed again"
            self._warn("finds_clock", text.format(stamp_s - before_s))
        boxes = []
        for track in tracks:
            middle = self._middle_m.get(track.class_index)
            if middle is not None and track.detection >= 0 and not _cut(track.box, image.shape):
                crop = _crop(image, order, track.box) if self.writer is not None else None
                boxes.append((track.id, track.class_index, track.score, track.box.copy(), crop))
        with self.lock:
            self._waiting.append(_Seen(stamp_s, camera, mount, boxes))
            return self._work(stamp_s)

    def _in_time(self, stamp_s):
        if self.poses.ahead_s(stamp_s) > LATE_S:
            self._unplaced(stamp_s)
            return False
        return True

    def _work(self, newest_s):
        news = []
        while self._waiting:
            seen = self._waiting[0]
            pose = self.poses.at(seen.stamp_s)
            patient = len(self._waiting) <= MOST_WAITING and 0 <= newest_s - seen.stamp_s < WAIT_S
            if pose is None and patient and self.poses.waits(seen.stamp_s):
                break
            self._waiting.popleft()
            if pose is None or self.frame is None:
                self._unplaced(seen.stamp_s)
            else:
                news += self._place(seen, pose)
        if self.writer is not None:
            self.writer.due(self)
        return news

    def _unplaced(self, stamp_s):
        self.unplaced += 1
        late = self.poses.ahead_s(stamp_s) > LATE_S
        if self.placed or late or self.poses.begun(stamp_s) or self.poses.absent():  # else it was before the first
            self._warn("finds_pose", "no find from this image: {}".format(self.poses.missing(stamp_s)))

    def _place(self, seen, pose):
        view = View(seen.camera, seen.mount, pose)
        problem = self._sees_nothing(view)
        if problem:
            self._warn("finds_view", problem)
            return []
        self.placed += 1
        self.coverage.add(seen.stamp_s, view)
        warning = self.coverage.warning()
        if warning:
            self._warn("finds_small", warning)
        around = tuple(self.poses.at(seen.stamp_s + step) for step in (-STEP_S, STEP_S))
        boxes = seen.boxes
        if not boxes:
            self.finds.update(seen.stamp_s, [])
            return []
        found = sightings(
            view, around, [b[3] for b in boxes], np.array([self._middle_m[b[1]] for b in boxes]), self._sigmas
        )
        ground = None if self._altitude_m is None else self._altitude_m - pose.height_m
        looks, crops = [], {}
        for i, (track, label, score, box, crop) in enumerate(boxes):
            if np.isfinite(found.places[i]).all() and np.isfinite(found.lasting[i]).all():
                size = math.sqrt(float((box[2] - box[0]) * (box[3] - box[1])))
                values = (found.places[i], found.noise[i], found.lasting[i], size, ground, found.carried[i])
                looks.append(Look(track, self._labels[label], float(score), *values))
                crops[track] = crop
        pairs = self.finds.update(seen.stamp_s, looks)
        if self.writer is not None:
            for look, find in pairs:
                if look.score >= find.best_score and crops[look.track] is not None:
                    self.writer.picture(find.id, crops[look.track], look.label, look.score, seen.stamp_s)
        return self.finds.news(seen.stamp_s, [f for _, f in pairs])

    def _sees_nothing(self, view):
        """Why a view shows nobody on the ground, as one sentence, or ''."""
        if not view.eye[2] > max(self._middle_m.values() or [0.0]):
            return "the camera is {:.1f} m above the ground: no finds so low".format(view.eye[2])
        if view.above_horizon():
            text = "the whole image is above the horizon: no finds; is the camera's mount right? {}"
            return text.format("obstacles.camera_pitch_deg below 0 looks down")
        return ""

    # What it knows

    def missing(self):
        """What keeps finds from being made just now, as one clause, or ''."""
        if self.frame is None:
            return "no position has come"
        return self.poses.absent()

    def count(self):
        """How many finds there are, in words."""
        found = list(self.finds.finds.values())
        return "{} confirmed finds, {} in all".format(sum(f.confirmed for f in found), len(found))

    def area_rings(self):
        """The search area as rings (n, 2) of metres, as `Coverage.of_area` takes it; [] without one or a position."""
        if self.frame is None:
            return []
        return [[np.array([self.frame.to_enu(*place)[:2] for place in ring]) for ring in rings] for rings in self.area]

    def close(self):
        """Write what is known; the images that still wait are placed or dropped before."""
        if self._waiting:
            self._work(self._waiting[-1].stamp_s + 2 * WAIT_S)
        with self.lock:
            self.finds.settle()
        if self.writer is not None:
            self.writer.close(self)


def _cut(box, shape):
    x1, y1, x2, y2 = (float(v) for v in box)
    whole = x1 >= BORDER_PX and y1 >= BORDER_PX and x2 <= shape[1] - BORDER_PX and y2 <= shape[0] - BORDER_PX
    return not whole  # what is no number is not whole


def _crop(image, order, box):
    """BGR uint8 piece around a box, at most CROP_PX wide and high."""
    x, y = 0.5 * float(box[0] + box[2]), 0.5 * float(box[1] + box[3])
    half = 0.5 * max(CROP_BOXES * max(float(box[2] - box[0]), float(box[3] - box[1])), LEAST_CROP_PX)
    height, width = image.shape[:2]
    x1, x2 = max(int(x - half), 0), min(int(x + half), width)
    y1, y2 = max(int(y - half), 0), min(int(y + half), height)
    if x2 <= x1 or y2 <= y1:
        return None
    piece = image[y1:y2, x1:x2]
    scale = CROP_PX / float(max(piece.shape[:2]))
    if scale < 1:
        piece = cv2.resize(piece, None, None, scale, scale, cv2.INTER_AREA)
    if order == "mono":
        return cv2.cvtColor(piece, cv2.COLOR_GRAY2BGR)
    return cv2.cvtColor(piece, cv2.COLOR_RGB2BGR) if order == "rgb" else piece.copy()
