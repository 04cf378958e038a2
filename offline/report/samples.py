"""Pictures that show what a bundle sees: labels in white, detections in colour.

Pictures on the validation images stay in the run folder, since the images may not be ours to publish. The same boxes on
a blank background go into the bundle.
"""

from pathlib import Path

import cv2
import numpy as np

from vit_perception.bundles.bundle import Bundle
from vit_perception.detector import Detections, Detector
from vit_perception.draw import Pen
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine
from vit_perception.palette import series

from ..data import Sample, read_image
from ..files import write_atomically
from ..run.run import Run

DARK = 40  # gray of a frame without its image
COUNT = 6
FEW = 12  # boxes up to which their full text is legible; beyond it, the initial of the class
OUTSIDE = np.array([-1, -1, 1, 1])  # pixels: labels of the same box stay visible


def write_samples(run: Run, folder: Path) -> None:
    """Write a sheet of annotated validation images, samples.png, into the run folder; frames.png, the same without
    the images, into `folder`.
    """
    manifest = run.manifest()
    detector = Detector(
        Bundle(str(folder), manifest), OnnxRuntimeEngine(str(folder / manifest["files"]["fp32"]["path"]))
    )
    color, samples = run.input["color"], run.val_data.samples
    order = "mono" if color == "gray" else "rgb"
    busy = sorted(range(len(samples)), key=lambda i: -len(samples[i].boxes))[: len(samples) // 2 + 1]
    picks = [busy[i] for i in np.linspace(0, len(busy) - 1, min(COUNT, len(busy))).astype(int)]
    frames, bare = [], []
    for i in picks:
        image = read_image(samples[i], color, run.input)
        found = detector.detect(image, order)
        canvas = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if color == "gray" else cv2.COLOR_RGB2BGR)
        bare.append(annotate(np.full_like(canvas, DARK), found, run.labels, samples[i]))
        frames.append(annotate(canvas, found, run.labels, samples[i]))
    write_image(run.folder / "samples.png", sheet(frames))
    write_image(folder / "frames.png", sheet(bare))


def annotate(
    canvas: np.ndarray, found: Detections, labels: list[str], truth: Sample | None = None, letters: float = 1.0
) -> np.ndarray:
    """Draw detections (and the labels, thin and white) on a BGR image, in place; returns it.

    letters: how much larger than usual; a page shows the picture smaller than it is.
    """
    if truth is not None:
        line = max(1, round(max(canvas.shape[:2]) / 640))
        for x1, y1, x2, y2 in truth.boxes.astype(int).tolist():
            cv2.rectangle(canvas, (x1, y1), (x2, y2), (255, 255, 255), line)
    pen = Pen(canvas, letters)
    for i in range(len(found))[::-1]:  # the best ones last: on top, and their texts go before
        name = labels[found.classes[i]]
        texts = [f"{name} {found.scores[i]:.2f}", name[0]] if len(found) <= FEW else [name[0]]
        pen.box(found.boxes[i] + OUTSIDE, series(found.classes[i]), *texts, bold=False)
    pen.write()
    return canvas


def sheet(frames: list[np.ndarray], columns: int = 3) -> np.ndarray:
    """Tile BGR images of different sizes into one, `columns` wide."""
    height, width = (max(f.shape[k] for f in frames) for k in (0, 1))
    rows = -(-len(frames) // columns)
    out = np.zeros((rows * height, min(columns, len(frames)) * width, 3), np.uint8)
    for i, f in enumerate(frames):
        y, x = i // columns * height, i % columns * width
        out[y : y + f.shape[0], x : x + f.shape[1]] = f
    return out


def write_image(path: Path, image: np.ndarray) -> None:
    ok, data = cv2.imencode(path.suffix, image)
    assert ok, f"OpenCV cannot encode {path.suffix}"
    write_atomically(path, lambda p: p.write_bytes(data.tobytes()))
