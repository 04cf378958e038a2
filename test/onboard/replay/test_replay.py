"""Recorded flights through the node's code: in one process, over DDS, and from a bag that a node dumped."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
pytest.importorskip("onnx", reason="onnx is not installed (make setup)")

from flight import HEIGHT, NAME, ROOT, WIDTH, running, start, white_blocks  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from vision_msgs.msg import Detection2DArray  # noqa: E402

from vit_perception.parameters import EVALUATED, SPECS  # noqa: E402
from vit_perception.recording.bag import open_bag  # noqa: E402
from vit_perception.recording.bag_writer import BagWriter  # noqa: E402
from vit_perception.replay.__main__ import main  # noqa: E402
from vit_perception.replay.parameters_file import read  # noqa: E402
from vit_perception.ros.tapes import image_message, info_message  # noqa: E402

FRAMES, FPS = 12, 20.0
K = [100.0, 0.0, 64.0, 0.0, 100.0, 48.0, 0.0, 0.0, 1.0]
CAMERA = f"width: {WIDTH}\nheight: {HEIGHT}\nfps: {FPS}\nframe_id: nose\nK: {K}\n"
DETECTIONS = "vision_msgs/msg/Detection2DArray"


def scene(i):
    """A person that comes nearer, and a second one now and then."""
    cells = [(2, 1), (5, 4)] if i % 3 else [(2, 1)]
    return white_blocks(*cells)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """{kind: path} of the same flight as a folder, a video and a bag."""
    root = tmp_path_factory.mktemp("flight")
    (root / "folder").mkdir()
    (root / "camera.yaml").write_text(CAMERA)
    video = cv2.VideoWriter(str(root / "video.avi"), cv2.VideoWriter_fourcc(*"MJPG"), FPS, (WIDTH, HEIGHT))
    with BagWriter(root / "bag") as bag:
        bag.add_topic("/nose/image_raw", "sensor_msgs/msg/Image")
        bag.add_topic("/nose/camera_info", "sensor_msgs/msg/CameraInfo")
        bag.add_topic(NAME + "/detections", DETECTIONS)  # of the recorded flight: no input
        for i in range(FRAMES):
            cv2.imwrite(str(root / "folder" / f"{i:03d}.png"), scene(i))
            video.write(cv2.cvtColor(scene(i), cv2.COLOR_GRAY2BGR))
            msg = image_message(scene(i))
            msg.header.frame_id = "nose"
            msg.header.stamp.sec, msg.header.stamp.nanosec = 50 + i // 20, int(1e9 / FPS) * (i % 20)
            stamp = int(1e18 + 1e9 * i / FPS)
            info = info_message(msg.header, {"K": K, "width": WIDTH, "height": HEIGHT})
            bag.write("/nose/camera_info", stamp, serialize_message(info))
            bag.write("/nose/image_raw", stamp, serialize_message(msg))
            bag.write(NAME + "/detections", stamp, serialize_message(Detection2DArray(header=msg.header)))
    video.release()
    return {"folder": root / "folder", "video": root / "video.avi", "bag": root / "bag"}


def replay(source, out, *options, python=(sys.executable,), env=None, **popen):
    command = [*python, "-m", "vit_perception.replay", str(source), "--out", str(out), *map(str, options)]
    environment = dict(os.environ, OMP_NUM_THREADS="1", **(env or {}))
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env=environment, **popen)


def table(path):
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def boxes(rows):
    names = ("x1", "y1", "x2", "y2", "score")
    return [(int(r["frame"]), r["class"], *(round(float(r[n]), 2) for n in names), r["track_id"]) for r in rows]


def expected():
    """(frame, class, box, score) that the blob model gives, by frame."""
    score = round(1 / (1 + np.exp(-4.0)), 2)
    found = []
    for i in range(FRAMES):
        cells = [(2, 1), (5, 4)] if i % 3 else [(2, 1)]
        found += [(i, "person", 16.0 * x, 16.0 * y, 16.0 * x + 16, 16.0 * y + 16, score) for x, y in cells]
    return sorted(found)


@pytest.mark.parametrize("kind", ["folder", "video", "bag"])
def test_offline_reports_every_frame(recordings, bundle, tmp_path, kind):
    done = replay(recordings[kind], tmp_path / "report", "--model", bundle)
    assert done.returncode == 0, done.stderr
    assert f"{FRAMES} frames in" in done.stdout and "infer" in done.stdout
    report = tmp_path / "report"
    assert not list(report.glob("*tmp*"))
    found = table(report / "detections.csv")
    assert sorted(b[:7] for b in boxes(found)) == expected()
    stamps = sorted({float(r["stamp_s"]) for r in found})
    assert stamps == pytest.approx([(50 if kind == "bag" else 0) + i / FPS for i in range(FRAMES)], abs=1e-5)
    tracks = table(report / "tracks.csv")
    assert {t["track_id"] for t in tracks} >= {"1"}
    first = next(t for t in tracks if t["track_id"] == "1")
    assert first["frame"] == "2" and 8 < float(first["range_m"]) < 16, "the camera is known from camera.yaml or bag"
    facts = json.loads((report / "timing.json").read_text())
    assert facts["frames"] == FRAMES and facts["rejected"] == 0 and facts["note"] == ""
    assert 0 < facts["stages"]["infer"]["p50_ms"] <= facts["stages"]["infer"]["p95_ms"]
    capture = cv2.VideoCapture(str(report / "annotated.webm"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(FPS, rel=0.02)
    page = (report / "index.html").read_text()
    pictures = sorted(p.name for p in (report / "frames").glob("*.png"))
    assert pictures and all("frames/" + p in page for p in pictures) and (report / "timeline.svg").exists()
    assert {row["image"] for row in found} == ({f"{i:03d}.png" for i in range(FRAMES)} if kind == "folder" else {""})
    assert (float(first["x1"]), float(first["y2"])) == pytest.approx((32, 32), abs=1) and "not calibrated" not in page


def test_alerts_are_listed_and_their_first_frame_is_shown(recordings, bundle, tmp_path):
    parameters = tmp_path / "drone.yaml"
    parameters.write_text("/**:\n  ros__parameters:\n    alerts:\n      warn_range_m: 15.0\n    of_another_node: 1\n")
    done = replay(recordings["folder"], tmp_path / "r", "--model", bundle, "--params", parameters)
    assert done.returncode == 0 and "not parameters of the node, ignored: of_another_node" in done.stdout
    alerts = table(tmp_path / "r" / "alerts.csv")
    assert alerts[0]["level"] == "WARN" and alerts[0]["threat"] == "LOW" and alerts[0]["class"] == "person"
    raised = int(alerts[0]["frame"])
    assert raised == 9, "eight detections for a range alone, three frames to trigger"
    assert (tmp_path / "r" / "frames" / f"{raised:06d}.png").exists()
    assert json.loads((tmp_path / "r" / "timing.json").read_text())["alerts"] == 1


def test_offline_needs_no_ros(recordings, bundle, tmp_path):
    """Python without the ROS packages: they are made unimportable."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "for name in ('rclpy', 'sensor_msgs', 'vision_msgs', 'geometry_msgs', 'std_msgs', 'diagnostic_msgs'):\n"
        "    sys.modules[name] = None\n"
    )
    env = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    for kind in ("folder", "bag"):
        done = replay(recordings[kind], tmp_path / kind, "--model", bundle, env=env)
        assert done.returncode == 0, done.stderr
        assert sorted(b[:7] for b in boxes(table(tmp_path / kind / "detections.csv"))) == expected()
    done = replay(recordings["bag"], tmp_path / "ros", "--model", bundle, "--ros", env=env)
    assert done.returncode == 1 and "needs a sourced ROS 2" in done.stderr


