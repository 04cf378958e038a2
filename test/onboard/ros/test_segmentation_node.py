"""A node whose bundle segments, over real DDS: masks for whoever looks, places to land, and what is refused."""

import json
import re
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
pytest.importorskip("onnx", reason="onnx is not installed (make setup)")

from flight import HEIGHT, NAME, WIDTH, running, stamps_of, start  # noqa: E402
from geometry_msgs.msg import PointStamped  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from segment_bundle import LABELS, make_segment_bundle, picture  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from vision_msgs.msg import LabelInfo  # noqa: E402

CELLS = np.array(
    [
        [0, 0, 1, 1, 1, 2, 2, 2],
        [0, 1, 1, 1, 1, 2, 3, 2],
        [1, 1, 1, 1, 1, 2, 2, 2],
        [1, 1, 1, 1, 1, 1, 1, 1],
        [0, 1, 1, 1, 1, 1, 0, 1],
        [0, 0, 1, 1, 1, 1, 1, 1],
    ],
    np.uint8,
)
SCENE = picture(CELLS, WIDTH, HEIGHT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    return make_segment_bundle(tmp_path_factory.mktemp("bundle") / "both", "both")


@pytest.fixture(scope="module")
def segment(tmp_path_factory):
    return make_segment_bundle(tmp_path_factory.mktemp("bundle") / "segment")


def mask_of(msg):
    assert msg.encoding == "mono8" and msg.step == msg.width and not msg.is_bigendian
    return np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width)


def look(client, topic="segmentation", kind=Image):
    """Subscribe to an output, and wait until the node knows."""
    client.listen(f"{NAME}/{topic}", kind)
    assert client.wait(lambda: client.node.count_publishers(f"{NAME}/{topic}") > 0)
    assert client.wait(lambda: f"{topic} 1" in client.diagnostics()[2]["subscribers"], 10.0)


def stages(values):
    return {k[: -len("_ms_p50")] for k in values if k.endswith("_ms_p50")}


def test_masks_come_for_whoever_looks_and_after_the_detections(client, both, log):
    client.listen(f"{NAME}/segmentation/label_info", LabelInfo, LATCHED)
    with running("node", log, model=both):
        client.connect()
        assert client.wait(lambda: client.node.count_publishers(f"{NAME}/segmentation") == 1)
        (labels,) = client.wait(lambda: len(client.messages("label_info")) == 2) and [
            m for m in client.messages("label_info") if m.class_map[0].class_name == "water"
        ]
        assert [(c.class_id, c.class_name) for c in labels.class_map] == list(enumerate(LABELS))
        look(client)
        stamp = (11, 7)
        assert client.answer(SCENE, stamp, frame_id="belly") is not None
        assert client.wait(lambda: client.received["segmentation"])
        (mask,) = client.messages("segmentation")
        assert (mask.header.stamp.sec, mask.header.stamp.nanosec, mask.header.frame_id) == (*stamp, "belly")
        np.testing.assert_array_equal(mask_of(mask), CELLS)
        client.spin(0.3)  # until what was under way is here
        client.forget()
        client.fly(SCENE, 1.0)
        assert client.fly_until(SCENE, lambda: len(client.messages("segmentation")) >= 10)
        assert client.wait(lambda: stamps_of(client, "segmentation") <= stamps_of(client, "detections"))
        arrived = {(m.header.stamp.sec, m.header.stamp.nanosec): t for t, m in client.received["segmentation"]}
        boxes = {(m.header.stamp.sec, m.header.stamp.nanosec): t for t, m in client.received["detections"]}
        assert np.median([arrived[s] - boxes[s] for s in arrived]) >= 0, "detections first"
        values = client.diagnostics(SCENE)[2]
        assert "segmentation" in stages(values)
        shares = {label: float(values[f"share_{label}"]) for label in LABELS}
        np.testing.assert_allclose(list(shares.values()), np.bincount(CELLS.ravel()) / CELLS.size, atol=1e-4)


def test_a_mask_is_of_the_whole_image_also_where_it_is_cut_into_slices(client, both, log):
    with running("node", log, model=both, slices="2x2"):
        client.connect()
        look(client)
        assert client.answer(SCENE, (3, 1)) is not None
        assert client.wait(lambda: client.received["segmentation"])
        np.testing.assert_array_equal(mask_of(client.messages("segmentation")[0]), CELLS)


WHITE = np.full((HEIGHT, WIDTH), 255, np.uint8)


