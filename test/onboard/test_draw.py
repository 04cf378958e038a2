"""Pictures of results: what is drawn where, in any kind of image."""

import colorsys

import numpy as np
import pytest
from frame_results import BOX, LABELS, images, result

from vit_perception import palette
from vit_perception.draw import draw
from vit_perception.plates import Plates, _overlaps

NO_TRACK = palette.bgr(palette.NO_TRACK)
THREAT_COLOURS = {threat: palette.bgr(colour) for threat, colour in palette.OF_THREAT.items()}


def share(picture, colour, box):
    """Part of the four sides of `box`, three pixels wide, that have this colour."""
    x1, y1, x2, y2 = box
    hits = (picture == np.array(colour, np.uint8)).all(axis=2)
    sides = [hits[y - 1 : y + 2, x1 : x2 + 1].any(axis=0) for y in (y1, y2)]
    sides += [hits[y1 : y2 + 1, x - 1 : x + 2].any(axis=1) for x in (x1, x2)]
    return np.concatenate(sides).mean()


@pytest.mark.parametrize("order", ["mono", "rgb", "bgr"])
@pytest.mark.parametrize("threatens", [True, None, False])
def test_a_track_has_a_box_in_the_colour_of_its_threat_and_the_image_stays(order, threatens):
    image = images()[order]
    before = image.copy()
    picture = draw(image, order, result(threatens=threatens), LABELS)
    assert picture.shape == (512, 640, 3) and picture.dtype == np.uint8 and picture.flags.c_contiguous
    assert (image == before).all() and not np.shares_memory(picture, image)
    assert share(picture, THREAT_COLOURS[threatens], BOX) > 0.99
    background = picture[400, 400].tolist()
    assert background == ([90, 90, 90] if order == "mono" else [90, 90, 91]), "colours come out as BGR"


def test_padded_rows_and_read_only_images_are_drawn():
    padded = np.full((512, 700, 3), 90, np.uint8)
    padded.setflags(write=False)
    assert share(draw(padded[:, :640], "bgr", result(), LABELS), THREAT_COLOURS[None], BOX) > 0.99


def test_what_is_only_predicted_or_remembered_is_dashed():
    for shown in (result(detection=-1), result(detection=-1, remembered=True)):
        assert 0.3 < share(draw(images()["mono"], "mono", shown, LABELS), THREAT_COLOURS[None], BOX) < 0.9


@pytest.mark.parametrize("shown", [{}, {"detection": -1}, {"tracked": False}])
def test_a_box_is_seen_on_a_background_of_its_own_colour(shown):
    colour = NO_TRACK if "tracked" in shown else THREAT_COLOURS[None]
    image = np.full((512, 640, 3), colour, np.uint8)
    x1, y1, x2, y2 = (int(v) for v in BOX)
    below = draw(image, "bgr", result(**shown), LABELS)[y2 - 4 : y2 + 5, x1:x2]  # the lower side, away from the text
    assert ((below == 0).all(axis=2).any(axis=0)).mean() > 0.3


def test_a_detection_without_track_is_thin_and_white():
    picture = draw(images()["mono"], "mono", result(tracked=False), LABELS)
    assert share(picture, NO_TRACK, BOX) > 0.99
    column = (picture[140, 90:110] == np.array(NO_TRACK)).all(axis=1).sum()
    assert column == 1


def test_range_and_time_to_contact_lengthen_the_text():
    def text_pixels(**known):
        picture = draw(images()["mono"], "mono", result(**known), LABELS)
        return (picture[80:99] != 90).any(axis=2).sum()

    plain, ranged, both = text_pixels(), text_pixels(range_m=5.0), text_pixels(range_m=5.0, ttc_s=1.5)
    assert plain < ranged < both


@pytest.mark.parametrize(("width", "height"), [(640, 512), (1280, 720), (64, 48)])
def test_an_alert_is_a_banner_over_the_whole_width(width, height):
    quiet, warned, alarmed = (
        draw(images(width, height)["mono"], "mono", result((5, 5, 20, 20), level=level), LABELS) for level in (0, 1, 2)
    )
    assert (quiet[-1] == 90).all()
    assert (warned[-1] == np.array(palette.bgr(palette.WARNING))).all()
    assert (alarmed[-1] == np.array(THREAT_COLOURS[True])).all()


@pytest.mark.parametrize("box", [(-1e6, -1e6, 1e6, 1e6), (630, 500, 900, 900), (-50, 0, 3, 2), (5, 5, 5, 5)])
def test_boxes_beyond_the_image_are_no_trouble(box):
    for detection in (0, -1):
        draw(images()["mono"], "mono", result(box, detection=detection, range_m=1e5), LABELS)


def test_texts_do_not_cover_each_other_and_stay_in_the_picture():
    picture = np.zeros((480, 640, 3), np.uint8)
    plates = Plates(picture, 0.5, 1)
    plates.reserve(0, 440, 640, 480)
    for i in range(40):
        x, y = 30 * (i % 8), 20 * (i // 8)
        plates.add((x, y, x + 25, y + 40), palette.series(i), f"person #{i} 0.87  12.3 m", f"#{i}")
    plates.write()
    taken = np.array(plates._taken)
    assert (
        len(taken) > 20 and (taken >= 0).all() and (taken[:, [0, 2]] <= 640).all() and (taken[:, [1, 3]] <= 480).all()
    )
    assert np.triu(_overlaps(taken, taken), 1).sum() == 0


def test_one_object_among_a_crowd_keeps_its_text_because_it_threatens():
    crowd = result(threatens=True)
    picture = draw(images()["mono"], "mono", crowd, LABELS)
    assert (picture == np.array(THREAT_COLOURS[True])).all(axis=2)[:100].sum() > 500, "its plate is above it"


@pytest.mark.parametrize(("width", "least"), [(640, 2), (1280, 2), (3840, 6)])
def test_lines_grow_with_the_picture(width, least):
    big = draw(images(width, 512)["mono"], "mono", result(threatens=True), LABELS)
    row = (big[140, 80:120] == np.array(THREAT_COLOURS[True])).all(axis=1).sum()
    assert least <= row <= least + 1


def test_a_small_image_is_drawn_larger():
    picture = draw(images(128, 96)["mono"], "mono", result((10, 10, 40, 40), threatens=False), LABELS, zoom=5)
    assert picture.shape == (480, 640, 3)
    assert share(picture, THREAT_COLOURS[False], (50, 50, 200, 200)) > 0.9


def test_only_what_threatens_is_red():
    """And no series has a hue near those of threats: red, orange, green."""

    def hue(colour):
        h, s, v = colorsys.rgb_to_hsv(*palette.rgba(colour)[:3])
        return 360 * h, s

    assert [round(hue(c)[0]) for c in (palette.THREATENS, palette.NOT_JUDGED, palette.PASSES)] == [0, 39, 128]
    for colour in palette.SERIES + palette.ON_PAPER:
        h, s = hue(colour)
        assert 170 <= h <= 335 or s < 0.56, f"{colour} has the hue of a threat"