@pytest.mark.parametrize("kind", ["folder", "bag"])
def test_over_dds_the_same_comes_out(recordings, bundle, tmp_path, kind):
    for mode in ("--offline", "--ros"):
        done = replay(recordings[kind], tmp_path / mode, "--model", bundle, mode)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
    offline, ros = (table(tmp_path / mode / "detections.csv") for mode in ("--offline", "--ros"))
    assert boxes(ros) == boxes(offline)
    ranges = [
        [(r["frame"], r["track_id"], round(float(r["range_m"]), 1)) for r in table(tmp_path / m / "tracks.csv")]
        for m in ("--offline", "--ros")
    ]
    assert ranges[0] == ranges[1]
    facts = json.loads((tmp_path / "--ros" / "timing.json").read_text())
    assert facts["frames"] == FRAMES and {"infer", "publish"} <= set(facts["stages"])
    assert cv2.VideoCapture(str(tmp_path / "--ros" / "annotated.webm")).get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    heard = open_bag(str(tmp_path / "--ros" / "topics"))
    assert heard.counts["/replay/vit_perception/detections"] == FRAMES
    assert heard.counts["/replay/diagnostics"] > 0
    assert all(t.startswith("/replay/") for t in heard.topics), "a replay must not be taken for a flight"


def test_a_dumped_flight_gives_the_same_detections_bit_for_bit(client, bundle, tmp_path):
    """A node in flight, ~/dump, the bag played to a second node: equal numbers on ~/detections."""
    dumps = tmp_path / "dumps"
    with running("node", tmp_path / "log", model=bundle, **{"dump.seconds": 60.0, "dump.folder": dumps}):
        client.connect()
        client.calibrate(fx=90.0)
        for i in range(FRAMES):
            assert client.answer(scene(i), (70, int(5e7) * i)) is not None
        answer = client.ask(NAME + "/dump")
        assert answer.success, answer.message
    flown = open_bag(answer.message)
    assert flown.counts["/image_raw"] == flown.counts[NAME + "/detections"] == FRAMES
    first = next(flown.messages(["/camera_info", "/image_raw"]))
    assert first.topic == "/camera_info" and deserialize_message(first.data, CameraInfo).k[0] == 90.0
    # Messages, not their bytes: the middleware leaves the padding between fields as it finds it.
    recorded = [deserialize_message(m.data, Detection2DArray) for m in flown.messages([NAME + "/detections"])]
    assert any(d.id for msg in recorded for d in msg.detections)

    client.forget()
    with running("node", tmp_path / "log2", model=bundle, reliable_input=True):
        client.connect()
        player = start(
            "player", tmp_path / "player", bag=answer.message, reliable=True, rate=1000.0,
            lockstep_topic=NAME + "/detections",
        )  # fmt: skip
        assert client.wait(lambda: player.poll() is not None, 20)
        client.wait(lambda: len(client.messages("detections")) >= FRAMES)
    assert player.returncode == 0 and f"{FRAMES} images published, 0 unanswered" in (tmp_path / "player").read_text()
    assert client.messages("detections") == recorded, "every number, id, stamp and frame"


