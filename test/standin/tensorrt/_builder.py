"""Builder, its configuration and the timing cache: from a network to engine bytes."""

import ctypes
import json
import time

from . import _device, _onnx
from ._engine import pack
from ._logger import say
from ._surface import RELEASE, VERSION, State, class_of, fault, has, implements, member, new

TIMING = b"standin timing cache\n"
_SLOW_STEP_S = 0.02


@implements("Builder.__init__")
def _init(builder, logger):
    code = _device.problem()
    if code:
        say(logger, "ERROR", "CUDA initialization failure with error: {}".format(code))
        raise TypeError("pybind11::init(): factory function returned nullptr")
    builder._state = State(logger=logger)


@implements("Builder.platform_has_fast_fp16")
def _fast_fp16(builder):
    return _device.gpu()[1] in ("5.3", "6.0", "6.2") or _major() >= 7


@implements("Builder.platform_has_fast_int8")
def _fast_int8(builder):
    return _device.gpu()[1] == "6.1" or _major() >= 7


def _major():
    return int(_device.gpu()[1].split(".")[0])


@implements("Builder.create_network")
def _create_network(builder, flags):
    def given(flag):
        return has("NetworkDefinitionCreationFlag", flag) and bool(
            flags >> int(member("NetworkDefinitionCreationFlag", flag)) & 1
        )

    return new(
        "INetworkDefinition",
        explicit=RELEASE >= (10, 0) or given("EXPLICIT_BATCH"),
        strong=RELEASE >= (11, 0) or given("STRONGLY_TYPED"),
        layers=[],
        graph=None,
        onnx=b"",
    )


@implements("Builder.create_builder_config")
def _create_config(builder):
    return new("IBuilderConfig", flags=set(), workspace=0, timing=None, logger=builder._state.logger)


# The configuration


@implements("IBuilderConfig.set_flag")
def _set_flag(config, flag):
    config._state.flags.add(flag.name)


@implements("IBuilderConfig.get_flag")
def _get_flag(config, flag):
    return flag.name in config._state.flags


@implements("IBuilderConfig.max_workspace_size")
def _workspace(config):
    return config._state.workspace


@implements("IBuilderConfig.max_workspace_size=")
def _set_workspace(config, size):
    config._state.workspace = int(size)


@implements("IBuilderConfig.set_memory_pool_limit")
def _set_pool(config, pool, pool_size):
    if pool.name == "WORKSPACE":
        config._state.workspace = pool_size


@implements("IBuilderConfig.create_timing_cache")
def _create_timing_cache(config, serialized_timing_cache):
    if serialized_timing_cache and (fault("timing_none") is not None or not serialized_timing_cache.startswith(TIMING)):
        say(config._state.logger, "ERROR", "1: Error Code 1: Serialization (the timing cache cannot be read)")
        return None
    entry = json.loads(serialized_timing_cache[len(TIMING) :].decode()) if serialized_timing_cache else {}
    return new("ITimingCache", entry=entry)


@implements("IBuilderConfig.set_timing_cache")
def _set_timing_cache(config, cache, ignore_mismatch):
    entry = cache._state.entry
    if entry and entry["for"] != list((VERSION,) + _device.gpu()) and not ignore_mismatch:
        say(config._state.logger, "ERROR", "3: the timing cache is of another device or version")
        return False
    config._state.timing = cache
    return True


@implements("IBuilderConfig.get_timing_cache")
def _get_timing_cache(config):
    return config._state.timing


@implements("ITimingCache.serialize")
def _serialize(cache):
    return host_memory(TIMING + json.dumps(cache._state.entry).encode())


# Building


@implements("Builder.build_serialized_network")
def _build(builder, network, config, kernel_text=None):
    logger, net, options = builder._state.logger, network._state, config._state
    for _ in range(int(float(fault("build_slow") or 0) / _SLOW_STEP_S)):
        time.sleep(_SLOW_STEP_S)
    problem = _problem(builder, net, options)
    if problem:
        say(logger, "ERROR", problem)
        return None
    pinned = [layer for layer in net.layers if layer.precision is not None]
    obeyed = options.flags & {"OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS", "STRICT_TYPES"}
    name, capability = _device.gpu()
    plan = {
        "version": VERSION,
        "gpu": name,
        "compute_capability": capability,
        "flags": sorted(options.flags),
        "workspace": options.workspace,
        "pinned": {layer.name: layer.precision.name for layer in pinned},
        "output_types": {
            layer.name: [t.name for _, t in sorted(layer.output_types.items())]
            for layer in net.layers
            if layer.output_types
        },
        "squares_in_half": [
            layer.name for layer in net.layers if layer.squares and _in_half(layer, net, options, obeyed)
        ],
        "onnx_bytes": len(net.onnx),
    }
    say(
        logger,
        "INFO",
        "Detected {} inputs and {} output network tensors.".format(len(net.graph.inputs), len(net.graph.outputs)),
    )
    if options.timing is not None:
        options.timing._state.entry = {"for": [VERSION, name, capability], "layers": len(net.layers)}
    return host_memory(pack(plan, net.onnx))


def _problem(builder, network, options):
    """Why the builder gives up, or None."""
    if network.graph is None:
        return "4: [network.cpp::validate::2633] Error Code 4: Internal Error (Network must have at least one output)"
    if fault("build_none") is not None:
        say(
            builder._state.logger,
            "ERROR",
            "2: [virtualMemoryBuffer.cpp::resizePhysical::161] Error Code 2: OutOfMemory (out of memory)",
        )
        return (
            "10: [optimizer.cpp::computeCosts::2011] Error Code 10: Internal Error (Could not find any implementation)"
        )
    weak = options.flags & {"FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"}
    if network.strong and weak:
        return "4: a strongly typed network cannot be built with {}".format(", ".join(sorted(weak)))
    quantized = any(node.op == "QuantizeLinear" for node in network.graph.nodes)
    if quantized and not network.strong and "INT8" not in options.flags:
        return "4: [network.cpp::validate] int8 is set for a layer, but not configured in the builder"
    for flag, fast in (("FP16", _fast_fp16), ("INT8", _fast_int8)):
        if flag in options.flags and not fast(builder):
            say(
                builder._state.logger, "WARNING", "{} support requested on hardware without native support".format(flag)
            )
    return None


def _in_half(layer, network, options, obeyed):
    """Whether a layer is computed in fp16: by its type, or because the builder may and nobody forbade it."""
    if network.strong or "FP16" not in options.flags:
        return layer.types[0] == _onnx.FLOAT16
    full = member("DataType", "FLOAT")
    return not (obeyed and layer.precision == full and layer.output_types.get(0) == full)


def host_memory(data):
    """An IHostMemory: bytes() and the buffer protocol, and nothing else that bytes has."""
    base = class_of("IHostMemory")
    content = {
        "__len__": None,
        "__getitem__": None,
        "__iter__": None,
        "__getattribute__": _host_attribute,
        "__init__": object.__init__,
    }
    return type("IHostMemory", (base, ctypes.c_char * len(data)), content).from_buffer_copy(data)


def _host_attribute(memory, name):
    if not name.startswith("__") and not has("IHostMemory", name):
        raise AttributeError("'tensorrt.tensorrt.IHostMemory' object has no attribute '{}'".format(name))
    return object.__getattribute__(memory, name)


@implements("IHostMemory.nbytes")
def _nbytes(memory):
    return ctypes.sizeof(memory)
