"""Add what another board's engine needs to a bundle that is made: the fp16 or the TensorRT int8 file. Or renew a file.

    python -m offline.variants --model models/NAME --add fp16,int8_trt \
        --data DIR --train F.json --val F.json [--also F.json] --ignore DontCare --classes A,B [--out models/OTHER]

A file that the bundle has already is made anew: --add int8 renews that of a bundle whose int8 fails its golden check.
The weights stay as they are. Images of --train give the ranges of the activations; every new file is held to its
consumer's contract, measured on --val and --also by the code that flies, and proves itself as the drone will ask it to.
The bundle appears in --out (default: in the place of --model) when all is done, or not at all.
"""

import argparse
import logging
import re
import shutil
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np

from vit_perception.bundles.bundle import Bundle, open_bundle
from vit_perception.bundles.golden import prove
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

from .compression.calibration import calibration_images
from .data import (
    Dataset,
    add_data_options,
    check_alone,
    is_sets_file,
    label_rules,
    read_dataset,
    read_sets,
    unseen,
)
from .errors import RecipeError, one_sentence
from .evaluate import pick_classes
from .evaluation.accuracy import make_detector, measure, variant_engine
from .export.onnx_export import file_entry, write_golden
from .files import check_replaceable, replace_folder, write_json, write_text
from .stages.deliver import make_variant

log = logging.getLogger("offline.variants")
FP16 = "fp16"
ADDABLE = (FP16, "int8_trt", "int8")
HEADING = "## Variants added later"
INTRO = "Made from the fp32 master by `python -m offline.variants`, and measured by the code that flies."
TABLE = ["| file | data | mAP | mAP50 |", "|---|---|---|---|"]


