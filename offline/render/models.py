"""Meshes of what stands or moves in a scene. Every maker takes a generator and returns one Mesh at life size.

Materials index the palettes of palette.py, by kind: Person skin, top, trousers, hair, bag. Car body, glass,
rubber, lamp, tail, roof, bonnet. Bicycle tyre, frame, seat, motor, then the five of its rider. Tree bark,
leaf. Pole, Wall and Clutter face, cap. Facade wall, window.
House wall, roof. Fence post, rail. Wire mast, cable.
"""

from functools import lru_cache

import numpy as np

from .mesh import Builder, Mesh, blob, box, lathe, loft, tube

GAIT = 6  # poses of one stride, and of one turn of the pedals
RIDER = 4  # first material of a rider on a bicycle


def person(rng: np.random.Generator, phase: float, build: int) -> Mesh:
    """A walker at `phase` (radians) of the stride; build picks clothes and luggage."""
    mesh = Builder(rng)
    swing = 0.32 * np.sin(phase)
    for side in (-1, 1):
        foot = (side * swing, side * 0.1, 0.06)
        knee = (side * swing * 0.45 + 0.06, side * 0.1, 0.48)
        mesh.add(*tube((0, side * 0.09, 0.92), knee, 0.1, 0.08), material=2)
        mesh.add(*tube(knee, foot, 0.08, 0.06), material=2)
        hand = (-side * swing * 0.8 + 0.05, side * 0.29, 0.88)
        mesh.add(*tube((0, side * 0.22, 1.42), hand, 0.065, 0.05), material=1)
    _torso(mesh, np.zeros(3), (0, 1, 3))
    if build % 4 == 1:  # backpack
        mesh.add(*box((-0.32, -0.16, 0.98), (-0.12, 0.16, 1.42)), material=4)
    if build % 4 == 2:  # coat or skirt
        mesh.add(*lathe([(0.5, 0.2, 0.25), (0.95, 0.14, 0.19)]), material=1)
    if build % 8 == 3:  # hat with a brim
        mesh.add(*lathe([(1.69, 0.2, 0.2), (1.74, 0.12, 0.12)], sides=8), material=4)
    return mesh.build()


def _torso(mesh: Builder, shift, materials: tuple[int, int, int], lean: float = 0.0, layer: int = 0) -> None:
    """Trunk and head, hips at z = 0.86 + shift, the shoulders `lean` metres forward; materials: skin, top,
    hair.
    """
    vertices, faces = lathe([(0.86, 0.13, 0.18), (1.15, 0.12, 0.17), (1.42, 0.13, 0.22), (1.5, 0.07, 0.1)])
    vertices[:, 0] += lean * (vertices[:, 2] - 0.86) / 0.6
    mesh.add(vertices + shift, faces, material=materials[1], layer=layer)
    head = np.array([lean * 1.15, 0, 1.62]) + shift
    mesh.add(*blob(head, (0.11, 0.09, 0.14)), material=materials[0], layer=layer)
    hair = lathe([(0.02, 0.12, 0.1), (0.14, 0.08, 0.06)], head + [-0.02, 0, 0])
    mesh.add(*hair, material=materials[2], layer=layer)


def bicycle(rng: np.random.Generator, phase: float, build: int) -> Mesh:
    """A bicycle (build even: plain, odd: electric with a battery box), ridden unless build % 3 == 0."""
    mesh = Builder(rng)
    heavy = build % 2
    radius, width = 0.34, 0.03 + 0.03 * heavy
    for x in (-0.53, 0.53):
        _wheel(mesh, x, radius, width)
    crank, saddle, head, bar = (-0.08, 0, 0.3), (-0.22, 0, 0.92), (0.38, 0, 0.85), (0.36, 0, 1.02)
    stems = [(crank, saddle), (crank, head), ((-0.18, 0, 0.78), head), ((-0.53, 0, 0.34), crank)]
    for start, end in stems + [(head, (0.53, 0, 0.34)), (head, bar), ((-0.53, 0, 0.34), (-0.19, 0, 0.8))]:
        mesh.add(*tube(start, end, 0.025 + 0.01 * heavy, 0.025), material=1, layer=1)
    mesh.add(*tube((0.36, -0.3, 1.03), (0.36, 0.3, 1.03), 0.025, 0.025), material=1, layer=2)
    mesh.add(*box((-0.36, -0.08, 0.9), (-0.08, 0.08, 0.97)), material=2, layer=2)
    if heavy:
        mesh.add(*box((-0.2, -0.09, 0.28), (0.3, 0.09, 0.5)), material=3, layer=1)
        mesh.add(*box((-0.75, -0.16, 0.72), (-0.4, 0.16, 0.98)), material=2, layer=2)
    elif build % 4 == 2:  # front basket
        mesh.add(*box((0.42, -0.17, 0.78), (0.7, 0.17, 1.02)), material=3, layer=2)
    if build % 3:
        _rider(mesh, phase)
    return mesh.build()


