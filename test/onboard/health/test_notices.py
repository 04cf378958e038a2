"""Warnings: each kind now and then, or once and for as long as it holds."""

from vit_perception.health.notices import Notices


def test_a_kind_is_logged_now_and_then_and_current_for_a_while():
    said, now = [], [0.0]
    notices = Notices(said.append, period_s=10.0, clock=lambda: now[0])
    for now[0] in (0.0, 1.0, 9.0, 11.0):
        notices.warn("stamp", "late")
    assert said == ["late", "late"] and notices.current() == "late"
    now[0] = 30.0
    assert notices.current() == ""


def test_what_holds_is_logged_once_and_current_until_it_ends():
    said, now = [], [0.0]
    notices = Notices(said.append, clock=lambda: now[0])
    for now[0] in range(100):
        notices.hold("colour", "gray model")
        notices.hold("mount", "")
    assert said == ["gray model"] and notices.held == ["gray model"] and notices.current() == "gray model"
    notices.warn("stamp", "late")
    assert notices.current() == "gray model; late"
    notices.hold("colour", "another model")
    assert notices.held == ["another model"] and said[-1] == "another model"
    notices.hold("colour", "")
    assert notices.held == [] and notices.current() == "late"
