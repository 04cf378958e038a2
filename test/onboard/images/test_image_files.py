"""Image files of any depth, name and suffix, and the one conversion to 8 bits that a bundle names."""

import os

import cv2
import numpy as np
import PIL.Image
import pytest

from vit_perception.errors import ImageError
from vit_perception.images import high_bit_depth
from vit_perception.images.files import read_file
from vit_perception.natural_order import natural_key

RAMP = np.arange(48 * 64, dtype=np.int64).reshape(48, 64) + 7000


@pytest.mark.parametrize(
    ("dtype", "suffix", "read_as"),
    [
        ("uint8", ".png", "uint8"),
        ("uint16", ".png", "uint16"),
        ("uint16", ".tiff", "uint16"),
        ("int16", ".tif", "float32"),
        ("int32", ".tiff", "float32"),
        ("float32", ".tiff", "float32"),
        ("float64", ".TIFF", "float32"),
    ],
)
def test_every_depth_keeps_its_values(tmp_path, dtype, suffix, read_as):
    pixels = (RAMP % 256 if dtype == "uint8" else RAMP).astype(dtype)
    path = tmp_path / f"a{suffix}"
    if dtype == "float64":
        assert cv2.imwrite(str(path.with_suffix(".tiff")), pixels)
        path.with_suffix(".tiff").rename(path)
    else:
        PIL.Image.fromarray(pixels).save(path)
    found = read_file(path)
    assert found.dtype == read_as and np.array_equal(found, pixels)


def test_colour_of_16_bits_and_alpha(tmp_path):
    color = np.dstack([RAMP, RAMP + 1, RAMP + 2]).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "c.png"), color)
    assert np.array_equal(read_file(tmp_path / "c.png"), color)
    alpha = np.dstack([RAMP % 200, RAMP % 100, RAMP % 50, RAMP % 3]).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), alpha)
    assert np.array_equal(read_file(tmp_path / "a.png"), alpha[:, :, :3])


def test_a_name_that_is_no_utf8_is_read_and_told_in_plain_letters(tmp_path):
    name = os.fsencode(tmp_path) + b"/\xb2\xe2.png"
    PIL.Image.fromarray(np.full((8, 9), 7, np.uint8)).save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", name)
    assert read_file(os.fsdecode(name)).shape == (8, 9)
    os.remove(name)
    with pytest.raises(ImageError, match=r"\\xb2\\xe2\.png \(No such file"):
        read_file(os.fsdecode(name))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "is a Git LFS pointer"),
        (b"no image at all", "cannot decode"),
    ],
)
def test_what_is_no_image_is_told(tmp_path, data, words):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ImageError, match=words):
        read_file(tmp_path / "a.png")


def test_a_bundle_names_its_conversion_and_none_means_percentiles():
    assert high_bit_depth.conversion({})["high_bit_depth.scaling"] == "percentile"
    fixed = high_bit_depth.conversion({"high_bit_depth": {"scaling": "fixed", "min": 7000, "max": 9000}})
    pixels = np.array([[6000, 7000, 8000, 9000, 9999]], np.uint16)
    assert high_bit_depth.to_uint8(pixels, fixed).tolist() == [[0, 0, 128, 255, 255]]


@pytest.mark.parametrize(
    "given",
    [
        "fixed",
        {"gain": 2},
        {"scaling": "log"},
        {"scaling": ["fixed"]},
        {"min": 5, "max": 5},
        {"low_percent": -1},
        {"max": float("nan")},
        {"max": "9000"},
        {"min": True},
    ],
)
def test_a_conversion_that_makes_no_sense_is_refused(given):
    assert "input.high_bit_depth" in high_bit_depth.find_problem(given)


def test_numbers_in_names_are_numbers():
    names = ["frame_10.png", "frame_9.png", "frame_009.png", "b1/2", "b1/10", "a", "frame_9_2", "10", "9"]
    expected = ["9", "10", "a", "b1/2", "b1/10", "frame_009.png", "frame_9.png", "frame_9_2", "frame_10.png"]
    assert sorted(names, key=natural_key)[:5] == expected[:5]
    assert sorted(["frame_10.png", "frame_9.png", "frame_1.png"], key=natural_key)[-1] == "frame_10.png"
