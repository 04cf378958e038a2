"""Inference backends behind one small interface.

    engine = open_engine(bundle, backend="auto", precision="auto")
    outputs = engine.infer(batch)      # dict of NumPy arrays
    outputs = engine.infer(batch, later=("classes",))    # without these ...
    engine.read("classes")             # ... which are fetched if somebody wants them, before the next infer
    engine.close()
    engine.name, engine.device, engine.precision   # what runs
    engine.reason, engine.proof                    # why it was chosen; how it did on the golden data
    engine.sha256                                  # of the ONNX file or of the built engine

`auto` takes TensorRT where it is installed and proves itself, else ONNX Runtime, and says in `reason` why. A backend
that was asked for by name is never replaced by another.
"""

from ..bundles.golden import prove
from ..errors import EngineError, PerceptionError

BACKENDS = ("auto", "tensorrt", "onnxruntime")
PRECISIONS = ("auto", "fp32", "fp16", "int8")


def open_engine(
    bundle, backend="auto", precision="auto", threads=0, cache="", workspace_mb=256, progress=None, stop=None
):
    """Open `bundle` on `backend` and prove it on the bundle's golden data.

    Args:
        bundle: a `vit_perception.bundles.bundle.Bundle`.
        backend: one of BACKENDS.
        precision: one of PRECISIONS; 'auto' is fp16 with TensorRT and fp32 with ONNX Runtime.
        threads: CPU threads of ONNX Runtime; 0 lets it choose.
        cache, workspace_mb: TensorRT's folder of engines ('': the user's cache folder); scratch memory of its builder.
        progress: called with one line now and then during a build, which can take minutes.
        stop: has is_set(); a build ends when it is set.

    Raises:
        EngineError: the backend is unknown, cannot run here, or computes something else than the golden data.
    """
    for what, value, known in (("backend", backend, BACKENDS), ("precision", precision, PRECISIONS)):
        if value not in known:
            raise EngineError("unknown {} '{}'; choose one of: {}".format(what, value, ", ".join(known)))
    if backend == "onnxruntime":
        return _open_onnxruntime(bundle, precision, threads, "asked for by name")
    from .tensorrt_open import open_tensorrt

    try:
        engine = open_tensorrt(bundle, precision, cache, workspace_mb, progress, stop)
    except Exception as e:  # NVIDIA's libraries raise what they like
        if not isinstance(e, PerceptionError):
            e = EngineError("TensorRT failed: {!r}".format(e))
        if backend == "tensorrt" or (stop is not None and stop.is_set()):
            raise e
        return _open_onnxruntime(bundle, precision, threads, "auto: TensorRT cannot be used: {}".format(e))
    engine.reason = "asked for by name" if backend == "tensorrt" else "auto: TensorRT passed its golden check"
    return engine


def open_configured(bundle, values, progress=None, stop=None):
    """`open_engine` as the parameters of the node say, `values` by name."""
    names = ("backend", "precision", "threads", "engine_cache", "workspace_mb")
    return open_engine(bundle, *([values[n] for n in names] + [progress, stop]))


def _open_onnxruntime(bundle, precision, threads, reason):
    from .onnxruntime import OnnxRuntimeEngine

    precision = "fp32" if precision == "auto" else precision
    if precision not in bundle.variants:
        raise EngineError(
            "bundle {} has no '{}' file for ONNX Runtime; it has: {}".format(
                bundle.path, precision, ", ".join(bundle.variants)
            )
        )
    engine = OnnxRuntimeEngine(bundle.read(precision), precision, reason, threads)
    engine.sha256 = bundle.manifest["files"][precision]["sha256"]
    try:
        engine.proof = prove(engine, bundle, precision)
    except PerceptionError:
        engine.close()
        raise
    return engine
