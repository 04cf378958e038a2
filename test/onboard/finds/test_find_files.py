"""The files that a rescuer opens: valid for the programs that open them, whole at any moment; what goes wrong."""

import csv
import json
import os
import re
import subprocess
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from search_flights import BLACK, DOWN, ORIGIN, Flight, make_search, stands, walks

from vit_perception.avoidance.geometry import Mount
from vit_perception.errors import PerceptionError
from vit_perception.finds.exports import split_at_date_line, told_time

FILES = ["crops", "finds.csv", "finds.geojson", "finds.html", "finds.kml", "finds.log.jsonl"]


@pytest.fixture(scope="module")
def flown(tmp_path_factory):
    """(folder, Flight) of two legs over one who stands and one who walks."""
    folder = tmp_path_factory.mktemp("finds")
    flight = Flight(make_search(folder=str(folder)), {"a": stands(0, 3), "b": walks(8, -10, 0.0, 0.6)})
    flight.line((-40, 0), (40, 0))
    flight.line((40, 2), (-40, 2))
    flight.search.close()
    return folder, flight


def test_every_file_is_there_and_nothing_else(flown):
    folder, flight = flown
    assert sorted(os.listdir(folder)) == FILES
    assert {f"{f.id}.jpg" for f in flight.confirmed()} <= set(os.listdir(folder / "crops"))


def test_geojson_is_valid_by_rfc_7946(flown):
    geojson = pytest.importorskip("geojson", reason="geojson is not installed (make setup)")
    loaded = geojson.loads((flown[0] / "finds.geojson").read_text())
    assert loaded.is_valid and loaded.errors() == []
    points = [f for f in loaded["features"] if f["geometry"]["type"] == "Point"]
    assert len(points) == 2 and all(f.is_valid and f["geometry"].is_valid for f in loaded["features"])
    where = points[0]["geometry"]["coordinates"]
    assert where[0] == pytest.approx(8.5, abs=0.01) and where[1] == pytest.approx(47.4, abs=0.01)
    assert where[2] == pytest.approx(400.0, abs=0.5), "the ground: 430 m less 30 m"
    assert {"state", "sigma_m", "looks", "score", "picture"} <= set(points[0]["properties"])


def test_kml_is_valid_by_the_ogc_schema(flown):
    parser = pytest.importorskip("pykml.parser", reason="pykml is not installed (make setup)")
    document = parser.parse(str(flown[0] / "finds.kml"), parser.Schema("ogckml22.xsd")).getroot().Document
    marks = [p for p in document.Placemark if p.name.text.startswith("person")]
    assert len(marks) == 2 and document.Placemark[-1].name == "flight path"
    longitude, latitude = map(float, marks[0].Point.coordinates.text.split(","))
    assert longitude == pytest.approx(8.5, abs=0.01) and latitude == pytest.approx(47.4, abs=0.01)


