"""The launch files: parse for old Pythons, agree with each other, and describe what they should where `launch` is."""

import ast
import importlib.util
import runpy
import sys
from pathlib import Path
from unittest.mock import MagicMock
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "launch"
FILES = sorted(LAUNCH.glob("*.launch.py"))


def constant(name, file="drone.launch.py"):
    """A literal of a launch file, read without importing it."""
    for node in ast.parse((LAUNCH / file).read_text(), feature_version=(3, 6)).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == name:
            return ast.literal_eval(strip_names(node.value))
    raise AssertionError(f"no {name} in {file}")


def strip_names(tree):
    """The tree with the module's own constants in place of their names."""

    class Names(ast.NodeTransformer):
        def visit_Name(self, node):
            return ast.parse(repr(constant(node.id)), mode="eval").body

    return Names().visit(tree)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_parses_as_python_3_6_and_has_the_entry_point(path):
    tree = ast.parse(path.read_text(), filename=str(path), feature_version=(3, 6))
    compile(tree, str(path), "exec")
    assert "generate_launch_description" in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    assert ast.get_docstring(tree), "tells how to run it"


@pytest.mark.parametrize("file", ["drone.launch.py", "replay.launch.py"])
def test_arguments_are_described_once_and_their_defaults_are_choices(file):
    arguments = constant("ARGUMENTS", file)
    names = [name for name, _, _, _ in arguments]
    assert len(names) == len(set(names))
    assert all(text for _, _, _, text in arguments)
    assert [name for name, default, choices, _ in arguments if choices and default not in choices] == []


def test_replay_adds_arguments_and_takes_none_of_the_nodes():
    replay = {name for name, _, _, _ in constant("ARGUMENTS", "replay.launch.py")}
    assert replay & {name for name, _, _, _ in constant("ARGUMENTS")} == set()


def test_what_flight_stacks_imply_are_arguments_that_are_otherwise_empty():
    defaults = {name: default for name, default, _, _ in constant("ARGUMENTS")}
    stacks = constant("FLIGHT_STACKS")
    assert tuple(stacks) == next(choices for name, _, choices, _ in constant("ARGUMENTS") if name == "flight_stack")
    implied = {name for stack in stacks.values() for name in stack}
    assert {defaults[name] for name in implied} == {""}
    topics = {name for name in implied if name.endswith("_topic")}
    assert all(topics <= set(stack) for stack in stacks.values()), "a topic would stay empty"


def test_parameters_that_arguments_set_are_parameters_of_the_node():
    parameters = pytest.importorskip("vit_perception.parameters")
    known = {spec.name for spec in parameters.SPECS} | {"use_sim_time"}
    names = {name for name, _, _, _ in constant("ARGUMENTS")}
    overrides = {*constant("TEXTS"), *constant("SWITCHES"), "threads"}
    assert overrides <= names and overrides <= known


@pytest.mark.parametrize("file", ["drone.launch.py", "replay.launch.py"])
def test_arguments_are_documented(file):
    text = (ROOT / "docs" / "launch.md").read_text()
    assert [name for name, _, _, _ in constant("ARGUMENTS", file) if f"`{name}`" not in text] == []


def test_named_files_are_there():
    defaults = {name: default for name, default, _, _ in constant("ARGUMENTS")}
    assert (ROOT / defaults["params_file"].replace("{share}/", "")).is_file()
    cameras = yaml.safe_load((ROOT / "config" / "cameras.yaml").read_text())
    known = {name for name, _, _, _ in constant("ARGUMENTS")}
    assert len(cameras) > 1 and all(set(arguments) <= known for arguments in cameras.values())


@pytest.mark.parametrize("name", ["fastdds_images.xml", "fastdds_loopback.xml"])
def test_dds_profiles_hold_images(name):
    """Three images of 1280x720 rgb8 must fit, and the profile must be the default one, or it is not used."""
    root = ElementTree.parse(ROOT / "config" / name).getroot()
    space = "{" + root.tag[1:].partition("}")[0] + "}"
    assert [p.get("is_default_profile") for p in root.iter(space + "participant")] == ["true"]
    assert int(root.find(f".//{space}segment_size").text) >= 3 * 1280 * 720 * 3
    described = {e.text for e in root.iterfind(f".//{space}transport_descriptor/{space}transport_id")}
    used = {e.text for e in root.iterfind(f".//{space}userTransports/{space}transport_id")}
    assert described == used


