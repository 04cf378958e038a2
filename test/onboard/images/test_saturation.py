"""Do the images suit the model, in colour or gray? By their pixels, not by their encoding."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from image_messages import scene

from vit_perception.images.saturation import IMAGES, ColourCheck

COLOURED, GRAY = scene((96, 128, 3), seed=1), scene((96, 128))


def check(color, image, order, count=IMAGES):
    judge = ColourCheck(SimpleNamespace(name="uav", input={"color": color}))
    return [judge.update(image, order) for _ in range(count)]


def test_a_gray_model_on_colour_images_is_told_after_some_images():
    said = check("gray", COLOURED, "rgb")
    assert said[:-1] == [""] * (IMAGES - 1)
    assert "images are in colour but the model uav was trained on gray ones" in said[-1] and "set model" in said[-1]


@pytest.mark.parametrize(
    ("image", "order"), [(GRAY, "mono"), (np.dstack([GRAY] * 3), "rgb"), (np.dstack([GRAY] * 3), "bgr")]
)
def test_gray_pixels_are_gray_whatever_their_encoding(image, order):
    assert check("gray", image, order)[-1] == ""
    assert "images are gray" in check("rgb", image, order)[-1]


def test_colour_for_colour_is_right():
    assert check("rgb", COLOURED, "bgr")[-1] == ""


def test_one_gray_image_among_many_is_no_reason_and_a_change_is_seen():
    judge = ColourCheck(SimpleNamespace(name="uav", input={"color": "rgb"}))
    for i in range(40):
        assert judge.update(GRAY if i == 20 else COLOURED, "mono" if i == 20 else "rgb") == ""
    assert [judge.update(GRAY, "mono") for _ in range(60)][-1] != ""
    assert [judge.update(COLOURED, "rgb") for _ in range(60)][-1] == ""


def test_a_gray_image_as_colour_jpeg_is_gray():
    data = cv2.imencode(".jpg", np.dstack([GRAY] * 3), [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    assert "images are gray" in check("rgb", cv2.imdecode(data, cv2.IMREAD_COLOR), "bgr")[-1]


@pytest.mark.parametrize(
    ("folder", "color"), [("hit_uav", "gray"), ("asl_tid", "gray"), ("rgb_vehicles", "rgb"), ("zoom", "rgb")]
)
def test_real_images_suit_the_model_of_their_kind_and_not_the_other(shared_data, folder, color):
    files = [p for p in sorted((shared_data / folder).rglob("*")) if p.suffix.lower() in (".jpg", ".png")]
    other = {"gray": "rgb", "rgb": "gray"}[color]
    judges = {c: ColourCheck(SimpleNamespace(name="uav", input={"color": c})) for c in (color, other)}
    for path in files[:: max(1, len(files) // 30)]:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        said = {c: judge.update(image, "bgr") for c, judge in judges.items()}
    assert said[color] == "" and said[other] != ""
