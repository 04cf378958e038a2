"""The network and its surgery: shapes, assignment, losses, pruning, low rank, transfer of weights."""

import numpy as np
import pytest
import torch

from offline.compression.lowrank import factorise, whitened_svd
from offline.errors import RecipeError
from offline.model.blocks import pool_2x2, unpool_2x2
from offline.model.detector import build_model, count_macs
from offline.model.pretrained import inherit, load_backbone, open_backbone
from offline.training.losses import assign, decode, detection_loss, giou, ignore_mask, points_for
from vit_perception.detector import decode_boxes, grid_points

SMALL = {"classes": 3, "channels": 1, "stem": [8, 8, 16, 16], "dim": 64, "depth": 2, "heads": 2, "mlp": 96, "neck": 16}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build_model(SMALL).eval()


@pytest.mark.parametrize("strides", [[8], [4, 8]])
@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 128)])
def test_outputs_follow_the_grid_of_the_onboard_code(strides, width, height):
    model = build_model(SMALL | {"strides": strides}).eval()
    logits, boxes = model(torch.zeros(2, 1, height, width))
    points = grid_points(width, height, strides)
    assert logits.shape == (2, len(points), 3) and boxes.shape == (2, len(points), 4)


def test_a_model_is_rebuilt_from_its_config(model):
    twin = build_model(model.config())
    twin.load_state_dict(model.state_dict())
    x = torch.randn(1, 1, 64, 64)
    assert torch.equal(twin.eval()(x)[0], model(x)[0])


def test_unknown_or_unfitting_options_are_refused():
    with pytest.raises(RecipeError, match="unknown model option"):
        build_model(SMALL | {"widht": 3})
    with pytest.raises(RecipeError, match="one per block"):
        build_model(SMALL | {"heads": [1, 2, 3]})


def test_pooled_blocks_see_means_of_neighbours_and_leave_the_detail():
    """Blocks that add nothing leave the tokens as they are, pooled or not; pooling itself is a mean of 2x2."""
    x = torch.randn(2, 24, 5)
    image = x.transpose(1, 2).reshape(2, 5, 4, 6)
    pooled = torch.nn.functional.avg_pool2d(image, 2)
    torch.testing.assert_close(pool_2x2(x, 4, 6), pooled.flatten(2).transpose(1, 2))
    up = torch.nn.functional.interpolate(pooled, scale_factor=2).flatten(2).transpose(1, 2)
    torch.testing.assert_close(unpool_2x2(pool_2x2(x, 4, 6), 4, 6), up)
    model = build_model(SMALL | {"depth": 3, "pool": [1, 2]}).eval()
    with torch.no_grad():
        for layer in (model.blocks[1].attn.proj, model.blocks[1].mlp.fc2):
            layer.weight.zero_()
            layer.bias.zero_()
    whole = build_model(model.config() | {"pool": None}).eval()
    whole.load_state_dict(model.state_dict())
    image = torch.randn(1, 1, 64, 64)
    torch.testing.assert_close(model(image)[0], whole(image)[0])
    with pytest.raises(RecipeError, match="multiples of 64; this one gives 2x3 tokens"):
        model(torch.randn(1, 1, 96, 64))
    with pytest.raises(RecipeError, match="within the 2 blocks"):
        build_model(SMALL | {"pool": [1, 3]})


@pytest.mark.parametrize(("name", "rank"), [("blocks.0.mlp.fc1", 65), ("blocks.0.mlp.fc1", 0), ("blocks.9.mlp.fc1", 8)])
def test_ranks_that_a_layer_cannot_have_are_refused(name, rank):
    with pytest.raises(RecipeError, match=f"{name} is .* cannot have rank {rank}"):
        build_model(SMALL | {"ranks": {name: rank}})


def test_macs_of_a_block_are_those_of_the_formula():
    """One block more: T (4 D inner + 2 D mlp) for the linear layers, 2 T^2 inner for attention."""
    one, two = (count_macs(build_model(SMALL | {"depth": d}), 64, 64) for d in (1, 2))
    tokens, dim, inner, mlp = 4, 64, 128, 96
    assert two - one == tokens * (4 * dim * inner + 2 * dim * mlp) + 2 * tokens**2 * inner


