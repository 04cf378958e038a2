"""Measure a bundle on labelled images with the very code that flies.

    python -m offline.evaluate --model models/NAME --data DIR --val F.json [--ignore DontCare] [--classes A,B]
                               [--format coco|yolo|voc] [--precision fp32|int8] [--score 0.01]
                               [--groups '^\\d_(?P<altitude>\\d+)_' --bands altitude=60,80,100,130]

COCO mean average precision (mAP over IoU .50:.95, mAP50), and what a search asks (working_point.py): the recall
at half a false positive per image; precision, recall, false positives and confusions at the bundle's own threshold.
Ignore regions count as COCO's crowd: what is found there is neither right nor wrong. With --groups all of it for each
group of images too, by their file names (offline/evaluation/subsets.py). The last line is one JSON object.
"""

import argparse
import json
import logging

from vit_perception.bundles.bundle import open_bundle
from vit_perception.detector import Detector
from vit_perception.engines import BACKENDS, PRECISIONS, open_engine

from .data import add_data_options, label_rules, model_sizes, read_dataset
from .errors import DataError, one_sentence
from .evaluation.accuracy import EVALUATION_SCORE, measure
from .evaluation.subsets import Grouping


def pick_classes(wanted: str | None, labels: list[str]) -> list[str]:
    """'A,B' -> ['A', 'B'], all labels if None. Raises DataError for a class the model does not have."""
    classes = wanted.split(",") if wanted else list(labels)
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


def _cell(value: float | None) -> str:
    return f"{'-':>11}" if value is None else f"{value:>11.3f}"


@one_sentence
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m offline.evaluate", description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="folder of the bundle")
    add_data_options(parser)
    parser.add_argument("--backend", default="onnxruntime", choices=BACKENDS, help="default: onnxruntime")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="default: auto")
    parser.add_argument("--score", type=float, default=EVALUATION_SCORE, help="score threshold (default %(default)s)")
    parser.add_argument("--groups", metavar="REGEX", help="named groups, found in the file names, to tell figures by")
    parser.add_argument("--bands", action="append", default=[], metavar="NAME=A,B,..", help="numbers that part a group")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    grouping = Grouping.parse(args.groups, args.bands)
    bundle = open_bundle(args.model)
    classes = pick_classes(args.classes, bundle.labels)
    data = read_dataset(args.data, args.val, args.format, tuple(args.ignore), classes, label_rules(args))
    print(data.summary())
    for label, side in model_sizes(data, bundle.input["width"], bundle.input["height"]).items():
        taught = bundle.object_px.get(label)
        if side and taught and side[1] < taught[0]:
            text = (
                "half of the %s are under %.0f pixels in the model's input; 95%% of those it learnt from were over %.0f"
            )
            logging.warning(text, label, side[1], taught[0])
    engine = open_engine(bundle, args.backend, args.precision)
    detector = Detector(bundle, engine, score_threshold=args.score)
    score = max(args.score, bundle.thresholds["score"])
    metrics = measure(detector, bundle.labels, bundle.input["color"], data, score, grouping)
    engine.close()
    print_figures(metrics)
    del metrics["curves"]
    about = {"model": bundle.name, "backend": engine.name, "precision": engine.precision, "data": data.name}
    print(json.dumps(about | metrics))


if __name__ == "__main__":
    main()
