"""Finds over real DDS: fix, odometry and height in, topics, service and files out; and what is told of bad inputs."""

import csv
import json
import math
import os
import resource
import signal
import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
pytest.importorskip("onnx", reason="onnx is not installed (make setup)")
odometry_type = pytest.importorskip("nav_msgs.msg", reason="nav_msgs is not installed (make setup)").Odometry

from flight import NAME, WIDTH, running, start, white_blocks  # noqa: E402
from sensor_msgs.msg import NavSatFix  # noqa: E402
from vision_msgs.msg import Detection3DArray  # noqa: E402

PERSON = white_blocks((4, 3))
HEIGHT_M, ORIGIN = 20.0, (47.4, 8.5)
# The middle of the white block, 64..80 x 48..64, of a camera of 100 px that looks 45 degrees down and east.
U, V = 72.0 - WIDTH / 2, 56.0 - 48.0
SET = {"height_source": "odometry", "finds.heading_source": "odometry", "obstacles.camera_pitch_deg": -45.0}


class Vehicle:
    """Hovers at ORIGIN, looks east, and tells so; tells(**) overwrites fields of the fix."""

    def __init__(self, client):
        self._client = client
        self._fix = client.node.create_publisher(NavSatFix, "fix", 10)
        self._odometry = client.node.create_publisher(odometry_type, "odometry", 10)
        client.listen(NAME + "/find", NavSatFix, 50)
        client.listen(NAME + "/finds", Detection3DArray)
        assert client.wait(lambda: self._fix.get_subscription_count() and self._odometry.get_subscription_count())
        assert client.wait(lambda: client.node.count_publishers(NAME + "/find") > 0)

    def tell(self, status=0, latitude=ORIGIN[0], longitude=ORIGIN[1], height=HEIGHT_M, w=1.0, ahead_s=0.0):
        now = self._client.node.get_clock().now().nanoseconds + int(1e9 * ahead_s)
        fix = NavSatFix(latitude=latitude, longitude=longitude, altitude=430.0)
        fix.status.status = status
        odometry = odometry_type()
        odometry.child_frame_id, odometry.header.frame_id = "base_link", "map"
        odometry.pose.pose.position.z, odometry.pose.pose.orientation.w = height, w
        for msg in (fix, odometry):
            msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(now, 10**9)
        self._fix.publish(fix)
        self._odometry.publish(odometry)

    def fly(self, seconds=2.5, image=PERSON, **told):
        self._client.fly(image, seconds, rate=15.0, each=lambda: self.tell(**told))

    def fly_until(self, condition, **told):
        """Whether it comes true within 10 s of flight."""
        return self._client.wait(lambda: condition() or self.fly(0.3, **told), 10.0)

    def is_found(self):
        """Whether a find was told of, and stands in the list."""
        lists = self._client.messages("finds")
        return bool(self._client.messages("find") and lists and lists[-1].detections)


def expected_place():
    """Metres east and north of the person's middle: the ray's meeting with 0.85 m above the ground."""
    s = math.sqrt(0.5)
    right, down, forward = U / 100.0, V / 100.0, 1.0
    east, up = s * forward - s * down, -s * forward - s * down
    reach = (0.85 - HEIGHT_M) / up
    return reach * east, -reach * right


def files_in(folder):
    """The flight's folder, once it is there."""
    flights = sorted(os.listdir(folder))
    assert len(flights) == 1, flights
    return os.path.join(folder, flights[0])


