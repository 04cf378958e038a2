"""Which mask belongs to which image.

    DIR/SPLIT/images/a.jpg   DIR/SPLIT/masks/a.png
    DIR/images/SPLIT/a.jpg   DIR/masks/SPLIT/a.png
    DIR/images/a.jpg         DIR/masks/a.png          and DIR/SPLIT.txt lists the images, a name to a line

The folders may be called as public sets call them (IMAGES, MASKS), in any case; a mask has its image's name, or that
and an ending such as _mask.
"""

import re
from pathlib import Path

from vit_perception.images.files import show

from ...errors import DataError
from ..find import walk
from ..images import SUFFIXES
from ..text import read_text
from .annotations import Annotations, Findings, Image, measure

IMAGES = ("images", "image", "imgs", "img", "original_images", "org-img", "src")
MASKS = ("masks", "mask", "gt", "labels", "label_images", "label-img", "label_images_semantic", "annotations", "ann")
ENDINGS = re.compile(r"_(mask|lab|label|gt|labelids|seg)$", re.IGNORECASE)
KINDS, LOSSY = (".png", ".bmp", ".tif", ".tiff"), (".jpg", ".jpeg")


def is_masked(root: Path, split: str) -> bool:
    """Whether `split` lies in folders of images and of masks."""
    return folders_of(root, split) is not None


def folders_of(root: Path, split: str) -> tuple[Path, Path] | None:
    """The folders of the split's images and masks; None if there are none."""
    for outer, inner in ((root / split, ""), (root, split), (root, "")):
        if not outer.is_dir() or (outer == root and not inner and not (root / f"{split}.txt").is_file()):
            continue
        images, masks = (_named(outer, names) for names in (IMAGES, MASKS))
        if images is None or masks is None or not ((images / inner).is_dir() and (masks / inner).is_dir()):
            continue
        if walk(masks / inner, (*KINDS, *LOSSY)):  # else it holds labels of another kind
            return images / inner, masks / inner
    return None


def splits(root: Path) -> list[str]:
    """Names that lie in `root` as a split's folders do."""
    images = _named(root, IMAGES)
    names = {p.name for folder in filter(None, (root, images)) for p in folder.iterdir() if p.is_dir()}
    names |= {p.stem for p in root.glob("*.txt")}
    return sorted(name for name in names if is_masked(root, name))


def read(root: Path, split: str, findings: Findings) -> Annotations:
    """The images of a split, without boxes. Raises DataError."""
    folders = folders_of(root, split)
    if folders is None:
        there = ", ".join(splits(root)) or "none"
        raise DataError(f"{root} has no split '{split}' in folders images and masks; known: {there}")
    paths = walk(folders[0], SUFFIXES)
    listed = root / f"{split}.txt"
    if listed.is_file():
        names = [line.strip() for line in read_text(listed, findings).splitlines() if line.strip()]
        known = {key: p for p in paths for key in (p.name, p.stem, p.relative_to(folders[0]).as_posix())}
        for name in names:
            if name not in known:
                findings.fault(listed, f"it lists {show(name)}, which is not in {folders[0].name}", "correct the list")
        paths = [known[name] for name in names if name in known]
    sizes = ((path, measure(path, findings)) for path in paths)
    images = [Image(path, n, *size) for n, (path, size) in enumerate(sizes, 1) if size]
    return Annotations(folders[0], f"{root.name}/{split}", [], images, "", layout="masks")


def masks_beside(root: Path, split: str, image: Path) -> Path | None:
    """The folder where the mask of an image of `split` is looked for; None if the set has no folder of masks."""
    found = folders_of(root, split)
    if found:
        return found[1]
    plain = _named(root, MASKS[:2])  # beside boxes: masks/ alone; labels/ are YOLO's
    if plain is None:
        return None
    inner = plain / image.parent.name
    return inner if inner.is_dir() else plain


def _named(folder: Path, names: tuple[str, ...]) -> Path | None:
    there = {p.name.lower(): p for p in folder.iterdir() if p.is_dir()} if folder.is_dir() else {}
    return next((there[name] for name in names if name in there), None)


class MaskFolder:
    """The masks in one folder by the names of their images."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._masks: dict[str, Path] = {}
        for path in walk(folder, (*KINDS, *LOSSY)):
            key = path.relative_to(folder).with_suffix("").as_posix()
            self._masks[ENDINGS.sub("", key)] = path
            self._masks.setdefault(ENDINGS.sub("", path.stem), path)

    def of(self, image: Path) -> Path | None:
        return self._masks.get(image.stem) or self._masks.get(ENDINGS.sub("", image.stem))

    def strays(self, images: list[Path]) -> list[Path]:
        """Masks that belong to none of `images`."""
        used = {self.of(image) for image in images}
        return sorted(set(self._masks.values()) - used)
