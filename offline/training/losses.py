"""Assigns points to boxes, and computes the losses of detection.

Assigner: FCOS-style centre sampling (Tian et al., arXiv 1904.01355), with a minimum radius so that a person smaller
than the grid still owns a point. Losses: varifocal (Zhang et al., arXiv 2008.13367) on classes, GIoU (Rezatofighi et
al., arXiv 1902.09630) on boxes. Everything is batched: no loop over images.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vit_perception.detector import MAX_LOG_SIZE, grid_points

from .distributed import normaliser

RADIUS = 1.5  # strides; how far from its centre a box claims points
MIN_RADIUS = 0.51  # strides; over 0.5, so that every box has at least one point
LEVEL_LIMIT = 5.0  # strides; boxes whose side is larger belong to the next coarser level


def points_for(model, width: int, height: int) -> Tensor:
    """(N, 3) x, y, stride of the model's points for images of this size."""
    return torch.from_numpy(grid_points(width, height, model.config()["strides"]))


def decode(raw: Tensor, points: Tensor) -> Tensor:
    """Torch twin of vit_perception.detector.decode_boxes: (..., N, 4) raw -> x1 y1 x2 y2 pixels."""
    center = points[:, :2] + raw[..., :2] * points[:, 2:]
    half = 0.5 * raw[..., 2:].clamp(max=MAX_LOG_SIZE).exp() * points[:, 2:]
    return torch.cat([center - half, center + half], -1)


def assign(points: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
    """Index of the box that each point answers for, -1 for background: int64 (B, N).

    Args:
        points: (N, 3). boxes: (B, M, 4). labels: (B, M), -1 pads.
    """
    xy, stride = points[None, :, None, :2], points[None, :, None, 2]  # (1, N, 1, 2), (1, N, 1)
    center = (0.5 * (boxes[..., :2] + boxes[..., 2:]))[:, None]  # (B, 1, M, 2)
    size = (boxes[..., 2:] - boxes[..., :2])[:, None]  # (B, 1, M, 2)
    reach = (0.5 * size).clamp(max=RADIUS * stride[..., None]).clamp(min=MIN_RADIUS * stride[..., None])
    inside = ((xy - center).abs() <= reach).all(-1)  # (B, N, M)
    strides = points[:, 2].unique().tolist()
    side = size.prod(-1).sqrt()  # (B, 1, M)
    low, high = torch.zeros_like(stride), torch.full_like(stride, math.inf)
    for fine, coarse in zip(strides, strides[1:], strict=False):
        low[stride == coarse] = LEVEL_LIMIT * fine
        high[stride == fine] = LEVEL_LIMIT * fine
    inside &= (side >= low) & (side < high) & (labels >= 0)[:, None]
    area = size.prod(-1).masked_fill(~inside, math.inf)  # the smallest box wins a contested point
    best, index = area.min(-1)
    return index.masked_fill(best.isinf(), -1)


def giou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of paired boxes (n, 4)."""
    lt, rb = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    inter = (rb - lt).clamp(min=0).prod(-1)
    union = (a[:, 2:] - a[:, :2]).prod(-1) + (b[:, 2:] - b[:, :2]).prod(-1) - inter
    iou = inter / union.clamp(min=1e-6)
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(-1)
    return iou, iou - (hull - union) / hull.clamp(min=1e-6)


def varifocal(logits: Tensor, target: Tensor, alpha: float = 0.75, gamma: float = 2.0) -> Tensor:
    """Elementwise; positives (target > 0) weigh as much as their target, negatives as p^gamma."""
    weight = torch.where(target > 0, target, alpha * logits.detach().sigmoid().pow(gamma))
    return weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def ignore_mask(points: Tensor, ignore: Tensor) -> Tensor:
    """True (B, N) where a point lies inside an ignore region (B, I, 4)."""
    xy = points[None, :, None, :2]
    return ((xy >= ignore[:, None, :, :2]) & (xy < ignore[:, None, :, 2:])).all(-1).any(-1)


def detection_loss(logits: Tensor, raw: Tensor, points: Tensor, batch: dict) -> dict[str, Tensor]:
    """Losses against the labels.

    Args:
        logits: (B, N, K). raw: (B, N, 4). points: (N, 3). batch: as `augment.Loader.make` returns it.
    """
    logits, raw = logits.float(), raw.float()
    index = assign(points, batch["boxes"], batch["labels"])  # (B, N)
    b, n = (index >= 0).nonzero(as_tuple=True)
    m = index[b, n]
    iou, g = giou(decode(raw[b, n], points[n]), batch["boxes"][b, m])
    quality = iou.detach().clamp(min=0.05)  # a positive is never told to be background
    target = torch.zeros_like(logits)
    target[b, n, batch["labels"][b, m]] = quality
    cls = varifocal(logits, target)
    cls = cls.masked_fill((ignore_mask(points, batch["ignore"]) & (index < 0))[..., None], 0.0)
    scale = normaliser(quality)
    return {"cls": cls.sum() / scale, "box": 2.0 * ((1 - g) * quality).sum() / scale}
