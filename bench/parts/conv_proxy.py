"""A convolutional detector of YOLO11n's size with random weights, to time beside the bundles where the original is not.

YOLO11n, by the model table of the Ultralytics documentation: 2.6 M parameters and 6.5 GFLOPs (3.25 GMAC) at 640x640,
three colour channels, 80 classes. This network is of the same kind and has the same parts: strided convolutions, cross
stage partial blocks at strides 4 to 32, pyramid pooling, a path-aggregation neck, decoupled heads at strides 8, 16 and
32, SiLU. It has no attention block and no decoding of boxes; a test holds its size to those figures. Latency does not
depend on weights, so it can be timed and must not be asked what it sees.
"""

import warnings
from pathlib import Path

import onnx
import onnxslim
import torch
from torch import Tensor, nn

PARAMETERS, GMAC = 2.6e6, 3.25  # at 640x640
CLASSES = 80


def conv(cin: int, cout: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    layers = [nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(cout)]
    return nn.Sequential(*layers, nn.SiLU(inplace=True))


class Bottleneck(nn.Module):
    """Two 3x3 convolutions and a residual."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.body = nn.Sequential(conv(channels, hidden), conv(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Csp(nn.Module):
    """Cross stage partial: half of the hidden channels pass by; the other half goes through the inner blocks."""

    def __init__(self, cin: int, cout: int, hidden: int, deep: bool = False):
        super().__init__()
        self.hidden = hidden
        self.begin = conv(cin, 2 * hidden, 1)
        self.inner: nn.Module = Csp2(hidden) if deep else Bottleneck(hidden, hidden // 2)
        self.end = conv(3 * hidden, cout, 1)

    def forward(self, x: Tensor) -> Tensor:
        by, through = self.begin(x).split(self.hidden, 1)
        return self.end(torch.cat([by, through, self.inner(through)], 1))


class Csp2(nn.Module):
    """The inner block of a deep one: two bottlenecks on half of the channels."""

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.by, self.begin = conv(channels, half, 1), conv(channels, half, 1)
        self.inner = nn.Sequential(Bottleneck(half, half), Bottleneck(half, half))
        self.end = conv(2 * half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(torch.cat([self.inner(self.begin(x)), self.by(x)], 1))


class Pooling(nn.Module):
    """Three maximum poolings in a row, side by side with their input."""

    def __init__(self, channels: int):
        super().__init__()
        self.begin, self.end = conv(channels, channels // 2, 1), conv(2 * channels, channels, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.begin(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        return self.end(torch.cat(maps, 1))


def branch(channels: int, hidden: int, out: int, separable: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for cin in (channels, hidden):
        layers += [conv(cin, cin, groups=cin), conv(cin, hidden, 1)] if separable else [conv(cin, hidden)]
    return nn.Sequential(*layers, nn.Conv2d(hidden, out, 1))


class ConvDetector(nn.Module):
    """images (B, 3, H, W) -> one (B, 64 + 80, h, w) for each of strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(  # to stride 8
            conv(3, 16, stride=2), conv(16, 32, stride=2), Csp(32, 64, 16), conv(64, 64, stride=2), Csp(64, 128, 32)
        )
        self.middle = nn.Sequential(conv(128, 128, stride=2), Csp(128, 128, 64, deep=True))
        self.coarse = nn.Sequential(
            conv(128, 256, stride=2), Csp(256, 256, 128, deep=True), Pooling(256), Csp(256, 256, 112)
        )
        self.up = nn.Upsample(scale_factor=2)
        self.to_middle, self.to_fine = Csp(256 + 128, 128, 64), Csp(128 + 128, 64, 32)
        self.down_middle, self.again_middle = conv(64, 64, stride=2), Csp(64 + 128, 128, 64)
        self.down_coarse, self.again_coarse = conv(128, 128, stride=2), Csp(128 + 256, 256, 128, deep=True)
        widths = (64, 128, 256)
        self.boxes = nn.ModuleList(branch(c, 64, 64, separable=False) for c in widths)
        self.classes = nn.ModuleList(branch(c, CLASSES, CLASSES, separable=True) for c in widths)

    def forward(self, images: Tensor) -> list[Tensor]:
        fine = self.fine(images)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        middle = self.to_middle(torch.cat([self.up(coarse), middle], 1))
        fine = self.to_fine(torch.cat([self.up(middle), fine], 1))
        middle = self.again_middle(torch.cat([self.down_middle(fine), middle], 1))
        coarse = self.again_coarse(torch.cat([self.down_coarse(middle), coarse], 1))
        maps = zip((fine, middle, coarse), self.boxes, self.classes, strict=True)
        return [torch.cat([box(x), cls(x)], 1) for x, box, cls in maps]


def write_proxy(path: Path, width: int, height: int) -> Path:
    """Export the network for images of width x height (multiples of 32), batch norms folded, input `images`."""
    torch.manual_seed(0)
    model = ConvDetector().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation of the tracing exporter: wanted, as for the bundles
        example = torch.zeros(1, 3, height, width)
        names = {"input_names": ["images"], "output_names": ["stride8", "stride16", "stride32"]}
        torch.onnx.export(model, (example,), str(path), opset_version=13, dynamo=False, **names)
    onnx.save(onnxslim.slim(str(path)), str(path))
    return path
