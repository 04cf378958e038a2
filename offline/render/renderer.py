"""Scene and camera in, image and truth out: the steppable core of the renderer."""

from dataclasses import dataclass

import cv2
import numpy as np

from .camera import Camera
from .masks import Masks, road_map
from .painter import Painted, paint, prepare
from .scene import CLASSES, Pose, Scene
from .sensor import Sensor
from .shadow import cast
from .surfaces import Surfaces

STANDSTILL = 0.02  # m/s; slower closing speeds give no time to contact
OVERSAMPLING = 2  # the scene is painted this many times as large and averaged


@dataclass(frozen=True)
class Truth:
    """What is true of one object in one frame; metres, seconds, radians.

    bbox: x, y, w, h in pixels of the whole silhouette (hidden parts included) clipped to the image, in edge
    coordinates: pixel i covers i .. i + 1. visible: share of the silhouette inside the image that nothing
    nearer hides. truncated: share of the silhouette's box that lies outside the image. distance_m: from the
    camera to the nearest point of the object's (oriented) bounding box; range_m: to its centre. depth_m:
    smallest depth along the optical axis of that bounding box. closing_mps: -d(range_m)/dt. ttc_s: depth_m /
    -d(depth_m)/dt at the present velocities, the camera's turning left out: this is s / (ds/dt) of the box of
    an object ahead. inf when it does not close in, or lies beside or behind the camera. bearing_rad: atan2(X,
    Z) of the centre in the camera frame, right positive; elevation_rad: up positive.
    """

    track_id: int
    kind: str
    bbox: tuple[float, float, float, float]
    visible: float
    truncated: float
    distance_m: float
    range_m: float
    depth_m: float
    closing_mps: float
    ttc_s: float
    bearing_rad: float
    elevation_rad: float

    @property
    def label(self) -> int | None:
        """Index into CLASSES, None for clutter and obstacles."""
        return CLASSES.index(self.kind) if self.kind in CLASSES else None


@dataclass(frozen=True)
class Frame:
    """image (H, W) uint8 or (H, W, 3) BGR uint8, stamp in seconds, truth of every object in view, and the
    camera. depth (H, W) float32: metres along the optical axis, inf in the sky; None unless the renderer measures it.
    mask (H, W) uint8: classes (masks.py); None unless the renderer draws it.
    """

    image: np.ndarray
    stamp_s: float
    objects: list[Truth]
    camera: Camera
    depth: np.ndarray | None = None
    mask: np.ndarray | None = None


class Renderer:
    """Renders one scene for one sensor; `render` depends on its arguments and the seed alone, so any order
    gives the same.

    depth: measure it in every frame. masks: draw them. texture: grey levels (2 sigma) of noise that is fixed to each
    object; 0 leaves their faces flat. What turns as it moves has its noise turn less than itself.
    """

    def __init__(
        self,
        scene: Scene,
        width: int,
        height: int,
        seed: int = 0,
        depth: bool = False,
        texture: float = 0.0,
        masks: bool = False,
    ):
        self.scene, self._seed, self._depth, self._texture = scene, seed, depth, texture
        self._roads = road_map(scene.layout) if masks else None
        self._sensor = Sensor(scene.look, width, height, seed)

    def render(self, camera: Camera, t: float) -> Frame:
        """The view of `camera` at time t (s); the camera must be above the ground."""
        scene, poses = self.scene, self.scene.poses(t)
        ground = scene.ground.paint(camera)  # filtered by its pyramid, so it needs no oversampling
        cast(ground, camera, poses, t, scene.climate)
        canvas = prepare(ground, OVERSAMPLING)
        large = camera.scaled(OVERSAMPLING)
        surfaces = Surfaces(large, OVERSAMPLING) if self._depth or self._texture else None
        masks = None if self._roads is None else Masks(large, OVERSAMPLING, self._roads)
        painted = paint(canvas, large, poses, t, scene.climate, surfaces, masks)
        picture = cv2.resize(canvas, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
        picture = np.ascontiguousarray(picture[:, :, 0] if scene.look == "thermal" else picture[:, :, :3])
        if surfaces is not None and self._texture:
            picture = surfaces.textured(picture, self._texture, self._seed)
        image = self._sensor.apply(picture, int(round(t * 1e4)))
        objects = [truth for record in painted if (truth := _truth(record, camera)) is not None]
        depth = surfaces.measure()[0] if surfaces is not None and self._depth else None
        mask = None if masks is None else masks.result()
        return Frame(image, t, sorted(objects, key=lambda truth: truth.track_id), camera, depth, mask)


def _truth(painted: Painted, camera: Camera) -> Truth | None:
    """Measure one painted object; None if no pixel of it lies inside the image."""
    if painted.silhouette == 0:
        return None
    x1, y1, x2, y2 = ((painted.box + 0.5) / OVERSAMPLING).tolist()
    left, top, right, bottom = max(x1, 0.0), max(y1, 0.0), min(x2, camera.width), min(y2, camera.height)
    if right <= left or bottom <= top:
        return None
    truncated = 1 - (right - left) * (bottom - top) / ((x2 - x1) * (y2 - y1))
    pose = painted.pose
    bbox = (left, top, right - left, bottom - top)
    return Truth(
        pose.track_id,
        pose.instance.kind,
        bbox,
        painted.seen / painted.silhouette,
        truncated,
        **_relative(pose, camera),
    )


def _relative(pose: Pose, camera: Camera) -> dict[str, float]:
    low, high = pose.instance.low, pose.instance.high
    eye = (camera.position - pose.position) @ pose.rotation
    line = pose.centre - camera.position
    reach = float(np.linalg.norm(line))
    motion = pose.velocity - camera.velocity
    axis = camera.rotation[2]
    half = 0.5 * (high - low)
    depth = float(axis @ line - np.abs(axis @ pose.rotation) @ half)
    approach = -float(axis @ motion)
    x, y, z = camera.rotation @ line
    return {
        "distance_m": float(np.linalg.norm(eye - np.minimum(np.maximum(eye, low), high))),
        "range_m": reach,
        "depth_m": depth,
        "closing_mps": -float(line @ motion) / reach,
        "ttc_s": depth / approach if approach > STANDSTILL and depth > 0 else float("inf"),
        "bearing_rad": float(np.arctan2(x, z)),
        "elevation_rad": float(np.arctan2(-y, np.hypot(x, z))),
    }
