"""The table of boards: what exists, what is refused, and in which words."""

import pytest

from offline.boards.targets import TARGETS, find_precision, find_target
from offline.errors import RecipeError


def test_int8_is_refused_for_the_nano_in_words():
    with pytest.raises(RecipeError, match=r"jetson-nano .* has no hardware for int8.*choose one of: fp32, fp16"):
        find_precision(find_target("jetson-nano"), "int8")


def test_unknown_names_are_answered_with_the_choice():
    with pytest.raises(RecipeError, match="no target 'jetson'; choose one of: jetson-nano"):
        find_target("jetson")
    with pytest.raises(RecipeError, match="no precision 'fp4'; choose one of: fp32"):
        find_precision(find_target("cpu"), "fp4")


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_precision_of_the_table_is_accepted_and_lower_ones_are_faster(target):
    assert [find_precision(target, p) for p in target.precisions] == list(target.precisions)
    rates = list(target.peak.values())  # written from fp32 down
    assert rates == sorted(rates) and (target.bandwidth > 0) == bool(rates)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_no_board_gets_a_variant_that_it_cannot_run(target):
    assert ("int8_trt" in target.variants) == (target.tensorrt is not None and "int8" in target.precisions)
