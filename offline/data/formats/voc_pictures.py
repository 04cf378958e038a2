"""Which image a VOC annotation is of: the one of its own name, or the one that its <filename> gives."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..find import Finder, plain
from ..images import SUFFIXES
from .annotations import Findings


class Pictures:
    """Finds images in root/JPEGImages, root/images, beside the annotations and in root.

    Sub-folders of the annotations are those of the images, as CVAT writes them.
    """

    def __init__(self, root: Path, findings: Findings):
        self._root, self._findings, self._finder = root, findings, Finder(findings)

    def find(self, path: Path, filename: str) -> Path | None:
        """The image of the annotation `path`, whose <filename> is `filename`; None after a fault."""
        folders = list(self._folders(path))
        given = PurePosixPath(filename.replace("\\", "/"))
        named = next((f / n for n in _unique(str(given), given.name) for f in folders if os.path.isfile(f / n)), None)
        own = [f / n for f in folders for n in _own_names(path.stem) if os.path.isfile(f / n)]
        own = [p for p in own if p.parent == own[0].parent]
        if named and (named in own or not own):
            return named
        if named:
            where = f"{path} (<filename> {given.name}, but {own[0].name} is there too)"
            what = "an annotation names another image than its own name does, and both are there"
            self._findings.fault(where, what, "correct <filename>, or delete one of the images")
            return None
        if len(own) > 1:
            where = f"{path} ({', '.join(p.name for p in own)})"
            what = "several images have the annotation's name, and its <filename> is none of them"
            self._findings.fault(where, what, "correct <filename>, or delete the others")
            return None
        if own:
            return own[0]
        found = self._finder.find(folders, str(given)) if given.name else None
        if found is None or plain(found.name) != plain(given.name):
            places = ", ".join(str(f) for f in folders)
            self._findings.fault(path, f"the image of an annotation is not in {places}", "copy it there or drop it")
            return None
        return found

    def _folders(self, path: Path) -> Iterator[Path]:
        root, beside = self._root, path.parent
        parts = beside.relative_to(root).parts if beside.is_relative_to(root) else ()
        below = Path(*parts[1:]) if parts[1:] else Path()
        places = [root / "JPEGImages", root / "images", beside, beside.parent / "JPEGImages", root]
        inner = [root / "JPEGImages" / below, root / "images" / below, beside] if parts[1:] else []
        yield from (p for p in dict.fromkeys([*inner, *places]))


def _own_names(stem: str) -> list[str]:
    return [stem + s for suffix in SUFFIXES for s in (suffix, suffix.upper())]


def _unique(*names: str) -> list[str]:
    return [n for n in dict.fromkeys(names) if n not in ("", ".")]
