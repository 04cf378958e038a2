"""Dividing the residual stream changes nothing but the range of what LayerNorm squares."""

import pytest
import torch
from bundles import TINY

from offline.compression.fp16_emulation import HalfEngine
from offline.compression.rescale import LARGEST_HALF, MARGIN, largest_sum_of_squares, rescale_residual
from offline.export.onnx_export import compare_outputs, export_master
from offline.model.detector import build_model


@pytest.fixture
def loud():
    """A detector whose residual stream is so large that its squares leave fp16."""
    torch.manual_seed(3)
    model = build_model({**TINY, "classes": 2, "channels": 1, "depth": 2, "pool": [1, 2]}).eval()
    with torch.no_grad():
        model.embed[-1].weight.mul_(3000)
        model.embed[-1].bias.normal_(0, 300)
        for p in (model.position.bias, model.blocks[0].attn.proj.bias, model.blocks[1].mlp.fc2.bias):
            p.normal_(0, 300)
    return model


BATCHES = [torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(i)) for i in range(2)]


def answers(model):
    with torch.no_grad():
        return [dict(zip(("logits", "boxes"), (y.numpy() for y in model(b)), strict=True)) for b in BATCHES]


def test_the_network_computes_the_same_with_smaller_squares(loud, tmp_path):
    before, widest = answers(loud), largest_sum_of_squares(loud, BATCHES)
    export_master(loud, tmp_path / "loud.onnx", 64, 64)
    divisor = rescale_residual(loud, BATCHES)
    assert divisor > 1 and divisor & (divisor - 1) == 0
    after = answers(loud)
    assert max(compare_outputs(a, b) for a, b in zip(before, after, strict=True)) < 1e-4
    assert largest_sum_of_squares(loud, BATCHES) == pytest.approx(widest / divisor**2, rel=1e-3)
    assert largest_sum_of_squares(loud, BATCHES) <= LARGEST_HALF / MARGIN
    assert rescale_residual(loud, BATCHES) == 1, "once is enough"

    export_master(loud, tmp_path / "scaled.onnx", 64, 64)
    images = [b.numpy() for b in BATCHES]
    for name, finite in (("loud", False), ("scaled", True)):  # all in fp16, sums included, nothing kept in fp32
        half = HalfEngine(tmp_path / f"{name}.onnx", sums="reductions")
        found = [half.infer(x) for x in images]
        assert (not half.overflowed) == finite
        if finite:
            assert max(compare_outputs(a, b) for a, b in zip(before, found, strict=True)) < 0.03


def test_factorised_and_pruned_blocks(loud):
    loud.factorise("blocks.0.mlp.fc2", 4)
    loud.factorise("blocks.1.attn.proj", 4)
    before = answers(loud)
    assert rescale_residual(loud, BATCHES) > 1
    assert max(compare_outputs(a, b) for a, b in zip(before, answers(loud), strict=True)) < 1e-4


def test_a_quiet_network_is_left_alone():
    torch.manual_seed(0)
    model = build_model({**TINY, "classes": 2, "channels": 1}).eval()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    assert rescale_residual(model, BATCHES) == 1
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
