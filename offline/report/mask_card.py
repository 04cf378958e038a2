"""What CARD.md says of masks, and the pictures of them."""

from pathlib import Path

import cv2
import numpy as np

from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

from ..data import read_image
from ..data.masks import read_mask
from ..data.masks.table import IGNORE
from ..evaluation.segmentation import Segmenter
from ..run.run import Run
from .samples import COUNT, sheet, write_image

FEW_PIXELS = 0.002  # of all; a class with a smaller share is hardly learnt
KEPT = "Its teacher has mIoU {:.3f} there: the master keeps {:.0%}"


def write_masks(run: Run, folder: Path) -> None:
    """masks.png into `folder`: of some validation images the mask and, under it, what the master says. Into the run
    folder the same with the images, which may not be ours to publish, above."""
    path = folder / run.notes["export"]["files"]["fp32"]["path"]
    segmenter = Segmenter(OnnxRuntimeEngine(str(path), "fp32"), run.input)
    masked = [s for s in run.val_data.samples if s.mask is not None]
    bare, whole = [], []
    for i in np.linspace(0, len(masked) - 1, min(COUNT, len(masked))).astype(int):
        image = read_image(masked[i], run.input["color"], run.input)
        truth, said = (painted(m, run) for m in (read_mask(masked[i]), segmenter(image)))
        height, width = image.shape[:2]
        said = cv2.resize(said, (width, height), interpolation=cv2.INTER_NEAREST)
        shown = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
        bare.append(np.vstack([truth, said]))
        whole.append(np.vstack([shown, truth, said]))
    write_image(folder / "masks.png", sheet(bare, columns=len(bare)))
    write_image(run.folder / "masks.png", sheet(whole, columns=len(whole)))


def painted(mask: np.ndarray, run: Run) -> np.ndarray:
    """uint8 (H, W) of classes -> BGR (H, W, 3); black where there is none."""
    colors = np.zeros((IGNORE + 1, 3), np.uint8)
    colors[: len(run.segments)] = [color[::-1] for color in run.train_data.colors]
    return colors[mask]


def intended(run: Run) -> str:
    shares = np.array(run.notes["pixels"]) / max(1, sum(run.notes["pixels"]))
    parts = ", ".join(f"{c} {s:.1%}" for c, s in zip(run.segments, shares, strict=True))
    return (
        f"Telling what each pixel shows in {run.input['color']} images that resemble its training images, whose pixels "
        f"are: {parts}."
    )


def accuracy(run: Run) -> str:
    master, teacher = run.figures("fp32"), run.figures("teacher")
    parts = [
        "Masks, of the fp32 master by the code that flies, compared at the masks' resolution. mIoU: the mean over the "
        "classes of intersection over union. Boundary F1: edges within 0.75% of the image's diagonal."
    ]
    for name, m in master.items():
        right = f"pixel accuracy {m['pixel_accuracy']:.3f}, boundary F1 {m['boundary_f1']:.3f}"
        theirs = teacher.get(name, {}).get("miou")
        kept = f" {KEPT.format(theirs, m['miou'] / theirs)}." if theirs and m["miou"] is not None else ""
        rows = ["| class | IoU | pixels |", "|---|---|---|"]
        for label, row in classes(m).items():
            iou = "-" if row["iou"] is None else f"{row['iou']:.3f}"
            rows.append(f"| {label} | {iou} | {row['pixels']} |")
        parts += [
            f"### {name}, masks\n{m['images']} images: **mIoU {m['miou']:.3f}**, {right}.{kept}",
            "\n".join(rows),
        ]
    parts.append("![masks](masks.png)\n\nValidation images, which are not shown: the mask above, what it says below.")
    return "\n\n".join(parts)


def classes(figures: dict) -> dict:
    """{class: {"iou", "pixels"}} of the figures of masks, alone or beside a detector's."""
    return figures.get("mask_classes", figures["per_class"])


def limits(run: Run) -> list[str]:
    found: dict[str, tuple[float, str]] = {}
    for name, m in run.figures("fp32").items():
        found |= {c: (row["iou"], name) for c, row in classes(m).items() if row["iou"] is not None}
    weakest = min(found, key=lambda c: found[c][0])
    lines = [f"The class that it tells worst is {weakest}: IoU {found[weakest][0]:.3f} on {found[weakest][1]}."]
    total = max(1, sum(run.notes["pixels"]))
    few = [c for c, n in zip(run.segments, run.notes["pixels"], strict=True) if n < FEW_PIXELS * total]
    if few:
        lines.append(f"Classes with few training pixels, hardly learnt: {', '.join(few)}.")
    unmeasured = [c for c in run.segments if c not in found]
    if unmeasured:
        lines.append(f"Classes that no figure above covers: {', '.join(unmeasured)}.")
    lines.append("A class is no proof of level or solid ground, nor that a place is free.")
    return lines
