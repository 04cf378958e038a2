"""The table of parameters agrees with drone.yaml, with the parts' defaults and with what rclpy enforces."""

import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from vit_perception import parameters
from vit_perception.avoidance.alerts import AlertPolicy
from vit_perception.avoidance.corridor import Corridor
from vit_perception.avoidance.memory import Memory
from vit_perception.avoidance.obstacles import ObstacleEstimator
from vit_perception.errors import PerceptionError
from vit_perception.motion_obstacles.watcher import MotionObstacles
from vit_perception.pipeline import Pipeline
from vit_perception.replay import parameters_file
from vit_perception.tracking.tracker import Tracker

ROOT = Path(__file__).resolve().parents[2]
ALL = parameters.EVALUATED + parameters.SPECS
VALUES = {s.name: 0.5 if s.default is None else s.default for s in ALL}


def flatten(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, prefix + key + ".")
        else:
            yield prefix + key, value


def test_every_parameter_is_described_and_its_default_is_in_range():
    assert len({s.name for s in ALL}) == len(ALL)
    for s in ALL:
        assert s.description
        if s.low is not None and s.default is not None:
            for value in s.default if isinstance(s.default, list) else [s.default]:
                assert s.low <= value <= s.high, s.name
    assert parameters.check(VALUES) == ""


def test_drone_yaml_has_every_parameter_with_its_default():
    tree = yaml.safe_load((ROOT / "config" / "drone.yaml").read_text())["/**"]["ros__parameters"]
    given = dict(flatten(tree))
    assert given == {s.name: s.default for s in parameters.SPECS}
    for name, value in given.items():
        assert type(value) is type(VALUES[name]), name  # ROS refuses 1 where it wants 1.0


def test_defaults_agree_with_the_parts():
    parts = {
        "tracker": Tracker,
        "obstacles": ObstacleEstimator,
        "memory": Memory,
        "corridor": Corridor,
        "alerts": AlertPolicy,
        "motion_obstacles": MotionObstacles,
    }
    pipeline = Pipeline(SimpleNamespace(score_threshold=0.5))
    for s in parameters.SPECS:
        part, _, name = s.name.rpartition(".")
        if part in parts and name in inspect.signature(parts[part]).parameters:
            assert getattr(getattr(pipeline, part), name) == s.default, s.name
    for name in ("publish_clear", "range_min_m", "range_max_m", "camera_motion", "max_height_difference_m"):
        assert getattr(pipeline, name) == VALUES[name]


def test_a_bundle_names_how_deep_images_become_8_bits():
    limits = {"score": 0.5, "nms_iou": 0.5, "max_detections": 100}
    for named, expected in (({}, 65535.0), ({"scaling": "fixed", "min": 7000, "max": 9000}, 9000.0)):
        bundle = SimpleNamespace(thresholds=limits, input={"high_bit_depth": named} if named else {})
        values = parameters.defaults(bundle)
        assert values["high_bit_depth.scaling"] == named.get("scaling", "percentile")
        assert values["high_bit_depth.max"] == expected and isinstance(values["high_bit_depth.max"], float)
        assert parameters.check(values) == ""
    assert parameters.check({s.name: s.default for s in parameters.SPECS}) == ""  # before a bundle is open


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"range_min_m": 5.0, "range_max_m": 4.0}, "range_min_m (5.0) must not exceed range_max_m (4.0)"),
        ({"alerts.error_ttc_s": 9.0}, "alerts.error_ttc_s (9.0) must not exceed"),
        ({"alerts.error_range_m": 9.0}, "alerts.error_range_m (9.0) must not exceed"),
        ({"alerts.error_lead_s": 9.0}, "alerts.error_lead_s (9.0) must not exceed"),
        (
            {"high_bit_depth.low_percent": 99.0},
            "high_bit_depth.low_percent (99.0) must be less than high_bit_depth.high_percent (99.0)",
        ),
        ({"high_bit_depth.max": 0.0}, "high_bit_depth.min (0.0) must be less than high_bit_depth.max (0.0)"),
        ({"high_bit_depth.scaling": "log"}, "high_bit_depth.scaling (log) must be one of percentile, fixed"),
        ({"image_transport": "theora"}, "image_transport (theora) must be one of raw, compressed"),
        ({"height_source": "gps"}, "height_source (gps) must be one of none, odometry, pose, range"),
        ({"obstacles.classes": ["person"]}, "1, 3, 3 entries"),
        ({"obstacles.heights_m": [1.0, -1.0, 1.0]}, "numbers from 0.01"),
    ],
)
def test_values_that_contradict_each_other(changes, words):
    assert words in parameters.check({**VALUES, **changes})


