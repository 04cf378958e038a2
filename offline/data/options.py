"""What every command that works on labelled images is told of them."""

import argparse
from pathlib import Path

from .read import FORMATS


def add_data_options(parser: argparse.ArgumentParser, train: bool = False, sets: bool = False) -> None:
    """--data, --val, --format, --ignore and --classes; --train and --unseen for what trains.

    sets: --data may be a yaml that says the rest.
    """
    what = "folder with the images and their labels"
    what += ", or a yaml that lists several (offline/data/sets.py)" if sets else ""
    parser.add_argument("--data", required=True, type=Path, help=what)
    if train:
        parser.add_argument("--train", required=not sets, help="split to train on: COCO .json, YOLO or VOC split")
        parser.add_argument(
            "--unseen", action="store_true", help="leave out the training images that --val or --also hold too"
        )
    what = "split to measure on, never trained on: COCO .json, YOLO or VOC"
    parser.add_argument("--val", required=not sets, help=what)
    parser.add_argument("--format", choices=sorted(FORMATS), help="how the data is labelled (default: found out)")
    parser.add_argument("--ignore", action="append", default=[], metavar="CLASS", help="class of ignore regions")
    parser.add_argument("--classes", help="comma-separated classes that count, whatever is trained (default: all)")
