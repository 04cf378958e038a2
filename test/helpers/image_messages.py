"""Image messages of every encoding, as camera drivers send them, without ROS."""

import array
from types import SimpleNamespace

import cv2
import numpy as np

from vit_perception import parameters

VALUES = {s.name: s.default for s in parameters.SPECS + parameters.EVALUATED}


def message(image, encoding, padding=0, big=False, **changes):
    """The fields of a sensor_msgs/Image of `image`, any dtype, rows padded with 99 by `padding` bytes."""
    swapped = image.astype(image.dtype.newbyteorder(">" if big else "<"))
    rows = np.frombuffer(swapped.tobytes(), np.uint8).reshape(image.shape[0], -1)
    padded = np.concatenate([rows, np.full((len(rows), padding), 99, np.uint8)], axis=1)
    fields = {
        "width": image.shape[1],
        "height": image.shape[0],
        "step": padded.shape[1],
        "encoding": encoding,
        "is_bigendian": int(big),
        "data": array.array("B", padded.tobytes()),
    }
    return SimpleNamespace(**{**fields, **changes})


def compressed(image, extension=".png", format=None, *options):
    """The fields of a sensor_msgs/CompressedImage; `format` defaults to the extension."""
    _, data = cv2.imencode(extension, image, list(options))
    return SimpleNamespace(format=format or extension[1:], data=array.array("B", data.tobytes()))


def scene(shape, dtype=np.uint8, seed=0):
    """A smooth random image."""
    noise = np.random.default_rng(seed).random(shape, np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 8)
    scaled = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return scaled if dtype == np.float32 else (scaled * np.iinfo(dtype).max).astype(dtype)


def mosaic(rgb, pattern):
    """The Bayer mosaic (H, W) of an RGB image; pattern: the colours of its first two rows, such as 'rggb'."""
    image = np.empty(rgb.shape[:2], rgb.dtype)
    for i, color in enumerate(pattern):
        image[i // 2 :: 2, i % 2 :: 2] = rgb[i // 2 :: 2, i % 2 :: 2, "rgb".index(color)]
    return image


def to_yuv(rgb):
    """(Y, U, V), each uint8 (H, W): BT.601 in the limited range, as video cameras send it."""
    r, g, b = (rgb[..., i].astype(np.float64) for i in range(3))
    y = 16 + (65.738 * r + 129.057 * g + 25.064 * b) / 256
    u = 128 + (-37.945 * r - 74.494 * g + 112.439 * b) / 256
    v = 128 + (112.439 * r - 94.154 * g - 18.285 * b) / 256
    return tuple(np.clip(np.round(p), 0, 255).astype(np.uint8) for p in (y, u, v))


def packed(rgb, luma_first):
    """(H, 2 W): YUYV if luma comes first, else UYVY."""
    y, u, v = to_yuv(rgb)
    chroma = np.empty_like(y)
    chroma[:, ::2], chroma[:, 1::2] = u[:, ::2], v[:, ::2]
    return np.stack([y, chroma] if luma_first else [chroma, y], 2)


def semiplanar(rgb, u_first):
    """(3 H / 2, W): NV12 if U comes first, else NV21."""
    y, u, v = to_yuv(rgb)
    pair = [u[::2, ::2], v[::2, ::2]] if u_first else [v[::2, ::2], u[::2, ::2]]
    return np.concatenate([y, np.stack(pair, 2).reshape(len(y) // 2, -1)])
