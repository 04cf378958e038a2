"""Measure a bundle on labelled images with the very code that flies.

    python -m offline.evaluate --model models/NAME --data DIR --val F.json [--ignore DontCare] [--classes A,B]
                               [--format coco|yolo|voc] [--precision fp32|int8] [--score 0.01] [--inverted]
                               [--slices 1x1|CxR|auto]
                               [--groups '^\\d_(?P<altitude>\\d+)_' --bands altitude=60,80,100,130]

COCO mean average precision (mAP over IoU .50:.95, mAP50), and what a search asks (working_point.py): the recall
at half a false positive per image; precision, recall, false positives and confusions at the bundle's own threshold.
Of a bundle that segments: mIoU, IoU of each class, pixel accuracy and boundary F1 (evaluation/segmentation.py).
Ignore regions count as COCO's crowd: what is found there is neither right nor wrong. With --groups all of it for each
group of images too, by their file names (offline/evaluation/subsets.py). The last line is one JSON object.

    python -m offline.evaluate --model models/NAME --data SETS.yaml [--inverted]

measures on every validation set that the yaml lists (docs/your_own_data.md), and with --inverted on each with its
polarity turned too, where the yaml does not list that already; then comes one table of all, and the worst of them.
"""

import argparse
import json
import logging
from dataclasses import replace

from vit_perception.bundles.bundle import Bundle, open_bundle
from vit_perception.detector import Detector
from vit_perception.engines import BACKENDS, PRECISIONS, open_engine
from vit_perception.slices import parse as parse_slices

from .data import (
    Dataset,
    add_data_options,
    check_alone,
    class_list,
    is_sets_file,
    label_rules,
    model_sizes,
    read_dataset,
    read_measured,
)
from .data.masks import attach_masks, read_masked
from .data.masks.sets import read_measured_sets
from .data.sample import INVERTED
from .errors import DataError, one_sentence
from .evaluation.accuracy import EVALUATION_SCORE, measure
from .evaluation.segmentation import Segmenter, beside_boxes, in_words, measure_masks, worst
from .evaluation.subsets import Grouping


def pick_classes(wanted: str | None, labels: list[str]) -> list[str]:
    """'A,B' -> ['A', 'B'], all if None. Raises DataError for one named twice, or that the model does not have."""
    classes = class_list(wanted) or list(labels)
    for c in classes:
        if c not in labels:
            raise DataError(f"the model knows no class '{c}'; it knows: {', '.join(labels)}")
    return classes


def print_figures(metrics: dict) -> None:
    """The tables that people read: classes, groups, confusions."""
    at, point = metrics["recall_at"], metrics["working_point"]
    print(f"recall@FP: at {at['fp_per_image']:g} false positives per image; the rest at score {point['score']:g}")
    heads = ("AP", "AP50", "recall@FP", "precision", "recall", "FP/image")
    print(f"{'class':<16}{'boxes':>7}" + "".join(f"{h:>11}" for h in heads))
    for label, row in metrics["per_class"].items():
        values = (row["ap"], row["ap50"], at["per_class"][label]["recall"], *point["per_class"][label].values())
        print(f"{label:<16}{row['boxes']:>7}" + "".join(map(_cell, values)))
    totals = (metrics["map"], metrics["map50"], None, *point["all"].values())
    print(f"{'all':<16}{'':>7}" + "".join(map(_cell, totals)))
    for name, groups in metrics["groups"].items():
        print(f"\n{name:<16}{'images':>7}{'mAP50':>11}" + "".join(f"{c + ' @FP':>18}" for c in metrics["per_class"]))
        for group, m in groups.items():
            recalls = (row["recall"] for row in m["recall_at"]["per_class"].values())
            cells = "".join(f"{_cell(r):>18}" for r in recalls)
            print(f"{group:<16}{m['images']:>7}{_cell(m['map50'])}{cells}")
    for remark in metrics["remarks"]:
        print(f"note: {remark}")
    labels = metrics["confusion"]["labels"]
    print(f"\n{'there / said':<16}" + "".join(f"{c:>12}" for c in labels))
    for label, counts in zip(labels, metrics["confusion"]["counts"], strict=True):
        print(f"{label:<16}" + "".join(f"{n:>12}" for n in counts))


