"""The renderer: equal seeds give equal bytes, and what it says of an object is what geometry says."""

import csv
import json

import cv2
import numpy as np
import pytest
import yaml
from pycocotools.coco import COCO

from offline.render import (
    CATEGORIES,
    PRESETS,
    Camera,
    Flight,
    Motion,
    Renderer,
    Scene,
    attitude,
    intrinsics,
    render_flight,
    write_dataset,
)
from offline.render.__main__ import main
from offline.render.painter import paint, prepare

SIZE = (160, 128)


@pytest.fixture
def bare():
    return Scene(1, "thermal", density=0)


def camera(position, yaw=0.0, tilt=0.0, velocity=(0.0, 0.0, 0.0), size=(320, 256)) -> Camera:
    K = intrinsics(*size, np.radians(60))
    return Camera(K, *size, np.array(position, float), attitude(yaw, tilt), np.array(velocity, float))


def stage(bare: Scene, *objects) -> dict:
    """Truth of these (kind, x, y[, speed]), all facing west, by kind; the camera flies east at 4 m/s."""
    bare.instances = []
    for kind, x, y, *speed in objects:
        bare.add(kind, Motion(np.array([x, y], float), np.pi, *speed), style=0)
    frame = Renderer(bare, 320, 256).render(camera([0, 0, 1.5], velocity=[4, 0, 0]), 0.0)
    return {truth.kind: truth for truth in frame.objects}


def test_equal_seeds_give_equal_bytes_in_any_order():
    first, second = Flight("search", "color", SIZE, seed=3), Flight("search", "color", SIZE, seed=3)
    early, late = first.frame(0), first.frame(20)
    assert second.frame(20).image.tobytes() == late.image.tobytes()
    assert second.frame(0).image.tobytes() == early.image.tobytes() != late.image.tobytes()
    assert Flight("search", "color", SIZE, seed=4).frame(0).image.tobytes() != early.image.tobytes()


def test_looks_share_geometry():
    thermal, color = (Flight("survey", look, SIZE, seed=5).frame(8) for look in ("thermal", "color"))
    assert thermal.image.shape == (128, 160) and color.image.shape == (128, 160, 3)
    assert thermal.image.dtype == color.image.dtype == np.uint8
    assert thermal.objects == color.objects and thermal.objects


@pytest.mark.parametrize("preset", PRESETS)
def test_boxes_lie_in_the_image_and_fractions_in_their_range(preset):
    frame = Flight(preset, "thermal", SIZE, seed=2).frame(30)
    assert frame.image.std() > 5
    ids = [truth.track_id for truth in frame.objects]
    assert len(ids) == len(set(ids)) > 0
    for truth in frame.objects:
        x, y, w, h = truth.bbox
        assert x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= 160 and y + h <= 128
        assert 0 <= truth.visible <= 1 and 0 <= truth.truncated < 1
        assert 0 <= truth.distance_m <= truth.range_m and truth.ttc_s > 0


def test_box_of_a_wall_ahead_is_the_pinhole_projection(bare):
    wall = stage(bare, ("Wall", 20, 0))["Wall"]
    half = 0.5 * (bare.instances[0].high - bare.instances[0].low)
    focal = 160 / np.tan(np.radians(30))
    face = 20 - half[0]
    assert wall.depth_m == pytest.approx(face) and wall.distance_m == pytest.approx(face)
    x, y, w, h = wall.bbox
    left, top = 160 - focal * half[1] / face, 128 - focal * (2 * half[2] - 1.5) / face
    assert [x, y, x + w] == pytest.approx([left, top, 320 - left], abs=0.01)
    assert y + h == pytest.approx(128 + focal * 1.5 / face, abs=1.5 * focal * 0.1 / face)
    assert wall.ttc_s == pytest.approx(face / 4) and wall.bearing_rad == pytest.approx(0, abs=1e-9)


def test_the_painted_silhouette_fills_the_box(bare):
    view = camera([0, 0, 6], tilt=0.4)
    canvas = prepare(bare.ground.paint(view), 1)
    empty = canvas[:, :, 0].copy()
    bare.add("Car", Motion(np.array([12.0, 1.0]), np.pi))
    (painted,) = paint(canvas, view, bare.poses(0.0), 0.0, bare.climate)
    rows, columns = np.nonzero(cv2.absdiff(canvas[:, :, 0], empty) > 3)
    found = [columns.min(), rows.min(), columns.max(), rows.max()]
    assert found == pytest.approx(list(painted.box), abs=1.5)
    assert painted.seen == painted.silhouette == pytest.approx(len(rows), rel=0.2)


