"""A torch detector -> the fp32 master: opset 13, IR <= 8, static shapes, held to the bundle contract."""

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxslim
import torch

from vit_perception.bundles.bundle import sha256_of
from vit_perception.detector import Letterbox

from ..errors import ExportError
from ..evaluation.accuracy import TorchEngine
from ..model.compare import compare_outputs
from ..model.dense_head import output_names
from ..model.detector import ViTDetector
from ..render import Flight
from .contract import IR, OPSET, check_contract

log = logging.getLogger(__name__)
MAX_DIFFERENCE = 1e-3  # of ONNX Runtime to torch, relative to the largest output


def export_master(model: ViTDetector, path: Path, width: int, height: int) -> list[str]:
    """Write the ONNX master to `path`; returns the operators it uses.

    The tracing exporter is asked for: the newer one silently writes a later opset (checked in `check_contract`).

    Raises:
        ExportError: the file breaks the contract.
    """
    example = torch.zeros(1, model.config()["channels"], height, width)
    model = model.cpu().eval().to(memory_format=torch.contiguous_format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation of the tracing exporter, and of shapes taken as constants: wanted
        torch.onnx.export(
            model,
            (example,),
            str(path),
            opset_version=OPSET,
            input_names=["images"],
            output_names=output_names(model.config()),
            dynamo=False,
        )
    slim = onnxslim.slim(str(path))
    slim.ir_version = min(slim.ir_version, IR)
    slim.doc_string = ""
    onnx.save(slim, str(path))
    used = check_contract(path)
    log.info("master: %.2f MB, opset %d, operators: %s", path.stat().st_size / 1e6, OPSET, " ".join(used))
    return used


def golden_inputs(spec: dict) -> list[np.ndarray]:
    """Two synthetic inputs (1, C, H, W): a rendered flight and noise. No user's image ends up in a bundle."""
    look, order = ("thermal", "mono") if spec["color"] == "gray" else ("color", "bgr")
    letterbox = Letterbox(spec)
    flight = next(iter(Flight("survey", look=look, size=(spec["width"], spec["height"]), frames=1, seed=7))).image
    noise = np.random.default_rng(7).integers(0, 256, flight.shape, np.uint8)
    return [letterbox(image, order)[0].astype(np.float16).astype(np.float32) for image in (flight, noise)]


def check_against_torch(model: ViTDetector, engine, batches: list[np.ndarray]) -> float:
    """Raise ExportError unless `engine` gives what the torch model gives on real inputs; returns the difference."""
    _, _, height, width = batches[0].shape
    worst = max(compare_outputs(TorchEngine(model, width, height).infer(b), engine.infer(b)) for b in batches)
    if worst > MAX_DIFFERENCE:
        raise ExportError(
            f"the exported master differs from the torch model by {worst:.2g} of its range; do not fly it"
        )
    return worst


def write_golden(path: Path, engine, batches: list[np.ndarray], others: dict | None = None) -> None:
    """Inputs and the master's outputs for them, for any backend to prove itself against.

    Arrays, float16: images (n, C, H, W), which it holds exactly; logits (n, N, K), boxes (n, N, 4) and classes
    (n, C, h, w), whichever the model gives, whose rounding is a tenth of the least that the check tells apart; the same
    as logits.KEY and so on for the engines in `others`, {key of a file: engine}.
    """
    arrays: dict = {"images": np.concatenate(batches).astype(np.float16)}
    for suffix, each in {"": engine, **{f".{key}": other for key, other in (others or {}).items()}}.items():
        outputs = [each.infer(x) for x in batches]
        for name in outputs[0]:
            arrays[name + suffix] = np.concatenate([o[name] for o in outputs]).astype(np.float16)
    np.savez_compressed(path, **arrays)


def file_entry(path: Path, precision: str, consumer: str, opset: int | None = OPSET) -> dict:
    """What bundle.json says of one file."""
    entry = {"path": path.name, "sha256": sha256_of(path), "bytes": path.stat().st_size}
    return entry | {"precision": precision, "consumer": consumer} | ({"opset": opset} if opset else {})