def test_ctrl_c_ends_with_what_there_is(bundle, tmp_path):
    folder = tmp_path / "long"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), white_blocks((2, 1)))
    for i in range(1, 20000):
        os.link(folder / "0.png", folder / f"{i}.png")
    command = [
        sys.executable,
        "-m",
        "vit_perception.replay",
        str(folder),
        "--model",
        bundle,
        "--out",
        str(tmp_path / "r"),
    ]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    deadline = time.monotonic() + 30
    while not (tmp_path / "r" / "frames").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    facts = json.loads((tmp_path / "r" / "timing.json").read_text())
    frames = facts["frames"]
    assert 0 < frames < 20000 and facts["note"] == "interrupted"
    assert cv2.VideoCapture(str(tmp_path / "r" / "annotated.webm")).get(cv2.CAP_PROP_FRAME_COUNT) == frames
    assert len({r["frame"] for r in table(tmp_path / "r" / "detections.csv")}) == frames
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("victim", ["replay", "node"])
def test_over_dds_it_ends_with_its_children(client, recordings, bundle, tmp_path, victim):
    """Ctrl-C, or a node that is killed: what came is reported, and no process is left behind."""
    command = [sys.executable, "-m", "vit_perception.replay", str(recordings["folder"]), "--model", bundle, "--ros"]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(
            [*command, "--fps", "2", "--out", str(tmp_path / "r")], cwd=ROOT, stdout=log, stderr=log
        )
    client.listen("/replay/vit_perception/detections", Detection2DArray)
    heard = client.wait(lambda: len(client.received["detections"]) >= 3, 30)
    children = [int(p) for p in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    if not heard:
        for pid in (*children, process.pid):
            os.kill(pid, signal.SIGABRT)  # the log tells where each stood
        process.wait()
    assert heard, (tmp_path / "log").read_text()
    (node,) = children
    if victim == "replay":
        process.send_signal(signal.SIGINT)
    else:
        os.kill(node, signal.SIGKILL)
    assert process.wait(20) == (130 if victim == "replay" else 1)
    facts = json.loads((tmp_path / "r" / "timing.json").read_text())
    assert 0 < facts["frames"] < FRAMES
    assert facts["note"] == ("interrupted" if victim == "replay" else "the node ended; its message is above")
    assert open_bag(str(tmp_path / "r" / "topics")).counts["/replay/vit_perception/detections"] == facts["frames"]
    assert not Path(f"/proc/{node}").exists()
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_what_a_bag_tells_of_the_vehicle_is_used(recordings, bundle, tmp_path):
    """Height and attitude in the bag: ranges from the ground, as the node has them."""
    from nav_msgs.msg import Odometry

    bag = open_bag(str(recordings["bag"]))
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/odometry", "nav_msgs/msg/Odometry")
        writer.add_topic("/nose/camera_info", "sensor_msgs/msg/CameraInfo")
        writer.add_topic("/nose/image_raw", "sensor_msgs/msg/Image")
        for topic, stamp_ns, data in bag.messages(["/nose/camera_info", "/nose/image_raw"]):
            odometry = Odometry()
            odometry.header.frame_id, odometry.child_frame_id = "map", "base_link"
            odometry.pose.pose.position.z = 4.0
            odometry.pose.pose.orientation.w = 1.0
            writer.write("/odometry", stamp_ns, serialize_message(odometry))
            if topic == "/nose/image_raw":
                below = image_message(white_blocks((5, 4)))  # its foot is 32 pixels below the horizon: 4 m * 100 / 32
                below.header = deserialize_message(data, Image).header
                data = serialize_message(below)
            writer.write(topic, stamp_ns, data)
    ranges = {}
    for source in ("none", "odometry"):
        (tmp_path / "p.yaml").write_text(f"vit_perception:\n  ros__parameters:\n    height_source: {source}\n")
        done = replay(tmp_path / "bag", tmp_path / source, "--model", bundle, "--params", tmp_path / "p.yaml")
        assert done.returncode == 0, done.stderr
        tracks = table(tmp_path / source / "tracks.csv")
        ranges[source] = [(float(t["range_m"]), float(t["range_sigma_m"])) for t in tracks]
    (by_size, coarse), (fused, fine) = ranges["none"][-1], ranges["odometry"][-1]
    assert abs(fused - 12.5) < abs(by_size - 12.5) and fine < 0.7 * coarse


def test_files_that_cannot_be_read_are_told_and_the_others_played(recordings, bundle, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in (0, 1, 2, 10):
        cv2.imwrite(str(folder / f"{i}.png"), scene(i))
    (folder / "1.png").write_bytes(b"half an image")
    done = replay(folder, tmp_path / "r", "--model", bundle)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "cannot read 1 of the images; the first: cannot decode" in done.stderr and "1.png: damaged" in done.stderr
    assert (
        "numbers in their names: 0.png ... 10.png" in done.stdout and "no camera.yaml beside the images" in done.stdout
    )
    facts = json.loads((tmp_path / "r" / "timing.json").read_text())
    assert (facts["frames"], facts["rejected"]) == (3, 1)
    rows = table(tmp_path / "r" / "detections.csv")
    assert [(r["image"], float(r["stamp_s"])) for r in rows if r["x1"] == "32.0000"] == [
        ("0.png", 0.0), ("2.png", 0.2), ("10.png", 0.3),
    ], "what is left out keeps its place in time"  # fmt: skip
    page = (tmp_path / "r" / "index.html").read_text()
    assert "1.png" in page and "not calibrated" in page


@pytest.mark.parametrize("mode", ["--offline", "--ros"])
def test_a_bag_that_was_cut_off_is_reported_up_to_there(recordings, bundle, tmp_path, mode):
    rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="rosbags is not installed (make setup)")
    typesys = __import__("rosbags.typesys", fromlist=["get_typestore"])
    store = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
    with rosbag2.Writer(tmp_path / "bag", version=9, storage_plugin=rosbag2.StoragePlugin.MCAP) as writer:
        images = writer.add_connection("/nose/image_raw", "sensor_msgs/msg/Image", typestore=store)
        for message in open_bag(str(recordings["bag"])).messages(["/nose/image_raw"]):
            writer.write(images, message.stamp_ns, message.data)
    file = next((tmp_path / "bag").glob("*.mcap"))
    file.write_bytes(file.read_bytes()[: int(12300 * FRAMES * 0.5)])
    done = replay(file, tmp_path / "r", "--model", bundle, mode)
    assert done.returncode == 1 and f"mcap recover {file}" in done.stderr
    facts = json.loads((tmp_path / "r" / "timing.json").read_text())
    assert 0 < facts["frames"] < FRAMES and "mcap recover" in facts["note"]


def test_over_dds_every_image_is_answered_without_anything_set(recordings, bundle, tmp_path):
    """As a new user has it: no profile, no range."""
    env = {n: v for n, v in os.environ.items() if "DDS" not in n and "DISCOVERY" not in n and "FASTRTPS" not in n}
    command = [sys.executable, "-m", "vit_perception.replay", str(recordings["folder"]), "--model", bundle, "--ros"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "r")], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads((tmp_path / "r" / "timing.json").read_text())
    assert facts["frames"] == FRAMES and facts["stages"]["answer"]["p95_ms"] > 0
    assert cv2.VideoCapture(str(tmp_path / "r" / "annotated.webm")).get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES


