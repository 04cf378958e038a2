"""Pascal VOC: an XML file for each image, lists of images in ImageSets/Main.

Everingham, Winn, "The PASCAL Visual Object Classes Challenge 2012 Development Kit": xmin, ymin, xmax, ymax are pixels
counted from 1, both ends inside the box. So the box that covers pixels 11..15 is 10.0..15.0 in our coordinates, which
measure from the left edge of the first pixel: x1 = xmin - 1, x2 = xmax. `difficult` objects are ignore regions.
"""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from ..errors import DataError
from .annotations import Annotations, Findings, Image, Label, measure
from .images import SUFFIXES


class _NoDoctype(ElementTree.TreeBuilder):
    """A DTD can blow up a parser's memory or name files to read; annotations need none."""

    def doctype(self, name, pubid, system):
        raise DataError("it has a document type definition")


def is_voc(root: Path, split: str) -> bool:
    return (root / "Annotations").is_dir() or _is_xml_folder(root / split)


def splits(root: Path) -> list[str]:
    """Names of the splits that the folder holds."""
    return sorted(p.stem for p in (root / "ImageSets" / "Main").glob("*.txt"))


def read(root: Path, split: str, findings: Findings) -> Annotations:
    """Read `split`: the name of a list in ImageSets/Main, the path of a list, or a folder of .xml files.

    The class names are those of root/classes.txt, in its order, else all that the folder's files use, by alphabet.
    """
    files = _files(root, split)
    declared = root / "classes.txt"
    names = declared.read_text(encoding="utf-8", errors="replace").split("\n") if declared.is_file() else None
    trees = {path: _parse(path, findings) for path in files}
    names = [n.strip() for n in names if n.strip()] if names else _used_names(trees)
    digest, images = hashlib.sha256("\n".join(names).encode()), []
    for number, (path, tree) in enumerate(trees.items()):
        if tree is None:
            continue
        digest.update(path.read_bytes())
        image = _image(root, path, tree, number, findings)
        if image:
            image.labels = list(_labels(path, tree, names, findings))
            images.append(image)
    source = root / split
    return Annotations(source, f"{root.name}/{split}", names, images, digest.hexdigest(), declared.is_file())


def _is_xml_folder(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob("*.xml"))


def _files(root: Path, split: str) -> list[Path]:
    listed = next((p for p in (root / "ImageSets/Main" / f"{split}.txt", root / split) if p.is_file()), None)
    if listed is None:
        if not _is_xml_folder(root / split):
            raise DataError(
                f"no list {root / 'ImageSets/Main' / split}.txt and no folder of .xml files at {root / split}; "
                f"name one; {root} holds the lists: {', '.join(splits(root)) or 'none'}"
            )
        return sorted((root / split).glob("*.xml"))
    lines = listed.read_text(encoding="utf-8", errors="replace").splitlines()
    stems = [_stem(line.strip()) for line in lines if line.strip()]
    return [root / "Annotations" / f"{stem}.xml" for stem in dict.fromkeys(stems)]


def _stem(line: str) -> str:
    """A list of one class has 1, 0 or -1 behind the name."""
    head, _, flag = line.rpartition(" ")
    return head.strip() if head and flag in ("1", "0", "-1") else line


def _parse(path: Path, findings: Findings):
    """The root element; None after a fault."""
    if not path.is_file():
        findings.fault(path, "a listed annotation file is missing", "copy it there or drop it from the list")
        return None
    try:
        tree = ElementTree.fromstring(path.read_bytes(), ElementTree.XMLParser(target=_NoDoctype()))
    except (ElementTree.ParseError, DataError, LookupError, ValueError) as e:
        findings.fault(f"{path} ({e})", "an annotation file cannot be read", "export it again")
        return None
    if tree.tag != "annotation":
        findings.fault(path, f"not a VOC annotation, it begins with <{tree.tag:.40}>", "export it again")
        return None
    return tree


def _used_names(trees: dict) -> list[str]:
    """Names of the objects in `trees` and in the files beside them, so that all splits number the classes alike."""
    beside = sorted({file for folder in {path.parent for path in trees} for file in folder.glob("*.xml")} - set(trees))
    lenient = Findings(strict=False)  # a broken file of another split is not this split's fault
    others = (_parse(path, lenient) for path in beside)
    known = (tree for tree in [*trees.values(), *others] if tree is not None)
    return sorted({name for tree in known for o in tree.iter("object") if (name := _text(o, "name"))})


def _text(element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


def _image(root: Path, path: Path, tree, number: int, findings: Findings) -> Image | None:
    beside = path.parent
    folders = dict.fromkeys([root / "JPEGImages", root / "images", beside, beside.parent / "JPEGImages", root])
    names = [path.stem + s for suffix in SUFFIXES for s in (suffix, suffix.upper())]
    names.append(Path(_text(tree, "filename").replace("\\", "/")).name)  # often stale, so it comes last
    file = next((f / n for f in folders for n in names if n and (f / n).is_file()), None)
    if file is None:
        places = ", ".join(str(f) for f in folders)
        findings.fault(path, f"the image of an annotation is not in {places}", "copy it there or drop it")
        return None
    try:
        said = int(float(_text(tree, "size/width") or 0)), int(float(_text(tree, "size/height") or 0))
    except (ValueError, OverflowError):
        findings.fault(path, "width and height in <size> are not numbers", "export it again")
        return None
    size = measure(file, findings, said if all(said) else None)
    return Image(file, number, *size) if size else None


def _labels(path: Path, tree, names: list[str], findings: Findings) -> Iterator[Label]:
    for o in tree.iter("object"):
        name = _text(o, "name")
        try:
            x1, y1, x2, y2 = (float(_text(o, f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax"))
        except ValueError:
            findings.fault(path, "an object lacks 4 numbers xmin, ymin, xmax, ymax in <bndbox>", "export it again")
            continue
        if not name:
            findings.fault(path, "an object has no <name>", "export it again")
        elif name not in names:
            findings.fault(path, f"class '{name}' is not in classes.txt", "add it there or correct the name")
        else:
            if min(x1, y1) < 1 and math.isfinite(x1 + y1):
                findings.warn(
                    path,
                    "a box begins before pixel 1, the first in VOC: the file seems to count from 0",
                    "its boxes are read one pixel too far left and up; export it as VOC defines it, or as COCO",
                )
            yield Label(name, (x1 - 1, y1 - 1, x2, y2), _text(o, "difficult") == "1")
