"""Command-line options of every command that works on labelled images."""

import argparse
from pathlib import Path

from ..errors import DataError
from .class_map import parse_map
from .read import FORMATS, Rules


def add_data_options(parser: argparse.ArgumentParser, train: bool = False, sets: bool = False) -> None:
    """--data, --val, --format and what `add_label_options` adds; --train and --unseen for what trains.

    sets: --data may be a yaml that says the rest.
    """
    what = "folder with the images and their labels"
    what += ", or a yaml that lists several (docs/your_own_data.md)" if sets else ""
    parser.add_argument("--data", required=True, type=Path, help=what)
    if train:
        parser.add_argument("--train", required=not sets, help="split to train on: COCO .json, YOLO or VOC split")
        add_unseen(parser)
    what = "split to measure on, never trained on: COCO .json, YOLO or VOC"
    parser.add_argument("--val", required=not sets, help=what)
    parser.add_argument("--format", choices=sorted(FORMATS), help="how the data is labelled (default: found out)")
    add_label_options(parser)


def add_unseen(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unseen", action="store_true", help="leave out the training images that what is measured on holds too"
    )


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


def class_list(text: str | None) -> list[str] | None:
    """'A, B' of --classes as ['A', 'B']; None: all. Raises DataError for a name that is there twice or empty."""
    names = [name.strip() for name in text.split(",")] if text else None
    if names and (not all(names) or len(set(names)) < len(names)):
        raise DataError(f"--classes '{text}' has a name twice or an empty one; name each class once, between commas")
    return names


def label_rules(args: argparse.Namespace) -> Rules:
    """What these options say of labels. Raises DataError."""
    return Rules(parse_map(args.map), args.max_occluded, args.max_truncated)


def check_alone(args: argparse.Namespace) -> None:
    """Raises DataError for options beside a yaml of sets that it says itself."""
    said = ("train", "val", "also", "format", "map", "ignore", "max_occluded", "max_truncated")
    given = [f"--{name.replace('_', '-')}" for name in said if getattr(args, name, None) not in (None, "", [])]
    if given:
        raise DataError(f"{args.data} says what its sets are: leave out {', '.join(given)}, or write it there")