def test_over_dds_images_that_the_node_cannot_use_are_told(bundle, tmp_path):
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/image_raw", "sensor_msgs/msg/Image")
        for i in range(4):
            msg = image_message(scene(i))
            msg.header.stamp.sec = 50 + i
            msg.encoding = "mono8" if i != 1 else "unheard_of"
            bag.write("/image_raw", int(1e18 + 1e8 * i), serialize_message(msg))
    done = replay(tmp_path / "bag", tmp_path / "r", "--model", bundle, "--ros")
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads((tmp_path / "r" / "timing.json").read_text())
    assert (facts["frames"], facts["rejected"]) == (3, 1) and "image encoding 'unheard_of'" in done.stdout


def test_over_dds_a_domain_that_is_none_is_one_sentence(recordings, bundle, tmp_path):
    done = replay(recordings["folder"], tmp_path / "r", "--model", bundle, "--ros", env={"ROS_DOMAIN_ID": "abc"})
    assert done.returncode == 1 and "replay: ROS cannot start: " in done.stderr and "Traceback" not in done.stderr


def test_over_dds_a_second_replay_is_refused(client, recordings, bundle, tmp_path):
    client.node.create_publisher(Detection2DArray, "/replay/vit_perception/detections", 10)
    done = replay(recordings["folder"], tmp_path / "r", "--model", bundle, "--ros")
    assert done.returncode == 1 and "another replay runs in DDS domain" in done.stderr
    assert "set another ROS_DOMAIN_ID" in done.stderr and done.stderr.count("\n") == 1


