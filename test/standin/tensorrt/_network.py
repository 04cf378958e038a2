"""INetworkDefinition, its layers, and the ONNX parser that makes them.

A layer is named after its ONNX node. Helpers that the parser adds have names of their own, or the node's and a number.
"""

from . import _onnx
from ._engine import data_type
from ._logger import say
from ._surface import RELEASE, State, class_of, fault, implements, member, new

NO_IMPORTER_8_2 = {
    "LayerNormalization",
    "Gelu",
    "GridSample",
    "HardSwish",
    "Trilu",
    "DynamicQuantizeLinear",
}  # and more


@implements("INetworkDefinition.num_layers")
def _num_layers(network):
    return len(network._state.layers)


@implements("INetworkDefinition.get_layer")
def _get_layer(network, index):
    layers = network._state.layers
    return new("ILayer", record=layers[index]) if 0 <= index < len(layers) else None


def _layer(name, op, types):
    return State(name=name, op=op, types=types, precision=None, output_types={}, squares=False)


@implements("ILayer.name")
def _layer_name(layer):
    return layer._state.record.name


@implements("ILayer.precision")
def _precision(layer):
    return layer._state.record.precision or member("DataType", "FLOAT")


@implements("ILayer.precision=")
def _set_precision(layer, precision):
    if not isinstance(precision, class_of("DataType")):
        raise TypeError("incompatible function arguments: precision is a DataType")
    layer._state.record.precision = precision


@implements("ILayer.num_outputs")
def _num_outputs(layer):
    return len(layer._state.record.types)


@implements("ILayer.get_output")
def _get_output(layer, index):
    record = layer._state.record
    return new("ITensor", record=record, index=index) if 0 <= index < len(record.types) else None


@implements("ILayer.set_output_type")
def _set_output_type(layer, index, dtype):
    layer._state.record.output_types[index] = dtype


@implements("ITensor.dtype")
def _tensor_dtype(tensor):
    record, index = tensor._state.record, tensor._state.index
    return record.output_types.get(index) or data_type(record.types[index])


@implements("OnnxParser.__init__")
def _init_parser(parser, network, logger):
    parser._state = State(network=network, logger=logger, errors=[])


@implements("OnnxParser.parse")
def _parse(parser, model, path):
    state, network = parser._state, parser._state.network._state
    try:
        graph = _onnx.read(model)
    except ValueError:
        return _refuse(state, (-1, "MODEL_DESERIALIZE_FAILED", "Failed to parse the ONNX model."))
    if not network.explicit:
        return _refuse(
            state, (-1, "INTERNAL_ERROR", "This version of the ONNX parser only supports networks with EXPLICIT_BATCH")
        )
    if fault("parse_error") is not None:
        wrong = (0, "INVALID_NODE", "Invalid Node - {}\n a size is negative".format(graph.nodes[0].name))
        return _refuse(state, wrong, (len(graph.nodes) - 1, "UNSUPPORTED_NODE", "No importer registered for op: Last"))
    if RELEASE < (8, 5):
        unknown = [(i, n.op) for i, n in enumerate(graph.nodes) if n.op in NO_IMPORTER_8_2]
        if unknown:
            text = "No importer registered for op: {}. Attempting to import as plugin."
            return _refuse(state, *[(i, "UNSUPPORTED_NODE", text.format(op)) for i, op in unknown])
    network.graph, network.onnx = graph, model
    for node in graph.nodes:
        _add_layers(network, node)
    return True


def _refuse(state, *errors):
    state.errors.extend(errors)
    for node, code, text in errors:
        say(state.logger, "ERROR", "[{}] In node {}: {}: {}".format("ModelImporter.cpp:773", node, code, text))
    return False


def _add_layers(network, node):
    graph, layers = network.graph, network.layers
    if node.op == "Constant":  # becomes a layer where it is used
        return
    for name in node.inputs:
        if name in graph.constants and node.op not in ("Conv", "ConvTranspose", "Reshape", "Gemm"):
            layers.append(_layer("(Unnamed Layer* {}) [Constant]".format(len(layers)), "Constant", [graph.types[name]]))
            layers.append(_layer("(Unnamed Layer* {}) [Shuffle]".format(len(layers)), "Shuffle", [graph.types[name]]))
    made = _layer(node.name or node.outputs[0], node.op, [graph.types[name] for name in node.outputs])
    made.squares = node.op == "Pow" or node.op == "Mul" and node.inputs[0] == node.inputs[1]
    layers.append(made)
    if node.op == "Gemm":  # the bias is a layer of its own, with the node's name and a number
        layers.append(_layer("{}_{}".format(made.name, len(layers)), "Add", made.types))


@implements("OnnxParser.num_errors")
def _num_errors(parser):
    return len(parser._state.errors)


@implements("OnnxParser.get_error")
def _get_error(parser, index):
    node, code, text = parser._state.errors[index]
    return new("ParserError", node=node, code=code, text=text)


@implements("ParserError.node")
def _error_node(error):
    return error._state.node


@implements("ParserError.desc")
def _error_text(error):
    return error._state.text
