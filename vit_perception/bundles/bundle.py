"""Read a model bundle: the only thing that crosses from the workstation to the drone.

    models/<name>/bundle.json    what the model is, and the sha256 of every file below
    models/<name>/model.onnx     fp32 master: "images" (1, C, H, W) -> "logits" (1, N, K), "boxes" (1, N, 4) where it
                                 detects, then "classes" (1, L, H/S, W/S) where it segments: logits of each pixel
    models/<name>/model.*.onnx   variants, each made for one consumer
    models/<name>/golden.npz     inputs with the outputs that the master gives for them
    models/<name>/CARD.md        the figures, for people

A bundle is data: nothing in it is executed and no path in it may leave its folder.
"""

import hashlib
import json
import os
import re

from ..errors import BundleError
from ..slices import parse, picture_size
from .manifest import (
    FORMAT_VERSION,
    SEGMENT,
    SEGMENTATION_VERSION,
    find_problem,
    is_plain_name,
    is_whole,
    missing_keys,
    parse_json,
    read_regular,
    task_of,
)

FORMAT = "vit_perception bundle"
MOST_SHRUNK = 2.0  # times; up to it an object that the model knows at its largest is still one that it knows
MAX_MANIFEST = 4 << 20  # bytes of bundle.json
MAX_FILE = 512 << 20  # bytes of any other file, which is read as a whole
# How protobuf writes the key of a reference to another file: its length, 8, in one or more bytes, and the word.
_EXTERNAL_DATA = re.compile(b"(\x08|\x88\x80*\x00)location")


class Bundle:
    """A checked bundle.

    Attributes:
        path (str): the bundle's folder.
        name (str): of the bundle. version (int): of the format.
        task (str): 'detect', 'segment' or 'both'.
        labels (list of str): class names of detections; the index is the class. Empty where task is 'segment'.
        segmentation (dict or None): labels (class names of pixels), colors ([red, green, blue] of each), stride (pixels
            of the input for one of the head), ignore (the index that stands for no label). None where task is 'detect'.
        input (dict): width, height (pixels), color ('gray' | 'rgb'), mean, std (per channel, of pixels scaled to 0..1);
            high_bit_depth, how images of 16 bits and floats became 8 bits (images/high_bit_depth.py), if it is named;
            look, what the training images look like (images/look.py), if it is told.
        head (dict): strides (list of int, finest first). thresholds (dict): score, nms_iou, max_detections; weak_score,
            if there is one. Both empty where task is 'segment'.
        object_px (dict): label -> [5%, 50%, 95%] of the sizes (square root of the area, in pixels of the input) of the
            objects it was trained on; [] for a label without; {} in bundles until 0.4.
        metrics (list of dict), made (dict): how good it is and how it was made.
        fp32_layers (list of str): nodes of the master that stay fp32 where the rest is computed in fp16.
        fp16_refused (str): why the model must not be computed in fp16 at all, or ''.
    """

    def __init__(self, path, manifest):
        self.path = path
        self.manifest = manifest
        self.version = manifest["format_version"]
        self.name = manifest["name"]
        self.labels = list(manifest["labels"])
        self.input = manifest["input"]
        self.task, self.segmentation = task_of(manifest), manifest.get("segmentation")
        self.head, self.thresholds = manifest.get("head", {}), manifest.get("thresholds", {})
        self.object_px = manifest.get("object_px", {})
        self.metrics = manifest.get("metrics", [])
        self.made = manifest.get("made", {})
        self.fp32_layers = list(manifest.get("fp32_layers", []))
        self.fp16_refused = manifest.get("fp16_refused", "")

    def require_detections(self):
        """Raises BundleError: it segments alone, where detections are needed."""
        if self.task == SEGMENT:
            raise BundleError(
                "bundle {} segments images and detects nothing, so there would be no detections, no scan and no alert; "
                "give one that detects, or set segment_only to true".format(self.path)
            )

    def require_segmentation(self):
        """Raises BundleError: it does not segment."""
        if self.segmentation is None:
            text = "bundle {} only detects, and segment_only asks for masks; give one that segments, or set it to false"
            raise BundleError(text.format(self.path))

    def shrinks(self, width, height, slices="1x1"):
        """One sentence where images of `width` x `height` are shrunk more than twice to the model's input, else ''.

        What is far away is then smaller for the model than anything that it was trained on. slices: as the node's
        parameter, see slices.py; then it is they that are shrunk.
        """
        model = self.input["width"], self.input["height"]
        seen = picture_size(parse(slices), width, height, *model)
        factor = max(side / float(limit) for side, limit in zip(seen, model))
        if factor <= MOST_SHRUNK:
            return ""
        sizes = [(side[0], label) for label, side in self.object_px.items() if side]
        smallest, label = min(sizes) if sizes else (10.0, "")
        what = "the smallest {} that it was trained on".format(label) if label else "what is found reliably"
        sliced, remedy = "", "look at it in slices (slices: auto), " if self.labels else ""
        if seen != (width, height):
            sliced, remedy = ", in slices of {}x{},".format(*seen), "take more slices, "
        text = "images of {}x{}{} are shrunk {:.1f} times to the model's {}x{}: {}, of {:.0f} pixels, is {:.0f} pixels "
        text += "large in such an image; {}crop it, zoom in, or train with a larger input"
        size = (width, height, sliced, factor) + model
        return text.format(*(size + (what, smallest, smallest * factor, remedy)))

    @property
    def sha256(self):
        """Hex sha256 of the fp32 master: the model's identity in logs and /diagnostics."""
        return self.manifest["files"]["fp32"]["sha256"]

    @property
    def variants(self):
        """Names of the ONNX files in the bundle, e.g. ['fp32', 'int8']."""
        return [k for k, f in self.manifest["files"].items() if f["path"].endswith(".onnx")]

    def file(self, key):
        """Absolute path of the file listed as `key`. Raises BundleError if the bundle has none."""
        return os.path.join(self.path, self._entry(key)["path"])

    def read(self, key):
        """The bytes of the file listed as `key`, which have the sha256 of the manifest at this very moment.

        Raises:
            BundleError: there is none, or it was altered.
        """
        return read_listed(self.path, key, self._entry(key))

    def _entry(self, key):
        try:
            return self.manifest["files"][key]
        except KeyError:
            names = ", ".join(sorted(self.manifest["files"]))
            raise BundleError("bundle {} has no '{}' file; it has: {}".format(self.path, key, names)) from None


