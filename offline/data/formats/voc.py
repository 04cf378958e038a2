"""Pascal VOC: an XML file for each image, lists of images in ImageSets/Main.

Everingham, Winn, "The PASCAL Visual Object Classes Challenge 2012 Development Kit": xmin, ymin, xmax, ymax are pixels
counted from 1, both ends inside the box. So the box that covers pixels 11..15 is 10.0..15.0 in our coordinates, which
measure from the left edge of the first pixel: x1 = xmin - 1, x2 = xmax. `difficult` objects are ignore regions.
"""

import hashlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from vit_perception.images.files import LFS_POINTER

from ...errors import DataError
from ..find import Finder, walk
from ..images import SUFFIXES
from ..text import decode_text, read_lines, read_names
from .annotations import Annotations, Findings, Image, Label, flag, measure
from .voc_pictures import Pictures


class _NoDoctype(ElementTree.TreeBuilder):
    """A DTD can blow up a parser's memory or name files to read; annotations need none."""

    def doctype(self, name, pubid, system):
        raise DataError("it has a document type definition")


def is_voc(root: Path, split: str) -> bool:
    return (root / "Annotations").is_dir() or _is_xml_folder(root / split)


def splits(root: Path) -> list[str]:
    """Names of the splits that the folder holds: lists, and folders of .xml files."""
    lists = [p.stem for p in (root / "ImageSets" / "Main").glob("*.txt")]
    return sorted(lists or (p.name for p in root.iterdir() if _is_xml_folder(p)))


def read(root: Path, split: str, findings: Findings) -> Annotations:
    """Read `split`: the name of a list in ImageSets/Main, the path of a list, or a folder of .xml files.

    The class names are those of root/classes.txt, in its order, else all that the folder's files use, by alphabet.
    """
    files = _files(root, split, findings)
    declared = root / "classes.txt"
    trees = {path: _parse(path, findings) for path in files}
    names = (read_lines(declared, findings) if declared.is_file() else []) or _used_names(trees)
    digest, images = hashlib.sha256("\n".join(names).encode()), []
    pictures, owners = Pictures(root, findings), dict[Path, Path]()
    for number, (path, tree) in enumerate(trees.items()):
        if tree is None:
            continue
        digest.update(path.read_bytes())
        image = _image(pictures, path, tree, number, findings)
        if image and (first := owners.setdefault(image.path, path)) != path:
            where = f"{path} ({first.name} is the other, {image.path.name} the image)"
            findings.fault(where, "two annotations are of one image", "give each its own image, or delete one")
        elif image:
            image.labels = list(_labels(path, tree, names, findings))
            images.append(image)
    if (root / split).is_dir():
        _tell_strays(root / split, {image.path for image in images}, findings)
    layout = "voc" if (root / "Annotations").is_dir() else "roboflow-voc"
    return Annotations(
        root / split, f"{root.name}/{split}", names, images, digest.hexdigest(), declared.is_file(), layout
    )


def _is_xml_folder(folder: Path) -> bool:
    return folder.is_dir() and bool(walk(folder, (".xml",)))


def _tell_strays(folder: Path, used: set[Path], findings: Findings) -> None:
    for path in walk(folder, SUFFIXES):
        if path not in used:
            what = "an image beside the annotations has none, so it is left out"
            findings.warn(path, what, "label it, with no object if it shows none of the classes, or delete it")


def _files(root: Path, split: str, findings: Findings) -> list[Path]:
    listed = next((p for p in (root / "ImageSets/Main" / f"{split}.txt", root / split) if p.is_file()), None)
    if listed is None:
        if not _is_xml_folder(root / split):
            raise DataError(
                f"no list {root / 'ImageSets/Main' / split}.txt and no folder of .xml files at {root / split}; "
                f"name one; {root} holds the lists: {', '.join(splits(root)) or 'none'}"
            )
        return walk(root / split, (".xml",))
    stems = [_stem(line) for line in read_names(listed, Findings(strict=False))]
    finder = Finder(findings)
    return [_annotation(finder, root / "Annotations", stem) for stem in dict.fromkeys(stems)]


