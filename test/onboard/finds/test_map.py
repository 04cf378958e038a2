"""Once per person: over several legs of a flight, behind what hides them, walking, in groups; undone where wrong."""

import json
import time

import numpy as np
import pytest
from search_flights import Flight, make_search, stands, walks

from vit_perception.finds.find import Find
from vit_perception.finds.map import FindMap, Look
from vit_perception.finds.people import nobody
from vit_perception.finds.sighting import COUNT


def there_and_back(flight, legs=2):
    for i in range(legs):
        ends = ((-40.0, 5.0 * i), (40.0, 5.0 * i))
        flight.line(*(ends if i % 2 == 0 else ends[::-1]))
        flight.pause(4.0)


def off(find, place):
    return float(np.hypot(*(find.state[:2] - place)))


def test_everybody_is_found_once_over_four_legs():
    people = {"a": stands(0, 3), "b": stands(10, -4), "c": stands(-14, 8)}
    flight = Flight(make_search(), people)
    there_and_back(flight, 4)
    found = flight.confirmed()
    assert len(found) == 3 == len(flight.search.finds.finds)
    for where in people.values():
        assert min(off(f, where(0)) for f in found) < 0.2
    assert all(len(f.merged) >= 2 for f in found), "each leg saw them anew"


def test_a_wrong_heading_and_position_make_nobody_twice_and_the_covariance_tells():
    people = {"a": stands(0, 3), "b": stands(12, -4)}
    flight = Flight(make_search(), people, heading_error=0.09, offset=(1.5, -1.0))
    there_and_back(flight, 4)
    found = flight.confirmed()
    assert len(found) == 2
    for find in found:
        error = find.state[:2] - min((w(0) for w in people.values()), key=lambda p: off(find, p))
        assert error @ np.linalg.solve(find.covariance[:2, :2], error) < 6.0 and find.sigma_m > 1.0


def test_a_track_that_is_lost_behind_a_tree_goes_on_with_the_same_find():
    flight = Flight(make_search(), {"a": stands(0, 2)})
    flight.line((-25, 0), (-18, 0))
    flight.hidden = {"a"}
    flight.line((-18, 0), (-12, 0))
    flight.hidden = set()
    flight.line((-12, 0), (-2, 0))
    assert len(flight.search.finds.finds) == 1


def test_who_comes_back_is_one_again_three_seconds_after_leaving_the_view_without_any_other_look():
    flight = Flight(make_search(), {"a": stands(0, 3)})
    there_and_back(flight, 2)
    (find,) = flight.confirmed()
    assert find.merged == [2] and flight.now_s - find.last_s < 12.0


def test_what_one_pass_is_off_by_tells_who_is_who_where_each_alone_would_be_taken_for_another():
    """Five people 3 m apart in a line, the position off by 3 m along it on the way back: alone, each fits the next."""
    people = {name: stands(3.0 * i, 2.0 + 0.5 * (i % 2)) for i, name in enumerate("abcde")}
    flight = Flight(make_search(finds__position_sigma_m=3.0), people, offset=(0.0, 0.0))
    flight.line((-30, 0), (40, 0))
    flight.pause(20.0)
    flight.offset = np.array([2.4, 0.0])
    flight.line((40, 0), (-30, 0))
    flight.end()
    found = sorted(flight.confirmed(), key=lambda f: f.state[0])
    assert len(found) == 5 and all(len(f.merged) == 1 for f in found)
    assert [f.id for f in found] == sorted(f.id for f in found), "in the order of the first leg"


def test_what_is_found_in_few_of_the_images_is_not_confirmed():
    finds = FindMap()
    for i in range(40):
        often, seldom = looks_at([(0.0, 0.0), (30.0, 0.0)], 0.1 * i)
        finds.update(0.1 * i, [often] if i % 4 else [often, seldom])
    assert sorted((f.state[0], f.looks, f.confirmed) for f in finds.finds.values()) == [(0, 40, True), (30, 10, False)]


