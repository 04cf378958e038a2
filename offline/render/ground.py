"""The textured ground: a procedural map of materials, painted once per scene, warped into each view."""

from dataclasses import dataclass

import cv2
import numpy as np

from .camera import Camera
from .palette import GROUND, MATERIALS, Climate, ground_levels

HALF = 80.0  # the map covers x and y in -HALF .. HALF metres; beyond, it repeats mirrored
TEXELS = 8  # per metre
LEVELS = 5  # of the image pyramid
DETAIL_TEXELS = 48  # per metre, of the fine grain seen from close by


@dataclass(frozen=True)
class Road:
    """A straight road through `point` (2,) with heading yaw (rad, ENU) and width in metres."""

    point: np.ndarray
    yaw: float
    width: float

    @property
    def along(self) -> np.ndarray:
        return np.array([np.cos(self.yaw), np.sin(self.yaw)])

    @property
    def left(self) -> np.ndarray:
        return np.array([-np.sin(self.yaw), np.cos(self.yaw)])

    def at(self, s: float, offset: float) -> np.ndarray:
        """The point s metres along the centre line and `offset` metres to its left."""
        return self.point + s * self.along + offset * self.left


@dataclass(frozen=True)
class Layout:
    """What lies where: strokes are (material name, polygon (n, 2) m or polyline, width m; width 0 fills) in
    order.
    """

    base: str
    strokes: list[tuple[str, np.ndarray, float]]
    roads: list[Road]
    lots: list[Road]  # rows of parking bays, bays across `along`


def draw_layout(rng: np.random.Generator) -> Layout:
    base = str(rng.choice(["grass", "meadow", "asphalt", "concrete", "soil", "paving"]))
    strokes: list[tuple[str, np.ndarray, float]] = []
    for _ in range(rng.integers(6, 14)):
        material = str(
            rng.choice(["grass", "meadow", "field", "soil", "concrete", "paving", "gravel", "asphalt", "water"])
        )
        strokes.append((material, _polygon(rng), 0.0))
    _court(strokes, rng)
    yaw = rng.uniform(0, np.pi)
    roads = [Road(rng.uniform(-8, 8, 2), yaw, rng.uniform(6, 9))]
    if rng.random() < 0.6:
        roads.append(Road(rng.uniform(-25, 25, 2), yaw + np.pi / 2 + rng.uniform(-0.2, 0.2), rng.uniform(5, 7)))
    for road in roads:
        side = road.width / 2 + rng.uniform(1.5, 3)
        for sign in (-1, 1):
            strokes.append(("paving", _line(road, sign * side), rng.uniform(1.2, 2.2)))
    for road in roads:
        strokes.append(("asphalt", _line(road, 0.0), road.width))
    for road in roads:
        _markings(strokes, road, rng)
    lots = [_lot(strokes, roads[0], sign, rng) for sign in (-1, 1) if rng.random() < 0.75]
    for _ in range(rng.integers(10, 30)):
        material = str(rng.choice(["patch", "concrete", "soil", "patch"]))
        strokes.append((material, _polygon(rng, 0.2, 1.0, 5), 0.0))
    return Layout(base, strokes, roads, lots)


def _polygon(rng: np.random.Generator, low: float = 8.0, high: float = 30.0, corners: int = 0) -> np.ndarray:
    corners = corners or int(rng.choice([4, 4, 4, 9]))
    angle = 2 * np.pi * (np.arange(corners) + rng.uniform(0, 1)) / corners
    radius = rng.uniform(low, high) * (1 if corners == 4 else rng.uniform(0.7, 1.2, corners))
    shape = np.column_stack([radius * np.cos(angle), radius * np.sin(angle) * rng.uniform(0.4, 1)])
    yaw = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    return shape @ turn.T + rng.uniform(-0.8 * HALF, 0.8 * HALF, 2)


def _line(road: Road, offset: float, start: float = -250.0, stop: float = 250.0) -> np.ndarray:
    return np.stack([road.at(start, offset), road.at(stop, offset)])


def _markings(strokes: list, road: Road, rng: np.random.Generator) -> None:
    for sign in (-1, 1):
        strokes.append(("paint", _line(road, sign * (road.width / 2 - 0.3)), 0.15))
    for s in np.arange(-100, 100, 9.0):
        strokes.append(("paint", _line(road, 0.0, s, s + 4), 0.15))
    crossing = rng.uniform(-30, 30)
    for offset in np.arange(-road.width / 2 + 0.6, road.width / 2 - 0.4, 1.0):
        strokes.append(("paint", _line(road, offset, crossing, crossing + 3), 0.45))


