"""Image messages as camera drivers send them, good and bad."""

import array
import struct
import zlib

import cv2
import numpy as np
import pytest
from image_messages import VALUES, compressed, message, mosaic, packed, scene, semiplanar

from vit_perception.errors import ImageError
from vit_perception.images.formats import FORMATS
from vit_perception.images.read import ImageReader, view

RGB = scene((48, 64, 3))
GRAY = scene((48, 64))
FIXED = VALUES | {"high_bit_depth.scaling": "fixed"}


def read(msg, **changes):
    return ImageReader({**VALUES, **changes}).read(msg)


def as_rgb(image, order):
    return image if order == "rgb" else image[..., ::-1]


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["mono8", "8UC1", "rgb8", "bgr8", "8UC3"])
@pytest.mark.parametrize("reads", [view, read])
def test_the_pixels_come_without_a_copy(reads, encoding, padding):
    image = GRAY if FORMATS[encoding].channels == 1 else RGB
    msg = message(image, encoding, padding)
    seen, order = reads(msg)
    assert order == {"mono8": "mono", "8UC1": "mono", "rgb8": "rgb", "bgr8": "bgr", "8UC3": "bgr"}[encoding]
    np.testing.assert_array_equal(seen, image)
    assert np.shares_memory(seen, np.frombuffer(msg.data, np.uint8))
    msg.data[0] ^= 255  # a change of the message shows in the view
    assert seen.reshape(-1)[0] == image.reshape(-1)[0] ^ 255


@pytest.mark.parametrize(
    "kind", [bytes, lambda b: np.frombuffer(b, np.uint8), bytearray, lambda b: array.array("B", b)]
)
def test_data_may_be_any_array_of_bytes_and_is_kept_alive(kind):
    seen, _ = read(message(GRAY, "mono8", data=kind(GRAY.tobytes())))
    np.testing.assert_array_equal(seen, GRAY)


PIXELS = {
    "rgba8": np.dstack([RGB, GRAY]),
    "bgra8": np.dstack([RGB[..., ::-1], GRAY]),
    "8UC4": np.dstack([RGB[..., ::-1], GRAY]),
    "yuv422": packed(RGB, False),
    "uyvy": packed(RGB, False),
    "yuv422_yuy2": packed(RGB, True),
    "yuyv": packed(RGB, True),
    "nv12": semiplanar(RGB, True),
    "nv21": semiplanar(RGB, False),
    "rgb16": RGB.astype(np.uint16) * 257,
    "bgr16": RGB[..., ::-1].astype(np.uint16) * 257,
}
for _pattern in ("rggb", "bggr", "gbrg", "grbg"):
    PIXELS[f"bayer_{_pattern}8"] = mosaic(RGB, _pattern)
    PIXELS[f"bayer_{_pattern}16"] = mosaic(RGB, _pattern).astype(np.uint16) * 257


@pytest.mark.parametrize("padding", [0, 1, 8])
@pytest.mark.parametrize("encoding", PIXELS)
def test_every_colour_encoding_gives_the_colours_of_the_scene(encoding, padding):
    msg = message(PIXELS[encoding], encoding, padding, height=48)
    image, order = read(msg, **FIXED)
    assert image.shape == RGB.shape and image.dtype == np.uint8
    difference = np.abs(as_rgb(image, order).astype(int) - RGB)[2:-2, 2:-2]  # mosaics end in a border of two pixels
    assert difference.mean() < 2 and difference.max() <= 16  # chroma and mosaics have half the resolution
    assert not np.shares_memory(image, np.frombuffer(msg.data, np.uint8))


def test_every_format_is_tested():
    assert set(FORMATS) == set(PIXELS) | {"mono8", "8UC1", "rgb8", "bgr8", "8UC3", "mono16", "16UC1", "32FC1"}


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 6])
@pytest.mark.parametrize("encoding", ["mono16", "16UC1", "32FC1"])
def test_deep_images_in_both_byte_orders_with_fixed_scaling(encoding, padding, big):
    deep = np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.float32 if encoding == "32FC1" else np.uint16)
    limits = {"high_bit_depth.scaling": "fixed", "high_bit_depth.min": 10000.0, "high_bit_depth.max": 40000.0}
    image, order = read(message(deep, encoding, padding, big), **limits)
    expected = np.clip((deep.astype(np.float64) - 10000) / 30000 * 255, 0, 255)
    assert order == "mono" and image.shape == (48, 64) and np.abs(image - expected).max() <= 0.51


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_percentiles_become_black_and_white(dtype):
    deep = (20000 + scene((512, 640), np.float32) * 800).astype(dtype)
    deep[0, :8] = 0, 65535, 0, 65535, 0, 65535, 0, 65535  # dead pixels do not darken the scene
    image, _ = read(message(deep, "32FC1" if dtype == np.float32 else "16UC1"))
    low, high = np.percentile(deep, [1, 99])
    expected = np.clip((deep.astype(np.float64) - low) / (high - low) * 255, 0, 255)
    assert np.abs(image - expected).max() < 4  # percentiles of a part of the pixels, rounded


