"""Pre-trained weights as people have them: loaded right, or refused in a sentence, never in part without a word."""

import argparse
import collections
import contextlib
import json

import pytest
import torch
from training import SMALL

from offline.errors import RecipeError
from offline.model.detector import build_model
from offline.model.pretrained import load_backbone, load_teacher, open_backbone
from offline.model.state_dicts import read_backbone

DIM, MLP = 64, 64
SHAPES = {"attn.qkv": (3 * DIM, DIM), "attn.proj": (DIM, DIM), "mlp.fc1": (MLP, DIM), "mlp.fc2": (DIM, MLP)}


def vit(depth=2, **extra):
    """A state dict with timm's names; every tensor differs."""
    generator = torch.Generator().manual_seed(depth)
    found = {"norm.weight": torch.rand(DIM, generator=generator), "norm.bias": torch.rand(DIM, generator=generator)}
    for i in range(depth):
        for name, shape in SHAPES.items():
            found[f"blocks.{i}.{name}.weight"] = 0.02 * torch.randn(shape, generator=generator)
            found[f"blocks.{i}.{name}.bias"] = 0.02 * torch.randn(shape[0], generator=generator)
        for name in ("norm1", "norm2"):
            found[f"blocks.{i}.{name}.weight"] = 1 + 0.1 * torch.rand(DIM, generator=generator)
            found[f"blocks.{i}.{name}.bias"] = 0.1 * torch.rand(DIM, generator=generator)
    return found | extra


PLAIN = vit()


def prefixed(prefix, state=PLAIN):
    return {prefix + key: value for key, value in state.items()}


class Config:
    """Of a training that nobody here knows."""

    rate = 1.0


Config.__module__, Config.__qualname__ = "collections", "Config"  # where pickle finds it again
collections.Config = Config

WRAPPED = {
    "plain": PLAIN,
    "lightning": {"state_dict": prefixed("model."), "epoch": 3, "hyper_parameters": {"lr": 1e-3}},
    "net": {"state_dict": prefixed("net.backbone.")},
    "dinov2 training": {
        "model": prefixed("student.backbone.", vit(2, odd=torch.ones(1))) | prefixed("teacher.backbone.")
    },
    "ddp, compiled": prefixed("_orig_mod.module."),
    "encoder": {"encoder": prefixed("module."), "opt": {"state": {0: {"exp_avg": torch.ones(3)}}}},
    "moco": {"state_dict": prefixed("module.base_encoder.") | prefixed("module.momentum_encoder.", vit(3))},
    "ema": {"model": vit(3), "model_ema": PLAIN},
    "namespace": {"teacher": prefixed("backbone."), "args": argparse.Namespace(lr=1)},
    "unknown class": {"model": PLAIN, "config": Config()},
    "deep": {"a": {"b": {"c": {"state_dict": PLAIN}}}},
    "mae": PLAIN | {f"decoder_{k}": v for k, v in vit(4).items()},
    "chunks": {k.replace("blocks.", "blocks.0."): v for k, v in PLAIN.items()},
    "chunks counted on": {f"blocks.{k[7]}.{k[7:]}" if k.startswith("blocks.") else k: v for k, v in PLAIN.items()},
    "chunks counted anew": {f"blocks.{k[7]}.0{k[8:]}" if k.startswith("blocks.") else k: v for k, v in PLAIN.items()},
}


def same(found, wanted=PLAIN):
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[k], wanted[k]) for k in wanted)


@pytest.mark.parametrize("name", list(WRAPPED))
def test_prefixes_nesting_and_chunks(tmp_path, name):
    torch.save(WRAPPED[name], tmp_path / "vit.pth")
    same(read_backbone(tmp_path / "vit.pth"))
    model = build_model(SMALL)
    told = load_backbone(model, open_backbone(tmp_path / "vit.pth"))
    assert told == f"backbone vit.pth: {len(PLAIN)} of {len(PLAIN)} block tensors loaded"
    assert torch.equal(model.blocks[1].attn.qkv.weight, PLAIN["blocks.1.attn.qkv.weight"])


