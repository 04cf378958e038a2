"""What the ONNX importer of TensorRT 8.2 takes: attributes, constants, ranks and types, operator by operator.

Read in onnx-tensorrt, branch release/8.2-GA (builtin_op_importers.cpp, onnx2trt_utils.cpp, ModelImporter.cpp,
docs/operators.md) and in NvInfer.h of TensorRT 8.2.1. The rules leave out what the importer refuses, what it imports as
something else (TopK never finds the smallest, Celu raises to a power) and what it does not read. They are stricter than
the importer in one thing: shapes, axes and bounds must be constants, which static shapes allow.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from onnx import TensorProto

FLOAT = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16})
SINGLE = frozenset({TensorProto.FLOAT})
INTEGER = frozenset({TensorProto.INT32, TensorProto.INT64})
BOOL = frozenset({TensorProto.BOOL})
INT8 = frozenset({TensorProto.INT8})
NUMBER = FLOAT | INTEGER
ANY = NUMBER | BOOL  # double and unsigned integers become something else, or are refused
MAX_RANK = 8  # nvinfer1::Dims::MAX_DIMS
MAX_TOPK = 3840  # ITopKLayer::setK


def type_name(kind: int) -> str:
    """TensorProto.DataType as people write it, e.g. 'float16'."""
    return TensorProto.DataType.Name(kind).lower()


def type_names(kinds: frozenset[int]) -> str:
    """Several of them, as a list in words."""
    return ", ".join(type_name(k) for k in sorted(kinds))


class Node(NamedTuple):
    """One ONNX node with what is known of its inputs, by index; an input that is left out has None everywhere.

    Attributes:
        attributes: name -> value, as the node states them; text as str.
        types: TensorProto.DataType of the inputs. shapes: theirs. constants: their arrays, or None.
        makers: operator that makes the input, or "". outputs: how many.
    """

    op: str
    attributes: dict[str, Any]
    types: list[int | None]
    shapes: list[tuple[int, ...] | None]
    constants: list[np.ndarray | None]
    makers: list[str]
    outputs: int

    def constant(self, index: int) -> np.ndarray | None:
        return self.constants[index] if index < len(self.constants) else None

    def rank(self, index: int = 0) -> int:
        return len(self.shapes[index] or ())


class Rule(NamedTuple):
    """What the importer takes of one operator.

    Attributes:
        types: allowed element types of the inputs in order; the last one holds for all further inputs.
        reads: attributes that it reads. Others must have ONNX's default value.
        constant: inputs that must be constants. optional: inputs that may be left out by an empty name.
        rank: lowest and highest rank of the first input.
        outputs: most outputs.
        check: returns what else is wrong with a node, as "what; what to do", or "".
    """

    types: tuple[frozenset[int], ...] = (FLOAT,)
    reads: str = ""
    constant: tuple[int, ...] = ()
    optional: tuple[int, ...] = ()
    rank: tuple[int, int] = (0, MAX_RANK)
    outputs: int = 1
    check: Callable[[Node], str] = lambda node: ""


def _pads(node: Node) -> str:
    pads = node.attributes.get("pads", [])
    if any(pads) and node.attributes.get("auto_pad", "NOTSET").startswith("SAME"):
        return f"auto_pad {node.attributes['auto_pad']} and pads are both given; give pads alone"
    half = len(pads) // 2
    lopsided = pads[:half] != pads[half:]
    if lopsided and (node.op == "AveragePool" or (node.op == "ConvTranspose" and node.rank() == 5)):
        return f"pads is {pads}, and only symmetric padding is averaged or deconvolved rightly; use a Pad node"
    return ""


def _conv(node: Node) -> str:
    if node.constant(1) is None and node.makers[1] != "DequantizeLinear":
        return "its weights are computed; make them an initializer, or a Q/DQ pair on one"
    if node.constant(1) is None and "kernel_shape" not in node.attributes:
        return "kernel_shape is missing, which is not derived from computed weights; state it"
    if "output_shape" in node.attributes:
        return "output_shape is given; give pads instead"
    if any(node.attributes.get("output_padding", [])) and node.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        return "output_padding is dropped beside auto_pad; give pads instead"
    return _pads(node)


def _pool(node: Node) -> str:
    if any(d != 1 for d in node.attributes.get("dilations", [])):
        return f"dilations is {node.attributes['dilations']}; only 1 is imported"
    return _pads(node)


def _gemm(node: Node) -> str:
    """With constant weights it becomes a fully connected layer, which forgets transA and counts outputs by the bias."""
    plain = node.attributes.get("alpha", 1.0) == 1.0 and node.attributes.get("beta", 1.0) == 1.0
    weights, bias = node.constant(1), node.constant(2)
    has_bias = len(node.types) > 2
    if weights is not None and plain and (not has_bias or (bias is not None and bias.ndim == 1)):
        if node.attributes.get("transA", 0):
            return "transA is 1, which is forgotten with constant weights; put a Transpose node before it"
        width = weights.shape[0 if node.attributes.get("transB", 0) else 1]
        if bias is None or len(bias) != width:
            return f"its bias has not the {width} values of its outputs; add a bias, of zeros if need be, or use MatMul"
    elif (node.shapes[0] or (0,))[-1] == 1:
        return "its first input is one column wide, which is taken for a vector; use MatMul"
    return ""


def _quantize(node: Node) -> str:
    """Both halves of a Q/DQ pair: IQuantizeLayer and IDequantizeLayer, symmetric int8 with build-time constants."""
    scale, zero = node.constant(1), node.constant(2)
    if len(node.types) != 3 or scale is None or zero is None:
        return "scale and zero point must be two constants; write both"
    if not (scale > 0).all() or zero.any() or zero.size != scale.size:
        return "it is not symmetric; scales must be positive and zero points 0, one for each scale"
    if node.op == "DequantizeLinear" and node.makers[0] != "QuantizeLinear":
        return "it reads an int8 constant, and there are none in 8.2; keep the weights in float with a whole Q/DQ pair"
    if scale.size == 1:
        return ""
    axis = node.attributes.get("axis")
    if axis is None:
        return "its axis is not stated, and the importer's default is 0, not ONNX's 1; state it"
    if node.op == "QuantizeLinear" and node.constant(0) is None:
        return f"it has {scale.size} scales on an activation; only weights have one for each channel"
    if axis >= node.rank() or (node.shapes[0] or ())[axis] != scale.size:
        return f"it has {scale.size} scales on axis {axis}, which is not as long; quantise along the output channels"
    return ""


def _resize(node: Node) -> str:
    mode = node.attributes.get("mode", "nearest")
    if mode not in ("nearest", "linear"):
        return f"mode is {mode}; only nearest and linear are imported"
    transform = node.attributes.get("coordinate_transformation_mode", "half_pixel")
    if transform not in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
        return f"coordinate_transformation_mode is {transform}; use half_pixel"
    if len(node.types) == 4:
        return "" if node.constant(3) is not None else "its sizes are not constant; make them an initializer"
    scales = node.constant(2)
    if scales is None or scales.size != node.rank():
        return "its scales are not one constant for each axis; make them an initializer"
    if mode == "linear" and (scales[:-3] != 1).any():
        return f"scales is {scales.tolist()}; linear resizing reaches the last three axes only"
    return ""


def _clip(node: Node) -> str:
    bounds = [t for t in node.types[1:] if t is not None]
    if node.types[0] == TensorProto.FLOAT16 or (node.types[0] in FLOAT and any(t not in SINGLE for t in bounds)):
        return "its bounds are read as fp32; keep them and its input fp32"
    return ""


def _topk(node: Node) -> str:
    k = node.constant(1)
    if k is None or k.size != 1 or not 0 < int(k.reshape(-1)[0]) <= MAX_TOPK:
        return f"K is {None if k is None else k.tolist()}; it must be one constant from 1 to {MAX_TOPK}"
    return ""


def _einsum(node: Node) -> str:
    equation = node.attributes["equation"].replace(" ", "")
    terms = equation.split("->")[0].split(",")
    if set(equation) - set("abcdefghijklmnopqrstuvwxyz,->") or any(len(set(t)) < len(t) for t in terms):
        return f"equation is {equation}; only lower-case letters, no ellipsis and no diagonals are imported"
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, node.shapes, strict=True):
        if any(sizes.setdefault(letter, size) != size for letter, size in zip(term, shape or (), strict=True)):
            return f"equation {equation} broadcasts an axis; use Expand before it"
    return "" if len(terms) <= 2 else f"equation {equation} has {len(terms)} inputs; at most two are imported"


def _pad(node: Node) -> str:
    if node.attributes.get("mode", "constant") not in ("constant", "reflect", "edge"):
        return f"mode is {node.attributes['mode']}; only constant, reflect and edge are imported"
    pads = node.constant(1)
    return "" if pads is not None and (pads >= 0).all() else "pads are negative; use Slice"


def _constant(node: Node) -> str:
    kind = next(iter(node.attributes), "nothing")
    return "" if kind in ("value", "value_float", "value_floats") else f"it holds {kind}; write the attribute value"


def _one_of(attribute: str, *values: Any) -> Callable[[Node], str]:
    """An attribute that is stated must have one of `values`."""

    def check(node: Node) -> str:
        value = node.attributes.get(attribute, values[0])
        return "" if value in values else f"{attribute} is {value}; only {', '.join(map(str, values))} is imported"

    return check


def _cast(node: Node) -> str:
    to = node.attributes["to"]
    return "" if to in ANY else f"it casts to {type_name(to)}; only {type_names(ANY)} are imported"


def _transpose(node: Node) -> str:
    if node.constant(0) is not None and (node.rank() > 4 or node.types[0] not in FLOAT):
        return "it transposes a constant that is not float of rank 4 or less; transpose it before the export"
    return ""


def _flatten(node: Node) -> str:
    ok = node.rank() > 2 or (node.rank() == 2 and node.attributes.get("axis", 1) in (1, -1))
    return "" if ok else "an input of rank 2 or less passes unchanged; use Reshape"


def _dropout(node: Node) -> str:
    training = node.constant(2)
    return "it is in training mode; export in eval mode" if training is not None and training.any() else ""


_WINDOW = "auto_pad kernel_shape pads strides"
_TABLE = {
    "Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Erf Exp Floor Log Reciprocal Relu Round Sigmoid Sign Sin Sinh "
    "Softplus Softsign Sqrt Tan Tanh": Rule(),
    "Abs Neg": Rule((NUMBER,)),
    "Elu LeakyRelu ThresholdedRelu": Rule(reads="alpha"),
    "HardSigmoid": Rule(reads="alpha beta"),
    "Selu": Rule(reads="alpha gamma"),
    "Add Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min Mul Sub Sum": Rule((NUMBER,)),
    "Mean": Rule((SINGLE,)),
    "MatMul Pow PRelu": Rule(),  # for Pow: an exponent of 2 must be 2.0
    "And Not Or": Rule((BOOL,)),
    "Where": Rule((BOOL, NUMBER)),
    "Cast": Rule((ANY,), "to", check=_cast),
    "Constant": Rule(reads="value value_float value_floats", check=_constant),
    "ConstantOfShape": Rule((INTEGER,), "value", (0,)),
    "Identity Shape Size": Rule((ANY,)),
    "ArgMax ArgMin": Rule(reads="axis keepdims select_last_index", rank=(2, MAX_RANK)),
    "TopK": Rule((FLOAT, INTEGER), "axis sorted", (1,), outputs=2, check=_topk),  # its result is sorted in any case
    "CumSum": Rule((FLOAT, INTEGER), "exclusive reverse", (1,)),
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare": Rule(
        reads="axes keepdims"
    ),
    "ReduceSum": Rule((FLOAT, INTEGER), "keepdims", (1,), optional=(1,)),
    "LogSoftmax Softmax": Rule(reads="axis"),
    "BatchNormalization": Rule((SINGLE,), "epsilon momentum", (1, 2, 3, 4)),
    "InstanceNormalization": Rule((SINGLE,), "epsilon", (1, 2), rank=(3, 5)),
    "LRN": Rule(reads="alpha beta bias size", rank=(4, 4)),
    "LpNormalization": Rule(reads="axis p", check=_one_of("p", 2, 1)),
    "Conv": Rule(reads=_WINDOW + " dilations group", constant=(2,), rank=(3, 5), check=_conv),
    "ConvTranspose": Rule(
        reads=_WINDOW + " dilations group output_padding output_shape", constant=(2,), rank=(3, 5), check=_conv
    ),
    "AveragePool": Rule(reads=_WINDOW + " ceil_mode count_include_pad", rank=(3, 5), check=_pool),
    "MaxPool": Rule(reads=_WINDOW + " ceil_mode dilations", rank=(3, 5), check=_pool),
    "LpPool": Rule(reads=_WINDOW + " p", rank=(4, 5), check=_one_of("p", 2, 1)),
    "GlobalAveragePool GlobalMaxPool": Rule(rank=(3, MAX_RANK)),
    "GlobalLpPool": Rule(reads="p", rank=(3, MAX_RANK)),
    "Gemm": Rule(reads="alpha beta transA transB", rank=(2, 2), check=_gemm),
    "Einsum": Rule(reads="equation", check=_einsum),
    "QuantizeLinear": Rule((SINGLE, SINGLE, INT8), "axis", (1, 2), check=_quantize),
    "DequantizeLinear": Rule((INT8, SINGLE, INT8), "axis", (1, 2), check=_quantize),
    "Clip": Rule((SINGLE | INTEGER,), constant=(1, 2), optional=(1, 2), check=_clip),
    "Concat": Rule((ANY,), "axis"),
    "Split": Rule((ANY, INTEGER), "axis", (1,), outputs=1 << 30),
    "Slice": Rule((ANY, INTEGER), constant=(1, 2, 3, 4)),
    "Expand Reshape Squeeze Tile Unsqueeze": Rule((ANY, INTEGER), constant=(1,)),
    "Flatten": Rule((ANY,), "axis", check=_flatten),
    "Transpose": Rule((ANY,), "perm", check=_transpose),
    "DepthToSpace": Rule((NUMBER,), "blocksize mode", rank=(4, 4)),
    "SpaceToDepth": Rule((NUMBER,), "blocksize", rank=(4, 4)),
    "Pad": Rule((FLOAT, INTEGER, SINGLE), "mode", (1, 2), check=_pad),
    "Resize": Rule(
        (FLOAT, SINGLE, SINGLE, INTEGER),
        "coordinate_transformation_mode mode nearest_mode",
        optional=(1, 2),
        check=_resize,
    ),
    "Gather GatherElements": Rule((NUMBER, INTEGER), "axis"),
    "GatherND": Rule((NUMBER, INTEGER), "batch_dims", check=_one_of("batch_dims", 0, 1)),
    "ScatterElements": Rule((NUMBER, INTEGER, NUMBER), "axis"),
    "ScatterND": Rule((NUMBER, INTEGER, NUMBER)),
    "Range": Rule((SINGLE | INTEGER,), constant=(0, 1, 2)),
    "Dropout": Rule((FLOAT, FLOAT, BOOL), "seed", (1, 2), optional=(1,), outputs=2, check=_dropout),
}
RULES = {op: rule for ops, rule in _TABLE.items() for op in ops.split()}
