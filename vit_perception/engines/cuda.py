"""The CUDA runtime through ctypes: the device, one stream, and memory. So a board needs neither torch nor pycuda.

Every return code is checked. Names and signatures: CUDA Runtime API reference, the same from 10.2 to 13.
"""

import ctypes
import os

import numpy as np

from ..errors import EngineError, EngineLost

LIBRARIES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so.10.2")
FOLDER = "/usr/local/cuda/lib64"  # JetPack's, not always on the loader's path
OUT_OF_MEMORY, OLD_DRIVER, NO_DEVICE, STICKY = 2, 35, 100, 700
_ADVICE = {
    OUT_OF_MEMORY: "free memory or add swap, as docs/jetson.md tells",
    OLD_DRIVER: "the driver is older than this CUDA runtime; install the JetPack or driver that it came with",
    NO_DEVICE: "no GPU is visible here; in a container, start it with --runtime nvidia",
}
_ATTRIBUTES = {"major": 75, "minor": 76, "integrated": 18, "can_map": 19}  # cudaDeviceAttr
_TO_DEVICE, _TO_HOST = 1, 2  # cudaMemcpyKind
_HOST_DEFAULT, _HOST_MAPPED = 0, 2  # flags of cudaHostAlloc

_pointer, _int = ctypes.c_void_p, ctypes.c_int
_address_of = ctypes.POINTER(_pointer)
_SIGNATURES = {
    "cudaGetDeviceCount": [ctypes.POINTER(_int)],
    "cudaGetDevice": [ctypes.POINTER(_int)],
    "cudaRuntimeGetVersion": [ctypes.POINTER(_int)],
    "cudaDeviceGetAttribute": [ctypes.POINTER(_int), _int, _int],
    "cudaGetDeviceProperties": [_pointer, _int],
    "cudaStreamCreate": [_address_of],
    "cudaStreamSynchronize": [_pointer],
    "cudaStreamDestroy": [_pointer],
    "cudaHostAlloc": [_address_of, ctypes.c_size_t, ctypes.c_uint],
    "cudaHostGetDevicePointer": [_address_of, _pointer, ctypes.c_uint],
    "cudaFreeHost": [_pointer],
    "cudaMalloc": [_address_of, ctypes.c_size_t],
    "cudaFree": [_pointer],
    "cudaMemcpyAsync": [_pointer, _pointer, ctypes.c_size_t, _int, _pointer],
}


class Cuda:
    """The CUDA runtime and its current device.

    Attributes:
        device (str): e.g. 'NVIDIA Tegra X1'. compute_capability (str): e.g. '5.3'. version (str): e.g. '10.2'.
        shares_memory (bool): CPU and GPU have one memory and the GPU can use the CPU's pages, as on a Jetson.
        lost (str): the error that cost the process its GPU context, or ''. Nothing on the GPU works after it.

    Raises:
        EngineError: there is no CUDA runtime, no usable driver or no GPU.
    """

    def __init__(self):
        self.lost = ""
        self._library = _load()
        self._library.cudaGetErrorString.restype = ctypes.c_char_p
        self._library.cudaGetErrorString.argtypes = [_int]
        for name, arguments in _SIGNATURES.items():
            getattr(self._library, name).argtypes = arguments
        if not self._int("cudaGetDeviceCount"):
            raise EngineError("CUDA: {}".format(_ADVICE[NO_DEVICE]))
        number = self._int("cudaGetDevice")
        values = {key: self._int("cudaDeviceGetAttribute", code, number) for key, code in _ATTRIBUTES.items()}
        properties = ctypes.create_string_buffer(8192)  # cudaDeviceProp grows with each release; the name comes first
        self.call("cudaGetDeviceProperties", properties, number)
        self.device = properties.raw[:256].split(b"\0")[0].decode("utf-8", "replace")
        self.compute_capability = "{}.{}".format(values["major"], values["minor"])
        self.shares_memory = bool(values["integrated"] and values["can_map"])
        version = self._int("cudaRuntimeGetVersion")
        self.version = "{}.{}".format(version // 1000, version % 1000 // 10)

    def call(self, name, *arguments):
        """Call one function; raises EngineError, with CUDA's own words, unless it returns cudaSuccess."""
        code = getattr(self._library, name)(*arguments)
        if code:
            words = (self._library.cudaGetErrorString(code) or b"unknown error").decode("utf-8", "replace")
            advice = "the GPU's context is lost; restart the process" if code >= STICKY else _ADVICE.get(code, "")
            problem = "CUDA: {} failed: {} ({}){}".format(name, words, code, advice and "; " + advice)
            if code >= STICKY:
                self.lost = problem
                raise EngineLost(problem)
            raise EngineError(problem)

    def release(self, name, *arguments):
        """Call a function that frees something, whatever it says: after a lost context nothing can be freed."""
        return getattr(self._library, name)(*arguments)

    def create_stream(self):
        """Handle of a new stream, an int."""
        handle = _pointer()
        self.call("cudaStreamCreate", ctypes.byref(handle))
        return handle.value or 0

    def allocate(self, function, size, *arguments):
        """Address that `function`(&address, size, ...) gives, an int."""
        address = _pointer()
        self.call(function, ctypes.byref(address), size, *arguments)
        return address.value

    def _int(self, name, *arguments):
        value = _int()
        self.call(name, ctypes.byref(value), *arguments)
        return value.value


class Buffer:
    """The memory of one tensor, allocated once.

    Where CPU and GPU share memory both use the same pages and nothing is copied; else the host's pages are pinned and
    copied from or to the device's.

    Attributes:
        host: ndarray of `shape` that the CPU reads and writes. Gone after `free`.
        address (int): where the GPU finds it.
    """

    def __init__(self, cuda, shape, dtype):
        self._cuda, self._host_address, self._own = cuda, None, None
        self.size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        mapped = cuda.shares_memory
        self._host_address = cuda.allocate("cudaHostAlloc", self.size, _HOST_MAPPED if mapped else _HOST_DEFAULT)
        try:
            if mapped:
                self.address = cuda.allocate("cudaHostGetDevicePointer", self._host_address, 0)
            else:
                self.address = self._own = cuda.allocate("cudaMalloc", self.size)
        except EngineError:
            self.free()
            raise
        pages = (ctypes.c_char * self.size).from_address(self._host_address)
        self.host = np.frombuffer(pages, dtype).reshape(shape)

    def to_device(self, stream):
        """Queue the copy of `host` to the GPU, where one is needed."""
        if self._own is not None:
            self._cuda.call("cudaMemcpyAsync", self._own, self._host_address, self.size, _TO_DEVICE, stream)

    def to_host(self, stream):
        """Queue the copy of what the GPU wrote into `host`, where one is needed."""
        if self._own is not None:
            self._cuda.call("cudaMemcpyAsync", self._host_address, self._own, self.size, _TO_HOST, stream)

    def free(self):
        """Give the memory back. Safe to call twice."""
        self.host = None
        if self._own is not None:
            self._cuda.release("cudaFree", self._own)
        if self._host_address is not None:
            self._cuda.release("cudaFreeHost", self._host_address)
        self._own = self._host_address = None


def _load():
    chosen = os.environ.get("VIT_PERCEPTION_CUDART")
    names = [chosen] if chosen else list(LIBRARIES) + [os.path.join(FOLDER, LIBRARIES[0])]
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError as e:
            problem = e
    raise EngineError(
        "no CUDA runtime: {}; install JetPack's CUDA, or set VIT_PERCEPTION_CUDART to the path of libcudart.so".format(
            problem if chosen else "none of {} can be loaded".format(", ".join(names))
        )
    )
