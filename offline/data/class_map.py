"""Classes under other names, several as one: `--map 'pedestrian,people=person; car,van,truck,bus=vehicle'`."""

import hashlib
import json
from dataclasses import replace

from ..errors import DataError
from .formats.annotations import Annotations

EXAMPLE = "--map 'pedestrian,people=person; car,van,truck,bus=vehicle'"


def parse_map(text: str) -> dict[str, str]:
    """{name in the labels: name of the class}. Raises DataError with one sentence."""
    found: dict[str, str] = {}
    for part in text.split(";"):
        if not part.strip():
            continue
        names, equals, target = (p.strip() for p in part.partition("="))
        sources = [name.strip() for name in names.split(",")]
        if not equals or not target or not all(sources) or "=" in target:
            raise DataError(f"--map: '{part.strip()}' is not of the form 'name,name=class', e.g. {EXAMPLE}")
        for name in sources:
            if found.setdefault(name, target) != target:
                raise DataError(f"--map gives '{name}' to both '{found[name]}' and '{target}'; name it once")
    return found


def map_classes(found: Annotations, class_map: dict[str, str], complete: bool = True) -> Annotations:
    """The annotations under the names that `class_map` gives; a class that it does not name keeps its name.

    A class takes the place of the first of its sources in `found.names`.

    Args:
        class_map: {name in the labels: name of the class}; empty: `found` itself.
        complete: a name that `found` does not have is a fault; False: it may just not occur in this split.

    Raises:
        DataError: `class_map` names a class that `found` does not have.
    """
    if not class_map:
        return found
    for name in class_map if complete else ():
        if name not in found.names:
            raise DataError(f"--map names '{name}', but {found.source} has: {', '.join(found.names) or 'no classes'}")
    names = list(dict.fromkeys(class_map.get(name, name) for name in found.names))
    images = [
        replace(image, labels=[label._replace(name=class_map.get(label.name, label.name)) for label in image.labels])
        for image in found.images
    ]
    sha256 = hashlib.sha256(json.dumps([found.sha256, class_map], sort_keys=True).encode()).hexdigest()
    return replace(found, names=names, images=images, sha256=sha256)
