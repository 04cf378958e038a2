"""Every bundle that ships: it opens, computes what it did when it was made, and still finds what its card says."""

from pathlib import Path

import numpy as np
import pytest

from offline.boards.targets import find_target
from offline.data import read_coco
from offline.evaluation.accuracy import EVALUATION_SCORE, evaluate
from offline.export.contract import ONNXRUNTIME_INT8, TENSORRT_8_2, check_contract
from vit_perception.bundles.bundle import open_bundle
from vit_perception.bundles.golden import OUTPUTS, prove
from vit_perception.detector import Detector
from vit_perception.engines import open_engine
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

MODELS = Path(__file__).resolve().parents[2] / "models"
BUNDLES = sorted(p.parent for p in MODELS.glob("*/bundle.json"))


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda p: p.name)
def test_shipped_bundles_are_whole_and_compute_their_golden_outputs(folder):
    bundle = open_bundle(folder)
    assert bundle.name == folder.name and (folder / "CARD.md").is_file()
    assert bundle.metrics and bundle.made["recipe"]
    golden = np.load(bundle.file("golden"))
    for variant in ("fp32", "int8"):
        check_contract(Path(bundle.file(variant)), TENSORRT_8_2 | (ONNXRUNTIME_INT8 if variant == "int8" else set()))
        engine = open_engine(bundle, "onnxruntime", variant)
        prove(engine, bundle)  # int8 too against the master: scores within .20, boxes of the best points within IoU .50
        for i, image in enumerate(golden["images"].astype(np.float32)):
            outputs = engine.infer(image[None])
            for name in OUTPUTS[bundle.task]:
                right = golden[name][i].astype(np.float32)  # squares of many logits overflow float16
                difference = outputs[name][0] - right
                part = np.linalg.norm(difference) / np.linalg.norm(right)
                assert part <= (1e-3 if variant == "fp32" else 0.1), (variant, name, i)


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda p: p.name)
def test_files_for_tensorrt_prove_themselves(folder):
    """On ONNX Runtime's CPU, as TensorRT is not here: the graph computes what was evaluated."""
    bundle = open_bundle(folder)
    for variant in set(bundle.variants) - {"fp32", "int8"}:
        precision = bundle.manifest["files"][variant]["precision"]
        engine = OnnxRuntimeEngine(bundle.read(variant), precision, rounded=precision == "int8")
        prove(engine, bundle, variant)
        engine.close()
        assert [m for m in bundle.metrics if m["variant"] == variant], f"{variant} was never measured"


def test_the_repository_stays_small():
    assert sum(p.stat().st_size for p in MODELS.rglob("*") if p.is_file()) < 40e6


def test_the_thermal_bundle_finds_people_and_cars_in_real_images(shared_data):
    bundle = open_bundle(MODELS / "uav_thermal")
    data = read_coco(shared_data / "hit_uav", "val_flights.json", ("DontCare",), ["Person", "Car", "Bicycle"])
    data.samples = data.samples[::8]
    engine = open_engine(bundle)
    metrics = evaluate(Detector(bundle, engine, EVALUATION_SCORE), bundle.labels, bundle.input["color"], data)
    published = next(m for m in bundle.metrics if m["variant"] == "fp32")
    assert metrics["map50"] > published["map50"] - 0.1  # every eighth frame: a part of the set scatters


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda p: p.name)
def test_cards_say_what_their_bundle_and_the_targets_say(folder):
    bundle, card = open_bundle(folder), (folder / "CARD.md").read_text()
    assert find_target(bundle.made["target"]).why in card
    missing = [m for m in bundle.metrics for remark in m.get("remarks", []) if remark not in card]
    assert not missing
