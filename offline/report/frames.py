"""What the teacher and the final file find on the validation images: curves, and the best and worst frames."""

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2

from vit_perception import palette
from vit_perception.detector import Detections
from vit_perception.images.files import show

from ..data import Dataset, Sample, read_image
from ..evaluation.accuracy import detect, variant_engine
from ..evaluation.working_point import FALSE, match
from ..run.run import Run
from .samples import annotate

SHOWN = 4  # best frames, and as many worst ones
WIDTH = 960  # pixels, about: smaller frames are drawn larger, since the page shows two in a row
LETTERS = 1.7  # times larger than usual: the page shows frames at half their size


@dataclass
class Frame:
    """Detections over the threshold on one image: right (of the class, IoU >= .5), missed, and false alarms."""

    index: int
    found: int
    missed: int
    false: int

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 where there was nothing to find and nothing was found."""
        total = 2 * self.found + self.missed + self.false
        return 2 * self.found / total if total else 1.0


def detections(run: Run, path: Path, variant: str, strides: list[int]) -> list[Detections]:
    """What one ONNX file finds on every validation image, at scores from EVALUATION_SCORE on."""
    detector = run.detector(variant_engine(path, variant), strides)
    return detect(detector, run.labels, run.input["color"], run.val_data, f"report {path.name}")


def match_frame(index: int, sample: Sample, result: Detections) -> Frame:
    """Match detections to labels (evaluation/working_point.py); what lies half in an ignore region does not count."""
    labels = match(sample, result)
    found, false = int((labels >= 0).sum()), int((labels == FALSE).sum())
    return Frame(index, found, len(sample.boxes) - found, false)


def rank(data: Dataset, results: list[Detections]) -> tuple[list[Frame], list[Frame]]:
    """(best, worst) frames by F1, busier ones first among equals; no frame is in both. Frames without labels and
    without detections say nothing and are left out."""
    frames = [match_frame(i, s, r) for i, (s, r) in enumerate(zip(data.samples, results, strict=True))]
    frames = [f for f in frames if f.found + f.missed + f.false]
    count = min(SHOWN, len(frames) // 2)
    best = sorted(frames, key=lambda f: (-f.f1, -f.found))[:count]
    rest = [f for f in frames if f not in best]
    return best, sorted(rest, key=lambda f: (f.f1, -f.missed - f.false))[:count]


def picture(run: Run, frame: Frame, result: Detections) -> dict:
    """The annotated image as a data URI, with its caption's figures."""
    sample, color = run.val_data.samples[frame.index], run.input["color"]
    image = read_image(sample, color, run.input)
    canvas = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if color == "gray" else cv2.COLOR_RGB2BGR)
    scale = max(1, round(WIDTH / canvas.shape[1]))
    canvas = cv2.resize(canvas, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    larger = Sample(sample.path, sample.id, 0, 0, sample.boxes * scale, sample.classes, sample.ignore * scale)
    annotate(
        canvas, Detections(result.boxes * scale, result.scores, result.classes), run.val_data.labels, larger, LETTERS
    )
    ok, jpeg = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert ok, "OpenCV cannot encode JPEG"
    uri = "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
    return {"uri": uri, "name": show(sample.path.name), "frame": frame}


def class_colors(labels: list[str]) -> list[tuple[str, str]]:
    """(label, CSS colour that `annotate` draws it in)."""
    return [(label, palette.series(c)) for c, label in enumerate(labels)]
