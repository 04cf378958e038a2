"""Command-line options of every command that works on labelled images."""

import argparse
from pathlib import Path

from .class_map import parse_map
from .read import FORMATS, Rules


def add_data_options(parser: argparse.ArgumentParser, train: bool = False) -> None:
    """--data, --val, --format and what `add_label_options` adds; --train and --unseen for what trains."""
    parser.add_argument("--data", required=True, type=Path, help="folder with the images and their labels")
    if train:
        parser.add_argument("--train", required=True, help="split to train on: COCO .json, YOLO or VOC split")
        parser.add_argument(
            "--unseen", action="store_true", help="leave out the training images that --val or --also hold too"
        )
    parser.add_argument("--val", required=True, help="split to measure on, never trained on: COCO .json, YOLO or VOC")
    parser.add_argument("--format", choices=sorted(FORMATS), help="how the data is labelled (default: found out)")
    add_label_options(parser)


def add_label_options(parser: argparse.ArgumentParser) -> None:
    """--map, --ignore, --classes, --max-occluded and --max-truncated."""
    parser.add_argument("--map", default="", help="classes under other names: 'a,b=c; d=e'; the others keep theirs")
    parser.add_argument("--ignore", action="append", default=[], metavar="CLASS", help="class of ignore regions")
    parser.add_argument("--classes", help="comma-separated classes that count, whatever is trained (default: all)")
    for what, told in (("occluded", "hidden"), ("truncated", "beyond the image's border")):
        parser.add_argument(
            f"--max-{what}",
            type=int,
            metavar="N",
            help=f"objects that are {told} more than that, as the labels count it, are ignore regions (default: none)",
        )


def label_rules(args: argparse.Namespace) -> Rules:
    """What these options say of labels. Raises DataError."""
    return Rules(parse_map(args.map), args.max_occluded, args.max_truncated)
