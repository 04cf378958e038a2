"""The detector: a conv stem, plain pre-LN transformer blocks on coarse tokens, and a dense anchor-free head::

    images (B, C, H, W)
      -> stem: one stage per stride 2, 4, 8, 16: a strided conv and, but for the first, a residual block;
         or the first blocks of EfficientNet-Lite0 (mobile_stem.py)
      -> tokens at stride 32 or 16 (B, T, D), normalised, a depthwise 3x3 conv as position, transformer blocks;
         the blocks of `pool` run on tokens pooled 2x2
      -> up and add: stride 32 -> 16 -> 8 (-> 4): fine enough for 10-pixel people
      -> head per stride: logits (B, N, K), boxes (B, N, 4) = dx, dy, log w, log h in strides around each point
      -> dense head on the finest map, where `segments` says so: logits (B, segments, H / S, W / S) (dense_head.py)

Attention sees the whole image where that is cheap (H W / 1024 tokens), and fine maps keep what small objects need.
Early convolutions help small ViTs train (Xiao et al., arXiv 2106.14881), a depthwise conv is a position code for any
input size (Chu et al., arXiv 2102.10882). Parameter names of the blocks are timm's, so that weights of DeiT and DINO
load by key.
With `mixer: conv` residual 3x3 convolutions take the place of position code, blocks and norm, and all else is the same:
the transformer must beat that (offline/compression/conv_twin.py finds the widths).
A model is rebuilt from `config()` alone, whatever pruning and factorisation did to it.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import RecipeError
from .blocks import HEAD_DIM, Attention, Block, Head, LayerNorm, Residual, conv_bn, pool_2x2, unpool_2x2
from .dense_head import DenseHead
from .mobile_stem import HIDDEN, WIDTHS, is_mobile, make_stages

INPUT_STEP = 32  # sides of an input are multiples of it
DEFAULTS = {
    "stem": [16, 32, 64, 128],
    "dim": 192,
    "depth": 6,
    "heads": 3,
    "mlp": 768,
    "neck": 64,
    "strides": [8],
    "pool": None,
    "mixer": "attention",
    "token_stride": 32,
}


class ViTDetector(nn.Module):
    """See the module's docstring.

    Args:
        classes: number of classes K; 0: it only segments. channels: 1 (gray) or 3 (rgb).
        stem: channels at stride 2, 4, 8, 16; or `mobile`: blocks of EfficientNet-Lite0 (mobile_stem.py), which `config`
            and pruning name by the hidden channels of each. dim: token width D. neck: channels of the fine maps.
        heads, mlp: per block (a list), or one number for all `depth` blocks.
        strides: of the heads, from [4], [8], [4, 8].
        pool: [first, end): blocks that run on tokens pooled 2x2; None: all see all tokens.
        ranks: {linear's name: rank} of the layers that low-rank factorisation split in two.
        mixer: attention; or conv: the blocks are residual convolutions around `mlp` hidden channels, without heads.
        segments: classes of the dense head; 0: there is none.
        token_stride: 32, or 16: four times the tokens, for objects that stride 32 blurs; `pool` keeps it cheap.

    Raises:
        RecipeError: the options do not fit together.
    """

    def __init__(
        self,
        classes,
        channels,
        stem,
        dim,
        depth,
        heads,
        mlp,
        neck,
        strides,
        pool=None,
        ranks=None,
        mixer="attention",
        token_stride=32,
        segments=0,
    ):
        super().__init__()
        if mixer not in ("attention", "conv") or token_stride not in (16, 32):
            raise RecipeError(
                f"model options mixer and token_stride must be attention or conv and 16 or 32, not {mixer} and "
                f"{token_stride}"
            )
        conv = mixer == "conv"
        heads = [0 if conv else heads] * depth if conv or isinstance(heads, int) else list(heads)
        mlp = [mlp] * depth if isinstance(mlp, int) else list(mlp)
        stem = HIDDEN if stem == "mobile" else stem
        if not (len(stem) == 4 or is_mobile(stem)):
            raise RecipeError(f"model option stem must be 4 numbers, or mobile ({len(HIDDEN)} numbers), not {stem}")
        if not (len(heads) == len(mlp) == depth and set(strides) <= {4, 8} and strides):
            raise RecipeError(
                f"model options do not fit: heads {heads} and mlp {mlp} need one per block ({depth}), strides "
                f"{strides} come from 4 and 8"
            )
        if not (classes or segments):
            raise RecipeError("a model needs classes to detect or segments to tell apart, this one has neither")
        if pool is not None and not (len(pool) == 2 and 0 <= pool[0] < pool[1] <= depth):
            raise RecipeError(f"model option pool {pool} must be [first, end) within the {depth} blocks, or null")
        if conv and (pool is not None or 0 in mlp):
            raise RecipeError(f"model option mixer: conv takes no pool and needs channels in every block, not {mlp}")
        self._config = {"classes": classes, "channels": channels, "stem": list(stem), "dim": dim, "depth": depth}
        self._config |= {
            "heads": heads,
            "mlp": mlp,
            "neck": neck,
            "strides": sorted(strides),
            "pool": pool,
            "ranks": {},
            "mixer": mixer,
            "token_stride": token_stride,
        } | ({"segments": segments} if segments else {})
        widths = WIDTHS if is_mobile(stem) else stem  # of the maps
        self.stem = nn.ModuleList(make_stages(channels, stem) if is_mobile(stem) else _plain_stages(channels, stem))
        # Tokens enter normalised: an unbounded residual stream drowns what the blocks add, and overflows in fp16.
        self.embed = conv_bn(widths[3], dim, stride=token_stride // 16, act=conv)
        self.position = None if conv else nn.Conv2d(dim, dim, 3, 1, 1, groups=dim)
        self.pool = range(*pool) if pool else range(0)
        self.blocks = nn.ModuleList(
            Residual(dim, m) if conv else Block(dim, h, m) for h, m in zip(heads, mlp, strict=True)
        )
        self.norm = None if conv else LayerNorm(dim, eps=1e-6)
        finest = min(strides)
        fine = [s for s in (16, 8, 4) if s >= finest]  # strides of the neck's maps, coarse to fine
        factors = [token_stride // 16 if s == 16 else 2 for s in fine]  # by which each step up enlarges the map
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(dim if s == 16 else neck, neck, f, f) for s, f in zip(fine, factors, strict=True)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(widths[{16: 3, 8: 2, 4: 1}[s]], neck, 1) for s in fine)
        self.smooth = nn.ModuleDict({str(s): conv_bn(neck, neck) for s in sorted(strides)})
        self.heads = nn.ModuleDict({str(s): Head(neck, classes) for s in sorted(strides) if classes})
        self.dense = DenseHead(neck, segments) if segments else None
        for name, rank in (ranks or {}).items():
            self.factorise(name, rank)

    def config(self) -> dict:
        """Everything that is needed to build this very model again: `ViTDetector(**config)`."""
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
        maps, x = self.encode(x)
        out = {"tokens": x.flatten(2).transpose(1, 2)}
        for stride, up, lateral in zip((16, 8, 4), self.up, self.lateral, strict=False):
            x = F.relu(up(x) + lateral(maps[stride]))
            if str(stride) in self.smooth:
                out[str(stride)] = x = self.smooth[str(stride)](x)
        return out

    def encode(self, x: Tensor) -> tuple[dict[int, Tensor], Tensor]:
        """images (B, C, H, W) -> the stem's maps by stride; the tokens after the last block, as a map (B, D, h, w)."""
        maps = {}
        for stride, stage in zip((2, 4, 8, 16), self.stem, strict=True):
            maps[stride] = x = stage(x)
        x = self.embed(x)  # (B, D, h, w), h = H / token_stride
        if self.position is None or self.norm is None:  # mixer: conv
            for block in self.blocks:
                x = block(x)
            return maps, x
        x = x + self.position(x)
        b, d, h, w = x.shape
        tokens = self.norm(self.run_blocks(x.flatten(2).transpose(1, 2), h, w))  # (B, T, D)
        return maps, tokens.transpose(1, 2).reshape(b, d, h, w)

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

    def outputs(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """What `features` returned -> all that the heads give: logits and boxes of `predict`, classes of the dense head
        (B, segments, H / S, W / S), S the finest stride; whichever there are, in the order of the exported file."""
        found = dict(zip(("logits", "boxes"), self.predict(features), strict=True)) if self.heads else {}
        if self.dense is not None:
            found["classes"] = self.dense(features[str(min(self._config["strides"]))])
        return found

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.outputs(self.features(images)).values())


def _plain_stages(channels: int, widths: list[int]) -> list[nn.Module]:
    """No residual block at stride 2: that map is memory-bound, it would cost a quarter of the whole training step."""
    pairs = zip([channels, *widths], widths, strict=False)
    return [
        nn.Sequential(conv_bn(a, b, stride=2), Residual(b)) if i else conv_bn(a, b, stride=2)
        for i, (a, b) in enumerate(pairs)
    ]


def build_model(config: dict) -> ViTDetector:
    """A fresh model from a complete or partial config; DEFAULTS fill the gaps. Raises RecipeError on unknown keys."""
    known = {"classes", "channels", "ranks", "segments", *DEFAULTS}
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
