"""As much of an ONNX file as the stand-in needs: names and types. A reader of its own, for Python 3.6 has no onnx.

Field numbers: onnx.proto of the ONNX project.
"""

from collections import namedtuple

FLOAT, UINT8, INT8, INT32, INT64, BOOL, FLOAT16 = 1, 2, 3, 6, 7, 9, 10  # TensorProto.DataType
_TYPED = {  # operators whose output has another type than their first input
    "Shape": INT64,
    "Size": INT64,
    "ArgMax": INT64,
    "NonZero": INT64,
    "QuantizeLinear": INT8,
    "DequantizeLinear": FLOAT,
    "Equal": BOOL,
    "Greater": BOOL,
    "Less": BOOL,
    "Not": BOOL,
}

Node = namedtuple("Node", "name op inputs outputs attributes")  # attributes: {name: int}
Tensor = namedtuple("Tensor", "name type shape")
Graph = namedtuple("Graph", "nodes inputs outputs constants types")  # constants: {name}; types: {tensor name: type}


def read(data):
    """Returns the Graph of the model in `data` (bytes). Raises ValueError if it is none."""
    try:
        graph = dict(_fields(data)).get(7)
        nodes, inputs, outputs, types, constants = [], [], [], {}, set()
        for number, value in _fields(graph):
            if number == 1:
                nodes.append(_node(value))
            elif number == 5:
                fields = dict(_fields(value))
                types[fields[8].decode()] = fields[2]
                constants.add(fields[8].decode())
            elif number in (11, 12):
                (inputs if number == 11 else outputs).append(_tensor(value))
    except (IndexError, KeyError, TypeError, UnicodeDecodeError) as e:
        raise ValueError("not an ONNX model ({})".format(e)) from e
    types.update((t.name, t.type) for t in inputs)
    for node in nodes:  # in topological order
        if node.op == "Constant":
            constants.update(node.outputs)
        first = types.get(node.inputs[0], FLOAT) if node.inputs else INT64 if node.op == "Constant" else FLOAT
        if node.op == "Where":
            first = types.get(node.inputs[1], FLOAT)
        for output in node.outputs:
            types[output] = node.attributes.get("to") or _TYPED.get(node.op) or first
    types.update((t.name, t.type) for t in outputs)
    return Graph(nodes, [t for t in inputs if t.name not in constants], outputs, constants, types)


def _node(data):
    inputs, outputs, attributes, texts = [], [], {}, {}
    for number, value in _fields(data):
        if number in (1, 2):
            (inputs if number == 1 else outputs).append(value.decode())
        elif number in (3, 4):
            texts[number] = value.decode()
        elif number == 5:
            fields = dict(_fields(value))
            attributes[fields[1].decode()] = fields.get(3)
    return Node(texts.get(3, ""), texts[4], inputs, outputs, attributes)


def _tensor(data):
    fields = dict(_fields(data))
    kind = dict(_fields(dict(_fields(fields[2]))[1]))
    shape = [dict(_fields(dim)).get(1, -1) for number, dim in _fields(kind.get(2, b"")) if number == 1]
    return Tensor(fields[1].decode(), kind[1], shape)


def _fields(data):
    """(number, value) of the fields of a protobuf message; value is an int or bytes."""
    i = 0
    while i < len(data):
        key, i = _varint(data, i)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, i = _varint(data, i)
        elif wire in (1, 2, 5):
            size = {1: 8, 5: 4}.get(wire)
            if size is None:
                size, i = _varint(data, i)
            value, i = data[i : i + size], i + size
            if len(value) < size:
                raise IndexError("it ends too early")
        else:
            raise IndexError("wire type {}".format(wire))
        yield number, value


def _varint(data, i):
    value = shift = 0
    while True:
        byte = data[i]
        value |= (byte & 127) << shift
        i, shift = i + 1, shift + 7
        if byte < 128:
            return value, i
