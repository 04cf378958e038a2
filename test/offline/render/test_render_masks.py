"""Masks of rendered flights: they say what the picture shows, and leave the picture as it was."""

import numpy as np
import PIL.Image
import pytest

from offline.data.masks import read_mask, read_masked
from offline.render import Flight, write_dataset
from offline.render.masks import CLASSES, IGNORE
from offline.render.renderer import Renderer
from offline.render.scene import Motion, Scene

SIZE = (160, 128)


def index(name):
    return CLASSES.index(name)


def test_drawing_masks_changes_no_pixel_of_the_picture():
    plain, masked = (Flight("search", "color", SIZE, 3, seed=11, masks=m).frame(1) for m in (False, True))
    assert np.array_equal(plain.image, masked.image) and plain.mask is None
    assert masked.mask.shape == SIZE[::-1] and masked.mask.dtype == np.uint8


@pytest.mark.parametrize("preset", ["survey", "search", "approach"])
def test_the_pixels_of_a_class_lie_in_the_boxes_of_its_objects(preset):
    frame = Flight(preset, "color", SIZE, 60, seed=5, masks=True).frame(30)
    assert set(np.unique(frame.mask)) <= {*range(len(CLASSES)), IGNORE}
    for kind in ("Person", "Car", "Bicycle"):
        inside = np.zeros(SIZE[::-1], bool)
        for truth in (t for t in frame.objects if t.kind == kind):
            x, y, w, h = truth.bbox
            inside[int(y) : int(np.ceil(y + h)) + 1, int(x) : int(np.ceil(x + w)) + 1] = True
        assert not (frame.mask == index(kind.lower()))[~inside].any()
    for truth in frame.objects:
        if truth.kind == "Car" and truth.visible > 0.95 and min(truth.bbox[2:]) > 8:
            x, y, w, h = (round(v) for v in truth.bbox)
            assert (frame.mask[y : y + h, x : x + w] == index("car")).mean() > 0.3


def test_the_sky_lies_over_the_horizon_and_a_house_has_a_roof():
    flight = Flight("approach", "color", SIZE, 30, seed=3, masks=True)
    mask = flight.frame(0).mask
    sky = (mask == index("sky")).mean(1)
    assert sky[0] > 0.3 and sky[-20:].max() == 0
    scene = Scene(1, "color", density=0)
    scene.add("House", Motion(np.array([0.0, 0.0]), 0.0), style=1)
    camera = Flight("survey", "color", SIZE, 1, seed=3).camera(0)
    above = type(camera)(
        camera.K, *SIZE, np.array([0.0, 0.0, 30.0]), np.diag([1.0, -1.0, -1.0]), np.zeros(3)
    )  # straight down
    seen = Renderer(scene, *SIZE, masks=True).render(above, 0.0).mask
    assert seen[SIZE[1] // 2, SIZE[0] // 2] == index("roof") and not (seen == index("sky")).any()


def test_houses_stand_only_where_they_are_asked_for():
    kinds = [{i.kind for i in Scene(seed, houses=h).instances} for seed in range(4) for h in (False, True)]
    assert not any("House" in k for k in kinds[::2]) and any("House" in k for k in kinds[1::2])


def test_a_data_set_with_masks_is_read_as_one(tmp_path):
    write_dataset(tmp_path, "color", train=2, val=1, size=SIZE, seed=4, masks=True)
    data = read_masked(tmp_path, "train.json")
    assert data.segments == list(CLASSES)
    image = PIL.Image.open(tmp_path / "masks/train_000000.png")
    assert image.mode == "P" and np.array_equal(np.asarray(image), read_mask(data.samples[0]))
    with_masks = (tmp_path / "train.json").read_bytes()
    write_dataset(tmp_path / "again", "color", train=2, val=1, size=SIZE, seed=4, masks=True)
    assert (tmp_path / "again/train.json").read_bytes() == with_masks
