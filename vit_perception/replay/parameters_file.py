"""A ROS 2 parameter file (config/drone.yaml) read without ROS, as strictly as the node reads it."""

from typing import Any, Dict

import yaml

from ..errors import PerceptionError
from ..parameters import EVALUATED, SPECS, check, renamed

_NAMES = {bool: "true or false", int: "whole number", float: "number with a point", str: "text", list: "list"}
NODES = ("/**", "vit_perception", "/vit_perception", "/**/vit_perception")


def read(path, defaults):
    """`defaults` with what the file says of the node laid over them.

    Args:
        path: of the file. defaults: {name: value} of all parameters, as `parameters.defaults` returns them.

    Returns:
        (values, unknown): {name: value}, and the names in the file that are no parameters of the node.

    Raises:
        PerceptionError: the file cannot be read, holds nothing of the node, or a value has the wrong type, or is out
            of its range.
    """
    try:
        with open(path) as f:
            content = yaml.safe_load(f) or {}
        if not isinstance(content, dict):
            raise AttributeError("it holds no names and values")
        found: Dict[str, Any] = {}
        for node in NODES:
            _flatten((content.get(node) or {}).get("ros__parameters") or {}, "", found)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, AttributeError) as e:
        raise PerceptionError("cannot read the parameters in {}: {}".format(path, " ".join(str(e).split()))) from None
    if content and not found and not any(node in content for node in NODES):  # what is empty changes nothing
        text = "{} sets no parameter of the node: write them under /**:, ros__parameters:, as config/drone.yaml does"
        raise PerceptionError(text.format(path))
    problem = renamed(found)
    if problem:
        raise PerceptionError("{}: {}".format(path, problem))
    known = {n: v for n, v in found.items() if n in defaults}
    return overlay(defaults, known, path), sorted(set(found) - set(defaults))


def overlay(defaults, changes, source):
    """{name: value} of `defaults` changed by `changes`, checked. Raises PerceptionError naming `source`."""
    specs = {s.name: s for s in SPECS + EVALUATED}
    values = dict(defaults)
    for name, value in changes.items():
        _check_type(name, value, defaults[name], source)
        spec = specs[name]
        if spec.low is not None and not isinstance(value, list) and not spec.low <= value <= spec.high:
            text = "{}: {} is {}, but must be from {} to {}"
            raise PerceptionError(text.format(source, name, value, spec.low, spec.high))
        values[name] = value
    problem = check(values)
    if problem:
        raise PerceptionError("{}: {}".format(source, problem))
    return values


def _check_type(name, value, default, source):
    fits = type(value) is type(default)  # as rclpy: 1 is no double, and true no integer
    wanted = _NAMES[type(default)]
    if fits and isinstance(default, list) and default:
        fits = all(type(v) is type(default[0]) for v in value)
        wanted = "list, of which each is a " + _NAMES[type(default[0])]
    if not fits:
        raise PerceptionError("{}: {} is {!r}, but must be a {}".format(source, name, value, wanted))


def _flatten(tree, prefix, found):
    for name, value in tree.items():
        if isinstance(value, dict):
            _flatten(value, "{}{}.".format(prefix, name), found)
        else:
            found["{}{}".format(prefix, name)] = value
