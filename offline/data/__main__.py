"""Explain what is wrong with a data set.

    python -m offline.data check DIR [--train train.json] [--val val.json] [--format coco|yolo|voc] [--ignore DontCare]
    python -m offline.data check SETS.yaml [--unseen] [--set input.color=gray]

Decodes every image and reads every label. Ends with 0 if the set can be used (warnings may remain), with 1 if not.
"""

import argparse
import logging
import sys
from pathlib import Path

from ..errors import one_sentence
from .check import AUTO, How, check, check_segments, has_masks_alone
from .check_sets import check_sets
from .options import add_label_options, add_unseen, check_alone, class_list, label_rules
from .read import FORMATS
from .sets_file import is_sets_file

COLOR = "input.color="


@one_sentence
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m offline.data", description=__doc__.split("\n")[0])
    command = parser.add_subparsers(required=True, metavar="check").add_parser("check", help=__doc__.split("\n")[0])
    command.add_argument(
        "data", type=Path, metavar="DIR", help="folder with the images and their labels, or a yaml of sets"
    )
    command.add_argument("--train", help="split to train on (default: train)")
    command.add_argument("--val", help="split to measure on (default: val)")
    command.add_argument("--format", choices=sorted(FORMATS), help="how it is labelled (default: found out)")
    command.add_argument(
        "--task",
        choices=("detect", "segment", "both"),
        help="what is checked: boxes, masks or both (default: found out)",
    )
    add_label_options(command)
    add_unseen(command)
    command.add_argument(
        "--set",
        choices=[COLOR + color for color in ("gray", "rgb")],
        help="colour in which all images are read, as offline.compress is told it (default: found out)",
    )
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    classes = class_list(args.classes)
    how = How(args.set.removeprefix(COLOR) if args.set else AUTO, args.unseen)
    if is_sets_file(args.data):
        check_alone(args)
        usable, lines = check_sets(args.data, classes, args.task, how)
    else:
        rules = label_rules(args)
        source = (args.data, args.train, args.val, args.format, tuple(args.ignore))
        task = args.task or ("segment" if has_masks_alone(args.data, args.train, args.format) else "detect")
        usable, lines = check(*source, classes, rules, how) if task != "segment" else (True, [])
        if task != "detect":
            fit, more = check_segments(*source, rules, how)
            usable, lines = usable and fit, [*lines, *more]
    print("\n".join(lines))
    print("the data set can be used" if usable else "the data set cannot be used until the errors are mended")
    sys.exit(0 if usable else 1)


if __name__ == "__main__":
    main()
