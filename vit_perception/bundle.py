"""Read a model bundle: the only thing that crosses from the workstation to the drone.

    models/<name>/bundle.json    what the model is, and the sha256 of every file below
    models/<name>/model.onnx     fp32 master: "images" (1, C, H, W) -> "logits" (1, N, K), "boxes" (1, N, 4)
    models/<name>/model.*.onnx   variants, each made for one consumer
    models/<name>/golden.npz     inputs with the outputs that the master gives for them
    models/<name>/CARD.md        the figures, for people

A bundle is data: nothing in it is executed and no path in it may leave its folder.
"""

import hashlib
import json
import os

from .errors import BundleError

FORMAT = "vit_perception bundle"
FORMAT_VERSION = 1
_REQUIRED = ("name", "labels", "input", "head", "thresholds", "files")


class Bundle:
    """A checked bundle.

    Attributes:
        path (str): the bundle's folder.
        name (str), labels (list of str; the index is the class), version (int; of the format).
        input (dict): width, height (pixels), color ('gray' | 'rgb'), mean, std (per channel, of pixels scaled to 0..1).
        head (dict): strides (list of int, finest first).
        thresholds (dict): score, nms_iou, max_detections.
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
        self.head = manifest["head"]
        self.thresholds = manifest["thresholds"]
        self.metrics = manifest.get("metrics", [])
        self.made = manifest.get("made", {})
        self.fp32_layers = list(manifest.get("fp32_layers", []))
        self.fp16_refused = manifest.get("fp16_refused", "")

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
        try:
            entry = self.manifest["files"][key]
        except KeyError:
            names = ", ".join(sorted(self.manifest["files"]))
            raise BundleError("bundle {} has no '{}' file; it has: {}".format(self.path, key, names)) from None
        return os.path.join(self.path, entry["path"])


def find_bundle(model):
    """Folder of a bundle, from its path or from the name of one installed with, or beside, the package."""
    model = os.path.expanduser(model)
    if os.path.isdir(model) or os.sep in model:
        return model
    beside = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "models", model)
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
    manifest = _read_manifest(path)
    for key, entry in manifest["files"].items():
        _check_file(path, key, entry)
    return Bundle(path, manifest)


def _read_manifest(path):
    name = os.path.join(path, "bundle.json")
    if not os.path.isfile(name):
        raise BundleError(
            "no model bundle at {}: bundle.json is missing; give a folder that offline.compress wrote".format(path)
        )
    try:
        with open(name, encoding="utf-8") as f:
            manifest = json.load(f)
    except (OSError, ValueError) as e:
        raise BundleError("cannot read {}: {}; copy the bundle again".format(name, e)) from e
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError("{} is not a {}; give the folder of a bundle".format(name, FORMAT))
    version = manifest.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise BundleError(
            "{} has format version {}, newer than the {} that this package reads; update vit_perception".format(
                name, version, FORMAT_VERSION
            )
        )
    missing = [key for key in _REQUIRED if key not in manifest]
    if missing:
        raise BundleError("{} lacks {}; write the bundle again".format(name, ", ".join(missing)))
    _check_fields(name, manifest)
    return manifest


def _check_fields(name, manifest):
    """What the detector will use must be there and make sense, or flying it would fail later and less clearly."""
    try:
        size = manifest["input"]
        channels = {"gray": 1, "rgb": 3}[size["color"]]
        strides = manifest["head"]["strides"]
        ok = (
            all(isinstance(size[k], int) and size[k] > 0 for k in ("width", "height"))
            and len(size["mean"]) == len(size["std"]) == channels
            and all(s > 0 for s in size["std"])
            and bool(strides)
            and all(size["width"] % s == 0 and size["height"] % s == 0 for s in strides)
            and bool(manifest["labels"])
            and all(isinstance(label, str) for label in manifest["labels"])
            and all(0 <= manifest["thresholds"][k] <= 1 for k in ("score", "nms_iou"))
            and manifest["thresholds"]["max_detections"] > 0
            and all(isinstance(f["path"], str) and isinstance(f["sha256"], str) for f in manifest["files"].values())
            and "fp32" in manifest["files"]
            and all(isinstance(layer, str) for layer in manifest.get("fp32_layers", []))
        )
    except (KeyError, TypeError, AttributeError) as e:
        raise BundleError("{} is malformed ({}: {}); write the bundle again".format(name, type(e).__name__, e)) from e
    if not ok:
        raise BundleError("{} holds values that do not fit together; write the bundle again".format(name))


def _check_file(folder, key, entry):
    full = os.path.realpath(os.path.join(folder, entry["path"]))
    if os.path.dirname(full) != os.path.realpath(folder):
        raise BundleError("bundle {} lists {} outside its folder; do not use it".format(folder, entry["path"]))
    if not os.path.isfile(full):
        raise BundleError("bundle {} lacks {} ('{}'); copy the whole folder again".format(folder, entry["path"], key))
    if sha256_of(full) != entry["sha256"]:
        raise BundleError(
            "{} is not the file that bundle.json describes (sha256 differs); copy the whole folder again".format(full)
        )
