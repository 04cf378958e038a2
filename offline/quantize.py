"""Smaller numbers: int8 for ONNX Runtime, mixed fp16 for TensorRT 11. Both are derived from the fp32 master.

int8: dynamic, per channel, on matrix products with weights. The attention products stay in float: their int8 softmax is
five times slower. fp16: everything but the LayerNorms and the GELUs, whose squares and tails leave fp16's range and
precision; and only if the fp32 activations, measured on real images, stay well inside it: no CPU shows an overflow.
"""

import logging
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .errors import ExportError

log = logging.getLogger(__name__)
FP16_MAX = 65504.0
FP16_MARGIN = 4.0  # the largest activation seen may be a quarter of fp16's range


def quantise_int8(master: Path, out: Path) -> None:
    """Write ONNX Runtime's dynamic int8 variant of `master`."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it reports every product that it rightly leaves alone
    try:
        quantize_dynamic(
            str(master),
            str(out),
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
    finally:
        logging.disable(logging.NOTSET)


def activation_ranges(master: Path, batches: list[np.ndarray]) -> dict[str, float]:
    """Largest magnitude of every intermediate tensor of the fp32 master over real inputs: {tensor: value}."""
    import onnxruntime as ort

    model = onnx.load(str(master))
    names = [o for n in model.graph.node for o in n.output]
    known = {v.name for v in model.graph.output}
    model.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in names if n not in known)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    ranges = dict.fromkeys(names, 0.0)
    for batch in batches:
        for name, value in zip(names, session.run(names, {"images": batch}), strict=True):
            if value.dtype == np.float32 and value.size:
                ranges[name] = max(ranges[name], float(np.abs(value).max()))
    return ranges


def keeps_fp32(node: onnx.NodeProto) -> bool:
    """LayerNorm and GELU, told by the module names that the exporter writes into node names."""
    return "/norm" in node.name or "/act/" in node.name


def widest_half(model: onnx.ModelProto, ranges: dict[str, float]) -> tuple[str, float]:
    """The tensor that would be fp16 and came nearest to its limit; its magnitude, from `activation_ranges`."""
    half = (o for n in model.graph.node if not keeps_fp32(n) for o in n.output)
    name = max(half, key=lambda o: ranges.get(o, 0.0))
    return name, ranges.get(name, 0.0)


def check_fp16(model: onnx.ModelProto, ranges: dict[str, float]) -> None:
    """Raise ExportError if a tensor that would be fp16 came too near to its limit."""
    name, value = widest_half(model, ranges)
    if value * FP16_MARGIN > FP16_MAX:
        raise ExportError(f"no fp16 variant: {name} reaches {value:.0f}, too near to fp16's limit 65504; use fp32")


def convert_fp16(master: Path, out: Path, ranges: dict[str, float]) -> None:
    """Write the mixed fp16 variant: every float tensor is fp16 except inside LayerNorm and GELU.

    The graph's inputs and outputs stay fp32, so that a host feeds every variant alike. Raises as check_fp16.
    """
    model = onnx.load(str(master))
    check_fp16(model, ranges)
    graph = model.graph
    low = [n for n in graph.node if not keeps_fp32(n)]
    floats = _float_tensors(model)
    half = {o for n in low for o in n.output if o in floats}  # what fp16 nodes produce
    weights = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    nodes, casts = [], {}

    def cast(name: str, to: int) -> str:
        """The tensor `name` in another precision; one cast serves all its readers."""
        key = (name, to)
        if key not in casts:
            casts[key] = f"{name}_{'fp16' if to == TensorProto.FLOAT16 else 'fp32'}"
            if name in weights:
                array = numpy_helper.to_array(weights[name]).astype(np.float16)
                graph.initializer.append(numpy_helper.from_array(array, casts[key]))
            else:
                nodes.append(helper.make_node("Cast", [name], [casts[key]], to=to, name=f"/cast/{casts[key]}"))
        return casts[key]

    outputs = {v.name for v in graph.output}
    for node in graph.node:
        inside = not keeps_fp32(node)
        for i, name in enumerate(node.input):
            if name in floats and (name in half) != inside:
                node.input[i] = cast(name, TensorProto.FLOAT16 if inside else TensorProto.FLOAT)
        nodes.append(node)
        for i, name in enumerate(node.output):
            if name in outputs and name in half:  # the graph's outputs stay fp32
                node.output[i] = f"{name}_fp16"
                half.discard(name)
                nodes.append(
                    helper.make_node("Cast", [f"{name}_fp16"], [name], to=TensorProto.FLOAT, name=f"/cast/{name}")
                )
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    used = {i for n in graph.node for i in n.input}
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)
    onnx.save(model, str(out))
    log.info("fp16: largest activation %.0f; %d casts", widest_half(onnx.load(str(master)), ranges)[1], len(casts))


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    names = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    return names | {t.name for t in inferred.initializer if t.data_type == TensorProto.FLOAT}
