"""The run folder: what one `offline.compress` works on, remembers, and can go on from."""

import importlib.metadata
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vit_perception import __version__
from vit_perception.bundle import FORMAT, FORMAT_VERSION
from vit_perception.detector import Detections, Detector, Letterbox

from .augment import Loader
from .data import Dataset, detect_color, leak_warning, pixel_statistics, read_dataset, read_image, read_pair, unseen
from .data.twins import find_leak, fingerprints
from .errors import RecipeError
from .evaluate import detect, evaluate, make_detector, measure
from .files import load_torch, save_torch, write_json
from .model import ViTDetector, build_model
from .pretrained import Teacher, load_teacher
from .quantize import wanted_variants
from .recipe import Recipe
from .subsets import Grouping
from .targets import Target
from .teacher_cache import model_hash
from .working_point import score_at

log = logging.getLogger(__name__)
CALIBRATION_IMAGES = 32
STAGES_WITH_OPTIONS = ("pretrain", "teacher", "search", "distil", "prune", "lowrank", "quantise")


class Run:
    """State of one run.

    Attributes:
        folder, name, recipe, target, train_data, val_data (counts only `classes`), labels.
        also (list of Dataset): further validation sets; they are measured on and have no say in anything.
        input (dict): width, height, color, mean, std: the bundle's.
        notes (dict): figures that stages leave for the card; kept in run.json.
        source (Teacher): given with --teacher. answers: folder of the teacher's cached answers; runs may share one.
    """

    def __init__(self, folder: Path, name: str, recipe: Recipe, target: Target, train: Dataset, val: Dataset):
        self.folder, self.name, self.recipe, self.target = folder, name, recipe, target
        self.train_data, self.val_data, self.labels = train, val, train.labels
        self.also: list[Dataset] = []
        self.answers = folder / "answers"
        self.backbone: Path | None = None
        self.source: Teacher | None = None
        self.budget_ms: float | None = None
        self.min_map: float | None = None
        self.attribution = ""
        self.input: dict = {}
        self.identity: dict = {}
        self.notes: dict = {}
        self._found: dict[tuple[str, str], list[Detections]] = {}  # by hash of model and data: what need not run twice

    def seed(self, offset: int) -> int:
        """Seed torch for a stage, so that it starts alike in one sitting or after a resume; returns the seed."""
        seed = 1000 * self.recipe.seed + offset
        torch.manual_seed(seed)
        return seed

    def loader(self, offset: int, batch: int) -> Loader:
        """Training batches; each stage has its own offset, so that no two stages see the same crops."""
        c = self.recipe.crops
        seed = self.seed(offset)
        augmentation = (c.scale, c.mosaic, c.photometric, seed, c.objects, c.pasted, c.close)
        return Loader(self.train_data, self.input, c.size, batch, *augmentation)

    def calibration(self) -> list[np.ndarray]:
        """Whole training images as the node would feed them: float32 (1, C, H, W), spread over the set."""
        letterbox = Letterbox(self.input)
        order = "mono" if self.input["color"] == "gray" else "rgb"
        samples = self.train_data.spread(CALIBRATION_IMAGES).samples
        images = (read_image(s, self.input["color"]) for s in samples)
        return [letterbox(image, order)[0].copy() for image in images]

    def score(self, engine, strides: list[int], label: str, images: int = 0) -> dict:
        """COCO figures of an engine on the validation images (or `images` of them, evenly spread), by onboard code."""
        data = self.val_data.spread(images)
        metrics = evaluate(self.detector(engine, strides), self.labels, self.input["color"], data, f"evaluate {label}")
        log.info("%s: mAP %.3f, mAP50 %.3f", label, metrics["map"], metrics["map50"])
        return metrics

    def detector(self, engine, strides: list[int]) -> Detector:
        """The onboard detector around one of the run's models, to measure it."""
        return make_detector(engine, self.labels, self.input, strides, self.thresholds())

    def thresholds(self) -> dict:
        """The bundle's: score and weak_score (as soon as they are, the chosen ones), nms_iou, max_detections."""
        t = self.recipe.thresholds
        scores = {"score": t.score, "weak_score": t.weak_score or t.score} | self.notes.get("scores", {})
        return scores | {"nms_iou": t.nms_iou, "max_detections": t.max_detections}

    def choose_scores(self, identity: str, engine, strides: list[int]) -> None:
        """Where the recipe says how many false positives are allowed: find the scores that do it, on val_data.

        identity: as `measure` will be told of the same model.
        """
        t = self.recipe.thresholds
        allowed = {"score": t.fp_per_image, "weak_score": t.weak_fp_per_image}
        self.notes["scores"] = {}
        if any(allowed.values()):
            detector = self.detector(engine, strides)
            results = detect(detector, self.labels, self.input["color"], self.val_data, "choose the scores")
            self._found[identity, self.val_data.sha256] = results
            chosen = {k: score_at(self.val_data, results, rate) for k, rate in allowed.items() if rate}
            self.note("scores", chosen)
            log.info("scores for at most %s false positives per image of %s: %s", allowed, self.val_data.name, chosen)

    def measure(self, name: str, identity: str, open_engine: Callable[[], Any], strides: list[int]) -> None:
        """Note all figures of a stage or file on every validation set: `NAME.metrics`, and `NAME.also` by set.

        What has been measured once is not measured again, whatever it was called then: `identity` is its hash.
        """
        measured = dict(self.notes.get("measured", {}))
        card, engine, figures = self.recipe.card, None, []
        for data in (self.val_data, *self.also):
            score = self.thresholds()["score"]
            key = f"{identity[:16]} on {data.sha256[:16]} at {score} by {card.groups} {card.bands}"
            if key not in measured:
                engine = engine or open_engine()
                detector, grouping = self.detector(engine, strides), Grouping(card.groups, card.bands)
                label = f"{name} on {data.name}"
                found = self._found.get((identity, data.sha256))
                measured[key] = measure(detector, self.labels, self.input["color"], data, score, grouping, label, found)
                self.note("measured", measured)
            log.info("%s on %s: mAP %.3f, mAP50 %.3f", name, data.name, measured[key]["map"], measured[key]["map50"])
            figures.append(measured[key])
        self.note(f"{name}.metrics", figures[0])
        self.note(f"{name}.also", {data.name: f for data, f in zip(self.also, figures[1:], strict=True)})

    def figures(self, name: str) -> dict[str, dict]:
        """{validation set: what `measure` noted of `name` on it}, the one that the choices were made on first."""
        return {self.val_data.name: self.notes[f"{name}.metrics"]} | self.notes.get(f"{name}.also", {})

    def leaks(self) -> dict[str, dict]:
        """{validation set: {"images", "twins", "copies"}}: how many nearly, and exactly, are training images."""
        known, prints = dict(self.notes.get("leaks", {})), None
        for data in (self.val_data, *self.also):
            if data.name not in known:
                prints = prints or fingerprints([s.path for s in self.train_data.samples])
                leak = find_leak(prints, fingerprints([s.path for s in data.samples]))
                known[data.name] = {"images": leak.images, "twins": len(leak.pairs), "copies": leak.copies}
                self.note("leaks", known)
        return {data.name: known[data.name] for data in (self.val_data, *self.also)}

    def manifest(self) -> dict:
        """bundle.json, with what is known so far."""
        files = self.notes["export"]["files"]
        sets = {v: self.figures(v) for v in files if f"{v}.metrics" in self.notes}
        measured = [  # on val first
            {"variant": v, "data": name, "training_images": self.notes.get("leaks", {}).get(name, {}).get("copies")}
            | {k: value for k, value in sets[v][name].items() if k != "curves" and (k != "groups" or v == "fp32")}
            for name in dict.fromkeys(name for s in sets.values() for name in s)
            for v in sets
        ]
        config = self.load("quantise").config()
        versions = {m: importlib.metadata.version(m) for m in ("torch", "onnx", "onnxruntime", "numpy")}
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "labels": self.labels,
            "input": self.input,
            "head": {"strides": config["strides"]},
            "thresholds": self.thresholds(),
            "files": files,
            "operators": self.notes["export"]["operators"],
            "fp32_layers": self.notes.get("fp32_layers", []),
            "fp16_refused": self.notes.get("fp16_refused", ""),
            "metrics": measured,
            "made": self.identity
            | {"model": config, "also": [{"name": d.name, "sha256": d.sha256} for d in self.also]}
            | {"seconds": self.notes["seconds"], "versions": versions | {"vit_perception": __version__}},
        }

    def log(self) -> str:
        """What the run has said so far, of the lines that only tell progress every tenth."""
        lines = (self.folder / "log.txt").read_text(encoding="utf-8").splitlines()
        progress = [i for i, line in enumerate(lines) if ", eta " in line]
        dull = set(progress) - set(progress[::10])
        return "".join(f"{line}\n" for i, line in enumerate(lines) if i not in dull)

    def has(self, stage: str) -> bool:
        return (self.folder / f"{stage}.pt").is_file()

    def begun(self, stage: str) -> bool:
        return self.has(stage) or self.checkpoint(stage).is_file()

    def save(self, stage: str, model: ViTDetector) -> None:
        """Keep the model that `stage` ended with; its checkpoint is no longer needed."""
        state = {"config": model.config(), "weights": model.state_dict()}
        save_torch(self.folder / f"{stage}.pt", state | {"labels": self.labels, "input": self.input})
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
    wanted = args.classes.split(",") if args.classes else None
    train, val = read_pair(args.data, args.train, args.val, args.format, ignore, wanted)
    wanted_variants(target, recipe.quantise.int8, recipe.quantise.tensorrt)  # refuses what cannot be
    folder = args.run or Path("out/runs") / args.out.name
    run = Run(folder, args.out.name, recipe, target, train, val)
    run.also = [read_dataset(args.data, name, args.format, ignore, val.labels) for name in args.also]
    without = {}
    if args.unseen:
        train = run.train_data = unseen(train, [val, *run.also])
        without = {"without": [data.name for data in (val, *run.also)]}
    for data in (val, *run.also):
        Grouping(recipe.card.groups, recipe.card.bands).split(data)  # refuses what their file names do not say
    run.backbone, run.attribution = args.backbone, args.attribution or recipe.card.attribution
    run.budget_ms, run.min_map = args.budget_ms, args.min_map
    run.input = _input(run)
    if args.teacher:
        _take_teacher(run, args.teacher)
    run.identity = {
        "recipe": recipe.as_dict(),
        "recipe_name": Path(args.recipe).name,
        "target": target.name,
        "train": {"name": train.name, "sha256": train.sha256, "ignore": list(ignore)} | without,
        "val": {"name": val.name, "sha256": val.sha256, "classes": val.labels},
        "backbone": args.backbone.name if args.backbone else None,
        "teacher": {"file": args.teacher.name, "sha256": model_hash(run.source.model)} if run.source else None,
        "goal": {"budget_ms": args.budget_ms, "min_map": args.min_map},
        "input": run.input,
    }
    _open_folder(run, resume=args.resume)
    handler = logging.FileHandler(folder / "log.txt")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger().addHandler(handler)
    log.info("%s", train.summary())
    for data in (val, *run.also):
        log.info("%s", data.summary())
    for line in train.table():
        log.info("%s", line)
    for data in () if args.resume else (val, *run.also):
        if leak := leak_warning(train, data):
            log.warning("%s", leak)
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
    for group in ("card", "thresholds"):  # they train nothing
        before.get("recipe", {})[group] = now["recipe"][group]
    changed = [k for k, v in now.items() if before.get(k) != v]
    if changed:
        raise RecipeError(
            f"cannot resume {run.folder}: {', '.join(changed)} changed since it was begun; name another with --run"
        )


def _take_teacher(run: Run, path: Path) -> None:
    """The teacher that is given, and pixels as it knows them: the student sees what its teacher sees."""
    if run.backbone:
        raise RecipeError(
            "--backbone starts the training of a teacher, --teacher brings a trained one; give one of them"
        )
    run.source = load_teacher(path, run.labels, len(run.input["mean"]))
    run.input |= {k: run.source.input[k] for k in ("mean", "std")} if run.source.input else {}


def _input(run: Run) -> dict:
    """The model's input: as the recipe says, or the largest training image rounded up to what the strides need."""
    size, color = run.recipe.input.size, run.recipe.input.color
    if size == "auto":
        size = [-(-max(getattr(s, k) for s in run.train_data.samples) // 32) * 32 for k in ("width", "height")]
    color = detect_color(run.train_data) if color == "auto" else color
    mean, std = pixel_statistics(run.train_data, color)
    return {"width": size[0], "height": size[1], "color": color, "mean": mean, "std": std}