@pytest.mark.parametrize(
    ("speed", "carried", "expected"),
    [
        (3.5, 4.0, True),  # as the image's pixels move over the ground: a stain on the lens
        (0.2, 4.0, False),  # stands
        (1.3, 4.0, False),  # walks
        (0.0, 0.0, False),  # the vehicle hovers: nothing can be told
        (1.2, 1.2, False),  # walks along with a slow vehicle
        (5.0, 0.0, True),  # nobody is so fast on foot
    ],
)
def test_who_moves_as_people_do(speed, carried, expected):
    (look,) = looks_at([(0.0, 0.0)], 0)
    find = Find(1, "person", 0.0, (0.0, 0.0), look.noise, look.lasting)
    find.state[2], find.carried = speed, np.array([carried, 0.0])
    find.covariance[2:, 2:] = 0.4**2 * np.eye(2)
    assert nobody(find) == expected


def test_two_who_stand_side_by_side_stay_two():
    people = {"a": stands(0, 2.0), "b": stands(0, 3.2)}
    flight = Flight(make_search(), people)
    there_and_back(flight, 4)
    found = flight.confirmed()
    assert len(found) == 2 and found[1].id in found[0].apart


def test_who_walks_is_one_find_where_he_is_last_seen():
    flight = Flight(make_search(), {"a": walks(0, 0, 0.3, 1.0)})
    flight.line((-25, 0), (0, 0), speed=4.0)
    (find,) = flight.confirmed()
    seen = flight.people["a"](find.last_s - 1.7e9)
    assert find.walks and off(find, seen) < 0.6


def test_somebody_who_walks_through_several_legs_is_not_multiplied():
    flight = Flight(make_search(), {"a": walks(0, -6, 0.1, 0.5)})
    for i in range(3):
        ends = ((-30.0, 4.0 * i), (30.0, 4.0 * i))
        flight.line(*(ends if i % 2 == 0 else ends[::-1]))
    flight.end()
    assert len(flight.confirmed()) == 1


def test_what_stands_still_in_the_image_is_nobody():
    """A stain on the lens moves over the ground as the vehicle does."""
    flight = Flight(make_search(), {"a": lambda t: np.array([-40.0 + 6.0 * t + 17.0, 0.0])})
    flight.line((-40, 0), (40, 0))
    assert flight.confirmed() == []


def test_few_looks_confirm_nobody_and_fade():
    flight = Flight(make_search(), {"a": stands(0, 0)})
    flight.line((-18, 0), (-17.2, 0))
    assert len(flight.search.finds.finds) == 1 and flight.confirmed() == []
    flight.people = {"b": stands(60, 0)}
    flight.pause(12.0)
    flight.line((30, 0), (50, 0))
    assert [f.first_s > 1.7e9 + 5 for f in flight.confirmed()] == [True]
    assert len(flight.search.finds.finds) == 1, "two looks are forgotten"


def looks_at(places, stamp, first_track=1, score=0.8):
    lasting = np.zeros((2, COUNT))
    lasting[:, 5] = (1.0, 0.0)
    lasting[:, 6] = (0.0, 1.0)
    noise = 0.1**2 * np.eye(2)
    return [Look(first_track + i, "person", score, np.array(p, float), noise, lasting, 20.0, None)
            for i, p in enumerate(places)]  # fmt: skip


def test_two_tracks_that_claim_one_find_in_one_image_are_split_and_that_can_be_undone():
    events = []
    finds = FindMap(record=events.append)
    for i in range(8):
        finds.update(0.1 * i, looks_at([(0.0, 0.0)], 0.1 * i))
    finds.update(0.9, looks_at([(0.1, 0.0)], 0.9, first_track=7))  # the track was lost and found
    assert len(finds.finds) == 1
    finds.update(1.0, looks_at([(0.0, 0.0)], 1.0, first_track=1) + looks_at([(0.8, 0.0)], 1.0, first_track=7))
    split = json.loads(json.dumps(events))[-1]
    assert split["event"] == "split" and len(finds.finds) == 2
    finds.undo(split)
    assert list(finds.finds) == [1] and finds.finds[1].looks == split["before"][0]["looks"]


