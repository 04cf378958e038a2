"""What the rest of the workstation sees of a data set: a list of samples, whatever format they came in."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from vit_perception.slices import parse, picture_size

INVERTED = " (inverted)"  # ends the name of a set whose images are turned
TINY_PX = 4.0  # half the finest stride that is common; below it there is hardly anything to see


class MaskSource(Protocol):
    """Where the mask of an image comes from (data/masks)."""

    def read(self, size: tuple[int, int]) -> np.ndarray:
        """uint8 (H, W) of an image of `size` (width, height): the class of each pixel, 255 for none."""


@dataclass
class Sample:
    """One labelled image. boxes and ignore: float32 (n, 4) x1 y1 x2 y2 in pixels; classes: int64 (n,).

    invert: its camera shows warm things dark, read_image turns it. part: number of its set among `Dataset.parts`.
    mask: None where nothing says what its pixels show.
    """

    path: Path
    id: int
    width: int
    height: int
    boxes: np.ndarray
    classes: np.ndarray
    ignore: np.ndarray
    invert: bool = False
    part: int = 0
    mask: MaskSource | None = None


TEACHES = ("all", "unlabelled", "none")


@dataclass
class Part:
    """One of several sets in one training (data/sets.py).

    unlabelled: classes that may be visible and are not labelled: neither objects nor background there. share: of the
    crops. teacher: what a teacher tells there: all, of the unlabelled classes alone, or none. taught_by: path of the
    model that tells it; empty: the teacher of the run.
    """

    name: str
    unlabelled: tuple[int, ...] = ()
    share: float = 1.0
    teacher: str = "all"
    taught_by: str = ""

    @property
    def teacher_name(self) -> str:
        """What the model at `taught_by` is called, wherever it lies."""
        return "/".join(Path(self.taught_by).parts[-2:])

    def as_dict(self) -> dict:
        """What runs and bundles remember."""
        called = {"taught_by": self.teacher_name} if self.taught_by else {}
        return {k: v for k, v in vars(self).items() if k != "taught_by"} | called


@dataclass
class Dataset:
    """A checked data set. `labels[c]` names class c; `sha256` identifies its annotations.

    parts: the sets that it was put together from; empty: it is one set, and all of `labels` are labelled.
    segments: names of the masks' classes, in the order of their indices; empty: there are no masks.
    colors: (r, g, b) of each.
    where: what a sentence about it begins with, such as 'FILE, set 2'; empty: its name says enough.
    """

    name: str
    labels: list[str]
    samples: list[Sample]
    sha256: str
    dropped: dict[str, int] = field(default_factory=dict)  # why -> how many boxes
    left_out: dict[str, int] = field(default_factory=dict)  # class that is neither wanted nor ignored -> its boxes
    parts: list[Part] = field(default_factory=list)
    segments: list[str] = field(default_factory=list)
    colors: list[tuple[int, int, int]] = field(default_factory=list)
    where: str = ""

    def __len__(self) -> int:
        return len(self.samples)

    def say(self, sentence: str) -> str:
        """The sentence, with what tells which set it is about."""
        return f"{self.where}: {sentence}" if self.where else sentence

    def spread(self, count: int) -> "Dataset":
        """The set with `count` of its images, evenly spread; the whole set if that is 0 or more than there are."""
        if not 0 < count < len(self):
            return self
        picks = np.linspace(0, len(self) - 1, count).astype(int)
        return replace(self, samples=[self.samples[i] for i in picks])

    def part(self, number: int) -> "Dataset":
        """One of the sets that it was put together from, by its number among `parts`."""
        samples = [s for s in self.samples if s.part == number]
        return replace(self, name=self.parts[number].name, samples=samples)

    def specialists(self) -> list[str]:
        """Paths of the models that teach on the crops of some of its sets in place of the run's teacher."""
        return list(dict.fromkeys(part.taught_by for part in self.parts if part.taught_by))

    def counts(self) -> np.ndarray:
        """Boxes per class: int64 (len(labels),)."""
        classes = [s.classes for s in self.samples]
        return np.bincount(np.concatenate(classes) if classes else [], minlength=len(self.labels)).astype(np.int64)

    def folders(self) -> list[set[str]]:
        """Of each of its sets, the names of the folders that its first image lies in, the whole path."""
        firsts = {s.part: s for s in reversed(self.samples)}
        return [set(s.path.absolute().parent.parts) for s in firsts.values()]

    def part_lines(self) -> list[str]:
        """One line for each set that it was put together from."""
        return [
            f"{part.name}: {sum(s.part == n for s in self.samples)} images, {part.share:.0%} of the crops"
            + (f"; not labelled there: {', '.join(self.labels[c] for c in part.unlabelled)}" if part.unlabelled else "")
            + ("" if part.teacher == "all" else f"; a teacher tells there: {part.teacher}")
            + (f"; taught by {part.teacher_name}" if part.taught_by else "")
            for n, part in enumerate(self.parts)
        ]

    def summary(self) -> str:
        """One line: images, boxes per class, and what was dropped."""
        per_class = ", ".join(f"{label} {n}" for label, n in zip(self.labels, self.counts(), strict=True))
        regions = sum(len(s.ignore) for s in self.samples)
        dropped = "".join(f"; dropped {n} boxes: {why}" for why, n in self.dropped.items())
        dropped += "".join(f"; left out {n} boxes of {name}" for name, n in self.left_out.items())
        if self.segments:
            masks = sum(s.mask is not None for s in self.samples)
            dropped += f"; {masks} masks: {', '.join(self.segments)}"
        if not self.labels:
            return f"{self.name}: {len(self)} images{dropped}"
        return f"{self.name}: {len(self)} images, boxes: {per_class}; ignore regions {regions}{dropped}"

    def table(self) -> list[str]:
        """Lines of a table: per class its boxes, the images that hold it, and sides = sqrt(area) in pixels."""
        if not self.labels:
            return []
        width = max(5, *(len(label) for label in self.labels))
        lines = [f"{'class':<{width}}{'boxes':>8}{'images':>8}{'median side':>13}{'smallest 5%':>13}"]
        for c, label in enumerate(self.labels):
            boxes = [s.boxes[s.classes == c] for s in self.samples]
            images = sum(len(b) > 0 for b in boxes)
            side = sides(np.concatenate(boxes)) if images else np.zeros(0)
            cells = [f"{np.percentile(side, q):>10.0f} px" if images else f"{'-':>13}" for q in (50, 5)]
            lines.append(f"{label:<{width}}{len(side):>8}{images:>8}{''.join(cells)}")
        return lines


def model_sizes(data: Dataset, width: int, height: int, slices: str = "1x1") -> dict[str, list[float]]:
    """{class: [5%, 50%, 95%] of its boxes' sides, in pixels of a model's input of width x height}; [] without boxes.

    slices: how large images are cut (vit_perception/slices.py); then as the model sees them there.
    """
    grid, found = parse(slices), {}
    pictures = [picture_size(grid, s.width, s.height, width, height) for s in data.samples]
    scales = [min(width / picture[0], height / picture[1]) for picture in pictures]
    for c, label in enumerate(data.labels):
        seen = [sides(s.boxes[s.classes == c]) * scale for s, scale in zip(data.samples, scales, strict=True)]
        side = np.concatenate(seen) if seen else np.zeros(0)
        found[label] = [round(float(q), 1) for q in np.percentile(side, (5, 50, 95))] if len(side) else []
    return found


def sides(boxes: np.ndarray) -> np.ndarray:
    """Square roots of the areas of boxes (n, 4): float (n,), pixels."""
    return np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
