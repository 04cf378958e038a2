"""What the scan says when nothing is known, from the node and from its guard, over real DDS and with real signals."""

import math
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
pytest.importorskip("onnx", reason="onnx is not installed (make setup)")

from flight import PERSON, ROOT, running, start  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402

BLOCKED = {"on_stale": "blocked", "publish_clear": True}
GUARD_AFTER_S, UNDER_WAY_S = 0.4, 0.2  # the guards' parameter; two scans of the node


def blocked(msg, rays=slice(27, 46)):
    """Whether a LaserScan says that everything ahead is near: in 90 degrees, or where the tests' camera looks."""
    return bool((np.array(msg.ranges)[rays] == msg.range_min).all())


def stamp_s(msg):
    return msg.header.stamp.sec + 1e-9 * msg.header.stamp.nanosec


def newest(client, seconds=0.4):
    """The blocked scans that are made in the next moment, and none that was under way before."""
    client.spin(0.15)
    since = 1e-9 * client.node.get_clock().now().nanoseconds
    client.forget()
    client.spin(seconds)
    return [m for m in client.messages("obstacle_scan") if stamp_s(m) >= since]


def coming(client):
    """The blocked scans of the first moment in which some are made, or []."""
    found = []
    client.wait(lambda: found.extend(newest(client)) or found)
    return found


def next_ten(client):
    """(Hz, the next ten scans); by their stamps, and the middle pause, for whoever hears them may stand still."""
    client.forget()
    assert client.wait(lambda: len(client.messages("obstacle_scan")) >= 10)
    heard = client.messages("obstacle_scan")
    return 1.0 / np.median(np.diff([stamp_s(m) for m in heard])), heard


def guarded_after(client, moment):
    """Seconds from a moment of the clock to each later scan of a guard."""
    scans = client.messages("obstacle_scan")
    return [stamp_s(m) - moment for m in scans if m.scan_time == 0 and stamp_s(m) > moment]


def fly_until_seen(client):
    """Fly until the newest scan is not blocked; returns whether that came."""
    client.forget()
    scans = lambda: client.messages("obstacle_scan")  # noqa: E731
    return client.wait(lambda: client.fly(PERSON, 0.5) or (scans() and not blocked(scans()[-1])))


def quiet(client, seconds):
    """Whether no guard says anything while the node speaks, for a while.

    By stamps: where the machine holds the node up, a guard speaks GUARD_AFTER_S after the node's last scan, rightly.
    A scan that was made UNDER_WAY_S before a guard's, or later, the guard may not have heard yet.
    """
    client.forget()
    client.spin(GUARD_AFTER_S + seconds)
    scans = client.messages("obstacle_scan")
    node = [stamp_s(m) for m in scans if m.scan_time > 0]
    guards = [stamp_s(m) for m in scans if m.scan_time == 0 and node and stamp_s(m) > node[0] + GUARD_AFTER_S]
    return bool(node) and all(g - max(t for t in node if t < g - UNDER_WAY_S) >= GUARD_AFTER_S for g in guards)


def guard_says(client):
    """The guard's newest status on /diagnostics, or ''."""
    said = [s.message for m in client.messages("diagnostics") for s in m.status if s.name.endswith("guard")]
    return said[-1] if said else ""


@pytest.fixture
def guarded(client, bundle, log, tmp_path):
    """A client that flies a node with its guard: (client, node's process, guard's process)."""
    with running("guard", tmp_path / "guard", on_stale="blocked", guard_after_s=GUARD_AFTER_S) as guard:
        node = start("node", log, model=bundle, **BLOCKED)
        try:
            client.connect()
            client.calibrate()
            assert fly_until_seen(client)
            yield client, node, guard
        finally:
            if node.poll() is None:
                node.send_signal(signal.SIGCONT)
                node.kill()
            node.wait()


