"""bench/models.py: the table of a tiny bundle and of another detector, and the size of what is timed beside them."""

import importlib
import json
import shutil

import onnx
import pytest
import torch
from bundles import write_bundle
from commands import ROOT

from bench.parts.conv_proxy import GMAC, PARAMETERS, ConvDetector, write_proxy
from offline.boards.layers import layers_of_onnx, total_macs
from offline.data import read_coco
from offline.model.detector import count_parameters
from offline.render import write_dataset


@pytest.fixture
def table(monkeypatch, capsys):
    """Runs the command in this process; returns (its figures, its table by the first word of each line)."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    main = importlib.import_module("models").main

    def run(*arguments):
        main(["--no-proxy", *map(str, arguments)])
        lines = capsys.readouterr().out.splitlines()
        return json.loads(lines[-1]), {line.split("  ")[0]: line for line in lines[:-1]}

    return run


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    return write_proxy(tmp_path_factory.mktemp("proxy") / "other.onnx", 96, 64)


def test_the_proxy_has_the_published_size(tmp_path):
    assert count_parameters(ConvDetector()) == pytest.approx(PARAMETERS, rel=0.02)
    macs = total_macs(layers_of_onnx(write_proxy(tmp_path / "full.onnx", 640, 640)))
    assert macs == pytest.approx(1e9 * GMAC, rel=0.02)


def test_bundles_and_other_detectors_stand_in_one_table(tmp_path, proxy, table):
    metrics = {"variant": "fp32", "data": "some/val.json", "map": 0.25, "map50": 0.5, "training_images": 2}
    metrics["recall_at"] = {"fp_per_image": 0.5, "per_class": {"Person": {"recall": 0.125, "score": 0.3}}}
    write_bundle(tmp_path / "tiny", metrics=[metrics])
    (tiny, other), lines = table("--quick", "--models", tmp_path, "--onnx", proxy)
    assert (tiny["name"], tiny["input"], other["name"], other["input"]) == ("tiny", "96x64x1", "other", "96x64x3")
    assert (tiny["map50_val"], tiny["map_val"], tiny["training_images_val"]) == (0.5, 0.25, 2)
    assert tiny["recall_val"] == {"Person": 0.125} and tiny["map50_val_flights"] is None and other["map50_val"] is None
    for row in (tiny, other):
        assert 0 < row["least_1t_fp32"] <= row["ms_1t_fp32"] and row["ms_2t_fp32"] > 0 and row["rss_mb"] > 20
        assert row["orin_nano_fps_predicted"] > 0 and row["nano_fps_predicted"] > 0 and 0 < row["nano_fps_error"] < 1
        assert row["ms_1t_int8"] is None
    assert "+-" in lines["nano FPS, predicted"] and "0.125" in lines["recall_val Person"]


def test_accuracy_is_measured_where_there_is_data(tmp_path, table):
    write_dataset(tmp_path / "data", "thermal", train=2, val=3, size=(96, 64), seed=1)
    data = tmp_path / "data"
    shutil.copy(data / "train.json", data / "other.json")
    train = read_coco(data, "train.json", ("DontCare",))
    made = {"train": {"name": train.name, "sha256": train.sha256, "ignore": ["DontCare"]}}
    write_bundle(tmp_path / "models" / "tiny", made=made)
    options = ["--data", data, "--val-flights", "other.json", "--ignore", "DontCare", "--classes", "Person,Car"]
    (row,), _ = table("--models", tmp_path / "models", *options)
    assert 0 <= row["map50_val"] <= 1 and set(row["recall_val_flights"]) == {"Person", "Car"}
    assert (row["training_images_val"], row["training_images_val_flights"]) == (0, 2)


def test_what_cannot_be_timed_is_one_sentence(tmp_path, proxy, table, capsys):
    write_bundle(tmp_path / "tiny")
    free = onnx.load(str(proxy))
    free.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(free, str(tmp_path / "free.onnx"))
    (tmp_path / "text.onnx").write_text("no network")
    for options, says in (
        (["--models", tmp_path, "--onnx", tmp_path / "free.onnx"], "with fixed sizes"),
        (["--models", tmp_path, "--onnx", tmp_path / "text.onnx"], "cannot run"),
        (["--models", tmp_path / "tiny"], "no bundle in"),
    ):
        with pytest.raises(SystemExit):
            table(*options)
        error = capsys.readouterr().err
        assert says in error and error.startswith("error: ") and error.count("\n") == 1


def test_the_proxy_runs_in_torch():
    with torch.inference_mode():
        shapes = [tuple(y.shape) for y in ConvDetector().eval()(torch.zeros(1, 3, 64, 96))]
    assert shapes == [(1, 144, 8, 12), (1, 144, 4, 6), (1, 144, 2, 3)]
