"""int8 files, derived from the fp32 master: one for ONNX Runtime, one for TensorRT. They are not the same file.

ONNX Runtime, static: convolutions, products with weights and what is added between them; int8 weights per channel,
uint8 activations whose ranges are the minima and maxima seen on calibration images. In float stay the attention
products (an int8 softmax is five times slower), the residual additions of transformer blocks (a few large channels
would take all the range), and the last 1x1 convolutions of the heads (a box is an exponent, a logit may be of a rare
class).
Weights take 7 of their 8 bits. x86 processors without VNNI add two products of a weight and an activation in 16 bits:
255 * 127 * 2 overflows there, 255 * 64 * 2 does not. With 8 bits the file computes something else on each processor.
ONNX Runtime, dynamic: the matrix products only, activations ranged at run time; convolutions stay in float.

TensorRT: quantise-dequantise pairs around what the tensor cores compute; activations symmetric (zero point 0), both
halves of the pair on weights, biases in float, a pair for each reader. On ONNX Runtime it is not faster than fp32.
"""

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

from ..boards.targets import Target
from ..errors import ExportError, RecipeError
from ..evaluation.latency import alternate
from ..export.contract import ONNXRUNTIME_INT8, TENSORRT_8_2, check_contract
from ..files import write_atomically
from ..model.compare import compare_outputs

log = logging.getLogger(__name__)
INT8_MODES = ("static", "dynamic", "auto")
TENSORRT_MODES = ("auto", "int8", "fp16")
CLOSE = 0.1  # largest difference to fp32 that `auto` accepts, relative to the largest output
ORT_STATIC = ["Conv", "ConvTranspose", "MatMul", "Gemm", "Add", "Relu", "Clip"]
TENSORRT_STATIC = ["Conv", "MatMul", "Gemm"]


def wanted_variants(target: Target, int8: str, tensorrt: str) -> tuple[str, ...]:
    """The ONNX files to make beside the master for `target`. int8: of INT8_MODES. tensorrt: of TENSORRT_MODES.

    Raises:
        RecipeError: an unknown mode, or a precision that the target's hardware lacks.
    """
    for key, value, known in (("int8", int8, INT8_MODES), ("tensorrt", tensorrt, TENSORRT_MODES)):
        if value not in known:
            raise RecipeError(f"quantise.{key} must be one of {', '.join(known)}, not '{value}'")
    if tensorrt != "auto" and target.tensorrt is None:
        raise RecipeError(
            f"quantise.tensorrt={tensorrt}: {target.name} ({target.board}) has no TensorRT; leave it at auto"
        )
    if tensorrt == "int8" and "int8" not in target.precisions:
        raise RecipeError(
            f"quantise.tensorrt=int8: the GPU of {target.name} ({target.board}) has no int8 instructions, "
            "int8 would run slower than fp16 there; leave it at auto or choose fp16"
        )
    if tensorrt == "fp16":
        return tuple(v for v in target.variants if v != "int8_trt")
    return target.variants


def quantise_int8(master: Path, out: Path, images: list[np.ndarray], mode: str = "static") -> str:
    """Write ONNX Runtime's int8 variant of `master`; returns the mode it was made in, "static" or "dynamic".

    Args:
        images: calibration inputs, float32 (1, C, H, W), of the training set.
        mode: of INT8_MODES. "auto" is the faster one on this machine whose outputs stay close to fp32: its choice can
            differ from one machine, and one measurement, to the next.

    Raises:
        ExportError: the file breaks the contract, or in "auto" neither mode stays close.
    """
    if mode == "auto":
        mode = faster_int8(master, images)
    make = {"static": lambda p: _static(master, p, images, tensorrt=False), "dynamic": lambda p: _dynamic(master, p)}
    write_atomically(out, make[mode])
    check_contract(out, TENSORRT_8_2 | ONNXRUNTIME_INT8)
    return mode


def quantise_tensorrt(master: Path, out: Path, images: list[np.ndarray]) -> None:
    """Write TensorRT's symmetric Q/DQ variant of `master`; images as in quantise_int8.

    Its weights are stored in fp32 (8.2 imports no int8 constants); the engine built from it holds int8.

    Raises:
        ExportError: the file breaks the contract, or a zero point is not 0.
    """
    write_atomically(out, lambda p: _static(master, p, images, tensorrt=True))
    check_contract(out)
    check_symmetric(out)


