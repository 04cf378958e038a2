"""Recipes: what to build and how long to work on it, in one yaml file.

`offline/recipes/quick.yaml` and `full.yaml` are commented examples; `--set prune.mlp=0.25` changes one value.
"""

from dataclasses import asdict, dataclass, field, replace

from ..compression.prune import SHARES
from ..training.sensor import Sensor
from ..training.train import Schedule

TAUGHT = ("response", "feature", "relation", "attention")  # weights of what the teacher tells


@dataclass
class Input:
    """Size and colour of the model's input; 'auto' takes them from the training images.

    high_bit_depth: how images of 16 bits and floats become 8 bits, as the bundle will name it
    (vit_perception/images/high_bit_depth.py); {}: percentiles 1 and 99 of each image.
    """

    size: list[int] | str = "auto"  # [width, height], multiples of 32
    color: str = "auto"  # auto | gray | rgb
    high_bit_depth: dict = field(default_factory=dict)


@dataclass
class Crops:
    """Training crops and their augmentation (offline/training/augment.py)."""

    size: list[int] = field(default_factory=lambda: [320, 256])
    scale: list[float] = field(default_factory=lambda: [0.7, 1.5])
    mosaic: float = 0.5
    photometric: float = 1.0
    objects: float = 0.0  # share of the crops that are placed on an object, rare classes more often
    pasted: int = 0  # up to so many further objects are pasted into each
    close: float = 0.0  # share of the crops that are enlarged by up to 4 more, as an approach enlarges
    sensor: Sensor = field(default_factory=Sensor)  # shares of them that other cameras seem to have made


@dataclass
class Masks:
    """Losses of the dense head (offline/training/dense_loss.py); only where the task is segment or both."""

    weights: str = "root"  # of the classes: none, or root: by 1 / sqrt of their share of the pixels
    focal: float = 0.0  # exponent; 0: cross entropy
    dice: float = 0.0  # weight of the Dice loss; 0: none
    share: float = 1.0  # weight of all of it beside the losses of detection
    temperature: float = 2.0  # of what the teacher says of a pixel


@dataclass
class Pretrain(Schedule):
    """Masked-image pre-training of the teacher (offline/training/pretrain.py); it needs no labels. `epochs` 0: none."""

    epochs: float = 0
    mask: float = 0.6  # share of the patches of 32x32 pixels that are hidden


@dataclass
class Distilled(Schedule):
    """A schedule under the teacher: the weights of what it tells (offline/training/distill.py). All 0: labels alone."""

    epochs: float = 0
    response: float = 1.0
    feature: float = 1.0
    relation: float = 0.0
    attention: float = 0.0

    def taught(self) -> bool:
        """Whether it trains, and under the teacher."""
        return self.wanted() and any(getattr(self, k) for k in TAUGHT)

    def alone(self) -> "Distilled":
        """The same without the teacher."""
        return replace(self, response=0.0, feature=0.0, relation=0.0, attention=0.0)

    def scaled(self, part: float) -> "Distilled":
        """A part of its length."""
        return replace(self, epochs=self.epochs * part, min_steps=round(self.min_steps * part))


@dataclass
class Distil(Distilled):
    cache_gb: float = 0.0  # disk for the teacher's answers; pays where several runs see the same crops
    keep: float = 0.0  # share of the weights that it began with in those it ends with: so much less is forgotten


@dataclass
class Prune(Distilled):
    """`latency` ranks all units of the model together; without it, every group of a kind loses the same share."""

    criterion: str = "fisher"  # fisher | taylor | magnitude
    rounds: int = 1  # 1: one shot; more: cut and fine-tune in turns, the epochs shared among them
    latency: float = 0.0  # share of the model's time on the target that may stay; 0: use the shares
    depth: int = 1  # whole blocks that must stay, though the ranking by `latency` would cut them
    heads: float = 0.0  # shares that go: of every block's heads,
    mlp: float = 0.0  # of every block's hidden units,
    dim: float = 0.0  # of the token width,
    stem: float = 0.0  # of every stem stage's channels; of a mobile stem of every block's hidden ones,
    neck: float = 0.0  # of the fine maps' channels
    twin: bool = False  # then go on with convolutions of the same MACs in the place of the blocks (conv_twin.py)

    def cuts(self) -> bool:
        """Whether anything is to go, or be exchanged."""
        return bool(self.latency or self.twin or any(getattr(self, k) for k in SHARES))