def test_a_person_becomes_a_find_on_the_topics_in_the_service_and_in_the_files(client, bundle, log, tmp_path):
    options = {"finds.folder": str(tmp_path / "finds"), "finds.write_every_s": 0.5, **SET}
    with running("node", log, model=bundle, **options):
        client.connect()
        vehicle = Vehicle(client)
        client.calibrate()
        vehicle.fly()
        east, north = expected_place()
        assert vehicle.fly_until(vehicle.is_found)
        found = client.messages("finds")[-1]
        assert found.header.frame_id == "map" and len(found.detections) == 1
        result = found.detections[0].results[0]
        place = result.pose.pose.position
        assert (place.x, place.y) == (pytest.approx(east, abs=0.5), pytest.approx(north, abs=0.5))
        assert result.hypothesis.class_id == "person" and result.pose.covariance[0] > 0.5
        fix = client.messages("find")[-1]
        assert fix.latitude == pytest.approx(ORIGIN[0] + north / 111190, abs=1e-5)
        assert fix.longitude == pytest.approx(ORIGIN[1] + east / 75430, abs=1e-5)
        assert fix.altitude == pytest.approx(410.0) and fix.position_covariance_type == NavSatFix.COVARIANCE_TYPE_KNOWN
        assert fix.position_covariance[0] == pytest.approx(result.pose.covariance[0], rel=0.3)
        vehicle.fly(0.2)
        answer = client.ask(NAME + "/write_finds")
        told = json.loads(answer.message)
        assert answer.success and len(told["finds"]) == 1 and told["finds"][0]["label"] == "person"
        with open(os.path.join(told["folder"], "finds.csv"), newline="") as f:
            (row,) = csv.DictReader(f)
        assert float(row["latitude"]) == pytest.approx(fix.latitude, abs=1e-5) and row["state"] == "confirmed"
        values = client.diagnostics(PERSON)[2]
        assert values["finds"] == "1 confirmed, 1 in all"
        assert "finds 1" in values["subscribers"] and "find 1" in values["subscribers"]
    with open(os.path.join(files_in(tmp_path / "finds"), "finds.html")) as f:
        assert "data:image/jpeg;base64," in f.read()


@pytest.mark.parametrize(
    ("options", "told", "words"),
    [
        ({"finds.heading_source": "none"}, {}, "finds.heading_source is none: no finds without it"),
        ({"height_source": "none"}, {}, "height_source is none: no finds without it"),
        ({}, {"status": -2}, "status.status in fix is -2: its publisher does not say whether it has a fix"),
        ({}, {"status": -1}, "the receiver has no fix: no finds until it has one"),
        ({}, {"latitude": 0.0, "longitude": 0.0}, "exactly 0, as receivers say without a position"),
        ({}, {"latitude": 90.0}, "latitude 90.000 is too near a pole"),
        ({}, {"w": 0.0}, "the orientation that came is no rotation"),
        ({}, {"height": -1.0}, "the height above ground is not known"),
        ({}, {"height": 0.0}, "the height above ground is not known"),
        ({}, {"ahead_s": 5.0}, "image stamps are 5.0 s behind the vehicle's"),
        ({}, {"ahead_s": -5.0}, "s ahead of the vehicle's: synchronise the clocks"),
    ],
)
def test_what_is_missing_or_wrong_is_said_once_and_makes_no_find(client, bundle, log, tmp_path, options, told, words):
    with running("node", log, model=bundle, **{**SET, "finds.folder": str(tmp_path), **options}):
        client.connect()
        vehicle = Vehicle(client)
        client.calibrate()
        vehicle.fly(1.2, **told)
        scans = lambda: len(client.messages("obstacle_scan"))  # noqa: E731
        assert vehicle.fly_until(lambda: scans() > 5 and words in log.read_text(), **told), "the flight goes on"
        assert client.messages("find") == [] and not any(m.detections for m in client.messages("finds"))
        lines = [line for line in log.read_text().splitlines() if words in line]
        assert len(lines) == 1, log.read_text()


def test_a_jump_is_not_believed_at_once_and_the_flight_goes_on_across_the_date_line(client, bundle, log, tmp_path):
    with running("node", log, model=bundle, **{**SET, "finds.folder": str(tmp_path)}):
        client.connect()
        vehicle = Vehicle(client)
        client.calibrate()
        vehicle.fly(1.5, longitude=179.99999)
        vehicle.fly(0.1, longitude=179.9)  # 7.5 km in a tenth of a second, once or twice
        vehicle.fly(1.5, longitude=-179.99999)  # 1.5 m on
        assert vehicle.fly_until(lambda: len(client.messages("find")) > 1 and vehicle.is_found(), longitude=-179.99999)
        assert all(abs(abs(m.longitude) - 180.0) < 1e-3 for m in client.messages("find"))
        lines = [line for line in log.read_text().splitlines() if "jumped" in line]
        assert len(lines) == 1 and "it is not believed until three agree" in lines[0]
        assert len(client.messages("finds")[-1].detections) == 1


