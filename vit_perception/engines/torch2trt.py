"""Hand an engine to programs that use torch2trt (github.com/NVIDIA-AI-IOT/torch2trt).

    from torch2trt import TRTModule
    module = TRTModule()
    module.load_state_dict(torch.load("model.pth"))
    logits, boxes = module(images)  # float32 (1, C, H, W) on the GPU, letterboxed and normalised as bundle.json says;
                                    # of a bundle that segments: logits, boxes, classes, or classes alone

The node never needs this file, nor torch.
"""

import io

from ..errors import EngineError
from ..files import write_whole


def write_module(engine_bytes, input_names, output_names, path):
    """Write `path`, a state dict that torch2trt's TRTModule loads, whole or not at all.

    Its entries are those that every TRTModule since torch2trt 0.1 reads; the flatteners that 0.5 added are left out,
    so that outputs come as a tuple in the order of `output_names`. It holds plain values only: torch.load needs no
    `weights_only=False`.

    Args:
        engine_bytes (bytes): a serialized engine, for this GPU and this TensorRT only.
        input_names, output_names (list of str): tensors of the engine, in the order that forward() takes and gives.

    Raises:
        EngineError: torch is not installed, or the file cannot be written.
    """
    try:
        import torch
    except (ImportError, OSError) as e:  # OSError: one of torch's libraries does not load
        raise EngineError(
            "cannot write {}: torch2trt files need PyTorch, which does not load here ({}); install NVIDIA's wheel "
            "for this JetPack".format(path, e)
        ) from e
    state = {"engine": bytearray(engine_bytes), "input_names": list(input_names), "output_names": list(output_names)}
    buffer = io.BytesIO()  # torch's own file writer does not say that the disk is full
    torch.save(state, buffer)
    try:
        write_whole(path, buffer.getbuffer())
    except OSError as e:
        raise EngineError("cannot write {}: {}; give another place or free some".format(path, e.strerror)) from e
