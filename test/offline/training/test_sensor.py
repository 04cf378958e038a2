"""Crops as other cameras would show them: each change does what its name says, alone, and the teacher never sees it."""

import cv2
import numpy as np
import pytest
from training import SPEC

from offline.data import read_coco
from offline.render import write_dataset
from offline.training import sensor
from offline.training.augment import Loader
from offline.training.sensor import Sensor

CHANGES = ("coarse", "blur", "pattern", "tone", "invert", "palette")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, "thermal", train=4, val=1, size=(160, 128), seed=1)
    return read_coco(folder, "train.json", ("DontCare",))


def scene():
    """A warm person on a smooth ramp: float32 (1, 96, 128) in 0..1."""
    x = np.tile(np.linspace(0.2, 0.5, 128, dtype=np.float32), (1, 96, 1))
    x[:, 40:64, 60:70] = 0.9
    return x


def of(name, **options):
    return sensor.apply(np.random.default_rng(4), scene(), Sensor(**{name: 1.0} | options))


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_keeps_shape_type_and_range_and_is_off_by_default(name):
    changed = of(name)
    assert changed.shape == scene().shape and changed.dtype == np.float32
    assert changed.min() >= 0 and changed.max() <= 1 and np.abs(changed - scene()).max() > 0.02
    assert (sensor.apply(np.random.default_rng(4), scene(), Sensor()) == scene()).all()


def test_a_share_is_how_many_crops_are_changed():
    rng = np.random.default_rng(0)
    changed = [(sensor.apply(rng, scene(), Sensor(invert=0.3)) != scene()).any() for _ in range(400)]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.07)


def test_inverted_warm_is_dark():
    assert np.allclose(of("invert"), 1 - scene())


def test_low_resolution_and_blur_lose_detail_but_not_brightness():
    sharp = cv2.Laplacian(scene()[0], cv2.CV_32F).var()
    for name in ("coarse", "blur"):
        changed = of(name)
        assert cv2.Laplacian(changed[0], cv2.CV_32F).var() < 0.7 * sharp
        assert changed.mean() == pytest.approx(scene().mean(), abs=0.01)


def test_fixed_pattern_noise_runs_along_rows_and_columns():
    noise = (of("pattern") - scene())[0, :30]  # above the person
    assert noise.mean(0).std() + noise.mean(1).std() > 0.3 * noise.std() > 0.001


def test_gain_control_keeps_the_order_of_gray_values_in_a_whole_image(monkeypatch):
    monkeypatch.setattr(sensor, "TILES", (1, 1))
    ramp = np.linspace(0, 1, 96 * 128, dtype=np.float32).reshape(1, 96, 128)
    for seed in range(12):
        toned = sensor.apply(np.random.default_rng(seed), ramp, Sensor(tone=1.0))
        assert (np.diff(toned.ravel()) >= -0.01).all()


def test_some_palettes_turn_bright_to_dark_along_the_scale():
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(1, 16, 16)
    falls = [
        (np.diff(sensor.apply(np.random.default_rng(s), ramp, Sensor(palette=1.0)).ravel()) < 0).mean()
        for s in range(30)
    ]
    assert min(falls) < 0.05 and max(falls) > 0.2  # ironbow rises all the way, a rainbow does not


def loader(data, **options):
    return Loader(data, SPEC, (96, 64), 16, (1.0, 1.0), 0.0, 0.0, seed=3, objects=1.0, sensor=Sensor(**options))


def test_the_teacher_sees_the_crop_of_its_own_camera(data):
    plain, turned = loader(data).make(0, 0.0), loader(data, invert=1.0).make(0, 0.0)
    assert "clean" not in plain  # the images themselves
    assert (turned["clean"] == plain["images"]).all()
    mean, std = SPEC["mean"][0], SPEC["std"][0]
    pixels = turned["images"] * std + mean
    assert (pixels - (1 - (turned["clean"] * std + mean))).abs().max() < 1e-5
    assert (turned["boxes"] == plain["boxes"]).all()


def test_stretched_crops_stretch_their_boxes_with_them(data):
    plain, wide = loader(data).make(0, 0.0), loader(data, stretch=1.0).make(0, 0.0)
    assert "clean" not in wide

    def aspects(batch):
        kept = batch["boxes"][batch["labels"] >= 0].numpy()
        return np.log((kept[:, 2] - kept[:, 0]) / (kept[:, 3] - kept[:, 1]))

    assert aspects(wide).std() > aspects(plain).std()
    rng = np.random.default_rng(0)
    for _ in range(50):
        x, y = sensor.aspect(rng, Sensor(stretch=1.0))
        assert x * y == pytest.approx(1) and abs(np.log(x / y)) <= sensor.STRETCH


def test_a_stretched_box_stays_on_its_object(tmp_path):
    """A bright square on black: the middle of every box is bright, its surroundings dark."""
    write_dataset(tmp_path, "thermal", train=1, val=1, size=(160, 128), seed=1)
    source = read_coco(tmp_path, "train.json", ("DontCare",))
    sample = source.samples[0]
    sample.boxes, sample.classes = np.float32([[60, 40, 90, 70]]), np.zeros(1, np.int64)
    image = np.zeros((128, 160), np.uint8)
    image[40:70, 60:90] = 255
    cv2.imwrite(str(sample.path), image)
    batch = loader(source, stretch=1.0).make(0, 0.0)
    checked = 0
    for pixels, boxes, labels in zip(batch["images"], batch["boxes"], batch["labels"], strict=True):
        for x1, y1, x2, y2 in boxes[labels >= 0].round().int().tolist():
            inside = pixels[0, y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
            around = pixels[0, max(0, y1 - 3) : y2 + 3, max(0, x1 - 3) : x2 + 3]
            bright = (around > 1).sum().item()
            assert (inside > 1).all() and bright <= 1.15 * (x2 - x1) * (y2 - y1)
            checked += 1
    assert checked > 10
