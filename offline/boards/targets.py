"""The boards a bundle can be made for: what they run, how fast they could be at best, what they lack.

Rates are dense peaks in FLOP/s (one multiply-accumulate = 2). Sources: NVIDIA's module data sheets.
- Jetson Nano: 128 Maxwell cores at 921.6 MHz: 472 GFLOP/s in fp16, half of it in fp32; 25.6 GB/s; no int8.
- Jetson Orin Nano 8 GB: 1024 Ampere cores, 32 tensor cores at 625 MHz, 68 GB/s. Its 40 TOPS are int8 with sparsity, so
  20 dense, and 10 TFLOP/s in fp16. TensorRT computes fp32 in TF32, at half the fp16 rate. (Before the "Super" clocks.)
- Jetson Orin NX 16 GB: the same GPU at 918 MHz, 60 sparse TOPS without its DLAs; 102.4 GB/s.
"""

from dataclasses import dataclass, field

from ..errors import RecipeError
from ..export.contract import OPSET, TENSORRT_8_2


@dataclass(frozen=True)
class Target:
    """One board. `variants` are the bundle's extra ONNX files, made for the consumers that exist there.

    peak: precision -> FLOP/s of its accelerator; a precision that is missing does not exist there. Empty, with a
    bandwidth of 0: measured on the machine itself. bandwidth: bytes/s. memory_gb: CPU and GPU together.
    tensorrt: its version; None: no TensorRT. opset, importers: the ONNX that its consumer takes.
    """

    name: str
    board: str
    variants: tuple[str, ...]
    why: str
    peak: dict[str, float] = field(default_factory=dict)
    bandwidth: float = 0.0
    memory_gb: float | None = None
    tensorrt: str | None = None
    opset: int = OPSET
    importers: frozenset[str] = TENSORRT_8_2

    @property
    def precisions(self) -> tuple[str, ...]:
        """Those it has hardware for."""
        return tuple(self.peak) or ("fp32", "int8")


_ORIN_WHY = (
    "TensorRT 11 takes the precision from the ONNX file, so the mixed fp16 and the symmetric int8 (Q/DQ) variant are "
    "made for it; plain int8 is for ONNX Runtime on its CPU"
)

TARGETS = {
    t.name: t
    for t in (
        Target(
            "jetson-nano",
            "NVIDIA Jetson Nano 4 GB, TensorRT 8.2",
            ("int8",),
            "its GPU has no int8 and TensorRT 8.2 builds fp16 engines from the fp32 master, LayerNorm kept in fp32; "
            "int8 is for ONNX Runtime on its CPU",
            peak={"fp32": 236e9, "fp16": 472e9},
            bandwidth=25.6e9,
            memory_gb=4,
            tensorrt="8.2",
        ),
        Target(
            "jetson-orin-nano",
            "NVIDIA Jetson Orin Nano 8 GB, TensorRT 10 and later",
            ("int8", "fp16", "int8_trt"),
            _ORIN_WHY,
            peak={"fp32": 5e12, "fp16": 10e12, "int8": 20e12},
            bandwidth=68e9,
            memory_gb=8,
            tensorrt="10",
        ),
        Target(
            "jetson-orin-nx",
            "NVIDIA Jetson Orin NX 16 GB, TensorRT 10 and later",
            ("int8", "fp16", "int8_trt"),
            _ORIN_WHY,
            peak={"fp32": 7.5e12, "fp16": 15e12, "int8": 30e12},
            bandwidth=102.4e9,
            memory_gb=16,
            tensorrt="10",
        ),
        Target(
            "cpu",
            "any CPU, ONNX Runtime",
            ("int8",),
            "static int8, convolutions included, is the smaller one there, and the faster one where the processor has "
            "VNNI",
        ),
    )
}
BYTES = {"fp32": 4, "fp16": 2, "int8": 1}  # of one element


def find_target(name: str) -> Target:
    """Raises RecipeError for a board that is not in the table."""
    try:
        return TARGETS[name]
    except KeyError:
        raise RecipeError(f"no target '{name}'; choose one of: {', '.join(TARGETS)}") from None


def find_precision(target: Target, precision: str) -> str:
    """`precision` itself. Raises RecipeError, in words, where `target` has no hardware for it."""
    if precision not in BYTES:
        raise RecipeError(f"no precision '{precision}'; choose one of: {', '.join(BYTES)}")
    if precision not in target.precisions:
        raise RecipeError(
            f"{target.name} ({target.board}) has no hardware for {precision}: it would run slower or not at all; "
            f"choose one of: {', '.join(target.precisions)}"
        )
    return precision
