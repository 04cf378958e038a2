"""Small meshes of planar faces, built from convex parts.

A mesh's own frame: x forward, y left, z up, origin on the ground below its middle, metres.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mesh:
    """Faces are quads (a triangle repeats its last corner) in convex parts; all arrays are per vertex or per
    face.

    vertices (n, 3); faces (m, 4) vertex indices; normals (m, 3) outward unit; offsets (m,) = normal . face
    centre; centres (m, 3); material (m,) index into an object's palette; tint (m,) brightness factor; layer
    (m,) painted in this order before depth; two_sided (m,) bool; parts: (first, last) vertex ranges of the
    convex parts.
    """

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    offsets: np.ndarray
    centres: np.ndarray
    material: np.ndarray
    tint: np.ndarray
    layer: np.ndarray
    two_sided: np.ndarray
    parts: tuple[tuple[int, int], ...]

    def scaled(self, scale: np.ndarray) -> "Mesh":
        """A copy stretched by scale (3,) along x, y, z."""
        vertices = self.vertices * scale
        normals = self.normals / scale
        normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        centres = self.centres * scale
        offsets = np.einsum("ij,ij->i", normals, centres)
        rest = (self.material, self.tint, self.layer, self.two_sided, self.parts)
        return Mesh(vertices, self.faces, normals, offsets, centres, *rest)


class Builder:
    """Collects convex parts into one Mesh; rng gives each face a slight tint so that surfaces are not
    flat.
    """

    def __init__(self, rng: np.random.Generator, tint: float = 0.05):
        self._rng, self._tint, self._count = rng, tint, 0
        self._vertices: list[np.ndarray] = []
        self._faces: list[np.ndarray] = []
        self._attributes: list[np.ndarray] = []
        self._parts: list[tuple[int, int]] = []

    def add(self, vertices, faces, material=0, layer=0, two_sided=False, tint=None) -> None:
        """Add one convex part: vertices (n, 3), faces (m, 3 or 4); material and layer are one value or one
        per face.
        """
        vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces, np.int64)
        if faces.shape[1] == 3:
            faces = np.column_stack([faces, faces[:, 2]])
        if not two_sided:
            normals, centres = _planes(vertices, faces)
            inward = np.einsum("ij,ij->i", normals, centres - vertices.mean(axis=0)) < 0
            faces = np.where(inward[:, None], faces[:, [2, 1, 0, 3]], faces)
            triangle = inward & (faces[:, 0] == faces[:, 3])
            faces[triangle, 3] = faces[triangle, 2]
        spread = self._tint if tint is None else tint
        columns = np.empty((len(faces), 4))
        columns[:, 0], columns[:, 1], columns[:, 2] = material, layer, two_sided
        columns[:, 3] = 1 + self._rng.uniform(-spread, spread, len(faces))
        self._vertices.append(vertices)
        self._faces.append(faces + self._count)
        self._attributes.append(columns)
        self._parts.append((self._count, self._count + len(vertices)))
        self._count += len(vertices)

    def build(self) -> Mesh:
        vertices, faces = np.concatenate(self._vertices), np.concatenate(self._faces)
        columns = np.concatenate(self._attributes)
        normals, centres = _planes(vertices, faces)
        offsets = np.einsum("ij,ij->i", normals, centres)
        material, layer = columns[:, 0].astype(np.int64), columns[:, 1].astype(np.int64)
        two_sided, tint = columns[:, 2] > 0, columns[:, 3]
        return Mesh(vertices, faces, normals, offsets, centres, material, tint, layer, two_sided, tuple(self._parts))


def _planes(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals (m, 3) by the right-hand rule and centres (m, 3) of faces (m, 4)."""
    corners = vertices[faces]
    normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.maximum(lengths, 1e-9), corners.mean(axis=1)


def loft(rings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A skin over rings (k, n, 3) of n corners (n even) with both ends closed: vertices (k n, 3), faces (m,
    4).

    The first (k - 1) n faces are the bands, ring by ring; the rest close the first and then the last ring.
    """
    rings = np.asarray(rings, np.float64)
    count, sides = rings.shape[:2]
    corner = np.arange(sides)
    band = np.column_stack([corner, np.roll(corner, -1), np.roll(corner, -1) + sides, corner + sides])
    cap = np.array([(0, i, i + 1, i + 2) for i in range(1, sides - 2, 2)])
    faces = [band + k * sides for k in range(count - 1)] + [cap, cap + (count - 1) * sides]
    return rings.reshape(-1, 3), np.concatenate(faces)


def lathe(profile, centre=(0.0, 0.0, 0.0), sides: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Elliptic rings stacked along z: profile is a list of (z, radius_x, radius_y)."""
    angle = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    rings = [
        np.column_stack([rx * np.cos(angle), ry * np.sin(angle), np.full(sides, z)]) + np.asarray(centre)
        for z, rx, ry in profile
    ]
    return loft(np.stack(rings))


def blob(centre, radii, sides: int = 6, bands: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """A faceted ellipsoid."""
    rx, ry, rz = radii
    latitude = np.linspace(-1.2, 1.2, bands + 1)
    return lathe([(rz * np.sin(a), rx * np.cos(a), ry * np.cos(a)) for a in latitude], centre, sides)


def box(low, high) -> tuple[np.ndarray, np.ndarray]:
    """An axis-aligned box from corner low to corner high."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    ring = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    return loft(np.stack([np.column_stack([ring, np.full(4, z)]) for z in (z0, z1)]))


def tube(start, end, radius0: float, radius1: float, sides: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """A straight limb between two points, its radius going from radius0 to radius1."""
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    axis = (end - start) / np.linalg.norm(end - start)
    helper = np.array([1.0, 0, 0]) if abs(axis[0]) < 0.8 else np.array([0, 1.0, 0])
    u = np.cross(axis, helper)
    u /= np.linalg.norm(u)
    v = np.cross(axis, u)
    angle = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    circle = np.outer(np.cos(angle), u) + np.outer(np.sin(angle), v)
    return loft(np.stack([start + radius0 * circle, end + radius1 * circle]))
