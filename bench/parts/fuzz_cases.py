"""Hostile inputs and what must hold for them. bench/fuzz.py runs millions, test/project/test_fuzz.py some.

A case is made from draws: numbers that a random generator, hypothesis or a coverage-guided fuzzer chooses. Only the
errors of vit_perception may come out, with one sentence each; what else is raised is a find.
"""

import copy
import functools
import hashlib
import io
import json
import random
import shutil
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from bench.parts.fuzz_draws import Draw, fill, mutate
from bench.parts.fuzz_images import GRAY, compressed_image, raw_image
from vit_perception.bundles.bundle import open_bundle
from vit_perception.bundles.golden import prove, read_golden
from vit_perception.bundles.manifest import find_problem, missing_keys, parse_json
from vit_perception.detector import Detector, Letterbox, grid_points
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine
from vit_perception.errors import BundleError, EngineError, ImageError, PerceptionError


@functools.cache
def bundle():
    """A folder with a whole bundle around a very small network, its manifest, and its files' bytes."""
    import onnx
    from onnx import TensorProto, helper

    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    points = grid_points(64, 48, [16])
    shapes = {"logits": (1, len(points), 2), "boxes": (1, len(points), 4)}
    nodes = [helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0)]
    constants = []
    for name, shape in shapes.items():
        constants.append(helper.make_tensor("k_" + name, TensorProto.FLOAT, shape, np.linspace(-1, 1, np.prod(shape))))
        nodes.append(helper.make_node("Add", ["mean", "k_" + name], [name]))
    floats = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)  # noqa: E731
    outputs = [floats(n, s) for n, s in shapes.items()]
    graph = helper.make_graph(nodes, "tiny", [floats("images", (1, 1, 48, 64))], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 7
    onnx.checker.check_model(model)
    arrays = {n: np.linspace(-1, 1, np.prod(s), dtype=np.float32).reshape(s) for n, s in shapes.items()}
    golden = io.BytesIO()
    np.savez_compressed(golden, images=np.zeros((1, 1, 48, 64), np.float32), **arrays)
    files = {"model.onnx": model.SerializeToString(), "golden.npz": golden.getvalue()}
    entries = {}
    for key, (name, data) in zip(("fp32", "golden"), files.items(), strict=True):
        (folder / name).write_bytes(data)
        entries[key] = {"path": name, "sha256": hashlib.sha256(data).hexdigest()}
    manifest = {
        "format": "vit_perception bundle",
        "format_version": 1,
        "name": "tiny",
        "labels": ["Person", "Car"],
        "input": GRAY,
        "head": {"strides": [16]},
        "thresholds": {"score": 0.3, "nms_iou": 0.6, "max_detections": 100},
        "files": entries,
        "fp32_layers": ["a"],
        "metrics": [{"map": 0.5}],
    }
    (folder / "bundle.json").write_text(json.dumps(manifest))
    open_bundle(folder)
    return folder, manifest, files


def remove_bundle():
    """Delete what `bundle` made."""
    if bundle.cache_info().currsize:
        shutil.rmtree(bundle()[0], ignore_errors=True)


JUNK = [None, True, False, 0, -1, 1, 2, 8, 16, 0.5, 1e300, 10**18, "", "x", "..", "/etc/passwd", "a\0b", "\x1b[2J"]
JUNK += [[], {}, [[]], ["Car", "Car"], [8, 16], "model.onnx", "golden.npz", "rgb", "0" * 64, "é" * 300, [0.0], [1e-320]]
JUNK += ["\ud800"]
BYTES = [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 30, b"[" * 3000, b'{"a":' * 2000, b"\xff", b"\\ud800"]


def manifest_file(draw):
    """bundle.json."""
    folder, manifest, _ = bundle()
    manifest = json.loads(json.dumps(manifest))
    for _ in range(draw.pick([0, 1, 1, 2, 5])):
        at = manifest
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = draw.pick(keys)
            if isinstance(at[key], (dict, list)) and draw.chance(70):
                at = at[key]
                continue
            if draw.chance(20):
                del at[key]
            elif isinstance(at, dict) and draw.chance(10):
                at[str(draw.pick(JUNK))] = at.pop(key)
            else:
                at[key] = copy.deepcopy(draw.pick(JUNK))
            break
    data = json.dumps(manifest).encode()
    if draw.chance(40):
        cut = draw.whole(0, len(data))
        data = draw.pick([mutate(draw, data), data[:cut] + draw.pick(BYTES) + data[cut:]])
    if draw.chance(25):
        (folder / "bundle.json").write_bytes(data)
        check_bundle(open_bundle(folder).manifest)
        return
    try:
        found = parse_json(data)
    except ValueError as e:
        raise BundleError(" ".join(str(e).split())) from e
    if not isinstance(found, dict) or missing_keys(found):
        raise BundleError("it lacks something")
    if find_problem(found):
        raise BundleError(find_problem(found))
    check_bundle(found)


def check_bundle(manifest):
    """An accepted manifest can be flown: the detector's parts take it."""
    size, strides = manifest["input"], manifest.get("head", {"strides": [2]})["strides"]  # none where it only segments
    if size["width"] * size["height"] <= 1 << 20:  # larger ones are within limits, and slow
        assert Letterbox(size)(np.zeros((9, 9), np.uint8), "mono")[1] > 0
        assert np.isfinite(grid_points(size["width"], size["height"], strides)).all()
    assert all(label.isprintable() and label.encode() for label in manifest["labels"])


def golden_file(draw):
    """golden.npz."""
    _, _, files = bundle()
    data = files["golden.npz"]
    if draw.chance(60):  # arrays with damaged headers in a whole archive
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
            for name in old.namelist():
                new.writestr(name, mutate(draw, old.read(name)) if draw.chance(50) else old.read(name))
        data = out.getvalue()
    else:
        data = mutate(draw, data)
    golden = read_golden(SimpleNamespace(path="fuzz", task="detect", read=lambda key: data))
    assert all(values.dtype.kind == "f" and len(values) for values in golden.values())


def onnx_file(draw):
    """model.onnx."""
    folder, manifest, files = bundle()
    engine = OnnxRuntimeEngine(mutate(draw, files["model.onnx"]), threads=1)
    golden = SimpleNamespace(path=str(folder), task="detect", manifest=manifest, input=GRAY, head=manifest["head"])
    golden.read = {"golden": files["golden.npz"]}.get
    prove(engine, golden)
    detect(engine.infer(np.zeros((1, 1, 48, 64), np.float32)))


def outputs(draw):
    """What an engine gives."""
    shapes = {"logits": [1, 12, 2], "boxes": [1, 12, 4]}
    arrays = {}
    for name, shape in shapes.items():
        if draw.chance(10):
            shape[draw.whole(1, 2)] = draw.whole(0, 13)
        size = int(np.prod(shape))
        arrays[name] = np.frombuffer(fill(draw, 4 * size, 4), np.float32).reshape(shape)
        if draw.chance(70):
            arrays[name] = np.nan_to_num(np.fmod(arrays[name], 20))
    detect(arrays)


def detect(arrays):
    """Decode the outputs; what comes out is finite, within the image, and sorted."""
    spec = SimpleNamespace(input=GRAY, labels=["a", "b"], head={"strides": [16]})
    spec.thresholds = {"score": 0.3, "nms_iou": 0.6, "max_detections": 5}
    found = Detector(spec, SimpleNamespace(input_shape=(1, 1, 48, 64))).decode(arrays, 0.5, 128, 96)
    assert len(found) <= 5 and np.isfinite(found.boxes).all() and (np.diff(found.scores) <= 0).all()
    assert (found.boxes >= 0).all() and (found.boxes <= [128, 96, 128, 96]).all()


# What is drawn how often, and the errors that it may end with.
KINDS = [
    (raw_image, 60, ImageError),
    (compressed_image, 15, ImageError),
    (manifest_file, 12, BundleError),
    (outputs, 8, EngineError),
    (golden_file, 3, BundleError),
    (onnx_file, 2, PerceptionError),
]
_WHEEL = [i for i, (_, often, _) in enumerate(KINDS) for _ in range(often)]


@np.errstate(all="ignore")
def run_case(draw, kind=None):
    """One case; returns (name, whether it was accepted). Raises what is a find."""
    run, _, allowed = KINDS[_WHEEL[draw.whole(0, len(_WHEEL) - 1)]] if kind is None else kind
    try:
        run(draw)
    except allowed as e:
        text = str(e)
        assert text and "\n" not in text and len(text) < 1000, f"no sentence: {text[:200]!r}"
        return run.__name__, False
    return run.__name__, True


def run_seeded(seed):
    """The case of a number."""
    return run_case(Draw(random.Random(seed)))
