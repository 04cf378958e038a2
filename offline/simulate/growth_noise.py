"""Growth as pixels would tell it, for flights without images: the truth, with the errors that were measured.

    expansion = GrowthNoise(rng)
    for boxes, ids, stamp_s, tracks in frames:
        expansion.see(*noise.with_clutter(boxes, ids))  # of DetectorNoise, after its `apply`
        expansion.update(None, "", stamp_s, tracks)  # as vit_perception.tracking.growth.Expansion

growth.json holds what offline/simulate/measure_growth.py measured on rendered approaches.
"""

import json
from pathlib import Path

import numpy as np

from vit_perception.boxes import iou
from vit_perception.tracking.growth import Expansion

MEASURED = json.loads((Path(__file__).parent / "growth.json").read_text(encoding="utf-8"))
SIZE_PX, TOLD, SIGMA = MEASURED["size_px"], MEASURED["told"], MEASURED["sigma"]
QUANTILES, ERROR = MEASURED["quantiles"], np.array(MEASURED["error"])
SAME = 0.3  # overlap of a track's box with the true one


class GrowthNoise(Expansion):
    """See the module's docstring. size: of the image, px; what its border cuts is not compared."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int] = (640, 512)):
        super().__init__()
        self._rng, self._limit = rng, np.array([1, 1, size[0] - 1, size[1] - 1])
        self.see(np.zeros((0, 4)), [])

    def see(self, boxes, ids) -> None:
        """The truth of the frame that `update` takes next: boxes (n, 4) px, their names."""
        self._truth = np.asarray(boxes, np.float64).reshape(-1, 4), [int(i) for i in ids]

    def take(self, image, order):
        return self._truth

    def compare(self, before, now, box, box_now):
        name, then = self._find(before, box)
        same, true = self._find(now, box_now)
        if name is None or name != same:
            return None
        size = float(np.sqrt(np.prod(then[2:] - then[:2])))
        if self._rng.random() >= np.interp(size, SIZE_PX, TOLD):
            return None
        grown = np.sqrt(np.prod(true[2:] - true[:2])) / size
        quantile = self._rng.uniform(QUANTILES[0], QUANTILES[-1])
        error = np.interp(quantile, QUANTILES, [np.interp(size, SIZE_PX, column) for column in ERROR.T])
        return float(grown * np.exp(error)), float(np.interp(size, SIZE_PX, SIGMA))

    def _find(self, truth, box):
        """Name and box of what a track follows, as long as all of it is in the image."""
        boxes, ids = truth
        overlap = iou(np.asarray(box)[None], boxes)[0]
        if not len(ids) or overlap.max() < SAME:
            return None, box
        best = int(overlap.argmax())
        whole = (boxes[best, :2] > self._limit[:2]).all() and (boxes[best, 2:] < self._limit[2:]).all()
        return (ids[best] if whole else None), boxes[best]
