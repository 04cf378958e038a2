"""offline.variants: a bundle that is made gets the files of another board; its weights and figures stay as they are."""

import json

import numpy as np
import pytest
from bundles import write_bundle

from offline import variants
from offline.render import write_dataset
from vit_perception.bundles.bundle import open_bundle


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data"), "thermal", train=4, val=3, size=(96, 64), seed=1)


def add(bundle, data, *options):
    splits = ["--train", "train.json", "--val", "val.json", "--ignore", "DontCare"]
    variants.main(["--model", str(bundle), "--data", str(data), *splits, *options])


def test_both_files_are_added_measured_and_proven(tmp_path, data):
    bundle = write_bundle(tmp_path / "bundle")
    (bundle / "CARD.md").write_text("# bundle\n")
    before = json.loads((bundle / "bundle.json").read_text())
    add(bundle, data)
    made = open_bundle(str(bundle))
    assert made.variants == [*[k for k in before["files"] if k != "golden"], "fp16", "int8_trt"]
    assert made.manifest["files"]["fp32"] == before["files"]["fp32"]
    rest = ("files", "metrics")
    assert {k: v for k, v in made.manifest.items() if k not in rest} == {
        k: v for k, v in before.items() if k not in rest
    }
    new = [m for m in made.metrics if m["variant"] in ("fp16", "int8_trt")]
    assert [m["variant"] for m in new] == ["fp16", "int8_trt"] and all(m["data"].endswith("val.json") for m in new)
    assert made.metrics[: -len(new)] == before.get("metrics", [])
    with np.load(bundle / "golden.npz") as golden:
        assert "logits.int8_trt" in golden.files and "logits.fp16" not in golden.files
    text = (bundle / "CARD.md").read_text()
    assert text.startswith("# bundle\n") and text.count("| fp16 |") == 1


def test_another_folder_leaves_the_first_alone(tmp_path, data):
    bundle = write_bundle(tmp_path / "bundle")
    before = {p.name: p.read_bytes() for p in bundle.iterdir()}
    add(bundle, data, "--add", "fp16", "--out", str(tmp_path / "other"))
    assert {p.name: p.read_bytes() for p in bundle.iterdir()} == before
    assert "fp16" in open_bundle(str(tmp_path / "other")).variants


@pytest.mark.parametrize(
    "options, words",
    [
        (("--add", "int4"), "--add takes fp16, int8_trt, int8"),
        (("--add", "fp16,fp16"), "each once"),
        (("--val", "absent.json"), "absent.json"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_changes_nothing(tmp_path, data, capsys, options, words):
    bundle = write_bundle(tmp_path / "bundle")
    before = {p.name: p.read_bytes() for p in bundle.iterdir()}
    with pytest.raises(SystemExit):
        add(bundle, data, *options)
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said
    assert {p.name: p.read_bytes() for p in bundle.iterdir()} == before


def test_a_file_that_is_there_is_made_anew(tmp_path, data, caplog):
    bundle = write_bundle(tmp_path / "bundle")
    (bundle / "CARD.md").write_text("# bundle\n")
    add(bundle, data, "--add", "int8")
    card = "| int8 | 1 | 0.999 |\n\nlast line"  # as a run writes it, of an earlier file
    (bundle / "CARD.md").write_text((bundle / "CARD.md").read_text() + card)
    with caplog.at_level("INFO"):
        add(bundle, data, "--add", "int8")
    assert "has int8 already: it is made anew" in caplog.text
    assert len([m for m in open_bundle(str(bundle)).metrics if m["variant"] == "int8"]) == 1
    text = (bundle / "CARD.md").read_text()
    assert "0.999" not in text and "last line" in text and text.count("| int8 | ") == 1


def test_the_card_tells_what_the_figures_of_a_file_cannot():
    def found(variant, *remarks):
        return {"variant": variant, "data": "val", "map": 0.1, "map50": 0.2, "remarks": list(remarks)}

    text = variants.card("# bundle\n", [found("fp16", "by chance"), found("int8_trt")])
    assert text.endswith("| int8_trt | val | 0.100 | 0.200 |\n\n- fp16 on val: by chance.\n")
    text = variants.card(text + "\nlast line\n", [found("int8", "rare")])
    rows = [f"| {v} | val | 0.100 | 0.200 |" for v in ("fp16", "int8_trt", "int8")]
    said = [*rows, "", "- int8 on val: rare.", "- fp16 on val: by chance.", "", "last line", ""]
    assert text.endswith("\n".join(said)) and text.count("by `python -m offline.variants`") == 1
    again = variants.card(text, [found("fp16"), found("int8")])
    assert "by chance" not in again and "rare" not in again and again.count("| fp16 |") == 1 and "last line" in again
