"""Classes under other names, several as one, and labels that nobody is judged on by how hidden they are."""

from pathlib import Path

import pytest

from offline.data import Rules, map_classes, parse_map
from offline.data.formats.annotations import REGION, Annotations, Image, Label
from offline.data.read import build
from offline.errors import DataError

BOX = (10.0, 10.0, 20.0, 30.0)


def annotations(*labels, names=("pedestrian", "people", "van", "dog")):
    return Annotations(Path("a"), "a", list(names), [Image(Path("0.png"), 0, 64, 48, list(labels))], "0" * 64)


def test_a_map_is_read_and_a_wrong_one_refused():
    assert parse_map(" pedestrian, people = person ; van=vehicle;") == {
        "pedestrian": "person",
        "people": "person",
        "van": "vehicle",
    }
    assert parse_map("") == {}
    for text in ("person", "a=", "=b", "a,,b=c", "a=b=c"):
        with pytest.raises(DataError, match="is not of the form"):
            parse_map(text)
    with pytest.raises(DataError, match="'a' to both 'b' and 'c'"):
        parse_map("a=b; a=c")


def test_mapped_classes_take_the_place_of_their_first_source_and_are_another_data_set():
    found = annotations(Label("people", BOX), Label("van", BOX), Label("dog", BOX), Label("pedestrian", BOX))
    mapped = map_classes(found, parse_map("pedestrian,people=person; van=vehicle"))
    assert mapped.names == ["person", "vehicle", "dog"] and mapped.sha256 != found.sha256
    data = build(found, ("dog",), None, Rules(parse_map("pedestrian,people=person; van=vehicle")))
    assert (
        data.labels == ["person", "vehicle"] and data.counts().tolist() == [2, 1] and len(data.samples[0].ignore) == 1
    )
    assert map_classes(found, {}) is found


def test_a_name_that_the_labels_do_not_have_is_refused_but_may_be_missing_from_a_further_split():
    with pytest.raises(DataError, match="--map names 'bus', but a has: pedestrian, people, van, dog"):
        map_classes(annotations(), {"bus": "vehicle"})
    data = build(annotations(Label("van", BOX)), (), ["vehicle"], Rules({"bus": "vehicle", "van": "vehicle"}))
    assert data.counts().tolist() == [1]


def test_what_is_hidden_or_cut_off_too_much_becomes_an_ignore_region():
    labels = [Label("van", BOX, occluded=n) for n in range(3)] + [Label("van", BOX, truncated=1), Label(REGION, BOX)]
    found = annotations(*labels)
    for rules, boxes in ((Rules(), 4), (Rules(max_occluded=1), 3), (Rules(max_occluded=0, max_truncated=0), 1)):
        sample = build(found, (), ["van"], rules).samples[0]
        assert (len(sample.boxes), len(sample.ignore)) == (boxes, 5 - boxes)