@dataclass
class LowRank(Distilled):
    error: float = 0.05  # largest relative error of a layer's output that is accepted
    saving: float = 0.25  # a layer is split only if it loses at least this share of its MACs, and the target gains time


@dataclass
class Quantise(Distilled):
    """`epochs` of quantisation-aware fine-tuning (offline/compression/qat.py); 0: none."""

    smooth: bool = True  # even out ranges first (offline/compression/smooth.py)
    int8: str = "static"  # for ONNX Runtime: static | dynamic | auto, the faster one on this machine that stays close
    tensorrt: str = "auto"  # int8 | fp16 | auto, all that the target's GPU has


@dataclass
class Search(Distilled):
    """Used when a budget is given (offline/search.py)."""

    epochs: float = 0.6  # of brief fine-tuning for every candidate
    levels: list[float] = field(default_factory=lambda: [0.6, 0.8, 1.0])  # of the budget, or of the teacher's time
    images: int = 96  # validation images that candidates are compared on


@dataclass
class Thresholds:
    """Written into the bundle; the node's parameters can override them.

    score: of what is published and strong in tracks. weak_score: of what counts in tracks only; 0: the same.
    fp_per_image, weak_fp_per_image: over 0, they choose the score, and the weak one: the lowest at which the exported
    master gives at most so many false positives of all classes together per image of --val.
    """

    score: float = 0.3
    weak_score: float = 0.0
    fp_per_image: float = 0.0
    weak_fp_per_image: float = 0.0
    nms_iou: float = 0.5
    max_detections: int = 100


@dataclass
class Card:
    """What CARD.md says that figures cannot; it trains nothing, so it may change until the bundle is made.

    data: folders of the data that all of this was written for, "a|b" for one of two; on other data it does not hold
    (recipe_file.py, `card_for`). Empty: it holds for any. groups, bands: groups of images that the card tells figures
    for, see offline/evaluation/subsets.py.
    """

    data: list[str] = field(default_factory=list)
    intended: str = ""
    not_intended: str = ""
    attribution: str = ""  # source and licence of the data; --attribution goes before it
    groups: str = ""
    bands: dict = field(default_factory=dict)


@dataclass
class Recipe:
    """All of it. `model`: options of ViTDetector for the teacher; `student`: what it has otherwise.

    In both, `mixer: twin` means the convolutional detector of the same MACs (offline/compression/conv_twin.py).
    """

    task: str = "detect"  # detect | segment | both
    seed: int = 0
    input: Input = field(default_factory=Input)
    crops: Crops = field(default_factory=Crops)
    masks: Masks = field(default_factory=Masks)
    model: dict = field(default_factory=dict)
    student: dict = field(default_factory=dict)
    pretrain: Pretrain = field(default_factory=Pretrain)
    teacher: Schedule = field(default_factory=lambda: Schedule(epochs=10))
    distil: Distil = field(default_factory=Distil)
    prune: Prune = field(default_factory=Prune)
    search: Search = field(default_factory=Search)
    lowrank: LowRank = field(default_factory=LowRank)
    quantise: Quantise = field(default_factory=Quantise)
    thresholds: Thresholds = field(default_factory=Thresholds)
    card: Card = field(default_factory=Card)

    def as_dict(self) -> dict:
        """What the run's record and the bundle hold: what a detector does not use is not in it."""
        mine = ("task", "masks")
        return {k: v for k, v in asdict(self).items() if self.task != "detect" or k not in mine}

    def detects(self) -> bool:
        return self.task in ("detect", "both")

    def segments(self) -> bool:
        return self.task in ("segment", "both")
