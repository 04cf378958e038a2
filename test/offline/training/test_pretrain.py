"""Masked-image pre-training: it learns, it resumes exactly, and the teacher starts from it."""

import signal

import pytest
import torch
import training
import yaml
from commands import TINY, command
from training import figures, interrupt_when, same

from offline import compress, stages
from offline.boards.targets import find_target
from offline.data import read_coco
from offline.errors import RecipeError
from offline.render import write_dataset
from offline.run.recipe_file import load_recipe
from offline.stages import pretrain
from offline.stages.preflight import open_run
from offline.training.curve import read_curve
from offline.training.pretrain import PATCH, MaskedLoader, MaskedStep, train_masked


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, "thermal", train=6, val=2, size=(128, 96), seed=1)
    return folder


def loader(data, share=0.5, batch=4):
    coco = read_coco(data, "train.json", ("DontCare",))
    return MaskedLoader(coco, training.SPEC, (96, 64), batch, (0.7, 1.5), 0.0, 1.0, 3, share=share)


def go(data, folder, model=None, **options):
    folder.mkdir(exist_ok=True)
    plan = training.schedule(**{"min_steps": 5} | options)
    return train_masked(model or training.fresh(), loader(data), plan, folder / "pretrain.checkpoint.pt")


def test_masks_follow_from_seed_and_step(data):
    whole = loader(data).make(3, 0.0)
    assert whole["hidden"].shape == (4, 1, 64 // PATCH, 96 // PATCH) and (whole["hidden"].sum((1, 2, 3)) == 3).all()
    assert torch.equal(whole["hidden"], loader(data).make(3, 0.0)["hidden"])
    assert not torch.equal(whole["hidden"], loader(data).make(4, 0.0)["hidden"])
    parts = [loader(data).share(rank, 2).make(3, 0.0) for rank in range(2)]
    for key, value in whole.items():
        assert torch.equal(value, torch.cat([p[key] for p in parts]))


@pytest.mark.parametrize("options", [{}, {"token_stride": 16}, {"mixer": "conv"}], ids=lambda o: str(o))
def test_only_what_is_hidden_counts_and_it_is_not_seen(data, options):
    step, batch = MaskedStep(training.fresh(**options)).eval(), loader(data).make(0, 0.0)
    before = step(batch)["masked"].item()
    hidden = batch["hidden"].repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)
    offset = torch.where(hidden, 100.0, 0.0)
    after = step(batch | {"images": batch["images"] + offset})["masked"].item()
    assert after == pytest.approx(100 - (batch["images"] * 0).mean().item(), rel=0.05)  # the guesses did not follow
    with torch.no_grad():
        step.decoder.weight.zero_(), step.decoder.bias.zero_()
    expected = batch["images"][hidden].mean().abs().item()  # of zeros, where means over 4x4 have one sign
    assert before != pytest.approx(step(batch)["masked"].item(), rel=1e-6)
    assert step(batch)["masked"].item() >= expected * 0.99


@pytest.mark.parametrize("options", [{}, {"mixer": "conv"}], ids=["attention", "conv"])
def test_the_loss_falls_and_neck_and_heads_rest(data, tmp_path, options):
    """Against guessing the mean everywhere: crops differ too much to compare their losses as they are."""
    fresh, steps = training.fresh(**options), 50
    before = {k: v.clone() for k, v in fresh.state_dict().items()}
    model = go(data, tmp_path, fresh, min_steps=steps, lr=3e-3, ema=0.9)
    mean = MaskedStep(training.fresh(**options)).eval().requires_grad_(False)
    mean.decoder.weight.zero_(), mean.decoder.bias.zero_()
    guessed = [mean(loader(data).make(i, 0.0))["masked"].item() for i in range(steps)]
    losses = [row["masked"] for row in read_curve(tmp_path / "pretrain.curve.jsonl")]
    assert sum(losses[:10]) > 0.95 * sum(guessed[:10]) and sum(losses[-15:]) < 0.9 * sum(guessed[-15:])
    changed = {k.split(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"stem", "embed", "blocks"} | (set() if options else {"position", "norm"})
    assert all(p.requires_grad for p in model.parameters())


def test_interrupted_pre_training_goes_on_exactly(data, tmp_path):
    whole, cut = go(data, tmp_path / "whole"), tmp_path / "cut"
    interrupt_when(lambda: read_curve(cut / "pretrain.curve.jsonl"), signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        go(data, cut)
    assert same(whole, go(data, cut))
    assert figures(cut / "pretrain.curve.jsonl") == figures(tmp_path / "whole" / "pretrain.curve.jsonl")


def opened(data, folder, *settings):
    folder.mkdir(exist_ok=True)
    recipe = folder / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(TINY | {"crops": {"size": [64, 64]}}))
    options = [part for s in settings for part in ("--set", s)]
    args = compress.parse([*command(data, recipe, folder / "out")[3:], *options])
    return open_run(args, load_recipe(args.recipe, args.set), find_target("cpu"))


def test_the_teacher_starts_from_it(data, tmp_path):
    """A teacher that is not trained at all is what pre-training left; without the stage, what it always was."""
    still = ("teacher.min_steps=0", "teacher.epochs=0")
    plain = opened(data, tmp_path / "plain", *still)
    pretrain(plain, tmp_path)
    stages.teacher(plain, tmp_path)
    assert not plain.begun("pretrain")
    run = opened(data, tmp_path / "pretrained", *still, "pretrain.min_steps=3", "pretrain.batch=2", "pretrain.warmup=1")
    pretrain(run, tmp_path)
    stages.teacher(run, tmp_path)
    assert same(run.load("teacher"), run.load("pretrain"))
    assert not same(run.load("teacher"), plain.load("teacher"))
    assert same(plain.load("teacher"), stages.fresh_teacher(run))  # both began alike
    late = opened(data, tmp_path / "late", *still, "pretrain.min_steps=3")
    stages.teacher(late, tmp_path)
    pretrain(late, tmp_path)  # the teacher is trained already: nothing to start from any more
    assert not late.begun("pretrain")


def test_a_share_that_hides_nothing_or_all_is_refused(tmp_path):
    for share in (0, 1):
        with pytest.raises(RecipeError, match=r"pretrain.mask must lie in 0..1"):
            load_recipe("quick", [f"pretrain.mask={share}"])