def test_bearing_is_right_positive_and_relative_speed_counts(bare):
    seen = stage(bare, ("Person", 15, -5), ("Car", 25, 6, 8.0))
    person, car = seen["Person"], seen["Car"]
    assert person.bearing_rad == pytest.approx(np.arctan2(5, 15), abs=0.02) and person.bbox[0] > 160
    assert car.bearing_rad < 0 and car.bbox[0] < 160
    assert car.ttc_s == pytest.approx(car.depth_m / 12) and person.ttc_s == pytest.approx(person.depth_m / 4)
    assert person.closing_mps == pytest.approx(4 * np.cos(person.bearing_rad), rel=0.01)


def test_what_stands_in_front_hides_what_stands_behind(bare):
    assert stage(bare, ("Person", 20, 0))["Person"].visible == 1
    hidden = stage(bare, ("Person", 20, 0), ("Wall", 16, 0))
    assert hidden["Person"].visible < 0.3 and hidden["Wall"].visible == 1
    beside = stage(bare, ("Wall", 20, 0), ("Person", 19, 3))  # nearer than the wall, farther than its middle
    assert beside["Person"].visible == 1


def test_an_object_cut_by_the_border_is_truncated(bare):
    car = stage(bare, ("Car", 3.5, 2))["Car"]
    assert car.truncated > 0.3 and car.bbox[0] == 0 and car.bbox[1] + car.bbox[3] == 256


@pytest.mark.parametrize("target", ["Person", "Car", "Wall"])
def test_time_to_contact_of_an_approach(target):
    flight = Flight("approach", "thermal", SIZE, 120, 15, seed=6, target=target, ending="brake")
    truths = {k: _of_target(flight, k) for k in (*range(0, 90, 6), 117)}
    assert truths[0].ttc_s == pytest.approx(6, rel=0.05)
    assert min(truth.ttc_s for truth in truths.values()) == pytest.approx(0.9, abs=0.3)
    assert truths[117].ttc_s == float("inf") and truths[117].distance_m > 0.5
    for k in range(6, 66, 6):
        before, now, after = truths[k - 6], truths[k], truths[k + 6]
        rate = (after.depth_m - before.depth_m) / 0.8
        assert now.ttc_s == pytest.approx(-now.depth_m / rate, rel=0.02)
        assert now.closing_mps == pytest.approx((before.range_m - after.range_m) / 0.8, rel=0.02)
        if after.truncated == 0:  # tau of the box: s / (ds/dt), with 1/s linear in time
            inverse = [1 / np.sqrt(t.bbox[2] * t.bbox[3]) for t in (before, now, after)]
            tau = -inverse[1] / ((inverse[2] - inverse[0]) / 0.8)
            assert tau == pytest.approx(now.ttc_s, rel=0.1)


def _of_target(flight: Flight, index: int):
    return next(t for t in flight.frame(index).objects if t.track_id == flight.target.track_id)


def test_a_receding_flight_has_no_time_to_contact():
    flight = Flight("recede", "thermal", SIZE, seed=1, target="Car")
    near, far = _of_target(flight, 0), _of_target(flight, 60)
    assert near.ttc_s == far.ttc_s == float("inf")
    assert far.distance_m > near.distance_m + 5 and far.bbox[2] < near.bbox[2]


def test_data_set_is_coco_and_deterministic(tmp_path):
    ticks: list[int] = []
    one = write_dataset(tmp_path / "a", train=8, val=4, size=SIZE, seed=7, progress=ticks.append)
    two = write_dataset(tmp_path / "b", train=8, val=4, size=SIZE, seed=7)
    assert ticks == list(range(1, 13))
    for path in sorted(p.relative_to(one) for p in one.rglob("*.*")):
        assert (one / path).read_bytes() == (two / path).read_bytes()
    for split, count in (("train", 8), ("val", 4)):
        coco = COCO(one / f"{split}.json")
        assert len(coco.getImgIds()) == count and len(coco.getAnnIds()) > count
        assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(CATEGORIES)
        assert {a["category_id"] for a in coco.anns.values()} == {0, 1, 2, 3}
        for image in coco.imgs.values():
            assert cv2.imread(str(one / "images" / image["file_name"]), cv2.IMREAD_UNCHANGED).shape == (
                128,
                160,
            )
        for a in coco.anns.values():
            assert a["distance_m"] > 0 and (a["ttc_s"] is None or a["ttc_s"] > 0) and min(a["bbox"][2:]) > 0
            if a["category_id"] != 3:
                assert a["visible"] >= 0.3 and min(a["bbox"][2:]) >= 4


