"""The training loop: it resumes exactly, keeps its curves, and ends with a sentence."""

import resource
import signal

import pytest
import torch
import training
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training import figures, interrupt_when, same

from offline.errors import RecipeError
from offline.render import write_dataset
from offline.training import train as engine
from offline.training.curve import Curve, read_curve
from offline.training.distill import Distiller
from offline.training.muon import is_matrix, orthogonalise
from offline.training.train import train

STEPS = 5


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, "thermal", train=6, val=1, size=(128, 96), seed=1)
    return folder


def go(data, folder, distilled=False, **options):
    """Train the tiny model with its checkpoints in `folder`."""
    folder.mkdir(exist_ok=True)
    model = training.fresh()
    distiller = Distiller(model, training.fresh(depth=1), response=1.0, feature=1.0) if distilled else None
    plan = training.schedule(min_steps=STEPS, **options)
    return train(model, training.loader(data), plan, folder / "t.checkpoint.pt", "t", distiller)


def test_muon_makes_the_steps_of_matrices_orthogonal():
    torch.manual_seed(0)
    for shape in ((3, 16, 40), (2, 64, 32)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape) * torch.logspace(-1, 0, shape[2])))
        assert values.min() > 0.3 and values.max() < 1.4
    assert is_matrix(torch.zeros(16, 2, 3, 3)) and is_matrix(torch.zeros(32, 16))
    assert not any(is_matrix(torch.zeros(s)) for s in ((64,), (64, 1, 3, 3), (4, 64, 1, 1), (16, 1, 3, 3)))


def test_muon_moves_matrices_by_its_own_rate_and_leaves_the_rest_to_adamw(data, tmp_path):
    start, adamw, muon = training.fresh(), go(data, tmp_path / "a"), go(data, tmp_path / "m", muon=0.5)
    far, near = (
        {k: float((m.state_dict()[k] - v.detach()).norm()) for k, v in start.named_parameters()} for m in (muon, adamw)
    )
    weights = dict(start.named_parameters())
    assert all(far[k] > 5 * near[k] for k in far if is_matrix(weights[k]))
    assert all(far[k] < 5 * near[k] for k in far if not is_matrix(weights[k]))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_training_goes_on_exactly(data, tmp_path, number):
    options = {"distilled": True, "muon": 0.01 if number == signal.SIGTERM else 0.0}
    whole = go(data, tmp_path / "whole", **options)
    cut, before = tmp_path / "cut", signal.getsignal(number)
    interrupt_when(lambda: read_curve(cut / "t.curve.jsonl"), number)
    with pytest.raises(KeyboardInterrupt):
        go(data, cut, **options)
    done = engine.load_torch(cut / "t.checkpoint.pt")["step"]
    assert 0 < done <= STEPS and len(read_curve(cut / "t.curve.jsonl")) == done
    assert signal.getsignal(number) is before
    with (cut / "t.curve.jsonl").open("a") as f:  # as if killed some steps later, in the middle of a line
        f.write(f'{{"step": {done}, "cls": 1.0}}\n{{"step": 9')
    assert same(whole, go(data, cut, **options))
    assert figures(cut / "t.curve.jsonl") == figures(tmp_path / "whole" / "t.curve.jsonl")


def test_curves_show_every_step_once(data, tmp_path):
    go(data, tmp_path)
    rows = read_curve(tmp_path / "t.curve.jsonl")
    assert [r["step"] for r in rows] == list(range(STEPS))
    assert rows[0].keys() == {"step", "cls", "box", "lr", "grad_norm", "images_per_s"}
    assert rows[1]["lr"] == 1e-3 and rows[-1]["lr"] < 3e-4
    with Curve(tmp_path, "t", start=3) as curve:  # another sitting
        for step in (3, 4):
            curve.add(step, {"cls": 10.0 + step})
    events = EventAccumulator(str(tmp_path / "tensorboard" / "t")).Reload()
    assert {"box", "lr", "grad_norm", "images_per_s"} < set(events.Tags()["scalars"])
    shown = events.Scalars("cls")
    assert [e.step for e in shown] == list(range(STEPS))
    assert [e.value for e in shown] == pytest.approx([r["cls"] for r in rows[:3]] + [13.0, 14.0], rel=1e-4)
    assert [r["cls"] for r in read_curve(tmp_path / "t.curve.jsonl")][3:] == [13.0, 14.0]


def test_a_loss_that_is_not_finite_ends_in_a_sentence(data, tmp_path):
    with pytest.raises(RecipeError, match="t: the loss is .* at step .*; lower lr in the recipe and resume"):
        go(data, tmp_path, lr=1e9, warmup=0, clip=1e9)


def test_checkpoints_that_do_not_fit_end_in_a_sentence(data, tmp_path, monkeypatch):
    monkeypatch.setenv("VIT_PERCEPTION_SAVE_EVERY_S", "0")
    go(data, tmp_path)
    path, plan = tmp_path / "t.checkpoint.pt", training.schedule()
    with pytest.raises(RecipeError, match="damaged or of another model .*; delete it"):
        train(training.fresh(depth=1), training.loader(data), plan, path, "t")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(RecipeError, match="t.checkpoint.pt is damaged"):
        train(training.fresh(), training.loader(data), plan, path, "t")


def test_a_full_disk_keeps_the_last_checkpoint(data, tmp_path, monkeypatch):
    """A limit on file sizes is the one "no space" that a test may cause: the same write fails, with another errno."""
    interrupt_when(lambda: read_curve(tmp_path / "t.curve.jsonl"), signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        go(data, tmp_path)
    kept = (tmp_path / "t.checkpoint.pt").read_bytes()
    monkeypatch.setenv("VIT_PERCEPTION_SAVE_EVERY_S", "0")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            go(data, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "t.checkpoint.pt").read_bytes() == kept and not list(tmp_path.glob(".*"))
    assert same(go(data, tmp_path), go(data, tmp_path / "whole"))


def test_shares_of_a_batch_are_the_batch(data):
    loader = training.loader(data)
    whole = loader.make(5, mosaic=0.5)
    parts = [loader.share(rank, 2).make(5, mosaic=0.5) for rank in range(2)]
    assert torch.equal(whole["images"], torch.cat([p["images"] for p in parts]))
    for first, part in zip((0, 2), parts, strict=True):
        for i in range(2):
            boxes, mine = (b["boxes"][j][b["labels"][j] >= 0] for b, j in ((whole, first + i), (part, i)))
            assert torch.equal(boxes, mine)
