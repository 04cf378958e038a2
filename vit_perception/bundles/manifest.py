"""Checks bundle.json. The file comes from elsewhere, so nothing in it is used before it is checked."""

import json
import math
import os
import re
import stat

from ..images import high_bit_depth, look

DETECT, SEGMENT, BOTH = TASKS = ("detect", "segment", "both")
REQUIRED = {
    DETECT: ("name", "labels", "input", "head", "thresholds", "files"),
    SEGMENT: ("name", "labels", "input", "segmentation", "files"),
    BOTH: ("name", "labels", "input", "head", "thresholds", "segmentation", "files"),
}
FORMAT_VERSION = 1  # of a bundle that only detects
SEGMENTATION_VERSION = 2  # of one that segments, which a reader of format 1 must refuse
CHANNELS = {"gray": 1, "rgb": 3}
MAX_SIDE, MAX_PIXELS = 8192, 1 << 23  # of the model's input; 4K is 8.3 million, and a float batch of it 100 MB
MAX_LABELS, MAX_FILES, MAX_LAYERS, MAX_TEXT = 1000, 32, 100000, 200
MAX_MASK_LABELS = 255  # a mask has a byte for each pixel, and one value of it is for what has no label
MASK_STRIDES = (4, 8)
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+ -]*\Z")
_TYPES = (
    ("labels", list, "a list"),
    ("input", dict, "an object"),
    ("head", dict, "an object"),
    ("thresholds", dict, "an object"),
    ("files", dict, "an object"),
    ("segmentation", dict, "an object"),
    ("object_px", dict, "an object"),
    ("metrics", list, "a list"),
    ("made", dict, "an object"),
    ("fp32_layers", list, "a list"),
    ("fp16_refused", str, "a text"),
)


