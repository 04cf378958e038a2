"""The stand-in CUDA runtime, as TensorRT sees it: which GPU, what is at an address, what is queued on a stream."""

import ctypes
import itertools
import os

_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_long)
_tickets = itertools.count(1)
_queued = {}


def gpu():
    """(name, compute capability) of STANDIN_GPU."""
    fields = os.environ.get("STANDIN_GPU", "NVIDIA Tegra X1,5.3,integrated").split(",")
    return fields[0], fields[1]


def library():
    found = ctypes.CDLL(os.environ["VIT_PERCEPTION_CUDART"])  # the same library as the caller's: no second copy
    found.standin_host_address.restype = ctypes.c_void_p
    found.standin_host_address.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    found.standin_enqueue.argtypes = [ctypes.c_void_p, _CALLBACK, ctypes.c_long]
    return found


def problem():
    """Code of the error with which CUDA cannot be used, or 0."""
    if "VIT_PERCEPTION_CUDART" not in os.environ:
        return 35
    return library().cudaGetDeviceCount(ctypes.byref(ctypes.c_int()))


def host_address(address, size):
    """Where the CPU finds device memory; None if the device has none there."""
    return library().standin_host_address(address, size)


def enqueue(stream, run):
    """Queue run() on a stream; returns whether that went well. An illegal address is told by raising ValueError."""
    ticket = next(_tickets)
    _queued[ticket] = run
    if library().standin_enqueue(stream, _run, ticket):
        del _queued[ticket]
        return False
    return True


@_CALLBACK
def _run(ticket):
    try:
        _queued.pop(ticket)()
    except ValueError:
        library().standin_fail(700)
    except Exception:  # whatever it is, a GPU would only say this
        library().standin_fail(719)
        raise