def test_a_stale_camera_is_blocked_until_it_is_back_or_the_vehicle_disarmed_or_the_pilot_says_so(client, bundle, log):
    armed = client.node.create_publisher(Bool, "armed", 1)
    release = client.node.create_publisher(Bool, "release_blocked", 1)
    with running("node", log, model=bundle, **BLOCKED):
        client.connect()
        client.calibrate()
        assert client.wait(lambda: armed.get_subscription_count() and release.get_subscription_count())
        assert fly_until_seen(client)
        client.spin(0.6)
        rate, heard = next_ten(client)
        assert 8 <= rate <= 12 and all(blocked(m) and m.scan_time > 0 for m in heard)
        client.fly(PERSON, 0.5)
        assert not blocked(client.messages("obstacle_scan")[-1]), "the camera is back"
        client.spin(0.7)
        armed.publish(Bool(data=False))
        assert newest(client) == [], "disarmed: an autopilot without a scan does not arm"
        armed.publish(Bool(data=True))
        heard = coming(client)
        assert heard and blocked(heard[-1])
        release.publish(Bool(data=True))
        assert newest(client) == [], "the pilot says so"
        client.fly(PERSON, 0.5)
        client.spin(0.7)
        assert blocked(newest(client)[-1]), "released once is not for ever"


def test_a_node_that_is_not_active_blocks_too_and_silence_stays_the_default(client, bundle, log):
    with running("node", log, model=bundle, autostart=False, **BLOCKED):
        from lifecycle_msgs.srv import ChangeState

        change = client.service(ChangeState, "/vit_perception/change_state")
        request = ChangeState.Request()
        request.transition.id = 1  # configure
        assert client.call(change, request, 15.0).success
        heard = coming(client)
        assert heard and all(blocked(m) for m in heard)
    assert newest(client) == []


def test_a_killed_node_is_guarded_within_a_second_and_takes_over_again(guarded, bundle, log):
    client, node, _ = guarded
    node.kill()
    node.wait()
    killed = time.time()

    assert client.wait(lambda: guarded_after(client, killed), 3.0)
    (first, *_) = guarded_after(client, killed)
    print(f"blocked {first:.2f} s after kill -9")
    assert first < 1.0
    rate, heard = next_ten(client)
    assert 7 <= rate <= 13 and all(blocked(m) for m in heard)
    assert client.wait(lambda: "the node is silent: blocked" in guard_says(client))
    again = start("node", log, model=bundle, **BLOCKED)
    try:
        assert client.wait(lambda: any(m.scan_time > 0 for m in client.messages("obstacle_scan")), 20.0)
        client.spin(0.3)
        assert quiet(client, 0.6), "the guard is quiet once the node speaks"
    finally:
        again.kill()
        again.wait()


def test_a_stopped_node_is_guarded_and_a_second_guard_does_no_harm(guarded, tmp_path):
    client, node, _ = guarded
    with running("guard", tmp_path / "second", on_stale="blocked", guard_after_s=GUARD_AFTER_S):
        three = lambda: client.node.count_publishers("obstacle_scan") == 3  # noqa: E731
        assert client.wait(lambda: client.fly(PERSON, 0.8) or three(), 15.0)
        client.fly(PERSON, 0.4)
        node.send_signal(signal.SIGSTOP)
        time.sleep(0.7)
        heard = coming(client)  # the second guard heard none but scans of a calibrated camera
        assert heard and all(blocked(m, slice(30, 44)) and m.scan_time == 0 for m in heard)
        node.send_signal(signal.SIGCONT)
        client.fly(PERSON, 1.0)
        assert quiet(client, 0.3), "two guards do not keep each other going"


def test_a_guard_of_a_silent_stack_only_says_so(client, tmp_path):
    with running("guard", tmp_path / "guard", guard_after_s=0.3):
        assert client.wait(lambda: "not blocked: on_stale silent" in guard_says(client), 8.0)
        assert client.messages("obstacle_scan") == []


def test_the_guard_is_small():
    """Neither NumPy nor OpenCV, and little more than a bare rclpy node of the same topics."""
    code = "; ".join([
        "import sys, threading, rclpy", "rclpy.init()", "from vit_perception.ros.flight_stack.guard import Guard",
        "guard = Guard(threading.Event())", "rclpy.spin_once(guard, timeout_sec=0.2)",
        "assert 'numpy' not in sys.modules and 'cv2' not in sys.modules",
        "print('small'); import os; os._exit(0)",
    ])  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=dict(os.environ))
    assert "small" in done.stdout, done.stderr


