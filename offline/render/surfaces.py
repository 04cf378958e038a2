"""What every pixel shows: which plane, how far away it is; and texture that is fixed to the things.

Every face is a plane, and so is the ground. The faces are drawn once more, with their number for a colour; the depth
of a pixel is then where its ray meets the plane of its number.
"""

from functools import lru_cache

import cv2
import numpy as np

from .camera import Camera
from .scene import Pose

SHIFT = 3  # fractional bits of polygon corners
OCTAVES = 0.1, 0.25, 0.7  # m, typical wavelength of the texture's three noises
RESOLVED = 2.0, 4.0  # px: a shorter wave is not drawn, a longer one wholly
CELLS, SMOOTH = 64, 1.5  # side of the noise's cube, which repeats; its smoothing, cells


@lru_cache(maxsize=1)
def _noise() -> np.ndarray:
    """A smooth random cube (CELLS, CELLS, CELLS) float32 of standard deviation 1 that repeats without a seam."""
    rng = np.random.default_rng(12)
    frequency = np.fft.fftfreq(CELLS)
    gauss = np.exp(-2 * (np.pi * SMOOTH * frequency) ** 2)
    spectrum = np.fft.fftn(rng.normal(size=(CELLS,) * 3))
    cube = np.fft.ifftn(spectrum * gauss[:, None, None] * gauss[:, None] * gauss).real
    return (cube / cube.std()).astype(np.float32)


class Surfaces:
    """The planes in one view. `draw` takes an object's faces back to front, object by object.

    camera: of the canvas that is painted, `factor` times as large as the image.
    """

    def __init__(self, camera: Camera, factor: int):
        self._camera, self._factor = camera, factor
        self._numbers = np.zeros((camera.height, camera.width), np.int32)
        # The ground has number 0: normal in the camera's frame, distance along it, and whose plane it is.
        self._normals = [camera.rotation[:, 2][None]]
        self._offsets = [np.array([-camera.position[2]])]
        self._owners = [np.array([0])]
        self._poses: list[Pose] = []
        self._count = 1
        self._measured: tuple[np.ndarray, np.ndarray] | None = None

    def draw(self, pose: Pose, normals: np.ndarray, offsets: np.ndarray, outlines: list[np.ndarray]) -> None:
        """normals (n, 3) and offsets (n,) m in the object's frame; outlines: fixed-point pixels of the canvas."""
        for number, outline in enumerate(outlines, start=self._count):
            if len(outline):
                cv2.fillConvexPoly(self._numbers, outline, number, cv2.LINE_8, SHIFT)
        world = normals @ pose.rotation.T
        self._normals.append(world @ self._camera.rotation.T)
        self._offsets.append(offsets + world @ (pose.position - self._camera.position))
        self._poses.append(pose)
        self._owners.append(np.full(len(normals), len(self._poses)))
        self._count += len(normals)

    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """Depth (H, W) float32 m along the optical axis, inf in the sky; and whose surface it is (H, W), 0 for the
        ground and the sky, else the place in the order of `draw`. Call it when all is drawn."""
        if self._measured is not None:
            return self._measured
        f = self._factor
        numbers = self._numbers[f // 2 :: f, f // 2 :: f]
        normals = np.concatenate(self._normals).astype(np.float32)
        offsets = np.concatenate(self._offsets).astype(np.float32)
        x, y = self._rays(numbers.shape)
        n = normals[numbers]
        along = n[..., 0] * x + n[..., 1] * y + n[..., 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = offsets[numbers] / along
        depth[~(depth > 0)] = np.inf
        self._measured = depth, np.concatenate(self._owners)[numbers]
        return self._measured

    def textured(self, picture: np.ndarray, strength: float, seed: int) -> np.ndarray:
        """picture (H, W) or (H, W, 3) uint8 with noise on every object: `strength` grey levels, 2 sigma."""
        depth, owners = self.measure()
        on = (owners > 0) & np.isfinite(depth)
        x, y = self._rays(depth.shape)
        rays = np.stack([x[on], y[on], np.ones(int(on.sum()), np.float32)], axis=1)
        points = (rays * depth[on][:, None]) @ self._camera.rotation.astype(np.float32)  # from the camera, world's axes
        apart = np.zeros((len(self._poses) + 1, 3))
        if self._poses:
            apart[1:] = self._camera.position - np.array([p.position for p in self._poses])
        points += apart[owners[on]].astype(np.float32)
        pixels_per_m = self._camera.K[0, 0] / self._factor / depth[on]
        rng = np.random.default_rng([seed, 12])
        total = np.zeros(len(points), np.float32)
        cube = _noise()
        for length in OCTAVES:
            cells = 2 * np.pi * SMOOTH / length  # per metre
            turned = np.linalg.qr(rng.normal(size=(3, 3)))[0]  # no two octaves repeat along the same lines
            index = np.floor(points @ (cells * turned).astype(np.float32) + rng.uniform(0, CELLS)).astype(np.int32)
            index &= CELLS - 1
            shown = np.clip((length * pixels_per_m - RESOLVED[0]) / (RESOLVED[1] - RESOLVED[0]), 0, 1)
            total += shown * cube[index[:, 0], index[:, 1], index[:, 2]]
        out = picture.astype(np.float32)
        added = np.float32(0.5 * strength / np.sqrt(len(OCTAVES))) * total
        out[on] += added if picture.ndim == 2 else added[:, None]
        return np.clip(np.rint(out), 0, 255).astype(np.uint8)

    def _rays(self, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """x / z and y / z of the image's pixels, float32 (H, W) each."""
        f, K = self._factor, self._camera.K
        shift = 0.5 * (f - 1)
        u = (f * np.arange(shape[1]) + shift - K[0, 2]) / K[0, 0]
        v = (f * np.arange(shape[0]) + shift - K[1, 2]) / K[1, 1]
        x, y = np.meshgrid(u.astype(np.float32), v.astype(np.float32))
        return x, y