def read_regular(path, largest):
    """Bytes of a regular file. A FIFO or a device in its place neither hangs the reader nor feeds it for ever.

    Raises:
        OSError: it cannot be read. ValueError: it is no regular file, or has more than `largest` bytes.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as f:
        info = os.fstat(f.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise ValueError("it is no regular file")
        data = f.read(largest + 1) if info.st_size <= largest else None
    if data is None or len(data) > largest:
        raise ValueError("it has more than {} bytes".format(largest))
    return data


def parse_json(data):
    """Value of JSON bytes. Raises ValueError: not UTF-8, not JSON, numbers without a value, names given twice."""
    try:
        return json.loads(
            data.decode("utf-8"),
            parse_constant=_refuse_number,
            parse_int=_parse_int,
            parse_float=_parse_float,
            object_pairs_hook=_unique,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_number(text):
    raise ValueError("{} is no number".format(text[:40]))


def _parse_int(text):
    return int(text) if len(text) < 20 else _refuse_number(text)  # older Pythons take minutes for a million digits


def _parse_float(text):
    value = float(text)
    return value if math.isfinite(value) else _refuse_number(text)


def _unique(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice in one object")
    return found


def is_whole(value, low, high):
    """Whether it is a whole number in the range; True and False are none."""
    return type(value) is int and low <= value <= high


def is_number(value, low, high):
    """Whether it is a number in the range; True and False are none."""
    return type(value) in (int, float) and low <= value <= high


def is_text(value):
    """Whether it is a text that can be printed, in one short line."""
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable()


def is_plain_name(name):
    """Whether it names a file in the very folder, on any system."""
    return isinstance(name, str) and len(name) <= MAX_TEXT and _PLAIN_NAME.match(name) is not None


def task_of(manifest):
    """DETECT, SEGMENT or BOTH; what is none of them is DETECT here, and a problem in `find_problem`."""
    task = manifest.get("task", DETECT)
    return task if task in TASKS else DETECT


def missing_keys(manifest):
    """The keys that a manifest of its task lacks."""
    return [key for key in REQUIRED[task_of(manifest)] if key not in manifest]


def find_problem(manifest):
    """What of a manifest that lacks no key (`missing_keys`) cannot be used: a few words, or ''.

    Detector and segmenter rely on every field that is checked here; without, flying it would fail later and less
    clearly.
    """
    if manifest.get("task", DETECT) not in TASKS:
        return "task must be one of: {}".format(", ".join(TASKS))
    for key, kind, word in _TYPES:
        if key in manifest and not isinstance(manifest[key], kind):
            return "{} must be {}".format(key, word)
    if not is_text(manifest["name"]):
        return "name must be a short text"
    checks = (_task(manifest), _input(manifest["input"]), _files(manifest["files"]))
    for problem in checks:
        if problem:
            return problem
    layers = manifest.get("fp32_layers", [])
    if len(layers) > MAX_LAYERS or not all(isinstance(layer, str) for layer in layers):
        return "fp32_layers must be names of nodes"
    task, size = task_of(manifest), manifest["input"]
    problem = _sizes(manifest.get("object_px", {}))
    if task != DETECT:
        problem = problem or _segmentation(manifest["segmentation"], size)
    return problem or (_strides(manifest["head"].get("strides"), size) if task != SEGMENT else "")


def _task(manifest):
    """What contradicts the bundle's task, or what of the detector's part cannot be used."""
    task, version = task_of(manifest), manifest.get("format_version")
    if version == FORMAT_VERSION and (task != DETECT or "segmentation" in manifest):
        return "a bundle that segments must have format_version {}".format(SEGMENTATION_VERSION)
    if version == SEGMENTATION_VERSION and task == DETECT:
        return "format_version {} is for the tasks {} and {}".format(SEGMENTATION_VERSION, SEGMENT, BOTH)
    if task != SEGMENT:
        return _labels(manifest["labels"]) or _thresholds(manifest["thresholds"])
    if manifest["labels"] or "head" in manifest or "thresholds" in manifest:
        return "task is segment, so labels must be empty, and there must be no head and no thresholds"
    return ""


def _sizes(sizes):
    for side in sizes.values():
        known = isinstance(side, list) and len(side) in (0, 3) and all(is_number(v, 0, 1e5) for v in side)
        if not known:
            return "object_px must give 3 sizes in pixels, or none, for each label"
    return ""


def _labels(labels, name="labels", most=MAX_LABELS):
    if not 0 < len(labels) <= most:
        return "{} must be 1 to {} names".format(name, most)
    if not all(is_text(label) for label in labels):
        return "{} must be short texts of printable characters".format(name)
    if len(set(labels)) != len(labels):
        return "{} must differ from each other".format(name)
    return ""


def _segmentation(spec, size):
    labels, colors, stride = (spec.get(key) for key in ("labels", "colors", "stride"))
    if not isinstance(labels, list):
        return "segmentation.labels must be a list"
    problem = _labels(labels, "segmentation.labels", MAX_MASK_LABELS)
    if problem:
        return problem
    if not (isinstance(colors, list) and len(colors) == len(labels) and all(_is_color(c) for c in colors)):
        return "segmentation.colors must be a colour [red, green, blue], each 0 to 255, for each label"
    if not (is_whole(stride, 1, 256) and stride in MASK_STRIDES):
        return "segmentation.stride must be one of: {}".format(", ".join(map(str, MASK_STRIDES)))
    if size["width"] % stride or size["height"] % stride:
        return "input and segmentation.stride do not fit together"
    if not is_whole(spec.get("ignore"), len(labels), 255):
        return "segmentation.ignore must be a whole number up to 255 that is no label's index"
    return ""


def _is_color(color):
    return isinstance(color, list) and len(color) == 3 and all(is_whole(value, 0, 255) for value in color)


def _input(size):
    for key in ("width", "height"):
        if not is_whole(size.get(key), 1, MAX_SIDE):
            return "input.{} must be a whole number from 1 to {}".format(key, MAX_SIDE)
    if size["width"] * size["height"] > MAX_PIXELS:
        return "input has {} x {} pixels, more than {}".format(size["width"], size["height"], MAX_PIXELS)
    color = size.get("color")
    channels = CHANNELS.get(color) if isinstance(color, str) else None
    if channels is None:
        return "input.color must be one of: {}".format(", ".join(sorted(CHANNELS)))
    for key, low in (("mean", -1e3), ("std", 1e-3)):
        values = size.get(key)
        if not (isinstance(values, list) and len(values) == channels and all(is_number(v, low, 1e3) for v in values)):
            return "input.{} must be {} numbers from {} to 1000".format(key, channels, low)
    problem = high_bit_depth.find_problem(size.get("high_bit_depth", {}))
    return problem or (look.find_problem(size["look"]) if "look" in size else "")


def _strides(strides, size):
    if not (isinstance(strides, list) and 0 < len(strides) <= 8 and all(is_whole(s, 2, 256) for s in strides)):
        return "head.strides must be whole numbers from 2 to 256"
    if any(size["width"] % s or size["height"] % s for s in strides):
        return "input and head.strides do not fit together"
    return ""


def _thresholds(limits):
    limits = dict({"weak_score": 0}, **limits)
    for key in ("score", "weak_score", "nms_iou"):
        if not is_number(limits.get(key), 0, 1):
            return "thresholds.{} must be a number from 0 to 1".format(key)
    if not is_whole(limits.get("max_detections"), 1, 100000):
        return "thresholds.max_detections must be a whole number from 1 to 100000"
    return ""


def _files(files):
    if not ("fp32" in files and len(files) <= MAX_FILES and all(is_text(key) for key in files)):
        return "files must hold 'fp32' and at most {} files".format(MAX_FILES)
    for key, entry in files.items():
        if not (isinstance(entry, dict) and isinstance(entry.get("path"), str)):
            return "files.{} must have a path".format(key)
        digest = entry.get("sha256")
        if not (isinstance(digest, str) and len(digest) == 64 and not set(digest) - set("0123456789abcdef")):
            return "files.{} must have a sha256 of 64 hexadecimal digits".format(key)
    return ""
