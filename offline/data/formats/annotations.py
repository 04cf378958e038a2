"""The annotations that every format's reader returns, and the list of faults that it reports to.

A reader reports faults to `Findings`. In a run the first fault ends it with one sentence; `offline.data check` collects
all of them.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vit_perception.images.files import LFS_POINTER, show

from ...errors import DataError
from ..images import image_size, pictures_in

log = logging.getLogger(__name__)
SHOWN = 3  # places that a line names; the rest is counted


REGION = ""  # name of a box that is of no class: an ignore region for all of them


class Label(NamedTuple):
    """A box as its file has it: class name, (x1, y1, x2, y2) in pixels, and whether nobody is judged on it.

    occluded, truncated: how much of it is hidden, or beyond the image's border, on the scale of its format, 0: nothing.
    """

    name: str
    box: tuple[float, float, float, float]
    crowd: bool = False
    occluded: int = 0
    truncated: int = 0


@dataclass
class Image:
    """An image file and its labels, nothing clipped or dropped yet."""

    path: Path
    id: int
    width: int
    height: int
    labels: list[Label] = field(default_factory=list)


@dataclass
class Annotations:
    """One split as its files have it. `declared`: `names` is the format's own list, not just what was found.

    layout: how the files lie, in words.
    """

    source: Path
    name: str
    names: list[str]
    images: list[Image]
    sha256: str
    declared: bool = True
    layout: str = ""


class Findings:
    """Faults (the set is unusable) and warnings, grouped by what is wrong.

    strict: the first fault raises DataError, as a run wants it. root: what lines need not repeat. about: what they
    begin with, such as which set of several it is.
    """

    def __init__(self, strict: bool = True, root: Path | None = None, about: str = ""):
        self.strict, self._root, self._about = strict, root, about
        self._groups: dict[tuple[str, str, str], list[str]] = {}

    def fault(self, where, what: str, remedy: str) -> None:
        if self.strict:
            raise DataError(show(f"{where}: {what}; {remedy}"))
        self._groups.setdefault(("error", show(what), remedy), []).append(show(where))

    def warn(self, where, what: str, remedy: str) -> None:
        self._groups.setdefault(("warning", show(what), remedy), []).append(show(where))

    def warn_of_pages(self, paths: Iterable[Path]) -> None:
        """Of files that hold more than one picture: whoever reads them takes the first."""
        remedy = "the first alone is used: check that it is the labelled one, and save it as a file of its own"
        for path in paths:
            if (count := pictures_in(path)) > 1:
                self.warn(f"{path} ({count})", "a file holds several pictures", remedy)

    def tell(self) -> None:
        """Log every line."""
        for line in self.lines():
            log.warning("%s", line)

    def stop(self, error: DataError) -> None:
        """What kept a check from going on."""
        self._groups.setdefault(("error", str(error), ""), [])

    @property
    def usable(self) -> bool:
        return not any(level == "error" for level, _, _ in self._groups)

    def lines(self) -> list[str]:
        """One line for each kind of trouble, errors first: what, where (the first few), what to do."""
        lines = []
        about = f"{show(self._about)}: " if self._about else ""
        for (level, what, remedy), places in sorted(self._groups.items(), key=lambda g: g[0][0]):
            if not places:
                lines.append(f"{level}: {about}{what}")
                continue
            seen = list(dict.fromkeys(p.removeprefix(f"{self._root}/") for p in places))
            more = f" and {len(seen) - SHOWN} more" if len(seen) > SHOWN else ""
            times = f" ({len(places)} times)" if len(places) > 1 else ""
            lines.append(f"{level}: {about}{what}{times}: {', '.join(seen[:SHOWN])}{more}; {remedy}")
        return lines


def flag(value) -> bool:
    """0 or 1 as it may be written. Raises TypeError for what is neither."""
    text = str(value).strip().lower()
    if text in ("", "0", "0.0", "false", "none", "no"):
        return False
    if text in ("1", "1.0", "true", "yes"):
        return True
    raise TypeError(f"{value!r} is neither 0 nor 1")


def measure(path: Path, findings: Findings, said: tuple[int, int] | None = None) -> tuple[int, int] | None:
    """(width, height) from the image's header, compared with what its annotation `said`; None after a fault."""
    size = image_size(path)
    if size is None:
        try:
            with path.open("rb") as f:
                pointer = f.read(len(LFS_POINTER)) == LFS_POINTER
        except OSError as e:
            link = " (a link to what is not there)" if path.is_symlink() else ""
            findings.fault(path, f"cannot open the image: {e.strerror}{link}", "replace it or drop it")
            return None
        what = "a Git LFS pointer is in the place of an image" if pointer else "cannot read the image"
        findings.fault(path, what, "git lfs pull" if pointer else "replace it or drop it from the annotations")
        return None
    if said and said != size:
        what = f"the image is {size[0]}x{size[1]} but its annotation says {said[0]}x{said[1]}"
        findings.fault(path, what, "boxes would be wrong, export the annotations again")
        return None
    return size
