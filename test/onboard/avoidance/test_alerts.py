"""Alerts: only of what threatens, in time to stop; debounce, hysteresis, and the most aggressive one wins."""

from types import SimpleNamespace

import numpy as np
import pytest

from vit_perception.avoidance.alerts import ERROR, OK, WARN, AlertPolicy
from vit_perception.avoidance.corridor import Corridor
from vit_perception.avoidance.obstacles import Obstacle


def obstacle(
    ttc=None, sigma=0.1, range_m=None, track_id=1, threatens=None, range_sigma=0.0, mean_score=0.6, hits=20
):  # fmt: skip
    track = SimpleNamespace(id=track_id, mean_score=mean_score, hits=hits)
    o = Obstacle(track)
    o.ttc_s, o.ttc_sigma_s, o.threatens = ttc, sigma, threatens
    if range_m is not None:
        o.range_m, o.range_sigma_m, o.position = range_m, range_sigma, np.array([range_m, 0.0, 0.0])
        o.covariance = range_sigma**2 * np.eye(3)
    return o


def levels(policy, ttcs):
    return [policy.update([obstacle(t)]).level for t in ttcs]


def test_rises_after_the_trigger_count_and_falls_after_the_release_count():
    policy = AlertPolicy(trigger_count=3, release_count=4)
    assert levels(policy, [3.0] * 4) == [OK, OK, WARN, WARN]
    assert levels(policy, [9.0] * 5) == [WARN, WARN, WARN, OK, OK]


def test_flicker_neither_raises_nor_lowers():
    policy = AlertPolicy(trigger_count=3, release_count=3)
    assert set(levels(policy, [3.0, 3.0, 9.0] * 5)) == {OK}
    levels(policy, [3.0] * 3)
    assert set(levels(policy, [9.0, 9.0, 3.0] * 5)) == {WARN}


def test_hysteresis_holds_the_level_just_above_the_threshold():
    policy = AlertPolicy(warn_ttc_s=4.0, release_factor=1.3, trigger_count=1, release_count=1)
    assert levels(policy, [4.5, 3.9, 4.5, 5.1, 5.3, 4.5]) == [OK, WARN, WARN, WARN, OK, OK]


def test_goes_through_all_levels_and_says_the_threat():
    policy = AlertPolicy(trigger_count=2, release_count=2)
    seen = [(a.level, a.threat) for a in (policy.update([obstacle(t)]) for t in (9, 3, 3, 1, 1, 3, 3, 9, 9))]
    assert seen == [
        (OK, "NONE"), (OK, "NONE"), (WARN, "LOW"), (WARN, "LOW"), (ERROR, "HIGH"),
        (ERROR, "HIGH"), (WARN, "LOW"), (WARN, "LOW"), (OK, "NONE"),
    ]  # fmt: skip


def test_mixed_warn_and_error_frames_raise_warn():
    assert levels(AlertPolicy(trigger_count=3), [1.0, 3.0, 1.0]) == [OK, OK, WARN]


def test_most_aggressive_wins_then_the_soonest():
    policy = AlertPolicy(trigger_count=1)
    alert = policy.update([obstacle(3.0, track_id=1), obstacle(1.5, track_id=2), obstacle(1.0, track_id=3)])
    assert alert.level == ERROR and alert.obstacle.track.id == 3
    alert = policy.update([obstacle(None, range_m=2.0, track_id=9), obstacle(3.0, track_id=1)])
    assert alert.level == ERROR


def test_two_flickering_tracks_do_not_add_up():
    policy = AlertPolicy(trigger_count=3)
    for i in range(10):
        assert policy.update([obstacle(1.0, track_id=i)]).level == OK


