"""Colours of the two looks: 'color' (BGR) and 'thermal' (one level: white is hot), both as levels 0..255.

Geometry and colours are drawn from separate generators, so that one seed gives the same scene in both looks.
"""

from dataclasses import dataclass

import numpy as np

LOOKS = ("thermal", "color")

# Ground materials: BGR, thermal level relative to the scene's ground in units of its contrast, grain 0..1.
GROUND = {
    "grass": ((62, 118, 92), -0.45, 1.0),
    "meadow": ((78, 138, 138), -0.2, 0.9),
    "soil": ((92, 122, 152), 0.1, 0.8),
    "field": ((70, 130, 120), -0.15, 0.9),
    "asphalt": ((92, 90, 88), 0.6, 0.35),
    "concrete": ((165, 170, 172), 0.4, 0.3),
    "paving": ((140, 152, 170), 0.3, 0.55),
    "court": ((90, 105, 150), 0.5, 0.15),
    "paint": ((225, 228, 228), 0.2, 0.3),
    "gravel": ((135, 145, 150), 0.25, 0.9),
    "patch": ((70, 68, 66), 0.95, 0.4),
    "water": ((110, 88, 62), -0.9, 0.1),
}
MATERIALS = tuple(GROUND)

CLOTHES = (
    (40, 40, 45),
    (60, 50, 40),
    (140, 90, 50),
    (50, 50, 170),
    (200, 205, 205),
    (60, 120, 60),
    (60, 170, 215),
    (150, 110, 150),
)
PAINTS = (
    (228, 230, 230),
    (40, 38, 38),
    (150, 150, 148),
    (95, 92, 90),
    (45, 40, 150),
    (130, 70, 35),
    (200, 205, 210),
    (60, 85, 60),
)
FOLIAGE = ((48, 96, 62), (40, 110, 90), (52, 84, 48), (70, 125, 115), (60, 100, 130))


@dataclass(frozen=True)
class Climate:
    """Light or heat of one scene, drawn from its look's generator.

    ambient: thermal level of the ground; contrast: spread among ground materials; body: level of a person
    above the ground; sun (3,) unit vector towards the sun; shade: brightness left in a shadow; haze: colour
    (C,) of far air; visibility: metres at which an object has faded to 1/e.
    """

    look: str
    ambient: float
    contrast: float
    body: float
    sun: np.ndarray
    shade: float
    haze: np.ndarray
    visibility: float

    @property
    def channels(self) -> int:
        return 1 if self.look == "thermal" else 3


def draw_climate(look: str, rng: np.random.Generator, hot: bool = False) -> Climate:
    """Night (cool ground, strong bodies) or day (warm ground, shadows) for thermal; sun to overcast for
    colour. hot: in thermal images the ground is about as warm as people, or warmer: they are pale, or dark on it.
    """
    azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.2)
    sun = np.array([np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)])
    night = rng.random() < 0.5
    ambient = rng.uniform(45, 95) if night else rng.uniform(95, 150)
    body = rng.uniform(75, 150) if night else rng.uniform(60, 110)
    contrast = rng.uniform(18, 50)
    visibility = rng.uniform(150, 500)
    if hot:
        ambient = rng.uniform(110, 190)
        body = rng.uniform(25, 50) if rng.random() < 0.4 else rng.uniform(-90, -25)  # in between nothing would be seen
    if look == "thermal":
        shade = rng.uniform(0.93, 1.0) if night else rng.uniform(0.72, 0.95)
        haze = np.array([ambient * rng.uniform(0.4, 1.0)])
    else:
        shade = rng.choice([rng.uniform(0.45, 0.65), rng.uniform(0.85, 0.97)])
        haze = np.array([210.0, 205, 198]) * rng.uniform(0.85, 1.1)
    return Climate(look, ambient, contrast, body, sun, shade, np.clip(haze, 0, 255), visibility)


