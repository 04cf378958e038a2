"""What a replay leaves for people: page, timeline, video, tables. Without ROS."""

import csv
import json
import os
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from vit_perception.errors import PerceptionError
from vit_perception.replay import video
from vit_perception.replay.page import style_sheet
from vit_perception.replay.report import FlightReport, Notes
from vit_perception.replay.timeline import timeline

TIMING = {"rejected": 2, "seconds": 1.0, "fps": 20.0, "stages": {"infer": {"p50_ms": 4.0, "p95_ms": 5.0}}}


def fly(folder, frames=30, calibrated=True, said=None, **timing):
    """A report of a made-up flight: one track, a WARN and then an ERROR."""
    say = (said if said is not None else []).append
    report = FlightReport(str(folder), {"source": "a <b> & c", "model": "m"}, 20.0, frames, Notes(say))
    for i in range(frames):
        box = {"x1": i, "y1": 10, "x2": i + 20, "y2": 40}
        detections = [dict(box, score=0.75, track_id="7", **{"class": "person"}), dict(box, **{"class": "car"})]
        track = dict(
            box, track_id="7", range_m=20.0 - 0.5 * i if calibrated else None, ttc_s=None, **{"class": "person"}
        )
        level = "OK" if i < 10 else "WARN" if i < 20 else "ERROR"
        alert = None if i < 10 else dict(box, level=level, threat="LOW", track_id="7", **{"class": "person"})
        picture = np.full((48, 64, 3), 8 * i, np.uint8)
        report.add(100 + i / 20, picture, detections, [track], alert, f"img_{i}.png", calibrated)
    report.close(dict(TIMING, **timing))
    return report


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.found += [v for k, v in attrs if k in ("src", "href")]


def read_page(folder):
    page, links = (folder / "index.html").read_text(), Links()
    links.feed(page)
    return page, links


def test_the_page_counts_and_shows_and_all_its_links_are_there(tmp_path):
    report = fly(tmp_path)
    page, links = read_page(tmp_path)
    assert "video" in links.tags and "svg" in links.tags and page.count("<html") == 1
    assert all((tmp_path / name).is_file() for name in links.found), links.found
    for words in ("a &lt;b&gt; &amp; c", ">30<", ">60<", "1 WARN, 1 ERROR", "2 images rejected", "1.5 s of flight"):
        assert words in page, words
    for words in ("threatens", "not judged", "passes", "no track", "dashed", "img_10.png", "WARN is raised"):
        assert words in page, words
    assert re.search(r"person</th><td class=.n.>30</td><td class=.n.>1<", page)
    facts = json.loads((tmp_path / "timing.json").read_text())
    assert (facts["frames"], facts["detections"], facts["tracks"], facts["alerts"]) == (30, 60, 1, 2)
    assert report.alerts == 2 and facts["calibrated"] == "yes"


def test_tables_have_the_images_names_and_boxes(tmp_path):
    fly(tmp_path)
    for name in ("detections", "tracks", "alerts"):
        with open(tmp_path / (name + ".csv"), newline="") as f:
            rows = list(csv.DictReader(f))
        assert rows[-1]["image"] == "img_29.png" and [rows[-1][n] for n in ("x1", "y1", "x2", "y2")] == [
            "29",
            "10",
            "49",
            "40",
        ]