def test_a_lost_track_is_released_not_cut_and_clear_is_said_once():
    policy = AlertPolicy(trigger_count=1, release_count=3)
    policy.update([obstacle(1.0)])
    alerts = [policy.update([]) for _ in range(5)]
    assert [a.level for a in alerts] == [ERROR, ERROR, OK, OK, OK]
    assert [a.cleared for a in alerts] == [False, False, True, False, False]
    assert alerts[0].obstacle is not None and alerts[2].obstacle is None


def test_range_alone_raises_and_zero_switches_off():
    assert AlertPolicy(trigger_count=1).update([obstacle(range_m=5.0)]).level == WARN
    assert AlertPolicy(trigger_count=1).update([obstacle(range_m=2.0)]).level == ERROR
    off = AlertPolicy(trigger_count=1, warn_range_m=0.0, error_range_m=0.0, warn_ttc_s=0.0, error_ttc_s=0.0)
    assert off.update([obstacle(0.5, range_m=0.5)]).level == OK


@pytest.mark.parametrize(
    ("ttc", "sigma", "level"), [(3.0, 1.0, WARN), (3.0, 1.2, OK), (0.1, 0.3, ERROR), (0.1, 0.5, OK)]
)
def test_an_uncertain_time_to_contact_raises_nothing(ttc, sigma, level):
    assert AlertPolicy(trigger_count=1, max_ttc_sigma=0.35).update([obstacle(ttc, sigma)]).level == level


def test_reset_forgets():
    policy = AlertPolicy(trigger_count=1)
    policy.update([obstacle(1.0)])
    policy.reset()
    alerts = [policy.update([]) for _ in range(2)]
    assert [(a.level, a.cleared) for a in alerts] == [(OK, True), (OK, False)], "cleared at once, and once"


def test_a_range_alone_takes_more_detections_than_a_time_to_contact():
    def raised(**kw):
        return AlertPolicy(trigger_count=1, range_hits=8).update([obstacle(**kw)]).level

    assert raised(range_m=2.0, hits=7) == OK and raised(range_m=2.0, hits=8) == ERROR
    assert raised(ttc=1.0, hits=7) == ERROR


def test_zero_switches_a_range_off_however_uncertain_it_is():
    policy = AlertPolicy(trigger_count=1, warn_range_m=8.0, error_range_m=0.0)
    assert policy.update([obstacle(None, range_m=2.0, range_sigma=3.0)]).level == WARN


def test_what_is_far_below_is_not_near_because_it_is_straight_below():
    below = obstacle(None, range_m=0.1)
    below.position = np.array([0.1, 0.0, -20.0])
    assert AlertPolicy(trigger_count=1).update([below]).level == OK
    below.position = np.array([0.1, 0.0, -2.0])
    assert AlertPolicy(trigger_count=1).update([below]).level == ERROR


def test_what_does_not_threaten_raises_nothing_and_what_was_not_judged_does():
    policy = AlertPolicy(trigger_count=1)
    assert policy.update([obstacle(0.5, range_m=1.0, threatens=False)]).level == OK
    assert policy.update([obstacle(0.5, threatens=True)]).level == ERROR
    assert AlertPolicy(trigger_count=1).update([obstacle(0.5, threatens=None)]).level == ERROR


def test_an_alert_whose_obstacle_no_longer_threatens_is_released_not_cut():
    policy = AlertPolicy(trigger_count=1, release_count=3)
    policy.update([obstacle(1.0, threatens=True)])
    assert [policy.update([obstacle(1.0, threatens=False)]).level for _ in range(4)] == [ERROR, ERROR, OK, OK]


@pytest.mark.parametrize("speed", [2.0, 5.0, 10.0])
def test_at_a_known_speed_the_alert_leaves_time_to_stop(speed):
    """Approach at constant speed: the last frame without an alert is earlier than stopping time + lead."""
    corridor = Corridor(reaction_s=0.5, deceleration_mps2=3.0)
    stopping, policy = corridor.stopping(speed), AlertPolicy(trigger_count=1, warn_lead_s=2.0, error_lead_s=0.5)
    raised = {}
    for i in range(299):
        ttc = 15 - 0.05 * i
        level = policy.update([obstacle(ttc, range_m=ttc * speed, threatens=True)], stopping).level
        raised.setdefault(level, ttc)
    assert raised[WARN] >= max(4.0, stopping.time_s + 2.0) - 0.1
    assert raised[ERROR] >= max(2.0, stopping.time_s + 0.5) - 0.1
    assert raised[ERROR] < raised[WARN]


