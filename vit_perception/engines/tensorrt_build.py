"""ONNX -> TensorRT engine, on the board itself: an engine fits one GPU and one version of TensorRT only."""

import os

from ..errors import EngineError

NEEDED_MB = 1000  # beside the workspace: cuBLAS and cuDNN alone were seen to take 700 MB on a Nano
SMALL_BOARD_MB = 6000  # up to this much memory the check is made
MEMINFO = "/proc/meminfo"


def source_of(bundle, precision, strongly_typed):
    """Which file of the bundle gives an engine of `precision`: (precision, key of the file).

    Before TensorRT 11 the fp32 master serves fp16 too, for the builder may choose; from 11 on the file itself says.

    Args:
        precision: 'auto' is fp16 where that can be had, else fp32.

    Raises:
        EngineError: the bundle has no such file.
    """
    if precision == "auto":
        half = not bundle.fp16_refused and (not strongly_typed or "fp16" in bundle.variants)
        precision = "fp16" if half else "fp32"
    elif precision == "fp16" and bundle.fp16_refused:
        raise EngineError("bundle {}: {}".format(bundle.path, bundle.fp16_refused))
    file = {"fp32": "fp32", "fp16": "fp16" if strongly_typed else "fp32", "int8": "int8_trt"}[precision]
    if file not in bundle.variants:
        raise EngineError(
            "bundle {} has no '{}' file, from which {} would be built; make it with --target jetson-orin-nano, or "
            "choose another precision".format(bundle.path, file, precision)
        )
    return precision, file


def build(api, onnx, precision, fp32_layers, workspace_mb, timing=b""):
    """Build an engine.

    Args:
        api: `Api` of the installed TensorRT.
        onnx (bytes): the file that `source_of` names.
        precision: 'fp32', 'fp16' or 'int8'.
        fp32_layers: names of ONNX nodes that stay fp32 (LayerNorm, GELU, what is too wide for fp16).
        timing (bytes): timing cache of an earlier build here.

    Returns:
        (engine bytes, timing cache bytes).

    Raises:
        EngineError: the GPU lacks the precision, the file cannot be parsed, or the builder gives up; with its words.
    """
    trt = api.trt
    builder = trt.Builder(api.logger)
    for needed in ("fp16", "int8"):
        if precision == needed and api.has_fast(builder, needed) is False:
            raise EngineError("this GPU has no fast {}; choose another precision".format(needed))
    network = api.create_network(builder)
    parser = trt.OnnxParser(network, api.logger)
    if not parser.parse(onnx):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        words = "; ".join("node {}: {}".format(e.node(), " ".join(e.desc().split())) for e in errors[:3])
        raise EngineError("TensorRT {} cannot read the ONNX file: {}".format(api.version, words or api.problem()))
    config = builder.create_builder_config()
    api.limit_workspace(config, int(workspace_mb) << 20)
    if precision != "fp32" and not api.strongly_typed:
        api.allow_precisions(config, ["fp16"] if precision == "fp16" else ["fp16", "int8"])
        _pin(trt, network, fp32_layers)
    cache = config.create_timing_cache(timing) or config.create_timing_cache(b"")  # None: what was kept is damaged
    config.set_timing_cache(cache, True)  # True: a cache of another device is used as far as it goes
    data = builder.build_serialized_network(network, config)
    if data is None:
        raise EngineError(
            "TensorRT {} could not build the engine: {}; if it is memory, add swap or give a smaller "
            "--workspace-mb".format(api.version, api.problem())
        )
    return bytes(data), bytes(config.get_timing_cache().serialize())


def _pin(trt, network, names):
    """Keep the layers of these ONNX nodes in fp32. A layer has its node's name, further ones of it a number behind."""
    wanted = set(names)
    pinned = set()
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        node = layer.name if layer.name in wanted else layer.name.rpartition("_")[0]
        if node not in wanted or layer.num_outputs == 0 or layer.get_output(0).dtype != trt.float32:
            continue
        layer.precision = trt.float32
        for k in range(layer.num_outputs):
            layer.set_output_type(k, trt.float32)
        pinned.add(node)
    if wanted and not pinned:
        raise EngineError(
            "none of the {} layers that must stay fp32 is in the network; the ONNX file lost its node names, write the "
            "bundle again".format(len(wanted))
        )


def check_memory(workspace_mb):
    """On a small board, refuse a build that the kernel would kill half-way. Raises EngineError, with what to do."""
    total, free = _memory_mb()
    needed = NEEDED_MB + workspace_mb
    if total is not None and total <= SMALL_BOARD_MB and free < needed:
        raise EngineError(
            "building an engine needs about {} MB of free memory and swap, and there are {} MB; add a swap file and "
            "stop the desktop, as docs/jetson.md tells, or pass --ignore-memory to try it".format(needed, free)
        )


def _memory_mb():
    """(total memory, available memory and free swap) in MB; (None, None) where the kernel does not tell."""
    values = {}
    try:
        with open(MEMINFO) as f:
            for line in f:
                name, _, rest = line.partition(":")
                values[name] = int(rest.split()[0]) // 1024
        return values["MemTotal"], values["MemAvailable"] + values["SwapFree"]
    except (OSError, ValueError, KeyError, IndexError):
        return None, None


def read(path):
    """Bytes of a file of the bundle."""
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        raise EngineError("cannot read {}: {}".format(os.path.abspath(path), e.strerror)) from e
