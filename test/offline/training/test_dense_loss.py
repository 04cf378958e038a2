"""The losses of the dense head, and crops whose masks stay under their pixels."""

import numpy as np
import pytest
import torch
from mask_data import SHOWN, write_both, write_masks

from offline.compression.groups import cut, groups
from offline.data.masks import read_masked
from offline.data.masks.sets import read_task_sets
from offline.errors import RecipeError
from offline.model.dense_head import output_names, task_of
from offline.model.detector import build_model
from offline.training.augment import Loader
from offline.training.dense_loss import DenseLoss, class_weights, dice_loss, shares
from offline.training.distill import Distiller
from offline.training.losses import points_for
from offline.training.step import TrainStep, label_losses

SPEC = {"color": "rgb", "mean": [0.4, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}
SMALL = {"stem": [8, 16, 16, 16], "dim": 64, "depth": 1, "heads": 1, "mlp": 32, "neck": 16, "channels": 3}
MASKS = SMALL | {"classes": 0, "segments": 3, "strides": [4]}


def fresh(**options):
    torch.manual_seed(0)
    return build_model(MASKS | options).eval()


def test_masks_move_with_the_pixels_of_their_crops(tmp_path):
    """Colours tell the class: after scaling, mosaics and flips each pixel's mask is that of its colour."""
    data = read_masked(write_masks(tmp_path), "train")
    batch = Loader(data, SPEC, (96, 64), 8, (0.8, 1.4), mosaic=0.5, photometric=0.0, seed=1).make(3, 0.5)
    pixels = (batch["images"].permute(0, 2, 3, 1).numpy() * 0.2 + np.array(SPEC["mean"])) * 255
    mask = batch["mask"].numpy()
    assert mask.shape == (8, 64, 96) and set(np.unique(mask)) <= {0, 1, 2, 255}
    nearest = np.abs(pixels[..., None, :] - SHOWN).sum(-1).argmin(-1)
    known = mask != 255
    assert (nearest == mask)[known].mean() > 0.97, "only edges are mixed"
    outside = np.abs(pixels - 255 * np.array(SPEC["mean"])).max(-1) < 2
    assert outside[~known].mean() > 0.9, "what lies beyond the image is of no class"


def test_the_loss_is_small_for_what_is_right_and_blind_to_what_is_ignored():
    mask = torch.zeros(1, 16, 16, dtype=torch.uint8)
    mask[:, :, 8:] = 1
    mask[:, :4] = 255
    right = torch.nn.functional.one_hot((mask[:, ::4, ::4] == 1).long(), 3).permute(0, 3, 1, 2) * 12.0
    loss = DenseLoss((1.0, 1.0, 1.0), dice=1.0)
    good = loss.losses(right, mask)
    assert good["mask"] < 1e-3 and good["dice"] < 1e-3
    assert loss.losses(-right, mask)["mask"] > 5
    wrong_there = right.clone()
    wrong_there[:, :, 0] = -right[:, :, 0]  # the first row of cells is all ignored
    assert torch.equal(loss.losses(wrong_there, mask)["mask"], good["mask"])
    assert torch.allclose(loss.losses(wrong_there, mask)["dice"], good["dice"])
    nothing = torch.full_like(mask, 255)
    assert float(loss.losses(right, nothing)["mask"]) == 0 and float(loss.losses(right, nothing)["dice"]) == 0


def test_a_cell_counts_the_classes_of_its_pixels():
    mask = torch.zeros(1, 4, 4, dtype=torch.uint8)
    mask[0, 0, :2], mask[0, 1, 0] = 1, 255
    assert shares(mask, 2, 2)[0, :, 0, 0].tolist() == [0.25, 0.5]


def test_weights_focal_and_dice_do_what_they_say():
    assert class_weights([900, 100, 0], "none") == (1.0, 1.0, 1.0)
    common, rare, unseen = class_weights([900, 100, 0], "root")
    assert rare / common == pytest.approx(3, rel=1e-3) and 0.9 * common + 0.1 * rare == pytest.approx(1, rel=1e-3)
    assert unseen == 1.0 and max(class_weights([10**9, 1], "root")) == 10
    mask = torch.zeros(1, 4, 4, dtype=torch.uint8)
    unsure, sure = torch.tensor([[0.5, 0.0]]), torch.tensor([[4.0, 0.0]])

    def drop(focal):
        a, b = (float(DenseLoss((1.0, 1.0), focal).losses(x[..., None, None], mask)["mask"]) for x in (unsure, sure))
        return b / a

    assert drop(2.0) < 0.1 * drop(0.0), "focal cares less for what is sure already"
    p = torch.zeros(1, 2, 2, 2)
    p[:, 0] = 1
    assert float(dice_loss(p, p)) == pytest.approx(0) and float(dice_loss(1 - p, p)) == pytest.approx(1)


def test_a_student_that_says_the_same_has_no_response_loss():
    teacher, student, x = fresh(), fresh(), torch.randn(2, 3, 64, 96)
    dense = DenseLoss((1.0,) * 3)

    def tell(model):
        distiller = Distiller(model, teacher, response=1.0, feature=1.0, dense=dense)
        features = model.features(x)
        return distiller(features, model.outputs(features), {"images": x}, points_for(model, 96, 64))

    assert float(tell(student)["mask_response"]) == pytest.approx(0, abs=1e-6)
    other = fresh(neck=32)
    assert tell(other)["mask_response"] > 1e-5 and set(tell(other)) == {"mask_response", "feature"}
    with pytest.raises(RecipeError, match="the student has segments 2, its teacher 3"):
        Distiller(fresh(segments=2), teacher, response=1.0)


def test_a_detector_is_built_as_before_and_tasks_have_their_outputs():
    detector = build_model(SMALL | {"classes": 2, "strides": [8]})
    assert "segments" not in detector.config() and not any(k.startswith("dense") for k in detector.state_dict())
    assert [task_of(c) for c in (detector.config(), MASKS, MASKS | {"classes": 2})] == ["detect", "segment", "both"]
    assert output_names(MASKS | {"classes": 2}) == ["logits", "boxes", "classes"]
    both = fresh(classes=2, strides=[4, 8])
    assert [tuple(o.shape) for o in both(torch.zeros(1, 3, 64, 96))] == [(1, 480, 2), (1, 480, 4), (1, 3, 16, 24)]
    with pytest.raises(RecipeError, match="has neither"):
        build_model(SMALL | {"classes": 0})


@pytest.mark.parametrize("options", [{}, {"classes": 2, "strides": [4, 8]}, {"strides": [8]}])
def test_cutting_units_that_do_nothing_changes_nothing(options):
    """The neck's channels are the dense head's too."""
    model = fresh(**{"neck": 32} | options)
    table = groups(model)
    dead = torch.arange(16, 32)
    state = model.state_dict()
    for slot in table["neck"].slots:
        if slot.reads:
            state[slot.tensor].index_fill_(slot.axis, dead, 0.0)
    model.load_state_dict(state)
    small = cut(model, {"neck": torch.arange(16)})
    assert small.config()["neck"] == 16 and small.config()["segments"] == 3
    x = torch.randn(1, 3, 64, 96)
    for a, b in zip(model(x), small(x), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_sets_with_only_boxes_or_only_masks_teach_only_those(tmp_path):
    import json

    write_both(tmp_path / "boxes", masks=False)
    write_masks(tmp_path / "masks")
    write_both(tmp_path / "full", counts=(1, 1))
    boxes = {"data": "boxes", "train": "train.json", "has": ["boxes"], "share": 0.5}
    masks = {"data": "masks", "train": "train", "has": ["masks"], "share": 0.5}
    full = {"data": "full", "val": "val.json"}
    (tmp_path / "sets.yaml").write_text(json.dumps({"sets": [boxes, masks, full]}))
    train, _, _ = read_task_sets(tmp_path / "sets.yaml", "both")
    loader = Loader(train, SPEC, (96, 64), 8, (1.0, 1.2), 0.0, 0.0, seed=2, dense=DenseLoss((1.0,) * 3))
    batch = loader.make(0, 0.0)
    from_masks = batch["unlabelled"][:, 0]
    assert 0 < from_masks.sum() < 8
    assert (batch["mask"][~from_masks] == 255).all() and (batch["mask"][from_masks] != 255).any()
    model = fresh(classes=1, strides=[4, 8])
    points = points_for(model, 96, 64)
    outputs = model.outputs(model.features(batch["images"]))
    alone = {k: v[from_masks] for k, v in batch.items()}
    losses = label_losses({k: v[from_masks] for k, v in outputs.items()}, points, alone, loader.dense)
    assert float(losses["cls"]) == 0 and float(losses["box"]) == 0 and losses["mask"] > 0


def test_a_step_learns_masks(tmp_path):
    data = read_masked(write_masks(tmp_path), "train")
    loader = Loader(data, SPEC, (96, 64), 4, (1.0, 1.2), 0.0, 0.0, seed=2, dense=DenseLoss((1.0,) * 3, dice=0.5))
    model = fresh().train()
    step = TrainStep(model, None, points_for(model, 96, 64), loader.dense)
    optimizer = torch.optim.AdamW(step.parameters(), lr=5e-3)
    history = []
    for n in range(25):
        losses = step(loader.make(n, 0.0))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append(float(losses["mask"]))
    assert history[-1] < 0.4 * history[0]
