"""The MAVLink link over the loopback, against pymavlink's own parser and a scripted autopilot (a stand-in)."""

import math
import os
import socket
import sys
import time

import numpy as np
import pytest

pytest.importorskip("pymavlink", reason="pymavlink is the user's own, and not installed: pip install pymavlink")

from autopilot_readers import ardupilot_faces, mavros_distances  # noqa: E402
from scripted_autopilot import ScriptedAutopilot, common  # noqa: E402

from vit_perception.autopilot.connection import Connection  # noqa: E402
from vit_perception.autopilot.link import Link, distances_cm  # noqa: E402
from vit_perception.autopilot.timesync import TimeSync  # noqa: E402
from vit_perception.autopilot.transport import MOST_WAITING, open_transport  # noqa: E402
from vit_perception.avoidance.geometry import matrix_from_quaternion  # noqa: E402
from vit_perception.avoidance.scan import make_scan  # noqa: E402
from vit_perception.errors import PerceptionError  # noqa: E402


class Listener:
    """What a link told: states by kind, and problems."""

    def __init__(self):
        self.states, self.problems = [], []

    def on_state(self, what, state):
        self.states.append((what, state))

    def on_problem(self, kind, sentence):
        self.problems.append((kind, sentence))


def until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def linked():
    """(autopilot, link, listener), connected."""
    listener = Listener()
    with ScriptedAutopilot() as autopilot:
        link = Link(autopilot.url, listener.on_state, listener.on_problem)
        assert until(lambda: link.summary()[0])
        yield autopilot, link, listener
        link.close()


def scan_with(distance, index=36):
    ranges = make_scan([], (-0.7, 0.7), publish_clear=True)
    ranges[index] = distance
    return ranges


def test_a_scan_arrives_as_mavros_would_have_sent_it(linked):
    autopilot, link, _ = linked
    for distance in (0.5, 7.339, 39.99):
        ranges = scan_with(distance)
        autopilot.heard.clear()
        link.send_scan([float(v) for v in ranges], 0.5, 40.0, time.time())
        assert until(lambda: autopilot.kinds("OBSTACLE_DISTANCE"))
        msg = autopilot.kinds("OBSTACLE_DISTANCE")[-1]
        wanted = mavros_distances(ranges, 0.5, 40.0)
        assert list(msg.distances) == wanted.distances
        assert (msg.min_distance, msg.max_distance, msg.increment_f, msg.angle_offset) == (50, 4000, 5.0, -180.0)
        assert ardupilot_faces(msg_like(msg))[0][0] == pytest.approx(distance, abs=0.011)


def msg_like(msg):
    from types import SimpleNamespace

    return SimpleNamespace(
        distances=msg.distances, increment=msg.increment_f, angle_offset=msg.angle_offset,
        min_distance=msg.min_distance, max_distance=msg.max_distance,
    )  # fmt: skip


def test_centimetres_are_mavros_own_for_any_range():
    rng = np.random.default_rng(0)
    ranges = np.concatenate([rng.uniform(0, 700, 2000), [np.nan, np.inf, -np.inf, -1.0, 655.35]]).astype(np.float32)
    for start in range(0, len(ranges), 72):
        part = ranges[start : start + 72]
        assert distances_cm([float(v) for v in part]) == mavros_distances(part, 0.5, 40.0).distances[: len(part)]