def _court(strokes: list, rng: np.random.Generator) -> None:
    """A sports court: its lines are the kind of clutter that a detector must ignore."""
    if rng.random() < 0.5:
        return
    road = Road(rng.uniform(-40, 40, 2), rng.uniform(0, np.pi), 15.0)
    corners = np.stack([road.at(s, o) for s, o in ((-14, -7.5), (14, -7.5), (14, 7.5), (-14, 7.5), (-14, -7.5))])
    strokes.append(("court", corners, 0.0))
    strokes.append(("paint", corners, 0.1))
    angle = np.linspace(0, 2 * np.pi, 25)
    for centre, radius in ((0, 1.8), (-12, 6), (12, 6)):
        arc = np.stack([road.at(centre + radius * np.cos(a), radius * np.sin(a)) for a in angle])
        strokes.append(("paint", arc, 0.1))


def _lot(strokes: list, road: Road, sign: int, rng: np.random.Generator) -> Road:
    start, bays = rng.uniform(-35, 5), int(rng.integers(5, 12))
    offset = sign * (road.width / 2 + 6.5)
    lot = Road(road.at(start, offset), road.yaw, 2.7 * bays)
    strokes.append(("asphalt", _line(lot, 0.0, -1, lot.width + 1), 6.0))
    for k in range(bays + 1):
        strokes.append(("paint", np.stack([lot.at(2.7 * k, -2.5), lot.at(2.7 * k, 2.5)]), 0.12))
    return lot


def to_texel() -> np.ndarray:
    """Ground metres (x, y, 1) to texel coordinates, row 0 in the north."""
    return np.array([[TEXELS, 0, HALF * TEXELS - 0.5], [0, -TEXELS, HALF * TEXELS - 0.5], [0, 0, 1.0]])