def test_deep_images_of_any_kind_are_replayed_as_the_bundle_says_in_the_order_of_their_numbers(bundle, tmp_path):
    """A 14-bit camera whose warm square is 27 to 35 of 255 in the high byte: only the named conversion shows it."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in range(12):
        image = np.full((96, 128), 7000)
        image[32:48, 8 * i : 8 * i + 16] = 9000
        kind = (np.uint16, np.int32, np.float32)[i % 3]
        PIL.Image.fromarray(image.astype(kind)).save(folder / f"frame_{i + 1}.tiff")
    fixed = Path(shutil.copytree(bundle, tmp_path / "fixed"))
    manifest = json.loads((fixed / "bundle.json").read_text())
    manifest["input"]["high_bit_depth"] = {"scaling": "fixed", "min": 7000, "max": 60000}
    (fixed / "bundle.json").write_text(json.dumps(manifest))
    for model, frames in ((bundle, 12), (str(fixed), 0)):
        done = replay(folder, tmp_path / "r", "--model", model)
        assert done.returncode == 0, done.stderr
        rows = table(tmp_path / "r" / "detections.csv")
        left = {int(r["frame"]): float(r["x1"]) for r in reversed(rows)}
        assert len(left) == frames and [left[k] for k in sorted(left)] == sorted(left.values())
        shutil.rmtree(tmp_path / "r")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["/no/such/flight"], "nothing at '/no/such/flight'"),
        (["{folder}", "--model", "/no/such/model"], "no model bundle at /no/such/model"),
        (["{folder}", "--backend", "abacus"], "unknown backend 'abacus'"),
        (["{folder}", "--params", "/no/such/file"], "cannot read the parameters in /no/such/file"),
        (["{tmp}/bad.yaml"], "no video, or one that this OpenCV cannot decode"),
        (["{folder}", "--params", "{tmp}/bad.yaml"], "alerts.trigger_count is 'many', but must be a whole number"),
        (["{folder}", "--out", "{tmp}/bad.yaml/report"], "cannot write the report"),
        (["{bag}", "--topic", "image_raw:=/nobody"], "the bag has no topic /nobody for image_raw"),
        (["{bag}", "--topic", "image=/nose"], "--topic image=/nose: write for instance"),
        (["{bag}", "--topic", "image_raw:=/nobody", "--ros"], "the bag has no topic /nobody for image_raw"),
    ],
)
def test_bad_input_is_one_sentence(recordings, bundle, tmp_path, capfd, monkeypatch, options, words):
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest keeps its own Ctrl-C
    bad = "/**:\n  ros__parameters:\n    alerts:\n      trigger_count: many\n"
    (tmp_path / "bad.yaml").write_text(bad)
    given = [o.format(tmp=tmp_path, **{k: str(v) for k, v in recordings.items()}) for o in options]
    for option, default in (("--model", bundle), ("--out", str(tmp_path / "r"))):
        given += [] if option in given else [option, default]
    assert main(given) == 1
    said = capfd.readouterr().err
    assert said.startswith("replay: ") and said.count("\n") == 1 and words in said


def test_the_parameter_file_of_the_project_is_read_as_the_node_reads_it():
    defaults = {s.name: s.default for s in SPECS + EVALUATED} | {
        "score_threshold": 0.5,
        "weak_score": 0.5,
        "nms_iou": 0.6,
    }
    values, unknown = read(Path(ROOT) / "config" / "drone.yaml", defaults)
    assert unknown == [] and set(values) == set(defaults)
    changed = {n: v for n, v in values.items() if v != defaults[n]}
    assert changed == {}, "drone.yaml shows the defaults"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("score_threshold: 2.0", "score_threshold is 2.0, but must be from 0.0 to 1.0"),
        ("score_threshold: 1", "score_threshold is 1, but must be a number with a point"),
        ("publish_clear: 1", "publish_clear is 1, but must be a true or false"),
        ("obstacles.heights_m: [1, 2.0, 3.0]", "must be a list, of which each is a number with a point"),
        ("alerts.warn_ttc_s: 1.0", "alerts.error_ttc_s (2.0) must not exceed"),
        ("[", "cannot read the parameters"),
    ],
)
def test_bad_parameters_are_one_sentence(tmp_path, text, words):
    from vit_perception.errors import PerceptionError

    defaults = {s.name: s.default for s in SPECS + EVALUATED} | {
        "score_threshold": 0.5,
        "weak_score": 0.5,
        "nms_iou": 0.6,
    }
    (tmp_path / "p.yaml").write_text("vit_perception:\n  ros__parameters:\n    " + text + "\n")
    with pytest.raises(PerceptionError) as error:
        read(tmp_path / "p.yaml", defaults)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_large_pictures_are_told_of_unless_slices_show_them_in_full(bundle, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), np.zeros((2 * HEIGHT, 2 * WIDTH), np.uint8))
    (tmp_path / "auto.yaml").write_text("/**:\n  ros__parameters:\n    slices: auto\n")
    for out, more, told in (("whole", [], True), ("cut", ["--params", str(tmp_path / "auto.yaml")], False)):
        done = replay(folder, tmp_path / out, "--model", bundle, *more)
        assert done.returncode == 0, done.stderr
        assert ("are shrunk 4.0 times" in done.stdout) == ("slices: auto" in done.stdout) == told