def wanted(text: str, bundle: Bundle) -> list[str]:
    """'fp16,int8_trt' -> its names. Raises RecipeError for others, and for what the bundle must not have."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in ADDABLE or names.count(name) > 1:
            raise RecipeError(f"--add takes {', '.join(ADDABLE)}, each once, not '{text}'")
        if name in bundle.variants:
            log.info("bundle %s has %s already: it is made anew", bundle.path, name)
    if FP16 in names and bundle.fp16_refused:
        raise RecipeError(f"bundle {bundle.path} cannot have fp16: {bundle.fp16_refused}")
    return names


def make_files(bundle: Bundle, folder: Path, names: list[str], images: list[np.ndarray]) -> dict[str, dict]:
    """Write the ONNX files into `folder` -> their entries in bundle.json. images: see calibration_images."""
    master, files = folder / bundle.manifest["files"]["fp32"]["path"], {}
    mode = bundle.made.get("recipe", {}).get("quantise", {}).get("int8", "static")
    for name in names:
        files[name] = entry = make_variant(name, master, images, mode)
        log.info("%s: %.2f MB, for %s", entry["path"], entry["bytes"] / 1e6, entry["consumer"])
    return files


def renew_golden(bundle: Bundle, folder: Path, files: dict[str, dict]) -> dict:
    """Write golden.npz again, with what each int8 file gives -> its entry. files: all of the bundle."""
    path = folder / files["golden"]["path"]
    with np.load(path, allow_pickle=False) as arrays:
        batches = [image[None].astype(np.float32) for image in arrays["images"]]
    engines = {k: variant_engine(folder / f["path"], k) for k, f in files.items() if k.startswith("int8")}
    write_golden(path, OnnxRuntimeEngine(str(folder / files["fp32"]["path"])), batches, engines)
    return file_entry(path, "fp32", "any", opset=None)


def measured(bundle: Bundle, folder: Path, name: str, file: dict, sets: list[Dataset]) -> list[dict]:
    """What bundle.json says of how good a file is: an entry for each of `sets`."""
    engine = variant_engine(folder / file["path"], name)
    detector = make_detector(engine, bundle.labels, bundle.input, bundle.head["strides"], bundle.thresholds)
    found = []
    for data in sets:
        told = {m["data"]: m for m in bundle.metrics if m["variant"] == "fp32"}.get(data.name, {})
        score = bundle.thresholds["score"]
        label = f"{name} on {data.name}"
        figures = measure(detector, bundle.labels, bundle.input["color"], data, score, label=label)
        del figures["curves"], figures["groups"]
        was = f", the master {told['map50']:.3f}" if told else ""
        log.info("%s: mAP50 %.3f%s", label, figures["map50"], was)
        about = {"variant": name, "data": data.name, "training_images": told.get("training_images")}
        found.append(about | figures)
    engine.close()
    return found


def read(args: Namespace, bundle: Bundle) -> tuple[Dataset, list[Dataset]]:
    """The images to calibrate with, and the sets to measure on."""
    classes = pick_classes(args.classes, bundle.labels)
    if is_sets_file(args.data):
        check_alone(args)
        train, sets = read_sets(args.data, classes)
        return (unseen(train, sets) if args.unseen else train), sets
    if not (args.train and args.val):
        raise RecipeError("--train and --val name the split to calibrate with and the one to measure on; give both")
    rules, ignore = label_rules(args), tuple(args.ignore)
    train = read_dataset(args.data, args.train, args.format, ignore, None, rules)
    sets = [read_dataset(args.data, s, args.format, ignore, classes, rules) for s in (args.val, *args.also)]
    return (unseen(train, sets) if args.unseen else train), sets


def card(text: str, found: list[dict]) -> str:
    """CARD.md with a section about the new files; a section of earlier ones goes on. What it says of renewed ones goes.
    Below the table stands what its figures cannot tell."""
    for name in {m["variant"] for m in found}:
        stale = rf"^(\| {name} \||- {name} on ).*\n"
        text = re.sub(stale, "", text if text.endswith("\n") else text + "\n", flags=re.MULTILINE)
    text, _, section = text.partition(HEADING)
    lines = section.strip("\n").splitlines() or [INTRO]
    if TABLE[-1] not in lines:
        lines += ["", *TABLE]
    end = 1 + max(i for i, line in enumerate(lines) if line.startswith("|"))
    rows = [
        f"| {m['variant']} | {m['data']} | {m['map']:.3f} | {m['map50']:.3f} |" for m in found if m["map50"] is not None
    ]
    notes = [f"- {m['variant']} on {m['data']}: {remark}." for m in found for remark in m["remarks"]]
    begun = "".join(lines[end : end + 2]).startswith("- ")  # those of earlier files
    if notes and not begun:
        notes = ["", *notes]
    lines[end : end + begun] = [*rows, *([""] if begun else []), *notes]
    return "\n".join([text.rstrip(), "", HEADING, *lines, ""])


@one_sentence(ended="the bundle is as it was; run it again")
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m offline.variants", description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="folder of the bundle")
    which = f"files to make, of {', '.join(ADDABLE)} (default %(default)s)"
    parser.add_argument("--add", default=f"{FP16},int8_trt", help=which)
    add_data_options(parser, train=True, sets=True)
    parser.add_argument("--also", action="append", default=[], metavar="SPLIT", help="further split to measure on")
    parser.add_argument("--out", type=Path, help="folder of the bundle that it becomes (default: --model)")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    bundle = open_bundle(args.model)
    if bundle.segmentation:
        raise RecipeError(
            f"bundle {bundle.path} makes masks, which offline.variants does not measure; run offline.compress again "
            "with the --target that needs the files"
        )
    out = args.out or Path(bundle.path)
    check_replaceable(out)
    names = wanted(args.add, bundle)
    train, sets = read(args, bundle)
    recipe = bundle.made.get("recipe", {})
    inverted = bool(recipe.get("crops", {}).get("sensor", {}).get("invert"))
    images = calibration_images(train, bundle.input, inverted)
    with replace_folder(out) as folder:
        shutil.copytree(bundle.path, folder, dirs_exist_ok=True)
        files = dict(bundle.manifest["files"])
        golden = files.pop("golden")
        files |= make_files(bundle, folder, names, images)
        files["golden"] = renew_golden(bundle, folder, files | {"golden": golden})
        found = [m for name in names for m in measured(bundle, folder, name, files[name], sets)]
        kept = [m for m in bundle.metrics if m["variant"] not in names]
        write_json(folder / "bundle.json", bundle.manifest | {"files": files, "metrics": [*kept, *found]})
        about = folder / "CARD.md"
        if about.is_file():
            write_text(about, card(about.read_text(encoding="utf-8"), found))
        made = open_bundle(folder)
        for name in names:
            engine = variant_engine(folder / files[name]["path"], name)
            log.info("%s proves itself: %s", name, prove(engine, made, name))
            engine.close()
    log.info("bundle %s has %s", out, ", ".join(made.variants))


if __name__ == "__main__":
    main()
