"""Layer lists, the fit to published speeds, and predictions that carry their error."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from offline.boards.latency_model import HOST_VARIANTS, PARAMETERS, _Work, evaluate_published, fit, fit_host, predict
from offline.boards.layers import KINDS, Layer, layers_of_config, layers_of_model, layers_of_onnx, total_macs
from offline.boards.published_latencies import NETWORKS, POINTS
from offline.boards.targets import find_target
from offline.errors import ExportError, RecipeError
from offline.export.onnx_export import export_master
from offline.model.detector import build_model, count_macs

NANO, ORIN, CPU = (find_target(n) for n in ("jetson-nano", "jetson-orin-nano", "cpu"))
SMALL = {"classes": 3, "channels": 1, "stem": [8, 16, 24, 32], "dim": 128, "depth": 3, "heads": 2, "mlp": 256}
MODELS = {
    "plain": SMALL | {"neck": 32},
    "pooled, two heads": SMALL | {"neck": 32, "pool": [1, 3], "strides": [4, 8]},
    "convolutional": SMALL | {"neck": 32, "mixer": "conv", "mlp": [48, 32, 32]},
    "mobile stem, pruned": SMALL
    | {"neck": 32, "stem": [24, *[48, 96, 144] * 2, 480, 240, 336, 672], "strides": [4, 8]},
    "fine tokens": SMALL | {"neck": 32, "token_stride": 16, "pool": [1, 3]},
    "pruned, factorised": SMALL | {"heads": [2, 0, 3], "mlp": [0, 256, 128], "ranks": {"blocks.1.mlp.fc1": 32}},
}


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_config_and_file_give_the_same_work_and_time(config, tmp_path):
    model, size = build_model(config).eval(), (256, 192)
    export_master(model, tmp_path / "model.onnx", *size)
    written, drawn = layers_of_onnx(tmp_path / "model.onnx"), layers_of_model(model, *size)
    assert total_macs(written) == total_macs(drawn) == count_macs(model, *size)
    for kind in KINDS[:4]:
        a, b = ([layer for layer in layers if layer.kind == kind] for layers in (written, drawn))
        assert sum(x.macs for x in a) == sum(x.macs for x in b) and sum(x.elements for x in a) == sum(
            x.elements for x in b
        )
    for target in (NANO, ORIN):
        assert predict(written, target).ms == pytest.approx(predict(drawn, target).ms, rel=0.03)


def test_layers_bear_the_names_of_the_modules():
    config = build_model(MODELS["pruned, factorised"]).config()
    modules = dict(build_model(config).named_modules())
    layers = [x for x in layers_of_config(config, 256, 192) if x.macs and x.kind != "attention"]
    assert [x.name for x in layers if x.name not in modules] == []


def test_a_size_that_does_not_fit_is_refused():
    with pytest.raises(RecipeError, match="250x192 does not fit; both sides must be multiples of 32"):
        layers_of_config(build_model(SMALL).config(), 250, 192)


def test_a_file_that_is_no_onnx_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ExportError, match="cannot be read as ONNX"):
        layers_of_onnx(tmp_path / "model.onnx")


@pytest.mark.parametrize("name", NETWORKS)
def test_reference_networks_have_their_published_work(name):
    assert total_macs(NETWORKS[name].write()) / 1e9 == pytest.approx(NETWORKS[name].gmac, rel=0.03)


def test_the_error_is_that_of_points_left_out_and_not_of_the_fit():
    table = evaluate_published()
    fitted, left_out, design = (
        np.median(np.abs(table[k] / table["measured"] - 1)) for k in ("fitted", "left_out", "design_left_out")
    )
    assert fitted < left_out < 0.15 and left_out < design < 0.35
    assert len(table["parameters"]) == len(PARAMETERS) < len(POINTS) / 3


def test_predictions_carry_their_error_and_add_up():
    layers = layers_of_config(build_model(SMALL).config(), 256, 192)
    p = predict(layers, NANO, "fp16")
    assert str(p).startswith(f"predicted {p.ms:.3g} ms +-{p.error:.0%} (leave-one-out")
    assert p.ms == pytest.approx(sum(ms for _, ms in p.per_layer)) and p.fps == pytest.approx(1000 / p.ms)
    assert [layer for layer, _ in p.per_layer] == layers


def test_lower_precision_and_less_work_are_never_slower():
    def ms(config, target, precision):
        return predict(layers_of_config(build_model(config).config(), 256, 192), target, precision).ms

    assert ms(SMALL, NANO, "fp16") < ms(SMALL, NANO, "fp32")
    assert ms(SMALL, ORIN, "int8") < ms(SMALL, ORIN, "fp16") < ms(SMALL, NANO, "fp16")
    for less in ({"mlp": 128}, {"heads": 1}, {"dim": 64}, {"stem": [8, 16, 24, 24]}, {"depth": 2}):
        assert ms(SMALL | less, NANO, "fp16") < ms(SMALL, NANO, "fp16")


def test_what_cannot_be_predicted_is_refused():
    layers = [Layer("a", "conv", 10**6, 10**4)]
    with pytest.raises(RecipeError, match="no hardware for int8"):
        predict(layers, NANO, "int8")
    with pytest.raises(RecipeError, match="its speed is measured"):
        predict(layers, CPU, "fp32")


def test_the_fit_finds_the_machine_that_made_the_times():
    """Times made with known efficiencies, from random layers of every class, give these back."""
    rng, truth = np.random.default_rng(0), np.log([0.5, 0.05, 0.3, 0.2, 0.4, 2e-5])
    rows = []
    for i in range(24):
        kind = KINDS[i % 5]
        layers = [
            Layer("", kind, 0 if kind == "elementwise" else int(10 ** rng.uniform(4, 9)), int(10 ** rng.uniform(3, 7)))
            for _ in range(rng.integers(2, 40))
        ]
        rows.append((layers, {"fp16": 4e11}, 2e10, "fp16", 0))
    rows += [
        ([Layer("", "elementwise", 0, 100)] * n, {"fp16": 4e11}, 2e10, "fp16", 0) for n in (20, 40, 80)
    ]  # launches
    work = _Work(rows)

    def seconds(theta):
        return work.seconds(theta[None])

    found = fit(seconds, seconds(truth), np.log([0.6, 0.1, 0.5, 0.2, 0.6, 1e-5]))
    assert np.exp(found - truth) == pytest.approx(np.ones(6), rel=0.1)


def test_the_host_is_fitted_to_its_own_measurements():
    host = json.loads(
        json.dumps(fit_host(160, 128, rounds=3, variants=HOST_VARIANTS[:4]))
    )  # as it comes back from a run folder
    layers = layers_of_config(build_model({"classes": 3, "channels": 1}).config(), 160, 128)
    half = layers_of_config(build_model({"classes": 3, "channels": 1, "depth": 2, "mlp": 384}).config(), 160, 128)
    p = predict(layers, CPU, "fp32", host)
    assert 0.1 < p.ms < 200 and p.error == host["error"] and predict(half, CPU, "fp32", host).ms < p.ms


def test_the_bench_ends_with_its_figures():
    root = Path(__file__).parents[3]
    script = [sys.executable, str(root / "bench" / "latency_model.py"), "--quick"]
    done = subprocess.run(script, capture_output=True, text=True, check=True, cwd=root, env={"PYTHONPATH": str(root)})
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["points"] == len(POINTS) and 0 < figures["median_rel_err"] < figures["median_rel_err_new_design"]
