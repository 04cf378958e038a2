"""Which mask belongs to which image.

    DIR/SPLIT/images/a.jpg   DIR/SPLIT/masks/a.png       or DIR/SPLIT/SPLIT-images and SPLIT-masks
    DIR/images/SPLIT/a.jpg   DIR/masks/SPLIT/a.png
    DIR/images/a.jpg         DIR/masks/a.png             and DIR/SPLIT.txt lists the images, a name to a line
    DIR/SPLIT/S/images/a.jpg DIR/SPLIT/S/masks/a.png     for each sequence S
    DIR/JPEGImages/a.jpg     DIR/SegmentationClass/a.png and DIR/ImageSets/SPLIT.txt or ImageSets/Segmentation/SPLIT.txt

The folders may be called as public sets call them (IMAGES, MASKS), in any case; a mask has its image's name, or that
and an ending such as _mask. Where images lie in folders of their own, so do their masks.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from vit_perception.images.files import show

from ...errors import DataError
from ..find import walk
from ..images import SUFFIXES
from ..text import read_text
from .annotations import Annotations, Findings, Image, measure

IMAGES = ("images", "image", "imgs", "img", "original_images", "org-img", "src", "jpegimages")
MASKS = ("masks", "mask", "gt", "labels", "label_images", "label-img", "label_images_semantic", "segmentationclass",
         "annotations", "ann")  # fmt: skip
ENDINGS = re.compile(r"_(mask|lab|label|gt|labelids|seg)$", re.IGNORECASE)
KINDS, LOSSY = (".png", ".bmp", ".tif", ".tiff"), (".jpg", ".jpeg")
LISTS = (".", "ImageSets", "ImageSets/Segmentation")  # where a split's list lies


@dataclass(frozen=True)
class Folders:
    """Where a split's images and masks lie: one and the same folder where each sequence has folders of its own."""

    images: Path
    masks: Path
    listed: Path | None = None  # the file that names the images

    @property
    def is_nested(self) -> bool:
        return self.images == self.masks


def is_masked(root: Path, split: str) -> bool:
    """Whether `split` lies in folders of images and of masks."""
    return folders_of(root, split) is not None


def folders_of(root: Path, split: str) -> Folders | None:
    """The folders of the split's images and masks; None if there are none."""
    lists = (root / folder / f"{split}.txt" for folder in LISTS)
    listed = next((path for path in lists if path.is_file()), None)
    for outer, inner in ((root / split, ""), (root, split), (root, "")):
        if outer == root and not inner and not listed:
            continue
        images, masks = (_named(outer, names, split) for names in (IMAGES, MASKS))
        if images is None or masks is None or not ((images / inner).is_dir() and (masks / inner).is_dir()):
            continue
        if walk(masks / inner, (*KINDS, *LOSSY)):  # else it holds labels of another kind
            return Folders(images / inner, masks / inner, listed)
    parts = (p for p in (root / split).iterdir() if p.is_dir()) if split and (root / split).is_dir() else ()
    if any(_named(part, IMAGES) and _named(part, MASKS) for part in parts):
        return Folders(root / split, root / split)
    return None


def splits(root: Path) -> list[str]:
    """Names that lie in `root` as a split's folders do."""
    images = _named(root, IMAGES)
    names = {p.name for folder in filter(None, (root, images)) for p in folder.iterdir() if p.is_dir()}
    names |= {p.stem for folder in LISTS for p in (root / folder).glob("*.txt")}
    return sorted(name for name in names if is_masked(root, name))


def read(root: Path, split: str, findings: Findings) -> Annotations:
    """The images of a split, without boxes. Raises DataError."""
    folders = folders_of(root, split)
    if folders is None:
        there = ", ".join(splits(root)) or "none"
        raise DataError(f"{root} has no split '{split}' in folders images and masks; known: {there}")
    paths = walk(folders.images, SUFFIXES)
    if folders.is_nested:
        paths = [p for p in paths if p.parent.name.lower() in IMAGES]
    if folders.listed:
        names = [line.strip() for line in read_text(folders.listed, findings).splitlines() if line.strip()]
        known = {key: p for p in paths for key in (p.name, p.stem, p.relative_to(folders.images).as_posix())}
        for name in names:
            if name not in known:
                what = f"it lists {show(name)}, which is not in {folders.images.name}"
                findings.fault(folders.listed, what, "correct the list")
        paths = [known[name] for name in names if name in known]
    sizes = ((path, measure(path, findings)) for path in paths)
    images = [Image(path, n, *size) for n, (path, size) in enumerate(sizes, 1) if size]
    return Annotations(folders.images, f"{root.name}/{split}", [], images, "", layout="masks")


def masks_beside(root: Path, split: str) -> Folders | None:
    """The folders of the images and masks of `split`, of boxes too; None if the set has no folder of masks."""
    found = folders_of(root, split)
    masks = _named(root, MASKS[:2])  # beside boxes: masks/ alone; labels/ are YOLO's
    return found or (Folders(_named(root, IMAGES) or root, masks) if masks else None)


def _named(folder: Path, names: tuple[str, ...], split: str = "") -> Path | None:
    """The sub-folder that is called like one of `names`, with or without the split's name before."""
    there = {p.name.lower(): p for p in folder.iterdir() if p.is_dir()} if folder.is_dir() else {}
    known = (key for name in names for key in (name, f"{split}-{name}".lower(), f"{split}_{name}".lower()))
    return next((there[key] for key in known if key in there), None)


class MaskFolder:
    """The masks of a split by the places and names of their images."""

    def __init__(self, folders: Folders):
        self.folder, self._images = folders.masks, folders.images
        self._masks: dict[str, list[tuple[tuple[str, ...], Path]]] = {}  # by name: folders below ours, and the file
        for path in walk(folders.masks, (*KINDS, *LOSSY)):
            inner = path.parent.relative_to(folders.masks).parts
            if folders.is_nested and not (inner and inner[-1].lower() in MASKS):
                continue
            inner = inner[:-1] if folders.is_nested else inner
            self._masks.setdefault(ENDINGS.sub("", path.stem), []).append((inner, path))

    def of(self, image: Path) -> list[Path]:
        """The masks of an image: one, if all is well. Those in folders that are called as the image's are its own."""
        named = self._masks.get(image.stem) or self._masks.get(ENDINGS.sub("", image.stem)) or []
        above = image.parent.parts
        above = above[:-1] if self._images == self.folder else above
        fitting = [(inner, path) for inner, path in named if inner == above[len(above) - len(inner) :]]
        depth = max((len(inner) for inner, _ in fitting), default=0)
        own = [path for inner, path in fitting if len(inner) == depth]
        return own or ([path for _, path in named] if image.parent == self._images else [])

    def strays(self, images: list[Path]) -> list[Path]:
        """Masks that belong to none of `images`."""
        used = {path for image in images for path in self.of(image)}
        return sorted({path for each in self._masks.values() for _, path in each} - used)