def _noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Smooth noise (size, size) float32 in about -1 .. 1 with `cells` random values a side."""
    grid = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return cv2.resize(grid, (size, size), interpolation=cv2.INTER_LINEAR if 2 * cells >= size else cv2.INTER_CUBIC)


class Ground:
    """The ground of one scene in one look; `paint` draws it from any camera above it."""

    def __init__(self, layout: Layout, climate: Climate, seed: int):
        self.climate = climate
        rng = np.random.default_rng([seed, 11])
        texture = _texture(layout, climate, rng)
        self._pyramid = [texture]
        for _ in range(LEVELS - 1):
            self._pyramid.append(cv2.pyrDown(self._pyramid[-1]))
        grain = rng.normal(0, 1, (384, 384)).astype(np.float32)
        for axis in (0, 1):  # smooth across the seams too, the grain repeats
            grain = (2 * grain + np.roll(grain, 1, axis) + np.roll(grain, -1, axis)) / 2.5
        strength = 9 if climate.look == "thermal" else 20
        self._detail = np.clip(128 + strength * grain, 0, 255).astype(np.uint8)

    def paint(self, camera: Camera) -> np.ndarray:
        """Sky and ground, uint8 (H, W) or (H, W, 3)."""
        shape = (camera.height, camera.width) if self.climate.channels == 1 else (camera.height, camera.width, 3)
        canvas = np.empty(shape, np.uint8)
        down = _down_component(camera)
        distance = self._distance(camera, down)
        for first, last, level in _bands(camera, distance[:, camera.width // 8]):
            self._warp(canvas[first:last], camera, first, level)
        self._air(canvas, distance)
        return canvas

    def _warp(self, band: np.ndarray, camera: Camera, first: int, level: int) -> None:
        """Fill the rows from `first` of the view from one pyramid level, with fine grain where it is near."""
        shift = np.array([[1, 0, 0], [0, 1, -first], [0, 0, 1.0]]) @ camera.ground_homography()
        size = (band.shape[1], band.shape[0])
        factor = 0.5 ** max(level, 0)
        shrink = np.diag([factor, factor, 1.0])
        shrink[:2, 2] = 0.5 * factor - 0.5
        matrix = shrink @ to_texel() @ np.linalg.inv(shift)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        source = self._pyramid[max(level, 0)]
        cv2.warpPerspective(source, matrix, size, band, flags, cv2.BORDER_REFLECT_101)
        if level < 0:
            fine = np.diag([DETAIL_TEXELS, DETAIL_TEXELS, 1.0]) @ np.linalg.inv(shift)
            grain = cv2.warpPerspective(self._detail, fine, size, None, flags, cv2.BORDER_WRAP)
            if band.ndim == 3:
                grain = cv2.merge([grain] * 3)
            cv2.multiply(band, grain, band, 1 / 128)

    def _distance(self, camera: Camera, down: np.ndarray) -> np.ndarray:
        """Metres along each ray of a quarter-size view to the ground, inf in the sky; (H // 4 + 1, W // 4 +
        1).
        """
        with np.errstate(divide="ignore"):
            return np.where(down > 1e-4, camera.position[2] / np.maximum(down, 1e-4), np.inf).astype(np.float32)

    def _air(self, canvas: np.ndarray, distance: np.ndarray) -> None:
        """Fade the far ground into haze; the sky is all haze."""
        far = float(distance.max())
        if far < 0.15 * self.climate.visibility:
            return
        fog = 1 - np.exp(-np.minimum(distance, 1e5) / self.climate.visibility)
        size = (canvas.shape[1], canvas.shape[0])
        alpha = cv2.resize((255 * fog).astype(np.uint8), size, interpolation=cv2.INTER_LINEAR)
        air = [cv2.convertScaleAbs(alpha, alpha=level / 255) for level in self.climate.haze]
        clear = 255 - alpha
        if canvas.ndim == 3:
            clear = cv2.merge([clear] * 3)
        cv2.add(cv2.multiply(canvas, clear, scale=1 / 255), np.squeeze(cv2.merge(air)), canvas)


def _down_component(camera: Camera) -> np.ndarray:
    """Downward part of the unit ray of every fourth pixel, (H // 4 + 1, W // 4 + 1)."""
    inverse = np.linalg.inv(camera.K)
    u = 4.0 * np.arange(camera.width // 4 + 1)
    v = 4.0 * np.arange(camera.height // 4 + 1)[:, None]
    x, y = inverse[0, 0] * u + inverse[0, 2], inverse[1, 1] * v + inverse[1, 2]
    axis = -camera.rotation[:, 2]
    return (axis[0] * x + axis[1] * y + axis[2]) / np.sqrt(x * x + y * y + 1)


def _bands(camera: Camera, distance: np.ndarray) -> list[tuple[int, int, int]]:
    """Runs of rows (first, last, pyramid level); level -1 is the full texture seen from so close that it
    needs grain.

    distance: metres to the ground of every fourth row. A pixel's footprint is taken as the geometric mean of
    its width and its length on the ground, so that neither aliasing nor blur wins.
    """
    rows = np.minimum(distance, 1e4)
    footprint = rows / camera.K[0, 0] * np.sqrt(np.maximum(rows / camera.position[2], 1))
    level = np.floor(np.log2(np.maximum(footprint * TEXELS, 1e-6)) + 0.5)
    level = np.clip(np.where(level < 0, -1, level), -1, LEVELS - 1).astype(int)
    bands, start = [], 0
    for k in range(1, len(level) + 1):
        if k == len(level) or level[k] != level[start]:
            first, last = 4 * start, camera.height if k == len(level) else 4 * k
            if last > first:
                bands.append((first, min(last, camera.height), int(level[start])))
            start = k
    return bands


def _texture(layout: Layout, climate: Climate, rng: np.random.Generator) -> np.ndarray:
    """The map in this look, uint8 (size, size) or (size, size, 3)."""
    size = int(2 * HALF * TEXELS)
    labels = np.full((size, size), MATERIALS.index(layout.base), np.uint8)
    matrix = to_texel()
    for material, points, width in layout.strokes:
        texels = points @ matrix[:2, :2].T + matrix[:2, 2]
        corners = np.round(texels * 16).astype(np.int32)
        if width == 0:
            cv2.fillPoly(labels, [corners], MATERIALS.index(material), cv2.LINE_8, 4)
        else:
            thickness = max(1, round(width * TEXELS))
            cv2.polylines(labels, [corners], False, MATERIALS.index(material), thickness, cv2.LINE_8, 4)
    levels = ground_levels(climate, rng)
    table = np.zeros((256, climate.channels), np.uint8)
    table[: len(levels)] = levels
    grain = np.zeros(256, np.float32)
    grain[: len(MATERIALS)] = [GROUND[name][2] for name in MATERIALS]
    coarse = _noise(rng, size // 4, 12) * 0.5 + _noise(rng, size // 4, 60) * 0.5
    noise = cv2.resize(coarse, (size, size)) + _noise(rng, size, 320) * 0.6 + _noise(rng, size, size // 2) * 0.7
    noise *= cv2.LUT(labels, grain * (0.1 if climate.look == "thermal" else 0.2))
    noise += 1 + cv2.resize(_noise(rng, size // 8, 6) * 0.08, (size, size))
    planes = [cv2.GaussianBlur(cv2.LUT(labels, table[:, c]), (3, 3), 0.7) for c in range(climate.channels)]
    planes = [cv2.multiply(plane, noise, dtype=cv2.CV_8U) for plane in planes]
    return planes[0] if len(planes) == 1 else cv2.merge(planes)
