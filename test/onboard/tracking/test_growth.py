"""Growth from pixels: right on texture, silent where nothing can be followed, and worth it for the time to contact."""

import cv2
import numpy as np
import pytest

from vit_perception.avoidance.contact import ContactFilter
from vit_perception.tracking.growth import INTERVAL_S, LONGEST_S, Expansion, growth
from vit_perception.tracking.tracker import Track

BOX = np.array([280.0, 200.0, 330.0, 240.0])


def texture(seed=0):
    """Smooth clutter, as an uncooled thermal camera sees it, with the contrast of an object in the middle."""
    rng = np.random.default_rng(seed)
    ground = cv2.GaussianBlur(rng.normal(90, 60, (480, 640)), (0, 0), 3)
    thing = cv2.GaussianBlur(rng.normal(150, 120, (480, 640)), (0, 0), 2)
    x1, y1, x2, y2 = BOX.astype(int)
    ground[y1:y2, x1:x2] = thing[y1:y2, x1:x2]
    return np.clip(ground, 0, 255).astype(np.uint8)


def enlarged(image, zoom, shift=(0.0, 0.0), noise=2.0, seed=1):
    """The image enlarged about the box's middle, and the box in it."""
    middle = 0.5 * (BOX[:2] + BOX[2:])
    move = (1 - zoom) * middle + shift
    view = cv2.warpAffine(image, np.array([[zoom, 0, move[0]], [0, zoom, move[1]]]), (640, 480))
    view = view + np.random.default_rng(seed).normal(0, noise, view.shape)
    return np.clip(view, 0, 255).astype(np.uint8), zoom * BOX + np.tile(move, 2)


@pytest.mark.parametrize("true", [0.9, 1.0, 1.05, 1.25])
def test_growth_is_that_of_the_texture_whatever_the_boxes_say(true):
    image = texture()
    now, box = enlarged(image, true, shift=(9.0, -6.0))
    rng, told = np.random.default_rng(3), []
    for _ in range(8):  # boxes with a detector's jitter: 5% of their size
        one, two = (b + rng.normal(0, 2.5, 4) for b in (BOX, box))
        told.append(growth(image, now, one, two))
    ratios, sigmas = np.array([t for t in told if t is not None]).T
    assert len(ratios) >= 6
    np.testing.assert_allclose(ratios, true, rtol=0.02)
    assert (sigmas > 0).all() and (sigmas < 0.05).all()


@pytest.mark.parametrize("side", [20.0, 50.0, 180.0])
def test_small_and_large_objects_are_compared_alike(side):
    zoom = side / 50
    image, box = enlarged(texture(), zoom, noise=0.0)
    now, box_now = enlarged(texture(), 1.1 * zoom)
    ratio, _ = growth(image, now, box, box_now)
    assert ratio == pytest.approx(1.1, abs=0.015)


def test_nothing_is_told_of_what_cannot_be_followed():
    image, flat = texture(), np.full((480, 640), 90, np.uint8)
    assert growth(flat, flat, BOX, BOX) is None
    assert growth(image, texture(seed=5), BOX, BOX) is None  # something else stands there now
    assert growth(image, image, BOX[[0, 1, 0, 1]] + [0, 0, 4, 4], BOX) is None  # too small for texture
    expansion = Expansion()
    outside = np.array([900.0, 900.0, 950.0, 950.0])
    assert expansion.compare(image, image, outside, outside) is None
    assert expansion.compare(image, image[:200], BOX, BOX) is None


def tracked(box, stamp_s, detection=0):
    track = Track(7, 0, stamp_s)
    track.box, track.detection = np.asarray(box, np.float32), detection
    return track


@pytest.mark.parametrize("size", [14.0, 60.0])
@pytest.mark.parametrize("axis", [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)])
def test_a_box_that_was_carried_out_of_the_image_tells_nothing_and_returns(axis, size):
    """Beyond each border, up to the surroundings that are compared and past them."""
    image, axis = texture(), np.array(axis)
    inside = np.array([300.0, 220.0, 300.0 + size, 220.0 + size])
    for left in (0.0, 11.0, 12.0, 13.0, 400.0):
        corner = np.where(axis > 0, (640.0 + left, 480.0 + left), -size - left)
        corner = np.where(axis == 0, inside[:2], corner)
        outside = np.concatenate([corner, corner + size])
        for one, two in ((inside, outside), (outside, inside)):
            assert growth(image, image, one, two) is None
        told = growth(image, image, outside, outside)
        assert told is None or told[0] == pytest.approx(1.0, abs=0.01)


def test_growth_comes_at_intervals_and_never_across_a_pause_or_a_jump_of_time():
    image, expansion, told = texture(), Expansion(), []
    steps = np.arange(12) * 0.1
    for stamp_s in [*steps, steps[-1] + LONGEST_S + 0.5, 0.0, INTERVAL_S + 0.01]:
        track = tracked(BOX, stamp_s)
        expansion.update(image, "mono", float(stamp_s), [track])
        told.append(track.growth)
    regular = [t is not None for t in told[:12]]
    assert sum(regular) == 2 and not any(regular[:4])
    assert told[12] is None and told[13] is None and told[14] is not None
    for ratio, _, since_s in (t for t in told if t is not None):
        assert ratio == pytest.approx(1.0, abs=0.01) and INTERVAL_S <= since_s < INTERVAL_S + 0.11


def test_new_tracks_get_none_and_what_the_detector_misses_is_followed_on():
    image = cv2.cvtColor(texture(), cv2.COLOR_GRAY2BGR)
    expansion, seen, coasting = Expansion(), tracked(BOX, 0.5), tracked(BOX, 1.0, detection=-1)
    expansion.update(image, "bgr", 0.0, [])
    expansion.update(image, "bgr", 0.5, [seen])
    expansion.update(image, "bgr", 1.0, [coasting])
    assert seen.growth is None and coasting.growth is not None


def approach(seed, growths, last=None):
    """A filter after 1.5 s of an approach from 4.5 s to contact, sizes wrong by a slowly wandering part, with so many
    growths, the last of them right, or as given."""
    rng, contact, wrong = np.random.default_rng(seed), ContactFilter(), 0.0
    for i in range(24):
        t = i / 15
        wrong = 0.9 * wrong + 0.03 * rng.normal()
        contact.add(t, 100 / (4.5 - t) * np.exp(wrong + 0.03 * rng.normal()))
        if i in (6, 12, 18)[:growths]:
            right = (4.5 - t + 0.4) / (4.5 - t) + 0.015 * rng.normal()
            contact.grow(t, last if last and i == 18 else right, 0.015, 0.4)
    return contact.rate_at(t)[0] * (4.5 - t) - 1  # error of the rate, as a part of it


def test_growth_makes_the_time_to_contact_surer_and_stray_growth_does_not_spoil_it():
    plain, two, three, stray = (
        np.median(np.abs([approach(seed, *of) for seed in range(60)])) for of in ((0,), (2,), (3,), (3, 1.7))
    )
    assert three < two < plain and three < 0.4 * plain
    assert stray < 1.1 * two  # as if it were not there


def test_growth_without_a_size_is_nothing_and_is_never_uncertainty_gained():
    contact = ContactFilter()
    contact.grow(0.0, 1.1, 0.01, 0.4)
    assert contact.rate_at(0.0) is None
    contact.add(0.0, 20.0)
    before = contact.rate_at(0.0)[1]
    contact.grow(0.0, 1.1, 0.01, 0.4)
    rate, after = contact.rate_at(0.0)
    assert after < before and rate == pytest.approx(0.25, rel=0.15)
