"""Classes, enums and values with exactly the names of a surface; what they do is registered with `implements`."""

import json
import os

_SURFACE = os.environ.get("STANDIN_TENSORRT")
if not _SURFACE:
    raise ImportError("the stand-in TensorRT needs STANDIN_TENSORRT, the path of a surface")
with open(_SURFACE) as f:
    _TABLE = json.load(f)
VERSION = _TABLE["version"]
RELEASE = tuple(int(n) for n in VERSION.split(".")[:2])
PUBLIC = {}  # names of the module
_CLASSES = {}
_IMPLEMENTED = {}
_recorded = set()


def implements(name):
    """Decorator: what 'Class.method', 'Class.property' or, for setting one, 'Class.property=' does."""

    def register(function):
        _IMPLEMENTED[name] = function
        return function

    return register


def record(what, name):
    path = os.environ.get("STANDIN_TENSORRT_LOG")
    if path and (what, name) not in _recorded:
        _recorded.add((what, name))
        with open(path, "a") as f:
            f.write("{} {}\n".format(what, name))


def fault(name):
    """What STANDIN_FAULT says of `name`: None, '' or the text after '='."""
    for entry in os.environ.get("STANDIN_FAULT", "").split(","):
        key, _, value = entry.partition("=")
        if key == name:
            return value
    return None


def has(class_name, member):
    table = _TABLE["classes"].get(class_name, {})
    return any(member in table.get(kind, ()) for kind in ("members", "methods", "properties", "values"))


def new(class_name, **state):
    """An object of a class of the surface, as TensorRT's own functions return it."""
    made = object.__new__(_CLASSES[class_name])
    made._state = State(**state)
    return made


class State:
    """What an object knows."""

    def __init__(self, **values):
        self.__dict__.update(values)


class Object(object):
    """Base of all classes. They have slots, so that no other attribute can be set: nor can it with pybind11's."""

    __slots__ = ()

    def __getattr__(self, name):
        own = type(self).__name__
        if own in _CLASSES:
            record("missing", "{}.{}".format(own, name))
        raise AttributeError("'tensorrt.tensorrt.{}' object has no attribute '{}'".format(own, name))


class Enum(object):
    """A member of an enum, as py::enum_ makes them: not an int, but int() works."""

    __slots__ = ("_number", "name", "_ordered")

    def __init__(self, number, name, ordered):
        self._number, self.name, self._ordered = number, name, ordered

    def __int__(self):
        return self._number

    __index__ = __int__

    def __hash__(self):
        return hash(self._number)

    def __eq__(self, other):
        alike = type(other) is type(self) or self._ordered and type(other) is int
        return alike and int(other) == int(self)

    def __ne__(self, other):
        return not self == other

    def _compare(self, other):
        if not self._ordered:
            raise TypeError("{} has no order".format(type(self).__name__))
        return int(self) - int(other)

    def __lt__(self, other):
        return self._compare(other) < 0

    def __le__(self, other):
        return self._compare(other) <= 0

    def __gt__(self, other):
        return self._compare(other) > 0

    def __ge__(self, other):
        return self._compare(other) >= 0

    def __str__(self):
        return "{}.{}".format(type(self).__name__, self.name)

    def __repr__(self):
        return "<{}: {}>".format(self, int(self))


class Value:
    """A value that a class has: an enum's member or a nested class."""

    def __init__(self, name, value):
        self._name, self._value = name, value

    def __get__(self, instance, owner):
        record("touched", self._name)
        return self._value


class Property:
    """A property; a data descriptor, so that one without setter cannot be overwritten."""

    def __init__(self, name, access):
        self._name, self._access = name, access

    def __get__(self, instance, owner):
        record("touched", self._name)
        if instance is None:
            return self
        if "r" not in self._access:
            raise AttributeError("unreadable attribute {}".format(self._name))
        return _implementation(self._name)(instance)

    def __set__(self, instance, value):
        record("touched", self._name)
        if "w" not in self._access:
            raise AttributeError("can't set attribute {}".format(self._name))
        _implementation(self._name + "=")(instance, value)


class Method:
    """A method; arguments are held to the overloads' signatures."""

    def __init__(self, name, overloads):
        self._name, self._overloads = name, [_parameters(text) for text in overloads]

    def __get__(self, instance, owner):
        record("touched", self._name)
        if instance is None:
            return lambda instance, *args, **kwargs: self._call(instance, args, kwargs)
        return lambda *args, **kwargs: self._call(instance, args, kwargs)

    def _call(self, instance, args, kwargs):
        values = bind(self._name, self._overloads, args, kwargs)
        return _implementation(self._name)(instance, *values)


def _constructor(name, overloads):
    method = Method(name + ".__init__", overloads or [])

    def construct(self, *args, **kwargs):
        if overloads is None:
            raise TypeError("tensorrt.tensorrt.{}: No constructor defined!".format(name))
        method._call(self, args, kwargs)

    return construct


