"""Mixed fp16 for TensorRT 11, which takes the precision from the file; derived from the fp32 master.

Everything is fp16 but the LayerNorms and the GELUs, whose squares and tails leave fp16's range and precision; and only
if the fp32 activations, measured on real images, stay well inside it: no CPU shows an overflow. Where a few nodes come
too near to the limit, they and those that read them stay fp32 too; where many do, there is no fp16 file.
"""

import logging
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..errors import ExportError
from ..export.contract import check_contract
from ..files import write_atomically

log = logging.getLogger(__name__)
FP16_MAX = 65504.0
FP16_MARGIN = 4.0  # the largest activation seen may be a quarter of fp16's range
# TensorRT 8.2 reads the bounds of a ReLU6 as fp32 only; the importer of 10 and later reads them in their own precision.
NEWER = frozenset({"Clip"})
REPAIRABLE = 0.1  # share of the nodes that may stay fp32 for their range; with more, fp16 gains nothing


def activation_ranges(master: Path, batches: list[np.ndarray]) -> dict[str, float]:
    """Largest magnitude of every intermediate tensor of the fp32 master over real inputs: {tensor: value}.

    Args:
        batches: float32 (1, C, H, W) each.
    """
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


def repaired(model: onnx.ModelProto, ranges: dict[str, float]) -> set[str]:
    """Names of the nodes that must stay fp32 only because they make or read a tensor too wide for fp16.

    Args:
        ranges: from `activation_ranges`.

    Raises:
        ExportError: they are more than REPAIRABLE of all.
    """
    half = [n for n in model.graph.node if not keeps_fp32(n)]
    # not (a <= b): an overflow in fp32 itself, or NaN, is too wide as well
    wide = {name for name, value in ranges.items() if not value * FP16_MARGIN <= FP16_MAX}
    touched = {n.name for n in half if wide & {*n.input, *n.output}}
    if len(touched) > REPAIRABLE * len(model.graph.node):
        name, value = max(((o, ranges.get(o, 0.0)) for n in half for o in n.output), key=lambda pair: pair[1])
        raise ExportError(
            f"no fp16 variant: {name} reaches {value:.0f}, too near to fp16's limit 65504, and {len(touched)} of "
            f"{len(model.graph.node)} nodes would have to stay fp32; use fp32"
        )
    return touched


def widest_half(model: onnx.ModelProto, ranges: dict[str, float]) -> tuple[str, float]:
    """The tensor that would be fp16, repairs aside, and came nearest to its limit; its magnitude."""
    half = (o for n in model.graph.node if not keeps_fp32(n) for o in n.output)
    name = max(half, key=lambda o: ranges.get(o, 0.0))
    return name, ranges.get(name, 0.0)


def convert_fp16(master: Path, out: Path, ranges: dict[str, float]) -> set[str]:
    """Write the mixed fp16 variant; returns what `repaired` does, and raises as it does.

    The graph's inputs and outputs stay fp32, so that a host feeds every variant alike.
    """
    model = onnx.load(str(master))
    kept = repaired(model, ranges)
    _halve(model, {n.name for n in model.graph.node if keeps_fp32(n)} | kept)
    write_atomically(out, lambda p: onnx.save(model, str(p)))
    check_contract(out, newer=NEWER)
    return kept


def _halve(model: onnx.ModelProto, fp32: set[str]) -> None:
    """Make every float tensor of `model` fp16, in place, but for the graph's ends and the nodes named in `fp32`."""
    graph = model.graph
    floats = _float_tensors(model)
    half = {o for n in graph.node if n.name not in fp32 for o in n.output if o in floats}  # what fp16 nodes produce
    weights = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    nodes: list[onnx.NodeProto] = []
    casts: dict[tuple[str, int], str] = {}

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
        inside = node.name not in fp32
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


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    names = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    return names | {t.name for t in inferred.initializer if t.data_type == TensorProto.FLOAT}
