"""What an ONNX file must be to enter a bundle: readable by TensorRT 8.2, the oldest consumer, and by all later ones."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper

from ..errors import ExportError
from .tensorrt_importer import MAX_RANK, RULES, Node, Rule, type_name, type_names

OPSET, IR = 13, 8
OUTPUTS = (["logits", "boxes"], ["classes"], ["logits", "boxes", "classes"])  # of a detector, of masks, of both
INT32_MAX = 2**31 - 1

TENSORRT_8_2 = frozenset(RULES)
# Added by ONNX Runtime's dynamic quantisation; for files whose only consumer is ONNX Runtime.
ONNXRUNTIME_INT8 = frozenset({"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"})


def operators(model: onnx.ModelProto) -> list[str]:
    """The set of operators in a graph, sorted."""
    return sorted({n.op_type if n.domain in ("", "ai.onnx") else f"{n.domain}.{n.op_type}" for n in model.graph.node})


def check_contract(
    path: Path, allowed: frozenset[str] = TENSORRT_8_2, newer: frozenset[str] = frozenset()
) -> list[str]:
    """Check an ONNX file against the bundle contract; returns its operators.

    Args:
        allowed: operators that the file's consumer has. A file that needs more than TENSORRT_8_2 is not for TensorRT,
            and its nodes are not held to TensorRT's importer.
        newer: those whose nodes are not, because the file is for a newer TensorRT that imports more of them.

    Raises:
        ExportError: invalid, other opset or newer IR, dynamic shapes, wrong inputs or outputs, or an operator, an
            attribute or an input that the consumer cannot import.
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
    if names[:1] != ["images"] or names[1:] not in OUTPUTS:
        outputs = "; or ".join(", ".join(each) for each in OUTPUTS)
        raise ExportError(f"{path} has inputs and outputs {names}; the contract is images -> {outputs}")
    for value in (*model.graph.input, *model.graph.output):
        if not all(d.HasField("dim_value") and d.dim_value > 0 for d in value.type.tensor_type.shape.dim):
            raise ExportError(f"{path}: '{value.name}' has no static shape; export with fixed sizes")
    if allowed <= TENSORRT_8_2:
        for name, node in _nodes(model):
            if node.op not in newer and (text := problem(node)):
                raise ExportError(f"{path}: TensorRT 8.2 cannot import node '{name}' ({node.op}): {text}")
    return used


def _nodes(model: onnx.ModelProto) -> Iterator[tuple[str, Node]]:
    """The nodes as the importer of TensorRT sees them, with their names.

    Constants are what it calls weights: initializers, and what Constant and Transpose make of nothing else.
    """
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    values = {v.name: v.type.tensor_type for v in (*graph.input, *graph.value_info, *graph.output)}
    types = {name: v.elem_type for name, v in values.items()} | {t.name: t.data_type for t in graph.initializer}
    shapes = {name: tuple(d.dim_value for d in v.shape.dim) for name, v in values.items() if v.HasField("shape")}
    shapes |= {t.name: tuple(t.dims) for t in graph.initializer}
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    makers: dict[str, str] = {}
    for proto in graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
        attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
        yield (
            proto.name or proto.output[0],
            Node(
                proto.op_type,
                attributes,
                [types[i] if i else None for i in proto.input],
                [shapes.get(i) for i in proto.input],
                [constants.get(i) for i in proto.input],
                [makers.get(i, "") for i in proto.input],
                len(proto.output),
            ),
        )
        makers |= dict.fromkeys(proto.output, proto.op_type)
        if proto.op_type == "Constant" and "value" in attributes:
            constants[proto.output[0]] = numpy_helper.to_array(attributes["value"])
        elif proto.op_type == "Constant":
            constants[proto.output[0]] = np.asarray(next(iter(attributes.values())), np.float32)
        elif proto.op_type == "Transpose" and proto.input[0] in constants:
            constants[proto.output[0]] = constants[proto.input[0]].transpose(attributes.get("perm"))


def problem(node: Node) -> str:
    """What TensorRT 8.2 would refuse or get wrong in `node`, as "what; what to do"; "" if nothing.

    An operator that has no rule, and an attribute that the importer does not read, are problems too.
    """
    rule = RULES.get(node.op)
    if rule is None:
        return "the operator has no importer, or no rule in export/tensorrt_importer.py; change the model or the export"
    if node.outputs > rule.outputs:
        return f"it has {node.outputs} outputs, and only {rule.outputs} are imported; leave the others out"
    for i, kind in enumerate(node.types):
        if text := _input_problem(node, rule, i, kind):
            return text
    low, high = rule.rank
    if node.shapes and not low <= node.rank() <= high:
        return f"its input has rank {node.rank()}; only {low} to {high} are imported; reshape it"
    return rule.check(node) or _unread(node, rule)


def _input_problem(node: Node, rule: Rule, i: int, kind: int | None) -> str:
    if kind is None:
        return "" if i in rule.optional else f"input {i} is left out, which is not understood; state it"
    allowed = rule.types[min(i, len(rule.types) - 1)]
    if kind not in allowed:
        return f"input {i} is {type_name(kind)}; only {type_names(allowed)} is imported; cast it, or store it so"
    if node.rank(i) > MAX_RANK:
        return f"input {i} has rank {node.rank(i)}; at most {MAX_RANK} are imported; reshape it"
    constant = node.constant(i)
    if constant is None:
        return f"input {i} is computed; make it an initializer" if i in rule.constant else ""
    if constant.size == 0 and node.op != "Resize":
        return f"input {i} is an empty constant, which is not understood; reshape without it"
    clamps_rightly = node.op == "Slice" and i in (1, 2)  # "to the end" is written as a huge number
    if constant.dtype == np.int64 and not clamps_rightly:
        widest = max(int(constant.max()), -int(constant.min()) - 1)
        if widest > INT32_MAX:
            return f"input {i} holds numbers of more than 32 bits, and they would be cut; use smaller ones"
    return ""


def _unread(node: Node, rule: Rule) -> str:
    """An attribute that the importer does not read does no harm as long as it has ONNX's default value."""
    known = defs.get_schema(node.op, OPSET, "").attributes
    for name, value in node.attributes.items():
        if name not in rule.reads.split():
            default = helper.get_attribute_value(known[name].default_value) if name in known else None
            default = default.decode() if isinstance(default, bytes) else default
            if value != default:
                return f"{name} is {value}, and the importer does not read {name}; leave it out"
    return ""
