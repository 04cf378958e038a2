"""Small data sets of masks, for tests: coloured blocks on a ground, where the colour of a pixel tells its class."""

import json
from pathlib import Path

import numpy as np
import PIL.Image

NAMES = ("ground", "road", "car")
COLORS = ((128, 64, 0), (60, 60, 60), (0, 0, 200))
TABLE = "name,r,g,b\n" + "".join(f"{n},{r},{g},{b}\n" for n, (r, g, b) in zip(NAMES, COLORS, strict=True))
SHOWN = np.array([[70, 150, 70], [120, 120, 120], [220, 40, 40]])  # what the classes look like in images


def draw(seed: int, width: int = 96, height: int = 64) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    """image (H, W, 3) uint8, mask (H, W) uint8 of indices into NAMES, boxes x, y, w, h of the cars."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    at = int(rng.integers(8, height - 24))
    mask[at : at + 16] = 1
    boxes = []
    for _ in range(3):
        x, y = int(rng.integers(0, width - 14)), int(rng.integers(0, height - 12))
        mask[y : y + 12, x : x + 14] = 2
        boxes.append([x, y, 14, 12])
    image = SHOWN[mask] + rng.normal(0, 6, (height, width, 1))
    return np.clip(image, 0, 255).astype(np.uint8), mask, boxes


def palette_image(mask: np.ndarray) -> PIL.Image.Image:
    image = PIL.Image.fromarray(mask, "L")
    image.putpalette([v for color in COLORS for v in color] + [0] * 3 * (256 - len(COLORS)))
    return image


def write_masks(root: Path, kind: str = "palette", counts: tuple[int, int] = (6, 3)) -> Path:
    """SPLIT/images and SPLIT/masks for train and val, and classes.csv. kind: palette, index or rgb."""
    for part, (split, count) in enumerate(zip(("train", "val"), counts, strict=True)):
        for folder in ("images", "masks"):
            (root / split / folder).mkdir(parents=True)
        for n in range(count):
            image, mask, _ = draw(100 * part + n)
            PIL.Image.fromarray(image).save(root / split / "images" / f"{n}.png")
            shown = {"palette": palette_image(mask), "index": PIL.Image.fromarray(mask, "L")}
            shown["rgb"] = PIL.Image.fromarray(np.array(COLORS, np.uint8)[mask])
            shown[kind].save(root / split / "masks" / f"{n}_mask.png")
    (root / "classes.csv").write_text("name,index\nground,0\nroad,1\ncar,2\n" if kind == "index" else TABLE)
    return root


def write_both(root: Path, counts: tuple[int, int] = (6, 3), masks: bool = True, polygons: bool = False) -> Path:
    """images/, train.json and val.json with boxes of cars; masks/ and classes.csv if wanted; or their polygons."""
    (root / "images").mkdir(parents=True)
    if masks:
        (root / "masks").mkdir()
        (root / "classes.csv").write_text(TABLE)
    for part, (split, count) in enumerate(zip(("train", "val"), counts, strict=True)):
        coco: dict = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 1, "name": "road"}, {"id": 2, "name": "car"}],
        }
        coco["categories"] = coco["categories"][0 if polygons else 1 :]
        for n in range(count):
            image, mask, boxes = draw(100 * part + n)
            name = f"{split}{n}.png"
            PIL.Image.fromarray(image).save(root / "images" / name)
            if masks:
                palette_image(mask).save(root / "masks" / name)
            coco["images"].append({"id": n, "file_name": name, "width": 96, "height": 64})
            shapes = [(2, box) for box in boxes]
            if polygons:
                shapes.append((1, [0, int((mask == 1).any(1).argmax()), 96, 16]))
            for category, (x, y, w, h) in shapes:
                shape = [[x, y, x + w, y, x + w, y + h, x, y + h]] if polygons else []
                entry = {"id": len(coco["annotations"]), "image_id": n, "category_id": category, "bbox": [x, y, w, h]}
                coco["annotations"].append(entry | {"area": w * h, "iscrowd": 0, "segmentation": shape})
        (root / f"{split}.json").write_text(json.dumps(coco))
    return root
