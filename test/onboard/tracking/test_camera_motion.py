"""Camera motion from images: found where the background moves as one, refused where it does not."""

import time

import cv2
import numpy as np
import pytest

from offline.render import Flight
from vit_perception.tracking.camera_motion import CameraMotion

SIZE = (320, 256)


def texture(seed=0, size=SIZE):
    """A smooth random picture, uint8 (H, W)."""
    noise = np.random.default_rng(seed).uniform(0, 255, (size[1], size[0])).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 4), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def turned(degrees=0.0, scale=1.0, shift=(0.0, 0.0), size=SIZE):
    """Affine (2, 3) in edge coordinates: about the image's middle, then shifted."""
    affine = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), degrees, scale)
    affine[:, 2] += shift
    return affine


def warp(image, affine):
    """`image` as it looks after `affine` of edge coordinates; OpenCV's coordinates are half a pixel less."""
    affine = affine.copy()
    affine[:, 2] += affine[:, :2].sum(axis=1) * 0.5 - 0.5
    return cv2.warpAffine(image, affine, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT)


def worst_error(found, true, size=SIZE):
    """Largest distance in pixels over the image's corners and middle."""
    points = np.array([[0, 0], [size[0], 0], [0, size[1]], size, [size[0] / 2, size[1] / 2]])
    return np.linalg.norm(points @ (found - true)[:, :2].T + (found - true)[:, 2], axis=1).max()


def between(first, second, order="mono"):
    motion = CameraMotion()
    assert motion.update(first, order) is None
    return motion.update(second, order)


@pytest.mark.parametrize(
    "true", [turned(), turned(shift=(9, -6)), turned(degrees=3), turned(scale=1.06), turned(-2, 0.95, (-5, 4))]
)
def test_motion_of_the_whole_image_is_found(true):
    assert worst_error(between(texture(), warp(texture(), true)), true) < 0.8


@pytest.mark.parametrize("order", ["mono", "rgb", "bgr"])
def test_any_channel_order(order):
    true = turned(shift=(6, 3))
    images = [texture(), warp(texture(), true)]
    if order != "mono":
        images = [np.dstack([i, i // 2, 255 - i // 3]) for i in images]
    assert worst_error(between(*images, order), true) < 0.8


def test_a_size_that_is_no_multiple_of_the_small_image():
    size = (487, 301)
    true = turned(1, 1.01, (8, -5), size)
    assert worst_error(between(texture(size=size), warp(texture(size=size), true)), true, size) < 1.0


def test_a_size_change_starts_anew():
    motion, small = CameraMotion(), texture(size=(160, 128))
    assert motion.update(texture(), "mono") is None
    assert motion.update(small, "mono") is None
    assert motion.update(small, "mono") is not None
    motion.reset()
    assert motion.update(small, "mono") is None


def test_a_large_object_is_not_followed():
    """A quarter of the view drives past over ground that stands still."""
    background, car = texture(0), texture(1)
    frames = []
    for x in (60, 75):
        image = background.copy()
        image[60:200, x : x + 146] = car[60:200, 60:206]
        frames.append(image)
    assert worst_error(between(*frames), turned()) < 0.5


def test_near_and_far_that_move_differently_are_refused():
    first = texture()
    second = np.vstack([warp(first, turned(shift=(10, 0)))[:128], warp(first, turned(shift=(-10, 0)))[128:]])
    assert between(first, second) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.full((256, 320), 90, np.uint8), np.full((256, 320), 90, np.uint8)),
        (texture(0), texture(1)),
        (texture(), np.zeros((256, 320), np.uint8)),
        (texture(), warp(texture(), turned(180))),
    ],
    ids=["flat", "unrelated", "black", "upside down"],
)
def test_what_cannot_be_trusted_is_none(first, second):
    assert between(first, second) is None


@pytest.mark.parametrize(
    "image",
    [np.zeros((0, 0), np.uint8), np.zeros((1, 1), np.uint8), np.zeros((2, 900), np.uint8), np.zeros((9, 9), np.int64)],
    ids=["empty", "one pixel", "a line", "a type OpenCV refuses"],
)
def test_unusable_images_raise_nothing(image):
    motion = CameraMotion()
    assert [motion.update(image, "mono") for _ in range(3)] == [None] * 3
    motion.update(texture(), "mono")
    assert motion.update(texture(), "mono") is not None


def test_a_thermal_camera_that_changes_its_gain():
    true = turned(shift=(5, 3))
    second = np.clip(warp(texture(), true) * 0.7 + 60, 0, 255).astype(np.uint8)
    assert worst_error(between(texture(), second), true) < 0.8


@pytest.mark.parametrize("preset", ["survey", "search"])
def test_rendered_flights_against_the_true_ground_plane(preset):
    flight, motion = Flight(preset, size=SIZE, frames=12, seed=3), CameraMotion()
    grid = np.stack(np.meshgrid(np.linspace(30, 290, 6), np.linspace(120, 240, 4)), -1).reshape(-1, 2)
    still, compensated, before = [], [], None
    for frame in flight:
        found, now = motion.update(frame.image, "mono"), frame.camera.ground_homography()
        if before is not None:
            moved = np.c_[grid, np.ones(len(grid))] @ (now @ np.linalg.inv(before)).T
            moved = moved[:, :2] / moved[:, 2:]
            still.append(np.median(np.linalg.norm(grid - moved, axis=1)))
            carried = grid if found is None else grid @ found[:, :2].T + found[:, 2]
            compensated.append(np.median(np.linalg.norm(carried - moved, axis=1)))
        before = now
    assert np.mean(compensated) < 0.5 * np.mean(still)


def test_cheap():
    """< 3 ms is measured by bench/tracking.py; this only notices a disaster."""
    motion, images = CameraMotion(), [texture(size=(640, 512)), warp(texture(size=(640, 512)), turned(shift=(4, 2)))]
    motion.update(images[0], "mono")
    start = time.perf_counter()
    for i in range(20):
        motion.update(images[1 - i % 2], "mono")
    assert (time.perf_counter() - start) / 20 < 0.03
