"""MOTA, identity switches, fragmentations and IDF1 on cases that can be counted by hand.

The figures of six rendered clips were compared once with py-motmetrics 1.4.0: all the same.
"""

import itertools

import numpy as np
import pytest

from offline.evaluation.tracking_metrics import Sequence, assign, metrics

A, B, FAR = (0, 0, 10, 10), (100, 0, 110, 10), (300, 300, 320, 320)


def score(frames):
    """frames: [({true id: box}, {track id: box})]."""
    sequence = Sequence()
    for true, tracks in frames:
        sequence.add(list(true), list(true.values()), list(tracks), list(tracks.values()))
    return metrics(sequence)


def test_perfect():
    result = score([({1: A, 2: B}, {7: A, 9: B})] * 5)
    assert result["idf1"] == result["mota"] == result["recall"] == result["precision"] == result["mostly_tracked"] == 1
    assert result["id_switches"] == result["fragmentations"] == 0


def test_an_identity_that_changes_in_the_middle():
    """10 frames, the first 6 with one id: IDTP 6 of 10 true and 10 tracked boxes."""
    result = score([({1: A}, {7: A})] * 6 + [({1: A}, {8: A})] * 4)
    assert result["idf1"] == pytest.approx(0.6)
    assert result["mota"] == pytest.approx(0.9)
    assert (result["id_switches"], result["fragmentations"]) == (1, 0)


def test_two_objects_that_swap_their_ids():
    result = score([({1: A, 2: B}, {7: A, 8: B})] * 3 + [({1: A, 2: B}, {7: B, 8: A})] * 2)
    assert result["idf1"] == pytest.approx(0.6)
    assert result["mota"] == pytest.approx(1 - 2 / 10)
    assert result["id_switches"] == 2


def test_lost_and_found_again_under_the_same_id():
    result = score([({1: A}, {7: A})] * 3 + [({1: A}, {})] * 2 + [({1: A}, {7: A})] * 3 + [({1: A}, {})])
    assert (result["id_switches"], result["fragmentations"]) == (0, 1)
    assert result["mota"] == pytest.approx(1 - 3 / 9)
    assert result["idf1"] == pytest.approx(2 * 6 / (9 + 6))
    assert result["mostly_tracked"] == 0


def test_lost_and_found_again_under_another_id_is_a_switch_too():
    result = score([({1: A}, {7: A}), ({1: A}, {}), ({1: A}, {8: A})])
    assert (result["id_switches"], result["fragmentations"]) == (1, 1)
    assert result["mota"] == pytest.approx(1 - 2 / 3)


def test_false_tracks_cost_precision_and_may_drive_mota_below_zero():
    result = score([({1: A}, {7: A, 8: FAR, 9: B})] * 4)
    assert result["mota"] == pytest.approx(1 - 8 / 4)
    assert (result["recall"], result["precision"]) == (1, pytest.approx(1 / 3))
    assert result["idf1"] == pytest.approx(2 * 4 / (4 + 12))


def test_a_track_keeps_its_object_while_it_overlaps_enough():
    """Track 8 lies better later, but 7 still overlaps: no switch (CLEAR MOT)."""
    result = score([({1: A}, {7: A}), ({1: A}, {7: (0, 0, 10, 7), 8: A})])
    assert result["id_switches"] == 0
    assert result["mota"] == pytest.approx(1 - 1 / 2)


def test_an_overlap_below_the_threshold_is_a_miss_and_a_false_track():
    result = score([({1: A}, {7: (5, 0, 15, 10)})])
    assert (result["mota"], result["idf1"], result["recall"]) == (-1, 0, 0)


def test_clips_are_counted_together_and_ids_do_not_mix():
    clips = [Sequence(), Sequence()]
    for clip, track_id in zip(clips, (7, 8), strict=True):
        clip.add([1], [A], [track_id], [A])
    assert metrics(*clips)["id_switches"] == 0 and metrics(*clips)["idf1"] == 1


def test_nothing_at_all():
    assert score([])["idf1"] == 0
    assert score([({}, {})])["mota"] == 1
    assert score([({}, {7: A})])["precision"] == 0


def test_assignment_is_the_best_of_all():
    rng = np.random.default_rng(0)
    for case in range(200):
        cost = rng.integers(-3, 4, rng.integers(0, 6, 2)) if case % 2 else rng.normal(size=rng.integers(0, 6, 2))
        pairs = assign(cost)
        assert len(pairs) == min(cost.shape) == len({r for r, _ in pairs}) == len({c for _, c in pairs})
        wide = cost if cost.shape[0] <= cost.shape[1] else cost.T
        rows, columns = wide.shape
        best = min(sum(wide[i, p[i]] for i in range(rows)) for p in itertools.permutations(range(columns), rows))
        assert sum(cost[p] for p in pairs) == pytest.approx(best)
