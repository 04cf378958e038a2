"""Time to contact: exact on exact growth, calibrated under noise, not fooled by jumps, gaps and repeated stamps."""

import math

import numpy as np
import pytest

from vit_perception.avoidance.contact import ContactFilter, angular_size


def watch(ttc, times, size=60.0, noise=0.0, rng=None, assumed=0.05, contact=None):
    """A filter that saw an object of `size` at time 0, `ttc` seconds before contact, at `times` (s)."""
    contact = contact or ContactFilter()
    for t in times:
        s = size * ttc / (ttc - t)
        contact.add(100.0 + t, s * (1 + (noise * rng.normal() if noise else 0.0)), assumed)
    return contact


@pytest.mark.parametrize("ttc", [0.8, 3.0, 10.0])
def test_exact_growth_gives_exact_time_to_contact(ttc):
    """Within what the filter begins with, a standstill: soon forgotten."""
    value, sigma = watch(ttc, np.arange(-2.0, 0.01, 0.1)).at(100.0)
    assert value == pytest.approx(ttc, rel=0.03)
    assert 0 < sigma < 0.6 * ttc


def test_receding_and_standing_objects_have_none():
    assert watch(-3.0, np.arange(-1, 0.01, 0.1)).at(100.0) is None
    still = ContactFilter()
    for i in range(20):
        still.add(0.1 * i, 50.0)
    assert still.at(2.0) is None or still.at(2.0)[0] > 100


def test_irregular_stamps_and_lost_frames_do_not_matter():
    rng = np.random.default_rng(1)
    times = np.sort(rng.uniform(-2.0, 0.0, 25))
    assert watch(2.0, times).at(100.0)[0] == pytest.approx(2.0, rel=0.03)


def test_it_counts_down_and_becomes_less_certain_unseen():
    contact = watch(3.0, np.arange(-2, 0.01, 0.1))
    (now, sigma), (later, more) = contact.at(100.0), contact.at(101.0)
    assert later == pytest.approx(now - 1.0)
    assert more > sigma
    assert contact.at(110.0)[0] == 0.0


@pytest.mark.parametrize("fps", [10, 30])
@pytest.mark.parametrize("noise", [0.02, 0.06])
def test_sigma_is_what_the_errors_are(fps, noise):
    """White noise of a known and of a wrongly assumed size; 300 approaches, 2 s seen, 3 s to go."""
    rng, off, sigmas = np.random.default_rng(fps), [], []
    for _ in range(300):
        value, sigma = watch(3.0, np.arange(-2, 0.001, 1 / fps), noise=noise, rng=rng, assumed=0.06).at(100.0)
        off.append(value - 3.0)
        sigmas.append(sigma)
    assert abs(np.median(off)) < 0.2
    assert (np.abs(off) <= sigmas).mean() > 0.6  # never too sure; white noise at a high rate is milder than assumed
    if noise == 0.06:
        assert np.median(sigmas) < 2.5 * np.std(off)


def test_more_frames_make_it_more_certain():
    few, many = (watch(3.0, np.arange(-span, 0.01, 0.1)).at(100.0)[1] for span in (0.7, 2.0))
    assert many < 0.5 * few


def test_one_larger_box_after_a_gap_is_no_approach():
    """Of another object, say, near where this one was lost; a second and a third one of that kind would be."""
    contact = ContactFilter()
    for t in np.arange(0, 1.0, 0.1):
        contact.add(t, 12.0, 0.12)
    contact.add(1.5, 17.0, 0.12)
    assert contact.hits == 11 and contact.rate_at(1.5)[0] > 0.2  # taken, and it looks like closing
    assert contact.at(1.5) is None


def test_growth_counts_for_what_it_is_however_wrong_the_rate_was():
    """Boxes hinted, vaguely, at 1.2 s; pixels say that nothing grew."""
    contact = ContactFilter()
    for t, size in ((0.0, 26.0), (0.1, 27.0), (0.2, 31.0), (0.3, 33.0), (0.4, 34.0), (0.5, 36.0)):
        contact.add(t, size, 0.1)
    vague = contact.rate_at(0.5)
    contact.grow(0.9, 1.0, 0.037, 0.4)
    rate, sigma = contact.rate_at(0.9)
    assert vague[0] > 0.6 and vague[1] > 0.3 and abs(rate) < 2 * sigma < 0.3