def nodes(file, monkeypatch, found=None, missing=None, **arguments):
    """The nodes that a launch file starts, as {name: (executable, parameters, remappings, environment)}, in `found`."""
    found = {} if found is None else found
    launch = pytest.importorskip("launch", reason="the package launch is not installed")
    pytest.importorskip("launch_ros", reason="the package launch_ros is not installed")
    import ament_index_python.packages as index
    from launch.launch_description_sources import get_launch_description_from_python_launch_file
    from launch_ros.actions import Node

    def share(name):
        if name == missing:
            raise index.PackageNotFoundError(name)
        return str(ROOT)

    monkeypatch.setattr(index, "get_package_share_directory", share)
    context = launch.LaunchContext()
    context.launch_configurations.update(arguments)
    queue = [get_launch_description_from_python_launch_file(str(LAUNCH / file))]
    while queue:
        entity = queue.pop(0)
        if isinstance(entity, Node):
            entity._perform_substitutions(context)
            parameters = {}
            for path, is_file in entity._Node__expanded_parameter_arguments or []:
                text = yaml.safe_load(Path(path).read_text()) if is_file else {}
                for scope in text.values():
                    parameters.update(scope["ros__parameters"])
            remappings = dict(entity.expanded_remapping_rules or [])
            environment = {key[0].text: value[0].text for key, value in entity.additional_env or []}
            kind = (entity.node_package, entity.node_executable)
            found[entity.node_name] = (kind, parameters, remappings, environment)
        else:
            queue = (entity.visit(context) or []) + queue
    return found


def test_flight_stack_sets_topics_and_what_is_set_wins(monkeypatch):
    def node(**arguments):
        return nodes("drone.launch.py", monkeypatch, **arguments)["/vit_perception"]

    kind, parameters, remappings, environment = node()
    assert kind == ("vit_perception", "vit_perception") and environment == {}
    assert remappings["obstacle_scan"] == "obstacle_scan" and parameters["autostart"] is True
    _, parameters, remappings, _ = node(flight_stack="mavros_px4", twist_topic="/my/twist", image_topic="/cam/image")
    assert parameters["publish_mavros"] is True and parameters["publish_px4"] is False
    assert remappings["obstacle_scan"] == "/mavros/obstacle/send" and remappings["twist"] == "/my/twist"
    assert remappings["odometry"] == "/mavros/local_position/odom" and remappings["image_raw"] == "/cam/image"
    _, parameters, _, environment = node(flight_stack="px4", publish_px4="false", threads="2", loopback_only="true")
    assert parameters["publish_px4"] is False and parameters["threads"] == 2
    assert "LOCALHOST" in environment.values() or "1" in environment.values()
    profile = str(ROOT / "config" / "fastdds_images.xml")
    assert set(node(dds_profile=profile)[3].values()) == {profile}


def test_ardupilot_gets_a_blocked_scan_and_a_guard_and_px4_silence(monkeypatch):
    """What stops the one lets the other fly on; what is set wins."""
    for stack, on_stale, beside in (
        ("none", "silent", set()), ("px4", "silent", set()), ("mavros_px4", "silent", set()),
        ("ardupilot", "blocked", {"/guard"}), ("mavlink", "blocked", {"/guard", "/mavlink"}),
    ):  # fmt: skip
        found = nodes("drone.launch.py", monkeypatch, flight_stack=stack)
        assert set(found) - {"/vit_perception"} == beside
        assert {f[1]["on_stale"] for f in found.values()} == {on_stale}
        topics = {f[2]["obstacle_scan"] for f in found.values()}
        assert len(topics) == 1, "the guard hears and speaks where the node speaks"
    assert found["/mavlink"][1]["mavlink_url"] == "udpout:127.0.0.1:14551"
    found = nodes("drone.launch.py", monkeypatch, flight_stack="ardupilot", on_stale="silent", guard="false")
    assert set(found) == {"/vit_perception"} and found["/vit_perception"][1]["on_stale"] == "silent"
    found = nodes("drone.launch.py", monkeypatch, flight_stack="ardupilot", publish_mavros="false")
    assert {f[2]["state"] for f in found.values()} == {"/mavros/state"}, "who is armed is no matter of texts"