def test_a_blocked_scan_too_far_to_stop_anything_is_refused(tmp_path):
    process = start("guard", tmp_path / "log", on_stale="blocked", range_min_m=3.0)
    assert process.wait(10) == 1
    assert "range_min_m (3.0) above 2.0" in (tmp_path / "log").read_text()


def test_a_node_out_of_memory_is_guarded(client, tmp_path):
    """A process that publishes scans, with a memory limit that it then runs into: a stand-in for the node."""
    code = (
        "import rclpy, time; from sensor_msgs.msg import LaserScan; rclpy.init(); n = rclpy.create_node('eater')\n"
        "p = n.create_publisher(LaserScan, 'obstacle_scan', 10); eaten = []\n"
        "while True:\n  p.publish(LaserScan(scan_time=0.1, ranges=[9.0] * 72)); time.sleep(0.1)\n"
        "  eaten.append(bytearray(20 << 20))\n"
    )
    limit = 900 << 20
    with running("guard", tmp_path / "guard", on_stale="blocked", guard_after_s=GUARD_AFTER_S):
        eater = subprocess.Popen(
            [sys.executable, "-c", code], stderr=subprocess.DEVNULL,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        )  # fmt: skip
        assert eater.wait(20) != 0
        died = time.time()

        assert client.wait(lambda: guarded_after(client, died), 3.0)
        assert guarded_after(client, died)[0] < 2.0


def test_what_the_pilot_released_stays_so_while_the_node_itself_blocks(client, tmp_path):
    """A node that starts anew blocks until its first image. The test is the node here."""
    from sensor_msgs.msg import LaserScan

    from vit_perception.avoidance.blocked import BlockedScan

    release = client.node.create_publisher(Bool, "release_blocked", 1)
    scans = client.node.create_publisher(LaserScan, "obstacle_scan", 10)

    def speak(ranges, marks=()):
        for _ in range(4):
            message = LaserScan(scan_time=0.1, range_min=0.5, range_max=40.0, ranges=ranges, intensities=marks)
            scans.publish(message)
            client.spin(0.1)
        client.spin(0.5)

    def let_go():
        release.publish(Bool(data=True))
        return client.wait(lambda: "released by the pilot" in guard_says(client))

    wide = BlockedScan()
    wide.look((-math.radians(60.0), math.radians(60.0)))

    with running("guard", tmp_path / "guard", on_stale="blocked", guard_after_s=0.3):
        assert client.wait(lambda: newest(client, 0.1), 8.0)
        assert client.wait(lambda: release.get_subscription_count() and scans.get_subscription_count() == 2)
        assert let_go()
        speak(BlockedScan().ranges(0.5))
        assert newest(client) == []
        speak([9.0] * 72, wide.marks())
        assert coming(client), "a good scan ends the release"
        assert let_go()
        speak(BlockedScan().ranges(0.5), BlockedScan().marks())
        assert newest(client) == [], "one that does not know its wide view yet"


def test_a_guard_that_itself_stood_still_hears_first_what_waits(client, tmp_path):
    """A busy board: the node went on meanwhile, so nothing is to be blocked. The test is the node here."""
    from sensor_msgs.msg import LaserScan

    scans, sent = client.node.create_publisher(LaserScan, "obstacle_scan", 10), []

    def fly(seconds):
        for _ in range(int(10 * seconds)):
            scans.publish(LaserScan(scan_time=0.1, range_min=0.5, range_max=40.0, ranges=[9.0] * 72))
            sent.append(time.monotonic())
            client.spin(0.1)

    def blocked_meanwhile():
        return [m for m in client.messages("obstacle_scan") if m.scan_time == 0]

    with running("guard", tmp_path / "guard", on_stale="blocked", guard_after_s=0.5) as guard:
        assert client.wait(lambda: fly(0.1) or "watching" in guard_says(client), 8.0)
        fly(1.0)
        rounds = []
        for _ in range(12):
            client.forget()
            sent.clear()
            guard.send_signal(signal.SIGSTOP)
            fly(1.0)
            guard.send_signal(signal.SIGCONT)
            fly(0.5)
            if max(np.diff(sent)) < 0.4:  # else this process stood still, too, and its node was silent
                rounds.append(blocked_meanwhile())
            if len(rounds) == 4:
                break
        assert rounds == 4 * [[]]
        client.forget()
        guard.send_signal(signal.SIGSTOP)
        client.spin(1.0)
        guard.send_signal(signal.SIGCONT)
        assert client.wait(blocked_meanwhile), "nobody spoke meanwhile"


