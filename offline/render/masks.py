"""What every pixel shows: the class of the ground or of the object's face, exactly.

Every face is drawn once more, with its class for a colour; the ground's class comes from the layout, through the same
projection as its texture. Road is what is surfaced with asphalt, with the marks and patches on it; all else that lies
flat is ground.
"""

import cv2
import numpy as np

from .camera import Camera
from .ground import HALF, TEXELS, Layout, to_texel
from .surfaces import SHIFT

CLASSES = ("ground", "road", "roof", "tree", "car", "person", "bicycle", "pole", "wall", "sky")
COLORS = (
    (150, 120, 90), (70, 70, 80), (180, 60, 40), (40, 130, 50), (40, 90, 220),
    (240, 40, 140), (250, 180, 40), (230, 230, 80), (150, 150, 160), (140, 200, 240),
)  # fmt: skip
IGNORE = 255  # of no class: benches, bins and crates
# The class of each kind of object; a bicycle's rider belongs to it.
KINDS = {
    "Tree": "tree",
    "Car": "car",
    "Person": "person",
    "Bicycle": "bicycle",
    "Pole": "pole",
    "Wire": "pole",
    "Wall": "wall",
    "Facade": "wall",
    "Fence": "wall",
    "House": "wall",
}
ROOF = 1  # material of a house's roof
ON_TOP = ("paint", "patch")  # ground materials that lie on others
SPOT = 3.0  # m; smaller patches of the ground are spots on what lies there
HORIZON = 1e-4  # least downward part of a ray that meets the ground, as of the ground's picture


class Masks:
    """The classes in one view. `draw` takes an object's faces back to front, object by object.

    camera: of the canvas that is painted, `factor` times as large as the image. roads: as `road_map` returns it.
    """

    def __init__(self, camera: Camera, factor: int, roads: np.ndarray):
        self._factor = factor
        self._canvas = _ground(camera, roads)

    def draw(self, kind: str, materials: np.ndarray, outlines: list[np.ndarray]) -> None:
        """kind: of the object. materials (n,) and outlines (fixed-point pixels of the canvas): of its faces."""
        of_kind = CLASSES.index(KINDS[kind]) if kind in KINDS else IGNORE
        for material, outline in zip(materials.tolist(), outlines, strict=True):
            if len(outline):
                value = CLASSES.index("roof") if kind == "House" and material == ROOF else of_kind
                cv2.fillConvexPoly(self._canvas, outline, value, cv2.LINE_8, SHIFT)

    def result(self) -> np.ndarray:
        """uint8 (H, W) of the image's size: index into CLASSES, or IGNORE."""
        f = self._factor
        return np.ascontiguousarray(self._canvas[f // 2 :: f, f // 2 :: f])


def road_map(layout: Layout) -> np.ndarray:
    """uint8 map of the ground, 1 where there is road, on the grid of the ground's texture."""
    size = int(2 * HALF * TEXELS)
    road = np.full((size, size), int(layout.base == "asphalt"), np.uint8)
    matrix = to_texel()
    for material, points, width in layout.strokes:
        if material in ON_TOP or (width == 0 and np.ptp(points, axis=0).max() < SPOT):
            continue
        corners = np.round((points @ matrix[:2, :2].T + matrix[:2, 2]) * 16).astype(np.int32)
        value = int(material == "asphalt")
        if width == 0:
            cv2.fillPoly(road, [corners], value, cv2.LINE_8, 4)
        else:
            cv2.polylines(road, [corners], False, value, max(1, round(width * TEXELS)), cv2.LINE_8, 4)
    return road


def _ground(camera: Camera, roads: np.ndarray) -> np.ndarray:
    """uint8 (H, W): ground, road or sky."""
    inverse = np.linalg.inv(camera.K)
    x = inverse[0, 0] * np.arange(camera.width) + inverse[0, 2]
    y = inverse[1, 1] * np.arange(camera.height)[:, None] + inverse[1, 2]
    axis = -camera.rotation[:, 2]
    down = (axis[0] * x + axis[1] * y + axis[2]) / np.sqrt(x * x + y * y + 1)
    matrix = to_texel() @ np.linalg.inv(camera.ground_homography())
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    mask = cv2.warpPerspective(roads, matrix, (camera.width, camera.height), None, flags, cv2.BORDER_REFLECT_101)
    mask[down <= HORIZON] = CLASSES.index("sky")
    return mask


def palette_png(mask: np.ndarray, colors: tuple[tuple[int, int, int], ...] = COLORS) -> bytes:
    """A mask (H, W) of class indices as a palette PNG whose palette holds `colors`."""
    import io

    import PIL.Image

    image = PIL.Image.fromarray(mask, "L")
    image.putpalette([v for color in colors for v in color] + [0] * 3 * (256 - len(colors)))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def class_table() -> str:
    """classes.csv: a name and a colour for each class, in the order of their indices."""
    rows = (f"{name},{r},{g},{b}\n" for name, (r, g, b) in zip(CLASSES, COLORS, strict=True))
    return "name,r,g,b\n" + "".join(rows)