def test_a_link_without_pymavlink_is_refused_before_anything_starts(monkeypatch):
    """Stand-ins for the packages of launch, of which this needs nothing; what is refused is told in one sentence."""
    names = ("launch", "launch.actions", "launch.substitutions", "launch_ros.actions", "ament_index_python.packages")
    for name in names:
        monkeypatch.setitem(sys.modules, name, MagicMock())
    check = runpy.run_path(str(LAUNCH / "drone.launch.py"))["check"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pymavlink" else object())
    check({"flight_stack": "ardupilot"})
    with pytest.raises(RuntimeError, match="pip install pymavlink"):
        check({"flight_stack": "mavlink"})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    check({"flight_stack": "mavlink"})


@pytest.mark.parametrize("camera, prefix", [("v4l2_camera", ""), ("gscam", "camera/")])
def test_camera_driver_publishes_what_the_node_subscribes(monkeypatch, camera, prefix):
    arguments = {"camera": camera, "namespace": "nose", "image_topic": "image_raw", "video_device": "/dev/video7"}
    found = nodes("drone.launch.py", monkeypatch, frame_id="nose_optical", **arguments)
    assert sorted(found) == ["/nose/camera", "/nose/vit_perception"]
    kind, parameters, remappings, _ = found["/nose/camera"]
    assert kind == (camera, camera + "_node") and "nose_optical" in parameters.values()
    assert any("/dev/video7" in str(value) for value in parameters.values())
    for topic in ("image_raw", "camera_info"):
        assert remappings[prefix + topic] == found["/nose/vit_perception"][2][topic]


def test_multi_camera_starts_each_under_its_namespace(monkeypatch):
    found = nodes("multi_camera.launch.py", monkeypatch, flight_stack="mavros_px4", model="uav_thermal_tiny")
    assert set(found) == {f"/{ns}/{name}" for ns in ("front", "down") for name in ("camera", "vit_perception")}
    front, down = found["/front/vit_perception"], found["/down/vit_perception"]
    assert front[1]["model"] == down[1]["model"] == "uav_thermal_tiny"
    assert front[2]["obstacle_scan"] == "/mavros/obstacle/send", "one camera feeds the autopilot ..."
    assert down[2]["obstacle_scan"] == "obstacle_scan" and "/dev/video2" in found["/down/camera"][1].values()


def test_replay_plays_what_the_node_subscribes(monkeypatch, tmp_path):
    found = nodes("replay.launch.py", monkeypatch, folder=str(tmp_path), every_image="true", namespace="a")
    (kind, parameters, remappings, _), node = found["/a/player"], found["/a/vit_perception"]
    assert kind == ("vit_perception", "player") and parameters["folder"] == str(tmp_path)
    assert parameters["reliable"] is True and parameters["lockstep_topic"] == "vit_perception/detections"
    assert node[1]["reliable_input"] is True and remappings["image_raw"] == node[2]["image_raw"]


@pytest.mark.parametrize(
    "file, arguments, sentence",
    [
        ("drone.launch.py", {"flight_stack": "inav"}, "none.*px4.*mavros_px4.*ardupilot.*mavlink"),
        ("drone.launch.py", {"flight_stack": "mavros"}, "mavros_px4 or ardupilot now"),
        ("drone.launch.py", {"threads": "many"}, "threads is 'many', but must be a whole number"),
        ("drone.launch.py", {"dds_profile": "/no/such"}, "dds_profile: no file '/no/such'"),
        ("drone.launch.py", {"params_file": "drone.yml"}, "params_file: no file 'drone.yml'"),
        ("multi_camera.launch.py", {"cameras_file": ""}, "must hold 'namespace: "),
        (
            "multi_camera.launch.py",
            {"cameras_file": "a: {}\nb: {camera: canon}"},
            "camera is 'canon', but must be one of",
        ),
        (
            "multi_camera.launch.py",
            {"cameras_file": "a: {}\nb: {camera: gscam}", "missing": "gscam"},
            "gscam is not installed",
        ),
        ("multi_camera.launch.py", {"cameras_file": "a: {}\nb: {devise: /dev/video2}"}, "no argument 'devise'; it has"),
        ("replay.launch.py", {}, "exactly one of folder:=, video:= and bag:=; given: none"),
        ("replay.launch.py", {"folder": "a", "bag": "b"}, "given: folder and bag"),
        ("replay.launch.py", {"folder": "a", "fps": "fast"}, "fps is 'fast', but must be a number"),
    ],
)
def test_wrong_values_are_refused_in_one_sentence(monkeypatch, tmp_path, file, arguments, sentence):
    pytest.importorskip("launch_ros", reason="the package launch_ros is not installed")
    if "cameras_file" in arguments:
        (tmp_path / "cameras.yaml").write_text(arguments["cameras_file"])
        arguments = dict(arguments, cameras_file=str(tmp_path / "cameras.yaml"))
    started = {}
    with pytest.raises(RuntimeError, match=sentence):
        nodes(file, monkeypatch, started, **arguments)
    assert started == {}, "launch would leave it behind"