@pytest.mark.parametrize("scaling", ["percentile", "fixed"])
@pytest.mark.parametrize(
    ("encoding", "value"), [("16UC1", 0), ("16UC1", 3000), ("16UC1", 65535), ("32FC1", 300.0), ("32FC1", -1e-40)]
)
def test_an_image_of_one_value_is_of_one_value(encoding, value, scaling):
    deep = np.full((48, 64), value, np.float32 if encoding == "32FC1" else np.uint16)
    image, _ = read(message(deep, encoding), **{"high_bit_depth.scaling": scaling})
    assert len(np.unique(image)) == 1 and (scaling == "fixed" or image[0, 0] == 0)


def test_the_only_hot_spot_on_a_flat_background_is_white():
    deep = np.full((512, 640), 3000, np.uint16)
    deep[200:210, 300:305] = 3100
    image, _ = read(message(deep, "16UC1"))
    assert image[0, 0] == 0 and (image[200:210, 300:305] == 255).all()


@pytest.mark.parametrize("scaling", ["percentile", "fixed"])
def test_floats_without_a_value_are_black_and_infinite_ones_saturate(scaling):
    deep = scene((48, 64), np.float32) * 100
    deep[3, :3] = np.nan, np.inf, -np.inf
    image, _ = read(message(deep, "32FC1"), **{"high_bit_depth.scaling": scaling, "high_bit_depth.max": 100.0})
    assert image[3, :3].tolist() == [0, 255, 0] and image[10:].std() > 20
    for nothing in (np.nan, np.inf, -np.inf, 3e38, -3e38):
        assert len(np.unique(read(message(np.full((8, 8), nothing, np.float32), "32FC1"))[0])) == 1
    wild = np.tile(np.float32([-3.4e38, 3.4e38, 1e29, np.nan]), (4, 1))
    assert read(message(wild, "32FC1"))[0][0].tolist() == [0, 255, 140, 0]


def test_parameters_are_read_live():
    values, deep = dict(FIXED), np.full((4, 4), 500, np.uint16)
    reader = ImageReader(values)
    assert reader.read(message(deep, "16UC1"))[0][0, 0] == 2
    values["high_bit_depth.max"] = 1000.0
    assert reader.read(message(deep, "16UC1"))[0][0, 0] == 128


BIG = 2**32 - 1


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"encoding": "64FC1"}, "'64FC1' is not supported; publish one of: .*mono8"),
        ({"encoding": ""}, "encoding"),
        ({"encoding": "x\n" * 999}, "encoding"),
        ({"step": 20}, "step"),
        ({"step": 0}, "step"),
        ({"step": 24}, "data"),
        ({"step": BIG}, "data"),
        ({"width": 0}, "0 x 6"),
        ({"height": 0}, "7 x 0"),
        ({"width": BIG, "height": BIG, "step": BIG}, "not 1 to 16384"),
        ({"height": 5}, "data"),
        ({"height": 7}, "data"),
        ({"data": array.array("B")}, "0 bytes"),
        ({"data": array.array("B", b"x" * 125)}, "125 bytes"),
        ({"data": [0] * 126}, "a list"),
        ({"data": array.array("H", b"x" * 126)}, "63 bytes"),
        ({"encoding": "yuyv"}, "must be even"),
        ({"encoding": "nv12", "width": 6, "height": 5}, "must be even"),
        ({"encoding": "nv12", "width": 6}, "data has 126 bytes but 9 rows of 21 are 189"),
        ({"encoding": "rgb16"}, "step is 21 bytes but 7 pixels of rgb16 need 42"),
    ],
)
def test_what_does_not_fit_is_refused_with_one_sentence(changes, word):
    with pytest.raises(ImageError, match=word) as error:
        read(message(np.zeros((6, 7, 3), np.uint8), **{"encoding": "rgb8", **changes}))
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_a_view_refuses_what_needs_a_conversion():
    with pytest.raises(ImageError, match="without a conversion"):
        view(message(GRAY.astype(np.uint16), "mono16"))


@pytest.mark.parametrize(
    ("format", "order"),
    [
        ("png", "bgr"),
        ("rgb8; png compressed bgr8", "bgr"),
        ("bgr8; png compressed ", "bgr"),
        ("rgb8; png compressed rgb8", "rgb"),
        ("", "bgr"),
    ],
)
def test_compressed_colour_images(format, order):
    image, seen = read(compressed(RGB, ".png", format))
    assert seen == order
    np.testing.assert_array_equal(image, RGB)