def test_torch_and_onboard_decode_agree():
    points = grid_points(64, 32, [4, 8])
    raw = np.random.default_rng(0).normal(0, 2, (len(points), 4)).astype(np.float32)
    expected = decode_boxes(raw, points)
    got = decode(torch.from_numpy(raw), torch.from_numpy(points)).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-3)


def test_every_box_gets_a_point_however_small():
    points = torch.from_numpy(grid_points(64, 64, [8]))
    rng = np.random.default_rng(0)
    for x, y in rng.uniform(2, 60, (50, 2)):
        boxes = torch.tensor([[[x - 1, y - 1, x + 1, y + 1]]], dtype=torch.float32)
        assert (assign(points, boxes, torch.zeros(1, 1, dtype=torch.long)) == 0).any()


def test_the_smaller_box_wins_a_contested_point_and_padding_wins_none():
    points = torch.from_numpy(grid_points(64, 64, [8]))
    boxes = torch.tensor([[[0.0, 0, 64, 64], [28, 28, 36, 36], [0, 0, 0, 0]]])
    index = assign(points, boxes, torch.tensor([[0, 1, -1]]))[0]
    at_center = ((points[:, :2] - 32).abs() <= 4.05).all(1)
    assert (index[at_center] == 1).all()
    assert set(index.tolist()) == {-1, 0, 1}


def test_two_levels_share_boxes_by_size():
    points = torch.from_numpy(grid_points(64, 64, [4, 8]))
    boxes = torch.tensor([[[10.0, 10, 20, 20], [4, 4, 60, 60]]])
    index = assign(points, boxes, torch.tensor([[0, 0]]))[0]
    assert set(points[index == 0, 2].tolist()) == {4.0}
    assert set(points[index == 1, 2].tolist()) == {8.0}


def test_giou_of_known_boxes():
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1]])
    b = torch.tensor([[0.0, 0, 2, 1], [2, 0, 3, 1]])
    iou, g = giou(a, b)
    assert iou.tolist() == [0.5, 0.0]
    assert g.tolist() == pytest.approx([0.5, -1 / 3])


def test_no_loss_inside_ignore_regions():
    points = torch.from_numpy(grid_points(64, 64, [8]))
    logits = torch.zeros(1, len(points), 3, requires_grad=True)
    batch = {
        "boxes": torch.tensor([[[40.0, 40, 56, 56]]]),
        "labels": torch.tensor([[1]]),
        "ignore": torch.tensor([[[0.0, 0, 32, 32]]]),
    }
    loss = detection_loss(logits, torch.zeros(1, len(points), 4), points, batch)
    loss["cls"].backward()
    inside = ignore_mask(points, batch["ignore"])[0]
    assert inside.sum() == 16
    assert (logits.grad[0, inside] == 0).all() and (logits.grad[0, ~inside] != 0).all()


def test_a_class_that_a_set_does_not_label_is_neither_object_nor_background_there():
    points = torch.from_numpy(grid_points(64, 64, [8]))
    logits = torch.zeros(2, len(points), 3, requires_grad=True)
    batch = {
        "boxes": torch.tensor([[[40.0, 40, 56, 56]]]).repeat(2, 1, 1),
        "labels": torch.zeros(2, 1, dtype=torch.int64),
        "ignore": torch.zeros(2, 1, 4),
        "unlabelled": torch.tensor([[False, True, False], [False, False, False]]),
    }
    detection_loss(logits, torch.zeros(2, len(points), 4), points, batch)["cls"].backward()
    assert (logits.grad[0, :, 1] == 0).all()
    assert (logits.grad[0, :, [0, 2]] != 0).all() and (logits.grad[1] != 0).all()


