"""The figures of every training step: loss curves for TensorBoard, and as JSON lines for the report."""

import json
import logging
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from ..files import write_text

log = logging.getLogger(__name__)


class Curve:
    """Figures of a training, written to FOLDER/LABEL.curve.jsonl and FOLDER/tensorboard/LABEL.

    A line holds `step` (from 0), every loss of the whole batch, `lr`, `grad_norm` before clipping, and `images_per_s`.

    Args:
        start: first step that will be added. What an earlier sitting wrote from there on is dropped, since the steps
            after its last checkpoint are done again.
    """

    def __init__(self, folder: Path, label: str, start: int):
        path = folder / f"{label}.curve.jsonl"
        write_text(path, "".join(json.dumps(row) + "\n" for row in read_curve(path) if row["step"] < start))
        self._lines = path.open("a", encoding="utf-8", buffering=1)  # lines can be watched
        self._board = SummaryWriter(str(folder / "tensorboard" / label), purge_step=start)

    def __enter__(self) -> "Curve":
        return self

    def __exit__(self, *exc) -> None:
        self._lines.close()
        self._board.close()

    def add(self, step: int, figures: dict[str, float]) -> None:
        self._lines.write(json.dumps({"step": step} | {k: float(f"{v:.6g}") for k, v in figures.items()}) + "\n")
        for name, value in figures.items():
            self._board.add_scalar(name, value, step)

    def flush(self) -> None:
        """Before a checkpoint: what it will not do again must be on disk."""
        self._board.flush()


def read_curve(path: Path) -> list[dict[str, float]]:
    """The lines of a curve file, [] if there is none. A last line that a kill cut short is left out."""
    rows: list[dict[str, float]] = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                log.warning("%s: line %d is cut short, dropped", path, len(rows) + 1)
                break
    return rows
