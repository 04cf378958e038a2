"""rosbag2 bags: ours are read by others, theirs by us, and what is damaged ends in one sentence."""

import os
import resource
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import yaml

from vit_perception.recording.bag import BagError, is_bag, open_bag
from vit_perception.recording.bag_inputs import find_inputs, inputs, make_decoder, stamp_of
from vit_perception.recording.bag_writer import BagWriter

rosbags = pytest.importorskip("rosbags.highlevel", reason="rosbags is not installed (make setup)")
pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")

from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer  # noqa: E402
from rosbags.typesys import Stores, get_types_from_msg, get_typestore  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
IMAGE, DETECTIONS = "sensor_msgs/msg/Image", "vision_msgs/msg/Detection2DArray"
START_NS = 1_700_000_000_000_000_000


def image(i):
    msg = Image(width=2, height=2, step=2, encoding="mono8", data=[i % 256, 1, 2, 3])
    msg.header.stamp.sec, msg.header.stamp.nanosec, msg.header.frame_id = 100 + i, 5, "nose"
    return msg


def detections(i):
    hypothesis = ObjectHypothesisWithPose()
    hypothesis.hypothesis.class_id, hypothesis.hypothesis.score = "car", 0.25 * i
    one = Detection2D(results=[hypothesis], id=str(i))
    one.bbox.center.position.x, one.bbox.size_x = 10.0 * i, 4.0
    msg = Detection2DArray(detections=[one])
    msg.header.stamp.sec = 100 + i
    return msg


def write(folder, count=4):
    with BagWriter(folder) as bag:
        bag.add_topic("/camera/image_raw", IMAGE)
        bag.add_topic("/vit_perception/detections", DETECTIONS)
        bag.add_topic("/label_info", "vision_msgs/msg/LabelInfo", latched=True)
        for i in range(count):
            bag.write("/camera/image_raw", START_NS + 2 * i, serialize_message(image(i)))
            bag.write("/vit_perception/detections", START_NS + 2 * i + 1, serialize_message(detections(i)))
    return folder


