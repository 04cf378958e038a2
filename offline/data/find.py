"""Finds files as people have them: behind links, in any spelling of a name, with suffixes in any case."""

import os
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from vit_perception.natural_order import natural_key

from .formats.annotations import Findings


def walk(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Files with one of `suffixes` (lower case, the files' in any) in `folder` and below, links followed, in the
    order of their names: numbers count as numbers."""
    wanted = tuple(suffixes)
    found = [p for p in _files(folder, set()) if p.suffix.lower() in wanted]
    return sorted(found, key=lambda p: natural_key(p.relative_to(folder).as_posix()))


def _files(folder: Path, seen: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in seen:  # a link to a folder above
        return
    for entry in os.scandir(folder):
        if _is_folder(entry):
            yield from _files(Path(entry.path), seen | {real})
        else:
            yield Path(entry.path)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: who opens it tells
        return False


class Finder:
    """Looks up files that labels name. It tells `findings` what was found under another name."""

    def __init__(self, findings: Findings):
        self._findings = findings
        self._folders: dict[Path, dict[str, str]] = {}

    def find(self, folders: Iterable[Path], name: str) -> Path | None:
        """The file `name` (which may hold folders) in the first of `folders` that has it.

        If none has, then in another spelling: with \\ for /, composed or decomposed letters (a Mac writes the latter),
        letters in another case; then without its first folders, as they were on another computer.
        """
        folders = list(folders)
        for folder in folders:
            if os.path.isfile(folder / name):
                return folder / name
        parts = PurePosixPath(name.replace("\\", "/")).parts
        for start in range(len(parts)):
            for folder in folders:
                if path := self._spelt(folder, parts[start:]):
                    what = "a file is not where its labels say, or spelt otherwise"
                    self._findings.warn(name, what, f"read instead, for example: {path}; check that it is the one")
                    return path
        return None

    def _spelt(self, folder: Path, parts: tuple[str, ...]) -> Path | None:
        for part in parts:
            known = self._listing(folder)
            if part not in known.values() and part not in ("..", "."):
                part = known.get(plain(part), "")
                if not part:
                    return None
            folder = folder / part
        return folder if os.path.isfile(folder) else None

    def _listing(self, folder: Path) -> dict[str, str]:
        """{plain name: name} of what is in a folder; names that several have are left out."""
        if folder not in self._folders:
            try:
                names = os.listdir(folder)
            except (OSError, ValueError):
                names = []
            plains = [plain(n) for n in names]
            once = {p for p in plains if plains.count(p) == 1} if len(set(plains)) < len(plains) else set(plains)
            self._folders[folder] = {p: n for p, n in zip(plains, names, strict=True) if p in once}
        return self._folders[folder]


def plain(name: str) -> str:
    """A name without what systems spell differently: case, and composed or decomposed letters."""
    return unicodedata.normalize("NFC", name).casefold()
