"""The stand-in CUDA runtime catches what a GPU would punish, and has NVIDIA's signatures and words."""

import ctypes
import os
import subprocess
import sys

import pytest
import tensorrt_surfaces as surfaces

CUDA = """
import ctypes, os, sys
cuda = ctypes.CDLL(os.environ["VIT_PERCEPTION_CUDART"])
host, device, stream = (ctypes.c_void_p() for _ in range(3))
cuda.cudaHostAlloc(ctypes.byref(host), ctypes.c_size_t(4), 0)
assert cuda.cudaMalloc(ctypes.byref(device), ctypes.c_size_t(4)) == 0
cuda.cudaStreamCreate(ctypes.byref(stream))
copy = lambda a, b, kind: cuda.cudaMemcpyAsync(a, b, ctypes.c_size_t(4), kind, stream)
"""


def run(code, fault=""):
    variables = surfaces.standin_environment("8.2", gpu="NVIDIA A10,8.6,discrete", cuda_fault=fault)
    return subprocess.run([sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True)


@pytest.mark.parametrize(
    "code, printed",
    [
        ("ctypes.string_at(device, 4)", None),  # a crash: the CPU cannot read the GPU's memory
        ("print(copy(device, host, 2), copy(host, device, 1))", "1 1"),  # the wrong direction
        (
            "ctypes.memmove(host, b'abcd', 4); copy(device, host, 1); ctypes.memmove(host, b'----', 4);"
            "copy(host, device, 2); print(ctypes.string_at(host, 4), cuda.cudaStreamSynchronize(stream),"
            "ctypes.string_at(host, 4))",
            "b'----' 0 b'----'",  # a buffer that is filled anew before the copy ran: what was copied is lost
        ),
        ("print(cuda.cudaFree(host), cuda.cudaFreeHost(host), cuda.standin_live_allocations())", "1 0 1"),
    ],
)
def test_the_stand_in_cuda_is_as_strict_as_a_gpu_can_be(code, printed):
    result = run(CUDA + code)
    if printed is None:
        assert result.returncode < 0
    else:
        assert result.stdout.strip() == printed, result.stderr


def test_cuda_faults_are_sticky_from_700_on():
    code = CUDA + "print([cuda.cudaStreamSynchronize(stream) for _ in range(3)], cuda.cudaFree(device))"
    assert run(code, "cudaStreamSynchronize:2:700").stdout == "[0, 700, 700] 700\n"
    assert run(CUDA, "cudaMalloc:1:2").returncode != 0


def test_the_stand_in_cuda_has_the_signatures_of_nvidias_headers():
    headers = "/usr/local/cuda/include"
    if not os.path.exists(f"{headers}/cuda_runtime_api.h"):
        pytest.skip(f"no CUDA headers in {headers} to compare with")
    command = ["cc", "-fsyntax-only", "-Werror", "-DCUDA_HEADERS", f"-I{headers}", surfaces.STANDIN / "cudart.c"]
    assert subprocess.run(command, capture_output=True, text=True).stderr == ""


def test_the_stand_in_cuda_uses_nvidias_words():
    path = "/usr/local/cuda/lib64/libcudart.so"
    if not os.path.exists(path):
        pytest.skip(f"no {path} to compare with")
    real, ours = ctypes.CDLL(path), ctypes.CDLL(surfaces.cuda_library())
    for library in (real, ours):
        library.cudaGetErrorString.restype = ctypes.c_char_p
    codes = (0, 1, 2, 3, 35, 100, 101, 209, 400, 700, 719, 999, 12345)
    assert [ours.cudaGetErrorString(c) for c in codes] == [real.cudaGetErrorString(c) for c in codes]
