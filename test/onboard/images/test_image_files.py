"""Image files of any depth, name and suffix, and the one conversion to 8 bits that a bundle names."""

import os
import struct

import cv2
import numpy as np
import PIL.Image
import pytest

from vit_perception.errors import ImageError
from vit_perception.images import high_bit_depth
from vit_perception.images.files import read_file
from vit_perception.images.pages import count_pictures
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


def several(path, copies=0, **options):
    """A file of two pictures, dark and bright, and of `copies` that say that they are smaller ones of the first."""
    first, *rest = (PIL.Image.fromarray(np.full((40, 50), v, np.uint8)) for v in (9, 200, *[9] * copies))
    for image in rest[1:]:
        image.encoderinfo = {"tiffinfo": {254: 1}}
    first.save(path, save_all=True, append_images=rest, **options)
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.tif", {}),
        ("a.tif", {"copies": 2}),
        ("big.tif", {"big_tiff": True, "copies": 1}),
        ("a.tif", {"compression": "tiff_lzw"}),
        ("a.png", {}),
        ("a.webp", {"lossless": True}),
    ],
)
def test_pictures_in_a_file_are_counted_and_the_first_is_read(tmp_path, name, options):
    path = several(tmp_path / name, **options)
    data = path.read_bytes()
    with path.open("rb") as f:
        assert count_pictures(f) == count_pictures(data) == 2
    assert (read_file(path) == 9).all()
    assert {count_pictures(data[:n]) for n in range(len(data))} <= {1, 2}, "cut off anywhere, it is still an answer"


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.webp", "a.jpg", "a.bmp"])
def test_a_file_of_one_picture_counts_as_one(tmp_path, name):
    PIL.Image.fromarray(np.full((40, 50), 9, np.uint8)).save(tmp_path / name)
    assert count_pictures((tmp_path / name).read_bytes()) == 1


def test_a_chain_of_pages_that_goes_in_a_circle_ends():
    pages = b"".join(struct.pack(">HHHIII", 1, 254, 4, 1, 0, at) for at in (26, 8))  # each names the other as the next
    assert count_pictures(struct.pack(">2sHI", b"MM", 42, 8) + pages) == 2


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