def test_a_threshold_that_is_off_contradicts_nothing():
    assert parameters.check({**VALUES, "alerts.warn_ttc_s": 0.0, "alerts.error_ttc_s": 2.0}) == ""
    assert parameters.check({**VALUES, "alerts.error_range_m": 0.0}) == ""


def test_a_name_of_an_earlier_release_is_refused_with_the_new_one(ros_context, tmp_path):
    import rclpy
    from rclpy.parameter import Parameter

    from vit_perception.ros.node_parameters import declare

    sentence = "deep.max is called high_bit_depth.max now"
    old = [Parameter("deep.max", value=9.0)]
    node = rclpy.create_node("old_names", context=ros_context, parameter_overrides=old)
    with pytest.raises(PerceptionError, match=sentence):
        declare(node, parameters.SPECS)
    node.destroy_node()
    path = tmp_path / "old.yaml"
    path.write_text("/**:\n  ros__parameters:\n    deep: {max: 9.0}\n")
    with pytest.raises(PerceptionError, match=sentence):
        parameters_file.read(path, VALUES)


@pytest.mark.parametrize(
    "text",
    ["invert_image: true\n", "ros__parameters: {invert_image: true}\n", "/camera:\n  ros__parameters: {gain: 1.0}\n"],
)
def test_a_file_that_sets_nothing_of_the_node_is_refused(tmp_path, text):
    path = tmp_path / "flat.yaml"
    path.write_text(text)
    with pytest.raises(PerceptionError, match=r"flat\.yaml sets no parameter of the node: write them under /\*\*:"):
        parameters_file.read(path, VALUES)
    path.write_text("# nothing is changed\n")
    assert parameters_file.read(path, VALUES) == (VALUES, [])
    path.write_text("/**:\n  ros__parameters:\n    # invert_image: true\n")
    assert parameters_file.read(path, VALUES) == (VALUES, [])


def test_rclpy_enforces_the_table(ros_context):
    import rclpy
    from rclpy.parameter import Parameter

    from vit_perception.ros.node_parameters import declare, watch

    node = rclpy.create_node("parameters", context=ros_context)
    values = declare(node, ALL, {"score_threshold": 0.3, "weak_score": 0.2, "nms_iou": 0.6})
    applied = {}
    watch(node, values, parameters.check, applied.update)

    def change(**named):
        pairs = [Parameter(k.replace("__", "."), value=v) for k, v in named.items()]
        return node.set_parameters_atomically(pairs)

    assert values["score_threshold"] == 0.3
    assert change(score_threshold=0.7).successful
    assert applied == {"score_threshold": 0.7} == {"score_threshold": values["score_threshold"]}
    for bad in (
        {"score_threshold": 1.2},
        {"score_threshold": float("nan")},
        {"score_threshold": 1},
        {"scan_frame": "other"},
        {"alerts__trigger_count": 0},
        {"alerts__error_ttc_s": 5.0},
        {"publish_clear": True, "alerts__error_ttc_s": 5.0},  # all or nothing
    ):
        result = change(**bad)
        assert not result.successful and result.reason
    assert applied == {"score_threshold": 0.7} and values["publish_clear"] is False
    assert change(alerts__error_ttc_s=5.0, alerts__warn_ttc_s=6.0).successful  # a pair that holds together
    node.destroy_node()
