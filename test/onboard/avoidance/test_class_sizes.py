"""Sizes of classes: by name in any case, and those of the bundle first."""

import pytest

from vit_perception.avoidance.class_sizes import sizes_by_index
from vit_perception.errors import BundleError


def test_sizes_are_found_by_name_in_any_case():
    table = sizes_by_index(["Person", "Car", "DontCare"], ["car", "person", "ship"], [1.5, 1.7, 9.0], [0.2, 0.1, 3.0])
    assert table == {1: (1.5, 0.2), 0: (1.7, 0.1)}


def test_sizes_of_the_bundle_hold_over_the_parameters():
    table = sizes_by_index(["person", "Car"], ["car", "person"], [1.5, 1.7], [0.2, 0.1], {"car": [4.5, 1]})
    assert table == {0: (1.7, 0.1), 1: (4.5, 1.0)}
    for bad in ({"car": 4.5}, {"car": ["high", 1]}, {"car": [-1, 0]}, {"car": [float("nan"), 0]}, [1], {"car": [1]}):
        with pytest.raises(BundleError, match="sizes in bundle.json"):
            sizes_by_index(["car"], [], [], [], bad)
