"""The figures behind /diagnostics."""

import numpy as np
import pytest

from vit_perception.stats import NodeStats, Rate, RateLimit, Samples


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


@pytest.mark.parametrize(("given", "limit"), [(30.0, 10.0), (25.0, 10.0), (30.0, 20.0), (120.0, 15.0)])
def test_a_rate_limit_holds_on_average_whatever_the_jitter(given, limit):
    rng = np.random.default_rng(3)
    times = np.arange(3000) / given + rng.uniform(0, 0.4 / given, 3000)
    limiter = RateLimit()
    passed = [t for t in times if limiter.passes(t, limit)]
    assert len(passed) / times[-1] == pytest.approx(limit, rel=0.03)
    assert len(passed) < len(times)
    assert all(limiter.passes(t, 0.0) for t in times)


def test_a_limit_that_is_raised_holds_at_once():
    limiter = RateLimit()
    assert limiter.passes(0.0, 0.05) and not limiter.passes(1.0, 0.05)  # due at 20 s
    assert sum(limiter.passes(1.0 + 0.11 * i, 10.0) for i in range(10)) == 9


def test_after_a_pause_a_rate_limit_lets_no_burst_pass():
    limiter = RateLimit()
    assert limiter.passes(0.0, 10.0) and limiter.passes(50.0, 10.0)
    assert sum(limiter.passes(50.0 + 0.001 * i, 10.0) for i in range(1, 100)) <= 1