def test_a_few_steps_overfit_one_batch():
    torch.manual_seed(0)
    model = build_model(SMALL).train()
    points = points_for(model, 64, 64)
    batch = {
        "images": torch.randn(2, 1, 64, 64),
        "boxes": torch.tensor([[[8.0, 8, 24, 24]], [[30, 30, 60, 50]]]),
        "labels": torch.tensor([[0], [2]]),
        "ignore": torch.zeros(2, 1, 4),
    }
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history = []
    for _ in range(60):
        loss = torch.stack(list(detection_loss(*model(batch["images"]), points, batch).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.3 * history[0]


def test_low_rank_is_exact_where_the_inputs_are_low_dimensional(model):
    """Features that live in a 5-dimensional plane need rank 5, and a constant offset of them needs none."""
    rng = np.random.default_rng(0)
    basis, weight = rng.normal(size=(5, 32)), torch.from_numpy(rng.normal(size=(48, 32)))
    x = torch.from_numpy(rng.normal(size=(4000, 5)) @ basis)
    a, b, errors = whitened_svd(weight, torch.cov(x.T))
    assert errors[3] > 0.01 and errors[4] < 1e-2
    difference = (x @ (b[:, :5] @ a[:5]).T - x @ weight.T).norm() / (x @ weight.T).norm()
    assert difference < 1e-2


def macs(config):
    return count_macs(build_model(config), 64, 64) / 1e6


def test_low_rank_leaves_alone_what_the_target_would_not_run_faster(model):
    images = [torch.randn(2, 1, 64, 64)]
    choices = factorise(model, images, error=0.3, saving=0.25, cost=lambda config: 1.0 + len(config["ranks"]))
    assert any(c.saving >= 0.25 for c in choices) and not any(c.used for c in choices)


def test_low_rank_replaces_only_layers_where_it_pays(model):
    images = [torch.randn(2, 1, 64, 64) for _ in range(2)]
    before = model(images[0])[0]
    assert not any(c.used for c in factorise(model, images, error=1e-6, saving=0.25, cost=macs))
    choices = factorise(model, images, error=0.3, saving=0.25, cost=macs)
    used = [c for c in choices if c.used]
    assert used and all(c.error <= 0.3 and c.saving >= 0.25 for c in used)
    assert all(c.ms > 0 and c.rank % 8 == 0 for c in used)
    assert set(model.config()["ranks"]) == {c.name for c in used}
    twin = build_model(model.config())
    twin.load_state_dict(model.state_dict())
    torch.testing.assert_close(twin.eval()(images[0])[0], model(images[0])[0])
    assert (model(images[0])[0] - before).abs().max() < 1.0


def test_a_student_inherits_evenly_spaced_blocks():
    torch.manual_seed(0)
    teacher, student = build_model(SMALL | {"depth": 4}), build_model(SMALL | {"depth": 2})
    inherit(student, teacher)
    for mine, theirs in ((0, 0), (1, 3)):
        assert torch.equal(student.blocks[mine].mlp.fc1.weight, teacher.blocks[theirs].mlp.fc1.weight)
    assert torch.equal(student.stem[0][0].weight, teacher.stem[0][0].weight)


def test_backbones_load_by_key(tmp_path, model):
    """A state dict with timm's names, wrapped as published checkpoints are, and twice as deep."""
    source = {}
    for i in range(4):
        for key, value in model.blocks[0].state_dict().items():
            source[f"module.blocks.{i}.{key}"] = torch.full_like(value, float(i))
    torch.save({"model": source | {"module.pos_embed": torch.zeros(1, 5, 64)}}, tmp_path / "vit.pth")
    told = load_backbone(model, open_backbone(tmp_path / "vit.pth"))
    assert (model.blocks[0].attn.qkv.weight == 0).all() and (model.blocks[1].attn.qkv.weight == 3).all()
    assert f"only {2 * len(model.blocks[0].state_dict())} of" in told and "norm.weight" in told
    with pytest.raises(RecipeError, match="nothing in .* fits"):
        load_backbone(build_model(SMALL | {"dim": 32}), open_backbone(tmp_path / "vit.pth"))
    (tmp_path / "bad.pth").write_bytes(b"junk")
    with pytest.raises(RecipeError, match="cannot read backbone"):
        open_backbone(tmp_path / "bad.pth")
