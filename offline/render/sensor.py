"""What a camera does to a clean picture: blur, haze glow, gain, vignette, fixed pattern and noise. uint8 in
and out.
"""

import cv2
import numpy as np

TILE = 192  # px; noise repeats after so many, from a random corner in each frame


class Sensor:
    """One camera's faults, drawn once from a seed; noise differs from frame to frame by `key`."""

    def __init__(self, look: str, width: int, height: int, seed: int):
        rng = np.random.default_rng([seed, 3])
        self._thermal, self._size = look == "thermal", (width, height)
        self._blur = float(rng.uniform(0.45, 0.9) if self._thermal else rng.uniform(0.3, 0.75))
        self._glow = float(rng.uniform(0.0, 0.25) if self._thermal else 0.0)
        self._gain = float(rng.uniform(0.85, 1.3))
        self._offset = float(rng.uniform(-12, 18))
        self._strength, self._span, self._floor = (
            rng.uniform(0.6, 1.0),
            rng.uniform(130, 220),
            rng.uniform(5, 60),
        )
        self._vignette = _vignette(width, height, rng.uniform(0.05, 0.3))
        tile = rng.standard_normal((TILE, TILE) if self._thermal else (TILE, TILE, 3), np.float32)
        tile = cv2.GaussianBlur(tile, (0, 0), 0.5) * 1.5 * rng.uniform(1.0, 5.0)
        repeats = (height // TILE + 2, width // TILE + 2, 1)[: tile.ndim]
        self._noise = np.tile(np.rint(tile).astype(np.int16), repeats)
        self._pattern = None
        if self._thermal:  # columns of a microbolometer drift apart
            columns = rng.normal(0, rng.uniform(0.3, 2.0), (1, width))
            self._pattern = np.rint(np.repeat(columns, height, axis=0)).astype(np.int16)
        else:
            self._balance = rng.uniform(0.92, 1.08, 3)
        self._seed = seed

    def apply(self, picture: np.ndarray, key: int) -> np.ndarray:
        """picture (H, W) or (H, W, 3) uint8 -> the frame, same shape."""
        image = cv2.GaussianBlur(picture, (0, 0), self._blur)
        if self._glow:
            small = cv2.resize(image, None, fx=0.125, fy=0.125, interpolation=cv2.INTER_AREA)
            wide = cv2.resize(cv2.GaussianBlur(small, (0, 0), 2.0), self._size, interpolation=cv2.INTER_LINEAR)
            image = cv2.addWeighted(image, 1 - self._glow, wide, self._glow, 0)
        gain, offset = (self._gain, self._offset) if not self._thermal else self._stretch(image)
        shading = self._vignette if image.ndim == 2 else cv2.merge([self._vignette * b for b in self._balance])
        image = cv2.multiply(image, shading, scale=gain, dtype=cv2.CV_16S)
        rng = np.random.default_rng([self._seed, 4, key])
        y, x = rng.integers(0, TILE, 2)
        width, height = self._size
        noise = self._noise[y : y + height, x : x + width]
        image = cv2.add(image, noise[::-1] if rng.random() < 0.5 else noise)
        if self._pattern is not None:
            image = cv2.add(image, self._pattern)
        return cv2.add(image, (offset,) * 4, dtype=cv2.CV_8U)

    def _stretch(self, image: np.ndarray) -> tuple[float, float]:
        """Gain and offset of a thermal camera's automatic gain: the middle of the histogram fills most of the
        range.
        """
        total = np.cumsum(np.bincount(image[::2, ::2].ravel(), minlength=256))
        low, high = np.searchsorted(total, [0.02 * total[-1], 0.99 * total[-1]])
        gain = 1 + self._strength * (self._span / max(float(high - low), 25.0) - 1)
        return gain, self._floor - gain * low


def _vignette(width: int, height: int, strength: float) -> np.ndarray:
    """Brightness (height, width) float32: 1 in the middle, 1 - strength in the corners."""
    x = np.linspace(-1, 1, width, dtype=np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    return 1 - np.float32(strength) * (x * x + y * y) / 2
