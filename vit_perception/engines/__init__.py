"""Inference backends behind one small interface.

    engine = open_engine(bundle, backend="auto", variant="fp32")
    outputs = engine.infer(batch)      # dict of NumPy arrays
    engine.close()
    engine.name, engine.precision, engine.reason   # what runs, and why it was chosen

`auto` says in `reason` what it chose and why; a backend that was asked for by name is never replaced by another.
"""

from ..errors import EngineError

BACKENDS = ("auto", "onnxruntime")


def open_engine(bundle, backend="auto", variant="fp32", threads=0):
    """Open `variant` of `bundle` on `backend`.

    Args:
        bundle: a `vit_perception.bundle.Bundle`.
        backend: 'auto' or 'onnxruntime'.
        variant: a key of the bundle's files, 'fp32' or 'int8'.
        threads: CPU threads of the backend; 0 lets it choose.

    Raises:
        EngineError: the backend is unknown or cannot run here. BundleError: the bundle has no such variant.
    """
    if backend not in BACKENDS:
        raise EngineError("unknown backend '{}'; choose one of: {}".format(backend, ", ".join(BACKENDS)))
    from .onnxruntime import OnnxRuntimeEngine

    reason = "asked for by name"
    if backend == "auto":
        reason = "auto: ONNX Runtime is the only backend of this version"
    return OnnxRuntimeEngine(bundle.file(variant), precision=variant, reason=reason, threads=threads)
