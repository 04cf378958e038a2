"""Networks as the list of layers that an inference engine such as TensorRT executes, for boards/latency_model.py.

Counted as fused, and so as no layer of their own: batch norm, ReLU and biases; the residual sum after a convolution,
of which only the reading stays; a GELU or LayerNorm is one layer. Reshape, split and concatenation are views. Two
ways lead to the same list (a test holds them to each other): an exported master, and a model's config, which takes no
weights and a fraction of a millisecond, so that pruning can ask it thousands of times.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod
from pathlib import Path

import onnx

from ..errors import ExportError, RecipeError
from ..model.blocks import HEAD_DIM
from ..model.detector import INPUT_STEP, ViTDetector
from ..model.mobile_stem import ROWS, STAGES, block_names, is_mobile

KINDS = ("conv", "depthwise", "matmul", "attention", "elementwise")
Shape = tuple[int, int, int]  # channels, height, width; tokens are (D, T, 1)


@dataclass(frozen=True)
class Layer:
    """One kernel of an engine, for one image.

    kind: conv (dense, 3x3 and larger), depthwise (grouped), matmul (linear layers and 1x1 convolutions), attention
    (products of two activations), elementwise (norms, GELU, softmax, sums, transposes, pooling).
    macs: multiply-accumulates. elements: numbers moved, activations in and out and weights; times 4, 2 or 1 bytes.
    """

    name: str
    kind: str
    macs: int
    elements: int


def total_macs(layers: list[Layer]) -> int:
    return sum(layer.macs for layer in layers)


def conv_kind(kernel: int, groups: int) -> str:
    """The operator class of a convolution; kernel: elements of its window."""
    if groups > 1:
        return "depthwise"
    return "matmul" if kernel == 1 else "conv"


class Sketch:
    """Writes down a network's layers; every method takes the shape of its input and returns that of its output."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []

    def add(self, name: str, kind: str, macs: int, elements: int) -> None:
        self.layers.append(Layer(name or f"{kind} {len(self.layers)}", kind, macs, elements))

    def conv(self, x: Shape, out: int, kernel=3, stride=1, groups=1, name="", summed=False) -> Shape:
        """A convolution padded to ceil(size / stride). summed: a residual is read and added."""
        y = (out, -(-x[1] // stride), -(-x[2] // stride))
        weights = out * x[0] // groups * kernel**2
        moved = prod(x) + prod(y) * (2 if summed else 1) + weights
        self.add(name, conv_kind(kernel**2, groups), weights * y[1] * y[2], moved)
        return y

    def linear(self, x: Shape, out: int, name="") -> Shape:
        return self.conv(x, out, 1, name=name)

    def upconv(self, x: Shape, out: int, factor=2, name="") -> Shape:
        """A transposed convolution whose kernel is its stride."""
        y, weights = (out, x[1] * factor, x[2] * factor), x[0] * out * factor**2
        self.add(name, conv_kind(factor**2, 1), weights * x[1] * x[2], prod(x) + prod(y) + weights)
        return y

    def elementwise(self, x: Shape, moved=2.0, name="") -> Shape:
        """Anything without weights; moved: numbers read and written per element of x."""
        self.add(name, "elementwise", 0, int(moved * prod(x)))
        return x

    def product(self, a: int, inner: int, b: int, batch=1, name="") -> None:
        """`batch` products of activations, (a, inner) x (inner, b)."""
        self.add(name, "attention", batch * a * inner * b, batch * (a * inner + inner * b + a * b))

    def attention(self, x: Shape, width: int, heads: int, windows=1, name="attn") -> Shape:
        """Softmax attention between the tokens of each window, from q, k, v of `width` in all -> (width, T, 1)."""
        tokens, y = prod(x[1:]) // windows, (width, *x[1:])
        for part in ("q", "k", "v", "y"):
            self.elementwise(y, name=f"{name}.{part}.transpose")
        self.product(tokens, width // heads, tokens, heads * windows, f"{name}.qk")
        self.elementwise((heads * windows, tokens, tokens), name=f"{name}.softmax")
        self.product(tokens, tokens, width // heads, heads * windows, f"{name}.av")
        return y


# --- from a model ---


def layers_of_model(model: ViTDetector, width: int, height: int) -> list[Layer]:
    """The layers of `model` at an input of width x height pixels."""
    return layers_of_config(model.config(), width, height)


def layers_of_config(config: dict, width: int, height: int) -> list[Layer]:
    """The layers of ViTDetector(**config) at width x height pixels; follows the model's `features` and `predict`.

    Raises:
        RecipeError: the model cannot take that size.
    """
    if width % INPUT_STEP or height % INPUT_STEP:
        raise RecipeError(f"an input of {width}x{height} does not fit; both sides must be multiples of {INPUT_STEP}")
    net = Sketch()
    stem = _mobile_stem if is_mobile(config["stem"]) else _plain_stem
    maps = stem(net, config["stem"], (config["channels"], height, width))
    x = maps[16]
    factor = config.get("token_stride", 32) // 16
    x = net.conv(x, config["dim"], stride=factor, name="embed.0")
    if config.get("mixer") == "conv":
        for i, hidden in enumerate(config["mlp"]):
            y = net.conv(x, hidden, name=f"blocks.{i}.body.0.0")
            net.conv(y, config["dim"], name=f"blocks.{i}.body.1.0", summed=True)
    else:
        x = net.conv(x, config["dim"], groups=config["dim"], name="position", summed=True)
        net.elementwise(x, name="tokens.transpose")
        _blocks(net, config, (x[0], x[1] * x[2], 1))
        net.elementwise(x, name="norm")
        net.elementwise(x, name="map.transpose")
    for k, stride in enumerate(s for s in (16, 8, 4) if s >= min(config["strides"])):
        x = net.upconv(x, config["neck"], 2 if k else factor, name=f"up.{k}")
        net.conv(maps[stride], config["neck"], 1, name=f"lateral.{k}", summed=True)
        if stride in config["strides"]:
            x = net.conv(x, config["neck"], name=f"smooth.{stride}.0")
            for branch, out in (("cls", config["classes"]), ("box", 4)) if config["classes"] else ():
                y = net.conv(x, config["neck"], name=f"heads.{stride}.{branch}.0.0")
                y = net.conv(y, out, 1, name=f"heads.{stride}.{branch}.1")
                net.elementwise(y, name=f"heads.{stride}.{branch}.transpose")
    if config.get("segments"):
        net.linear(net.conv(x, config["neck"], name="dense.0.0"), config["segments"], "dense.1")
    return net.layers


def _plain_stem(net: Sketch, widths: list[int], x: Shape) -> dict[int, Shape]:
    """The map that each stage of strided and residual convolutions leaves, by stride."""
    maps = {}
    for i, channels in enumerate(widths):
        x = net.conv(x, channels, stride=2, name=f"stem.{i}.0.0" if i else "stem.0.0")
        if i:
            x = net.conv(x, channels, name=f"stem.{i}.1.body.0.0")
            x = net.conv(x, channels, name=f"stem.{i}.1.body.1.0", summed=True)
        maps[2 << i] = x
    return maps


def _mobile_stem(net: Sketch, hidden: list[int], x: Shape) -> dict[int, Shape]:
    """The map that each stage of inverted residuals leaves, by stride."""
    ends = []
    for i, (name, channels, row) in enumerate(zip(block_names(), hidden, ROWS, strict=True)):
        y = net.conv(x, channels, 1 if i else 3, 1 if i else 2, name=f"{name}.expand.0")
        y = net.conv(y, channels, row.kernel, row.stride, channels, f"{name}.depthwise.0")
        x = net.conv(y, row.out, 1, name=f"{name}.project.0", summed=i > 0 and row.stride == 1 and x[0] == row.out)
        ends.append(x)
    last = accumulate(len(stage) for stage in STAGES)
    return {2 << i: ends[n - 1] for i, n in enumerate(last)}


def _blocks(net: Sketch, config: dict, x: Shape) -> None:
    """The transformer blocks, and the pooling of their tokens."""
    full, (first, end) = x, config.get("pool") or (-1, -1)
    for i, (heads, hidden) in enumerate(zip(config["heads"], config["mlp"], strict=True)):
        if i == first:
            net.elementwise(full, 1.5, "pool.rows")
            net.elementwise(full, 0.75, "pool.columns")
            x = (full[0], full[1] // 4, 1)
        if heads:
            net.elementwise(x, name=f"blocks.{i}.norm1")
            y = _linear(net, config, x, 3 * heads * HEAD_DIM, f"blocks.{i}.attn.qkv")
            y = net.attention(x, heads * HEAD_DIM, heads, name=f"blocks.{i}.attn")
            _linear(net, config, y, x[0], f"blocks.{i}.attn.proj")
            net.elementwise(x, 3, f"blocks.{i}.attn.add")
        if hidden:
            net.elementwise(x, name=f"blocks.{i}.norm2")
            y = _linear(net, config, x, hidden, f"blocks.{i}.mlp.fc1")
            net.elementwise(y, name=f"blocks.{i}.mlp.act")
            _linear(net, config, y, x[0], f"blocks.{i}.mlp.fc2")
            net.elementwise(x, 3, f"blocks.{i}.mlp.add")
        if i == end - 1:
            net.elementwise(full, 0.75, "unpool.subtract")
            x = net.elementwise(full, 3, "unpool.add")


def _linear(net: Sketch, config: dict, x: Shape, out: int, name: str) -> Shape:
    """A linear layer, or the two that low-rank factorisation left in its place."""
    rank = (config.get("ranks") or {}).get(name)
    if rank is None:
        return net.linear(x, out, name)
    return net.linear(net.linear(x, rank, f"{name}.0"), out, f"{name}.1")


# --- from an ONNX file ---

_VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Split", "Slice", "Concat", "Identity", "Constant", "Gather"}
_POINTWISE = {"Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Erf", "Relu", "Clip", "Sigmoid", "Tanh", "ReduceMean", "Cast"}
_FREE = {"Add", "Sub", "Mul", "Div", "Relu", "Clip", "Cast"}  # with a constant: done by the layer before


def layers_of_onnx(path: Path) -> list[Layer]:
    """The layers of an exported master (float, static shapes).

    Raises:
        ExportError: not an ONNX file, or shapes are missing.
    """
    try:
        graph = onnx.shape_inference.infer_shapes(onnx.load(str(path))).graph
    except Exception as e:  # onnx raises several kinds, none of them exported
        raise ExportError(f"{path} cannot be read as ONNX: {str(e).splitlines()[0]}") from e
    return _Walk(graph, path).layers()


class _Walk:
    """One graph and the questions asked about it."""

    def __init__(self, graph: onnx.GraphProto, path: Path):
        self.graph, self.path = graph, path
        self.weights = {w.name for w in graph.initializer}
        self.weights |= {n.output[0] for n in graph.node if n.op_type == "Constant"}
        values = (*graph.input, *graph.value_info, *graph.output)
        self.shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
        self.shapes |= {w.name: list(w.dims) for w in graph.initializer}
        self.maker = {out: n for n in graph.node for out in n.output}

    def layers(self) -> list[Layer]:
        found: dict[str, Layer] = {}  # keyed by the output that the layer makes
        for node in self.graph.node:
            if node.op_type not in _VIEWS | _POINTWISE:
                found[node.output[0]] = self.heavy(node)
            elif self.is_sum(node):
                source = next((a for a in map(self.anchor, reversed(node.input)) if self.is_conv(a)), None)
                if source in found:
                    more = found[source].elements + self.count(node.output[0])
                    found[source] = replace(found[source], elements=more)
                else:
                    found[node.output[0]] = Layer(node.name, "elementwise", 0, 3 * self.count(node.output[0]))
        found |= {f"chain {i}": layer for i, layer in enumerate(self.chains())}
        return [layer for layer in found.values() if layer.elements]

    def heavy(self, node) -> Layer:
        out = self.count(node.output[0])
        inputs = [i for i in node.input if i]
        moved = out + sum(self.count(i) for i in inputs[:2])
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type in ("Conv", "ConvTranspose"):
            weight = self.shapes[inputs[1]]
            ahead = self.count(inputs[0]) if node.op_type == "ConvTranspose" else out
            kind = conv_kind(prod(weight[2:]), attributes.get("group", 1))
            return Layer(node.name, kind, ahead * prod(weight[1:]), moved)
        if node.op_type in ("MatMul", "Gemm"):
            inner = self.shapes[inputs[0]][0 if attributes.get("transA") else -1]
            kind = "matmul" if inputs[1] in self.weights or node.op_type == "Gemm" else "attention"
            return Layer(node.name, kind, out * inner, moved)
        return Layer(node.name, "elementwise", 0, out + self.count(inputs[0]))

    def chains(self) -> Iterator[Layer]:
        """Runs of pointwise operators and reductions, each of which one kernel executes: norms, activations."""
        chain_of: dict[str, int] = {}  # output -> number of its chain
        members: dict[int, list] = {}
        for number, node in enumerate(self.graph.node):
            if node.op_type in _POINTWISE and not self.is_sum(node):
                joined = {chain_of[i] for i in node.input if i in chain_of}
                members[number] = [n for j in sorted(joined) for n in members.pop(j)] + [node]
                chain_of |= {n.output[0]: number for n in members[number]}
        for nodes in members.values():
            if not all(n.op_type in _FREE and len(self.activations(n)) == 1 for n in nodes):
                made = {n.output[0] for n in nodes}
                read = {i for n in nodes for i in self.activations(n)} - made
                leaving = [o for o in made if self.is_read_outside(o, nodes)]
                moved = sum(map(self.count, [*read, *leaving]))
                yield Layer(nodes[-1].name, "elementwise", 0, moved)

    def activations(self, node) -> list[str]:
        return [i for i in dict.fromkeys(node.input) if i and i not in self.weights]

    def is_sum(self, node) -> bool:
        return node.op_type == "Add" and len(self.activations(node)) == 2

    def is_conv(self, output: str) -> bool:
        return output in self.maker and self.maker[output].op_type in ("Conv", "ConvTranspose")

    def anchor(self, output: str) -> str:
        """The output of the layer that `output` comes from through free operators."""
        while output in self.maker:
            node = self.maker[output]
            if node.op_type not in _FREE or len(self.activations(node)) != 1:
                break
            output = self.activations(node)[0]
        return output

    def is_read_outside(self, output: str, nodes: list) -> bool:
        inside = {id(n) for n in nodes}
        readers = [n for n in self.graph.node if output in n.input]
        return not readers or any(id(n) not in inside for n in readers)

    def count(self, value: str) -> int:
        shape = self.shapes.get(value)
        if shape is None or not all(shape):
            raise ExportError(f"{self.path}: the shape of '{value}' is not known; export with fixed sizes")
        return prod(shape)
