"""Where data sets and tools put a COCO .json and its images, and how such a layout is called.

The layouts are those of: cocodataset.org (2017), docs.roboflow.com and datumaro's description of its exports,
docs.cvat.ai ("COCO 1.0"), github.com/suojiashun/HIT-UAV-Infrared-Thermal-Dataset, seadronessee.cs.uni-tuebingen.de.
"""

import re
from pathlib import Path

ROBOFLOW = "_annotations.coco.json"
PATTERNS = (  # of the file of a split, in the order they are looked for
    "{}.json",
    "{}/" + ROBOFLOW,
    "annotations/{}.json",
    "annotations/instances_{}.json",
    "annotations/instances_{}2017.json",
    "normal_json/annotations/{}.json",
    "normal_json/annotations/instances_{}.json",
    "{}/annotations.json",
    "{}/{}.json",
)
SEA = {"swimmer", "jetski", "life_saving_appliances"}  # classes of SeaDronesSee that nobody else has


def find_json(root: Path, split: str) -> Path | None:
    """The file of a split that is named by its path or, in one of the layouts, by its name."""
    if split.lower().endswith(".json"):
        return root / split
    options = (root / pattern.replace("{}", split) for pattern in PATTERNS)
    return next((path for path in options if path.is_file()), None)


def splits(root: Path) -> list[str]:
    """Names of the splits that the folder holds."""
    plain = sorted(p.name for p in root.glob("*.json"))
    named = {subset_of(p) for pattern in PATTERNS[1:] for p in root.glob(pattern.replace("{}", "*"))}
    return plain + sorted(n for n in named if find_json(root, n) and f"{n}.json" not in plain)


def subset_of(path: Path) -> str:
    """'train2017' of instances_train2017.json, 'valid' of valid/_annotations.coco.json."""
    if path.name in (ROBOFLOW, "annotations.json"):
        return path.parent.name
    return re.sub(r"^(instances|person_keypoints)_", "", path.stem)


def image_folders(root: Path, path: Path) -> list[Path]:
    """Folders in which the images of the file `path` may lie, the split's own first: names repeat across splits."""
    base = path.parent.parent if path.parent.name == "annotations" else path.parent
    subset, places = subset_of(path), []
    for above in dict.fromkeys((base, root)):
        for name in dict.fromkeys((subset, subset.split("_")[0])):
            places += [above / "images" / name, above / name / "images", above / name]
    places += [path.parent, base / "images" / "default", root / "images", base / "images", root, base]
    known = [p for p in dict.fromkeys(places) if p.is_dir()]
    return known or [root / "images", root]


def layout_of(root: Path, path: Path, coco: dict) -> str:
    """The name of the layout, of FORMATS in read.py."""
    names = {c.get("name") for c in coco["categories"] if isinstance(c, dict)}
    if "annotation" in coco:
        return "hit-uav"
    if names >= SEA:
        return "seadronessee"
    if path.name == ROBOFLOW:
        return "roboflow-coco"
    if re.search(r"20\d\d$", path.stem):
        return "coco2017"
    return "cvat-coco" if path.name.startswith("instances_") and (root / "images").is_dir() else "coco"