def test_the_vehicles_state_comes_in_the_frames_of_ros(linked):
    autopilot, link, listener = linked
    assert until(lambda: {"odometry", "height", "fix", "armed"} <= {what for what, _ in listener.states})
    assert until(lambda: link.state.odometry()[4] is not None)
    stamp, quaternion, rates, position, velocity = link.state.odometry()
    to_world = matrix_from_quaternion(*quaternion)
    # By hand: roll .1, pitch -.2 (nose down), yaw .3 east of north; NED (3, 4, .5) is ENU (4, 3, -.5).
    nose = to_world @ [1.0, 0.0, 0.0]
    assert math.atan2(nose[0], nose[1]) == pytest.approx(0.3) and nose[2] == pytest.approx(math.sin(-0.2))
    assert (to_world @ [0.0, 0.0, 1.0])[2] == pytest.approx(math.cos(0.1) * math.cos(0.2))
    assert (to_world @ [0.0, 1.0, 0.0])[2] > 0, "rolled right, the left side is up"
    assert to_world @ velocity == pytest.approx([4.0, 3.0, -0.5])
    assert position == (20.0, 10.0, 5.0) and rates == pytest.approx((0.01, -0.02, -0.03))
    assert link.state.height()[1:] == pytest.approx((5.12, 0.2, 40.0))
    assert link.state.fix()[1:] == pytest.approx((47.3, 8.5, 500.0))
    assert abs(stamp - time.time()) < 0.5


def test_clocks_are_synchronised_and_a_jump_is_told(linked):
    autopilot, link, listener = linked
    assert until(lambda: link.sync.offset_s is not None)
    assert link.sync.offset_s == pytest.approx(-autopilot.boot, abs=0.05)
    autopilot.boot = time.time() - 1000.0
    assert until(lambda: link.sync.jumps == 1 and any(k == "clock" for k, _ in listener.problems))
    assert until(lambda: abs(link.state.odometry()[0] - time.time()) < 0.5)
    sync = TimeSync()
    assert sync.ours(5.0, 100.0) == 100.0, "nothing known: the time of arrival"
    assert not sync.answer(10.0, 3.0, 9.0) and sync.offset_s is None, "an answer before its question"


def test_texts_heartbeats_and_what_is_asked_for(linked):
    autopilot, link, _ = linked
    link.send_text(2, "x" * 80)
    assert until(lambda: autopilot.kinds("STATUSTEXT") and autopilot.kinds("COMMAND_LONG"))
    text, beat = autopilot.kinds("STATUSTEXT")[0], autopilot.kinds("HEARTBEAT")[-1]
    assert (text.severity, text.text) == (2, "x" * 50)
    assert (beat.type, beat.autopilot, beat.get_srcSystem(), beat.get_srcComponent()) == (18, 8, 1, 196)
    assert {int(m.param1) for m in autopilot.kinds("COMMAND_LONG")} == {30, 32, 33, 132}


def test_a_link_that_is_lost_and_back(linked):
    autopilot, link, listener = linked
    autopilot.silent = True
    assert until(lambda: any(k == "lost" for k, _ in listener.problems), 6.0)
    assert not link.summary()[0]
    autopilot.heard.clear()
    link.send_scan([5.0] * 72, 0.5, 40.0, time.time())
    assert until(lambda: autopilot.kinds("OBSTACLE_DISTANCE")), "the scan goes out all the same"
    autopilot.silent = False
    assert until(lambda: link.summary()[0])


def test_a_stream_that_stops_is_told_once(linked):
    autopilot, link, listener = linked
    assert until(lambda: link.state.odometry() is not None)
    autopilot.streams = False
    assert until(lambda: any(k == "stream" for k, _ in listener.problems), 5.0)
    time.sleep(0.3)
    assert sum(k == "stream" for k, _ in listener.problems) == 1
    assert "no ATTITUDE" in link.summary()[1]


def test_a_second_autopilot_is_told_and_not_served(linked):
    autopilot, link, listener = linked
    autopilot.send(common.MAVLink_heartbeat_message(2, 3, 128, 0, 4, 3), system=7)
    assert until(lambda: any("two autopilots" in s and "[1, 7]" in s for _, s in listener.problems))
    assert link.connection.system == 1 and not link.summary()[0]


