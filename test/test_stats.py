"""The figures behind /diagnostics."""

import pytest

from vit_perception.stats import NodeStats, Rate, Samples, temperature_c


def test_percentiles_are_of_the_newest_values():
    samples = Samples(size=100)
    assert samples.percentile(50) is None
    for i in range(1000):
        samples.add(i)
    assert samples.percentile(0) == 900 and samples.percentile(100) == 999


def test_rate_counts_the_window_and_falls_to_zero():
    rate = Rate(window_s=5.0)
    assert rate.per_second(0.0) == 0.0
    for i in range(100):
        rate.add(i * 0.1)
    assert rate.per_second(9.9) == pytest.approx(10, abs=0.3)
    assert rate.per_second(12.4) == pytest.approx(5, abs=0.3)
    assert rate.per_second(60.0) == 0.0


def test_rate_of_a_short_run_is_not_diluted():
    rate = Rate(window_s=5.0)
    for i in range(21):
        rate.add(i * 0.1)
    assert rate.per_second(2.0) == pytest.approx(10, abs=1)


def test_one_good_frame_ends_a_row_of_failures():
    stats = NodeStats()
    stats.add_failure("a")
    stats.add_rejection("b")
    assert (stats.consecutive_failures, stats.last_problem, stats.last_failure) == (2, "b", "a")
    stats.add_frame({"infer": 3.0}, 5.0, 4.0, 1.0)
    assert (stats.consecutive_failures, stats.processed, stats.failures, stats.rejected) == (0, 1, 1, 1)
    assert stats.stages["infer"].percentile(50) == 3.0


def test_temperature_is_the_hottest_readable_zone(tmp_path):
    for name, text in (("zone0", "41500\n"), ("zone1", "58000\n"), ("zone2", "garbage")):
        (tmp_path / name).write_text(text)
    assert temperature_c(str(tmp_path / "zone*")) == 58.0
    assert temperature_c(str(tmp_path / "none*")) is None
