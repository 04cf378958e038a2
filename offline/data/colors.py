"""Are images in colour or gray, and are they alike within a set, between sets, and where the model is measured?"""

from collections.abc import Iterable, Iterator

import numpy as np

from ..errors import DataError
from .images import is_colored, read_image
from .sample import Dataset, Sample

SAMPLE = 64  # images of a set that are looked at: of a set with a twentieth in colour one time in 27 shows none
GRAY, RGB, MIXED = "gray", "rgb", "gray and rgb"
REMEDY = "use one kind, or read all alike with --set input.color=gray"


def detect_color(data: Dataset) -> str:
    """'gray' if the images of a sample hold one channel (or three equal ones), else 'rgb'."""
    return RGB if any(_is_colored(s) for s in _some(data)) else GRAY


def check_colors(train: Dataset) -> None:
    """Raises DataError for sets of different colours."""
    colors = {data.name: _kind(*_count(data)) for data in _parts(train)}
    if len(set(colors.values())) > 1:
        kinds = ", ".join(f"{name} is {color}" for name, color in colors.items())
        raise DataError(train.say(f"{kinds}; {REMEDY}"))


def color_lines(train: Dataset, measured: Iterable[Dataset], told: bool = False) -> Iterator[str]:
    """One sentence for each set whose images are not alike, by a sample (told: nobody needs to hear that any more), and
    for each of `measured` whose images are not as those of `train`."""
    kinds = set()
    for data in _parts(train):
        looked, colored = _count(data)
        kinds.add(_kind(looked, colored))
        if _kind(looked, colored) == MIXED and not told:
            sample = "" if looked == len(data) else f" (a sample of its {len(data)})"
            yield train.say(f"{mixed(looked, colored)}: {data.name}{sample}; {REMEDY}")
    for data in measured:
        kind = _kind(*_count(data))
        if len(kinds) == 1 and kind not in kinds and MIXED not in kinds:
            (taught,) = kinds
            yield data.say(f"images of {data.name} are {kind}, those that are trained on {taught}; {REMEDY}")


def mixed(looked: int, colored: int) -> str:
    """'15 of 30 images are in colour, the others gray'."""
    return f"{colored} of {looked} images are in colour, the others gray"


def _parts(train: Dataset) -> list[Dataset]:
    """The sets that it was put together from, or itself."""
    return [train.part(number) for number in range(len(train.parts))] or [train]


def _kind(looked: int, colored: int) -> str:
    return GRAY if not colored else RGB if colored == looked else MIXED


def _count(data: Dataset) -> tuple[int, int]:
    """How many images of a sample were looked at, and how many of them are in colour."""
    some = _some(data)
    return len(some), sum(_is_colored(s) for s in some)


def _some(data: Dataset) -> list[Sample]:
    """At random, always the same: at even steps, kinds that alternate would look like one."""
    picks = np.random.default_rng(0).permutation(len(data))[:SAMPLE]
    return [data.samples[i] for i in sorted(picks)]


def _is_colored(sample: Sample) -> bool:
    return is_colored(read_image(sample, RGB))
