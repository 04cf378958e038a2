"""The MAVLink link over the loopback, against pymavlink's own parser and a scripted autopilot (a stand-in)."""

import contextlib
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

from vit_perception.autopilot import link as linking  # noqa: E402
from vit_perception.autopilot.connection import Connection  # noqa: E402
from vit_perception.autopilot.link import Link, distances_cm  # noqa: E402
from vit_perception.autopilot.state import VehicleState  # noqa: E402
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


def test_what_else_speaks_under_the_vehicles_id_is_not_the_autopilot(linked):
    """A gimbal's ATTITUDE, the HEARTBEAT of something that is not armed, and the answer to another's TIMESYNC."""
    autopilot, link, listener = linked
    autopilot.armed = True
    assert until(lambda: ("armed", True) in listener.states and link.sync.offset_s is not None)
    offset, autopilot.streams = link.sync.offset_s, False
    time.sleep(0.1)
    listener.states.clear()
    for _ in range(10):
        autopilot.send(common.MAVLink_heartbeat_message(26, 3, 0, 0, 4, 3), component=154)
        autopilot.send(common.MAVLink_attitude_message(1, 1.5, 0, 0, 0, 0, 0), component=154)
        autopilot.send(common.MAVLink_timesync_message(int(5e9), int(1e9 * (time.time() - 0.1))))
        time.sleep(0.03)
    assert ("armed", False) not in listener.states and "odometry" not in {what for what, _ in listener.states}
    assert link.sync.offset_s == pytest.approx(offset, abs=0.01) and link.sync.jumps == 0


