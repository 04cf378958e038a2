"""python -m offline.render --out DIR: a COCO data set, or with --flight a folder of frames to play as a
camera.
"""

import argparse
import sys

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .dataset import render_flight, write_dataset
from .flight import PRESETS, TARGETS, Flight
from .palette import LOOKS


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m offline.render", description=__doc__)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--look", default="thermal", help=f"one of {', '.join(LOOKS)} (thermal)")
    parser.add_argument("--size", default="320x256", metavar="WxH", help="image size in pixels (320x256)")
    parser.add_argument("--seed", type=int, default=0, help="equal seeds give equal bytes (0)")
    parser.add_argument("--train", type=int, default=200, help="training images (200)")
    parser.add_argument("--val", type=int, default=40, help="validation images, from other scenes (40)")
    parser.add_argument("--masks", action="store_true", help="write masks too: the class of every pixel")
    parser.add_argument("--people", action="store_true", help="images of people, 8 to 260 px, from 0 to 90 degrees")
    parser.add_argument("--flight", metavar="PRESET", help=f"write one flight instead: {', '.join(PRESETS)}")
    parser.add_argument("--frames", type=int, default=150, help="frames of the flight (150)")
    parser.add_argument("--fps", type=float, default=15.0, help="frames a second of the flight (15)")
    parser.add_argument("--target", help=f"what the flight approaches or leaves: {', '.join(TARGETS)} (drawn by seed)")
    parser.add_argument("--ending", help="how an approach ends: brake or pass (drawn by seed)")
    return parser


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise ValueError(f"--size {text!r} is not WIDTHxHEIGHT, for example 320x256.")
    return int(width), int(height)


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    columns = (TextColumn("render"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        size = _size(options.size)
        if options.seed < 0:
            raise ValueError(f"--seed {options.seed} is negative: give 0 or more.")
        total = options.frames if options.flight else options.train + options.val
        with Progress(*columns) as bar:
            task = bar.add_task("render", total=total, visible=False)

            def progress(done: int) -> None:
                bar.update(task, completed=done, visible=True)

            if options.flight and options.people:
                raise ValueError("--people makes a data set, --flight one flight: give one of them.")
            if options.flight:
                course = (options.frames, options.fps, options.seed, options.target, options.ending)
                flight = Flight(options.flight, options.look, size, *course)
                out = render_flight(flight, options.out, progress)
            else:
                counts = options.train, options.val
                out = write_dataset(
                    options.out, options.look, *counts, size, options.seed, progress, options.masks, options.people
                )
    except (ValueError, OSError) as error:
        print(f"python -m offline.render: {error}", file=sys.stderr)
        return 2
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
