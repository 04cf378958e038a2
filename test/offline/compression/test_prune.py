"""Cutting units out of the network, and choosing which."""

import pytest
import torch

from offline.compression.groups import cut, groups, unit_sums
from offline.compression.prune import CRITERIA, importance, prune_shares, prune_to_cost
from offline.data import read_coco
from offline.errors import RecipeError
from offline.model.detector import build_model, count_macs, count_parameters
from offline.render import write_dataset
from offline.training.augment import Loader

SMALL = {
    "classes": 3, "channels": 1, "stem": [16, 16, 24, 32], "dim": 96, "depth": 3, "heads": [2, 1, 2],
    "mlp": [96, 64, 96], "neck": 24, "strides": [4, 8], "pool": [1, 3],
}  # fmt: skip
SPEC = {"width": 128, "height": 64, "color": "gray", "mean": [0.5], "std": [0.2]}


@pytest.fixture
def model():
    """With running statistics of its own and two factorised layers, so that every kind of tensor is cut."""
    torch.manual_seed(0)
    model = build_model(SMALL)
    model.factorise("blocks.0.attn.proj", 20)
    model.factorise("blocks.2.mlp.fc1", 24)
    model(torch.randn(4, 1, 64, 128))
    return model.eval()


@pytest.fixture(scope="module")
def loader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, "thermal", train=4, val=1, size=(128, 64), seed=2)
    data = read_coco(folder, "train.json", ("DontCare",))
    return Loader(data, SPEC, (128, 64), 2, (0.8, 1.2), 0.0, 0.0, seed=1)


def parameters(model):
    return dict(model.named_parameters())


@pytest.mark.parametrize(
    "name", ["heads.0", "heads.1", "mlp.0", "mlp.2", "stem.0", "stem.1", "stem.2", "stem.3", "neck"]
)
def test_units_that_nobody_reads_go_without_changing_the_function(model, name):
    g = groups(model)[name]
    keep = torch.arange(0, g.count, 2) if g.least else torch.arange(0)  # half of the channels, or a whole half block
    gone = torch.tensor([u for u in range(g.count) if u not in keep.tolist()])
    with torch.no_grad():
        for slot in g.slots:
            if slot.reads:
                view = model.state_dict()[slot.tensor].movedim(slot.axis, 0)
                for part in range(slot.parts):
                    for u in gone.tolist():
                        first = (part * g.count + u) * slot.width
                        view[first : first + slot.width] = 0
        if not g.least:  # what is left of a half block without units is the bias of its last layer
            block, kind = model.blocks[int(name[-1])], name.split(".")[0]
            last = block.attn.proj if kind == "heads" else block.mlp.fc2
            (last[1] if isinstance(last, torch.nn.Sequential) else last).bias.zero_()
    x = torch.randn(2, 1, 64, 128)
    small = cut(model, {name: keep})
    torch.testing.assert_close(small(x)[0], model(x)[0], rtol=1e-4, atol=1e-5)
    assert count_parameters(small) < count_parameters(model)
    assert count_macs(small, 128, 64) < count_macs(model, 128, 64)


def test_the_token_stream_becomes_narrower(model):
    small = cut(model, {"dim": torch.arange(0, 96, 2)})
    assert small.config()["dim"] == 48 and small(torch.randn(1, 1, 64, 128))[0].shape == (1, 640, 3)
    assert torch.equal(small.norm.weight, model.norm.weight[::2])
    assert torch.equal(small.blocks[1].mlp.fc1.weight, model.blocks[1].mlp.fc1.weight[:, ::2])


def test_empty_blocks_close_their_gap(model):
    nothing = torch.arange(0)
    small = cut(model, {"heads.1": nothing, "mlp.1": nothing})
    c = small.config()
    assert (c["depth"], c["heads"], c["mlp"], c["pool"]) == (2, [2, 2], [96, 96], [1, 2])
    assert c["ranks"] == {"blocks.0.attn.proj": 20, "blocks.1.mlp.fc1": 24}
    assert torch.equal(small.blocks[1].attn.qkv.weight, model.blocks[2].attn.qkv.weight)


def test_taylor_is_the_gradient_of_a_mask(model):
    """By finite difference, in float64: it is the sum that `unit_sums` takes of weight x gradient."""
    model.double()
    x = torch.randn(2, 1, 64, 128, dtype=torch.float64)
    loss = lambda m: m(x)[0].square().mean()  # noqa: E731
    loss(model).backward()
    products = {k: p * p.grad for k, p in parameters(model).items() if p.grad is not None}
    for name, unit in (("mlp.0", 5), ("heads.0", 1), ("neck", 3)):
        g = groups(model)[name]
        expected = unit_sums(g, products, reads=True)[unit]
        values = []
        for scale in (1.001, 0.999):
            twin = build_model(model.config()).eval().double()
            twin.load_state_dict(model.state_dict())
            with torch.no_grad():
                for slot in g.slots:
                    if slot.reads:
                        view = twin.state_dict()[slot.tensor].movedim(slot.axis, 0)
                        view[unit * slot.width : (unit + 1) * slot.width] *= scale
            values.append(loss(twin).item())
        assert (values[0] - values[1]) / 0.002 == pytest.approx(expected.item(), rel=0.01), name


@pytest.mark.parametrize("criterion", CRITERIA)
def test_dead_units_are_the_least_important(model, loader, criterion):
    dead = [3, 8, 17]
    with torch.no_grad():
        model.blocks[0].mlp.fc2.weight[:, dead] = 0
        model.blocks[0].mlp.fc1.weight[dead] = 0
        model.blocks[0].mlp.fc1.bias[dead] = 0
    scores = importance(model, loader, criterion)
    assert sorted(scores["mlp.0"].topk(3, largest=False).indices.tolist()) == dead
    assert all((s >= 0).all() and torch.isfinite(s).all() for s in scores.values())


def test_shares_are_cut_from_every_group_of_a_kind(model, loader):
    small = prune_shares(model, importance(model, loader, "magnitude"), {"heads": 0.5, "mlp": 0.4, "neck": 0.34})
    c = small.config()
    assert c["heads"] == [1, 1, 1] and c["mlp"] == [64, 32, 64] and c["neck"] == 16 and c["dim"] == 96


def test_what_saves_time_goes_first(model):
    """Two kinds of equally unimportant units: only the one that the target charges for is cut."""
    scores = {name: torch.ones(g.count) for name, g in groups(model).items()}
    small = prune_to_cost(model, scores, lambda c: float(sum(c["mlp"])) + 10, budget=170)
    assert sum(small.config()["mlp"]) <= 160 and small.config()["heads"] == [2, 1, 2]
    scores["mlp.0"][:] = 100.0
    small = prune_to_cost(model, scores, lambda c: float(sum(c["mlp"])) + 10, budget=170)
    assert small.config()["mlp"][0] == 96
    small = prune_to_cost(model, scores, lambda c: float(sum(c["mlp"]) + sum(c["heads"])), budget=100, depth=1)
    assert any(h and m for h, m in zip(small.config()["heads"], small.config()["mlp"], strict=True))
    with pytest.raises(RecipeError, match="cannot reach 5.0 ms"):
        prune_to_cost(model, scores, lambda c: float(sum(c["mlp"])) + 10, budget=5)


def test_unknown_criteria_are_refused(model, loader):
    with pytest.raises(RecipeError, match="prune.criterion must be one of fisher, taylor, magnitude"):
        importance(model, loader, "random")