def test_a_ground_station_that_speaks_first_is_not_the_autopilot_and_gets_no_scans():
    """Both on one UDP port; the station says MAV_AUTOPILOT_GENERIC, as many scripts do."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    station, vehicle = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    speaks = [(station, common.MAVLink(None, srcSystem=255, srcComponent=190), (6, 0)),
              (vehicle, common.MAVLink(None, srcSystem=1, srcComponent=1), (2, 3))]  # fmt: skip
    listener = Listener()
    link = Link(f"udpin:127.0.0.1:{port}", listener.on_state, listener.on_problem)
    try:
        assert until(lambda: link.connection is not None)

        def beat(who):
            line, mav, (kind, autopilot) = speaks[who]
            line.settimeout(1.0)
            line.sendto(common.MAVLink_heartbeat_message(kind, autopilot, 0, 0, 4, 3).pack(mav), ("127.0.0.1", port))

        beat(0)
        beat(1)
        assert until(lambda: link.connection.autopilot is not None) and link.connection.system == 1
        beat(0)
        time.sleep(0.1)
        link.send_scan([5.0] * 72, 0.5, 40.0, time.time())
        heard, end = [], time.monotonic() + 3.0
        while "OBSTACLE_DISTANCE" not in heard and time.monotonic() < end:
            heard += [m.get_type() for m in common.MAVLink(None).parse_buffer(vehicle.recv(4096)) or []]
        assert "OBSTACLE_DISTANCE" in heard and not link.connection.others
    finally:
        link.close()
        station.close(), vehicle.close()


def test_a_request_for_streams_that_is_lost_is_made_again(monkeypatch):
    monkeypatch.setattr(linking, "ASK_S", 0.3)
    listener = Listener()
    with ScriptedAutopilot() as autopilot:
        autopilot.streams = False
        link = Link(autopilot.url, listener.on_state, listener.on_problem)
        assert until(lambda: len(autopilot.kinds("COMMAND_LONG")) >= 8), "four, again"
        autopilot.streams = True
        assert until(lambda: link.summary()[0])
        asked = len(autopilot.kinds("COMMAND_LONG"))
        time.sleep(0.8)
        assert len(autopilot.kinds("COMMAND_LONG")) <= asked + 1, "what comes is not asked for"
        link.close()


def test_a_serial_port_that_is_not_there_yet_and_is_unplugged(tmp_path, monkeypatch):
    """As a cable that is put in, pulled and put in again. What waited meanwhile is too old to be sent."""
    monkeypatch.setattr(linking, "AGAIN_S", 0.1)
    port, listener, mav = tmp_path / "tty", Listener(), common.MAVLink(None, srcSystem=1, srcComponent=1)
    beat = common.MAVLink_heartbeat_message(2, 3, 128, 0, 4, 3).pack(mav)
    link = Link(f"{port}:115200", listener.on_state, listener.on_problem)
    try:
        assert until(lambda: listener.problems) and "is the cable in" in listener.problems[0][1]
        assert link.summary() == (False, f"the line {port}:115200 is not open")
        for times in (1, 2):
            main, other = os.openpty()
            os.set_blocking(main, False)
            port.symlink_to(os.ttyname(other))
            assert until(lambda: link.connection is not None)
            heard = b""
            for _ in range(30):
                os.write(main, beat)
                time.sleep(0.02)
                with contextlib.suppress(BlockingIOError):
                    heard += os.read(main, 4096)
            parser = common.MAVLink(None)
            parser.robust_parsing = True
            kinds = [m.get_type() for m in parser.parse_buffer(heard)]
            assert "HEARTBEAT" in kinds and "OBSTACLE_DISTANCE" not in kinds, times
            assert [k for k, _ in listener.problems] == ["line", "connected"] * times
            os.close(main), os.close(other)
            port.unlink()
            assert until(lambda: link.connection is None)
            link.send_scan([5.0] * 72, 0.5, 40.0, time.time())
            time.sleep(0.6)
    finally:
        link.close()


def test_an_autopilot_that_signs_its_messages_is_told(linked):
    autopilot, _, listener = linked
    autopilot._mav.signing.secret_key, autopilot._mav.signing.sign_outgoing = b"k" * 32, True
    assert until(lambda: any("signs its messages" in s for _, s in listener.problems))


def test_no_fix_is_no_place_in_the_gulf_of_guinea():
    state = VehicleState()
    assert state.take(common.MAVLink_global_position_int_message(5, 0, 0, 0, 0, 0, 0, 0, 0), 1.0) == ""
    assert state.fix() is None
    assert state.take(common.MAVLink_global_position_int_message(5, 1, 0, 0, 0, 0, 0, 0, 0), 1.0) == "fix"


def test_a_clock_that_is_set_by_a_third_of_a_second_is_noticed_with_the_next_answer():
    sync = TimeSync()
    for t in range(5):
        assert not sync.answer(t, t + 100.0 + 0.01, t + 0.02)
    assert not sync.answer(5.0, 105.1, 5.2), "a slow answer is no jump"
    assert sync.answer(6.0, 106.31, 6.02) and sync.offset_s == pytest.approx(100.3)
    assert sync.answer(7.0, 106.97, 7.02) and sync.offset_s == pytest.approx(99.96)


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
        ("udpin:127.0.0.1:\N{SUPERSCRIPT TWO}", "is no number"),
        ("tcp:" + 300 * "a" + ":1", "cannot open"),
        ("udp:14550", "no MAVLink URL"),
        ("udpout:127.0.0.1:many", "'many' is no number"),
        ("udpout::1", "no MAVLink URL"),
        ("udpin:127.0.0.1:99999999", "ports end at 65535"),
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


@pytest.mark.parametrize("name", ["", ":57600"])
def test_a_serial_port_may_hold_colons_and_need_no_baud_rate(tmp_path, name):
    """As /dev/serial/by-path names them; another program left it with flow control and two stop bits."""
    import termios

    main, other = os.openpty()
    mode = termios.tcgetattr(other)
    mode[2] |= termios.CRTSCTS | termios.CSTOPB
    termios.tcsetattr(other, termios.TCSANOW, mode)
    port = tmp_path / "pci-0000:00:14.0-usb-0:2:1.0-port0"
    port.symlink_to(os.ttyname(other))
    listener = Listener()
    link = Link(str(port) + name, listener.on_state, listener.on_problem)
    try:
        mav = common.MAVLink(None, srcSystem=1, srcComponent=1)
        assert until(lambda: link.connection is not None)
        os.write(main, common.MAVLink_heartbeat_message(2, 3, 128, 0, 4, 3).pack(mav))
        assert until(lambda: ("armed", True) in listener.states)
        mode = termios.tcgetattr(other)
        assert not mode[2] & (termios.CRTSCTS | termios.CSTOPB) and mode[5] == termios.B57600
    finally:
        link.close()
        os.close(main), os.close(other)


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


def test_what_is_whole_is_taken_beside_what_is_cut_and_of_the_older_protocol(linked):
    autopilot, link, listener = linked
    autopilot.streams = False
    time.sleep(0.1)
    mav, line = common.MAVLink(None, srcSystem=1, srcComponent=1), autopilot._socket
    listener.states.clear()
    for _ in range(5):
        line.sendto(common.MAVLink_attitude_message(1, 0.4, 0, 0, 0, 0, 0).pack(mav, True), autopilot._peer)
    assert until(lambda: len(listener.states) >= 5), "MAVLink 1"
    rng = np.random.default_rng(2)
    for _ in range(40):
        whole = common.MAVLink_attitude_message(1, 0.5, 0, 0, 0, 0, 0).pack(mav)
        line.sendto(whole[: rng.integers(1, len(whole))], autopilot._peer)
    listener.states.clear()
    for _ in range(20):
        line.sendto(whole, autopilot._peer)
        time.sleep(0.01)
    assert until(lambda: sum(what == "odometry" for what, _ in listener.states) >= 10)
    autopilot.heard.clear()
    link.send_scan([5.0] * 72, 0.5, 700.0, time.time())
    assert until(lambda: autopilot.kinds("OBSTACLE_DISTANCE")), "nor does a range beyond 655 m stop it"
    assert not any(k == "error" for k, _ in listener.problems), listener.problems


def test_without_pymavlink_it_says_what_to_install(monkeypatch):
    from vit_perception.autopilot import connection

    monkeypatch.setattr(connection, "common", None)
    with pytest.raises(PerceptionError, match="pip install pymavlink"):
        Connection("udpout:127.0.0.1:14551")


def test_it_needs_no_ros():
    import subprocess

    code = "import sys, vit_perception.autopilot.link; assert not {'rclpy', 'numpy', 'cv2'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