def test_the_video_is_one_that_browsers_play(tmp_path):
    said = []
    fly(tmp_path, said=said)
    assert said == [] and (tmp_path / "annotated.webm").read_bytes()[:4] == b"\x1aE\xdf\xa3", "EBML, of WebM"
    assert b"V_VP8" in (tmp_path / "annotated.webm").read_bytes()[:2000]
    capture = cv2.VideoCapture(str(tmp_path / "annotated.webm"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 30 and capture.get(cv2.CAP_PROP_FPS) == pytest.approx(20, rel=0.02)


@pytest.mark.parametrize(
    ("codecs", "words"),
    [
        ((("annotated.avi", "MJPG", False),), "plays in VLC and other players, but in no browser"),
        ((("annotated.webm", "none", True),), "No video: this OpenCV can write none"),
    ],
)
def test_without_a_codec_for_browsers_it_says_so(tmp_path, monkeypatch, codecs, words):
    monkeypatch.setattr(video, "CODECS", codecs)
    said = []
    fly(tmp_path, said=said)
    page, links = read_page(tmp_path)
    assert len(said) == 1 and words in page and "video" not in links.tags
    assert all((tmp_path / name).is_file() for name in links.found)


def test_pictures_of_large_cameras_are_made_smaller(tmp_path):
    report = FlightReport(str(tmp_path), {}, 20.0, 1, Notes(print))
    report.add(1.0, np.full((2160, 3840, 3), 90, np.uint8), [], [], None)
    report.close(TIMING)
    capture = cv2.VideoCapture(str(tmp_path / "annotated.webm"))
    assert (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (1280, 720)


def test_nothing_of_an_earlier_replay_is_left(tmp_path):
    for name in ("annotated.mp4", "annotated.avi", "timeline.png"):
        (tmp_path / name).write_bytes(b"old")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "000099.png").write_bytes(b"old")
    (tmp_path / "notes.txt").write_text("mine")
    fly(tmp_path, frames=12)
    left = {p.name for p in tmp_path.iterdir()}
    assert not left & {"annotated.mp4", "annotated.avi", "timeline.png"} and "notes.txt" in left
    assert not (tmp_path / "frames" / "000099.png").exists() and not [n for n in left if "tmp" in n]


def test_without_a_calibration_the_plot_says_so(tmp_path):
    fly(tmp_path, calibrated=False)
    assert "not calibrated: no ranges" in (tmp_path / "timeline.svg").read_text()
    assert "not calibrated" in (tmp_path / "index.html").read_text()
    assert "not calibrated" not in timeline([], [(0.0, 0)], calibrated=True)


@pytest.mark.parametrize(
    ("seconds", "ticks"),
    [
        (0.0, ["0 s"]),
        (2.0, ["0 s", "0.4 s", "0.8 s", "1.2 s", "1.6 s", "2 s"]),
        (12.0, ["0 s", "2 s", "4 s", "6 s", "8 s", "10 s", "12 s"]),
        (300.0, ["0 s", "30 s", "1:00", "1:30"]),
        (7200.0, ["0 s", "15:00", "30:00"]),
        (90000.0, ["0 s", "180:00"]),
    ],
)
def test_ticks_are_round_times_of_flight(seconds, ticks):
    picture = timeline([(5.0, "1", 3.0, 2.0)], [(5.0, 0), (5.0 + seconds, 2)])
    ElementTree.fromstring(picture)  # well-formed
    shown = re.findall(r">(\d[\d.:]*(?: s)?)</text>", picture)
    shown = [t for t in shown if "s" in t or ":" in t]
    assert shown[: len(ticks)] == ticks and len(shown) <= 3 * 13


def test_an_hour_of_dots_makes_no_large_picture():
    points = [(i / 10, str(i % 30), 5 + i % 90, 1 + i % 7) for i in range(100000)]
    assert len(timeline(points, [(i / 10, 0) for i in range(100000)])) < 2_000_000


def test_the_style_sheet_is_light_and_dark_and_has_the_colours_of_the_palette():
    sheet = style_sheet()
    assert "prefers-color-scheme: dark" in sheet and "--threatens: #ff3c3c" in sheet
    assert len(re.findall("#[0-9a-f]{6}", sheet.lower())) > 10
    assert sheet.count("{") == sheet.count("}")


def test_an_alert_that_lasts_is_one_and_shown_as_one_bar(tmp_path):
    fly(tmp_path)
    bars = re.findall('<rect [^>]*fill="(#[0-9a-f]+)"', (tmp_path / "timeline.svg").read_text())
    assert bars == ["#ff9a94", "#ff3c3c"]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PerceptionError, match="cannot write the report in .*file/r"):
        FlightReport(str(tmp_path / "file" / "r"), {}, 20.0, 1, Notes(print))
    if os.geteuid():
        (tmp_path / "shut").mkdir(mode=0o500)
        with pytest.raises(PerceptionError, match="cannot write the report"):
            FlightReport(str(tmp_path / "shut" / "r"), {}, 20.0, 1, Notes(print))
