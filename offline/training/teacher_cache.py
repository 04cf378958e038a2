"""What a frozen teacher said about batches it has seen, kept on disk for the next student that sees the same crops."""

import hashlib
import logging
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..files import write_atomically
from ..model.detector import ViTDetector
from .distributed import world_size

log = logging.getLogger(__name__)
Answers = dict[str, Tensor]


class TeacherCache:
    """Answers in FOLDER/<hash of the teacher>/<hash of the pixels>.npz, float16.

    The pixels themselves are the key: another seed, crop, augmentation, data set or share of a distributed batch is
    another file, and nothing can be mistaken for what it is not. Where a cache is used, all answers are rounded to
    float16, read or computed: what a student learns does not depend on what the disk holds.

    Args:
        folder: may be shared by runs, teachers and processes. limit_gb: 1e9 bytes that all files in it may take; beyond
        it, answers are computed. The processes of a distributed run share what is left.
    """

    def __init__(self, folder: Path, teacher: ViTDetector, limit_gb: float):
        self.folder = folder / model_hash(teacher)[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        sizes = [p.stat().st_size for p in folder.rglob("*.npz")]
        self._room = (limit_gb * 1e9 - sum(sizes)) / world_size()
        self.read = self.computed = 0
        log.info("teacher's answers: %d batches, %.2f of %g GB in %s", len(sizes), sum(sizes) / 1e9, limit_gb, folder)

    def answers(self, images: Tensor, names: set[str], compute: Callable[[], Answers]) -> Answers:
        """The teacher's answers `names` on `images` (B, C, H, W), from disk or `compute`; on their device.

        Never fails: a file that cannot be read is computed and written anew, one that cannot be written is left out.
        """
        path = self.folder / f"{_hash(images)}.npz"
        kept = _read(path, names)
        if names <= kept.keys():
            self.read += 1
            return {n: kept[n].to(images.device) for n in names}
        self.computed += 1
        exact = compute()
        rounded = {n: v.half() for n, v in exact.items()}
        if not all(v.isfinite().all() for v in rounded.values()):
            return exact  # float16 ends at 65504
        self._write(path, kept | rounded)
        return rounded

    def _write(self, path: Path, answers: Answers) -> None:
        size = sum(2 * v.numel() for v in answers.values())
        if size > self._room:
            return
        arrays = {n: v.cpu().numpy() for n, v in answers.items()}
        try:
            write_atomically(path, lambda p: _save(p, arrays))
            self._room -= size
        except OSError as e:
            log.warning("no more of the teacher's answers are kept: %s", e.strerror or e)
            self._room = 0

    def close(self) -> None:
        full = "" if self._room > 0 else "; no room for more (distil.cache_gb)"
        log.info("teacher's answers: %d batches from disk, %d computed%s", self.read, self.computed, full)


def model_hash(model: ViTDetector) -> str:
    """Hex sha256 of a model's config and weights."""
    digest = hashlib.sha256(repr(sorted(model.config().items())).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _hash(images: Tensor) -> str:
    pixels = images.detach().float().cpu().contiguous().numpy()
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(pixels)
    return digest.hexdigest()[:32]


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with open(path, "wb") as f:
        np.savez(f, allow_pickle=False, **arrays)


def _read(path: Path, names: set[str]) -> Answers:
    """`names` of the file; all that it has, if it lacks one of them; {} if it is missing or not whole."""
    try:
        with np.load(path) as file:  # a zip archive: every array has a checksum
            wanted = names if names <= set(file.files) else set(file.files)
            return {n: torch.from_numpy(file[n]) for n in wanted}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as e:
        log.warning("%s is not whole (%s): computed again", path.name, e)
        return {}
