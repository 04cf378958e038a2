"""Training in two processes, started by torchrun on loopback, is the training of one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import training
from commands import ENVIRONMENT, ROOT

from offline.files import load_torch
from offline.render import write_dataset
from offline.training.curve import read_curve

SCRIPT = str(Path(training.__file__))
# fp32: what is compared is the engine, not the rounding of bf16.
PLAIN = ENVIRONMENT | {"VIT_PERCEPTION_BF16": "0", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT)}
# The same kernels on every x86: which steps rounding tips over a kink depends on the instructions they use.
PLAIN |= {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
ONE = [sys.executable, SCRIPT]
TWO = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--rdzv_backend=c10d"]
TWO += ["--rdzv_endpoint=127.0.0.1:0", "--local_addr=127.0.0.1", SCRIPT]
LR = "1e-4"  # at 1e-3 rounding grows to 1% within ten steps: AdamW makes a whole step of a vanishing gradient


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, "thermal", train=6, val=1, size=(128, 96), seed=1)
    return folder


def start(how, data, out, *more, **environment):
    out.mkdir(exist_ok=True)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    return subprocess.Popen([*how, str(data), str(out), *more], cwd=ROOT, env=PLAIN | environment, **pipes)


def finish(process):
    """-> exit code and output; kills what hangs."""
    try:
        output, _ = process.communicate(timeout=240)
    finally:
        process.kill()
    return process.returncode, output


def test_two_processes_train_as_one(data, tmp_path):
    """The same losses and gradient norms at every step, and the same weights, but for the rounding of float32."""
    one, two = (start(how, data, tmp_path / name, LR) for how, name in ((ONE, "one"), (TWO, "two")))
    for process in (one, two):
        code, output = finish(process)
        assert code == 0, output
    for stage in ("teacher", "distil"):
        a, b = (read_curve(tmp_path / name / f"{stage}.curve.jsonl") for name in ("one", "two"))
        assert [row["step"] for row in a] == list(range(12))
        for x, y in zip(a, b, strict=True):
            del x["images_per_s"], y["images_per_s"]
            # The gradient has kinks (ReLU, the corners of GIoU): rounding may tip one over for a step.
            assert x.pop("grad_norm") == pytest.approx(y.pop("grad_norm"), rel=1e-2), stage
            assert x == pytest.approx(y, rel=1e-4), stage
    a, b = (load_torch(tmp_path / name / "models.pt") for name in ("one", "two"))
    begin = {"teacher": training.fresh().state_dict(), "student": training.fresh(depth=1).state_dict()}
    for model, weights in a.items():
        assert weights.keys() == begin[model].keys()  # no trace of the synchronised batch norm
        apart = sum((v - b[model][k]).abs().sum() for k, v in weights.items())
        moved = sum((v - begin[model][k]).abs().sum() for k, v in weights.items())
        assert apart < 1e-3 * moved


def test_a_process_that_fails_ends_all_with_its_sentence(data, tmp_path):
    """An image that cannot be read, met by either process in the middle of training."""
    broken = tmp_path / "broken"
    shutil.copytree(data, broken)
    sorted((broken / "images").glob("*train*") or (broken / "images").iterdir())[3].write_bytes(b"no image")
    code, output = finish(start(TWO, broken, tmp_path / "out"))
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert code != 0 and len(errors) == 1 and "train_000003.png: cannot read" in errors[0], output


def test_a_lost_process_ends_the_other(data, tmp_path):
    process = start(TWO, data, tmp_path / "out", VIT_PERCEPTION_SAVE_EVERY_S="0")
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "teacher.checkpoint.pt").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child(process.pid, "1"), signal.SIGKILL)
    code, output = finish(process)
    assert code != 0 and "Traceback" not in output.partition("torch/distributed/elastic")[0], output
    assert load_torch(tmp_path / "out" / "teacher.checkpoint.pt")["step"] > 0


def child(launcher: int, rank: str) -> int:
    """Process id of the worker of this rank."""
    for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        if f"RANK={rank}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return int(pid)
    raise AssertionError("no such process")


def test_a_batch_must_divide(data, tmp_path):
    three = [*TWO[:3], "--nproc_per_node=3", *TWO[4:]]
    code, output = finish(start(three, data, tmp_path / "out"))
    assert code != 0 and "error: teacher: a batch of 4 cannot be shared out among 3 processes" in output