def print_sets(found: dict[str, dict], classes: list[str]) -> None:
    """One table of all sets: mAP50, and of each class AP50 and the recall at half a false positive per image; the mIoU
    and the IoU of each class of masks."""
    width = max(map(len, found)) + 2
    boxed, masked = ({n: m for n, m in found.items() if key in m} for key in ("map50", "miou"))
    if boxed:
        _print_boxes(boxed, classes, width)
    if masked:
        of = {n: m.get("mask_classes", m["per_class"]) for n, m in masked.items()}
        names = list(dict.fromkeys(c for rows in of.values() for c in rows))
        print(f"\n{'set':<{width}}{'mIoU':>11}{'boundary F1':>13}" + "".join(f"{c + ': IoU':>17}" for c in names))
        for name, m in masked.items():
            cells = "".join(f"{_cell(of[name].get(c, {}).get('iou')):>17}" for c in names)
            print(f"{name:<{width}}{_cell(m['miou'])}{_cell(m['boundary_f1']):>13}{cells}")
    print(f"worst: {(lowest := worst(found))}, {in_words(found[lowest])}")


def _print_boxes(found: dict[str, dict], classes: list[str], width: int) -> None:
    print(f"\n{'set':<{width}}{'images':>7}{'mAP50':>11}" + "".join(f"{c + ': AP50, @FP':>26}" for c in classes))
    for name, m in found.items():
        cells = ""
        for c in classes:
            row, at = m["per_class"].get(c, {}), m["recall_at"]["per_class"].get(c, {})
            pair = f"{_cell(row.get('ap50')).strip()}, {_cell(at.get('recall')).strip()}"
            cells += f"{pair:>26}"
        print(f"{name:<{width}}{m['images']:>7}{_cell(m['map50'])}{cells}")


def _cell(value: float | None) -> str:
    return f"{'-':>11}" if value is None else f"{value:>11.3f}"


@one_sentence
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m offline.evaluate", description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="folder of the bundle")
    add_data_options(parser, sets=True)
    parser.add_argument("--backend", default="onnxruntime", choices=BACKENDS, help="default: onnxruntime")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="default: auto")
    parser.add_argument("--score", type=float, default=EVALUATION_SCORE, help="score threshold (default %(default)s)")
    parser.add_argument("--groups", metavar="REGEX", help="named groups, found in the file names, to tell figures by")
    parser.add_argument(
        "--slices",
        type=_slices,
        default="1x1",
        metavar="1x1|CxR|auto",
        help="large images in slices too, as the node's parameter: C columns and R rows, or auto, as many as show the "
        "model every pixel (default: 1x1, none)",
    )
    parser.add_argument("--inverted", action="store_true", help="also with dark and bright exchanged; gray images only")
    parser.add_argument("--bands", action="append", default=[], metavar="NAME=A,B,..", help="numbers that part a group")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    grouping = Grouping.parse(args.groups, args.bands)
    bundle = open_bundle(args.model)
    classes = pick_classes(args.classes, bundle.labels)
    sets = read_wanted(args, bundle, classes)
    if args.inverted and bundle.input["color"] != "gray":
        raise DataError(
            f"--inverted is for gray images, {bundle.name} takes {bundle.input['color']} ones; leave it out"
        )
    if args.slices != "1x1" and not bundle.labels:
        raise DataError(f"--slices is for detections, {bundle.name} only segments; leave it out")
    if args.inverted:
        known = [data.name for data in sets]
        sets += [turned for turned in map(_inverted, sets) if turned.name not in known]
    fitting = [data for data in sets if grouping.fits(data)] or sets[:1]  # the first one then says that none fits
    engine = open_engine(bundle, args.backend, args.precision)
    found = {}
    for data in sets:
        print(data.summary())
        groups = grouping if data in fitting else Grouping()
        metrics = measure_boxes(args, bundle, engine, data, groups) if data.labels else {}
        if data.segments:
            masks = measure_masks(Segmenter(engine, bundle.input), data)
            print_masks(masks)
            metrics = metrics | beside_boxes(masks) if metrics else masks
        found[data.name] = metrics
    engine.close()
    about = {"model": bundle.name, "backend": engine.name, "precision": engine.precision}
    if len(sets) == 1:
        print(json.dumps(about | {"data": data.name} | metrics))
        return
    print_sets(found, classes)
    print(json.dumps(about | {"worst": worst(found), "sets": found}))


