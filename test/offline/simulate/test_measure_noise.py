"""What the simulated flights are told of the detector, measured on images whose truth is known."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from offline.data.sample import Sample
from offline.simulate.measure_noise import BINS, CLOSE_PX, DRIFT, lengths, look_closely
from vit_perception.detector import Detections

GRAY = SimpleNamespace(input={"color": "gray"})
HEIGHT, WIDTH = 512, 640


class Bright:
    """Stands in for a detector: finds what is bright, none of it wider than `widest` px, `wrong(size)` too large."""

    def __init__(self, widest=1e9, wrong=lambda size: 0.0):
        self.widest, self.wrong = widest, wrong

    def detect(self, image, order):
        _, _, stats, _ = cv2.connectedComponentsWithStats((image > 128).astype(np.uint8))
        boxes = []
        for x, y, w, h, area in stats[1:]:
            if area > 40 and w <= self.widest:
                more = 0.5 * np.array([w, h]) * (np.exp(self.wrong(np.sqrt(w * h))) - 1)
                boxes.append([x - more[0], y - more[1], x + w + more[0], y + h + more[1]])
        scores = [0.5 + (b[2] - b[0]) / 1000 for b in boxes]
        return Detections(boxes, scores, np.zeros(len(boxes), int))


def flights(folder: Path, sides):
    """A data set of one flight: bright squares of `sides` px, one in each image, which stands still."""
    samples = []
    for i, side in enumerate(sides):
        image = np.full((HEIGHT, WIDTH), 40, np.uint8)
        x, y = 200 + 2 * i, 220
        image[y : y + side, x : x + side] = 220
        path = folder / f"a_{i:05d}.png"
        cv2.imwrite(str(path), image)
        box = np.array([[x, y, x + side, y + side]], np.float32)
        samples.append(Sample(path, i, WIDTH, HEIGHT, box, np.zeros(1, np.int64), np.zeros((0, 4), np.float32)))
    return SimpleNamespace(samples=samples)


def test_large_objects_are_measured_on_enlarged_images(tmp_path):
    data = flights(tmp_path, [30, 50, 60, 70, 80, 90] * 6)
    close = look_closely(Bright(widest=145), GRAY, data)
    sizes = np.array([np.sqrt(np.prod(f.labels[0, 2:] - f.labels[0, :2])) for f in close])
    found = np.array([0 in f.matches for f in close])
    assert len(close) == 36 and sizes.min() >= CLOSE_PX - 1 and sizes.max() <= BINS[-1] + 1
    assert found[sizes < 140].all() and not found[sizes > 150].any() and 5 < found.sum() < 31
    for f in (f for f in close if 0 in f.matches):  # the label was enlarged with the image
        np.testing.assert_allclose(f.boxes[f.matches[0]], f.labels[0], atol=1.5)


@pytest.mark.parametrize("slope", [0.1, 0.4])
def test_what_changes_as_objects_grow_is_forgotten_over_a_shorter_length(tmp_path, slope):
    """The error of the size is a wave of its logarithm: the faster it swings, the shorter the length."""
    data = flights(tmp_path, [24, 30, 36, 42, 48] * 12)

    def length(wave):
        found = lengths(Bright(wrong=lambda size: slope * np.sin(wave * np.log(size))), GRAY, data, slope / np.sqrt(2))
        assert found["drift_views"] == 60
        return found["bias_length"]

    assert length(6.0) < 0.5 * length(1.0) and length(6.0) < 2 * DRIFT