def _wheel(mesh: Builder, x: float, radius: float, width: float, sides: int = 10) -> None:
    angle = 2 * np.pi * np.arange(sides) / sides
    circle = np.column_stack([np.cos(angle), np.zeros(sides), np.sin(angle)])
    middle = np.array([x, 0, radius])
    left, right = [middle + radius * circle + [0, side * width, 0] for side in (-1, 1)]
    inner = middle + 0.8 * radius * circle
    corner, following = np.arange(sides), np.roll(np.arange(sides), -1)
    tread = np.column_stack([corner, following, following + sides, corner + sides])
    rim = np.column_stack([corner, following, following + 2 * sides, corner + 2 * sides])
    mesh.add(np.concatenate([left, right, inner]), np.concatenate([tread, rim]), material=0, two_sided=True)


def _rider(mesh: Builder, phase: float) -> None:
    shift, skin, top, legs, hair = np.array([-0.2, 0, 0.1]), RIDER, RIDER + 1, RIDER + 2, RIDER + 3
    for side in (-1, 1):
        turn = phase + (np.pi if side > 0 else 0.0)
        foot = np.array([-0.08 + 0.16 * np.cos(turn), side * 0.13, 0.3 + 0.16 * np.sin(turn)])
        knee = np.array([0.14 + 0.06 * np.cos(turn), side * 0.13, 0.72 + 0.1 * np.sin(turn)])
        mesh.add(*tube((-0.2, side * 0.09, 0.98), knee, 0.1, 0.08), material=legs, layer=3)
        mesh.add(*tube(knee, foot, 0.08, 0.055), material=legs, layer=3)
        mesh.add(*tube((0.08, side * 0.2, 1.48), (0.36, side * 0.27, 1.05), 0.06, 0.05), material=top, layer=3)
    _torso(mesh, shift, (skin, top, hair), lean=0.28, layer=3)


# Metres: length, half width, sill, bonnet, roof; then the ends of the cabin at sill and roof, of the length.
CARS = {
    "sedan": (4.6, 0.9, 0.3, 0.85, 1.45, (-0.40, 0.22), (-0.26, 0.06)),
    "hatch": (4.0, 0.87, 0.3, 0.9, 1.5, (-0.48, 0.24), (-0.42, 0.08)),
    "suv": (4.7, 0.95, 0.38, 1.05, 1.75, (-0.49, 0.22), (-0.44, 0.10)),
    "van": (5.0, 0.97, 0.35, 1.1, 2.05, (-0.495, 0.40), (-0.49, 0.26)),
    "pickup": (5.2, 0.95, 0.45, 1.0, 1.75, (-0.10, 0.24), (-0.06, 0.12)),
}


def car(rng: np.random.Generator, style: str) -> Mesh:
    length, half, sill, waist = CARS[style][:4]
    mesh = Builder(rng, 0.03)
    stations = [(-0.5, 0.42, 0.75, 0.86), (-0.46, sill, waist, 0.98), (0.2, sill, waist + 0.04, 1.0)]
    stations += [(0.44, sill, waist - 0.12, 0.97), (0.5, 0.42, waist - 0.28, 0.82)]
    rings = [
        [
            (x * length, -w * half, z0),
            (x * length, w * half, z0),
            (x * length, w * half, z1),
            (x * length, -w * half, z1),
        ]
        for x, z0, z1, w in stations
    ]
    body = np.zeros(4 * 4 + 2, np.int64)
    body[[10, 14]] = 6  # tops of the two front bands are the bonnet
    if style == "pickup":
        body[[2, 6]] = 2  # the open bed
    mesh.add(*loft(np.array(rings)), material=body)
    for x in (-0.31 * length, 0.31 * length):
        for side in (-1, 1):
            _car_wheel(mesh, x, side * half, 0.33)
    _cabin(mesh, style)
    for side in (-1, 1):
        y = side * half * 0.62
        mesh.add(*box((0.475 * length, y - 0.2, 0.6), (0.503 * length, y + 0.2, 0.74)), material=3, layer=1)
        mesh.add(*box((-0.503 * length, y - 0.2, 0.65), (-0.48 * length, y + 0.2, 0.82)), material=4, layer=1)
    return mesh.build()


def _car_wheel(mesh: Builder, x: float, y: float, radius: float, sides: int = 8) -> None:
    """The tread goes under the body, the outer face over it."""
    angle = 2 * np.pi * np.arange(sides) / sides
    circle = np.column_stack([x + radius * np.cos(angle), np.zeros(sides), radius + radius * np.sin(angle)])
    inner, outer = circle + [0, y * 0.8, 0], circle + [0, y * 1.02, 0]
    vertices, faces = loft(np.stack([inner, outer]))
    caps = (sides - 2) // 2
    layer = np.full(len(faces), -1)
    layer[-caps:] = 1
    mesh.add(vertices, faces, material=2, layer=layer, tint=0.1)