@pytest.mark.parametrize(
    ("kind", "wants_blocked", "sentence"), [(0, False, "neither PX4 nor"), (12, True, "set silent")]
)
def test_an_autopilot_of_another_kind_is_told(kind, wants_blocked, sentence):
    listener = Listener()
    with ScriptedAutopilot(autopilot=kind) as autopilot:
        link = Link(autopilot.url, listener.on_state, listener.on_problem, wants_blocked)
        assert until(lambda: any(sentence in s for _, s in listener.problems))
        link.close()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "no MAVLink URL"),
        ("udp:14550", "no MAVLink URL"),
        ("udpout:127.0.0.1:many", "'many' is no number"),
        ("udpout::1", "no MAVLink URL"),
        ("udpin:127.0.0.1:99999999", "cannot open"),
        ("tcp:127.0.0.1:1", "cannot open tcp:127.0.0.1:1: Connection refused"),
        ("/dev/ttyNONE:57600", "is the cable in"),
        ("/dev/null:57600", "is no serial port"),
        ("/dev/null:12345", "12345 baud is no speed"),
        ("udpout:no.such.host.invalid:1", "cannot open"),
    ],
)
def test_a_wrong_url_is_one_sentence(url, sentence):
    with pytest.raises(PerceptionError, match=sentence) as e:
        open_transport(url)
    assert "\n" not in str(e.value)


def test_a_port_that_is_busy_or_without_rights_is_one_sentence(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(PerceptionError, match="Address already in use"):
            open_transport(f"udpin:127.0.0.1:{taken.getsockname()[1]}")
    locked = tmp_path / "tty"
    locked.touch()
    locked.chmod(0)
    if os.getuid():
        with pytest.raises(PerceptionError, match="dialout"):
            open_transport(str(locked))
    main, other = os.openpty()
    first = open_transport(os.ttyname(other))
    with pytest.raises(PerceptionError, match="is busy"):
        open_transport(os.ttyname(other))
    first.close()
    os.close(main), os.close(other)


def test_no_heartbeat_is_one_sentence():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        connection = Connection(f"udpout:127.0.0.1:{mute.getsockname()[1]}")
        with pytest.raises(PerceptionError, match="no HEARTBEAT of an autopilot on udpout"):
            connection.wait_for_autopilot(0.3)
        connection.close()


def test_a_slow_serial_line_delays_nobody_and_gets_the_newest_scan():
    """A pseudo-terminal that nobody reads, then somebody does: 57600 baud takes 5760 bytes a second at most."""
    main, other = os.openpty()
    listener = Listener()
    link = Link(os.ttyname(other) + ":57600", listener.on_state, listener.on_problem)
    try:
        slowest = 0.0
        for i in range(2000):
            t = time.perf_counter()
            link.send_scan([5.0 + 0.01 * i] * 72, 0.5, 40.0, time.time())
            slowest = max(slowest, time.perf_counter() - t)
        assert slowest < 0.05 and until(lambda: link.connection.transport.waiting <= MOST_WAITING)
        parser, found, end = common.MAVLink(None), [], time.monotonic() + 5.0
        parser.robust_parsing = True
        while time.monotonic() < end and not (found and found[-1].distances[0] >= 2498):
            found += [m for m in parser.parse_buffer(os.read(main, 576)) or [] if m.get_type() == "OBSTACLE_DISTANCE"]
        assert found[-1].distances[0] == int(np.float32(24.99 * 100)) and link.counts["replaced"] > 0
    finally:
        link.close()
        os.close(main), os.close(other)


def test_noise_on_the_line_is_skipped(linked):
    autopilot, link, listener = linked
    rng = np.random.default_rng(1)
    for _ in range(50):
        autopilot._socket.sendto(rng.bytes(200), autopilot._peer)
    time.sleep(0.2)
    assert link.summary()[0] and not any(k == "error" for k, _ in listener.problems), listener.problems


def test_without_pymavlink_it_says_what_to_install(monkeypatch):
    from vit_perception.autopilot import connection

    monkeypatch.setattr(connection, "common", None)
    with pytest.raises(PerceptionError, match="pip install pymavlink"):
        Connection("udpout:127.0.0.1:14551")


def test_it_needs_no_ros():
    import subprocess

    code = "import sys, vit_perception.autopilot.link; assert not {'rclpy', 'numpy', 'cv2'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
