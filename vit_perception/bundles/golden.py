"""Proves that an engine computes, on this device, what was evaluated, with the golden data of the bundle.

It holds inputs with the outputs of the fp32 master and of the int8 files. An engine is compared raw (cosine of each
output) and as it is used: scores of all points and boxes of the points that would be seen first, where it detects; the
class of each pixel, where it segments.
"""

import io
import zipfile
from typing import Dict, List  # noqa: F401, for the type comment

import numpy as np

from ..detector import decode_boxes, grid_points
from ..errors import BundleError, EngineError, GoldenError
from .manifest import BOTH, DETECT, SEGMENT

BEST_POINTS = 100  # whose boxes are compared, of each image
MAX_BYTES = 1 << 30  # of golden.npz, unpacked
# Least cosine, largest score difference, least overlap of a box. Where they come from: docs/engines.md.
LIMITS = {"fp32": (0.9999, 0.005, 0.98), "fp16": (0.999, 0.03, 0.90), "int8": (0.97, 0.20, 0.50)}
LEAST_AGREEMENT = {"fp32": 0.999, "fp16": 0.98, "int8": 0.90}  # share of the pixels that get the same class
FLOAT16 = 2.0**-10  # two numbers that were equal, relative, once each is rounded to float16
OUTPUTS = {DETECT: ("logits", "boxes"), SEGMENT: ("classes",), BOTH: ("logits", "boxes", "classes")}  # of an engine


def prove(engine, bundle, file="fp32"):
    """Run the golden inputs through `engine`; returns one line of figures.

    Args:
        file: the bundle's key of the ONNX file that the engine computes. int8 files have golden outputs of their own:
            what int8 costs was accepted when they were evaluated, and is no fault of the engine.

    Raises:
        GoldenError: an output is not finite or differs too much; names the worst.
        EngineError: the bundle has no golden data, or the engine cannot run.
        BundleError: the golden data is damaged.
    """
    if "golden" not in bundle.manifest["files"]:
        raise EngineError("bundle {} has no golden.npz to prove an engine with; write it again".format(bundle.path))
    golden = read_golden(bundle, file)
    found = _run(engine, golden, OUTPUTS[bundle.task])
    return _judge(found, golden, bundle, engine.precision)


def read_golden(bundle, file="fp32"):
    """{'images': (n, C, H, W), 'logits': (n, N, K), 'boxes': (n, N, 4), 'classes': (n, L, H/S, W/S)}, float.

    Of a bundle; of the outputs those of its task. `file` as for `prove`.

    Raises:
        BundleError: something else is in the file. Nothing of it is unpickled.
    """
    data = bundle.read("golden")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise ValueError("{} bytes when unpacked, more than {}".format(size, MAX_BYTES))
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            golden = {"images": arrays["images"]}
            for name in OUTPUTS[bundle.task]:
                own = "{}.{}".format(name, file)
                golden[name] = arrays[own if own in arrays.files else name]
        for name, values in golden.items():
            if values.dtype.kind != "f" or not 0 < len(values) == len(golden["images"]):
                raise ValueError("{} is {} {}".format(name, values.dtype, values.shape))
    except Exception as e:  # zip files and arrays, damaged, raise a dozen kinds of errors
        text = "golden.npz of bundle {} cannot be used: {}; copy the whole folder again"
        raise BundleError(text.format(bundle.path, " ".join(str(e).split())[:200] or type(e).__name__)) from e
    return golden


def _run(engine, golden, names):
    """{output name: float32 (n, ...)} of the golden inputs."""
    found = {name: [] for name in names}  # type: Dict[str, List[np.ndarray]]
    for image in golden["images"]:
        outputs = engine.infer(image[None].astype(np.float32))
        if not set(found) <= set(outputs):
            text = "golden check failed: the model gives {}, not {}"
            raise GoldenError(text.format(", ".join(sorted(outputs)), " and ".join(names)))
        for name, values in found.items():
            given, wanted = np.asarray(outputs[name]), golden[name].shape[1:]
            if given.shape[1:] != wanted or given.dtype.kind != "f":
                text = "golden check failed: {} is {} {}, not floats of shape {}"
                raise GoldenError(text.format(name, given.dtype, given.shape[1:], wanted))
            values.append(np.array(outputs[name][0], np.float32))  # a copy: the next call overwrites it
    return {name: np.stack(values) for name, values in found.items()}


def _judge(found, golden, bundle, precision):
    for name, values in found.items():
        if not np.isfinite(values).all():
            raise GoldenError("golden check failed in {}: {} holds values that are not finite".format(precision, name))
    cosine, worst = min((_cosine(a, b), name) for name in found for a, b in zip(found[name], golden[name]))
    figures, problems = ["cosine {:.5f} ({})".format(cosine, worst)], []
    if not cosine >= LIMITS[precision][0]:
        problems.append("cosine of {} below {}".format(worst, LIMITS[precision][0]))
    if "logits" in found:
        _judge_detections(found, golden, bundle, LIMITS[precision][1:], figures, problems)
    if "classes" in found:
        least = LEAST_AGREEMENT[precision]
        agreement = min(_agreement(*each) for each in zip(found["classes"], golden["classes"]))
        figures.append("{:.2%} of the pixels get the same class".format(agreement))
        if not agreement >= least:
            problems.append("less than {:.1%} of the pixels get the same class".format(least))
    text = ", ".join(figures)
    if problems:
        raise GoldenError("golden check failed in {}: {} ({})".format(precision, "; ".join(problems), text))
    return text


def _judge_detections(found, golden, bundle, limits, figures, problems):
    """Add to `figures` how far scores and boxes are off, and to `problems` what of it is beyond `limits`."""
    points = grid_points(bundle.input["width"], bundle.input["height"], bundle.head["strides"])
    score = max(float(np.abs(_sigmoid(a) - _sigmoid(b)).max()) for a, b in zip(found["logits"], golden["logits"]))
    overlap = min(_overlap(*each, points) for each in zip(found["boxes"], golden["boxes"], golden["logits"]))
    figures += ["scores within {:.4f}".format(score), "boxes overlap {:.3f}".format(overlap)]
    if not score <= limits[0]:
        problems.append("scores differ by more than {}".format(limits[0]))
    if not overlap >= limits[1]:
        problems.append("boxes overlap less than {}".format(limits[1]))


def _cosine(a, b):
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    size = np.sqrt(a.dot(a) * b.dot(b))
    return float(a.dot(b) / size) if size else float(a.dot(a) == b.dot(b))


def _sigmoid(logits):
    return 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))


def _agreement(found, golden):
    """Share of the pixels of two dense outputs (C, h, w) that get the same class.

    Golden outputs may be stored as float16: what is as large as the largest but for that rounding is the same.
    """
    golden = golden.astype(np.float32)
    best = golden.max(0)
    row, column = np.mgrid[: best.shape[0], : best.shape[1]]
    return float((golden[found.argmax(0), row, column] >= best - FLOAT16 * np.abs(best)).mean())


def _overlap(found, golden, logits, points):
    """Least intersection over union of the boxes that the engine and the master give for the best points."""
    best = np.argsort(-logits.max(1))[:BEST_POINTS]
    a, b = decode_boxes(found[best], points[best]), decode_boxes(golden[best], points[best])
    inner = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    inner = np.maximum(inner, 0).prod(1)
    area = [(c[:, 2:] - c[:, :2]).prod(1) for c in (a, b)]
    return float((inner / (area[0] + area[1] - inner)).min())
