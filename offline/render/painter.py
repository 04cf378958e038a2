"""Paints the instances of a scene back to front and counts what of each remains visible."""

from dataclasses import dataclass

import cv2
import numpy as np

from .camera import Camera
from .masks import Masks
from .mesh import Mesh
from .palette import Climate
from .scene import Pose
from .surfaces import SHIFT, Surfaces

NEAR = 0.15  # m; what is closer to the camera is cut away
LIMIT = 30000.0  # px; keeps fixed-point corners in range
MOST = 254  # objects a frame
CUBE = np.array([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)], bool)
TINY = 0.7  # px; faces of a smaller area are left out, their neighbours' outlines cover them


@dataclass
class Painted:
    """One object in one view, in pixels of the canvas.

    box: x1, y1, x2, y2 of the whole silhouette, not clipped to the image; silhouette, seen: pixels inside the
    image, before and after nearer objects were painted.
    """

    pose: Pose
    box: np.ndarray
    silhouette: int = 0
    seen: int = 0


@dataclass
class _View:
    """A pose prepared for painting: vertices in the camera frame, projected pixels, camera position in its
    own frame.
    """

    pose: Pose
    mesh: Mesh
    inside: np.ndarray
    pixels: np.ndarray
    eye: np.ndarray
    near: bool
    box: np.ndarray
    distance: float


def prepare(ground: np.ndarray, factor: int) -> np.ndarray:
    """A canvas to paint on: ground (H, W) or (H, W, 3), `factor` times as large, and one more channel for
    labels.
    """
    size = (ground.shape[1] * factor, ground.shape[0] * factor)
    large = cv2.resize(ground, size, interpolation=cv2.INTER_NEAREST)
    return cv2.merge([large, np.zeros(large.shape[:2], np.uint8)])


def paint(
    canvas: np.ndarray,
    camera: Camera,
    poses: list[Pose],
    t: float,
    climate: Climate,
    surfaces: Surfaces | None = None,
    masks: Masks | None = None,
) -> list[Painted]:
    """Draw objects on canvas (H, W, C + 1) uint8 in place; returns one record per object in view.

    The last channel holds the number (1, 2, ...) of the object that is seen there, in the order of the
    records. surfaces, masks: take the same faces, if wanted.
    """
    views = _in_view(camera, poses, t)
    painted = []
    for label, view in enumerate(_back_to_front(views), start=1):
        visible, outlines = _outlines(camera, view)
        colours = np.column_stack([_shade(view, visible, climate), np.full(len(visible), label)]).tolist()
        for outline, colour in zip(outlines, colours, strict=True):
            if len(outline):
                cv2.fillConvexPoly(canvas, outline, colour, cv2.LINE_8, SHIFT)
        if surfaces is not None:
            surfaces.draw(view.pose, view.mesh.normals[visible], view.mesh.offsets[visible], outlines)
        if masks is not None:
            masks.draw(view.pose.instance.kind, view.mesh.material[visible], outlines)
        silhouette = cv2.countNonZero(cv2.compare(_labels(canvas, view.box), label, cv2.CMP_EQ))
        painted.append(Painted(view.pose, view.box, silhouette))
    seen = np.bincount(cv2.extractChannel(canvas, canvas.shape[2] - 1).ravel(), minlength=len(painted) + 1)
    for label, record in enumerate(painted, start=1):
        record.seen = int(seen[label])
    return painted


