"""The run folder: what one `offline.compress` works on, remembers, and can go on from."""

import importlib.metadata
import json
import logging
from pathlib import Path

import numpy as np
import torch

from vit_perception import __version__
from vit_perception.bundle import FORMAT, FORMAT_VERSION
from vit_perception.detector import Letterbox

from .augment import Loader
from .data import Dataset, detect_color, pixel_statistics, read_coco, read_image
from .errors import RecipeError
from .files import load_torch, save_torch, write_json
from .model import ViTDetector, build_model
from .recipe import Recipe
from .targets import Target

log = logging.getLogger(__name__)
CALIBRATION_IMAGES = 32
STAGES_WITH_OPTIONS = ("teacher", "distil", "prune", "lowrank")


class Run:
    """State of one run.

    Attributes:
        folder, name, recipe, target, train_data, val_data (counts only `classes`), labels.
        input (dict): width, height, color, mean, std: the bundle's.
        notes (dict): figures that stages leave for the card; kept in run.json.
    """

    def __init__(self, folder: Path, name: str, recipe: Recipe, target: Target, train: Dataset, val: Dataset):
        self.folder, self.name, self.recipe, self.target = folder, name, recipe, target
        self.train_data, self.val_data, self.labels = train, val, train.labels
        self.backbone: Path | None = None
        self.attribution = ""
        self.input: dict = {}
        self.identity: dict = {}
        self.notes: dict = {}

    def seed(self, offset: int) -> int:
        """Seed torch for a stage, so that it starts alike in one sitting or after a resume; returns the seed."""
        seed = 1000 * self.recipe.seed + offset
        torch.manual_seed(seed)
        return seed

    def loader(self, offset: int, batch: int) -> Loader:
        """Training batches; each stage has its own offset, so that no two stages see the same crops."""
        c = self.recipe.crops
        seed = self.seed(offset)
        return Loader(self.train_data, self.input, c.size, batch, c.scale, c.mosaic, c.photometric, seed)

    def calibration(self) -> list[np.ndarray]:
        """Whole training images as the node would feed them: float32 (1, C, H, W), spread over the set."""
        letterbox = Letterbox(self.input)
        order = "mono" if self.input["color"] == "gray" else "rgb"
        picks = np.linspace(0, len(self.train_data) - 1, min(CALIBRATION_IMAGES, len(self.train_data))).astype(int)
        images = (read_image(self.train_data.samples[i], self.input["color"]) for i in picks)
        return [letterbox(image, order)[0].copy() for image in images]

    def manifest(self) -> dict:
        """bundle.json, with what is known so far."""
        files = self.notes["export"]["files"]
        measured = [
            {"variant": v, "data": self.val_data.name} | self.notes[f"{v}.metrics"]
            for v in files
            if f"{v}.metrics" in self.notes
        ]
        versions = {m: importlib.metadata.version(m) for m in ("torch", "onnx", "onnxruntime", "numpy")}
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "labels": self.labels,
            "input": self.input,
            "head": {"strides": self.load("lowrank").config()["strides"]},
            "thresholds": vars(self.recipe.thresholds),
            "files": files,
            "operators": self.notes["export"]["operators"],
            "metrics": measured,
            "made": self.identity
            | {"seconds": self.notes["seconds"], "versions": versions | {"vit_perception": __version__}},
        }

    def has(self, stage: str) -> bool:
        return (self.folder / f"{stage}.pt").is_file()

    def begun(self, stage: str) -> bool:
        return self.has(stage) or self.checkpoint(stage).is_file()

    def save(self, stage: str, model: ViTDetector) -> None:
        """Keep the model that `stage` ended with; its checkpoint is no longer needed."""
        save_torch(self.folder / f"{stage}.pt", {"config": model.config(), "weights": model.state_dict()})
        self.checkpoint(stage).unlink(missing_ok=True)

    def load(self, stage: str) -> ViTDetector:
        state = load_torch(self.folder / f"{stage}.pt")
        model = build_model(state["config"])
        model.load_state_dict(state["weights"])
        return model.eval()

    def checkpoint(self, stage: str) -> Path:
        return self.folder / f"{stage}.checkpoint.pt"

    def note(self, key: str, value) -> None:
        """Remember a figure across a resume."""
        self.notes[key] = value
        write_json(self.folder / "run.json", {"identity": self.identity, "notes": self.notes})

    def spent(self, stage: str, seconds: float) -> None:
        """Add to the time that a stage took, over all the sittings it needed."""
        spent = dict(self.notes.get("seconds", {}))
        spent[stage] = round(spent.get(stage, 0) + seconds, 1)
        self.note("seconds", spent)


def open_run(args, recipe: Recipe, target: Target) -> Run:
    """Check everything that can be checked before the work starts, and open or resume the run folder.

    Raises:
        DataError, RecipeError: with one sentence.
    """
    ignore = tuple(args.ignore)
    train = read_coco(args.data, args.train, ignore)
    wanted = args.classes.split(",") if args.classes else train.labels
    val = read_coco(args.data, args.val, ignore, wanted)
    for c in wanted:
        if c not in train.labels:
            raise RecipeError(
                f"--classes names '{c}', which {train.name} does not train; it trains: {', '.join(train.labels)}"
            )
    folder = args.run or Path("out/runs") / args.out.name
    run = Run(folder, args.out.name, recipe, target, train, val)
    run.backbone, run.attribution = args.backbone, args.attribution
    run.input = _input(run)
    run.identity = {
        "recipe": recipe.as_dict(),
        "recipe_name": Path(args.recipe).name,
        "target": target.name,
        "train": {"name": train.name, "sha256": train.sha256, "ignore": list(ignore)},
        "val": {"name": val.name, "sha256": val.sha256, "classes": val.labels},
        "backbone": args.backbone.name if args.backbone else None,
        "input": run.input,
    }
    _open_folder(run, resume=args.resume)
    handler = logging.FileHandler(folder / "log.txt")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger().addHandler(handler)
    log.info("%s", train.summary())
    log.info("%s", val.summary())
    return run


def _open_folder(run: Run, resume: bool) -> None:
    state = run.folder / "run.json"
    if not state.is_file():
        run.folder.mkdir(parents=True, exist_ok=True)
        run.note("seconds", {})
        return
    if not resume:
        raise RecipeError(
            f"{run.folder} holds an earlier run; add --resume to go on with it, or name another folder with --run"
        )
    try:
        old = json.loads(state.read_text(encoding="utf-8"))
        before, run.notes = old["identity"], old["notes"]
    except (ValueError, KeyError, TypeError) as e:
        raise RecipeError(f"{state} is not the record of a run ({e}); name another folder with --run") from e
    now = json.loads(json.dumps(run.identity))
    for stage in STAGES_WITH_OPTIONS:  # what has not begun may still be changed
        if not run.begun(stage):
            before.get("recipe", {})[stage] = now["recipe"][stage]
    changed = [k for k, v in now.items() if before.get(k) != v]
    if changed:
        raise RecipeError(
            f"cannot resume {run.folder}: {', '.join(changed)} changed since it was begun; name another with --run"
        )


def _input(run: Run) -> dict:
    """The model's input: as the recipe says, or the largest training image rounded up to what the strides need."""
    size, color = run.recipe.input.size, run.recipe.input.color
    if size == "auto":
        size = [-(-max(getattr(s, k) for s in run.train_data.samples) // 32) * 32 for k in ("width", "height")]
    color = detect_color(run.train_data) if color == "auto" else color
    mean, std = pixel_statistics(run.train_data, color)
    return {"width": size[0], "height": size[1], "color": color, "mean": mean, "std": std}
