"""Faults, each injected over real DDS against the node as a process. docs/faults.md is the table of what they show.

What other files inject: test_node (bad images, a camera that stops, signals), test_node_inputs (camera_info, stamps),
test_lifecycle (transitions, two nodes of one name, topics remapped onto themselves).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
pytest.importorskip("onnx", reason="onnx is not installed (make setup)")

from blob_bundle import make_bundle  # noqa: E402
from builtin_interfaces.msg import Time  # noqa: E402
from faulty_bundle import HANGS, NAN, RAISES, make_faulty_bundle  # noqa: E402
from flight import HEIGHT, PERSON, ROOT, WIDTH, Client, flies, running, scans, start  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402

BLACK = np.zeros((HEIGHT, WIDTH), np.uint8)


def gray(value):
    return np.full((HEIGHT, WIDTH), value, np.uint8)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A bundle whose engine raises, hangs or gives NaN for pictures of certain grays."""
    return make_faulty_bundle(tmp_path_factory.mktemp("bundle") / "faulty")


@pytest.fixture
def flown(client, bundle, log):
    """A client connected to a running node, and calibrated; (client, process)."""
    with running("node", log, model=bundle) as process:
        client.connect()
        client.calibrate()
        client.fly(PERSON, 0.5)
        yield client, process


def flies_again(client, image, timeout_s=8.0):
    """Whether scans come again. For some seconds Fast DDS may put messages into the shared memory of the process that
    died, whose port the new one has taken over.
    """
    begun = time.monotonic()
    client.forget()
    while len(client.messages("obstacle_scan")) < 3 and time.monotonic() - begun < timeout_s:
        client.calibrate()
        client.fly(image, 0.1)
    print(f"scans {time.monotonic() - begun:.1f} s after the node said that it was up")
    return len(client.messages("obstacle_scan")) >= 3


def silent(client, seconds=0.4):
    """Whether no scan comes for a while, what was under way set aside."""
    client.spin(0.2)
    client.forget()
    client.spin(seconds)
    return client.messages("obstacle_scan") == []


def connect(client, log):
    """Wait for the node that writes `log`: one killed before it may still be known to DDS for a while."""
    assert client.wait(lambda: "images from" in log.read_text(), 15.0)
    client.connect()
    client.fly(BLACK, 0.6, each=client.calibrate)


def test_a_camera_process_that_dies_and_one_that_takes_its_place(flown):
    client, _ = flown
    assert scans(client, PERSON) >= 3
    context = client.node.context
    client.node.destroy_publisher(client.images)
    client.spin(0.6)
    assert silent(client)
    level, text, values = client.diagnostics()
    assert level == 2 and "no image on /image_raw for" in text and values["scan"].startswith("silent")
    other = Client(context)
    other.connect()
    assert flies(other, PERSON)
    assert other.wait(lambda: other.diagnostics(PERSON)[0] == 0)
    other.close()


def test_a_size_that_changes_in_mid_stream_silences_the_scan_until_camera_info_fits(flown):
    client, _ = flown
    large = np.kron(PERSON, np.ones((2, 2), np.uint8))
    detections = client.answer(large, (50, 0)).detections
    box = detections[0].bbox
    assert (box.center.position.x, box.size_x) == (144, 32), "boxes are in pixels of the image they came from"
    client.fly(large, 0.2)
    assert scans(client, large) == 0
    assert "no calibrated camera_info that fits" in client.diagnostics(large)[2]["scan"]
    client.calibrate(fx=200.0, width=2 * WIDTH, height=2 * HEIGHT)
    client.fly(large, 0.2)
    assert flies(client, large)
    values = client.diagnostics(large)[2]
    assert (values["rejected"], values["failures"]) == ("0", "0")


def test_a_clock_that_jumps_does_not_stop_the_scan(client, bundle, log):
    """Simulated time goes on, jumps an hour ahead and back: timers and staleness are on the steady clock."""
    with running("node", log, model=bundle, use_sim_time=True):
        client.connect()
        client.calibrate()
        clocks = client.node.create_publisher(Clock, "/clock", 10)
        now = [1000.0]

        def tick():
            now[0] += 0.05
            clocks.publish(Clock(clock=Time(sec=int(now[0]), nanosec=int(now[0] % 1 * 1e9))))

        for jump in (0.0, 3600.0, -3600.0):
            now[0] += jump
            client.fly(PERSON, 0.2, each=tick)
            assert scans(client, PERSON, 0.7, each=tick) >= 5, jump
        values = client.diagnostics(PERSON)[2]
        assert (values["failures"], values["callback_failures"]) == ("0", "0")


