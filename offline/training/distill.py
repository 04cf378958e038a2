"""What the teacher tells its student (Hinton et al., arXiv 1503.02531, carried over to dense detection).

- response: the teacher's class probabilities at every point, and its boxes where it is confident;
- feature: its fine maps and its tokens, through a projection that is thrown away afterwards;
- relation: which of its tokens are alike (relational distillation: Park et al., arXiv 1904.05068; similarities as in
  Tung and Mori, arXiv 1907.09682, here among the tokens of an image);
- attention: where its last attention looks, and how alike the values there are (MiniLM: Wang et al., arXiv 2002.10957).

The last two compare T x T matrices: widths and numbers of heads may differ without a projection. Where one of the two
has four times the other's tokens, the finer ones are pooled.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import RecipeError
from ..model.blocks import HEAD_DIM, Attention, pool_2x2
from ..model.dense_head import output_names
from ..model.detector import ViTDetector
from .dense_loss import DenseLoss
from .distributed import normaliser
from .losses import decode, giou
from .specialist import Specialist
from .teacher_cache import TeacherCache


def check_comparable(student: dict, teacher: dict, attention: bool = False) -> None:
    """Raises RecipeError for configs of which one cannot teach the other; attention: whether that is compared."""
    for key in ("classes", "segments", "strides", "channels"):
        mine, theirs = student.get(key, 0), teacher.get(key, 0)
        if mine != theirs:
            raise RecipeError(
                f"the student has {key} {mine}, its teacher {theirs}: they cannot be compared; give both "
                "the same in the recipe, or take another teacher"
            )
    if attention and not all(c["mixer"] == "attention" and any(c["heads"]) for c in (student, teacher)):
        raise RecipeError("a model without attention learns nothing from attention: set that weight to 0")


class Distiller(nn.Module):
    """Loss of a student against a frozen teacher that sees the same crops.

    Args:
        student, teacher: detectors with the same classes and strides.
        response, feature, relation, attention: weights of the losses; one of 0 is not computed. Of a fresh student
            against a trained teacher the losses themselves are about 2, 2, 0.006 and 4.
        dense: what is asked of the dense head, if they have one.
        specialists: who tells of the crops whose batch["taught_by"] is 1, 2 ...
        cache: answers of this very teacher; None asks it every time.

    Raises:
        RecipeError: student and teacher cannot be compared.
    """

    def __init__(
        self,
        student: ViTDetector,
        teacher: ViTDetector,
        response: float = 0.0,
        feature: float = 0.0,
        relation: float = 0.0,
        attention: float = 0.0,
        cache: TeacherCache | None = None,
        dense: DenseLoss | None = None,
        specialists: Sequence[Specialist] = (),
    ):
        super().__init__()
        self.response, self.feature, self.relation, self.attention = response, feature, relation, attention
        self.teacher = [teacher.eval().requires_grad_(False)]  # in a list: not a submodule, not in the checkpoint
        self.cache, self.dense, self.specialists = cache, dense, specialists
        self.teacher += [s.model for s in specialists]
        mine, theirs = student.config(), teacher.config()
        check_comparable(mine, theirs, attention=bool(attention))
        self._token_stride = min(c["token_stride"] for c in (mine, theirs))  # of the finer grid
        widths = {"tokens": "dim"} | {str(s): "neck" for s in mine["strides"]} if feature else {}
        self.project = nn.ModuleDict({name: nn.Linear(mine[key], theirs[key]) for name, key in widths.items()})
        for layer in self.project.values():
            if layer.weight.shape[0] == layer.weight.shape[1]:  # same width: start from "the same features"
                nn.init.eye_(layer.weight)
                nn.init.zeros_(layer.bias)
        self._watched = [_Watch(student), _Watch(teacher)] if attention else []
        self._names = set(self.project)
        self._outputs = set(output_names(theirs)) if response else set()
        self._names |= self._outputs
        self._names |= {"tokens"} if relation else set()
        self._names |= {"qkv"} if attention else set()

    def forward(self, features: dict[str, Tensor], outputs: dict[str, Tensor], batch: dict, points: Tensor):
        """The student's features and outputs (ViTDetector.outputs) on batch["images"] -> losses by name."""
        images = batch.get("clean", batch["images"])  # the teacher's camera, whatever the student sees
        told = batch.get("told")  # (B, K) classes that it tells; None: all of all crops
        by = batch.get("taught_by")  # (B,) 0: the teacher, n: specialist n - 1
        theirs = self._ask(images, by)
        h, w = (side // self._token_stride for side in images.shape[2:])
        losses = {}
        if self.response and "logits" in outputs:
            (a, a_boxes), (b, b_boxes) = ((v["logits"].float(), v["boxes"].float()) for v in (outputs, theirs))
            losses["response"] = self.response * response_loss(a, a_boxes, b, b_boxes, points, told)
        if self.response and self.dense and "classes" in outputs:
            losses["mask_response"] = self.response * self.dense.response(outputs["classes"], theirs["classes"])
        if self.feature:
            shown = {name: _rows(theirs[name]) for name in self.project}
            shapes = {name: layer(_rows(features[name])) for name, layer in self.project.items()}
            shapes["tokens"], shown["tokens"] = same_grid(shapes["tokens"], shown["tokens"], h, w)
            crops = told.all(1) if told is not None else None
            crops = crops & (by == 0) if crops is not None and by is not None else crops
            losses["feature"] = (
                self.feature * torch.stack([feature_loss(shapes[k], shown[k], crops) for k in shapes]).mean()
            )
        with torch.autocast(images.device.type, enabled=False):  # small matrices of small differences: no bf16
            if self.relation:
                pair = same_grid(features["tokens"], theirs["tokens"], h, w)
                losses["relation"] = self.relation * relation_loss(*pair)
            if self.attention:
                losses["attention"] = self.attention * attention_loss(self._watched[0].take(), theirs["qkv"], h, w)
        return losses

    @torch.no_grad()
    def _ask(self, images: Tensor, by: Tensor | None) -> dict[str, Tensor]:
        """What the teacher says, and of each specialist's crops its outputs instead."""
        if by is None or not self.specialists:
            return self._ask_teacher(images)
        own = (by == 0).nonzero()[:, 0]
        own = own if len(own) else by.new_zeros(1)  # one at least: all that is compared has a shape
        said = self._ask_teacher(images[own])
        answers = {n: v.new_zeros(len(images), *v.shape[1:]).index_copy_(0, own, v) for n, v in said.items()}
        for number, specialist in enumerate(self.specialists, 1):
            crops = (by == number).nonzero()[:, 0]
            if len(crops):
                for n, v in specialist.outputs(images[crops], self._outputs).items():
                    answers[n].index_copy_(0, crops, v.to(answers[n].dtype))
        return answers

    def _ask_teacher(self, images: Tensor) -> dict[str, Tensor]:
        """Outputs, tokens, fine maps by stride, qkv of the last attention, as needed."""

        def compute():
            features = self.teacher[0].features(images)
            if self.response:
                features |= self.teacher[0].outputs(features)
            if self.attention:
                features["qkv"] = self._watched[1].take()
            return {name: features[name] for name in self._names}

        return self.cache.answers(images, self._names, compute) if self.cache else compute()

    def close(self) -> None:
        """The training is over: leave both models as they were."""
        for watch in self._watched:
            watch.handle.remove()
        for cache in (self.cache, *(s.cache for s in self.specialists)):
            if cache:
                cache.close()


class _Seen(dict):
    """A forward hook that keeps the output. Copies of the model share it; other processes get one of their own."""

    def __call__(self, module, inputs, output) -> None:
        self["qkv"] = output

    def __deepcopy__(self, memo) -> "_Seen":
        return self


class _Watch:
    """Keeps what the last attention's qkv gave in the newest forward pass: (B, T, 3 * heads * HEAD_DIM).

    A forward hook; an object, because functions cannot be sent to other processes (offline/training/distributed.py).
    """

    def __init__(self, model: ViTDetector):
        layers = [m for m in model.modules() if isinstance(m, Attention)]
        self.qkv: Tensor | None = None
        self.handle = layers[-1].qkv.register_forward_hook(self)

    def __call__(self, module, inputs, output: Tensor) -> None:
        self.qkv = output

    def take(self) -> Tensor:
        qkv, self.qkv = self.qkv, None
        assert qkv is not None, "no forward pass since the last one was taken"
        return qkv


def _rows(x: Tensor) -> Tensor:
    """(B, C, h, w) or (B, T, C) -> (B, T, C)."""
    return x.flatten(2).transpose(1, 2) if x.dim() == 4 else x


def same_grid(a: Tensor, b: Tensor, h: int, w: int) -> tuple[Tensor, Tensor]:
    """Tokens (B, T, C) on the grid (h, w), or pooled 2x2 once or twice -> both as coarse as the coarser."""
    coarse = min(a.shape[1], b.shape[1])
    return _pooled_to(a, coarse, h, w), _pooled_to(b, coarse, h, w)


def _pooled_to(x: Tensor, count: int, h: int, w: int) -> Tensor:
    while x.shape[1] > count and h * w:
        if x.shape[1] == h * w:
            x = pool_2x2(x, h, w)
        h, w = h // 2, w // 2
    return x


def feature_loss(a: Tensor, b: Tensor, crops: Tensor | None = None) -> Tensor:
    """Mean squared error of (B, T, C) against the teacher's, each of whose rows is standardised first.

    crops: bool (B,), those that count, the others as if there were no error; None: all.
    """
    error = (F.layer_norm(a.float(), a.shape[-1:]) - F.layer_norm(b.float(), b.shape[-1:])) ** 2
    return error.mean() if crops is None else (error.mean((1, 2)) * crops).mean()


def relation_loss(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of the cosine similarities among tokens: (B, T, C) against the teacher's (B, T, C')."""
    return F.mse_loss(_cosines(a), _cosines(b))


def _cosines(tokens: Tensor) -> Tensor:  # (B, T, C) -> (B, T, T)
    unit = F.normalize(tokens.float(), dim=-1)
    return unit @ unit.transpose(1, 2)


def attention_loss(a: Tensor, b: Tensor, h: int, w: int) -> Tensor:
    """KL divergence from the teacher's attention maps and value relations, means over heads, to the student's.

    Args:
        a, b: (B, T, 3 * heads * HEAD_DIM) queries, keys and values of the student and of the teacher, each on its grid.
        h, w: grid of the finest tokens.
    """
    a, b = same_grid(a, b, h, w)
    return torch.stack([_kl(mine, theirs) for mine, theirs in zip(_relations(a), _relations(b), strict=True)]).sum()


def _relations(qkv: Tensor) -> list[Tensor]:
    """softmax(q k' / sqrt(d)) and softmax(v v' / sqrt(d)), each a mean over heads: (B, T, T), rows add up to 1."""
    width = qkv.shape[2] // 3
    q, k, v = (x.unflatten(-1, (width // HEAD_DIM, HEAD_DIM)).transpose(1, 2) for x in qkv.float().split(width, -1))
    return [(x @ y.transpose(-2, -1) * HEAD_DIM**-0.5).softmax(-1).mean(1) for x, y in ((q, k), (v, v))]


def _kl(mine: Tensor, theirs: Tensor) -> Tensor:
    """Mean over rows of KL(theirs || mine), of distributions (B, T, T)."""
    difference = theirs.clamp(min=1e-8).log() - mine.clamp(min=1e-8).log()
    return (theirs * difference).sum(-1).mean()


def response_loss(
    logits: Tensor, raw: Tensor, their_logits: Tensor, their_raw: Tensor, points: Tensor, told: Tensor | None = None
) -> Tensor:
    """Classes: cross-entropy with the teacher's probabilities, weighted by the disagreement, as in quality focal loss
    (Li et al., arXiv 2006.04388). Boxes: GIoU, weighted by the teacher's confidence.

    told: bool (B, K), classes that the teacher tells of each crop; None: all."""
    target = their_logits.sigmoid()
    weight = (target - logits.detach().sigmoid()).abs() + 0.1 * target
    if told is not None:
        weight, target = weight * told[:, None], target * told[:, None]
    confidence = target.amax(-1)  # (B, N)
    scale = normaliser(confidence)
    cls = (weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).sum() / scale
    b, n = (confidence > 0.2).nonzero(as_tuple=True)
    _, g = giou(decode(raw[b, n], points[n]), decode(their_raw[b, n], points[n]))
    sure = confidence[b, n]
    return cls + 2.0 * ((1 - g) * sure).sum() / normaliser(sure)