def test_a_mask_that_cannot_be_made_costs_no_detection(client, tmp_path, log):
    model = make_segment_bundle(tmp_path / "both", "both", faulty=True)
    with running("node", log, model=model):
        client.connect()
        look(client)
        assert client.answer(SCENE, (3, 1)) is not None and client.answer(WHITE, (3, 2)) is not None
        client.fly(WHITE, 0.5)
        level, _, values = client.diagnostics(WHITE)
        assert (
            values["failures"] == "0"
            and "no mask of this image: the engine gives values that are" in values["warnings"]
        )
        client.spin(0.3)  # until what was under way is here
        client.forget()
        client.fly(SCENE, 0.3)
        assert client.wait(lambda: stamps_of(client, "segmentation") == stamps_of(client, "detections") != set())


def test_in_a_node_that_only_segments_it_is_a_failure(client, tmp_path, log):
    client.listen(f"{NAME}/segmentation", Image)
    model = make_segment_bundle(tmp_path / "segment", faulty=True)
    with running("node", log, model=model, segment_only=True):
        assert client.wait(lambda: client.images.get_subscription_count() > 0, 15.0)
        client.spin(0.5)
        client.fly(WHITE, 1.0)
        level, text, values = client.diagnostics(WHITE)
        assert level == 2 and "frames in a row failed: EngineError: the engine gives values that are not finite" in text
        assert client.messages("segmentation") == []
        client.fly(SCENE, 0.5)
        assert client.wait(lambda: client.diagnostics(SCENE)[0] == 0) and client.messages("segmentation")


def test_a_detector_has_no_topic_of_masks(client, bundle, log):
    with running("node", log, model=bundle):
        client.connect()
        client.fly(SCENE, 0.3)
        topics = dict(client.node.get_topic_names_and_types())
        assert not any("segmentation" in name or "landing" in name for name in topics)
        values = client.diagnostics(SCENE)[2]
        assert not any(key.startswith("share_") for key in values) and "segmentation" not in stages(values)


def test_a_bundle_that_only_segments_is_refused_where_detections_are_needed(segment, log):
    process = start("node", log, model=segment)
    assert process.wait(20) == 1
    (line,) = log.read_text().strip().splitlines()
    assert "segments images and detects nothing" in line and "set segment_only to true" in line


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"segment_only": True}, "only detects, and segment_only asks for masks"),
        ({"landing.enabled": True}, "landing.enabled needs masks, and bundle .* only detects"),
        (
            {"segment_only": True, "on_stale": "blocked"},
            'segment_only makes no detections, so on_stale must be "silent"',
        ),
        ({"segment_only": True, "publish_px4": True}, "segment_only makes no detections, so publish_px4 must be false"),
    ],
)
def test_what_a_detector_cannot_do_is_said_in_one_sentence(bundle, log, parameters, says):
    process = start("node", log, model=bundle, **parameters)
    assert process.wait(20) == 1
    (line,) = log.read_text().strip().splitlines()
    assert re.search(says, line), line


def test_landing_classes_that_the_masks_do_not_have_are_refused(both, log):
    process = start("node", log, model=both, **{"landing.enabled": True, "landing.classes": "[gras]"})
    assert process.wait(20) == 1
    (line,) = log.read_text().strip().splitlines()
    assert "landing.classes names 'gras', but the classes of the masks are water, ground, road, roof" in line


def test_a_node_that_only_segments_publishes_masks_and_no_word_about_obstacles(client, segment, log):
    client.listen(f"{NAME}/segmentation", Image)
    client.listen(f"{NAME}/debug_image", Image)
    with running("node", log, model=segment, segment_only=True):
        assert client.wait(lambda: client.images.get_subscription_count() > 0, 15.0)
        assert client.wait(lambda: client.received["label_info"])
        assert [c.class_name for c in client.messages("label_info")[0].class_map] == LABELS
        client.spin(0.5)
        several = lambda: len(client.messages("segmentation")) > 10 and client.messages("debug_image")  # noqa: E731
        assert client.fly_until(SCENE, several, images=30)
        np.testing.assert_array_equal(mask_of(client.messages("segmentation")[-1]), CELLS)
        level, text, values = client.diagnostics(SCENE)
        assert level == 0 and "FPS" in text and "segment_only: nobody looks for obstacles" in values["scan"]
        assert int(values["processed"]) > 10 and {"infer", "segmentation"} <= stages(values)
        topics = dict(client.node.get_publisher_names_and_types_by_node("vit_perception", "/"))
        assert not {"/obstacle_scan", NAME + "/detections", NAME + "/alert", NAME + "/obstacles"} & set(topics)
        client.spin(0.2)
        client.send_now(SCENE[:, :50], width=WIDTH)
        assert client.wait(lambda: client.diagnostics()[2]["rejected"] == "1")