@pytest.fixture(scope="module")
def vision_store():
    """A typestore of rosbags that knows vision_msgs, from the interface files."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    types = {}
    for path in sorted((ROOT / "tools" / "ros_messages" / "vision_msgs" / "msg").glob("*.msg")):
        types.update(get_types_from_msg(path.read_text(), f"vision_msgs/msg/{path.stem}"))
    store.register(types)
    return store


def test_another_reader_finds_every_message_topic_and_quality_of_service(tmp_path, vision_store):
    write(tmp_path / "bag")
    with rosbags.AnyReader([tmp_path / "bag"], default_typestore=vision_store) as reader:
        read = [(c.topic, t, reader.deserialize(d, c.msgtype)) for c, t, d in reader.messages()]
        latched = next(c for c in reader.connections if c.topic == "/label_info").ext.offered_qos_profiles
    assert [(topic, t - START_NS) for topic, t, _ in read] == [
        (("/camera/image_raw", "/vit_perception/detections")[k % 2], k) for k in range(8)
    ]
    picture, found = read[2][2], read[3][2]
    assert (picture.header.frame_id, picture.data.tolist()) == ("nose", [1, 1, 2, 3])
    one = found.detections[0]
    assert (one.id, one.results[0].hypothesis.score, one.bbox.center.position.x) == ("1", 0.25, 10.0)
    assert [(q.durability.name, q.reliability.name, q.depth) for q in latched] == [("TRANSIENT_LOCAL", "RELIABLE", 1)]


def test_metadata_is_that_of_rosbag2_version_5(tmp_path):
    information = yaml.safe_load((Path(write(tmp_path / "bag")) / "metadata.yaml").read_text())[
        "rosbag2_bagfile_information"
    ]
    assert "&" not in (tmp_path / "bag" / "metadata.yaml").read_text(), "no aliases: rosbag2 writes none"
    span = {"starting_time": {"nanoseconds_since_epoch": START_NS}, "duration": {"nanoseconds": 7}, "message_count": 8}
    topics = information.pop("topics_with_message_count")
    assert information == {
        "version": 5,
        "storage_identifier": "sqlite3",
        "relative_file_paths": ["bag_0.db3"],
        "files": [{"path": "bag_0.db3", **span}],
        "compression_format": "",
        "compression_mode": "",
        **span,
    }
    assert [t["message_count"] for t in topics] == [4, 4, 0]
    assert topics[0]["topic_metadata"] == {
        "name": "/camera/image_raw", "type": IMAGE, "serialization_format": "cdr", "offered_qos_profiles": "",
    }  # fmt: skip
    profile = yaml.safe_load(topics[2]["topic_metadata"]["offered_qos_profiles"])
    assert profile[0]["durability"] == 1 and profile[0]["deadline"] == {"sec": 9223372036, "nsec": 854775807}


FORMS = ["sqlite3", "sqlite3 of version 9", "mcap", "mcap zstd chunks", "zstd messages", "zstd file"]


@pytest.mark.parametrize("form", FORMS)
def test_bags_of_another_writer_are_read(tmp_path, form, vision_store):
    plugin = StoragePlugin.MCAP if "mcap" in form else StoragePlugin.SQLITE3
    writer = Writer(tmp_path / "bag", version=9 if "9" in form else 8, storage_plugin=plugin)
    if "chunks" in form:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    elif form.startswith("zstd"):
        mode = CompressionMode.MESSAGE if "messages" in form else CompressionMode.FILE
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        pictures = writer.add_connection("/image", IMAGE, typestore=vision_store)
        found = writer.add_connection("/detections", DETECTIONS, typestore=vision_store)
        for i in range(3):
            writer.write(found, 10 + i, bytes(serialize_message(detections(i))))
            writer.write(pictures, 10 + i, bytes(serialize_message(image(i))))
    bag = open_bag(str(tmp_path / "bag"))
    assert bag.topics == {"/image": IMAGE, "/detections": DETECTIONS} and bag.counts == {"/image": 3, "/detections": 3}
    read = list(bag.messages(["/image", "/detections"]))
    assert [m.stamp_ns for m in read] == [10, 10, 11, 11, 12, 12]
    again = [deserialize_message(m.data, Image) for m in read if m.topic == "/image"]
    assert again == [image(i) for i in range(3)]
    assert {m.topic for m in bag.messages(["/detections"])} == {"/detections"}
    if form == "mcap":
        only_file = next((tmp_path / "bag").glob("*.mcap"))
        assert is_bag(str(only_file)) and open_bag(str(only_file)).counts == bag.counts


def test_split_bags_and_those_without_metadata_are_read_in_order(tmp_path):
    """What a recorder leaves that was killed: numbered files, and nobody who wrote metadata.yaml."""
    folder = tmp_path / "flight"
    folder.mkdir()
    for number in (0, 2, 10):
        part = write(tmp_path / f"part{number}", count=1)
        os.rename(part / f"part{number}_0.db3", folder / f"flight_{number}.db3")
        database = sqlite3.connect(folder / f"flight_{number}.db3")
        database.execute("UPDATE messages SET timestamp = ?", (number,))
        database.commit()
        database.close()
    bag = open_bag(str(folder))
    assert [m.stamp_ns for m in bag.messages(["/camera/image_raw"])] == [0, 2, 10]
    assert bag.counts["/camera/image_raw"] == 3
    assert len(list(open_bag(str(folder / "flight_2.db3")).messages(["/camera/image_raw"]))) == 1


def recorded(folder, plugin=StoragePlugin.MCAP, mode=None, count=40, start=0, noise=0):
    """A bag of another writer: `count` images on /image, one every other nanosecond, with bytes of noise behind."""
    random = np.random.default_rng(0)
    writer = Writer(folder, version=9, storage_plugin=plugin)
    if mode is not None:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        pictures = writer.add_connection("/image", IMAGE, typestore=get_typestore(Stores.ROS2_HUMBLE))
        for i in range(count):
            writer.write(pictures, start + 2 * i, bytes(serialize_message(image(i))) + random.bytes(noise))
    return folder


def stamps(path, topic="/image"):
    return [m.stamp_ns for m in open_bag(str(path)).messages([topic])]


@pytest.mark.parametrize("damage", ["no metadata", "identifier", "both"])
@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_files_tell_what_they_are_where_metadata_does_not(tmp_path, plugin, damage):
    metadata = recorded(tmp_path / "bag", plugin) / "metadata.yaml"
    if damage == "identifier":
        metadata.write_text(metadata.read_text().replace(f"identifier: {plugin.value}", 'identifier: ""'))
    else:
        metadata.unlink()
    if damage == "both":
        file = next((tmp_path / "bag").iterdir())
        file.rename(file.with_suffix(file.suffix.upper()))
    assert is_bag(str(tmp_path / "bag")) and stamps(tmp_path / "bag") == list(range(0, 80, 2))


@pytest.mark.parametrize("where", ["folder", "file", "folder without metadata"])
@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_messages_that_are_compressed_one_by_one_are_read(tmp_path, where, plugin):
    bag = recorded(tmp_path / "bag", plugin, CompressionMode.MESSAGE)
    if "without" in where:
        (bag / "metadata.yaml").unlink()
    read = list(open_bag(str(next(bag.glob("bag*")) if where == "file" else bag)).messages(["/image"]))
    assert [deserialize_message(m.data, Image) for m in read] == [image(i) for i in range(40)]


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("mode", [None, CompressionMode.STORAGE])
def test_an_mcap_that_was_cut_off_is_read_up_to_there(tmp_path, part, mode):
    file = next(recorded(tmp_path / "bag", mode=mode, count=2000, noise=2000).glob("*.mcap"))
    whole = file.read_bytes()
    file.write_bytes(whole[: int(part * len(whole))] + bytes(100))  # file systems leave zeros
    bag = open_bag(str(file))
    assert f"mcap recover {file}" in bag.damage and bag.damage.count("\n") == 0
    read = [m.stamp_ns for m in bag.messages(["/image"])]
    assert read == list(range(0, 2 * len(read), 2)) and bag.counts["/image"] == len(read) < 2000
    assert len(read) > 2000 * part - (1 if mode is None else 700), "all that is there, but for a compressed chunk"


def test_an_mcap_with_a_damaged_chunk_is_read_around_it(tmp_path):
    file = next(recorded(tmp_path / "bag", mode=CompressionMode.STORAGE, count=2000, noise=2000).glob("*.mcap"))
    data = bytearray(file.read_bytes())
    middle = data.index(b"\x28\xb5\x2f\xfd", len(data) // 2)  # where one begins
    data[middle : middle + 4] = bytes(4)
    file.write_bytes(data)
    bag = open_bag(str(file))
    assert "is damaged at byte" in bag.damage and 1000 < len(list(bag.messages(["/image"]))) < 2000


def test_the_spoilt_last_file_of_a_split_bag_is_told_and_the_others_read(tmp_path):
    file = next(recorded(tmp_path / "bag").glob("*.mcap"))
    file.rename(tmp_path / "bag" / "bag_0.mcap")
    (tmp_path / "bag" / "bag_1.mcap").touch()
    (tmp_path / "bag" / "metadata.yaml").unlink()
    bag = open_bag(str(tmp_path / "bag"))
    assert "bag_1.mcap is damaged or no mcap file" in bag.damage and len(list(bag.messages(["/image"]))) == 40


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_files_that_overlap_in_time_are_read_side_by_side(tmp_path, plugin):
    (tmp_path / "bag").mkdir()
    for number, start in enumerate((1000, 41, 0)):
        part = recorded(tmp_path / f"part{number}", plugin, start=start)
        file = next(p for p in part.iterdir() if p.suffix != ".yaml")
        file.rename(tmp_path / "bag" / f"part_{number}{file.suffix}")
    read = stamps(tmp_path / "bag")
    assert read == sorted(read) and len(read) == 120 and read[:3] == [0, 2, 4] and 41 in read


def test_what_is_no_bag_of_this_kind_is_named_with_the_command_that_mends_it(tmp_path):
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n" + bytes(4096))
    compressed = recorded(tmp_path / "z", StoragePlugin.SQLITE3, CompressionMode.FILE)
    renamed = recorded(tmp_path / "renamed")
    next(renamed.glob("*.mcap")).rename(renamed / "other.mcap")
    cases = {
        tmp_path / "old.bag": "is a ROS 1 bag; convert it: `rosbags-convert --src .*old.bag --dst .*old_ros2`",
        next(compressed.glob("*.zstd")): f"is a file of a compressed bag; give its folder, {compressed}",
        renamed: "lacks its file renamed.mcap; it has other.mcap: give that file, or .*`ros2 bag reindex",
    }
    for path, words in cases.items():
        with pytest.raises(BagError, match=words) as error:
            open_bag(str(path))
        assert is_bag(str(path)) and "\n" not in str(error.value)
    (compressed / "metadata.yaml").unlink()
    with pytest.raises(BagError, match="without metadata.yaml, unpack it: `zstd -d .*z.db3.zstd -o .*z.db3`"):
        open_bag(str(compressed))


def test_compressed_messages_without_a_package_name_it(tmp_path, monkeypatch):
    for name in ("compression.zstd", "backports.zstd", "zstandard", "pyzstd"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    bag = recorded(tmp_path / "bag", StoragePlugin.SQLITE3, CompressionMode.MESSAGE)
    with pytest.raises(BagError, match="is compressed with zstd; `pip install zstandard`"):
        stamps(bag)


def test_a_bag_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyError), BagWriter(tmp_path / "bag") as bag:
        bag.write("/nobody/declared/it", 1, b"")
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "bag")
    with pytest.raises(BagError, match="exists already"):
        BagWriter(tmp_path / "bag")
    assert os.listdir(tmp_path) == ["bag"] and sorted(os.listdir(tmp_path / "bag")) == ["bag_0.db3", "metadata.yaml"]
    (tmp_path / "file").touch()
    with pytest.raises(BagError, match="cannot write the bag .*/file/bag: Not a directory"):
        BagWriter(tmp_path / "file" / "bag")


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(BagError, match="cannot write the bag .*/bag: "), BagWriter(tmp_path / "bag") as bag:
            bag.add_topic("/image", IMAGE)
            for i in range(100):
                bag.write("/image", i, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "metadata.yaml").write_text("- 1"), "metadata.yaml is malformed"),
        (lambda f: (f / "metadata.yaml").write_text("[" * 5000), "metadata.yaml is malformed"),
        (lambda f: (f / "metadata.yaml").write_bytes(b"\xff\xfe\xff"), "metadata.yaml is malformed"),
        (lambda f: (f / "bag_0.db3").unlink(), "lacks its file bag_0.db3"),
        (lambda f: (f / "bag_0.db3").write_bytes(b"no database" * 200), "damaged or no bag file"),
        (lambda f: (f / "bag_0.db3").write_bytes((f / "bag_0.db3").read_bytes()[:9000]), "damaged or no bag file"),
        (lambda f: [p.unlink() for p in list(f.iterdir())], "is no bag"),
        (lambda f: ((f / "metadata.yaml").unlink(), (f / "bag_0.db3").rename(f / "x.mcap")), "no mcap file"),
    ],
)
def test_a_damaged_bag_is_one_sentence(tmp_path, damage, words):
    damage(write(tmp_path / "bag", count=200))
    with pytest.raises(BagError, match=words) as error:
        bag = open_bag(str(tmp_path / "bag"))
        list(bag.messages(list(bag.topics)))
    assert "\n" not in str(error.value)


def test_no_bag_at_all():
    with pytest.raises(BagError, match="no bag at '/no/such/bag'"):
        open_bag("/no/such/bag")
    assert not is_bag("/no/such/bag")


TOPICS = {
    "/front/image_raw": IMAGE,
    "/front/image_raw/compressed": "sensor_msgs/msg/CompressedImage",
    "/front/camera_info": "sensor_msgs/msg/CameraInfo",
    "/rear/camera_info": "sensor_msgs/msg/CameraInfo",
    "/vit_perception/debug_image": IMAGE,
    "/vit_perception/detections": DETECTIONS,
    "/odometry": "nav_msgs/msg/Odometry",
    "/mavros/odom": "nav_msgs/msg/Odometry",
    "/tf_static": "tf2_msgs/msg/TFMessage",
}


def test_inputs_of_the_node_are_found_among_a_bags_topics():
    assert "/vit_perception/debug_image" not in inputs(TOPICS) and "/vit_perception/detections" not in inputs(TOPICS)
    found = {"image_raw": "/front/image_raw", "camera_info": "/front/camera_info", "/tf_static": "/tf_static"}
    assert find_inputs(TOPICS, {}) == {**found, "odometry": "/odometry"}
    assert find_inputs(TOPICS, {"odometry": "/mavros/odom"}) == {**found, "odometry": "/mavros/odom"}
    only = find_inputs({"/cam/image": IMAGE}, {})
    assert only == {"image_raw": "/cam/image"}
    compressed = find_inputs({k: v for k, v in TOPICS.items() if k != "/front/image_raw"}, {})
    assert compressed["image_raw"] == "/front/image_raw/compressed"
    assert compressed["camera_info"] == "/front/camera_info"


@pytest.mark.parametrize(
    ("topics", "given", "words"),
    [
        ({"/odometry": "nav_msgs/msg/Odometry"}, {}, "holds no images; its topics: /odometry"),
        ({"/a/image_raw": IMAGE, "/b/image_raw": IMAGE}, {}, "several image topics.*: /a/image_raw, /b/image_raw"),
        (TOPICS, {"height": "/nowhere"}, "no topic /nowhere for height"),
        (TOPICS, {"image_raw": "/odometry"}, "/odometry holds no images but nav_msgs"),
    ],
)
def test_unclear_inputs_are_one_sentence(topics, given, words):
    with pytest.raises(BagError, match=words):
        find_inputs(topics, given)


def test_messages_are_decoded_and_damaged_ones_named(monkeypatch):
    data = serialize_message(image(3))
    assert stamp_of(data) == (103, 5)
    assert make_decoder()(data, IMAGE) == image(3)
    with pytest.raises(BagError, match="damaged: it has 3 bytes"):
        stamp_of(data[:3])
    with pytest.raises(BagError, match="no package is installed for messages of type nobody_msgs/msg/Thing"):
        make_decoder()(data, "nobody_msgs/msg/Thing")
    monkeypatch.setitem(__import__("sys").modules, "rclpy.serialization", None)  # a machine without ROS
    decode = make_decoder()
    assert decode(data, IMAGE).data.tolist() == [3, 1, 2, 3] and decode(data, IMAGE).header.frame_id == "nose"
    with pytest.raises(BagError, match="cannot be read"):
        decode(data[:20], IMAGE)
