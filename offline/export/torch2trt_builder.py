"""An engine by torch2trt: a bundle's torch model -> torch2trt -> a serialized engine. Runs on the board.

    python -m offline.export.torch2trt_builder --model models/NAME --precision fp16 --workspace-mb 256 --out FILE.engine

`build_engine --builder torch2trt` starts it as a child process, then proves and caches what it wrote like any other
engine. It needs torch with CUDA, torch2trt 0.5 or later, onnx and onnx_graphsurgeon, and Python 3.10 or later.

torch2trt goes through ONNX too (use_onnx), but keeps no single layer in fp32, reads no int8 file, ignores the size of
the workspace with TensorRT 10, and does not load with 11. The builder named tensorrt does all of these.

Imports stand in functions and the syntax is plain, so that an older Python also ends in one sentence.
"""

import argparse
import contextlib
import functools
import importlib
import inspect
import sys


class NotHere(Exception):
    """Something that torch2trt needs is missing on this machine; the message is one sentence."""


def load(name):
    """Import module `name`. Raises NotHere."""
    try:
        return importlib.import_module(name)
    except Exception as e:  # also what a module raises that meets another version of TensorRT than it was made for
        raise NotHere(
            f"builder torch2trt needs {name}, which does not load here ({type(e).__name__}: {e}); install it or use "
            "--builder tensorrt"
        ) from e


def check_machine():
    """Raise NotHere unless torch2trt can build an engine here."""
    if sys.version_info < (3, 10):  # noqa: UP036 (a board starts this file with the Python it has)
        raise NotHere(
            "builder torch2trt rebuilds the torch model, which needs Python 3.10 or later, not "
            f"{sys.version_info[0]}.{sys.version_info[1]}; use --builder tensorrt"
        )
    torch, tensorrt, _, _ = [load(name) for name in ("torch", "tensorrt", "onnx", "onnx_graphsurgeon")]
    if int(tensorrt.__version__.split(".")[0]) > 10:
        raise NotHere(
            f"torch2trt does not work with TensorRT {tensorrt.__version__}, which takes the precision from the ONNX "
            "file; use --builder tensorrt"
        )
    if not torch.cuda.is_available():
        raise NotHere(
            f"torch {torch.__version__} finds no CUDA device here; install NVIDIA's torch for this JetPack or use "
            "--builder tensorrt"
        )
    load("torch2trt")


@contextlib.contextmanager
def tracing_exporter():
    """Make torch.onnx.export trace unless told otherwise: the default since torch 2.9 cannot write opset 13."""
    import torch

    export = torch.onnx.export
    if "dynamo" in inspect.signature(export).parameters:
        torch.onnx.export = functools.partial(export, dynamo=False)
    try:
        yield
    finally:
        torch.onnx.export = export


def build(bundle, precision, workspace_mb, device="cuda"):
    """Serialized engine (bytes) of an opened bundle, by torch2trt.

    Args:
        precision: 'fp32' or 'fp16', of the whole network. workspace_mb: for tactics, megabytes; before TensorRT 10.
        device: of the model and of its example input.

    Raises:
        RecipeError: the bundle's torch model cannot be rebuilt. EngineError: torch2trt built nothing.
    """
    import torch
    from torch2trt import torch2trt

    from vit_perception.errors import EngineError

    from ..model.dense_head import output_names
    from ..model.from_bundle import model_of_bundle
    from .contract import OPSET

    size = bundle.input
    model = model_of_bundle(bundle).to(device).eval()
    images = torch.zeros(1, len(size["mean"]), size["height"], size["width"], device=device)
    with torch.no_grad(), tracing_exporter():
        module = torch2trt(
            model,
            [images],
            input_names=["images"],
            output_names=output_names(model.config()),
            use_onnx=True,
            onnx_opset=OPSET,
            fp16_mode=precision == "fp16",
            max_workspace_size=workspace_mb << 20,
            keep_network=False,
        )
    if module.engine is None:  # torch2trt does not look whether its parser failed
        raise EngineError("torch2trt built no engine and tells no reason; --builder tensorrt will tell one")
    return bytes(module.engine.serialize())


def write(options):
    """Build what the parsed `options` say and write it whole or not at all."""
    from pathlib import Path

    from vit_perception.bundles.bundle import open_bundle

    from ..files import write_atomically

    engine = build(open_bundle(options.model), options.precision, options.workspace_mb)
    write_atomically(Path(options.out), lambda path: path.write_bytes(engine))
    print(f"{options.out}: {options.precision} engine by torch2trt, {len(engine) / 1e6:.1f} MB")


def main(arguments=None):
    """The command. Returns its exit code: 0, or 1 after one sentence on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m offline.export.torch2trt_builder", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--model", required=True, help="folder of a bundle")
    parser.add_argument("--precision", choices=("fp16", "fp32"), default="fp16")
    parser.add_argument("--workspace-mb", type=int, default=256)
    parser.add_argument("--out", required=True, help="file of the serialized engine")
    options = parser.parse_args(arguments)
    try:
        check_machine()
        write(options)
    except Exception as e:  # torch, torch2trt and TensorRT raise anything
        print(next(iter(str(e).strip().splitlines()), type(e).__name__), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
