"""Train a tiny detector on rendered flights, then a student under it: `python training.py DATA OUT [LR]`, for tests."""

import os
import sys
import threading
import time
from pathlib import Path

import torch

from offline.data import read_coco
from offline.errors import one_sentence
from offline.files import save_torch
from offline.model.detector import build_model
from offline.training.augment import Loader
from offline.training.curve import read_curve
from offline.training.distill import Distiller
from offline.training.distributed import data_parallel
from offline.training.train import Schedule, train

SMALL = {"stem": [8, 8, 16, 16], "dim": 64, "depth": 2, "heads": 1, "mlp": 64, "neck": 16, "classes": 3, "channels": 1}
SPEC = {"color": "gray", "mean": [0.4], "std": [0.2]}


def schedule(**options) -> Schedule:
    return Schedule(**{"epochs": 0, "min_steps": 12, "batch": 4, "warmup": 2} | options)


def loader(data: Path, batch: int = 4) -> Loader:
    coco = read_coco(data, "train.json", ("DontCare",))
    return Loader(coco, SPEC, (96, 64), batch, (0.7, 1.5), mosaic=0.5, photometric=1.0, seed=3)


def fresh(**options):
    torch.manual_seed(0)
    return build_model(SMALL | options)


def interrupt_when(condition, number):
    """Send this process a signal as soon as condition() holds."""

    def wait():
        while not condition():
            time.sleep(0.005)
        os.kill(os.getpid(), number)

    threading.Thread(target=wait, daemon=True).start()


def same(a, b):
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def figures(path):
    return [{k: v for k, v in row.items() if k != "images_per_s"} for row in read_curve(path)]


@data_parallel
@one_sentence
def main(data: str, out: str, lr: str = "1e-3") -> None:
    folder, plan = Path(out), schedule(lr=float(lr))
    teacher = train(fresh(), loader(Path(data), plan.batch), plan, folder / "teacher.checkpoint.pt", "teacher")
    student = fresh(depth=1)
    weights = {"response": 1.0, "feature": 1.0, "relation": 1.0, "attention": 1.0}
    distiller = Distiller(student, teacher, **weights)
    train(student, loader(Path(data), plan.batch), plan, folder / "distil.checkpoint.pt", "distil", distiller)
    save_torch(folder / "models.pt", {"teacher": teacher.state_dict(), "student": student.state_dict()})


if __name__ == "__main__":
    main(*sys.argv[1:])