@pytest.mark.parametrize(("value", "words"), [(RAISES, "out of data bounds"), (NAN, "not finite")])
def test_an_engine_that_fails_is_counted_and_silences_the_scan_until_it_works(client, faulty, log, value, words):
    with running("node", log, model=faulty) as process:
        client.connect()
        client.calibrate()
        client.fly(PERSON, 0.3)
        client.send_now(gray(value))
        assert flies(client, PERSON), "one frame that fails is no reason to be silent"
        client.settle(PERSON)
        client.forget()
        client.fly(gray(value), 0.5)
        assert client.messages("detections") == []
        assert scans(client, gray(value)) == 0
        level, text, values = client.diagnostics(gray(value))
        assert level == 2 and "frames in a row failed" in text and words in values["last_failure"]
        assert int(values["failures"]) > 5
        client.fly(PERSON, 0.2)
        assert flies(client, PERSON) and process.poll() is None
        assert client.wait(lambda: client.diagnostics(PERSON)[0] == 0)
        assert client.diagnostics(PERSON)[2]["consecutive_failures"] == "0"


def test_an_engine_that_hangs_ends_the_program_with_code_1_and_a_new_start_works(client, faulty, log):
    process = start("node", log, model=faulty, engine_timeout_s=2.5)
    connect(client, log)
    client.fly(PERSON, 0.5)
    begun = time.monotonic()
    client.fly(gray(HANGS), 0.3)
    client.fly(PERSON, 0.5)
    assert scans(client, PERSON, 0.4) == 0, "stale: silent, long before the program ends"
    client.fly_until(PERSON, lambda: process.poll() is not None, images=100)
    assert process.wait(1) == 1 and 2.4 < time.monotonic() - begun < 4.5
    reports = [m.status[0] for m in client.messages("diagnostics")]
    assert any(r.level == b"\x02" and "busy with one image" in r.message for r in reports)
    assert "the engine gave no answer for" in log.read_text().splitlines()[-1]
    with running("node", log, model=faulty):
        connect(client, log)
        assert flies_again(client, PERSON)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_the_engine_hangs(client, faulty, log, number):
    process = start("node", log, model=faulty, engine_timeout_s=0.0)
    connect(client, log)
    client.fly(gray(HANGS), 0.6)
    process.send_signal(number)
    client.wait(lambda: process.poll() is not None, 5.0)
    assert process.wait(1) == 1 and "the engine gave no answer" in log.read_text().splitlines()[-1]


def test_a_bundle_altered_after_the_start_is_flown_to_the_end_and_refused_at_the_next(client, tmp_path):
    folder = make_bundle(tmp_path / "bundle")
    with running("node", tmp_path / "log", model=folder):
        client.connect()
        client.calibrate()
        client.fly(PERSON, 0.3)
        with open(tmp_path / "bundle" / "model.onnx", "r+b") as f:
            f.write(b"\0" * 1000)
        assert flies(client, PERSON)
        shutil.rmtree(folder)
        assert flies(client, PERSON)
        values = client.diagnostics(PERSON)[2]
        assert (values["failures"], values["consecutive_failures"]) == ("0", "0")
    make_bundle(folder)
    with open(tmp_path / "bundle" / "model.onnx", "r+b") as f:
        f.write(b"\0" * 1000)
    process = start("node", tmp_path / "again", model=folder)
    assert process.wait(20) == 1
    assert "sha256 differs" in (tmp_path / "again").read_text()


def test_after_sigkill_a_new_start_is_connected_and_flies_again(client, bundle, tmp_path):
    """What launch's respawn does. The killed process leaves its shared memory behind; nobody stumbles over it."""
    process = start("node", tmp_path / "log", model=bundle)
    client.connect()
    client.fly(PERSON, 0.3)
    process.kill()
    process.wait()
    client.forget()
    with running("node", tmp_path / "again", model=bundle):
        connect(client, tmp_path / "again")
        assert flies_again(client, PERSON)
        assert len(client.answer(PERSON, (9, 0)).detections) == 1