def _cabin(mesh: Builder, style: str) -> None:
    length, half, _, waist, roof, low, high = CARS[style]

    def ring(ends, width, z):
        x0, x1 = ends[0] * length, ends[1] * length
        return [(x0, -width, z), (x1, -width, z), (x1, width, z), (x0, width, z)]

    boxy = style == "van"
    mix = 0.85 if boxy else 0.6
    middle = (1 - mix) * np.array(low) + mix * np.array(high)
    side = 0 if boxy else 1  # a van's sides are sheet metal
    rings = np.array([ring(low, half * 0.93, waist - 0.02), ring(middle, half * 0.84, roof - 0.1)])
    mesh.add(*loft(rings), material=[side, 1, side, side, 1, 1], layer=2)
    cap = np.array([ring(middle, half * 0.84, roof - 0.1), ring(high, half * 0.76, roof)])
    mesh.add(*loft(cap), material=[0, 0, 0, 0, 5, 5], layer=3)


def tree(rng: np.random.Generator, style: int) -> Mesh:
    """Round crowns (most), a conifer (style % 4 == 1) or a low bush (style % 4 == 3)."""
    mesh = Builder(rng, 0.28)
    if style % 4 == 3:
        for _ in range(4):
            centre = np.append(rng.uniform(-0.5, 0.5, 2), 0.45)
            mesh.add(*blob(centre, rng.uniform(0.5, 0.8, 3) * [1, 1, 0.7], bands=2), material=1)
        return mesh.build()
    mesh.add(*tube((0, 0, 0), (0, 0, 3.2), 0.2, 0.12, sides=6), material=0, layer=-1)
    if style % 4 == 1:
        for z, radius in ((1.2, 1.5), (2.6, 1.15), (4.0, 0.8)):
            mesh.add(*lathe([(z, radius, radius), (z + 1.9, 0.1, 0.1)], sides=10), material=1, layer=int(z))
        return mesh.build()
    for k in range(7):
        angle = 2.4 * k + rng.uniform(-0.4, 0.4)
        reach = 0.0 if k == 0 else rng.uniform(0.7, 1.3)
        lobe = (reach * np.cos(angle), reach * np.sin(angle), rng.uniform(2.9, 4.4) + 0.6 * (k == 0))
        mesh.add(*blob(lobe, rng.uniform(0.75, 1.25, 3), sides=8), material=1)
    return mesh.build()


def pole(rng: np.random.Generator, style: int) -> Mesh:
    """A lamp post, a road sign (style % 3 == 1) or a plain mast (style % 3 == 2)."""
    mesh = Builder(rng)
    height = (6.0, 2.8, 5.0)[style % 3]
    mesh.add(*tube((0, 0, 0), (0, 0, height), 0.11, 0.08, sides=6))
    if style % 3 == 0:
        mesh.add(*tube((0, 0, height), (1.4, 0, height + 0.25), 0.06, 0.05))
        mesh.add(*box((1.0, -0.14, height + 0.12), (1.7, 0.14, height + 0.25)), material=1)
    if style % 3 == 1:
        mesh.add(*box((-0.02, -0.4, height - 0.8), (0.04, 0.4, height)), material=1, layer=1)
    return mesh.build()


def wall(rng: np.random.Generator, style: int) -> Mesh:
    """A wall 8 m long across x, in panels, with a cap."""
    mesh = Builder(rng, 0.08)
    height = (2.4, 1.6, 3.0)[style % 3]
    for y in np.arange(-4, 4, 2.0):
        mesh.add(*box((-0.12, y, 0), (0.12, y + 2, height)))
    mesh.add(*box((-0.17, -4.05, height), (0.17, 4.05, height + 0.1)), material=1, layer=1)
    return mesh.build()


def facade(rng: np.random.Generator, style: int) -> Mesh:
    """A house front 12 m wide, with rows of windows; style % 3 gives its storeys."""
    mesh = Builder(rng, 0.05)
    storeys = 2 + style % 3
    mesh.add(*box((-0.3, -6, 0), (0.3, 6, 3.0 * storeys)))
    for storey in range(storeys):
        for y in np.arange(-5.2, 4.5, 2.2):
            z = 3.0 * storey + 0.9
            for x in (-0.31, 0.31):
                low, high = (min(x, 0.9 * x), y, z), (max(x, 0.9 * x), y + 1.1, z + 1.4)
                mesh.add(*box(low, high), material=1, layer=1)
    return mesh.build()