def test_compressed_images_of_other_kinds():
    image, order = read(compressed(GRAY, ".jpg", "mono8; jpeg compressed mono8", cv2.IMWRITE_JPEG_QUALITY, 98))
    assert order == "mono" and np.abs(image.astype(int) - GRAY).max() < 8
    image, order = read(compressed(RGB, ".jpg", "jpeg", cv2.IMWRITE_JPEG_QUALITY, 98, cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    assert order == "bgr" and np.abs(image.astype(int) - RGB).mean() < 4
    image, order = read(compressed(np.dstack([RGB, GRAY]), ".png"))
    assert order == "bgr" and (image == RGB).all()
    image, order = read(compressed(mosaic(RGB, "rggb"), ".png", "bayer_rggb8; png compressed "))
    assert np.abs(as_rgb(image, order).astype(int) - RGB)[2:-2, 2:-2].mean() < 2
    deep = GRAY.astype(np.uint16) * 50 + 7000
    image, order = read(compressed(deep, ".png", "16UC1; png compressed "))
    assert order == "mono"
    np.testing.assert_array_equal(image, read(message(deep, "16UC1"))[0])
    image, order = read(compressed(RGB.astype(np.uint16) * 257, ".png"), **FIXED)
    assert order == "bgr" and (image == RGB).all()


def test_a_jpeg_padded_with_zeros_passes():
    msg = compressed(GRAY, ".jpg")
    msg.data.extend(bytes(100))
    assert read(msg)[0].shape == GRAY.shape


def png_of(width, height):
    """A small file that claims so many pixels."""
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))  # noqa: E731
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def jpeg_of(width, height, image=GRAY):
    """A jpeg whose frame header claims so many pixels."""
    data = compressed(image, ".jpg").data.tobytes()
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


@pytest.mark.parametrize("bomb", [png_of(60000, 60000), png_of(2**31 - 1, 2**31 - 1), jpeg_of(60000, 60000)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(bomb, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(ImageError, match="claims .* pixels, more than"):
        read(_raw(bomb))


def _raw(data, format="jpeg"):
    msg = compressed(GRAY[:8, :8])
    msg.format, msg.data = format, array.array("B", data)
    return msg


PNG, JPEG = compressed(GRAY).data.tobytes(), compressed(GRAY, ".jpg").data.tobytes()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "neither jpeg nor png .* 0 bytes"),
        (b"GIF89a" + bytes(100), "neither jpeg nor png"),
        (PNG[:20], "no header"),
        (PNG[:-60], "cut off"),
        (PNG[:100] + bytes(100) + PNG[200:], "damaged"),
        (PNG[:33] + b"\x7f\xff\xff\xf0tEXt" + PNG[33:], "cut off or damaged"),  # OpenCV 4.14 takes 4 GB for it
        (PNG[:33] + b"\0\0\0\0tEXt\0\0\0\0" * 10**5 + PNG[33:], "cut off or damaged"),
        (PNG[:33] + b"\0\0\0\x08acTL" + bytes(12) + PNG[33:], "animation"),
        (JPEG[:-2], "cut off"),
        (JPEG[: len(JPEG) // 2], "cut off"),
        (JPEG[:4], "no usable header"),
        (b"\xff\xd8" + b"\xff" * 10**6, "no usable header"),
        (b"\xff\xd8" + b"\xff\xfe\0\2" * 10**5, "no usable header"),
        (jpeg_of(0, 48), "0 x 48"),
        (JPEG.replace(b"\xff\xc0", b"\xff\xc3"), "no usable header"),
        (JPEG[:-2] + b"\xff\xda\0" * 100 + b"\xff\xd9", "scans"),
    ],
)
def test_damaged_compressed_images_are_refused_with_one_sentence(data, word):
    with pytest.raises(ImageError, match=word) as error:
        read(_raw(data))
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_compressed_depth_is_refused():
    with pytest.raises(ImageError, match="compressedDepth .* publish raw or png"):
        read(_raw(PNG, "32FC1; compressedDepth png"))


def test_cv_bridge_is_asked_for_by_name_and_named_if_it_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv_bridge", None)
    with pytest.raises(ImageError, match="use_cv_bridge is set but cv_bridge cannot be used"):
        ImageReader(VALUES | {"use_cv_bridge": True})


DEEP = {"mono16": np.uint16, "16UC1": np.uint16, "32FC1": np.float32}


def test_cv_bridge_gives_the_same_pixels():
    pytest.importorskip("cv_bridge.boost.cv_bridge_boost", reason="cv_bridge is not installed", exc_type=ImportError)
    from sensor_msgs.msg import Image

    own, bridged = ImageReader(VALUES), ImageReader(VALUES | {"use_cv_bridge": True})
    for encoding, known in FORMATS.items():
        pixels = PIXELS.get(encoding, RGB if known.channels == 3 else GRAY)
        pixels = scene((48, 64), DEEP[encoding]) if encoding in DEEP else pixels
        for padding, big in ((0, False), (5, False), (12, False), (0, True)):
            msg = Image(**vars(message(pixels, encoding, padding, big, height=48)))
            image, order = bridged.read(msg)
            assert order == own.read(msg)[1]
            np.testing.assert_array_equal(image, own.read(msg)[0], encoding)