def check_symmetric(path: Path) -> None:
    """Raise ExportError unless every scale of a Q/DQ file is a constant and every zero point an int8 0."""
    model = onnx.load(str(path))
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero = (constants.get(name) for name in node.input[1:])
            if scale is None or zero is None or not (scale > 0).all() or zero.dtype != np.int8 or zero.any():
                raise ExportError(
                    f"{path}: {node.output[0]} is not symmetric int8 with a constant scale; TensorRT refuses it"
                )


def faster_int8(master: Path, images: list[np.ndarray]) -> str:
    """ "static" or "dynamic": the faster on one thread of this machine, of those whose outputs stay close to fp32."""
    with tempfile.TemporaryDirectory() as folder:
        engines = {}
        fp32 = OnnxRuntimeEngine(str(master), threads=1)
        for mode in ("static", "dynamic"):
            path = Path(folder) / f"{mode}.onnx"
            quantise_int8(master, path, images, mode)
            engine = OnnxRuntimeEngine(str(path), threads=1)
            difference = max(compare_outputs(fp32.infer(x), engine.infer(x)) for x in images[:4])
            log.info("int8 %s: %.3f of the outputs' range from fp32", mode, difference)
            if difference <= CLOSE:
                engines[mode] = engine
        if not engines:
            raise ExportError(
                f"no int8 variant: neither mode stays within {CLOSE} of fp32; use fp32, or train with QAT"
            )
        times = alternate(engines, np.concatenate(images[:4]))
        return min(times, key=lambda mode: times[mode])


def float_nodes(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes that stay in float: see the module's docstring."""
    constants = {t.name: list(t.dims) for t in graph.initializer}
    attention = [n.name for n in graph.node if n.op_type == "MatMul" and not set(n.input) & set(constants)]
    inside = [n for n in graph.node if n.name.startswith("/blocks.")]
    convolved = {n.name.split("/")[1] for n in inside if n.op_type == "Conv"}  # residual convolutions, as in the stem
    blocks = [n.name for n in inside if n.op_type == "Add" and n.name.split("/")[1] not in convolved]
    heads = [n.name for n in graph.node if n.op_type == "Conv" and is_last_of_head(n.name, constants[n.input[1]][2:])]
    return attention + blocks + heads


def is_last_of_head(name: str, kernel: list[int]) -> bool:
    """Whether this is the 1x1 convolution that a head ends with; `name` of a node, or of a torch module."""
    return name.lstrip("/").startswith(("heads.", "dense")) and list(kernel) == [1, 1]


def _dynamic(master: Path, out: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _silence():
        quantize_dynamic(
            str(master),
            str(out),
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )


def _static(master: Path, out: Path, images: list[np.ndarray], tensorrt: bool) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    options = {"MatMulConstBOnly": True}
    if tensorrt:
        options |= dict.fromkeys(("ActivationSymmetric", "AddQDQPairToWeight", "DedicatedQDQPair"), True)
        options["QuantizeBias"] = False
    with _silence():
        quantize_static(
            str(master),
            str(out),
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=TENSORRT_STATIC if tensorrt else ORT_STATIC,
            per_channel=True,
            reduce_range=not tensorrt,
            activation_type=QuantType.QInt8 if tensorrt else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=float_nodes(onnx.load(str(master)).graph),
            extra_options=options,
        )
    model = onnx.load(str(out))
    shorten(model)
    onnx.save(model, str(out))


def shorten(model: onnx.ModelProto) -> None:
    """Give inner tensors short names and drop what only a reader of the file would want: a tenth of a small file."""
    graph = model.graph
    outer = {v.name for v in (*graph.input, *graph.output)}
    names: dict[str, str] = {"": ""}
    for node in graph.node:
        for part in (node.input, node.output):
            for i, name in enumerate(part):
                part[i] = name if name in outer else names.setdefault(name, f"t{len(names)}")
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node.name = ""
        node.doc_string = ""
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]
    del graph.value_info[:]


class _Reader:
    """Calibration images as ONNX Runtime's quantiser wants them."""

    def __init__(self, images: list[np.ndarray]):
        self._images = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {"images": image}


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The quantiser reports every product that it rightly leaves alone."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