def ground_levels(climate: Climate, rng: np.random.Generator) -> np.ndarray:
    """Level of every ground material, (len(MATERIALS), C)."""
    if climate.look == "thermal":
        relative = np.array([GROUND[name][1] for name in MATERIALS]) + rng.uniform(-0.4, 0.4, len(MATERIALS))
        return np.clip(climate.ambient + climate.contrast * relative, 5, 250)[:, None]
    base = np.array([GROUND[name][0] for name in MATERIALS], np.float64)
    base *= rng.uniform(0.75, 1.2, (len(MATERIALS), 1)) * rng.uniform(0.93, 1.07, base.shape)
    return np.clip(base, 5, 250)


def object_levels(kind: str, moving: bool, climate: Climate, rng: np.random.Generator) -> np.ndarray:
    """Palette of one object, (materials of its kind, C)."""
    levels = _thermal(kind, moving, climate, rng) if climate.look == "thermal" else _color(kind, rng)
    return np.clip(levels, 0, 255)


def _thermal(kind: str, moving: bool, climate: Climate, rng: np.random.Generator) -> np.ndarray:
    ground, body = climate.ambient, climate.body * rng.uniform(0.8, 1.15)
    person = [body, body * rng.uniform(0.6, 0.95), body * rng.uniform(0.55, 0.9), body * 0.8, body * 0.3]
    if kind == "Person":
        rise = person
    elif kind == "Bicycle":
        frame = rng.uniform(-45, 15)
        motor = body * rng.uniform(0.3, 0.8) if moving else rng.uniform(-15, 20)
        rise = [frame - 10, frame, frame + 10, motor] + person
    elif kind == "Car":
        metal = rng.uniform(-45, 55)
        engine = rng.uniform(40, 110) if moving or rng.random() < 0.35 else metal + rng.uniform(-5, 15)
        wheel = rng.uniform(30, 80) if moving else rng.uniform(-35, 0)
        rise = [
            metal,
            metal - rng.uniform(20, 50),
            wheel,
            metal + 10,
            metal + 10,
            metal + rng.uniform(-25, 15),
            engine,
        ]
    elif kind == "Tree":
        rise = [rng.uniform(-20, 10), -climate.contrast * rng.uniform(0.4, 1.2)]
    else:
        level = rng.uniform(-40, 45)
        rise = [level, level + rng.uniform(-20, 20)]
    return ground + np.array(rise)[:, None]


def _color(kind: str, rng: np.random.Generator) -> np.ndarray:
    def pick(options) -> np.ndarray:
        return np.array(options[rng.integers(len(options))]) * rng.uniform(0.75, 1.2) + rng.uniform(-12, 12, 3)

    skin = np.array([120, 150, 205]) * rng.uniform(0.5, 1.1)
    person = [
        skin,
        pick(CLOTHES),
        pick(CLOTHES[:5]),
        np.array([35, 40, 50]) * rng.uniform(0.5, 2.5),
        pick(CLOTHES),
    ]
    dark = np.full(3, rng.uniform(25, 50))
    if kind == "Person":
        colours = person
    elif kind == "Bicycle":
        colours = [dark, pick(CLOTHES), dark, pick(CLOTHES)] + person
    elif kind == "Car":
        paint = pick(PAINTS)
        glass = np.array([70, 62, 52]) * rng.uniform(0.6, 1.3)
        colours = [
            paint,
            glass,
            dark,
            np.array([225, 230, 230]),
            np.array([40, 40, 190]),
            paint * rng.choice([1, 1, 0.4]),
            paint,
        ]
    elif kind == "Tree":
        colours = [np.array([50, 70, 90]) * rng.uniform(0.7, 1.2), pick(FOLIAGE)]
    elif kind == "Wall":
        face = np.array([[150, 160, 165], [80, 95, 150], [175, 180, 180]][rng.integers(3)]) * rng.uniform(0.7, 1.1)
        colours = [face, face * 0.8]
    else:
        face = np.full(3, rng.uniform(50, 190)) + rng.uniform(-20, 20, 3)
        colours = [face, pick(CLOTHES)]
    return np.array(colours)
