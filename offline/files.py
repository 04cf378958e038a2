"""Files that are either whole or not there: written beside their place, then renamed into it."""

import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from .errors import RecipeError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call write(temporary path), then move the result to `path`. A failure leaves the old file and no litter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))


def write_json(path: Path, value) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


def save_torch(path: Path, value) -> None:
    buffer = io.BytesIO()  # torch's own file writer does not say that the disk is full
    torch.save(value, buffer)
    write_atomically(path, lambda p: p.write_bytes(buffer.getbuffer()))


def load_torch(path: Path):
    """Tensors and plain values only: a checkpoint is data, it never runs code."""
    return torch.load(path, map_location="cpu", weights_only=True)


def check_replaceable(path: Path) -> None:
    """Raises RecipeError where a bundle cannot be put, or may not: on what is neither one nor an empty folder."""
    kept = path.is_symlink() or path.exists()
    empty = path.is_dir() and not any(path.iterdir())
    if kept and not empty and not (path / "bundle.json").is_file():
        raise RecipeError(f"{path} exists and is no model bundle, it would be lost; give --out a folder of its own")
    above = next(p for p in path.resolve().parents if p.exists())
    if not (above.is_dir() and os.access(above, os.W_OK)):
        raise RecipeError(f"{path} cannot be written: {above} is no folder that you may write to; give another --out")


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Fill the temporary folder this yields; on success it takes the place of the bundle `path`, else nothing changes.

    Raises:
        RecipeError: what is at `path` may not be replaced.
    """
    path = path.resolve() if path.exists() else path  # a link to a bundle stays one
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    temporary.chmod(0o755)
    try:
        yield temporary
        check_replaceable(path)
        old = temporary.with_name(temporary.name + ".old")
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
