"""The dense head: what each place of the finest map shows."""

import math

from torch import nn

from .blocks import conv_bn


class DenseHead(nn.Sequential):
    """(B, neck, H / S, W / S) -> logits (B, C, H / S, W / S): a 3x3 convolution, then 1x1.

    No softmax and no argmax, and nothing that enlarges: the neck has brought the map to stride S by transposed
    convolutions, which every TensorRT imports; who reads the logits takes the largest.
    """

    def __init__(self, channels: int, classes: int):
        super().__init__(conv_bn(channels, channels), nn.Conv2d(channels, classes, 1))
        nn.init.constant_(self[-1].bias, -math.log(classes))


def output_names(config: dict) -> list[str]:
    """Names of what a model of `config` gives, in order: logits and boxes of a detector, classes of a dense head."""
    return ["logits", "boxes"] * bool(config["classes"]) + ["classes"] * bool(config.get("segments"))


def task_of(config: dict) -> str:
    """detect, segment or both."""
    return ("both" if config["classes"] else "segment") if config.get("segments") else "detect"