def _labels(canvas: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The labels in and closely around a box; one pixel at least."""
    height, width, channels = canvas.shape
    left, top, right, bottom = box.tolist()
    x1, y1 = max(0, min(int(left) - 1, width - 1)), max(0, min(int(top) - 1, height - 1))
    x2, y2 = max(x1 + 1, min(int(right) + 3, width)), max(y1 + 1, min(int(bottom) + 3, height))
    return cv2.extractChannel(canvas[y1:y2, x1:x2], channels - 1)


def _in_view(camera: Camera, poses: list[Pose], t: float) -> list[_View]:
    """Poses that project into the image; the nearest MOST of them."""
    if not poses:
        return []
    centres = camera.to_camera(np.stack([pose.centre for pose in poses]))
    radii = np.array([pose.instance.radius for pose in poses])
    tangent = np.array([camera.width, camera.height]) / 2 / np.array([camera.K[0, 0], camera.K[1, 1]])
    slack = radii[:, None] * np.sqrt(1 + tangent**2)
    inside = (np.abs(centres[:, :2]) < tangent * np.maximum(centres[:, 2:], 0) + slack).all(axis=1)
    inside &= centres[:, 2] > NEAR - radii
    views = [view for k in np.flatnonzero(inside) if (view := _view(camera, poses[k], t)) is not None]
    return sorted(views, key=lambda view: view.distance)[:MOST]


def _view(camera: Camera, pose: Pose, t: float) -> _View | None:
    mesh = pose.instance.mesh(t)
    inside = camera.to_camera(mesh.vertices @ pose.rotation.T + pose.position)
    near = bool((inside[:, 2] < NEAR).any())
    if near:
        pixels = camera.to_pixels(np.maximum(inside, [-np.inf, -np.inf, NEAR]))
        corners = [_cut(inside[face]) for face in mesh.faces]
        kept = np.concatenate([c for c in corners if len(c)] or [np.empty((0, 3))])
        if not len(kept):
            return None
        outline = camera.to_pixels(kept)
    else:
        pixels = outline = camera.to_pixels(inside)
    box = np.concatenate([outline.min(axis=0), outline.max(axis=0)])
    if box[0] > camera.width or box[1] > camera.height or box[2] < -1 or box[3] < -1:
        return None
    eye = (camera.position - pose.position) @ pose.rotation
    return _View(pose, mesh, inside, pixels, eye, near, box, float(np.linalg.norm(pose.centre - camera.position)))


def _cut(polygon: np.ndarray) -> np.ndarray:
    """The part (k, 3) of a polygon (n, 3) in front of the near plane z = NEAR (Sutherland-Hodgman)."""
    if polygon[:, 2].min() >= NEAR:
        return polygon
    result = []
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if a[2] >= NEAR:
            result.append(a)
        if (a[2] >= NEAR) != (b[2] >= NEAR):
            result.append(a + (b - a) * (NEAR - a[2]) / (b[2] - a[2]))
    return np.array(result).reshape(-1, 3)


def _back_to_front(views: list[_View]) -> list[_View]:
    """Far to near; where two overlap in the image, a plane that separates them decides instead of the
    distance.
    """
    order = sorted(views, key=lambda view: -view.distance)
    if len(order) < 2:
        return order
    boxes = np.stack([view.box for view in order])
    overlap = (boxes[:, None, :2] < boxes[None, :, 2:]).all(axis=2)
    far, near = np.nonzero(np.triu(overlap & overlap.T, 1))
    hides = _hides(order, far, near)
    after: list[set[int]] = [set() for _ in order]
    backs, fronts = np.where(hides, far, near), np.where(hides, near, far)
    for back, front in zip(backs.tolist(), fronts.tolist(), strict=True):
        after[front].add(back)
    return _sorted(order, after)


def _sorted(order: list[_View], after: list[set[int]]) -> list[_View]:
    """Topological order: each view follows all in its `after`; the first in line breaks a cycle."""
    waiting, result = list(range(len(order))), []
    done: set[int] = set()
    while waiting:
        ready = next((k for k in waiting if after[k] <= done), waiting[0])
        waiting.remove(ready)
        done.add(ready)
        result.append(order[ready])
    return result


def _hides(views: list[_View], far: np.ndarray, near: np.ndarray) -> np.ndarray:
    """For pairs of indices (p,): True where `near` may hide `far`.

    Judged by the widest gap between the two bounding boxes along the axes of either: what lies on the
    camera's side of a plane in that gap cannot be hidden by the other. Without a gap the nearer centre wins.
    """
    low = np.stack([view.pose.instance.low for view in views])
    high = np.stack([view.pose.instance.high for view in views])
    turn = np.stack([view.pose.rotation for view in views])
    foot = np.stack([view.pose.position for view in views])
    eye = np.stack([view.eye for view in views])
    corners = np.where(CUBE, high[:, None], low[:, None]) @ turn.transpose(0, 2, 1) + foot[:, None]
    gaps, answers = [], []
    for one, other, forward in ((far, near, True), (near, far, False)):
        local = (corners[other] - foot[one][:, None]) @ turn[one]
        gaps += [local.min(axis=1) - high[one], low[one] - local.max(axis=1)]
        answers += [(eye[one] > high[one]) == forward, (eye[one] < low[one]) == forward]
    gap, answer = np.concatenate(gaps, axis=1), np.concatenate(answers, axis=1)
    best = gap.argmax(axis=1)[:, None]
    return np.where(np.take_along_axis(gap, best, 1) > 0, np.take_along_axis(answer, best, 1), True)[:, 0]


def _outlines(camera: Camera, view: _View) -> tuple[np.ndarray, list[np.ndarray]]:
    """The faces (n,) of a view that are seen, back to front, and their outlines in fixed-point pixels."""
    mesh = view.mesh
    visible = np.flatnonzero(mesh.two_sided | (mesh.normals @ view.eye > mesh.offsets))
    if not view.near:
        visible = visible[_areas(view.pixels[mesh.faces[visible]]) > TINY]
    depth = ((mesh.centres[visible] - view.eye) ** 2).sum(axis=1)
    visible = visible[np.lexsort((-depth, mesh.layer[visible]))]
    if view.near:
        cut = (_cut(view.inside[face]) for face in mesh.faces[visible])
        return visible, [to_fixed(camera.to_pixels(corners)) for corners in cut]
    return visible, list(to_fixed(view.pixels)[mesh.faces[visible]])


def _areas(quads: np.ndarray) -> np.ndarray:
    """Areas (n,) of quads (n, 4, 2)."""
    a, b = quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1]
    return 0.5 * np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def to_fixed(pixels: np.ndarray) -> np.ndarray:
    """Pixels as the fixed-point integers that OpenCV draws with."""
    inside = np.maximum(np.minimum(pixels, LIMIT), -LIMIT)  # np.clip costs more than the drawing of a face
    return np.rint(inside * (1 << SHIFT)).astype(np.int32)


def _shade(view: _View, faces: np.ndarray, climate: Climate) -> np.ndarray:
    """Colours (len(faces), C): diffuse light in the colour look, faint sky cooling in the thermal look, then
    haze.
    """
    mesh, instance = view.mesh, view.pose.instance
    normals = mesh.normals[faces] @ view.pose.rotation.T
    if climate.look == "color":
        direct = np.abs(normals @ climate.sun) * mesh.two_sided[faces] + np.maximum(normals @ climate.sun, 0)
        light = climate.shade + (1.12 - climate.shade) * np.minimum(direct, 1) + 0.08 * normals[:, 2]
        tint = mesh.tint[faces]
    else:
        light = 1 - 0.07 * normals[:, 2] + 0.04 * (normals @ climate.sun)
        tint = 1 + 0.6 * (mesh.tint[faces] - 1)
    colour = instance.levels[mesh.material[faces]] * (light * tint)[:, None]
    clear = np.exp(-view.distance / climate.visibility)
    return np.minimum(clear * colour + (1 - clear) * climate.haze, 255.0)