def test_a_search_area_that_crosses_itself_ends_the_start_with_one_sentence(bundle, log, tmp_path):
    corners = [[8.5, 47.4], [8.51, 47.41], [8.51, 47.4], [8.5, 47.41], [8.5, 47.4]]
    (tmp_path / "area.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [corners]}))
    process = start("node", log, model=bundle, **{"finds.area": str(tmp_path / "area.geojson")})
    assert process.wait(30) == 1
    assert log.read_text().count("crosses itself; draw it anew") == 1 and "Traceback" not in log.read_text()


def test_a_disk_that_fills_in_flight_loses_nothing_that_was_written(client, bundle, log, tmp_path):
    """The limit of a file's size stands for a full disk: the same write fails at the same place."""
    with running("node", log, model=bundle, **{**SET, "finds.folder": str(tmp_path / "f")}) as process:
        client.connect()
        vehicle = Vehicle(client)
        client.calibrate()
        vehicle.fly()
        assert vehicle.fly_until(vehicle.is_found)
        folder = json.loads(client.ask(NAME + "/write_finds").message)["folder"]
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (8000, resource.RLIM_INFINITY))
        vehicle.fly(0.5)
        answer = client.ask(NAME + "/write_finds")
        assert (
            not answer.success and "File too large; the flight goes on, and what was written before" in answer.message
        )
        with open(os.path.join(folder, "finds.html")) as f:
            assert f.read().endswith("</html>\n")
        scans = len(client.messages("obstacle_scan"))
        assert vehicle.fly_until(lambda: len(client.messages("obstacle_scan")) > scans), "the flight goes on"
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert client.ask(NAME + "/write_finds").success and not [n for n in os.listdir(folder) if n.endswith(".tmp")]


def test_a_folder_that_cannot_be_made_is_one_sentence_and_the_flight_goes_on(client, bundle, log, tmp_path):
    (tmp_path / "file").write_text("in the way")
    options = {"finds.folder": str(tmp_path / "file" / "finds"), "finds.write_every_s": 0.5, **SET}
    with running("node", log, model=bundle, **options):
        client.connect()
        vehicle = Vehicle(client)
        client.calibrate()
        vehicle.fly()
        said = lambda: "Not a directory; the flight goes on" in log.read_text()  # noqa: E731
        assert vehicle.fly_until(lambda: said() and vehicle.is_found() and len(client.messages("obstacle_scan")) > 5)
        assert log.read_text().count("Not a directory; the flight goes on") == 1


def test_nothing_is_said_where_no_position_comes(client, bundle, log, tmp_path):
    with running("node", log, model=bundle, **{"finds.folder": str(tmp_path / "finds")}):
        client.connect()
        client.calibrate()
        client.fly(PERSON, 0.5)
        answer = client.ask(NAME + "/write_finds")
        assert not answer.success and answer.message == "no finds yet: no position has come"
    assert "find" not in log.read_text() and not (tmp_path / "finds").exists()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_node_that_is_ended_in_flight_leaves_whole_files(client, bundle, log, tmp_path, end):
    options = {"finds.folder": str(tmp_path / "finds"), "finds.write_every_s": 0.5, **SET}
    process = start("node", log, model=bundle, **options)
    try:
        client.connect()
        vehicle = Vehicle(client)
        client.calibrate()
        vehicle.fly(2.0)
        written = lambda: any('"Point"' in p.read_text() for p in tmp_path.glob("finds/*/finds.geojson"))  # noqa: E731
        assert vehicle.fly_until(written)
        vehicle.fly(1.5)
        process.send_signal(end)
        ended = time.time()
        assert process.wait(10) == (0 if end == signal.SIGINT else -signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    folder = files_in(tmp_path / "finds")
    with open(os.path.join(folder, "finds.geojson")) as f:
        points = [p for p in json.load(f)["features"] if p["geometry"]["type"] == "Point"]
    assert len(points) == 1 and os.path.isfile(os.path.join(folder, points[0]["properties"]["picture"]))
    with open(os.path.join(folder, "finds.html")) as f:
        assert f.read().endswith("</html>\n")
    age = ended - os.path.getmtime(os.path.join(folder, "finds.geojson"))
    assert age < 3.0, "0.5 s, and what a busy machine takes"