def test_no_image_no_landing_place(client, both, log):
    with running("node", log, model=both, **{"landing.enabled": True}):
        client.connect()
        began = time.monotonic()
        success, text = ask(client)
        assert not success and text == "no landing place: no fresh image with a mask came within 2 s"
        assert time.monotonic() - began < 4.0
        client.fly(SCENE, 0.3)
        assert ask(client, SCENE) == (
            False,
            "no landing place: the camera is not calibrated, so nothing is known of the ground",
        )


def test_the_place_to_land_is_where_the_ground_is_flat(client, both, log):
    """The camera looks straight down from 20 m: a block of the image is 16 pixels of 0.2 m, 3.2 m, wide."""
    odometry = client.node.create_publisher(Odometry, "odometry", 10)
    client.listen(f"{NAME}/landing", PointStamped)
    parameters = {"landing.enabled": True, "height_source": "odometry", "obstacles.camera_pitch_deg": -90.0}
    with running("node", log, model=both, **parameters):
        client.connect()
        client.calibrate(fx=100.0)
        assert "the height above ground is not known" in ask(client, SCENE)[1]

        def tell():
            msg = Odometry()
            msg.header.stamp, msg.header.frame_id = client.node.get_clock().now().to_msg(), "odom"
            msg.child_frame_id = "base_link"
            msg.pose.pose.position.z, msg.pose.pose.orientation.w = 20.0, 1.0
            odometry.publish(msg)

        client.fly(SCENE, 0.5, each=tell)
        success, text = ask(client, SCENE, tell)
        assert success, text
        found = json.loads(text)
        assert found["note"] == "a class is no proof of level ground" and found["frame_id"] == "base_link"
        # The largest free circle near the middle that is at most 3 x 0.9 m, the image's middle being ground itself.
        assert found["needed_m"] == pytest.approx(0.9) and 0.9 < found["radius_m"] <= 2.7
        assert (found["x"], found["y"], found["z"]) == pytest.approx((0.0, 0.0, -20.0), abs=6.0)
        u, v = int(found["u"] // 16), int(found["v"] // 16)
        assert CELLS[v, u] == LABELS.index("ground")
        assert client.wait(lambda: client.received["landing"])
        (point,) = client.messages("landing")
        assert point.header.frame_id == "base_link" and found["stamp"] == {
            "sec": point.header.stamp.sec,
            "nanosec": point.header.stamp.nanosec,
        }
        assert point.point.z == pytest.approx(-20.0)
        client.fly(SCENE, 0.6)  # odometry pauses: 0.5 s old it is stale
        paused = time.monotonic()
        success, text = ask_while(
            client, lambda: client.fly(SCENE, 0.05, each=tell if time.monotonic() - paused > 1.0 else None)
        )
        assert success, f"{text}; the images from when it comes again are waited for"
        client.fly(SCENE, 0.1, each=tell)
        still = client.node.get_clock().now().to_msg()

        def stand_still():
            tell()
            client.send(SCENE, (still.sec, still.nanosec))

        for _ in range(30):  # 1.5 s; an image that is 0.5 s old is not fresh
            stand_still()
            client.spin(0.05)
        success, text = ask_while(client, stand_still)
        assert not success and text == "no landing place: no fresh image with a mask came within 2 s"
        roofs = np.full_like(CELLS, LABELS.index("roof"))
        success, text = ask(client, picture(roofs, WIDTH, HEIGHT), tell)
        assert not success and "not one pixel is of a class of landing.classes" in text
        assert client.wait(lambda: client.diagnostics(SCENE)[0] == 0), "a question without an answer is no fault"
    client.node.destroy_publisher(odometry)


def ask_while(client, each):
    """(success, text) of ~/find_landing, while each() is called."""
    answer = client.ask(f"{NAME}/find_landing", each)  # also waited for in flight: odometry 0.5 s old is stale
    return answer.success, answer.message


def ask(client, image=None, each=None):
    """The same, while `image` flies, after it was seen for a moment."""
    if image is None:
        return ask_while(client, lambda: None)
    client.fly(image, 0.2, each=each)
    return ask_while(client, lambda: client.fly(image, 0.05, each=each))