def _annotation(finder: Finder, folder: Path, stem: str) -> Path:
    """The annotation that a list names, with .xml or an image's suffix or none; where it should be if it is not."""
    bare = stem[: -len(Path(stem).suffix)] if Path(stem).suffix.lower() in (".xml", *SUFFIXES) else stem
    names = dict.fromkeys((f"{stem}.xml", f"{stem}.XML", f"{bare}.xml", f"{bare}.XML"))
    exact = next((folder / n for n in names if os.path.isfile(folder / n)), None)
    return exact or finder.find([folder], f"{bare}.xml") or folder / f"{stem}.xml"


def _stem(line: str) -> str:
    """A list of one class has 1, 0 or -1 behind the name."""
    head, _, flag = line.rpartition(" ")
    return head.strip() if head and flag in ("1", "0", "-1") else line


def _parse(path: Path, findings: Findings):
    """The root element; None after a fault."""
    if not path.is_file():
        findings.fault(path, "a listed annotation file is missing", "copy it there or drop it from the list")
        return None
    raw = path.read_bytes()
    if raw.startswith(LFS_POINTER):
        findings.fault(path, "a Git LFS pointer is in the place of an annotation file", "git lfs pull")
        return None
    try:
        tree = _tree(raw)
    except (ElementTree.ParseError, DataError, LookupError, ValueError) as e:
        try:
            tree = _tree(_recoded(raw))
        except (ElementTree.ParseError, DataError, LookupError, ValueError):
            findings.fault(f"{path} ({e})", "an annotation file cannot be read", "export it again")
            return None
    if tree.tag != "annotation":
        findings.fault(path, f"not a VOC annotation, it begins with <{tree.tag:.40}>", "export it again")
        return None
    return tree


def _tree(raw: bytes):
    return ElementTree.fromstring(raw, ElementTree.XMLParser(target=_NoDoctype()))


def _recoded(raw: bytes) -> bytes:
    """As UTF-8 without its declaration: of code pages that the parser does not know, or that are not declared."""
    declaration = re.match(rb"\s*<\?xml[^>]*?encoding=[\"']([\w.-]+)[\"'][^>]*\?>", raw)
    known = declaration and declaration[1].lower() not in (b"utf-8", b"utf8")
    text = raw.decode(declaration[1].decode("ascii")) if declaration and known else decode_text(raw)[0]
    return re.sub(r"^\s*<\?xml[^>]*\?>", "", text.lstrip("\ufeff")).encode("utf-8")


def _used_names(trees: dict) -> list[str]:
    """Names of the objects in `trees` and in the files beside them, so that all splits number the classes alike."""
    folders = {path.parent for path in trees if path.parent.is_dir()}
    beside = sorted({file for folder in folders for file in walk(folder, (".xml",))} - set(trees))
    lenient = Findings(strict=False)  # a broken file of another split is not this split's fault
    others = (_parse(path, lenient) for path in beside)
    known = (tree for tree in [*trees.values(), *others] if tree is not None)
    return sorted({name for tree in known for o in tree.iter("object") if (name := _text(o, "name"))})


def _text(element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


def _image(pictures: Pictures, path: Path, tree, number: int, findings: Findings) -> Image | None:
    file = pictures.find(path, _text(tree, "filename"))
    if file is None:
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
            marks = {tag: _is_set(path, o, tag, findings) for tag in ("difficult", "occluded", "truncated")}
            yield Label(name, (x1 - 1, y1 - 1, x2, y2), *marks.values())


def _is_set(path: Path, o, tag: str, findings: Findings) -> bool:
    try:
        return flag(_text(o, tag))
    except TypeError:
        findings.fault(path, f"<{tag}> is neither 0 nor 1", "correct it")
        return False