def test_stopping_does_not_switch_on_what_is_off():
    off = AlertPolicy(trigger_count=1, warn_range_m=0.0, error_range_m=0.0, warn_ttc_s=0.0, error_ttc_s=0.0)
    assert off.update([obstacle(0.5, range_m=0.5)], Corridor().stopping(10.0)).level == OK


def test_an_uncertain_range_counts_as_its_nearer_end():
    assert AlertPolicy(trigger_count=1).update([obstacle(range_m=9.0, range_sigma=0.5)]).level == OK
    assert AlertPolicy(trigger_count=1).update([obstacle(range_m=9.0, range_sigma=1.5)]).level == WARN
    assert AlertPolicy(trigger_count=1).update([obstacle(range_m=20.0, range_sigma=40.0)]).level == OK  # knows nothing
    assert AlertPolicy(trigger_count=1).update([obstacle(range_m=2.0, range_sigma=1.5)]).level == ERROR  # near anyway


def test_a_contact_that_asks_for_an_absurd_speed_is_a_ghost():
    """At 40 m, contact in 2 s means 20 m/s: at 5 m/s the thing itself would come at 15. Near things still count."""
    stopping = Corridor().stopping(5.0)

    def raised(distance, **policy):
        found = obstacle(2.0, 0.1, range_m=distance, range_sigma=1.0)
        return AlertPolicy(trigger_count=1, **policy).update([found], stopping).level > OK

    assert not raised(40.0) and raised(40.0, object_speed_mps=15.0) and raised(20.0)
    # Where the speed is not known, nothing can be said, and range alone counts in any case.
    assert AlertPolicy(trigger_count=1).update([obstacle(2.0, 0.1, range_m=40.0, range_sigma=1.0)]).level > OK
    assert raised(2.0, object_speed_mps=0.0)


def test_scores_can_be_asked_for():
    weak = obstacle(1.0, mean_score=0.4)
    assert AlertPolicy(trigger_count=1).update([weak]).level == ERROR
    assert AlertPolicy(trigger_count=1, min_score=0.5).update([weak]).level == OK


@pytest.mark.parametrize(("score", "needs"), [(0.6, 8), (0.5, 24)])
def test_a_range_alone_takes_longer_while_most_detections_are_weak(score, needs):
    policy = AlertPolicy(trigger_count=1, sure_score=0.55)
    levels = [policy.update([obstacle(range_m=4.0, hits=h, mean_score=score)]).level for h in (needs - 1, needs)]
    assert levels == [OK, WARN]
    assert policy.update([obstacle(ttc=1.0, hits=7, mean_score=score, track_id=2)]).level == ERROR, "contact waits not"


@pytest.mark.parametrize("appeared", [False, True])
def test_what_alerts_is_not_doubted_when_it_is_too_near_to_be_found(appeared):
    """20 hits, most of them weak: too few for its range alone. Its time to contact raised the alert, and ends there."""

    def update(policy, ttc):
        o = obstacle(ttc, range_m=3.0, range_sigma=0.2, mean_score=0.4, hits=20)
        o.appeared, o.remembered = appeared, ttc is None
        return policy.update([o]).level

    alone, policy = AlertPolicy(sure_score=0.5), AlertPolicy(sure_score=0.5)
    assert {update(alone, None) for _ in range(20)} == {OK}
    assert [update(policy, 1.0) for _ in range(5)][-1] == ERROR
    assert {update(policy, None) for _ in range(20)} == {ERROR}
