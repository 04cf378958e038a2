"""A rolling shutter: every row of an image is exposed a little later than the one above it."""

from collections.abc import Callable

import cv2
import numpy as np

from .camera import Camera

FARTHEST = 1e4  # m; the sky's depth


def rolling(
    image: np.ndarray, depth: np.ndarray, camera_at: Callable[[float], Camera], t: float, readout_s: float
) -> np.ndarray:
    """`image` (H, W) or (H, W, 3), taken at once at `t`, as if its rows had been read over `readout_s` about t.

    What a pixel shows at its row's time is looked up where it was at t, by the depth (H, W) m that lies there: exact
    inside a surface; at its edges, and of what moves, off by what happens within half of the readout.
    """
    height, width = depth.shape
    now = camera_at(t)
    x = (np.arange(width) - now.K[0, 2]) / now.K[0, 0]
    source = np.empty((height, width, 2), np.float32)
    far = np.minimum(depth, FARTHEST)
    for row in range(height):
        then = camera_at(t + readout_s * ((row + 0.5) / height - 0.5))
        rays = np.column_stack([x, np.full(width, (row - now.K[1, 2]) / now.K[1, 1]), np.ones(width)])
        world = (rays * far[row][:, None]) @ then.rotation + then.position
        source[row], _ = now.project(world)
    return cv2.remap(image, source[..., 0], source[..., 1], cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