def test_csv_agrees_with_geojson(flown):
    with open(flown[0] / "finds.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    features = json.loads((flown[0] / "finds.geojson").read_text())["features"]
    for row, feature in zip(rows, features, strict=False):
        assert [float(row["longitude"]), float(row["latitude"])] == feature["geometry"]["coordinates"][:2]
        assert row["state"] == feature["properties"]["state"] == "confirmed"
    assert sorted(r["walks"] for r in rows) == ["no", "yes"]


def test_pictures_show_the_best_look_and_tell_when_and_where(flown):
    picture = cv2.imread(str(flown[0] / "crops" / f"{flown[1].confirmed()[0].id}.jpg"))
    assert picture.shape[1] == 320 and picture.shape[0] > 100
    assert picture[-40:].max() > 150, "the text below it"


def test_the_page_needs_nothing_else(flown):
    text = (flown[0] / "finds.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL).group(1))
    assert len(data["finds"]) == 2 and data["finds"][0]["picture"].startswith("data:image/jpeg;base64,")
    assert data["coverage"]["png"].startswith("data:image/png;base64,") and data["covered_m2"] > 1000
    assert len(data["path"]) > 20 and not re.search(r'(src|href)="(?!data:)', text) and "http" not in text


def test_a_label_cannot_leave_the_page(tmp_path):
    search = make_search(folder=str(tmp_path))
    search._labels = ["</script><script>alert(1)</script>&", "car"]
    flight = Flight(search, {"a": stands(0, 3)})
    flight.line((-30, 0), (10, 0))
    search.close()
    assert "<script>alert" not in (tmp_path / "finds.html").read_text()
    assert "<script>alert" not in (tmp_path / "finds.kml").read_text()
    json.loads((tmp_path / "finds.geojson").read_text())


def test_the_log_tells_what_became_of_each(flown):
    events = [json.loads(line) for line in (flown[0] / "finds.log.jsonl").read_text().splitlines()]
    assert {e["event"] for e in events} == {"confirmed", "merged"}


def test_nobody_found_is_a_page_too(tmp_path):
    flight = Flight(make_search(folder=str(tmp_path)), {})
    flight.line((-30, 0), (10, 0))
    flight.search.close()
    assert sorted(os.listdir(tmp_path)) == FILES
    assert json.loads((tmp_path / "finds.geojson").read_text())["features"][0]["geometry"]["type"] == "MultiLineString"


def test_no_position_makes_no_folder(tmp_path):
    search = make_search(folder=str(tmp_path / "f"))
    search.add_image(1.0, [], BLACK, "mono", None, None)
    search.close()
    assert not (tmp_path / "f").exists()
    with pytest.raises(PerceptionError, match="no finds yet: no position has come"):
        search.writer.write_now(search)


def test_a_folder_that_cannot_be_written_is_one_sentence_and_the_flight_goes_on(tmp_path):
    (tmp_path / "file").write_text("in the way")
    said = []
    search = make_search(lambda kind, text: said.append((kind, text)), folder=str(tmp_path / "file" / "finds"))
    flight = Flight(search, {"a": stands(0, 3)})
    flight.line((-30, 0), (10, 0))
    search.close()
    texts = {text for kind, text in said if kind == "finds_files"}
    assert len(texts) == 1 and "the flight goes on, and what was written before stays" in texts.pop()
    assert len(flight.confirmed()) == 1


def test_a_full_disk_keeps_the_old_files_and_the_next_write_has_everything(tmp_path, monkeypatch):
    from vit_perception.finds import writer

    said = []
    search = make_search(lambda kind, text: said.append(text), folder=str(tmp_path), finds__write_every_s=600.0)
    flight = Flight(search, {"a": stands(0, 3), "b": stands(14, -2)})
    flight.line((-30, 0), (-16, 0))
    search.writer.write_now(search)
    before = (tmp_path / "finds.geojson").read_bytes()

    def full(path, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_whole", full)
        flight.line((-16, 0), (-5, 0))
        with pytest.raises(PerceptionError, match="No space left on device; the flight goes on"):
            search.writer.write_now(search)
        assert (tmp_path / "finds.geojson").read_bytes() == before
    flight.line((-5, 0), (10, 0))
    search.close()
    points = json.loads((tmp_path / "finds.geojson").read_text())["features"][:2]
    assert [p["properties"]["picture"] != "" for p in points] == [True, True]
    events = (tmp_path / "finds.log.jsonl").read_text().splitlines()
    assert len([e for e in events if '"confirmed"' in e]) == 2


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no right to mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_full_for_a_while_loses_nothing(small_disk):
    said = []
    search = make_search(lambda kind, text: said.append(text), folder=str(small_disk), finds__write_every_s=600.0)
    flight = Flight(search, {"a": stands(0, 3), "b": stands(14, -2)})
    flight.line((-30, 0), (-10, 0))
    search.writer.write_now(search)
    before = {n: (small_disk / n).read_bytes() for n in FILES[1:]}
    (small_disk / "other").write_bytes(b"x" * (os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize))
    for i in range(200):  # more than the rest of the last block holds
        search.writer.log({"event": "test", "number": i, "words": 100 * "x"})
    with pytest.raises(PerceptionError, match="No space left on device; the flight goes on"):
        search.writer.write_now(search)
    assert {n: (small_disk / n).read_bytes() for n in FILES[1:]} == before, "also the log: no half of a line"
    (small_disk / "other").unlink()
    flight.line((-10, 0), (10, 0))
    search.close()
    events = [json.loads(line) for line in (small_disk / "finds.log.jsonl").read_text().splitlines()]
    assert [e["number"] for e in events if e["event"] == "test"] == list(range(200))
    assert len(json.loads((small_disk / "finds.geojson").read_text())["features"]) == 3
    assert sorted(os.listdir(small_disk)) == FILES


@pytest.mark.parametrize(("order", "pixel"), [("rgb", (200, 90, 20)), ("bgr", (20, 90, 200)), ("mono", 90)])
def test_pictures_have_the_colours_of_the_image(tmp_path, order, pixel):
    search = make_search(folder=str(tmp_path))
    add, image = search.add_image, np.full((512, 640) if order == "mono" else (512, 640, 3), pixel, np.uint8)
    search.add_image = lambda stamp_s, tracks, _, __, *rest: add(stamp_s, tracks, image, order, *rest)
    Flight(search, {"a": stands(0, 3)}).line((-30, 0), (10, 0))
    search.close()
    expected = (90, 90, 90) if order == "mono" else (20, 90, 200)
    np.testing.assert_allclose(cv2.imread(str(tmp_path / "crops" / "1.jpg"))[100, 100], expected, atol=3)


def test_two_nodes_that_start_in_the_same_second_have_a_folder_each(tmp_path):
    made = []
    for _ in range(2):
        search = make_search(finds__folder=str(tmp_path))
        Flight(search, {}).line((0, 0), (1, 0))
        search.close()
        made.append(search.writer.folder)
    assert len(set(made)) == 2 and sorted(map(os.path.basename, made)) == sorted(os.listdir(tmp_path))


def test_labels_come_back_as_they_are_from_every_file(tmp_path):
    label = "Jogger, \"schnell\" & 'grün' <b>\u4eba</b>; =1+1"
    search = make_search(folder=str(tmp_path))
    search._labels = [label, "car"]
    Flight(search, {"a": stands(0, 3)}).line((-30, 0), (10, 0))
    search.close()
    with open(tmp_path / "finds.csv", newline="", encoding="utf-8") as f:
        assert [r["label"] for r in csv.DictReader(f)] == [label]
    names = [n.text for n in ElementTree.parse(tmp_path / "finds.kml").iter("{http://www.opengis.net/kml/2.2}name")]
    assert label + " 1" in names
    features = json.loads((tmp_path / "finds.geojson").read_text(encoding="utf-8"))["features"]
    assert features[0]["properties"]["label"] == label
    text = (tmp_path / "finds.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL).group(1))
    assert data["finds"][0]["label"] == label and "<b>" not in text.split('id="data">')[1].split("</script>")[0]


def test_paths_are_cut_at_the_date_line():
    parts = split_at_date_line([(0.0, 179.0), (0.0, -179.0), (1.0, -178.0)])
    assert parts == [[(0.0, 179.0), (0.0, 180.0)], [(0.0, -180.0), (0.0, -179.0), (1.0, -178.0)]]
    assert split_at_date_line([]) == []


def test_times():
    assert told_time(1700000000.25) == "2023-11-14T22:13:20.25Z" and told_time(12.5) == "12.50 s"


def test_bad_vehicles_are_told_once_each_and_the_flight_goes_on():
    said = []
    search = make_search(lambda kind, text: said.append(text))
    search.add_fix(1.0, 0.0, 0.0, 0.0)
    search.add_fix(1.0, float("nan"), 8.5, 0.0)
    search.add_fix(1.0, 90.0, 8.5, 0.0)
    assert search.frame is None and search.missing() == "no position has come"
    flight = Flight(search, {"a": stands(0, 3)})
    flight.line((-30, 0), (-28, 0))
    search.add_orientation(flight.now_s, None)
    search.add_orientation(flight.now_s, np.full((3, 3), np.nan))
    for height in (0.0, -3.0, float("nan"), None):
        search.add_height(flight.now_s, height)
    assert [t.split(":")[0] for t in said] == [
        "latitude and longitude are exactly 0, as receivers say without a position", "the position is no number",
        "latitude 90.000 is too near a pole for a map of east and north", "the orientation that came is no rotation",
        "the orientation that came is no rotation", "the height above ground is 0 m", "the height above ground is -3 m",
        "the height above ground is nan m", "the height above ground is not known",
    ]  # fmt: skip
    flight.line((-28, 0), (10, 0))
    assert len(flight.confirmed()) == 1


def test_clocks_that_differ_by_seconds_make_no_find_but_a_sentence():
    said = []
    search = make_search(lambda kind, text: said.append(text))
    flight = Flight(search, {"a": stands(0, 3)})
    add = search.add_image
    search.add_image = lambda stamp_s, *rest: add(stamp_s - 4.0, *rest)
    flight.line((-30, 0), (10, 0))
    assert search.placed == 0 and "image stamps are 4.0 s behind the vehicle's: synchronise" in said[-1]
    search.add_image = lambda stamp_s, *rest: add(stamp_s + 4.0, *rest)
    flight.line((10, 0), (20, 0))
    assert search.placed == 0 and "image stamps are 4" in said[-1] and "ahead of the vehicle's" in said[-1]


def test_positions_that_stop_are_told_apart_from_clocks_that_differ():
    said = []
    search = make_search(lambda kind, text: said.append(text))
    flight = Flight(search, {"a": stands(0, 3)})
    flight.line((-30, 0), (-20, 0))
    search.add_fix = lambda *fix: None
    flight.line((-20, 0), (10, 0))
    assert "no find from this image: the newest position (fix) is 3" in said[-1] and "clock" not in " ".join(said)


def test_a_clock_that_is_set_in_flight_is_told_and_the_flight_goes_on():
    said = []
    search = make_search(lambda kind, text: said.append(text))
    flight = Flight(search, {"a": stands(0, 3)})
    flight.line((-30, 0), (10, 0))
    flight.pause(1e6)
    flight.line((-30, 0), (10, 0))
    assert said == ["image stamps jumped by 1000000 s: who was found before may be listed again"]
    assert search.unplaced == 0 and len(flight.confirmed()) == 2


def test_a_first_position_far_away_begins_the_map_anew():
    said = []
    search = make_search(lambda kind, text: said.append(kind))
    for i in range(5):  # of another continent, as some receivers remember
        search.add_fix(1.7e9 - 9.0 + i, 30.0, 120.0, 10.0)
    flight = Flight(search, {"a": stands(0, 3)})
    for i in range(3):
        search.add_fix(1.7e9 - 3.0 + i, *ORIGIN, 430.0)
    flight.line((-30, 0), (10, 0))
    (find,) = flight.confirmed()
    assert search.frame.origin[:2] == ORIGIN and said == ["finds_far", "finds_far", "finds_anew"]
    assert np.hypot(*(find.state[:2] - (0, 3))) < 0.3


def test_positions_far_from_the_finds_are_refused_and_cost_no_memory():
    said = []
    search = make_search(lambda kind, text: said.append(text))
    flight = Flight(search, {"a": stands(0, 3)})
    flight.line((-30, 0), (0, 0))
    flight.offset = np.array([300e3, 0.0])
    flight.line((0, 0), (30, 0))
    flight.offset = np.zeros(2)
    flight.line((30, 0), (-30, 0))
    flight.end()
    assert len(flight.confirmed()) == 1 and search.coverage.missed.size < 10000
    assert "the position is 300 km from the first one: no finds there; configure the node anew" in said[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"height": 0.5}, "the camera is 0.5 m above the ground: no finds so low"),
        ({"up": True}, "the whole image is above the horizon: no finds; is the camera's mount right?"),
        ({"sigma": 25.0}, "the position is sure to 25 m alone"),
        ({"classes": ["pedestrian"]}, "the model knows none of finds.classes (pedestrian), but person, car"),
    ],
)
def test_what_keeps_everybody_off_the_map_is_said(changes, words):
    said = []
    more = {"finds__classes": changes["classes"]} if "classes" in changes else {}
    search = make_search(lambda kind, text: said.append(text), **more)
    flight = Flight(search, {"a": stands(0, 3)}, height=changes.get("height", 30.0))
    add = search.add_fix
    search.add_fix = lambda *fix: add(*fix, changes.get("sigma"))
    flight.line((-5, 0), (10, 0), mount=Mount.from_angles(pitch_deg=60.0) if changes.get("up") else DOWN)
    assert flight.confirmed() == [] and any(words in text for text in said), said


def test_a_search_area_far_away_is_told(tmp_path):
    said = []
    ring = [[lat, lon] for lon, lat in [(8.5, 47.4), (8.51, 47.4), (8.51, 47.41), (8.5, 47.4)]]  # the wrong way round
    (tmp_path / "area.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    search = make_search(lambda kind, text: said.append(text), finds__area=str(tmp_path / "area.geojson"))
    Flight(search, {}).line((0, 0), (1, 0))
    (text,) = said
    assert "are longitude and latitude in its file in this order?" in text


def test_a_known_offset_of_the_clocks_is_mended_by_the_parameter():
    search = make_search(finds__clock_offset_s=4.0)
    flight = Flight(search, {"a": stands(0, 3)})
    add = search.add_image
    search.add_image = lambda stamp_s, *rest: add(stamp_s - 4.0, *rest)
    flight.line((-30, 0), (10, 0))
    (find,) = flight.confirmed()
    assert np.hypot(*(find.state[:2] - (0, 3))) < 0.3
