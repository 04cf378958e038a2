"""A stem of inverted residuals: the blocks of EfficientNet-Lite0 up to stride 16, so that its ImageNet weights fit.

EfficientNet-Lite0 is EfficientNet-B0 (Tan and Le, arXiv 1905.11946, table 1) as its authors publish it for small
boards: without squeeze-and-excitation, and with ReLU6 in place of SiLU. Its blocks 0, 1-2, 3-4 and 5-10 end at strides
2, 4, 8 and 16. A block (Sandler et al., MobileNetV2, arXiv 1801.04381) widens the map by a 1x1 convolution, filters
each hidden channel alone, and projects onto few channels without an activation. Block 0 has nothing to widen: the
network's first 3x3 convolution, of stride 2, stands in that place here, so that all blocks are alike.

Convolutions are padded alike on all sides. TensorFlow pads those of stride 2 at the right and the bottom only, so the
weights see the image moved by one pixel of each such map: they compute the same of a moved image.
"""

from typing import NamedTuple

from torch import Tensor, nn


class Row(NamedTuple):
    """One block: size of its depthwise kernel, its stride, channels that leave it, hidden channels."""

    kernel: int
    stride: int
    out: int
    hidden: int


STAGES = (
    (Row(3, 1, 16, 32),),
    (Row(3, 2, 24, 96), Row(3, 1, 24, 144)),
    (Row(5, 2, 40, 144), Row(5, 1, 40, 240)),
    (Row(3, 2, 80, 240), Row(3, 1, 80, 480), Row(3, 1, 80, 480), Row(5, 1, 112, 480), *[Row(5, 1, 112, 672)] * 2),
)
ROWS = tuple(row for stage in STAGES for row in stage)
WIDTHS = [stage[-1].out for stage in STAGES]  # channels at stride 2, 4, 8, 16
HIDDEN = [row.hidden for row in ROWS]
EPSILON = 1e-3  # of EfficientNet's batch norms


def is_mobile(stem: list[int]) -> bool:
    """Whether the model option `stem` holds the hidden channels of these blocks, not four widths."""
    return len(stem) == len(ROWS)


def block_names() -> list[str]:
    """Names of the blocks' modules in a detector, in their order: stem.0.0, stem.1.0, stem.1.1, ..."""
    return [f"stem.{i}.{j}" for i, stage in enumerate(STAGES) for j in range(len(stage))]


def make_stages(channels: int, hidden: list[int]) -> list[nn.Sequential]:
    """One sequence of blocks per stride 2, 4, 8, 16. channels: of the image. hidden: of each block, fewer if pruned."""
    ins = [channels, *(row.out for row in ROWS[:-1])]
    rows = enumerate(zip(ins, hidden, ROWS, strict=True))
    blocks = iter([MobileBlock(a, width, row, first=i == 0) for i, (a, width, row) in rows])
    return [nn.Sequential(*(next(blocks) for _ in stage)) for stage in STAGES]


class MobileBlock(nn.Module):
    """An inverted residual; what comes in is added where it has the shape of what goes out.

    first: what comes in is the image, and a 3x3 convolution of stride 2 makes the hidden channels.
    """

    def __init__(self, channels: int, hidden: int, row: Row, first: bool):
        super().__init__()
        self.expand = _conv(channels, hidden, 3, stride=2) if first else _conv(channels, hidden, 1)
        self.depthwise = _conv(hidden, hidden, row.kernel, row.stride, groups=hidden)
        self.project = _conv(hidden, row.out, 1, act=False)
        self.adds = not first and row.stride == 1 and channels == row.out

    def forward(self, x: Tensor) -> Tensor:  # (B, C, h, w) -> (B, out, h / stride, w / stride)
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.adds else y


def _conv(cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    """Convolution, batch norm (folded into it at export), ReLU6."""
    conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(cout, eps=EPSILON)]
    return nn.Sequential(*layers, nn.ReLU6(inplace=True)) if act else nn.Sequential(*layers)
