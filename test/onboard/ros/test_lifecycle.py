"""The lifecycle over real DDS: every transition and back, what is published in each state, what ends the program."""

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
pytest.importorskip("onnx", reason="onnx is not installed (make setup)")

from flight import HEIGHT, NAME, WIDTH, running, start, white_blocks  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402

BLACK = np.zeros((HEIGHT, WIDTH), np.uint8)
PERSON = white_blocks((4, 2))


class Manager:
    """What a lifecycle manager does: changes and asks the node's state."""

    def __init__(self, client):
        self._client = client
        self._change = client.service(ChangeState, NAME + "/change_state")
        self._get = client.service(GetState, NAME + "/get_state")

    def change(self, transition, timeout_s=10.0):
        """Whether the node says that the transition succeeded; None if it does not answer."""
        request = ChangeState.Request(transition=Transition(id=transition))
        answer = self._client.call(self._change, request, timeout_s)
        return answer and answer.success

    @property
    def state(self):
        return self._client.call(self._get, GetState.Request(), 5.0).current_state.label


@pytest.fixture
def managed(client, bundle, log):
    """A node that waits for its manager, and the manager."""
    with running("node", log, model=bundle, autostart=False):
        yield Manager(client)


def topics(client):
    names = dict(client.node.get_topic_names_and_types())
    return {n for n in names if client.node.count_publishers(n) and n.startswith((NAME + "/det", "/obstacle_scan"))}


def test_every_transition_there_and_back(managed, client):
    assert managed.state == "unconfigured"
    level, text, values = client.diagnostics()
    assert level == 1 and "unconfigured" in text and values["state"] == "unconfigured"
    assert topics(client) == set()

    assert managed.change(Transition.TRANSITION_CONFIGURE) is True
    assert managed.state == "inactive"
    assert client.wait(lambda: topics(client) == {NAME + "/detections", "/obstacle_scan"})
    assert client.images.get_subscription_count() == 0, "an inactive node takes no images"
    level, text, values = client.diagnostics()
    assert level == 1 and "inactive" in text and values["backend"] == "onnxruntime"

    for stamp in (1, 2):  # active, inactive and active again: it works as at first
        assert managed.change(Transition.TRANSITION_ACTIVATE) is True
        assert client.wait(lambda: client.images.get_subscription_count() and client.infos.get_subscription_count())
        client.calibrate()
        assert len(client.answer(PERSON, (stamp, 0)).detections) == 1
        assert client.fly_until(PERSON, lambda: client.messages("obstacle_scan"), images=10)
        assert managed.change(Transition.TRANSITION_DEACTIVATE) is True
        assert client.wait(lambda: client.images.get_subscription_count() == 0)
        client.spin(0.2)  # until what was under way is here
        client.forget()
        client.fly(PERSON, 0.4)
        assert client.messages("detections") == [] and client.messages("obstacle_scan") == []

    assert managed.change(Transition.TRANSITION_CLEANUP) is True
    assert managed.state == "unconfigured"
    assert client.wait(lambda: topics(client) == set())
    assert managed.change(Transition.TRANSITION_CONFIGURE) is True
    assert managed.change(Transition.TRANSITION_ACTIVATE) is True
    client.connect()
    assert len(client.answer(PERSON, (3, 0)).detections) == 1
    assert managed.change(Transition.TRANSITION_ACTIVE_SHUTDOWN) is True
    assert managed.state == "finalized"


def test_an_alert_ends_with_the_deactivation(client, bundle, log):
    with running("node", log, model=bundle, autostart=False, **{"alerts.warn_range_m": 20.0}):
        manager = Manager(client)
        assert manager.change(Transition.TRANSITION_CONFIGURE) and manager.change(Transition.TRANSITION_ACTIVATE)
        client.connect()
        client.calibrate()
        assert client.fly_until(PERSON, lambda: client.messages("alert"), images=14)
        assert client.messages("alert")[-1].level == b"\x01"
        assert manager.change(Transition.TRANSITION_DEACTIVATE) is True
        assert client.wait(lambda: client.messages("alert")[-1].level == b"\x03"), "nobody knows any more"


def test_a_transition_that_is_not_possible_ends_nothing(managed, client):
    assert managed.change(Transition.TRANSITION_CONFIGURE) is True
    answer = managed.change(Transition.TRANSITION_CONFIGURE, timeout_s=1.0)
    assert not answer and managed.state == "inactive"
    raised = answer is None  # up to Jazzy rclpy raises instead of answering; from Kilted on it says no
    assert client.diagnostics()[2]["callback_failures"] == ("1" if raised else "0")
    assert managed.change(Transition.TRANSITION_ACTIVATE) is True
    client.connect()
    assert len(client.answer(PERSON, (1, 0)).detections) == 1


def test_what_cannot_be_configured_stays_unconfigured_until_it_can(client, bundle, tmp_path):
    from blob_bundle import make_bundle

    folder = tmp_path / "later"
    with running("node", tmp_path / "log", model=folder, autostart=False):
        manager = Manager(client)
        assert manager.change(Transition.TRANSITION_CONFIGURE) is False
        assert manager.state == "unconfigured"
        assert f"no model bundle at {folder}" in (tmp_path / "log").read_text()
        make_bundle(folder)
        assert manager.change(Transition.TRANSITION_CONFIGURE) is True
        assert manager.change(Transition.TRANSITION_ACTIVATE) is True
        client.connect()
        assert len(client.answer(PERSON, (1, 0)).detections) == 1


