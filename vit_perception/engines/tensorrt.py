"""TensorRT: the engine of the mission. Runs one that was built and proven on this board."""

import hashlib

import numpy as np

from ..errors import EngineError, EngineLost
from .cuda import Buffer

DTYPE = np.dtype(np.float32)  # of every input and output, in every precision; Api.tensors checks it


class TensorRTEngine:
    """One engine, its memory and its stream, all made here: a frame allocates nothing.

    Use it from one thread at a time.

    Args:
        api: `Api` of the installed TensorRT.
        cuda: `Cuda`.
        data (bytes): the serialized engine.
        precision, reason: what to report.

    Raises:
        EngineError: TensorRT refuses the engine (truncated, another GPU, another version), or memory is short.
    """

    name = "tensorrt"

    def __init__(self, api, cuda, data, precision, reason=""):
        self.precision, self.reason, self.proof = precision, reason, ""
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.device = "{} (TensorRT {})".format(cuda.device, api.version)
        self._api, self._cuda = api, cuda
        self._buffers, self._stream, self._context, self._enqueue = {}, None, None, None
        self._engine = api.trt.Runtime(api.logger).deserialize_cuda_engine(data)
        if self._engine is None:
            raise EngineError("TensorRT {} refuses the engine: {}".format(api.version, api.problem()))
        try:
            self._prepare()
        except Exception:
            self.close()
            raise

    def _prepare(self):
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineError("TensorRT cannot make an execution context: {}".format(self._api.problem()))
        tensors = self._api.tensors(self._engine)
        inputs = [t for t in tensors if t.is_input]
        if len(inputs) != 1:
            raise EngineError("the engine has {} inputs, not one; build it with build_engine".format(len(inputs)))
        self._input = inputs[0].name
        self.input_shape = inputs[0].shape
        for tensor in tensors:
            self._buffers[tensor.name] = Buffer(self._cuda, tensor.shape, DTYPE)
        self._outputs = {t.name: np.zeros(t.shape, DTYPE) for t in tensors if not t.is_input}
        addresses = {name: buffer.address for name, buffer in self._buffers.items()}
        self._enqueue = self._api.bind(self._engine, self._context, addresses)
        self._stream = self._cuda.create_stream()

    def infer(self, batch, later=()):
        """Run `batch`, float32 (1, C, H, W); returns {output name: float32 array}, which the next call overwrites.

        later: names of outputs that `read` fetches, if somebody wants them: what is in them must not hold up the rest.

        Raises:
            EngineError: wrong input, closed, or CUDA failed.
        """
        if self._enqueue is None:
            raise EngineError("the engine is closed; open it again")
        if self._cuda.lost:
            raise EngineLost(self._cuda.lost)
        if batch.shape != self.input_shape or batch.dtype != DTYPE:
            raise EngineError(
                "the model takes float32 {}, not {} {}".format(self.input_shape, batch.dtype, tuple(batch.shape))
            )
        source = self._buffers[self._input]
        np.copyto(source.host, batch)
        source.to_device(self._stream)
        if not self._enqueue(self._stream):
            raise EngineError("TensorRT could not start the inference: {}".format(self._api.problem()))
        for name in self._outputs:
            self._buffers[name].to_host(self._stream)
        self._cuda.call("cudaStreamSynchronize", self._stream)
        for name, values in self._outputs.items():  # mapped pages are not cached by the CPU: read them once
            if name not in later:
                np.copyto(values, self._buffers[name].host)
        return {n: v for n, v in self._outputs.items() if n not in later} if later else self._outputs

    def read(self, name):
        """Output `name` of the newest `infer`, which left it for later: float32 array, overwritten by the next call."""
        if self._enqueue is None:
            raise EngineError("the engine is closed; open it again")
        np.copyto(self._outputs[name], self._buffers[name].host)
        return self._outputs[name]

    def close(self):
        """Release memory, context and engine, in this order. Safe to call twice and after errors."""
        self._enqueue = None
        if self._stream is not None:
            self._cuda.release("cudaStreamSynchronize", self._stream)
            self._cuda.release("cudaStreamDestroy", self._stream)
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers, self._stream = {}, None
        self._context = None
        self._engine = None