def test_which_of_several_was_taken_is_told(tmp_path, caplog):
    torch.save(WRAPPED["dinov2 training"], tmp_path / "vit.pth")
    read_backbone(tmp_path / "vit.pth")
    assert "holds several (student.backbone, teacher.backbone): taken is teacher.backbone" in caplog.text.replace(
        "model.", ""
    )


@pytest.mark.parametrize("names", [("ls1.gamma", "ls2.gamma"), ("gamma_1", "gamma_2")])
def test_layer_scale_is_folded_so_that_the_blocks_compute_the_same(tmp_path, names):
    gammas = {f"blocks.{i}.{n}": torch.rand(DIM) for i in range(2) for n in names}
    torch.save(PLAIN | gammas, tmp_path / "vit.pth")
    model = build_model(SMALL).eval()
    load_backbone(model, open_backbone(tmp_path / "vit.pth"))
    s, x = PLAIN, torch.randn(1, 5, DIM)

    def linear(v, name):
        return v @ s[f"blocks.0.{name}.weight"].T + s[f"blocks.0.{name}.bias"]

    def norm(v, name):
        weight, bias = (s[f"blocks.0.{name}.{end}"] for end in ("weight", "bias"))
        return torch.nn.functional.layer_norm(v, (DIM,), weight, bias, model.blocks[0].norm1.eps)

    with torch.no_grad():
        q, k, v = linear(norm(x, "norm1"), "attn.qkv").split(DIM, -1)
        attended = (q @ k.transpose(-2, -1) * DIM**-0.5).softmax(-1) @ v
        y = x + gammas[f"blocks.0.{names[0]}"] * linear(attended, "attn.proj")
        hidden = torch.nn.functional.gelu(linear(norm(y, "norm2"), "mlp.fc1"))
        wanted = y + gammas[f"blocks.0.{names[1]}"] * linear(hidden, "mlp.fc2")
        torch.testing.assert_close(model.blocks[0](x), wanted, atol=1e-6, rtol=1e-5)


def hugging_face(state, prefix="vit."):
    names = {
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
    }
    found = {f"{prefix}layernorm.weight": state["norm.weight"], f"{prefix}layernorm.bias": state["norm.bias"]}
    for key, value in state.items():
        if key.startswith("blocks."):
            index, rest = key.split(".", 2)[1:]
            layer, end = rest.rsplit(".", 1)
            stem = f"{prefix}encoder.layer.{index}."
            if layer == "attn.qkv":
                for part, name in zip(value.chunk(3), ("query", "key", "value"), strict=True):
                    found[f"{stem}attention.attention.{name}.{end}"] = part.contiguous()
            else:
                found[f"{stem}{names[layer]}.{end}"] = value
    return found


def test_safetensors_with_the_names_of_hugging_face(tmp_path):
    from safetensors.torch import save_file

    save_file(hugging_face(PLAIN), tmp_path / "model.safetensors")
    same(read_backbone(tmp_path / "model.safetensors"))
    same(read_backbone(tmp_path))


def test_shards_are_read_together_and_a_missing_one_is_named(tmp_path):
    from safetensors.torch import save_file

    keys = sorted(PLAIN)
    names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for name, part in zip(names, (keys[::2], keys[1::2]), strict=True):
        save_file({k: PLAIN[k] for k in part}, tmp_path / name)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {k: names[i % 2] for i, k in enumerate(keys)}}))
    for path in (tmp_path / names[0], tmp_path / names[1], index, tmp_path):
        same(read_backbone(path))
    (tmp_path / names[1]).unlink()
    for path in (tmp_path / names[0], index, tmp_path):
        with pytest.raises(RecipeError, match="00002-of-00002.safetensors is missing"):
            read_backbone(path)


