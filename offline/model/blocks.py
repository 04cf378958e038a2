"""The parts of the detector (model/detector.py): transformer blocks, residual convolutions, head, pooling of tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import RecipeError

HEAD_DIM = 64


class LayerNorm(nn.LayerNorm):
    """nn.LayerNorm, written out when exported: opset 13 and TensorRT 8.2 have no such operator."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.onnx.is_in_onnx_export():
            return super().forward(x)
        c = x - x.mean(-1, keepdim=True)
        return c / torch.sqrt((c * c).mean(-1, keepdim=True) + self.eps) * self.weight + self.bias


class Attention(nn.Module):
    """Multi-head self-attention. Heads can be removed: the inner width is heads * HEAD_DIM, not dim."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * heads * HEAD_DIM)
        self.proj = nn.Linear(heads * HEAD_DIM, dim)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, D) -> (B, T, D)
        b, t, _ = x.shape
        q, k, v = (  # (B, heads, T, HEAD_DIM) each
            y.reshape(b, t, self.heads, HEAD_DIM).transpose(1, 2)
            for y in self.qkv(x).split(self.heads * HEAD_DIM, dim=-1)
        )
        if torch.onnx.is_in_onnx_export():
            y = ((q * HEAD_DIM**-0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(b, t, self.heads * HEAD_DIM))


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """Pre-LN transformer block. `heads` or `mlp` of 0 leaves that half out."""

    def __init__(self, dim: int, heads: int, mlp: int):
        super().__init__()
        self.norm1 = LayerNorm(dim, eps=1e-6) if heads else None
        self.attn = Attention(dim, heads) if heads else None
        self.norm2 = LayerNorm(dim, eps=1e-6) if mlp else None
        self.mlp = Mlp(dim, mlp) if mlp else None

    def forward(self, x: Tensor) -> Tensor:
        if self.norm1 is not None and self.attn is not None:
            x = x + self.attn(self.norm1(x))
        if self.norm2 is not None and self.mlp is not None:
            x = x + self.mlp(self.norm2(x))
        return x


def conv_bn(cin: int, cout: int, stride: int = 1, act: bool = True) -> nn.Sequential:
    """3x3 convolution, batch norm (folded into it at export), ReLU."""
    layers = [nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if act else nn.Sequential(*layers)


class Residual(nn.Module):
    """Two 3x3 convolutions around `hidden` channels (default: as many as outside), and the way around them.

    An input that is not negative leaves a body of zeros as it came: such a block can go.
    """

    def __init__(self, channels: int, hidden: int | None = None):
        super().__init__()
        hidden = channels if hidden is None else hidden
        self.body = nn.Sequential(conv_bn(channels, hidden), conv_bn(hidden, channels, act=False))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, h, w) -> (B, C, h, w)
        return F.relu(x + self.body(x))


class Head(nn.Module):
    """Dense anchor-free head of one stride: a 3x3 conv per branch, then 1x1."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.cls = nn.Sequential(conv_bn(channels, channels), nn.Conv2d(channels, classes, 1))
        self.box = nn.Sequential(conv_bn(channels, channels), nn.Conv2d(channels, 4, 1))
        nn.init.constant_(self.cls[-1].bias, -4.6)  # a prior of 1%: most points are background (RetinaNet)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # (B, C, h, w) -> (B, hw, K), (B, hw, 4)
        return self.cls(x).flatten(2).transpose(1, 2), self.box(x).flatten(2).transpose(1, 2)


def pool_2x2(tokens: Tensor, h: int, w: int) -> Tensor:
    """Means of 2x2 neighbours: (B, h*w, D) -> (B, h*w/4, D)."""
    if h % 2 or w % 2:
        raise RecipeError(
            "token pooling needs an input whose sides are even numbers of tokens, at stride 32 multiples of 64; "
            f"this one gives {w}x{h} tokens"
        )
    b, _, d = tokens.shape
    return tokens.reshape(b, h // 2, 2, w // 2, 2 * d).mean(2).reshape(b, h * w // 4, 2, d).mean(2)


def unpool_2x2(tokens: Tensor, h: int, w: int) -> Tensor:
    """Each token copied to its 2x2 places: (B, h*w/4, D) -> (B, h*w, D)."""
    b, _, d = tokens.shape
    x = tokens.reshape(b, h // 2, w // 2, d)
    x = torch.cat([x, x], -1).reshape(b, h // 2, w * d)  # doubled along w
    return torch.cat([x, x], -1).reshape(b, h * w, d)  # and along h