def measure_boxes(args: argparse.Namespace, bundle: Bundle, engine, data: Dataset, groups: Grouping) -> dict:
    """The figures of a detector on `data`, printed and returned."""
    detector = Detector(bundle, engine, score_threshold=args.score)
    detector.slices = args.slices
    warn_of_sizes(bundle, data, args.slices)
    score = max(args.score, bundle.thresholds["score"])
    metrics = measure(detector, bundle.labels, bundle.input["color"], data, score, groups)
    print_figures(metrics)
    del metrics["curves"]
    return metrics


def print_masks(masks: dict) -> None:
    """The table that people read of masks."""
    print(f"{'class of masks':<16}{'pixels':>11}{'IoU':>11}")
    for label, row in masks["per_class"].items():
        print(f"{label:<16}{row['pixels']:>11}{_cell(row['iou'])}")
    print(f"mIoU{_cell(masks['miou'])}, pixel accuracy{_cell(masks['pixel_accuracy'])}, ", end="")
    print(f"boundary F1{_cell(masks['boundary_f1'])}; {masks['images']} images with masks")


def warn_of_sizes(bundle: Bundle, data: Dataset, slices: str) -> None:
    """Say where objects are smaller than those that the model was trained on."""
    model = bundle.input["width"], bundle.input["height"]
    finest = model_sizes(data, *model, "auto")
    for label, side in model_sizes(data, *model, slices).items():
        taught = bundle.object_px.get(label)
        if side and taught and side[1] < taught[0]:
            text = (
                "half of the %s are under %.0f pixels in the model's input; 95%% of those it learnt from were over %.0f"
            )
            remedy = "; they are larger with --slices auto" if finest[label][1] > side[1] else ""
            logging.warning(text + remedy, label, side[1], taught[0])


def read_wanted(args: argparse.Namespace, bundle: Bundle, classes: list[str]) -> list[Dataset]:
    """The sets to measure on: those of a yaml, or the split of a folder; with masks where the bundle segments."""
    labels = bundle.labels
    if is_sets_file(args.data):
        check_alone(args)
        if bundle.segmentation:
            return read_measured_sets(args.data, classes, bundle.segmentation["labels"])
        return read_measured(args.data, labels, classes)
    if not args.val:
        raise DataError("--val names the split to measure on; give it, or a yaml that lists sets as --data")
    source, ignore, rules = (args.data, args.val, args.format), tuple(args.ignore), label_rules(args)
    segments = bundle.segmentation["labels"] if bundle.segmentation else []
    if not labels:
        return [read_masked(*source, ignore, segments, rules)]
    data = read_dataset(*source, ignore, classes, rules)
    return [attach_masks(data, args.data, args.val, ignore, segments, rules) if segments else data]


def _inverted(data: Dataset) -> Dataset:
    turned = [replace(s, invert=not s.invert) for s in data.samples]
    name = data.name.removesuffix(INVERTED) if data.name.endswith(INVERTED) else data.name + INVERTED
    return replace(data, name=name, samples=turned, sha256=f"{data.sha256} inverted")


def _slices(text: str) -> str:
    try:
        parse_slices(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from None
    return text


if __name__ == "__main__":
    main()
