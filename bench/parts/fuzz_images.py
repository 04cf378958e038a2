"""Image messages, valid and damaged, for bench/fuzz.py."""

import functools
import struct
import zlib
from types import SimpleNamespace

import cv2
import numpy as np

from bench.parts.fuzz_draws import fill, guarded, mutate
from vit_perception import parameters
from vit_perception.detector import Letterbox
from vit_perception.images.formats import FORMATS
from vit_perception.images.read import ImageReader, view

VALUES = {s.name: s.default for s in parameters.SPECS + parameters.EVALUATED}
GRAY = {"width": 64, "height": 48, "color": "gray", "mean": [0.5], "std": [0.25]}
RGB = {"width": 64, "height": 48, "color": "rgb", "mean": [0.1, 0.2, 0.3], "std": [0.5, 1.0, 0.25]}
ABSURD = [0, 1, 2, 3, 255, 256, 16384, 16385, 65535, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1]


def side(draw):
    return draw.pick([draw.whole(1, 12), draw.whole(1, 70), draw.whole(1, 70) & ~1 or 2, draw.whole(60, 400)])


def image_message(draw):
    """A sensor_msgs/Image, often one that fits together."""
    encoding = draw.pick(list(FORMATS))
    known = FORMATS[encoding]
    item = int(known.dtype[1])
    width, height = side(draw), side(draw)
    if known.even and draw.chance(90):
        width, height = width + width % 2, height + height % 2
    step = width * item * known.channels + draw.pick([0, 0, 0, 1, 2, 3, item, draw.whole(0, 80)])
    rows = height * 3 // 2 if known.planar else height
    msg = {"width": width, "height": height, "step": step, "encoding": encoding, "is_bigendian": draw.whole(0, 1)}
    size = step * rows
    for _ in range(draw.pick([0, 0, 1, 2, 3])):
        field = draw.pick(["width", "height", "step", "encoding", "size"])
        if field == "encoding":
            msg[field] = draw.pick([*FORMATS, "", "mono", "RGB8", "bayer_rggb", "64FC1", "\0", "8UC1\n" * 50])
        elif field == "size":
            size = draw.pick([0, 1, size - 1, size + 1, size // 2, step, size + step])
        else:
            msg[field] = draw.pick([msg[field] - 1, msg[field] + 1, msg[field] * 2, msg[field] // 2, *ABSURD])
    data = fill(draw, max(0, min(size, 1 << 20)), item)
    msg["data"] = guarded().place(data, draw.chance(70))
    return SimpleNamespace(**msg)


def parameters_of(draw):
    """Values of deep.*, as run-time changes may leave them."""
    if draw.chance(60):
        return VALUES
    ends = sorted(draw.whole(0, 100) for _ in range(2))
    low, high = (draw.pick([0, 1.5, -1e9, 1e9, 300.0, 65535]) for _ in range(2))
    changes = {
        "high_bit_depth.low_percent": ends[0],
        "high_bit_depth.high_percent": ends[1],
        "high_bit_depth.min": low,
        "high_bit_depth.max": high,
    }
    return {**VALUES, **changes, "high_bit_depth.scaling": draw.pick(["percentile", "fixed"])}


def bounds(array):
    """(first, one past the last) address that an array of positive strides spans."""
    start = array.__array_interface__["data"][0]
    return start, start + sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True)) + array.itemsize


def check_image(image, order, source=None):
    """An image as the contract has it; all of it can be read; a view lies within the message."""
    assert image.dtype == np.uint8 and order in ("mono", "rgb", "bgr") and image.size
    assert image.ndim == 2 if order == "mono" else image.ndim == 3 and image.shape[2] == 3
    if source is not None:
        (low, high), (first, last) = bounds(image), bounds(source)
        assert high <= first or low >= last or first <= low <= high <= last, "a view reaches out of its buffer"
    for box in letterboxes():
        batch, scale = box(image, order)
        assert scale > 0 and np.isfinite(batch).all()


@functools.cache
def letterboxes():
    return Letterbox(GRAY), Letterbox(RGB)


def raw_image(draw):
    """sensor_msgs/Image."""
    msg, reader = image_message(draw), ImageReader(parameters_of(draw))
    image, order = reader.read(msg)
    assert image.shape[:2] == (msg.height, msg.width)
    check_image(image, order, msg.data)
    if FORMATS[msg.encoding].code is None and FORMATS[msg.encoding].dtype == "u1":
        assert np.shares_memory(view(msg)[0], msg.data)


@functools.cache
def pictures():
    """Small jpeg and png files of every kind."""
    noise, found = np.random.default_rng(0), []
    for shape in ((5, 7), (16, 16, 3), (33, 20, 3), (8, 9, 4)):
        image = cv2.GaussianBlur(noise.integers(0, 256, shape, np.uint8), (3, 3), 1)
        found.append(cv2.imencode(".png", image)[1].tobytes())
        found.append(cv2.imencode(".png", image.astype(np.uint16) * 200)[1].tobytes())
        if image.shape[-1] != 4:
            for flags in ([], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 1]):
                found.append(cv2.imencode(".jpg", image, flags)[1].tobytes())
    return found


def with_sums(data):
    """A png with its checksums made right, so that decoders look further."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + min(size, len(data))]
        out += struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + size
    return bytes(out)


TEXTS = ["jpeg", "png", "", "rgb8; jpeg compressed bgr8", "16UC1; png compressed ", "bayer_rggb8; png compressed ", ";"]
TEXTS += ["bayer_gbrg16; png compressed ", "rgb8; png compressed rgb8", "32FC1; compressedDepth png", "mono8;" * 99]


def compressed_image(draw):
    """sensor_msgs/CompressedImage."""
    data = mutate(draw, draw.pick(pictures()))
    if data[:4] == b"\x89PNG" and draw.chance(70):
        data = with_sums(data)
    msg = SimpleNamespace(format=draw.pick(TEXTS), data=guarded().place(data, draw.chance(80)))
    image, order = ImageReader(parameters_of(draw)).read(msg)
    check_image(image, order, msg.data)