def test_growth_that_contradicts_what_was_known_is_told_when_the_next_one_agrees():
    contact, told = watch(-4.0, np.arange(-2.0, 0.01, 0.1)), []  # receding, and then 3 s before contact
    for t in (0.4, 0.8, 1.2):
        contact.grow(100.0 + t, (3.4 - t) / (3.0 - t), 0.02, 0.4)
        for later in (0.1, 0.2, 0.3):
            contact.add(100.0 + t + later, 180.0 / (3.0 - t - later), 0.05)
        told.append(contact.at(100.3 + t) is not None)
    assert told == [False, False, True]


def test_the_filter_does_not_drift_away_from_what_is_measured():
    """Growth from pixels that is wrong for long, of two objects that pass each other, say."""
    contact = watch(1e6, np.arange(-1.0, 0.01, 0.1))
    for i in range(20):
        contact.grow(100.4 + 0.4 * i, 0.85, 0.02, 0.4)
        for t in (0.1, 0.2, 0.3):
            contact.add(100.4 + 0.4 * i + t, 60.0, 0.05)
    assert contact.size_at(108.4)[0] == pytest.approx(60.0, rel=0.5)


def test_a_single_torn_box_changes_nothing():
    contact = watch(3.0, np.arange(-2, -0.01, 0.1))
    before = contact.at(100.0)
    contact.add(100.0, 120.0)
    assert contact.at(100.0) == before


def test_a_merged_box_changes_the_scale_and_not_the_time_to_contact():
    """Two objects become one box, 1.6 times as large: growth of 60% within a frame is not motion."""
    contact = watch(4.0, np.arange(-2, 0.01, 0.1))
    seen = []
    for t in np.arange(0.1, 1.5, 0.1):
        contact.add(100 + t, 1.6 * 60.0 * 4.0 / (4.0 - t), 0.05)
        seen.append(contact.at(100 + t)[0] / (4.0 - t))
    assert min(seen) > 0.8 and max(seen) < 1.25
    assert contact.stamp_s == pytest.approx(101.4)  # the new size is being followed


@pytest.mark.parametrize("size", [0.0, -1.0, math.nan, math.inf])
def test_sizes_that_are_none_are_ignored(size):
    contact = ContactFilter()
    contact.add(0.0, size)
    assert contact.hits == 0 and contact.at(0.0) is None and contact.size_at(0.0) is None


def test_repeated_and_old_stamps_are_ignored():
    contact = watch(3.0, np.arange(-1, 0.01, 0.1))
    hits, value = contact.hits, contact.at(100.0)
    contact.add(100.0, 61.0)
    contact.add(99.0, 10.0)
    assert contact.hits == hits and contact.at(100.0) == value


def test_an_object_that_outlives_its_contact_starts_anew():
    """It stopped in front of the camera while it was not seen."""
    contact = watch(1.0, np.arange(-2, 0.01, 0.1), size=300.0)
    for i in range(30):
        contact.add(103.0 + 0.1 * i, 300.0)
    ttc = contact.at(106.0)
    assert ttc is None or ttc[0] > 20


def test_size_is_smoothed():
    rng = np.random.default_rng(3)
    contact = watch(5.0, np.arange(-2, 0.001, 0.05), noise=0.06, rng=rng)
    size, sigma = contact.size_at(100.0)
    assert size == pytest.approx(60.0, rel=0.06) and sigma < 0.05


def test_angular_size_is_width_over_distance_and_does_not_change_with_rotation():
    a, b = np.array([[-0.5, 0, 10.0]]), np.array([[0.5, 0, 10.0]])
    assert angular_size(a, b) == pytest.approx(0.1)
    c, s = math.cos(0.7), math.sin(0.7)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    assert angular_size(a @ turn.T, 3 * b @ turn.T) == pytest.approx(0.1)


@pytest.mark.parametrize("seed", range(0, 200, 10))
def test_rounding_makes_no_variance_negative(seed):
    """Growths that are nearly exact, and contact itself: the filter answers, and its correlation is below one."""
    for k in range(seed, seed + 10):
        rng = np.random.default_rng(k)
        contact, stamp, ttc = ContactFilter(), 0.0, rng.uniform(0.3, 20.0)
        while stamp < 1.5 * ttc:
            stamp += rng.choice([0.03, 0.05, 0.1, 0.5])
            left = max(ttc - stamp, 1e-6)
            contact.add(stamp, 100.0 / left * np.exp(rng.normal(0, 0.03)), rng.choice([0.02, 0.05, 0.3]))
            since = rng.uniform(0.1, 1.5)
            contact.grow(stamp, (left + since) / left, 10 ** rng.uniform(-9, -1), since)
            size, rate = contact.size_at(stamp), contact.rate_at(stamp)
            assert (size is None) == (rate is None) and (size is None or (size[1] > 0 and rate[1] > 0))
            assert contact._yv**2 < contact._yy * contact._vv
            contact.at(stamp)
