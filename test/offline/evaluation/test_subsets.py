"""Groups of images by what their file names say."""

from pathlib import Path

import numpy as np
import pytest

from offline.data import Dataset, Sample
from offline.errors import DataError
from offline.evaluation.subsets import Grouping

NAMES = ["1_60_90_0_1.jpg", "0_80_30_0_2.jpg", "1_79_30_0_3.jpg", "1_130_30_0_4.jpg", "0_100_90_0_5.jpg"]
ALTITUDE = r"^\d_(?P<altitude>\d+)_"


def dataset(names=NAMES) -> Dataset:
    none = np.zeros((0, 4), np.float32)
    samples = [Sample(Path("1_70_x") / n, i, 10, 10, none, np.zeros(0, int), none) for i, n in enumerate(names)]
    return Dataset("flights", ["Person"], samples, "")


def test_bands_hold_from_one_number_up_to_the_next_and_the_last_its_end():
    groups = Grouping.parse(ALTITUDE, ["altitude=60,80,100,130"]).split(dataset())
    assert groups == {"altitude": {"60-80": [0, 2], "80-100": [1], "100-130": [3, 4]}}
    narrow = Grouping.parse(ALTITUDE, ["altitude=79,100"]).split(dataset())["altitude"]
    assert list(narrow.items()) == [("under 79", [0]), ("79-100", [1, 2, 4]), ("over 100", [3])]


def test_without_bands_every_value_is_a_group_in_numeric_order():
    groups = Grouping.parse(r"^(?P<time>\d)_(?P<altitude>\d+)_", []).split(dataset())
    assert groups["time"] == {"0": [1, 4], "1": [0, 2, 3]}
    assert list(groups["altitude"]) == ["60", "79", "80", "100", "130"]


def test_names_that_do_not_match_are_a_group_of_their_own():
    groups = Grouping(ALTITUDE).split(dataset([*NAMES[:2], "extra.jpg"]))["altitude"]
    assert groups == {"60": [0], "80": [1], "other names": [2]}
    assert Grouping().split(dataset()) == {}


@pytest.mark.parametrize(
    ("pattern", "bands", "says"),
    [
        ("(", [], "is no regular expression"),
        (r"^\d_(\d+)_", [], "names no group; write e.g."),
        (ALTITUDE, ["height=1,2"], "'height' is no group of the pattern .* it has: altitude"),
        (None, ["altitude=1,2"], "it has: none"),
        (ALTITUDE, ["altitude=80,60"], "two or more ascending numbers"),
        (ALTITUDE, ["altitude=80"], "two or more ascending numbers"),
        (ALTITUDE, ["altitude=low,high"], "is not of the form NAME=NUMBER,NUMBER"),
        (r"(?P<altitude>high)", [], "no file name of flights matches"),
        (r"(?P<altitude>_0_)", ["altitude=1,2"], "finds '_0_', which is no number"),
    ],
)
def test_what_cannot_group_is_one_sentence(pattern, bands, says):
    with pytest.raises(DataError, match=says):
        Grouping.parse(pattern, bands).split(dataset())
