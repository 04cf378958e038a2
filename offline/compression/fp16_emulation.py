"""fp16 arithmetic, emulated on a CPU: what an engine that computes in half precision makes of a master.

Every node that is not kept in fp32 takes its inputs and weights as fp16 and rounds each result to fp16; a value beyond
the range becomes inf. One rounded operation is what the hardware does (IEEE 754). What differs between kernels is the
precision that sums are kept in, so there are three kinds of `sums`:

    fp32        inside a node in fp32, rounded once: tensor cores, and cuBLAS or cuDNN when asked to
    reductions  the sums of means and softmaxes in fp16, one element after the other; products as in fp32
    products    those and the dot products of Conv, Gemm and MatMul in fp16, in order, fused multiply-add

In order is the worst case for rounding: kernels sum in trees. What overflows does not depend on the order much, since
squares and exponentials have one sign. TensorRT also fuses nodes, and a fused chain may round less often.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper
from torch import Tensor

from ..errors import ExportError
from .quantize_fp16 import keeps_fp32

SUMS = ("fp32", "reductions", "products")


class HalfEngine:
    """The engine interface over an emulated mixed fp16 network.

    Args:
        master: the fp32 ONNX file.
        fp32: names of the nodes that compute in fp32 and give fp32; all others are fp16.
        sums: of SUMS.

    Attributes:
        overflowed (set): names of the nodes that so far made inf or NaN from finite inputs.

    Raises:
        ExportError: an operator that is not emulated.
    """

    name, precision = "half", "fp16"
    reason = "fp16 arithmetic, emulated"

    def __init__(self, master: Path, fp32: Iterable[str] = (), sums: str = "fp32"):
        if sums not in SUMS:
            raise ValueError(f"sums must be one of {', '.join(SUMS)}, not '{sums}'")
        self.graph = onnx.load(str(master)).graph
        self.fp32, self.sums = frozenset(fp32), sums
        self.overflowed: set[str] = set()
        if unknown := sorted({n.op_type for n in self.graph.node} - set(OPERATORS)):
            raise ExportError(
                f"{master}: the emulation of fp16 knows no {', '.join(unknown)}; add it to fp16_emulation.py"
            )
        self.input_shape = tuple(d.dim_value for d in self.graph.input[0].type.tensor_type.shape.dim)
        self._constants = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in self.graph.initializer}

    def infer(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """float32 (1, C, H, W) -> {output name: float32 array}."""
        values = self.run({self.graph.input[0].name: torch.from_numpy(batch)}, self.graph.node)
        return {o.name: values[o.name].float().numpy() for o in self.graph.output}

    def run(self, values: dict[str, Tensor], nodes: Iterable[onnx.NodeProto]) -> dict[str, Tensor]:
        """`values` and every tensor that `nodes`, in this order, make of them."""
        values = self._constants | values
        with torch.inference_mode(), np.errstate(over="ignore", invalid="ignore"):
            for node in nodes:
                dtype = torch.float32 if node.name in self.fp32 else torch.float16
                inputs = [values[i].to(dtype) if values[i].is_floating_point() else values[i] for i in node.input]
                results = self._compute(node, inputs, "fp32" if dtype == torch.float32 else self.sums)
                if all(_finite(values[i]) for i in node.input) and not all(_finite(y) for y in results):
                    self.overflowed.add(node.name)
                values |= zip(node.output, results, strict=True)
        return values

    def close(self) -> None:
        pass

    @staticmethod
    def _compute(node: onnx.NodeProto, inputs: list[Tensor], sums: str) -> list[Tensor]:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        result = OPERATORS[node.op_type](inputs, attributes, sums)
        return list(result) if isinstance(result, tuple) else [result.to(inputs[0].dtype)]


def parts(master: Path, batches: list[np.ndarray]) -> list[dict]:
    """Each LayerNorm, GELU and softmax on its own in fp16, sums included, on inputs that come from the fp32 network.

    Returns:
        Per part, worst over the batches: {"name", "input" and "inside" (largest magnitude of what it reads and of what
        it computes, sums included, in fp32), "cosine", "error" (largest absolute, to fp32), "overflows"}.
    """
    graph = onnx.load(str(master)).graph
    exact, half = HalfEngine(master, {n.name for n in graph.node}), HalfEngine(master, sums="reductions")
    groups: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        if keeps_fp32(node):
            groups.setdefault(node.name.rsplit("/", 1)[0], []).append(node)
        elif node.op_type == "Softmax":
            groups[node.name] = [node]
    rows: dict[str, dict] = {
        name: {"name": name, "input": 0.0, "inside": 0.0, "cosine": 1.0, "error": 0.0} for name in groups
    }
    for batch in batches:
        values = exact.run({graph.input[0].name: torch.from_numpy(batch)}, graph.node)
        for name, nodes in groups.items():
            row, output = rows[name], nodes[-1].output[0]
            right, found = (v[output].float().numpy() for v in (values, half.run(values, nodes)))
            row["input"] = max(row["input"], _largest(values[nodes[0].input[0]]))
            row["inside"] = max(row["inside"], *(_widest(n, values) for n in nodes))
            row["cosine"] = min(row["cosine"], cosine(right, found))
            row["error"] = max(row["error"], float(np.abs(right - found).max()))
    return [r | {"overflows": any(n.name in half.overflowed for n in groups[name])} for name, r in rows.items()]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of two arrays of one shape; 0 where `b` is not finite."""
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30)) if np.isfinite(b).all() else 0.0