def test_a_merge_holds_both_and_can_be_undone_from_the_log():
    events = []
    finds = FindMap(record=events.append)
    for leg, track in ((0, 1), (1, 2)):
        for i in range(8):
            finds.update(30.0 * leg + 0.1 * i, looks_at([(0.5 * leg, 0.0)], 0, first_track=track))
    assert len(finds.finds) == 2, "in view they are not compared yet"
    finds.update(34.0, [])
    assert len(finds.finds) == 1
    merged = next(e for e in json.loads(json.dumps(events)) if e["event"] == "merged")
    assert merged["after"] == [1] and finds.finds[1].merged == [2]
    finds.undo(merged)
    assert sorted(finds.finds) == [1, 2] and 2 in finds.finds[1].apart
    assert finds.finds[1].state[0] == merged["before"][0]["state"][0]
    for i in range(40):  # looks at both places, of new tracks, do not join them again
        finds.update(60.0 + 0.1 * i, looks_at([(0.0, 0.0), (0.5, 0.0)], 0, first_track=8))
    finds.update(68.0, [])
    assert sorted(finds.finds) == [1, 2]


def test_memory_is_bounded_and_the_weakest_go_first():
    finds = FindMap(most=20)
    for k in range(40):
        score = 0.9 if k % 2 else 0.55
        for i in range(6):
            stamp = 10.0 * k + 0.1 * i
            finds.update(stamp, looks_at([(30.0 * k, 0.0)], stamp, first_track=k + 1, score=score))
    assert len(finds.finds) == 20 and finds.forgotten == 20
    assert len(finds._cells) == 20 and sum(map(len, finds._grid.values())) == 20 and len(finds._by_track) <= 40


def test_ten_thousand_finds_do_not_slow_a_frame_down():
    finds, (look,) = FindMap(), looks_at([(0.0, 0.0)], 0)
    for k in range(10000):
        find = Find(k + 1, "person", 0.0, (12.0 * (k % 100), 12.0 * (k // 100)), look.noise, look.lasting)
        find.looks, find.confirmed, find.settled = 5, True, True
        finds._add(find)
    finds._next_id = 10001
    begun = time.thread_time()
    for i in range(10):
        finds.update(99.0 + 0.1 * i, looks_at([(12.0 * j, 600.0) for j in range(8)], 0, first_track=10**6))
    assert (time.thread_time() - begun) / 10 < 0.04, "0.008 s of the CPU for eight people were measured"
    assert len(finds.finds) == 10000, "all eight were known"


def test_a_full_map_does_not_slow_a_crowd_down():
    finds, (look,) = FindMap(), looks_at([(0.0, 0.0)], 0)
    for k in range(10000):
        find = Find(k + 1, "person", 0.0, (12.0 * (k % 100), 12.0 * (k // 100)), look.noise, look.lasting)
        find.looks, find.settled, find.score_sum = 5, True, 2.0
        finds._add(find)
    finds._next_id = 10001
    begun = time.thread_time()
    finds.update(99.0, looks_at([(12.0 * j, 9000.0) for j in range(40)], 0, first_track=10**6))
    assert time.thread_time() - begun < 0.1, "0.02 s of the CPU for 40 new ones were measured; 0.2 s one by one"
    assert len(finds.finds) == 10000 and finds.forgotten == 40


def test_news_are_told_when_a_find_is_new_or_better_and_not_at_every_look():
    flight = Flight(make_search(), {"a": stands(0, 3)}, heading_error=0.05)
    there_and_back(flight, 2)
    (find,) = flight.confirmed()
    assert 2 <= len(flight.news) < 0.3 * find.looks and {f.id for f in flight.news} <= {find.id, *find.merged}
