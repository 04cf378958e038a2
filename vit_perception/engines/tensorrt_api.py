"""Three generations of TensorRT's Python API behind one small interface; no other file asks for the version.

    8.2 .. 8.4     a binding has an index; execute_async_v2
    8.5 .. 10.x    a tensor has a name; execute_async_v3
    11 and later   precision comes from the ONNX file only: no flags, no constraints on layers

Sources: the Python bindings in NVIDIA's TensorRT repository, tags 8.2.1 to v11.1.
"""

from collections import namedtuple

from ..errors import EngineError

OLDEST, MEMORY_POOLS, NAMED_TENSORS, NO_EXPLICIT_BATCH, STRONGLY_TYPED = (8, 2), (8, 4), (8, 5), (10, 0), (11, 0)

Tensor = namedtuple("Tensor", "name is_input shape")


def load_tensorrt():
    """Returns the `Api` of the installed TensorRT. Raises EngineError: not installed, broken, or older than 8.2."""
    try:
        import tensorrt
    except Exception as e:  # besides ImportError, old bindings raise AttributeError with a new NumPy
        if isinstance(e, ModuleNotFoundError) and e.name == "tensorrt":
            raise EngineError("TensorRT is not installed for this Python; it is a part of JetPack") from e
        raise EngineError(
            "TensorRT is installed but cannot be loaded: {}; its libraries must be those it was installed with, and in "
            "a container the NVIDIA runtime brings them".format(e)
        ) from e
    api = Api(tensorrt)
    if api.release < OLDEST:
        raise EngineError(
            "TensorRT {} is too old; 8.2 (JetPack 4.6) is the oldest that is supported".format(api.version)
        )
    return api


class Api:
    """One installed TensorRT.

    Attributes:
        trt: the module. version (str). release ((int, int)): major and minor.
        strongly_typed (bool): the precision is what the ONNX file says.
        logger: collects TensorRT's errors; `problem()` gives them.
    """

    def __init__(self, trt):
        self.trt = trt
        self.version = trt.__version__
        self.release = tuple(int(n) for n in self.version.split(".")[:2])
        self.strongly_typed = self.release >= STRONGLY_TYPED
        self.logger = _make_logger(trt)

    def problem(self):
        """What TensorRT logged as errors since the last call, one line."""
        messages, self.logger.errors = self.logger.errors, []
        return "; ".join(messages[-3:]) or "it gave no reason"

    # Building

    def create_network(self, builder):
        """An empty network with static batch, as the ONNX parser wants it."""
        if self.release >= NO_EXPLICIT_BATCH:
            return builder.create_network()
        return builder.create_network(1 << int(self.trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))

    def limit_workspace(self, config, size):
        """Let layers use at most `size` bytes of scratch memory."""
        if self.release >= MEMORY_POOLS:
            config.set_memory_pool_limit(self.trt.MemoryPoolType.WORKSPACE, size)
        else:
            config.max_workspace_size = size

    def has_fast(self, builder, precision):
        """Whether the GPU has instructions for 'fp16' or 'int8'; None where TensorRT no longer tells."""
        if self.strongly_typed:
            return None
        return builder.platform_has_fast_fp16 if precision == "fp16" else builder.platform_has_fast_int8

    def allow_precisions(self, config, precisions):
        """Let layers run in 'fp16' or 'int8', but where a layer's precision is set, obey it. Not for strong typing."""
        flags = {"fp16": self.trt.BuilderFlag.FP16, "int8": self.trt.BuilderFlag.INT8}
        for precision in precisions:
            config.set_flag(flags[precision])
        config.set_flag(self.trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)

    # Running

    def tensors(self, engine):
        """Inputs and outputs of an engine, [Tensor]. Raises EngineError if one is not float32, as a bundle's are."""
        if self.release >= NAMED_TENSORS:
            names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
            types = [engine.get_tensor_dtype(n) for n in names]
            found = [
                Tensor(n, engine.get_tensor_mode(n) == self.trt.TensorIOMode.INPUT, tuple(engine.get_tensor_shape(n)))
                for n in names
            ]
        else:
            indices = range(engine.num_bindings)
            types = [engine.get_binding_dtype(i) for i in indices]
            found = [
                Tensor(engine.get_binding_name(i), engine.binding_is_input(i), tuple(engine.get_binding_shape(i)))
                for i in indices
            ]
        for tensor, dtype in zip(found, types):
            if dtype != self.trt.float32 or min(tensor.shape) < 1:
                raise EngineError(
                    "'{}' of the engine is {} {}, not float32 of fixed size; build the engine with build_engine".format(
                        tensor.name, dtype, tensor.shape
                    )
                )
        return found

    def bind(self, engine, context, addresses):
        """Tie tensors to memory; returns enqueue(stream) -> bool, which starts one inference.

        Args:
            addresses: {tensor name: address that the GPU understands}.
        """
        if self.release >= NAMED_TENSORS:
            for name, address in addresses.items():
                context.set_tensor_address(name, address)
            return context.execute_async_v3
        bindings = [addresses[engine.get_binding_name(i)] for i in range(engine.num_bindings)]
        return lambda stream: context.execute_async_v2(bindings, stream)


def _make_logger(trt):
    class Logger(trt.ILogger):  # type: ignore[name-defined]
        """Keeps the errors, for TensorRT returns None and logs why."""

        def __init__(self):
            trt.ILogger.__init__(self)
            self.errors = []

        def log(self, severity, msg):
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.errors.append(" ".join(str(msg).split()))

    return Logger()