def test_the_guard_follows_the_nodes_view_and_what_it_is_told_in_flight(client, tmp_path):
    """The test is the node here: one whose camera looks to the right, and whose on_stale changes."""
    from rcl_interfaces.msg import Parameter as ParameterMsg
    from rcl_interfaces.msg import ParameterEvent, ParameterType, ParameterValue
    from sensor_msgs.msg import LaserScan

    events = client.node.create_publisher(ParameterEvent, "/parameter_events", 10)
    scans = client.node.create_publisher(LaserScan, "obstacle_scan", 10)
    right = [1.0 if 50 <= i <= 58 else 0.0 for i in range(72)]

    def change(node, value):
        said = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)
        events.publish(ParameterEvent(node=node, changed_parameters=[ParameterMsg(name="on_stale", value=said)]))

    with running("guard", tmp_path / "guard", on_stale="silent", guard_after_s=0.3):
        assert client.wait(lambda: "on_stale silent" in guard_says(client), 8.0)
        assert client.wait(lambda: events.get_subscription_count() and scans.get_subscription_count() == 2)
        for _ in range(4):
            scans.publish(LaserScan(scan_time=0.1, ranges=[float("nan")] * 72, intensities=right))
            client.spin(0.1)
        change("/elsewhere/vit_perception", "blocked")
        assert newest(client, 0.6) == [], "another vehicle's node"
        change("/vit_perception", "blocked")
        heard = coming(client)
        assert heard and np.flatnonzero(np.isfinite(heard[-1].ranges)).tolist() == list(range(50, 59))
        change("/vit_perception", "nonsense")
        assert coming(client), "what is no choice changes nothing"
        lost = ParameterMsg(name="range_min_m", value=ParameterValue(type=ParameterType.PARAMETER_NOT_SET))
        events.publish(ParameterEvent(node="/vit_perception", changed_parameters=[lost]))
        assert coming(client)[-1].range_min == 0.5, "nor does what has no value"
        change("/vit_perception", "silent")
        assert newest(client, 0.6) == []


def test_a_release_is_heard_from_within_a_callback_that_lasts_long(client):
    """As while the engine is opened: nobody spins the node that hears it."""
    import rclpy

    from vit_perception.ros.flight_stack.armed import BlockedEnds

    node = rclpy.create_node("busy", context=client.node.context)
    try:
        ends, release = BlockedEnds(node, (Bool, None)), client.node.create_publisher(Bool, "release_blocked", 1)
        armed = client.node.create_publisher(Bool, "armed", 1)
        assert client.wait(lambda: release.get_subscription_count() and armed.get_subscription_count(), 5.0)
        ends.hear()
        assert ends.why() == ""
        armed.publish(Bool(data=False))
        release.publish(Bool(data=True))
        client.spin(0.3)
        assert ends.why() == "", "nobody took it"
        assert client.wait(lambda: ends.hear() or (ends.why() == "released by the pilot" and ends.disarmed))
    finally:
        node.destroy_node()


def test_a_link_that_mavros_lost_says_nothing_of_being_disarmed():
    """mavros_msgs is not here: stand-ins for its message and for a node that subscribes."""
    from types import SimpleNamespace

    from vit_perception.ros.flight_stack.armed import BlockedEnds

    heard = {}
    node = SimpleNamespace(create_subscription=lambda kind, topic, callback, qos: heard.update({topic: callback}))
    ends = BlockedEnds(node, (Bool, object))
    heard["state"](SimpleNamespace(connected=True, armed=True))
    heard["state"](SimpleNamespace(connected=False, armed=False))
    assert ends.why() == "" and not ends.disarmed
    heard["state"](SimpleNamespace(connected=True, armed=False))
    assert ends.why() == "the vehicle is disarmed" and ends.disarmed