def test_missing_biases_are_zeros_and_beits_are_put_together(tmp_path):
    state = {k: v for k, v in PLAIN.items() if not k.endswith("qkv.bias")}
    torch.save(state, tmp_path / "vit.pth")
    assert not read_backbone(tmp_path / "vit.pth")["blocks.0.attn.qkv.bias"].any()
    halves = {f"blocks.{i}.attn.{n}_bias": torch.full((DIM,), float(n == "v")) for i in range(2) for n in "qv"}
    torch.save(state | halves, tmp_path / "beit.pth")
    assert read_backbone(tmp_path / "beit.pth")["blocks.1.attn.qkv.bias"].tolist() == [0.0] * 2 * DIM + [1.0] * DIM


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pth", LFS, "Git LFS pointer, not the weights"),
        ("a.safetensors", LFS, "Git LFS pointer, not the weights"),
        ("a.pth", b"<!DOCTYPE html><html>", "is a web page"),
        ("a.pth", b"junk", "cannot read backbone"),
        ("a.safetensors", b"junk", "cannot read backbone"),
        ("a.npz", b"PK\3\4junk", "is a .npz file"),
        ("a.index.json", b"{}", "is no index of shards"),
        ("a.pth", {"conv.weight": torch.ones(3)}, "it has no blocks.N.attn.qkv.weight"),
        ("a.pth", [1, 2], "it has no blocks.N.attn.qkv.weight"),
        ("a.pth", {"model": PLAIN | {"blocks.0.attn.q_norm.weight": torch.ones(64)}}, "attn.q_norm.weight, which"),
        ("a.pth", PLAIN | {"blocks.0.mlp.w12.weight": torch.ones(9, 9)}, "mlp.w12.weight, which"),
        ("a.pth", PLAIN | {"blocks.0.ls1.gamma": torch.ones(3)}, "LayerScale blocks.0.ls1.gamma does not fit"),
        ("a.pth", PLAIN | {"blocks.0.mlp.fc1.weight": torch.tensor(1.0)}, "are no plain weights"),
        ("a.pth", PLAIN | {"blocks.0.mlp.fc1.weight": torch.ones(9, 9, device="meta")}, "are no plain weights"),
        ("a.pth", PLAIN | {"blocks.0.mlp.fc1.weight": torch.ones(9, 9).to(torch.int8)}, "is int8, quantized perhaps"),
        ("a.pth", PLAIN | {"blocks.0.mlp.fc1.bias": torch.tensor([float("nan")])}, "numbers that are not finite"),
        ("a.index.json", b"[" * 100000, "is no index of shards"),
        ("a-00001-of-99999999.pth", PLAIN, "says 99999999 files"),
    ],
)
def test_what_cannot_be_loaded_right_is_refused(tmp_path, name, content, words):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(RecipeError, match=words):
        load_backbone(build_model(SMALL), open_backbone(path))


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_files_that_are_no_parts_of_one_are_not_mixed(tmp_path):
    for epoch in (1, 2):
        torch.save(PLAIN, tmp_path / f"epoch{epoch}.pth")
    with pytest.raises(RecipeError, match="they are no parts of one; name one of them"):
        read_backbone(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\3\4" + b"\0" * 50, b"junk"])
def test_the_reason_is_one_plain_sentence_without_advice_to_run_the_file(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    torch.save({"x": Evil()}, tmp_path / "b.pth")
    for path in (tmp_path / "a.pth", tmp_path / "b.pth"):
        with pytest.raises(RecipeError) as error:
            load_teacher(path, ["a"], 1)
        text = str(error.value)
        assert "\n" not in text and "\x1b" not in text and "weights_only" not in text and "trust" not in text


def test_a_checkpoint_runs_no_code(tmp_path, capsys):
    torch.save({"model": PLAIN, "x": Evil()}, tmp_path / "evil.pth")
    with contextlib.suppress(RecipeError):
        same(read_backbone(tmp_path / "evil.pth"))
    assert "run" not in capsys.readouterr().out


def test_a_partial_load_is_told(tmp_path):
    torch.save({k: v for k, v in PLAIN.items() if "mlp" not in k and not k.startswith("norm.")}, tmp_path / "a.pth")
    told = load_backbone(build_model(SMALL), open_backbone(tmp_path / "a.pth"))
    assert "only 16 of 26 block tensors loaded" in told and "blocks.N.mlp.fcN.weight" in told
    torch.save(vit(1), tmp_path / "one.pth")
    told = load_backbone(build_model(SMALL), open_backbone(tmp_path / "one.pth"))
    assert "has 1 blocks for 2: some are taken twice" in told
