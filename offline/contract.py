"""What an ONNX file must be to enter a bundle: readable by TensorRT 8.2, the oldest consumer, and by all later ones."""

from pathlib import Path

import onnx

from .errors import ExportError

OPSET, IR = 13, 8

# Operators with an importer in onnx-tensorrt, branch release/8.2-GA (builtin_op_importers.cpp), without control flow,
# recurrent and random ones, which a static detector has no use for.
_TENSORRT_8_2 = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu Clip Concat
Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal
Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool
Greater GreaterOrEqual HardSigmoid Identity InstanceNormalization LRN LeakyRelu Less LessOrEqual Log LogSoftmax
LpNormalization LpPool MatMul Max MaxPool Mean Min Mul Neg Not Or PRelu Pad ParametricSoftplus Pow QuantizeLinear
Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
ReduceSumSquare Relu Reshape Resize Round ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Sinh Size Slice Softmax
Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Unsqueeze
Upsample Where
"""
TENSORRT_8_2 = frozenset(_TENSORRT_8_2.split())
# Added by ONNX Runtime's dynamic quantisation; for files whose only consumer is ONNX Runtime.
ONNXRUNTIME_INT8 = frozenset({"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"})


def operators(model: onnx.ModelProto) -> list[str]:
    """The set of operators in a graph, sorted."""
    return sorted({n.op_type if n.domain in ("", "ai.onnx") else f"{n.domain}.{n.op_type}" for n in model.graph.node})


def check_contract(path: Path, allowed: frozenset[str] = TENSORRT_8_2) -> list[str]:
    """Check an ONNX file against the bundle contract; returns its operators.

    Raises:
        ExportError: invalid, other opset or newer IR, dynamic shapes, wrong inputs or outputs, or an operator that the
            consumer cannot import.
    """
    model = onnx.load(str(path))
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as e:  # onnx raises several kinds, none of them exported
        raise ExportError(f"{path} is not valid ONNX: {str(e).splitlines()[0]}") from e
    opsets = {o.domain: o.version for o in model.opset_import}
    if opsets.get("", opsets.get("ai.onnx")) != OPSET or set(opsets) - {"", "ai.onnx"}:
        raise ExportError(
            f"{path} uses opset {', '.join(f'{d} {v}'.strip() for d, v in opsets.items())}; "
            f"the contract is opset {OPSET} and no other domain"
        )
    if model.ir_version > IR:
        raise ExportError(f"{path} has IR version {model.ir_version}; the contract is at most {IR}")
    used = operators(model)
    if foreign := sorted(set(used) - allowed):
        raise ExportError(
            f"{path} uses {', '.join(foreign)}, which its consumer has no importer for; change the model or the export"
        )
    names = [v.name for v in (*model.graph.input, *model.graph.output)]
    if names != ["images", "logits", "boxes"]:
        raise ExportError(f"{path} has inputs and outputs {names}; the contract is images -> logits, boxes")
    for value in (*model.graph.input, *model.graph.output):
        if not all(d.HasField("dim_value") and d.dim_value > 0 for d in value.type.tensor_type.shape.dim):
            raise ExportError(f"{path}: '{value.name}' has no static shape; export with fixed sizes")
    return used
