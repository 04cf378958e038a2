"""Command-line options of every command that works on labelled images."""

import argparse
from pathlib import Path

from .read import FORMATS


def add_data_options(parser: argparse.ArgumentParser, train: bool = False) -> None:
    """--data, --val, --format, --ignore and --classes; --train and --unseen for what trains."""
    parser.add_argument("--data", required=True, type=Path, help="folder with the images and their labels")
    if train:
        parser.add_argument("--train", required=True, help="split to train on: COCO .json, YOLO or VOC split")
        parser.add_argument(
            "--unseen", action="store_true", help="leave out the training images that --val or --also hold too"
        )
    parser.add_argument("--val", required=True, help="split to measure on, never trained on: COCO .json, YOLO or VOC")
    parser.add_argument("--format", choices=sorted(FORMATS), help="how the data is labelled (default: found out)")
    parser.add_argument("--ignore", action="append", default=[], metavar="CLASS", help="class of ignore regions")
    parser.add_argument("--classes", help="comma-separated classes that count, whatever is trained (default: all)")
