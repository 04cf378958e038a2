"""The detector: a conv stem, plain pre-LN transformer blocks on stride-32 tokens, and a dense anchor-free head.

    images (B, C, H, W)
      -> stem: one stage per stride 2, 4, 8, 16: a strided conv and, but for the first, a residual block
      -> tokens at stride 32 (B, T, D), normalised, a depthwise 3x3 conv as position, transformer blocks;
         the blocks of `pool` run on tokens pooled 2x2
      -> up and add: stride 32 -> 16 -> 8 (-> 4): fine enough for 10-pixel people
      -> head per stride: logits (B, N, K), boxes (B, N, 4) = dx, dy, log w, log h in strides around each point

Global context is bought where it is cheap (H W / 1024 tokens) and detail is kept where small objects need it; early
convolutions help small ViTs train (Xiao et al., arXiv 2106.14881), a depthwise conv is a position code for any input
size (Chu et al., arXiv 2102.10882). Parameter names of the blocks are timm's, so DeiT and DINO weights load by key.
A model is rebuilt from `config()` alone, whatever pruning and factorisation did to it.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .errors import RecipeError

HEAD_DIM = 64
TOKEN_STRIDE = 32
DEFAULTS = {
    "stem": [16, 32, 64, 128],
    "dim": 192,
    "depth": 6,
    "heads": 3,
    "mlp": 768,
    "neck": 64,
    "strides": [8],
    "pool": None,
}


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
    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(conv_bn(channels, channels), conv_bn(channels, channels, act=False))

    def forward(self, x: Tensor) -> Tensor:
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
            f"token pooling needs an input whose sides are multiples of 64; this one gives {w}x{h} tokens"
        )
    b, _, d = tokens.shape
    return tokens.reshape(b, h // 2, 2, w // 2, 2 * d).mean(2).reshape(b, h * w // 4, 2, d).mean(2)


def unpool_2x2(tokens: Tensor, h: int, w: int) -> Tensor:
    """Each token copied to its 2x2 places: (B, h*w/4, D) -> (B, h*w, D)."""
    b, _, d = tokens.shape
    x = tokens.reshape(b, h // 2, w // 2, d)
    x = torch.cat([x, x], -1).reshape(b, h // 2, w * d)  # doubled along w
    return torch.cat([x, x], -1).reshape(b, h * w, d)  # and along h


class ViTDetector(nn.Module):
    """See the module's docstring.

    Args:
        classes: number of classes K. channels: 1 (gray) or 3 (rgb).
        stem: channels at stride 2, 4, 8, 16. dim: token width D. neck: channels of the fine maps.
        heads, mlp: per block (a list), or one number for all `depth` blocks. strides: of the heads, from [8], [4, 8].
        pool: [first, end): blocks that run on tokens pooled 2x2; None: all see all tokens.
        ranks: {linear's name: rank} of the layers that low-rank factorisation split in two.

    Raises:
        RecipeError: the options do not fit together.
    """

    def __init__(self, classes, channels, stem, dim, depth, heads, mlp, neck, strides, pool=None, ranks=None):
        super().__init__()
        heads = [heads] * depth if isinstance(heads, int) else list(heads)
        mlp = [mlp] * depth if isinstance(mlp, int) else list(mlp)
        if not (len(stem) == 4 and len(heads) == len(mlp) == depth and set(strides) <= {4, 8} and strides):
            raise RecipeError(
                f"model options do not fit: stem {stem} needs 4 numbers, heads {heads} and mlp {mlp} one per block "
                f"({depth}), strides {strides} from 4 and 8"
            )
        if pool is not None and not (len(pool) == 2 and 0 <= pool[0] < pool[1] <= depth):
            raise RecipeError(f"model option pool {pool} must be [first, end) within the {depth} blocks, or null")
        self._config = {"classes": classes, "channels": channels, "stem": list(stem), "dim": dim, "depth": depth}
        self._config |= {
            "heads": heads,
            "mlp": mlp,
            "neck": neck,
            "strides": sorted(strides),
            "pool": pool,
            "ranks": {},
        }
        widths = [channels, *stem]
        # No residual block at stride 2: that map is memory-bound, it would cost a quarter of the whole training step.
        self.stem = nn.ModuleList(
            nn.Sequential(conv_bn(a, b, stride=2), Residual(b)) if i else conv_bn(a, b, stride=2)
            for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False))
        )
        # Tokens enter normalised: an unbounded residual stream drowns what the blocks add, and overflows in fp16.
        self.embed = conv_bn(stem[3], dim, stride=2, act=False)
        self.position = nn.Conv2d(dim, dim, 3, 1, 1, groups=dim)
        self.pool = range(*pool) if pool else range(0)
        self.blocks = nn.ModuleList(Block(dim, h, m) for h, m in zip(heads, mlp, strict=True))
        self.norm = LayerNorm(dim, eps=1e-6)
        finest = min(strides)
        fine = [s for s in (16, 8, 4) if s >= finest]  # strides of the neck's maps, coarse to fine
        self.up = nn.ModuleList(nn.ConvTranspose2d(dim if s == 16 else neck, neck, 2, 2) for s in fine)
        self.lateral = nn.ModuleList(nn.Conv2d(stem[{16: 3, 8: 2, 4: 1}[s]], neck, 1) for s in fine)
        self.smooth = nn.ModuleDict({str(s): conv_bn(neck, neck) for s in sorted(strides)})
        self.heads = nn.ModuleDict({str(s): Head(neck, classes) for s in sorted(strides)})
        for name, rank in (ranks or {}).items():
            self.factorise(name, rank)

    def config(self) -> dict:
        """Everything that is needed to build this very model again: ViTDetector(**config)."""
        return copy.deepcopy(self._config)

    def factorise(self, name: str, rank: int) -> nn.Sequential:
        """Put two thin layers (in -> rank -> out), weights unset, in the place of the linear layer `name`."""
        parent, _, leaf = name.rpartition(".")
        full = dict(self.named_modules()).get(name)
        if not isinstance(full, nn.Linear) or not 0 < rank <= min(full.in_features, full.out_features):
            sizes = f"{full.in_features} to {full.out_features}" if isinstance(full, nn.Linear) else "no linear layer"
            raise RecipeError(f"model option ranks: {name} is {sizes}, so it cannot have rank {rank}")
        thin = nn.Sequential(nn.Linear(full.in_features, rank, bias=False), nn.Linear(rank, full.out_features))
        setattr(self.get_submodule(parent), leaf, thin)
        self._config["ranks"][name] = rank
        return thin

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """images (B, C, H, W) -> tokens (B, T, D) after the last block, and the map of each head, keyed by stride."""
        maps = {}
        for stride, stage in zip((2, 4, 8, 16), self.stem, strict=True):
            maps[stride] = x = stage(x)
        x = self.embed(x)  # (B, D, H/32, W/32)
        x = x + self.position(x)
        b, d, h, w = x.shape
        tokens = self.norm(self.run_blocks(x.flatten(2).transpose(1, 2), h, w))  # (B, T, D)
        x = tokens.transpose(1, 2).reshape(b, d, h, w)
        out = {"tokens": tokens}
        for stride, up, lateral in zip((16, 8, 4), self.up, self.lateral, strict=False):
            x = F.relu(up(x) + lateral(maps[stride]))
            if str(stride) in self.smooth:
                out[str(stride)] = x = self.smooth[str(stride)](x)
        return out

    def run_blocks(self, tokens: Tensor, h: int, w: int) -> Tensor:
        """(B, T, D) -> (B, T, D). Between `pool`'s ends every 2x2 tokens are one; what that changed is added to all 4,
        so that no detail is lost (as Funnel-Transformer does in one dimension, Dai et al., arXiv 2006.03236).
        """
        kept = pooled = tokens
        for i, block in enumerate(self.blocks):
            if self.pool and i == self.pool.start:
                kept, tokens = tokens, pool_2x2(tokens, h, w)
                pooled = tokens
            tokens = block(tokens)
            if self.pool and i == self.pool.stop - 1:
                tokens = kept + unpool_2x2(tokens - pooled, h, w)
        return tokens

    def predict(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What `features` returned -> logits (B, N, K), boxes (B, N, 4); points level by level, finest first."""
        levels = [head(features[stride]) for stride, head in self.heads.items()]
        logits, boxes = zip(*levels, strict=True)
        return (logits[0], boxes[0]) if len(levels) == 1 else (torch.cat(logits, 1), torch.cat(boxes, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.predict(self.features(images))


def build_model(config: dict) -> ViTDetector:
    """A fresh model from a complete or partial config; DEFAULTS fill the gaps. Raises RecipeError on unknown keys."""
    known = {"classes", "channels", "ranks", *DEFAULTS}
    if unknown := set(config) - known:
        raise RecipeError(f"unknown model option {sorted(unknown)}; choose from {sorted(known)}")
    return ViTDetector(**{**DEFAULTS, **config})


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@torch.no_grad()
def count_macs(model: ViTDetector, width: int, height: int) -> int:
    """Multiply-accumulates of one image: convolutions, linear layers and both attention products."""
    total = 0

    def hook(module, inputs, output):
        nonlocal total
        if isinstance(module, nn.ConvTranspose2d):
            total += inputs[0].numel() * module.weight.shape[1] * module.weight[0, 0].numel()
        elif isinstance(module, nn.Conv2d):
            total += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += output.numel() * module.in_features
        elif isinstance(module, Attention):
            total += 2 * inputs[0].shape[1] ** 2 * module.heads * HEAD_DIM

    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, Attention)
    hooks = [m.register_forward_hook(hook) for m in model.modules() if isinstance(m, kinds)]
    training = model.training
    model.eval()(torch.zeros(1, model.config()["channels"], height, width))
    model.train(training)
    for h in hooks:
        h.remove()
    return total