def _widest(node: onnx.NodeProto, values: dict[str, Tensor]) -> float:
    """Largest magnitude that `node` makes on its way, from fp32 `values`; of a mean also its sum."""
    made = _largest(values[node.output[0]])
    if node.op_type == "ReduceMean":
        made *= values[node.input[0]].numel() / values[node.output[0]].numel()
    return made


def _largest(x: Tensor) -> float:
    return float(x.abs().max())


def _finite(x: Tensor) -> bool:
    return not x.is_floating_point() or bool(x.isfinite().all())


def _sum(x: Tensor, axis: int) -> Tensor:
    """fp16 sum along `axis`, kept as 1, in order, every partial sum rounded to fp16."""
    return torch.from_numpy(np.add.accumulate(x.numpy(), axis)).narrow(axis, -1, 1)


def _mean(inputs, attributes, sums):
    x, axes = inputs[0], [int(a) for a in attributes["axes"]]
    keep = bool(attributes.get("keepdims", 1))
    if sums == "fp32":
        return x.float().mean(axes, keepdim=keep)
    y = x
    for axis in axes:
        y = _sum(y, axis)
    y = y / (x.numel() // y.numel())
    return y if keep else y.squeeze(axes)


def _softmax(inputs, attributes, sums):
    x, axis = inputs[0], attributes.get("axis", -1)
    if sums == "fp32":
        return x.float().softmax(axis)
    e = (x - x.amax(axis, keepdim=True)).exp()
    return e / _sum(e, axis)


def _product(a: Tensor, b: Tensor, sums: str) -> Tensor:
    """(..., M, K) @ (..., K, N), in fp32, or in fp16 with one rounding after each multiply-add."""
    if sums != "products":
        return a.float() @ b.float()
    y = torch.zeros(*torch.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1], dtype=a.dtype)
    for k in range(a.shape[-1]):
        y.addcmul_(a[..., k, None], b[..., k, None, :])  # computed in fp32, rounded once
    return y


def _matmul(inputs, attributes, sums):
    return _product(inputs[0], inputs[1], sums)


def _gemm(inputs, attributes, sums):
    a, b = (x.mT if attributes.get(f"trans{k}") else x for x, k in zip(inputs, "AB", strict=False))
    y = attributes.get("alpha", 1.0) * _product(a, b, sums)
    return y + attributes.get("beta", 1.0) * inputs[2] if len(inputs) == 3 else y


def _conv(inputs, attributes, sums):
    x, weight, *bias = inputs
    groups, stride, dilation = (attributes[k] for k in ("group", "strides", "dilations"))
    top, left, bottom, right = attributes["pads"]
    x = F.pad(x, (left, right, top, bottom))
    if sums != "products":
        start = bias[0].float() if bias else None
        return F.conv2d(x.float(), weight.float(), start, stride, 0, dilation, groups)
    columns = F.unfold(x, weight.shape[2:], dilation, 0, stride)  # (1, groups * K, pixels)
    k, n = weight[0].numel(), columns.shape[-1]
    y = _product(weight.reshape(groups, -1, k), columns.reshape(groups, k, n), sums).reshape(1, len(weight), -1)
    height = (x.shape[2] - dilation[0] * (weight.shape[2] - 1) - 1) // stride[0] + 1
    y = y.reshape(1, len(weight), height, -1)
    return y + bias[0].reshape(1, -1, 1, 1) if bias else y


def _conv_transpose(inputs, attributes, sums):
    """Kernels that do not overlap, as the neck has them: a product per pixel, laid out."""
    x, weight, *bias = inputs
    stride = list(attributes["strides"])
    if list(weight.shape[2:]) != stride or attributes["group"] != 1 or any(attributes["pads"]):
        raise ExportError("the emulation of fp16 knows ConvTranspose with kernel = stride, one group, no padding only")
    y = _product(weight.flatten(1).mT, x.flatten(2), sums)  # (1, Cout * kernel, pixels)
    y = F.fold(y, [n * s for n, s in zip(x.shape[2:], stride, strict=True)], stride, stride=stride)
    return y + bias[0].reshape(1, -1, 1, 1) if bias else y


def _reshape(inputs, attributes, sums):
    x, shape = inputs[0], inputs[1].tolist()
    return x.reshape([x.shape[i] if s == 0 else s for i, s in enumerate(shape)])


OPERATORS = {  # ONNX's operators: f(inputs, attributes, sums) -> a tensor, rounded by the caller, or a tuple of them
    "Add": lambda x, a, s: x[0] + x[1],
    "Clip": lambda x, a, s: x[0].clamp(*x[1:]),
    "Concat": lambda x, a, s: torch.cat(x, a["axis"]),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": lambda x, a, s: x[0] / x[1],
    "Erf": lambda x, a, s: torch.erf(x[0]),
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Mul": lambda x, a, s: x[0] * x[1],
    "ReduceMean": _mean,
    "Relu": lambda x, a, s: x[0].relu(),
    "Reshape": _reshape,
    "Softmax": _softmax,
    "Split": lambda x, a, s: torch.split(x[0], x[1].tolist(), a["axis"]),
    "Sqrt": lambda x, a, s: x[0].sqrt(),
    "Sub": lambda x, a, s: x[0] - x[1],
    "Transpose": lambda x, a, s: x[0].permute(a["perm"]),
}