def _implementation(name):
    if name not in _IMPLEMENTED:
        raise NotImplementedError("the stand-in TensorRT has no {}".format(name))
    return _IMPLEMENTED[name]


def _parameters(text):
    """'flags: int = 0, x: Dims' -> [(name, type, default text or None)]."""
    parts, depth = [""], 0
    for c in text:
        depth += (c in "[(") - (c in ")]")
        if c == "," and not depth:
            parts.append("")
        else:
            parts[-1] += c
    found = []
    for part in parts if text else []:
        declared, has_default, default = part.strip().partition(" = ")
        name, _, kind = declared.partition(": ")
        found.append((name, kind, default if has_default else None))
    return found


def bind(name, overloads, args, kwargs):
    """Values of the arguments, in order. Raises TypeError, as pybind11, if no overload takes them."""
    for parameters in overloads:
        try:
            return _bind(parameters, args, kwargs)
        except TypeError:
            continue
    known = ["({})".format(", ".join(": ".join(p[:2]) for p in parameters)) for parameters in overloads]
    raise TypeError(
        "{}(): incompatible function arguments. It takes {}. Invoked with: {}, {}".format(
            name, " or ".join(known), args, kwargs
        )
    )


def _bind(parameters, args, kwargs):
    if len(args) > len(parameters) or set(kwargs) - {p[0] for p in parameters[len(args) :]}:
        raise TypeError("too many arguments")
    values = []
    for i, (name, kind, default) in enumerate(parameters):
        if i < len(args) or name in kwargs:
            values.append(_convert(args[i] if i < len(args) else kwargs[name], kind, default))
        elif default is None:
            raise TypeError("missing {}".format(name))
        else:
            values.append(int(default) if default.lstrip("-").isdigit() else None)
    return values


def _convert(value, kind, default):
    if value is None and default == "None":
        return None
    if kind == "int":
        if isinstance(value, (float, str, bytes)) or not (hasattr(value, "__index__") or hasattr(value, "__int__")):
            raise TypeError("not an int")
        return int(value)
    if kind == "List[int]":
        if isinstance(value, (str, bytes)) or not hasattr(value, "__getitem__") or not hasattr(value, "__len__"):
            raise TypeError("not a list")
        return [_convert(v, "int", None) for v in value]
    if kind == "buffer":
        return bytes(memoryview(value))
    expected = {"str": str, "bool": (bool, int), "float": (float, int)}.get(kind) or _CLASSES.get(kind)
    if expected and not isinstance(value, expected):
        raise TypeError("not {}".format(kind))
    if isinstance(value, Object) and not hasattr(value, "_state"):
        raise TypeError("{}.__init__() must be called when overriding __init__".format(kind))
    return value


def _make_class(name, table):
    if name in _CLASSES:
        return
    if "members" in table:
        made = type(name.split(".")[-1], (Enum,), {"__slots__": (), "__module__": "tensorrt.tensorrt"})
        members = {key: made(number, key, table["ordered"]) for key, number in table["members"].items()}
        made.__members__ = members
        for key, member in members.items():
            setattr(made, key, Value("{}.{}".format(name, key), member))
        if table["value"]:
            made.value = property(int)
    else:
        for base in table["bases"]:
            if base in _TABLE["classes"]:
                _make_class(base, _TABLE["classes"][base])
        bases = tuple(_CLASSES[base] for base in table["bases"] if base in _CLASSES) or (Object,)
        # Memory has no slots either: it is an array of ctypes too, and its layout can have no other part.
        slots = ("_state", "__weakref__") if bases == (Object,) and name != "IHostMemory" else ()
        content = {"__slots__": slots, "__module__": "tensorrt.tensorrt"}
        if table["init"] is not None or bases == (Object,):
            content["__init__"] = _constructor(name, table["init"])
        for key, overloads in table["methods"].items():
            content[key] = Method("{}.{}".format(name, key), overloads)
        for key, access in table["properties"].items():
            content[key] = Property("{}.{}".format(name, key), access)
        made = type(name.split(".")[-1], bases, content)
    _CLASSES[name] = made


def _value(reference):
    owner, _, member = reference.rpartition(".")
    if reference in _CLASSES:
        return _CLASSES[reference]
    return _CLASSES[owner].__members__[member] if owner in _CLASSES else reference


for _name, _table in _TABLE["classes"].items():
    _make_class(_name, _table)
for _name, _table in _TABLE["classes"].items():
    for _key, _reference in _table.get("values", {}).items():
        setattr(_CLASSES[_name], _key, Value("{}.{}".format(_name, _key), _value(_reference)))
    if "." not in _name:
        PUBLIC[_name] = _CLASSES[_name]
for _key, _reference in _TABLE["values"].items():
    PUBLIC[_key] = _value(_reference)
for _key in _TABLE["functions"]:
    PUBLIC[_key] = lambda *_, _name=_key: _implementation(_name)


def class_of(name):
    return _CLASSES[name]


def member(class_name, key):
    """A member of an enum, without recording it as touched."""
    return _CLASSES[class_name].__members__[key]