def test_flight_folder_round_trip(tmp_path):
    render_flight(Flight("approach", "color", SIZE, frames=7, fps=10, seed=2), tmp_path)
    flight = Flight("approach", "color", SIZE, frames=5, fps=10, seed=2)
    render_flight(flight, tmp_path)
    info = yaml.safe_load((tmp_path / "camera.yaml").read_text())
    assert (info["width"], info["height"], info["fps"], info["frame_id"]) == (160, 128, 10, "camera_optical")
    assert np.array(info["K"]).reshape(3, 3) == pytest.approx(flight.K, abs=1e-5)
    images = sorted((tmp_path / "frames").iterdir())
    assert len(images) == 5
    frame = flight.frame(3)
    assert (cv2.imread(str(images[3])) == frame.image).all()
    rows = [row for row in csv.DictReader((tmp_path / "truth.csv").open()) if row["frame"] == "3"]
    assert [int(row["track_id"]) for row in rows] == [truth.track_id for truth in frame.objects]
    assert [float(row["ttc_s"]) for row in rows] == pytest.approx([t.ttc_s for t in frame.objects], rel=1e-4)
    assert len((tmp_path / "poses.csv").read_text().splitlines()) == 6


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["--look", "sepia"], "look"),
        (["--size", "320"], "--size"),
        (["--size", "8x8"], "size"),
        (["--train", "0"], "train"),
        (["--train", "many"], "--train"),
        (["--seed", "-1"], "--seed"),
        (["--flight", "loop"], "flight"),
        (["--flight", "approach", "--target", "Moon"], "target"),
        (["--flight", "approach", "--ending", "crash"], "ending"),
        (["--flight", "survey", "--frames", "0"], "frames"),
        (["--flight", "survey", "--fps", "nan"], "frames"),
    ],
)
def test_bad_arguments_give_one_sentence(tmp_path, capsys, arguments, word):
    try:
        code = main(["--out", str(tmp_path / "out"), *arguments])
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr().err.strip()
    assert code == 2 and word in said and said.count("\n") == 0
    assert not list(tmp_path.rglob("*.*"))


def test_a_folder_that_cannot_be_written_is_said_and_leaves_nothing(tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert main(["--out", str(tmp_path / "out"), "--train", "1", "--val", "1", "--size", "64x48"]) == 2
    assert str(tmp_path / "out") in capsys.readouterr().err


def test_command_writes_both_splits(tmp_path, capsys):
    arguments = ["--look", "color", "--train", "2", "--val", "1", "--size", "96x64"]
    assert main(["--out", str(tmp_path), *arguments]) == 0
    assert len(json.loads((tmp_path / "train.json").read_text())["images"]) == 2
    assert str(tmp_path) in capsys.readouterr().out.replace("\n", "")


def test_people_are_of_every_size_and_also_darker_than_their_ground(tmp_path):
    main(["--out", str(tmp_path), "--people", "--train", "40", "--val", "1", "--size", "160x128", "--seed", "3"])
    coco = COCO(str(tmp_path / "train.json"))
    assert len(coco.getImgIds()) == 40
    sizes, brighter = [], []
    for image in coco.loadImgs(coco.getImgIds()):
        pixels = cv2.imread(str(tmp_path / "images" / image["file_name"]), cv2.IMREAD_UNCHANGED).astype(float)
        boxes = [a["bbox"] for a in coco.loadAnns(coco.getAnnIds(image["id"], catIds=[0]))]
        if not boxes:
            continue
        x, y, w, h = (round(v) for v in max(boxes, key=lambda box: box[2] * box[3]))
        sizes.append(max(w, h))
        brighter.append(pixels[y : y + h, x : x + w][h // 4 : -h // 4 or None].mean() - np.median(pixels))
    assert len(sizes) > 25 and min(sizes) < 12 and max(sizes) > 80
    assert min(brighter) < -15 and max(brighter) > 30


def test_people_and_a_flight_are_two_things(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "x"), "--people", "--flight", "search"]) == 2
    assert "give one of them" in capsys.readouterr().err and not (tmp_path / "x").exists()
