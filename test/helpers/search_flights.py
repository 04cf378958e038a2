"""A vehicle that flies over people on flat ground, and exactly what its camera sees: for tests of finds."""

import math

import numpy as np

from vit_perception.avoidance.camera import Camera
from vit_perception.avoidance.geometry import Mount, rotation_z
from vit_perception.finds.search import Search
from vit_perception.parameters import SPECS

ORIGIN = (47.4, 8.5)
CAMERA = Camera(600.0, 600.0, 320.0, 256.0, 640, 512)
DOWN = Mount.from_angles(pitch_deg=-60.0)
BLACK = np.zeros((512, 640), np.uint8)
MIDDLE_M = 0.85


class Track:
    """As `vit_perception.tracking.tracker.Track`, as far as finds need it."""

    def __init__(self, track_id, box, score=0.8, class_index=0):
        self.id, self.box, self.score, self.class_index = track_id, np.array(box, np.float32), score, class_index
        self.detection = 0


def values(**changes):
    """The node's parameters; a__b is a.b."""
    defaults = {s.name: s.default for s in SPECS} | {"finds.folder": ""}
    return defaults | {k.replace("__", "."): v for k, v in changes.items()}


def make_search(warn=lambda kind, text: None, folder=None, **changes):
    return Search(values(**changes), ["person", "car"], warn, folder)


def box_of(place, position, rotation, mount=DOWN, size=20.0):
    """The box (4,) of somebody at `place` (2,) m, or None if it is not wholly in the image."""
    eye = np.array(position) + rotation @ mount.translation
    x, y, z = (rotation @ mount.rotation).T @ (np.array([place[0], place[1], MIDDLE_M]) - eye)
    if z <= 0:
        return None
    u, v = CAMERA.fx * x / z + CAMERA.cx, CAMERA.fy * y / z + CAMERA.cy
    half = 0.5 * size
    inside = half + 3 < u < CAMERA.width - half - 3 and half + 3 < v < CAMERA.height - half - 3
    return np.array([u - half, v - half, u + half, v + half]) if inside else None


class Flight:
    """Flies a `Search` over people; time goes on from call to call.

    people: {name: place(t) -> (2,) m}. What the vehicle tells may be wrong: heading_error rad, offset (2,) m.
    """

    def __init__(self, search, people, height=30.0, fps=10.0, start_s=1.7e9, heading_error=0.0, offset=(0.0, 0.0)):
        self.search, self.people, self.height, self.dt = search, people, height, 1.0 / fps
        self.t, self._begun_s, self._next_track, self._tracks = 0.0, start_s, 1, {}
        self.heading_error, self.offset, self.news = heading_error, np.array(offset), []
        self.hidden, self._frame = set(), None

    @property
    def now_s(self):
        return self._begun_s + self.t

    def tell(self, position, rotation, stamp_s):
        told = np.array(position[:2]) + self.offset
        if self.search.frame is None:
            self.search.add_fix(stamp_s - 1.0, *ORIGIN, 430.0)
        latitude, longitude, _ = self.search.frame.to_geodetic(*told)
        self.search.add_fix(stamp_s, latitude, longitude, 430.0)
        self.search.add_orientation(stamp_s, rotation_z(self.heading_error) @ rotation)
        self.search.add_height(stamp_s, position[2])

    def line(self, start, stop, speed=6.0, yaw=None, mount=DOWN):
        """From start to stop, (2,) m, looking ahead, or to `yaw`."""
        start, stop = np.array(start, float), np.array(stop, float)
        length = float(np.hypot(*(stop - start)))
        yaw = math.atan2(stop[1] - start[1], stop[0] - start[0]) if yaw is None else yaw
        rotation = rotation_z(yaw)
        for i in range(int(length / speed / self.dt) + 1):
            place = start + (stop - start) * min(speed * i * self.dt / max(length, 1e-9), 1.0)
            position = (*place, self.height)
            self.tell(position, rotation, self.now_s)
            tracks = []
            for name, where in self.people.items():
                box = None if name in self.hidden else box_of(where(self.t), position, rotation, mount)
                if box is None:
                    self._tracks.pop(name, None)
                    continue
                if name not in self._tracks:
                    self._tracks[name], self._next_track = self._next_track, self._next_track + 1
                tracks.append(Track(self._tracks[name], box))
            self.news += self.search.add_image(self.now_s, tracks, BLACK, "mono", CAMERA, mount)
            self.t += self.dt
        self.tell((*stop, self.height), rotation, self.now_s)

    def pause(self, seconds):
        self.t += seconds

    def end(self):
        """The flight ends: who is still in view is compared with those of before too."""
        self.search.finds.settle()

    def confirmed(self):
        return [f for f in self.search.finds.finds.values() if f.confirmed]


def stands(x, y):
    return lambda t: np.array([x, y], float)


def walks(x, y, east, north):
    return lambda t: np.array([x + east * t, y + north * t])