def house(rng: np.random.Generator, style: int) -> Mesh:
    """A house of one storey under a gable roof, or a flat one (style % 2 == 1)."""
    mesh = Builder(rng, 0.06)
    mesh.add(*box((-3.2, -4.5, 0), (3.2, 4.5, 2.9)))
    if style % 2:
        mesh.add(*box((-3.4, -4.7, 2.9), (3.4, 4.7, 3.2)), material=1, layer=1)
        return mesh.build()
    ends = [[(-3.6, y, 2.8), (3.6, y, 2.8), (0.05, y, 4.8), (-0.05, y, 4.8)] for y in (-4.8, 4.8)]
    vertices, faces = loft(np.array(ends))
    mesh.add(vertices, faces, material=[1] * 4 + [0] * (len(faces) - 4), layer=1)  # the gables are wall
    return mesh.build()


def fence(rng: np.random.Generator, style: int) -> Mesh:
    """A fence 8 m long across x: posts and rails, or posts and thin wires (style % 2 == 1)."""
    mesh = Builder(rng, 0.1)
    height, radius = (1.8, 0.04) if style % 2 == 0 else (2.2, 0.004)
    for y in np.arange(-4, 4.1, 2.0):
        mesh.add(*tube((0, y, 0), (0, y, height), 0.05, 0.05))
    for z in np.linspace(0.3, height - 0.1, 4 + 4 * (style % 2)):
        mesh.add(*tube((0, -4, z), (0, 4, z), radius, radius), material=1, layer=1)
    return mesh.build()


def wire(rng: np.random.Generator, style: int) -> Mesh:
    """Two cables of 1 cm between masts 16 m apart, across x, at 2.0 and 2.6 m."""
    mesh = Builder(rng)
    for y in (-8.0, 8.0):
        mesh.add(*tube((0, y, 0), (0, y, 3.2), 0.1, 0.08, sides=6))
    for z in (2.0, 2.6):
        mesh.add(*tube((0, -8, z), (0, 8, z), 0.005, 0.005), material=1, layer=1)
    return mesh.build()


def clutter(rng: np.random.Generator, style: int) -> Mesh:
    """Bench, bin, bollard, crate or cabinet: what a detector must not take for a class."""
    mesh = Builder(rng, 0.1)
    if style % 5 == 0:
        mesh.add(*box((-0.25, -0.8, 0.38), (0.25, 0.8, 0.46)), material=1, layer=1)
        mesh.add(*box((-0.3, -0.8, 0.46), (-0.24, 0.8, 0.9)), material=1, layer=1)
        for y in (-0.65, 0.65):
            mesh.add(*box((-0.2, y - 0.05, 0), (0.2, y + 0.05, 0.38)))
    elif style % 5 == 1:
        mesh.add(*lathe([(0, 0.26, 0.26), (0.95, 0.3, 0.3)], sides=8), material=[0] * 8 + [1] * 6)
    elif style % 5 == 2:
        mesh.add(*lathe([(0, 0.1, 0.1), (0.8, 0.1, 0.1), (0.95, 0.05, 0.05)]))
    elif style % 5 == 3:
        side = rng.uniform(0.4, 1.1, 3)
        mesh.add(*box(-side * [1, 1, 0], side * [1, 1, 1.4]), material=[0, 0, 0, 0, 1, 1])
    else:
        mesh.add(*box((-0.3, -0.6, 0), (0.3, 0.6, 1.3)), material=[0, 0, 0, 0, 1, 1])
    return mesh.build()


class Model:
    """The poses of one stride (one, for what does not move) and the bounds (3,) of them all."""

    def __init__(self, poses: list[Mesh]):
        self.poses = poses
        vertices = np.concatenate([pose.vertices for pose in poses])
        self.low, self.high = vertices.min(axis=0), vertices.max(axis=0)


@lru_cache(maxsize=1)
def library() -> dict[str, list[Model]]:
    """Models by kind; the same in every process, so that a scene only picks, scales and colours."""
    rng = np.random.default_rng(7)
    stride = [2 * np.pi * k / GAIT for k in range(GAIT)]
    return {
        "Person": [Model([person(rng, phase, build) for phase in stride]) for build in range(8)],
        "Bicycle": [Model([bicycle(rng, phase, build) for phase in stride]) for build in range(12)],
        "Car": [Model([car(rng, style)]) for style in CARS],
        "Tree": [Model([tree(rng, style)]) for style in range(8)],
        "Pole": [Model([pole(rng, style)]) for style in range(3)],
        "Wall": [Model([wall(rng, style)]) for style in range(3)],
        "Clutter": [Model([clutter(rng, style)]) for style in range(10)],
        "Facade": [Model([facade(rng, style)]) for style in range(3)],
        "Fence": [Model([fence(rng, style)]) for style in range(2)],
        "Wire": [Model([wire(rng, 0)])],
        "House": [Model([house(rng, style)]) for style in range(2)],  # last: the others draw as before
    }
