"""The boards a bundle can be made for, and what each runs. Sources: NVIDIA's data sheets and JetPack notes."""

from dataclasses import dataclass

from .errors import RecipeError


@dataclass(frozen=True)
class Target:
    """One board. `variants` are the bundle's extra ONNX files, made for the consumers that exist there."""

    name: str
    board: str
    variants: tuple[str, ...]
    why: str


TARGETS = {
    t.name: t
    for t in (
        Target(
            "jetson-nano",
            "NVIDIA Jetson Nano 4 GB, TensorRT 8.2",
            ("int8",),
            "its GPU has no int8 and TensorRT 8.2 builds fp16 engines from the fp32 master, LayerNorm kept in fp32; "
            "int8 is for ONNX Runtime on its CPU",
        ),
        Target(
            "jetson-orin-nano",
            "NVIDIA Jetson Orin Nano, TensorRT 10 and later",
            ("int8", "fp16"),
            "TensorRT 11 takes the precision from the ONNX file, so the mixed fp16 variant is made for it; "
            "int8 is for ONNX Runtime on its CPU",
        ),
        Target(
            "cpu",
            "any CPU, ONNX Runtime",
            ("int8",),
            "dynamic int8 needs no calibration and is the faster one there",
        ),
    )
}


def find_target(name: str) -> Target:
    """Raises RecipeError for a board that is not in the table."""
    try:
        return TARGETS[name]
    except KeyError:
        raise RecipeError(f"no target '{name}'; choose one of: {', '.join(TARGETS)}") from None
