"""What other cameras make of the same scene: optics, detector array, automatic gain control, polarity, palette.

Each change has a probability of its own in the recipe (`crops.sensor`), all 0 by default. They come in the order in
which a camera makes them. `Loader` keeps the crop without them for the teacher, so that the student learns to say of
another camera's image what the teacher says of the one that it knows.
"""

from dataclasses import dataclass, fields

import cv2
import numpy as np

COARSE = (1.3, 3.0)  # how much lower the resolution of a camera is whose image is enlarged
BLUR = (0.5, 1.8)  # pixels, sigma of defocus
MOTION = 9  # pixels, longest blur of motion
PATTERN = 0.04  # of the range, largest sigma of a column's or row's offset; a pixel's is half of it
GAMMA = 0.5  # sigma of its log
CLIP = (1.0, 8.0)  # clip limit of local histogram equalisation, as OpenCV counts it
TILES = (1, 8)  # a side of it; 1 is the whole image
PLATEAU = (0.005, 0.05)  # share of the pixels that automatic gain control drives into black, and into white
STRETCH = 0.3  # largest log of how much wider than high pixels become
# Palettes as their luminance. Ironbow rises all the way, as inferno, plasma and hot do; rainbows rise and fall.
PALETTES = (
    cv2.COLORMAP_INFERNO, cv2.COLORMAP_PLASMA, cv2.COLORMAP_HOT, cv2.COLORMAP_JET, cv2.COLORMAP_RAINBOW,
)  # fmt: skip


@dataclass
class Sensor:
    """Share of the crops that each change is made to; 0: none, the default."""

    coarse: float = 0.0  # a lower resolution, enlarged
    blur: float = 0.0  # out of focus, or moved
    pattern: float = 0.0  # fixed-pattern noise: rows, columns and pixels that are off
    tone: float = 0.0  # automatic gain control: gamma, clipped range, local histogram equalisation
    invert: float = 0.0  # warm is dark; gray images only
    palette: float = 0.0  # a colour palette seen as gray; gray images only
    stretch: float = 0.0  # another aspect of the pixels

    def shares(self) -> dict[str, float]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def looks(self) -> bool:
        """Whether any change touches the pixels' values."""
        return any(share for name, share in self.shares().items() if name != "stretch")


def apply(rng, x: np.ndarray, sensor: Sensor) -> np.ndarray:
    """`x` (C, H, W) in 0..1 as another camera would show it: float32, the same shape and range."""
    steps = {
        "coarse": coarse, "blur": blur, "pattern": pattern, "tone": tone, "invert": invert, "palette": palette,
    }  # fmt: skip
    for name, step in steps.items():
        share = getattr(sensor, name)
        if share and rng.random() < share:
            x = np.clip(step(rng, x), 0, 1).astype(np.float32)
    return x


def aspect(rng, sensor: Sensor) -> tuple[float, float]:
    """Factors of the scale along x and y; their product is 1."""
    if not sensor.stretch or rng.random() >= sensor.stretch:
        return 1.0, 1.0
    wider = float(np.exp(0.5 * rng.uniform(-STRETCH, STRETCH)))
    return wider, 1 / wider


def coarse(rng, x: np.ndarray) -> np.ndarray:
    h, w = x.shape[1:]
    factor = rng.uniform(*COARSE)
    back = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC)[int(rng.integers(3))]
    small = (max(1, round(w / factor)), max(1, round(h / factor)))
    return np.stack(
        [cv2.resize(cv2.resize(c, small, interpolation=cv2.INTER_AREA), (w, h), None, 0, 0, back) for c in x]
    )


def blur(rng, x: np.ndarray) -> np.ndarray:
    if rng.random() < 0.5:
        sigma = rng.uniform(*BLUR)
        return np.stack([cv2.GaussianBlur(c, (0, 0), sigma) for c in x])
    length, turn = int(rng.integers(3, MOTION + 1)), rng.uniform(0, 180)
    line = np.zeros((length, length), np.float32)
    line[length // 2] = 1
    kernel = cv2.warpAffine(line, cv2.getRotationMatrix2D(((length - 1) / 2,) * 2, turn, 1), (length, length))
    return np.stack([cv2.filter2D(c, -1, kernel / kernel.sum()) for c in x])


def pattern(rng, x: np.ndarray) -> np.ndarray:
    h, w = x.shape[1:]
    columns, rows, pixels = rng.uniform(0, PATTERN, 3)
    off = columns * rng.standard_normal((1, w), np.float32) + rows * rng.standard_normal((h, 1), np.float32)
    return x + off + 0.5 * pixels * rng.standard_normal((h, w), np.float32)


def tone(rng, x: np.ndarray) -> np.ndarray:
    kind = int(rng.integers(3))
    if kind == 0:
        return x ** np.float32(np.exp(rng.normal(0, GAMMA)))
    if kind == 1:
        low, high = np.quantile(x, [rng.uniform(*PLATEAU), 1 - rng.uniform(*PLATEAU)])
        return (x - low) / max(high - low, 0.05)
    tiles = int(rng.integers(TILES[0], TILES[1] + 1))
    equaliser = cv2.createCLAHE(rng.uniform(*CLIP), (tiles, tiles))
    part = rng.uniform(0.3, 1.0)  # cameras blend it with the linear image
    return np.stack([(1 - part) * c + part / 255 * equaliser.apply(np.uint8(np.round(255 * c))) for c in x])


def invert(rng, x: np.ndarray) -> np.ndarray:
    return 1 - x


def palette(rng, x: np.ndarray) -> np.ndarray:
    luminance = _luminance(PALETTES[int(rng.integers(len(PALETTES)))])
    return luminance[np.uint8(np.round(255 * x))]


def _luminance(palette: int) -> np.ndarray:
    """float32 (256,) in 0..1: what gray conversion makes of every colour of an OpenCV palette."""
    colors = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], palette)
    return cv2.cvtColor(colors, cv2.COLOR_BGR2GRAY)[:, 0].astype(np.float32) / 255


def photometric(rng, x: np.ndarray, strength: float) -> np.ndarray:
    """Gamma, contrast, brightness, blur and noise on (C, H, W) in 0..1: what thermal cameras change at will."""
    if strength <= 0:
        return x
    mean = x.mean()
    x = np.clip((x - mean) * np.exp(rng.normal(0, 0.25 * strength)) + mean + rng.normal(0, 0.08 * strength), 0, 1)
    if rng.random() < 0.5:
        x = x ** np.float32(np.exp(rng.normal(0, 0.3 * strength)))
    if rng.random() < 0.2 * strength:
        x = np.stack([cv2.GaussianBlur(c, (3, 3), rng.uniform(0.4, 1.0)) for c in x])
    if rng.random() < 0.5:
        noise = rng.standard_normal(x.shape, np.float32)
        x = x + noise * np.float32(rng.uniform(0, 0.04) * strength)
    return np.clip(x, 0, 1).astype(np.float32)
