"""The run folder: what one `offline.compress` works on, remembers, and can go on from; stages/preflight.py opens it."""

import importlib.metadata
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vit_perception import __version__
from vit_perception.bundles.bundle import FORMAT
from vit_perception.bundles.manifest import FORMAT_VERSION, SEGMENTATION_VERSION
from vit_perception.detector import Detections, Detector

from ..boards.targets import Target
from ..compression.calibration import calibration_images
from ..data import Dataset, model_sizes
from ..data.masks import pixel_counts
from ..data.masks.table import IGNORE
from ..data.near_duplicates import find_leak, fingerprints
from ..errors import DataError
from ..evaluation.accuracy import detect, evaluate, make_detector, measure
from ..evaluation.segmentation import Segmenter, beside_boxes, in_words, measure_masks
from ..evaluation.subsets import Grouping
from ..evaluation.working_point import score_at
from ..files import load_torch, save_torch, write_json
from ..model.detector import ViTDetector, build_model
from ..model.pretrained import Backbone, Teacher
from ..training.augment import Loader
from ..training.dense_loss import DenseLoss, class_weights
from .recipe import Recipe

log = logging.getLogger(__name__)


class Run:
    """State of one run.

    Attributes:
        folder, name, recipe, target, train_data, val_data (counts only `classes`), labels.
        also (list of Dataset): further validation sets; they are measured on and have no say in anything.
        input (dict): width, height, color, mean, std: the bundle's.
        notes (dict): figures that stages leave for the card; kept in run.json.
        source, start (Teacher): given with --teacher, and with --student.
        specialists (list of Teacher): those that `taught_by` of a set names, in the order of train_data.specialists().
        answers: folder of the teacher's cached answers; runs may share one.
    """

    def __init__(self, folder: Path, name: str, recipe: Recipe, target: Target, train: Dataset, val: Dataset):
        self.folder, self.name, self.recipe, self.target = folder, name, recipe, target
        self.train_data, self.val_data, self.labels = train, val, train.labels
        self.segments: list[str] = train.segments  # classes of the masks
        self.also: list[Dataset] = []
        self.answers = folder / "answers"
        self.backbone: Backbone | None = None
        self.source: Teacher | None = None
        self.start: Teacher | None = None
        self.specialists: list[Teacher] = []
        self.budget_ms: float | None = None
        self.min_map: float | None = None
        self.attribution = ""
        self.origins: list[dict] = []  # what was trained before, and on what, see `origins_of`
        self.changed: list[str] = []  # what --set made other than the recipe has it
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
        augmentation = (c.scale, c.mosaic, c.photometric, seed, c.objects, c.pasted, c.close, c.sensor)
        return Loader(self.train_data, self.input, c.size, batch, *augmentation, dense=self.dense())

    def dense(self) -> DenseLoss | None:
        """What is asked of the dense head; None without masks."""
        if not self.segments:
            return None
        if "pixels" not in self.notes:
            pixels = pixel_counts(self.train_data)
            if not pixels.any():
                raise DataError(f"no pixel of the masks of {self.train_data.name} is of a class; correct them")
            self.note("pixels", pixels.tolist())
        m = self.recipe.masks
        return DenseLoss(class_weights(self.notes["pixels"], m.weights), m.focal, m.dice, m.share, m.temperature)

    def calibration(self) -> list[np.ndarray]:
        """See compression/calibration.py."""
        return calibration_images(self.train_data, self.input, self.recipe.crops.sensor.invert > 0)

    def score(self, engine, strides: list[int], label: str, images: int = 0) -> dict:
        """Figures of an engine on the validation images (or `images` of them, evenly spread), by onboard code: COCO's
        of a detector, and what `measure_masks` returns of a dense head."""
        data, found = self.val_data.spread(images), {}
        if self.segments:
            found = measure_masks(Segmenter(engine, self.input), data, f"evaluate {label}")
        if self.labels:
            detector = self.detector(engine, strides)
            boxes = evaluate(detector, self.labels, self.input["color"], data, f"evaluate {label}")
            found = boxes | beside_boxes(found)
        log.info("%s: %s", label, in_words(found))
        return found

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
        if self.labels and any(allowed.values()):
            detector = self.detector(engine, strides)
            results = detect(detector, self.labels, self.input["color"], self.val_data, "choose the scores")
            self._found[identity, self.val_data.sha256] = results
            chosen = {k: score_at(self.val_data, results, rate) for k, rate in allowed.items() if rate}
            score = chosen.get("score", t.score)
            if "weak_score" not in chosen and t.weak_score > score:
                text = "thresholds.weak_score %s is over the chosen score: lowered to it, %s"
                log.warning(text, t.weak_score, score)
                chosen["weak_score"] = score
            if "score" in chosen and not t.weak_score:
                chosen.setdefault("weak_score", chosen["score"])  # 0: the same
            self.note("scores", chosen)
            log.info("scores for at most %s false positives per image of %s: %s", allowed, self.val_data.name, chosen)

    def measure(self, name: str, identity: str, open_engine: Callable[[], Any], strides: list[int]) -> None:
        """Note all figures of a stage or file on every validation set: `NAME.metrics`, and `NAME.also` by set.

        What has been measured once is not measured again, whatever it was called then: `identity` is its hash.
        """
        measured = dict(self.notes.get("measured", {}))
        card, engine, figures = self.recipe.card, None, []
        for data in (self.val_data, *self.also):
            limits = self.thresholds()
            score, others = limits["score"], f"{limits['nms_iou']} {limits['max_detections']}"
            key = f"{identity[:16]} on {data.sha256[:16]} at {score} {others} by {card.groups} {card.bands}"
            if key not in measured:
                engine = engine or open_engine()
                measured[key] = self._figures(f"{name} on {data.name}", identity, engine, strides, data)
                self.note("measured", measured)
            log.info("%s on %s: %s", name, data.name, in_words(measured[key]))
            figures.append(measured[key])
        self.note(f"{name}.metrics", figures[0])
        self.note(f"{name}.also", {data.name: f for data, f in zip(self.also, figures[1:], strict=True)})

    def _figures(self, label: str, identity: str, engine, strides: list[int], data: Dataset) -> dict:
        masks = measure_masks(Segmenter(engine, self.input), data, label) if self.segments else {}
        if not self.labels:
            return masks
        detector, grouping, score = self.detector(engine, strides), self.grouping(data), self.thresholds()["score"]
        found = self._found.get((identity, data.sha256))
        boxes = measure(detector, self.labels, self.input["color"], data, score, grouping, label, found)
        return boxes | beside_boxes(masks)

    def grouping(self, data: Dataset) -> Grouping:
        """How the card's figures on `data` are grouped: not at all where no file name says what the recipe asks."""
        grouping = Grouping(self.recipe.card.groups, self.recipe.card.bands)
        return grouping if grouping.fits(data) else Grouping()

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

    def object_px(self) -> dict[str, list[float]]:
        """Sizes of the objects it was trained on, as `model_sizes` tells them."""
        return model_sizes(self.train_data, self.input["width"], self.input["height"])

    def manifest(self) -> dict:
        """bundle.json, with what is known so far."""
        files = self.notes["export"]["files"]
        sets = {v: self.figures(v) for v in files if f"{v}.metrics" in self.notes}
        measured = [  # on val first
            {"variant": v, "data": name, "training_images": self.notes.get("leaks", {}).get(name, {}).get("copies")}
            | {
                k: value
                for k, value in sets[v][name].items()
                if k not in ("curves", "mask_confusion") and (k != "groups" or v == "fp32")
            }
            for name in dict.fromkeys(name for s in sets.values() for name in s)
            for v in sets
        ]
        config = self.load("quantise").config()
        also = [{"name": d.name, "sha256": d.sha256} for d in self.also]
        versions = {m: importlib.metadata.version(m) for m in ("torch", "onnx", "onnxruntime", "numpy")}
        return self.about() | {
            "input": self.input | ({"look": self.notes["look"]} if "look" in self.notes else {}),
            **self.heads(config["strides"]),
            "files": files,
            "operators": self.notes["export"]["operators"],
            "fp32_layers": self.notes.get("fp32_layers", []),
            "fp16_refused": self.notes.get("fp16_refused", ""),
            "metrics": measured,
            "made": self.identity
            | {"changed": self.changed, "model": config, "also": also}
            | self.sources()
            | {"seconds": self.notes["seconds"], "versions": versions | {"vit_perception": __version__}},
        }

    def sources(self) -> dict:
        """Whose data it was trained on, and so were the models that it goes back to, as `origins_of` reads it."""
        return {"attribution": self.attribution, "origins": self.origins}

    def about(self) -> dict:
        """How bundle.json begins. A bundle that only detects is written as it always was."""
        task = {"task": self.recipe.task} if self.segments else {}
        version = SEGMENTATION_VERSION if self.segments else FORMAT_VERSION
        return {"format": FORMAT, "format_version": version, "name": self.name} | task | {"labels": self.labels}

    def heads(self, strides: list[int]) -> dict:
        """What bundle.json says of what the model gives; strides: of its heads, the dense one is on the finest."""
        dense = {
            "labels": self.segments,
            "colors": [list(c) for c in self.train_data.colors],
            "stride": min(strides),
            "ignore": IGNORE,
        }
        found = {"segmentation": dense} if self.segments else {}
        if not self.labels:
            return found
        return {"object_px": self.object_px(), "head": {"strides": strides}, "thresholds": self.thresholds()} | found

    def log(self) -> str:
        """What the run has said so far, of the lines that only tell progress every tenth."""
        lines = (self.folder / "log.txt").read_text(encoding="utf-8").splitlines()
        progress = [i for i, line in enumerate(lines) if ", eta " in line]
        dull = set(progress) - set(progress[::10])
        return "".join(f"{line}\n" for i, line in enumerate(lines) if i not in dull)

    def has(self, stage: str) -> bool:
        return (self.folder / f"{stage}.pt").is_file()

    def begun(self, stage: str) -> bool:
        """Whether any of its work is kept: its model, those of its rounds (prune1) or candidates, or a checkpoint."""
        tried = stage == "search" and "candidates" in self.notes  # those out of reach left no file
        return tried or any(self.folder.glob(f"{stage}[-.0-9]*pt"))

    def save(self, stage: str, model: ViTDetector) -> None:
        """Keep the model that `stage` ended with; its checkpoint is no longer needed."""
        state = {"config": model.config(), "weights": model.state_dict()}
        state |= {"labels": self.labels, "input": self.input, "segments": self.segments}
        state |= {"backbone": self.identity.get("backbone"), "train": self.identity.get("train")}
        save_torch(self.folder / f"{stage}.pt", state | self.sources())
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