def test_a_process_without_cpu_goes_silent_and_comes_back_with_the_newest_image(flown):
    client, process = flown
    process.send_signal(signal.SIGSTOP)
    client.spin(0.2)  # what was sent before waits to be read
    client.forget()
    client.fly(PERSON, 2.0)
    assert client.messages("obstacle_scan") == []
    process.send_signal(signal.SIGCONT)
    resumed = 1e-9 * client.node.get_clock().now().nanoseconds
    client.forget()
    client.fly(PERSON, 0.3)
    last = client.send_now(PERSON)
    assert client.answer_to(last) is not None
    stamps = [m.header.stamp.sec + 1e-9 * m.header.stamp.nanosec for m in client.messages("detections")]
    assert sum(s < resumed - 0.6 for s in stamps) <= 1, "at most the one image that waited is old"
    assert flies(client, PERSON)
    assert client.wait(lambda: client.diagnostics(PERSON)[0] == 0)


LISTENER = """
import rclpy, sys
from rclpy.qos import QoSProfile
from vision_msgs.msg import Detection2DArray, Detection3DArray
rclpy.init()
node = rclpy.create_node("deaf")
for kind, name in ((Detection2DArray, "detections"), (Detection3DArray, "obstacles")):
    hear = lambda m: print("heard", flush=True)
    node.create_subscription(kind, "/vit_perception/" + name, hear, QoSProfile(depth=1000))
rclpy.spin(node)
"""


def test_a_subscriber_that_never_reads_holds_nobody_up(flown, tmp_path):
    """A reliable subscriber whose process stands still: the writer must not wait for it."""
    client, process = flown
    heard = tmp_path / "heard"
    with open(heard, "wb") as f:
        deaf = subprocess.Popen([sys.executable, "-c", LISTENER], cwd=ROOT, stdout=f)
    try:
        assert client.wait(lambda: client.fly(PERSON, 0.2) or heard.stat().st_size, 15.0)
        deaf.send_signal(signal.SIGSTOP)
        client.fly(PERSON, 0.5)
        client.forget()
        sent, begun = [], time.monotonic()
        client.fly(PERSON, 3.0, each=lambda: sent.append(1))
        answered, scanned = (len(client.messages(key)) for key in ("detections", "obstacle_scan"))
        assert answered > 2 * len(sent) / 3 and scanned >= 25 / 3 * (time.monotonic() - begun)
        assert float(client.diagnostics(PERSON)[2]["publish_ms_p95"]) < 50
    finally:
        deaf.kill()
        deaf.wait()
    assert flies(client, PERSON) and process.poll() is None


FULL_SHM = """
import json, os, sys, time
sys.path.insert(0, "test/helpers")
from pathlib import Path
import rclpy
from flight import PERSON, Client, running, scans, white_blocks
rclpy.init()
client = Client(rclpy.get_default_context())
bundle, log = sys.argv[1], Path(sys.argv[2])
with running("node", log, model=bundle) as process:
    client.connect()
    client.calibrate()
    before = scans(client, PERSON, 1.0)
    with open("/dev/shm/filler", "wb", buffering=0) as f:
        try:
            while f.write(bytes(65536)):
                pass
        except OSError:
            pass
    free = os.statvfs("/dev/shm").f_bavail
    full = scans(client, PERSON, 1.0)
    values = client.diagnostics(PERSON)[2]
print(json.dumps([before, free, full, values["failures"], values["callback_failures"]]))
client.close()
rclpy.shutdown()
"""


def test_a_full_dev_shm_does_not_disturb_a_flight_that_has_begun(bundle, log):
    """In a mount namespace of its own, with little /dev/shm, which fills up in mid-flight."""
    private = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=100m tmpfs /dev/shm && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*private, "true"], capture_output=True).returncode:
        pytest.skip("needs a mount namespace of its own (unshare -m), which this account may not have")
    command = [*private, sys.executable, "-c", FULL_SHM, bundle, str(log)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, env=os.environ)
    assert done.returncode == 0, done.stderr + log.read_text()
    before, free, full, *failures = json.loads(done.stdout.splitlines()[-1])
    assert before >= 5 and free == 0 and full >= 5 and failures == ["0", "0"]
