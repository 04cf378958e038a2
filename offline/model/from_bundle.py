"""A bundle's fp32 master -> the torch model that it was exported from, to teach, to prune or to train on.

The exporter writes every module's path into the names of its nodes ("/blocks.0/attn/qkv/MatMul"), so weights find their
place by name. Batch norms were folded into the convolutions before them; here they come back as the identity.
"""

import re
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from vit_perception.bundles.bundle import Bundle

from ..errors import RecipeError
from .blocks import HEAD_DIM
from .compare import compare_outputs
from .dense_head import output_names
from .detector import ViTDetector, build_model

MAX_DIFFERENCE = 1e-3  # of the rebuilt model to the golden outputs, relative to the largest
Weights = dict[str, dict[str, np.ndarray]]  # module's path -> {"weight", "bias"}, in torch's layout


def model_of_bundle(bundle: Bundle) -> ViTDetector:
    """The torch model of an opened bundle, in eval mode; its outputs equal the golden ones.

    Raises:
        RecipeError: the master is not a ViTDetector's, or its twin does not compute what the bundle promises.
    """
    try:
        weights = read_weights(Path(bundle.file("fp32")))
        config = bundle.made.get("model") or infer_config(weights, bundle.head.get("strides", []))
        model = build_model(config)
        fill(model, weights)
    except Exception as e:  # somebody else's graph can be anything
        what = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise RecipeError(
            f"bundle {bundle.path} holds another architecture than this version's ViTDetector ({what}); give a bundle "
            "that offline.compress wrote, or train a teacher"
        ) from e
    difference = check_golden(model, Path(bundle.file("golden")))
    if not difference <= MAX_DIFFERENCE:
        raise RecipeError(
            f"bundle {bundle.path}: the model rebuilt from its master differs from golden.npz by {difference:.2g} of "
            "its range; it was made by another version, train a teacher instead"
        )
    return model


def read_weights(master: Path) -> Weights:
    """Weights of every module in an exported master."""
    graph = onnx.load(str(master)).graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    found: Weights = {}
    for node in graph.node:
        values = [constants[name] for name in node.input if name in constants and constants[name].ndim]
        place = found.setdefault(module_path(node.name), {})
        if node.op_type in ("Conv", "ConvTranspose"):
            place |= dict(zip(("weight", "bias"), values, strict=False))
        elif node.op_type in ("MatMul", "Gemm") and values:
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            place["weight"] = values[0] if transposed else values[0].T
            place |= dict(zip(("bias",), values[1:], strict=False))
        elif node.op_type == "Mul" and values:
            place["weight"] = values[0]  # of a LayerNorm
        elif node.op_type == "Add" and values:
            place["bias"] = values[0]  # of a LayerNorm, or of a linear layer that was not fused
    if "embed" in found:  # until 0.1 it had no batch norm
        found["embed.0"] = found.pop("embed")
    return {path: place for path, place in found.items() if place}


def module_path(node: str) -> str:
    """'/stem.1/stem.1.0/stem.1.0.0/Conv' -> 'stem.1.0.0': a child of a sequence repeats its parent's name."""
    parts: list[str] = []
    for part in node.strip("/").split("/")[:-1]:
        if parts and part.startswith(parts[-1] + "."):
            parts.pop()
        parts.append(part)
    return ".".join(parts)


def infer_config(weights: Weights, strides: list[int]) -> dict:
    """The config that the shapes tell, for bundles that do not record theirs (made.model). Such have no pooling."""

    def shape(path: str, entry: str = "weight") -> tuple[int, ...]:
        return weights[path][entry].shape

    depth = 1 + max((int(m[1]) for path in weights if (m := re.match(r"blocks\.(\d+)\.", path))), default=-1)
    first = ["stem.0.0", *(f"stem.{i}.0.0" for i in (1, 2, 3))]
    split = {m[1] for path in weights if (m := re.match(r"(blocks\..*)\.1$", path))}

    def rows(layer: str) -> int:
        """Outputs of a linear layer, 0 if pruning took it away."""
        path = f"{layer}.1" if layer in split else layer
        return shape(path)[0] if path in weights else 0

    return {
        "classes": shape(f"heads.{strides[0]}.cls.1")[0],
        "channels": shape("stem.0.0")[1],
        "stem": [shape(path)[0] for path in first],
        "dim": shape("position")[0],
        "depth": depth,
        "heads": [rows(f"blocks.{i}.attn.qkv") // 3 // HEAD_DIM for i in range(depth)],
        "mlp": [rows(f"blocks.{i}.mlp.fc1") for i in range(depth)],
        "neck": shape("lateral.0")[0],
        "strides": strides,
        "ranks": {layer: shape(f"{layer}.0")[0] for layer in sorted(split)},
    }


@torch.no_grad()
def fill(model: ViTDetector, weights: Weights) -> None:
    """Put `weights` into a fresh `model`. Raises KeyError or ValueError where some are missing or of another shape."""
    for path, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            folded = weights[path.removesuffix("1") + "0"]  # into the convolution before it, whose bias it now is
            module.weight.copy_((module.running_var + module.eps).sqrt())
            _copy(module.bias, folded["bias"], path)
        else:
            given = weights.get(path, {})
            for name, parameter in module.named_parameters(recurse=False):
                if name in given:
                    _copy(parameter, given[name], f"{path}.{name}")
                elif isinstance(module, nn.LayerNorm) or name == "bias":
                    nn.init.constant_(parameter, float(name == "weight"))  # ones and zeros are left out of the file
                else:
                    raise KeyError(f"no {path}.{name}")
    model.eval()


def _copy(parameter: Tensor, value: np.ndarray, name: str) -> None:
    if tuple(parameter.shape) != value.shape:
        raise ValueError(f"{name} is {list(value.shape)}, not {list(parameter.shape)}")
    parameter.copy_(torch.from_numpy(value.copy()))


@torch.no_grad()
def check_golden(model: ViTDetector, golden: Path) -> float:
    """Largest difference of the model's outputs to the golden ones, relative to each output's largest value."""
    names = output_names(model.config())
    with np.load(golden) as file:
        images, expected = file["images"].astype(np.float32), {k: file[k] for k in names}
    outputs = [model(torch.from_numpy(x[None])) for x in images]
    found = (torch.cat(o).numpy() for o in zip(*outputs, strict=True))
    return compare_outputs(expected, dict(zip(names, found, strict=True)))
