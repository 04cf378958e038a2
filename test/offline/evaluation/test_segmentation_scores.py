"""Figures of masks on maps made by hand."""

import numpy as np
import pytest
from mask_data import draw, write_masks

from offline.data.masks import read_masked
from offline.evaluation.segmentation import MaskScores, Segmenter, beside_boxes, measure_masks, merit

SPEC = {"width": 96, "height": 64, "color": "rgb", "mean": [0.4, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}


def figures(truth, said, labels=("a", "b", "c")):
    scores = MaskScores(len(labels))
    scores.add(np.array(truth, np.uint8), np.array(said, np.uint8))
    return scores.figures(list(labels))


def test_iou_and_accuracy_count_pixels_and_leave_out_what_has_no_class():
    found = figures([[0, 0, 1, 1], [0, 0, 1, 255]], [[0, 1, 1, 1], [0, 0, 1, 0]])
    assert found["per_class"]["a"] == {"iou": 0.75, "pixels": 4}
    assert found["per_class"]["b"] == {"iou": 0.75, "pixels": 3}
    assert found["per_class"]["c"] == {"iou": None, "pixels": 0}
    assert found["miou"] == 0.75 and found["pixel_accuracy"] == pytest.approx(6 / 7, abs=1e-4)
    assert found["confusion"]["counts"] == [[3, 1, 0], [0, 3, 0], [0, 0, 0]]


def test_a_class_that_is_said_and_not_there_costs_the_others():
    assert figures([[0, 0, 0, 0]], [[0, 0, 2, 2]])["miou"] == 0.5


def test_boundaries_may_be_a_little_off():
    truth = np.zeros((100, 100), np.uint8)
    truth[:, 50:] = 1
    near, far = np.zeros_like(truth), np.zeros_like(truth)
    near[:, 51:], far[:, 60:] = 1, 1
    assert figures(truth, truth)["boundary_f1"] == 1.0
    assert figures(truth, near)["boundary_f1"] == 1.0, "0.75% of 141 pixels is one pixel"
    assert figures(truth, far)["boundary_f1"] == 0.0
    edge = truth.copy()
    edge[:, 48:53] = 255
    assert figures(edge, far)["boundary_f1"] == 0.0 and figures(edge, far)["miou"] < 1
    nothing = figures(np.full((4, 4), 255), np.zeros((4, 4)))
    assert nothing["miou"] is None and nothing["boundary_f1"] is None


def test_a_perfect_engine_is_measured_through_the_onboard_code(tmp_path):
    data = read_masked(write_masks(tmp_path), "train")

    class Perfect:
        """Says the mask of one image after the other, at stride 4."""

        def __init__(self):
            self.n = 0

        def infer(self, batch):
            mask = draw(self.n)[1][2::4, 2::4]
            self.n += 1
            return {"classes": np.eye(3, dtype=np.float32)[mask].transpose(2, 0, 1)[None]}

    found = measure_masks(Segmenter(Perfect(), SPEC), data)
    assert found["images"] == 6 and 0.8 < found["miou"] < 1, "what four pixels share a cell cannot all be right"
    assert found["boundary_f1"] > 0.6


def test_names_beside_a_detectors_figures():
    masks = figures([[0, 1]], [[0, 1]])
    both = {"map50": 0.5, "per_class": {"Car": {}}, "images": 3} | beside_boxes(masks)
    assert both["per_class"] == {"Car": {}} and both["mask_classes"]["a"]["iou"] == 1 and both["images"] == 3
    assert merit(both) == (0.5 + both["miou"]) / 2 and merit(masks) == masks["miou"] and merit({"map50": 0.2}) == 0.2
