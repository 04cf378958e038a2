"""What was covered, how finely, the chance to have missed somebody; the area to search and what is wrong with it."""

import json

import numpy as np
import pytest
from search_flights import CAMERA, DOWN, ORIGIN, Flight, make_search

from vit_perception.avoidance.geometry import Mount, rotation_z
from vit_perception.errors import PerceptionError
from vit_perception.finds import coverage as module
from vit_perception.finds.area import read_area
from vit_perception.finds.coverage import Coverage, footprint, missed, person_px
from vit_perception.finds.poses import Pose
from vit_perception.finds.sighting import View
from vit_perception.finds.wgs84 import LocalFrame

STRAIGHT_DOWN = Mount.from_angles(pitch_deg=-90.0)
SQUARE = np.array([(-10.0, -10.0), (10.0, -10.0), (10.0, 10.0), (-10.0, 10.0)])


def view(x=0.0, y=0.0, height=30.0, mount=STRAIGHT_DOWN, yaw=0.0):
    return View(CAMERA, mount, Pose((x, y), rotation_z(yaw), height))


def test_straight_down_the_footprint_is_the_images_size_on_the_ground():
    outline = footprint(view(), 200.0)
    size = outline.max(axis=0) - outline.min(axis=0)
    assert size == pytest.approx([512 / 600 * 30, 640 / 600 * 30], rel=0.01)  # ahead is east, right is south
    covered = Coverage(cell_m=0.5)
    covered.add(0.0, view())
    assert covered.area_m2() == pytest.approx(float(np.prod(size)), rel=0.06)


def test_what_is_too_far_to_see_anybody_is_not_covered():
    ahead = Mount.from_angles(pitch_deg=-5.0)  # the upper half of the image is sky
    covered = Coverage()
    covered.add(0.0, view(height=20.0, mount=ahead))
    farthest = 600 * np.sqrt(0.5 * 1.7) / module.SEEN_PX
    reach = np.abs(covered.corner + covered.cell_m * np.array(covered.missed.shape[::-1])).max()
    assert covered.area_m2() > 0 and reach < farthest + 40


def test_a_person_is_as_large_as_the_renderer_would_draw_him():
    """1.7 m by 0.5 m from 30 m aside and 30 m below: 45 degrees down, 42.4 m away."""
    expected = 600 / np.hypot(30, 30) * np.sqrt(0.5 * (1.7 + 0.5) * np.sqrt(0.5))
    assert person_px(600.0, 30.0, 30.0) == pytest.approx(expected)


def test_each_pass_counts_once_and_passes_multiply():
    covered = Coverage()
    for t in np.arange(0, 4, 0.5):
        covered.add(t, view())
    one_pass = covered.missed.min()
    assert one_pass == pytest.approx(float(missed(covered.largest_px.max())), rel=0.01), "eight images, one pass"
    covered.add(60.0, view())
    assert covered.missed.min() == pytest.approx(one_pass**2, rel=0.01)


def test_share_of_an_area_and_its_chance_of_a_miss():
    covered = Coverage(cell_m=1.0)
    nothing = covered.of_area([[SQUARE]])
    assert nothing["seen"] == 0 and nothing["missed"] == 1 and nothing["size_px"] is None
    covered.add(0.0, view(x=12.8))  # its lower edge lies at east 0
    half = covered.of_area([[SQUARE]])
    assert half["area_m2"] == pytest.approx(400, rel=0.05) and half["seen"] == pytest.approx(0.5, abs=0.06)
    assert half["missed"] == pytest.approx(0.5 + 0.5 * 0.13, abs=0.06)
    assert half["finest_cm"] == pytest.approx(100 * 31 / 600, rel=0.1)
    hole = covered.of_area([[SQUARE, 0.5 * SQUARE]])
    assert hole["area_m2"] == pytest.approx(300, rel=0.06)


def test_people_smaller_than_the_model_was_trained_on_are_warned_of():
    covered = Coverage()
    covered.add(0.0, view(height=30.0))
    assert covered.warning() == ""
    covered.add(1.0, view(height=80.0))
    assert covered.warning().startswith("people in the middle of the image are 4 px large")


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "MOST_CELLS", 4000)
    covered = Coverage(cell_m=1.0)
    for i in range(30):
        covered.add(float(i), view(x=20.0 * i))
    assert covered.missed.size <= 4 * 4000 and covered.cell_m > 1
    assert covered.area_m2() == pytest.approx(32 * (29 * 20 + 25.6), rel=0.25)


def area_file(tmp_path, rings, kind="Polygon", name="area.geojson"):
    frame = LocalFrame(*ORIGIN)
    coordinates = [[list(frame.to_geodetic(*p)[1::-1]) for p in [*ring, ring[0]]] for ring in rings]
    content = {"type": kind, "coordinates": coordinates}
    path = tmp_path / name
    path.write_text(json.dumps({"type": "Feature", "geometry": content, "properties": {}}))
    return str(path)


def test_a_flights_share_of_the_search_area(tmp_path):
    path = area_file(tmp_path, [[(-30, -10), (30, -10), (30, 10), (-30, 10)]])
    flight = Flight(make_search(finds__area=path), {})
    flight.line((-60, 0), (40, 0))
    figures = flight.search.coverage.of_area(flight.search.area_rings())
    assert figures["area_m2"] == pytest.approx(1200, rel=0.1)
    assert 0.9 < figures["seen"] <= 1 and 0.05 < figures["missed"] < 0.3 and 10 < figures["size_px"] < 30


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no GeoJSON of a polygon"),
        ('{"type": "Point", "coordinates": [8, 47]}', "holds no polygon"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}', "crosses itself"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]}', "fewer than three corners"),
        ('{"type": "Polygon", "coordinates": [[[0, 99], [1, 1], [1, 0]]]}', "is no GeoJSON of a polygon"),
        ('{"type": "Polygon", "coordinates": [[["a", 9], [1, 1], [1, 0]]]}', "is no GeoJSON of a polygon"),
        ("[]", "is no GeoJSON of a polygon"),
    ],
)
def test_a_bad_area_is_one_sentence(tmp_path, content, words):
    path = tmp_path / "area.geojson"
    path.write_text(content)
    with pytest.raises(PerceptionError, match=words):
        read_area(str(path))


def test_no_area_file_is_one_sentence(tmp_path):
    with pytest.raises(PerceptionError, match="cannot read the search area .*: No such file"):
        make_search(finds__area=str(tmp_path / "none.geojson"))


def test_an_area_across_the_date_line_is_no_crossing(tmp_path):
    path = tmp_path / "area.geojson"
    ring = [[179.9, 0.0], [-179.9, 0.0], [-179.9, 0.1], [179.9, 0.1], [179.9, 0.0]]
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    assert len(read_area(str(path))[0][0]) == 4


def test_the_mount_of_the_tests_looks_down():
    assert DOWN.rotation[2, 2] < -0.8