def find_bundle(model):
    """Folder of a bundle, from its path or from the name of one installed with, or beside, the package."""
    if not model.strip() or "\0" in model:
        raise BundleError("no model is named; give the folder of a bundle, or the name of an installed one")
    model = os.path.expanduser(model)
    if os.path.isdir(model) or os.sep in model:
        return model
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    beside = os.path.join(os.path.dirname(package), "models", model)
    try:
        from ament_index_python.packages import get_package_share_directory

        installed = os.path.join(get_package_share_directory("vit_perception"), "models", model)
    except Exception:  # not installed, or no index: a source tree
        return beside
    return installed if os.path.isdir(installed) else beside


def sha256_of(path):
    """Hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def open_bundle(path):
    """Open and verify the bundle in folder `path`.

    Raises:
        BundleError: with one sentence, if anything is missing, altered, malformed or from a newer format.
    """
    path = os.path.abspath(os.path.expanduser(str(path)))
    name = os.path.join(path, "bundle.json")
    if os.path.islink(name):  # `colcon build --symlink-install` links file by file: the bundle is where they lie
        path = os.path.dirname(os.path.realpath(name))
    manifest = _read_manifest(path)
    for key, entry in manifest["files"].items():
        read_listed(path, key, entry)
    return Bundle(path, manifest)


def _read_manifest(path):
    name = os.path.join(path, "bundle.json")
    try:
        data = read_regular(name, MAX_MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(
            "no model bundle at {}: bundle.json is missing; give a folder that offline.compress wrote".format(path)
        ) from None
    except (OSError, ValueError) as e:
        raise BundleError("cannot read {}: {}; copy the bundle again".format(name, e)) from e
    try:
        manifest = parse_json(data)
    except ValueError as e:
        raise BundleError("cannot read {}: {}; copy the bundle again".format(name, e)) from e
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError("{} is not a {}; give the folder of a bundle".format(name, FORMAT))
    version = manifest.get("format_version")
    if not is_whole(version, FORMAT_VERSION, SEGMENTATION_VERSION):
        raise BundleError(
            "{} has format version {}, newer than the {} that this package reads; update vit_perception".format(
                name, json.dumps(version)[:40], SEGMENTATION_VERSION
            )
        )
    missing = missing_keys(manifest)
    if missing:
        raise BundleError("{} lacks {}; write the bundle again".format(name, ", ".join(missing)))
    problem = find_problem(manifest)
    if problem:
        raise BundleError("{}: {}; write the bundle again".format(name, problem))
    return manifest


def read_listed(folder, key, entry):
    """Bytes of a file that the manifest lists, checked. Raises BundleError."""
    name = entry["path"]
    full = os.path.join(folder, name)
    if not is_plain_name(name) or os.path.islink(full):
        raise BundleError("bundle {} lists {} outside its folder; do not use it".format(folder, json.dumps(name)[:80]))
    try:
        data = read_regular(full, MAX_FILE)
    except FileNotFoundError:
        raise BundleError("bundle {} lacks {} ('{}'); copy the whole folder again".format(folder, name, key)) from None
    except (OSError, ValueError) as e:
        raise BundleError("cannot read {}: {}; copy the whole folder again".format(full, e)) from e
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise BundleError(
            "{} is not the file that bundle.json describes (sha256 differs); copy the whole folder again".format(full)
        )
    if name.endswith(".onnx") and _EXTERNAL_DATA.search(data):  # ONNX Runtime 1.10 would read any file of the machine
        raise BundleError("{} refers to data in other files; write it with its weights inside".format(full))
    return data
