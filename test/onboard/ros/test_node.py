"""The node as a process, over real DDS on loopback, with a real ONNX model."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
pytest.importorskip("onnx", reason="onnx is not installed (make setup)")

from blob_bundle import make_bundle  # noqa: E402
from flight import HEIGHT, ROOT, WIDTH, Client, flies, running, stamps_of, start, white_blocks  # noqa: E402

from vit_perception.health.board import rss_mb  # noqa: E402

BLACK = np.zeros((HEIGHT, WIDTH), np.uint8)


@pytest.fixture
def flown(client, bundle, tmp_path):
    """A client connected to a running node."""
    with running("node", tmp_path / "log", model=bundle):
        client.connect()
        yield client


def test_detections_keep_header_and_stamp_and_empty_arrays_are_sent(flown):
    msg = flown.answer(white_blocks((2, 1), (5, 4)), stamp=(1234, 567), frame_id="front_camera")
    assert msg.header.frame_id == "front_camera"
    assert len(msg.detections) == 2
    for d in msg.detections:
        assert d.header == msg.header
        assert (d.results[0].hypothesis.class_id, d.id) == ("0", "")
        assert d.results[0].hypothesis.score == pytest.approx(1 / (1 + np.exp(-4)), abs=1e-4)
        assert (d.bbox.size_x, d.bbox.size_y, d.bbox.center.theta) == (16, 16, 0)
    centers = {(d.bbox.center.position.x, d.bbox.center.position.y) for d in msg.detections}
    assert centers == {(40, 24), (88, 72)}
    empty = flown.answer(BLACK, stamp=(1234, 600000000), frame_id="front_camera")
    assert empty is not None and empty.detections == [] and empty.header.frame_id == "front_camera"


def test_colour_and_padded_images_are_understood(flown):
    gray = white_blocks((2, 1))
    padded = np.concatenate([gray, np.full((HEIGHT, 7), 255, np.uint8)], axis=1)
    assert len(flown.answer(padded, (1, 0), width=WIDTH).detections) == 1
    for i, encoding in enumerate(("rgb8", "bgr8")):
        color = np.repeat(gray[:, :, None], 3, axis=2)
        msg = flown.answer(color.reshape(HEIGHT, -1), (2 + i, 0), width=WIDTH, encoding=encoding)
        assert len(msg.detections) == 1


def test_tracks_give_ids_from_the_third_frame(flown):
    ids = [flown.answer(white_blocks((2, 1)), (5, int(1e8) * i)).detections[0].id for i in range(4)]
    assert ids == ["", "", "1", "1"]


def test_label_info_reaches_a_late_subscriber(flown):
    info = flown.messages("label_info")[-1]  # the client may subscribe long after the node published it
    assert [(c.class_id, c.class_name) for c in info.class_map] == [(0, "person"), (1, "car"), (2, "obstacle")]
    assert info.threshold == 0.5
    late = Client(flown.node.context)
    assert late.wait(lambda: late.received["label_info"])
    late.close()


def test_scan_is_steady_then_silent_when_images_stop(flown):
    flown.calibrate(fx=100.0)
    flown.fly(white_blocks((4, 2)), 0.5)
    flown.forget()
    begun = time.monotonic()
    flown.fly(white_blocks((4, 2)), 2.0)
    seconds = time.monotonic() - begun  # more than 2 s, where this process stood still
    arrivals = [t for t, _ in flown.received["obstacle_scan"]]
    assert 7.5 * seconds <= len(arrivals) <= 10 * seconds + 2
    assert np.median(np.diff(arrivals)) == pytest.approx(0.1, abs=0.02)
    scan = flown.messages("obstacle_scan")[-1]
    stamp = scan.header.stamp
    assert flown.wait(lambda: (stamp.sec, stamp.nanosec) in stamps_of(flown, "detections"))
    assert scan.header.frame_id == "base_link_frd"
    assert len(scan.ranges) == 72
    assert scan.angle_min == pytest.approx(-np.pi)
    assert scan.angle_increment == pytest.approx(np.radians(5))
    # A 16 px high person, right of the middle: 100 * 1.7 / 16 m away, from 0 to 9 degrees right.
    ranges = np.array(scan.ranges)
    assert list(np.flatnonzero(np.isfinite(ranges))) == [35, 36, 37, 38, 39]
    assert ranges[37] == pytest.approx(10.625 * np.hypot(1, 8 / 100), rel=0.15)
    flown.spin(1.0)
    flown.forget()
    flown.spin(0.7)
    assert flown.messages("obstacle_scan") == []
    level, text, values = flown.diagnostics()
    assert level == 2 and "no image on /image_raw" in text and values["scan"].startswith("silent")
    assert flown.fly_until(BLACK, lambda: flown.messages("obstacle_scan"), images=10), (
        "the scan comes back with the images"
    )


def test_no_scan_without_calibration_or_with_that_of_another_size(flown):
    flown.fly(BLACK, 0.7)
    assert flown.messages("obstacle_scan") == []
    values = flown.diagnostics(BLACK)[2]
    assert "calibrated" in values["scan"] and values["calibrated"] == "no"
    flown.settle(BLACK)  # none of the calibrated size is under way
    flown.calibrate()
    flown.fly(np.zeros((48, 64), np.uint8), 0.5)
    assert flown.messages("obstacle_scan") == []


def test_publish_clear_at_run_time(flown):
    flown.calibrate()
    assert flown.fly_until(BLACK, lambda: flown.messages("obstacle_scan"), images=10)
    assert not np.isfinite(flown.messages("obstacle_scan")[-1].ranges).any()
    assert flown.set_parameter("publish_clear", True) == (True, "")
    assert flown.fly_until(BLACK, lambda: np.isfinite(flown.messages("obstacle_scan")[-1].ranges).any(), images=10)
    ranges = np.array(flown.messages("obstacle_scan")[-1].ranges)
    clear = np.flatnonzero(np.isfinite(ranges))  # 32.6 degrees to each side
    assert list(clear) == list(range(30, 43))
    assert ranges[clear] == pytest.approx(40.01)


def test_bad_images_are_counted_and_reported_and_the_node_goes_on(flown):
    bad = ({"step": WIDTH - 1}, {"height": HEIGHT + 1}, {"encoding": "16UC1"}, {"width": 0, "height": 0})
    for count, changes in enumerate(bad, 1):  # one that comes before the last one was taken would take its place
        flown.send(BLACK, **changes)
        assert flown.wait(lambda n=count: flown.diagnostics()[2]["rejected"] == str(n))
    values = flown.diagnostics()[2]
    assert values["rejected"] == "4" and values["processed"] == "0"
    assert "0 x 0" in values["last_rejection"]
    assert flown.answer(white_blocks((1, 1)), (9, 0)) is not None

    def counts():
        values = flown.diagnostics()[2]
        return values["rejected"], values["processed"], values["consecutive_failures"]

    assert flown.wait(lambda: counts() == ("4", "1", "0"))  # it is counted after it was answered


def test_only_bad_images_are_an_error(flown):
    flown.fly(BLACK, 1.0, encoding="yuv422")  # five in a row are needed; some may be lost on a busy computer
    level, text, _ = flown.diagnostics()
    assert level == 2 and "yuv422" in text


def test_frames_on_which_the_pipeline_fails_are_counted_and_reported(client, tmp_path):
    """A model with one class fewer than its bundle says: every frame fails, the node stays."""
    bundle = make_bundle(tmp_path / "bad", labels=("person", "car", "tree"), model_classes=2)
    with running("node", tmp_path / "log", model=bundle, max_failures=3) as process:
        client.connect()
        client.calibrate()
        client.fly(BLACK, 1.0)
        level, text, values = client.diagnostics()
        assert level == 2 and "in a row failed" in text
        assert int(values["failures"]) > 3 and "classes" in values["last_failure"]
        assert client.messages("obstacle_scan") == [] and process.poll() is None


def test_diagnostics_have_the_keys_of_the_contract(flown, record_property):
    flown.calibrate()
    flown.fly(white_blocks((2, 1)), 2.2, rate=25.0)
    level, _, values = flown.diagnostics(white_blocks((2, 1)))
    assert level == 0
    assert 10 < float(values["input_fps"]) < 30
    assert float(values["output_fps"]) == pytest.approx(float(values["input_fps"]), abs=2)
    assert 0 <= float(values["newest_frame_age_s"]) < 2.5

    def under_way():
        counted = flown.diagnostics()[2]
        return int(counted["received"]) - int(counted["processed"]) - int(counted["dropped"])

    assert flown.wait(lambda: under_way() in (0, 1))
    for stage in ("letterbox", "infer", "decode", "track", "obstacles", "publish", "latency", "response"):
        p50, p95 = (float(values[f"{stage}_ms_p{q}"]) for q in (50, 95))
        assert 0 <= p50 <= p95 < 1000
        record_property(stage + "_ms_p50", p50)
    assert len(values["model_sha256"]) == 64
    assert (values["backend"], values["precision"], values["model"]) == ("onnxruntime", "fp32", "blob")
    assert values["backend_reason"] and values["rejected"] == "0" and "temperature_c" in values


def test_alert_each_frame_while_active_and_once_on_clear(client, bundle, tmp_path):
    with running("node", tmp_path / "log", model=bundle, **{"alerts.warn_range_m": 15.0}):
        client.connect()
        client.calibrate()
        client.fly(white_blocks((6, 2)), 0.7)
        assert client.fly_until(white_blocks((6, 2)), lambda: len(client.messages("alert")) >= 3)
        # In each frame, after eight for a range alone and three to trigger. The newest may still be under way.
        assert client.wait(lambda: len(client.messages("alert")) >= len(client.messages("detections")) - 11)
        alerts = client.messages("alert")
        values = {v.key: v.value for v in alerts[-1].values}
        assert alerts[-1].level == b"\x01" and values["threat"] == "LOW"
        assert (values["class"], values["track_id"]) == ("person", "1")
        assert float(values["bearing_deg"]) == pytest.approx(np.degrees(np.arctan(0.4)), abs=0.1)
        assert float(values["range_m"]) == pytest.approx(10.625 * np.hypot(1, 0.4), rel=0.15)
        assert client.fly_until(BLACK, lambda: client.messages("alert")[-1].level == b"\x00", images=24)
        levels = [a.level[0] for a in client.messages("alert")]
        assert levels[-1] == 0 and levels.count(0) == 1
        count = len(levels)
        client.fly(BLACK, 0.5)
        assert len(client.messages("alert")) == count

        assert client.fly_until(white_blocks((6, 2)), lambda: client.messages("alert")[-1].level == b"\x01", images=14)
        client.spin(1.0)  # images stop during the alert
        levels = [a.level[0] for a in client.messages("alert")]
        assert levels[-2:] == [1, 3] and levels.count(3) == 1


def test_thresholds_change_at_run_time_and_bad_values_are_refused(flown):
    gray = BLACK.copy()
    gray[16:32, 32:48] = 160  # scores 0.73
    assert len(flown.answer(gray, (1, 0)).detections) == 1
    for name in ("weak_score", "score_threshold"):
        assert flown.set_parameter(name, 0.8) == (True, "")
    assert len(flown.answer(gray, (1, 1)).detections) == 0
    assert flown.wait(lambda: flown.messages("label_info")[-1].threshold == pytest.approx(0.8))
    for name, value, word in (
        ("score_threshold", 1.5, "range"),
        ("score_threshold", "high", "type"),
        ("model", "other", "read-only"),
        ("backend", "other", "read-only"),
        ("alerts.error_ttc_s", 5.0, "alerts.warn_ttc_s"),
        ("alerts.trigger_count", 0, "range"),
    ):
        successful, reason = flown.set_parameter(name, value)
        assert not successful and word in reason
    assert len(flown.answer(gray, (1, 2)).detections) == 0


def test_newest_frame_only_and_drops_are_counted(client, tmp_path):
    slow = make_bundle(tmp_path / "slow", work=1000)
    with running("node", tmp_path / "log", model=slow, threads=1):
        client.connect()
        for i in range(30):
            client.send(white_blocks((1, 1)), (20, i))
            client.spin(0.01)
        assert client.answer_to((20, 29)) is not None, "the newest image is always processed"

        def all_counted():  # the last one is counted after it was answered
            values.update(client.diagnostics()[2])
            return int(values["received"]) == int(values["processed"]) + int(values["dropped"])

        values = {}
        assert client.wait(all_counted) and int(values["dropped"]) > 5
        stamps = [m.header.stamp.nanosec for m in client.messages("detections")]
        assert stamps == sorted(set(stamps)) and len(stamps) == int(values["processed"])


def test_class_names_and_simulated_time(client, bundle, tmp_path):
    """Timers keep their rate under simulated time that nobody publishes."""
    with running("node", tmp_path / "log", model=bundle, class_id_as_name=True, use_sim_time=True):
        client.connect()
        client.calibrate()
        assert client.answer(white_blocks((2, 1)), (3, 0)).detections[0].results[0].hypothesis.class_id == "person"
        assert flies(client, BLACK)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_under_load(client, bundle, tmp_path, number):
    process = start("node", tmp_path / "log", model=bundle)
    client.connect()
    client.fly(white_blocks((2, 1)), 0.5)
    process.send_signal(number)
    t0 = time.monotonic()
    while process.poll() is None and time.monotonic() - t0 < 10:
        client.send_now(BLACK)
        client.spin(0.02)
    assert process.wait(1) == 0
    assert time.monotonic() - t0 < 3
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"model": "/no/such/bundle"}, "no model bundle at /no/such/bundle"),
        ({"model": "no_such_name"}, "no model bundle"),
        ({"backend": "abacus"}, "unknown backend 'abacus'"),
        ({"precision": "int3"}, "unknown precision 'int3'"),
        ({"precision": "int8"}, "no 'int8' file"),
        ({"backend": "tensorrt"}, "TensorRT is not installed"),
        ({"score_threshold": "2.0"}, "score_threshold out of range"),
        ({"score_threshold": "1"}, "expecting type 'DOUBLE'"),
        ({"alerts.warn_ttc_s": "1.0"}, "alerts.error_ttc_s (2.0) must not exceed"),
        ({"obstacles.heights_m": "[1.0]"}, "they must agree"),
    ],
)
def test_a_bad_start_is_one_sentence_and_exit_code_1(bundle, parameters, words, tmp_path):
    process = start("node", tmp_path / "log", **{"model": bundle, **parameters})
    assert process.wait(20) == 1
    lines = (tmp_path / "log").read_text().strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("vit_perception: ") and words in lines[0]


def test_a_bundle_is_found_by_path_or_by_installed_name(tmp_path, monkeypatch):
    from vit_perception.bundles.bundle import find_bundle

    marker = tmp_path / "share" / "ament_index" / "resource_index" / "packages" / "vit_perception"
    installed = tmp_path / "share" / "vit_perception" / "models" / "mine"
    for folder in (marker.parent, installed):
        folder.mkdir(parents=True)
    marker.touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert find_bundle("mine") == str(installed)
    assert find_bundle("./mine") == "./mine"
    assert find_bundle(str(installed)) == str(installed)
    monkeypatch.delenv("AMENT_PREFIX_PATH")
    beside = Path(find_bundle("mine"))  # the package, in a source tree
    assert beside.name == "mine" and (beside.parent.parent / "vit_perception" / "node.py").is_file()


def test_an_altered_bundle_is_refused(tmp_path):
    folder = make_bundle(tmp_path / "altered")
    with open(tmp_path / "altered" / "model.onnx", "ab") as f:
        f.write(b"\0")
    process = start("node", tmp_path / "log", model=folder)
    assert process.wait(20) == 1
    assert "sha256 differs" in (tmp_path / "log").read_text()


def test_flies_without_training_libraries_in_little_memory(client, bundle, tmp_path, record_property):
    code = "import sys, vit_perception.node, onnxruntime; print({'torch', 'scipy'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
    with running("node", tmp_path / "log", model=bundle) as process:
        client.connect()
        client.fly(white_blocks((2, 1)), 1.0)
        rss = rss_mb(f"/proc/{process.pid}/status")
        with open(f"/proc/{process.pid}/maps") as f:
            mapped = f.read()
    record_property("rss_mb", rss)
    print(f"RSS of the node: {rss:.0f} MB")
    assert rss < 250
    assert "/torch/" not in mapped and "/scipy/" not in mapped
