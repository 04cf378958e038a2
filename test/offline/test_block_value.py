"""What each block carries: the parts that are left out are the right ones, and the command counts on real images."""

import json

import pytest
import torch
from bundles import write_bundle

from offline import block_value
from offline.model.detector import build_model
from offline.render import write_dataset

VIT = {"classes": 3, "channels": 1, "stem": [8, 8, 16, 16], "dim": 64, "depth": 3, "heads": [1, 0, 1], "mlp": 64}
VIT |= {"neck": 16, "pool": [1, 3]}


def silence(*layers):
    with torch.no_grad():
        for layer in layers:
            layer.weight.zero_()
            layer.bias.zero_()


def changes(model):
    """By how much every part that is left out moves the logits, in place of a score."""
    x = torch.randn(1, 1, 64, 128, generator=torch.Generator().manual_seed(0))
    whole = model.eval()(x)[0]
    return block_value.block_value(model, lambda m, name: (m(x)[0] - whole).abs().max().item())


def test_what_carries_nothing_can_go_and_the_rest_cannot():
    torch.manual_seed(0)
    model = build_model(VIT)
    silence(model.blocks[0].attn.proj, model.blocks[1].mlp.fc2)
    found = changes(model)
    order = ["whole", "no blocks", "no attention", "no block 0", "no block 1", "no block 2"]
    assert list(found) == [*order, "no attention 0", "no attention 2"]
    assert {name for name, change in found.items() if change < 1e-6} == {"whole", "no block 1", "no attention 0"}
    assert model.blocks[0].attn is not None and len(model.blocks) == 3  # only copies were cut


def test_a_model_without_attention_has_only_blocks():
    model = build_model(VIT | {"mixer": "conv", "mlp": 16, "pool": None})
    found = changes(model)
    assert list(found) == ["whole", "no blocks", "no block 0", "no block 1", "no block 2"]
    assert found["no blocks"] > 0


def test_the_command_counts_a_bundle_on_some_images(tmp_path, capsys):
    data = write_dataset(tmp_path / "data", "thermal", train=2, val=5, size=(96, 64), seed=1)
    labels = [c["name"] for c in json.loads((data / "val.json").read_text())["categories"] if c["name"] != "DontCare"]
    if labels != ["Person", "Car", "Bicycle"]:
        pytest.skip("rendered flights have other classes now")
    bundle = write_bundle(tmp_path / "bundle")
    options = ["--data", str(data), "--val", "val.json", "--ignore", "DontCare", "--images", "3"]
    block_value.main([str(bundle), *options])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["images"] == 3 and result["data"].endswith("val.json")
    assert list(result["map50"]) == ["whole", "no blocks", "no attention", "no block 0", "no attention 0"]
    with pytest.raises(SystemExit):
        block_value.main([str(tmp_path / "nothing"), *options])
