"""ONNX Runtime: the embedded default, because it runs anywhere: on a GPU where it can, else on the CPU."""

import contextlib

import numpy as np

from ..errors import EngineError


class OnnxRuntimeEngine:
    """Runs one ONNX file, on an NVIDIA GPU if this build of ONNX Runtime has its CUDA provider and that works.

    int8 files are for the CPU: the CUDA provider takes their products apart into float ones.

    Args:
        model: the ONNX file: its path, or its bytes, as `Bundle.read` gives them, checked.
        precision: what to report, e.g. 'fp32'.
        reason: why this backend was chosen, one line.
        threads: intra-op threads; 0 lets ONNX Runtime choose.
        rounded: compute a quantised file in float, rounded as it says, not by this CPU's int8 kernels: for TensorRT's
            file, whose weights of 8 bits overflow on x86 without VNNI, and not on a GPU.

    Raises:
        EngineError: onnxruntime is not installed, or refuses the file.
    """

    name = "onnxruntime"

    def __init__(self, model, precision="fp32", reason="", threads=0, rounded=False):
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
        options.add_session_config_entry("session.load_model_format", "ONNX")  # and not what looks like its own format
        if rounded:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        providers = _providers(ort, precision)
        if len(providers) == 1:
            _save_memory(ort, options)
        try:
            self._session = ort.InferenceSession(model, options, providers=providers)
        except Exception as e:  # onnxruntime has no public base class for its errors
            raise EngineError("onnxruntime {} cannot run {}: {}".format(ort.__version__, _name(model), _line(e))) from e
        if len(providers) == 1:  # with a second one it would need them to fall back on that
            self._session._model_bytes = None  # its copy of the file; ONNX Runtime itself has let go of it
        inputs = self._session.get_inputs()
        if not inputs:
            raise EngineError("{} takes no input; write the bundle again".format(_name(model)))
        self._input = inputs[0]
        self._outputs = [o.name for o in self._session.get_outputs()]
        self.precision = precision
        self.reason = reason
        used = self._session.get_providers()[0]
        self.device = "{} (ONNX Runtime {})".format(used.replace("ExecutionProvider", ""), ort.__version__)
        if used != providers[0]:  # ONNX Runtime goes on without a provider that fails, and only logs it
            self.reason += "; its {} could not start".format(providers[0])
        self.proof = self.sha256 = ""
        self._later = {}

    @property
    def input_shape(self):
        """(1, C, H, W) of the batch that `infer` expects."""
        return tuple(self._input.shape)

    def infer(self, batch, later=()):
        """Run `batch`, float32 (1, C, H, W); returns {output name: float32 array}.

        later: names of outputs that `read` gives, if somebody wants them.
        """
        if self._session is None:
            raise EngineError("the engine is closed; open it again")
        if batch.shape != self.input_shape or batch.dtype != np.float32:
            raise EngineError(
                "the model takes float32 {}, not {} {}".format(self.input_shape, batch.dtype, tuple(batch.shape))
            )
        try:
            outputs = dict(zip(self._outputs, self._session.run(self._outputs, {self._input.name: batch})))
        except Exception as e:
            raise EngineError("onnxruntime cannot run the model: {}".format(_line(e))) from e
        self._later = {name: outputs.pop(name) for name in later}
        return outputs

    def read(self, name):
        """Output `name` of the newest `infer`, which left it for later: float32 array."""
        return self._later[name]

    def close(self):
        """Release the session. Safe to call twice."""
        self._session, self._later = None, {}


def _save_memory(ort, options):
    """Take what is asked for, not the next power of two: 16 MB less for 2 GMAC on a CPU, at the same speed."""
    options.enable_mem_pattern = False
    info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    with contextlib.suppress(Exception):  # ONNX Runtime 1.10 refuses it to the second engine of a process, which has it
        ort.create_and_register_allocator(info, ort.OrtArenaCfg(0, 1, -1, -1))
    options.add_session_config_entry("session.use_env_allocators", "1")


def _name(model):
    return model if isinstance(model, str) else "the model"


def _line(e):
    return (str(e).splitlines() or [type(e).__name__])[0]


def _providers(ort, precision):
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    return [cuda, cpu] if cuda in ort.get_available_providers() and precision != "int8" else [cpu]
