"""ONNX Runtime: the embedded default, because it runs anywhere: on a GPU where it can, else on the CPU."""

import numpy as np

from ..errors import EngineError


class OnnxRuntimeEngine:
    """Runs one ONNX file, on an NVIDIA GPU if this build of ONNX Runtime has its CUDA provider and that works.

    int8 files are for the CPU: the CUDA provider takes their products apart into float ones.

    Args:
        path: the ONNX file.
        precision: what to report, e.g. 'fp32'.
        reason: why this backend was chosen, one line.
        threads: intra-op threads; 0 lets ONNX Runtime choose.

    Raises:
        EngineError: onnxruntime is not installed, or refuses the file.
    """

    name = "onnxruntime"

    def __init__(self, path, precision="fp32", reason="", threads=0):
        try:
            import onnxruntime as ort
        except ImportError as e:
            raise EngineError(
                "backend onnxruntime is not installed ({}); run: pip install onnxruntime".format(e)
            ) from e
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(threads)
        options.log_severity_level = 3
        # Spinning workers save microseconds and burn the CPU that the flight stack needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = _providers(ort, precision)
        try:
            self._session = ort.InferenceSession(path, options, providers=providers)
        except Exception as e:  # onnxruntime has no public base class for its errors
            reason = str(e).splitlines()[0]
            raise EngineError("onnxruntime {} cannot run {}: {}".format(ort.__version__, path, reason)) from e
        self._input = self._session.get_inputs()[0]
        self._outputs = [o.name for o in self._session.get_outputs()]
        self.precision = precision
        self.reason = reason
        used = self._session.get_providers()[0]
        self.device = "{} (ONNX Runtime {})".format(used.replace("ExecutionProvider", ""), ort.__version__)
        if used != providers[0]:  # ONNX Runtime goes on without a provider that fails, and only logs it
            self.reason += "; its {} could not start".format(providers[0])
        self.proof = self.sha256 = ""

    @property
    def input_shape(self):
        """(1, C, H, W) of the batch that `infer` expects."""
        return tuple(self._input.shape)

    def infer(self, batch):
        """Run `batch`, float32 (1, C, H, W); returns {output name: float32 array}."""
        if self._session is None:
            raise EngineError("the engine is closed; open it again")
        if batch.shape != self.input_shape or batch.dtype != np.float32:
            raise EngineError(
                "the model takes float32 {}, not {} {}".format(self.input_shape, batch.dtype, tuple(batch.shape))
            )
        return dict(zip(self._outputs, self._session.run(self._outputs, {self._input.name: batch})))

    def close(self):
        """Release the session. Safe to call twice."""
        self._session = None


def _providers(ort, precision):
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    return [cuda, cpu] if cuda in ort.get_available_providers() and precision != "int8" else [cpu]