def test_what_fails_after_the_start_is_logged_and_is_not_the_programs_last_word(client, tmp_path):
    from blob_bundle import make_bundle

    folder, log = tmp_path / "bundle", tmp_path / "log"
    make_bundle(folder)
    with running("node", log, model=folder):
        client.connect()
        manager = Manager(client)
        assert manager.change(Transition.TRANSITION_DEACTIVATE) and manager.change(Transition.TRANSITION_CLEANUP)
        folder.rename(tmp_path / "gone")
        assert manager.change(Transition.TRANSITION_CONFIGURE) is False
        assert client.wait(lambda: f"no model bundle at {folder}" in log.read_text(), 3.0)


def test_an_input_remapped_to_an_output_is_refused(bundle, log):
    process = start("node", log, remap={"image_raw": "vit_perception/debug_image"}, model=bundle)
    assert process.wait(20) == 1
    text = log.read_text().strip().splitlines()[-1]
    assert (
        text.startswith("vit_perception: ") and "/vit_perception/debug_image, which this node itself publishes" in text
    )


def test_two_nodes_of_one_name_are_reported(client, bundle, tmp_path):
    with running("node", tmp_path / "a", model=bundle), running("node", tmp_path / "b", model=bundle):
        client.connect()
        client.fly(BLACK, 1.0)

        def said():
            level, text, _ = client.diagnostics(BLACK)
            return level == 2 and "2 nodes are called /vit_perception" in text

        assert client.wait(said, 15.0)  # the second one may take longer to start


def test_an_incompatible_publisher_is_reported_with_the_remedy(client, bundle, log):
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image

    with running("node", log, model=bundle, reliable_input=True):
        client.connect()
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        publisher = client.node.create_publisher(Image, "image_raw", qos)
        assert client.wait(lambda: "less RELIABILITY" in client.diagnostics()[2]["warnings"])
        assert "set reliable_input to false" in log.read_text()
        client.node.destroy_publisher(publisher)


def test_a_subscriber_that_will_never_hear_is_reported(client, bundle, log):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from vision_msgs.msg import Detection2DArray

    with running("node", log, model=bundle):
        client.connect()
        client.listen(
            NAME + "/detections", Detection2DArray, QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        )
        words = "a subscriber of ~/detections asks for more DURABILITY"
        assert client.wait(lambda: words in client.diagnostics()[2]["warnings"])


def test_images_of_another_type_or_on_another_topic_are_pointed_at(client, bundle, log):
    from sensor_msgs.msg import CompressedImage, Image

    with running("node", log, remap={"image_raw": "/front"}, model=bundle):
        other = client.node.create_publisher(Image, "/down/image", 1)
        assert client.wait(lambda: client.received["label_info"], 15.0), "the node did not appear"
        assert client.wait(lambda: "remap image_raw to one of: /down/image" in client.diagnostics()[1], 8.0)
        wrong = client.node.create_publisher(CompressedImage, "/front", 1)
        assert client.wait(lambda: "carries sensor_msgs/msg/CompressedImage" in client.diagnostics()[1], 8.0)
        for publisher in (other, wrong):
            client.node.destroy_publisher(publisher)


def test_compressed_images(client, bundle, log):
    import array

    import cv2
    from sensor_msgs.msg import CompressedImage

    with running("node", log, model=bundle, image_transport="compressed"):
        camera = client.node.create_publisher(CompressedImage, "image_raw/compressed", 1)
        assert client.wait(lambda: camera.get_subscription_count() > 0 and client.received["label_info"], 15.0)
        assert client.wait(lambda: client.node.count_publishers(NAME + "/detections") > 0)
        client.spin(0.2)
        for i, name in enumerate((".jpg", ".png")):
            msg = CompressedImage(
                format="mono8; jpeg compressed mono8" if name == ".jpg" else "mono8; png compressed mono8"
            )
            msg.header.stamp.sec, msg.header.frame_id = 5 + i, "front"
            msg.data = array.array("B", cv2.imencode(name, PERSON)[1].tobytes())
            camera.publish(msg)
            answer = client.answer_to((5 + i, 0))
            assert len(answer.detections) == 1 and answer.header.frame_id == "front"
        msg.data = msg.data[:50]
        camera.publish(msg)
        assert client.wait(lambda: client.diagnostics()[2]["rejected"] == "1")
        client.node.destroy_publisher(camera)


def test_class_filter_and_rate_limit_at_run_time(client, bundle, log):
    with running("node", log, model=bundle):
        client.connect()
        assert len(client.answer(PERSON, (1, 0)).detections) == 1
        assert client.set_parameter("class_filter", "Car") == (True, "")
        assert len(client.answer(PERSON, (1, 1)).detections) == 0
        successful, reason = client.set_parameter("class_filter", "car, tree")
        assert not successful and "'tree'" in reason and "person, car" in reason
        assert client.set_parameter("class_filter", "") == (True, "")
        assert client.set_parameter("max_rate_hz", 5.0) == (True, "")
        client.forget()
        begun = time.monotonic()
        client.fly(PERSON, 2.0, rate=20.0)
        seconds = time.monotonic() - begun  # more than 2 s, where this process stood still
        assert 4 * seconds <= len(client.messages("detections")) <= 5 * seconds + 2

        def all_counted():
            values = client.diagnostics()[2]
            counted = sum(int(values[k]) for k in ("processed", "dropped", "skipped", "rejected", "failures"))
            return int(values["received"]) == counted and int(values["skipped"]) > 15

        assert client.wait(all_counted)  # the report before may be of while one was under way


def test_a_signal_while_unconfigured_ends_it(client, bundle, log):
    import signal

    process = start("node", log, model=bundle, autostart=False)
    assert client.wait(lambda: client.messages("diagnostics"), 15.0), "the node did not appear"
    process.send_signal(signal.SIGINT)
    assert process.wait(3) == 0
