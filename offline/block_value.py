"""What does each transformer block carry? The accuracy of a trained detector with one part after the other left out.

    python -m offline.block_value models/NAME --data DIR --val F.json --ignore DontCare [--images 100]
    python -m offline.block_value out/runs/NAME/teacher.pt ...

Nothing is trained anew: a block that is left out passes its input on. The accuracy that is lost tells how much the rest
of this network relies on the block. A network trained without the block may do without it. The last line is one JSON
object.
"""

import argparse
import copy
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import nn

from .data import add_data_options, class_list, detect_color, label_rules, read_dataset
from .errors import RecipeError, one_sentence
from .evaluation.accuracy import TorchEngine, evaluate, make_detector
from .model.blocks import Block
from .model.detector import ViTDetector
from .model.pretrained import load_teacher
from .run.recipe import Thresholds

Score = Callable[[ViTDetector, str], float]  # (model, what it is called) -> mAP50


def block_value(model: ViTDetector, score: Score) -> dict[str, float]:
    """mAP50 of `model`: {"whole", "no blocks", "no attention", "no block I", "no attention I", ...}."""
    return {name: score(variant, name) for name, variant in [("whole", model), *without(model)]}


def without(model: ViTDetector) -> Iterator[tuple[str, ViTDetector]]:
    """Copies of `model` that lack all blocks, all attention, each block, each attention; the latter if it has any."""
    depth = model.config()["depth"]
    attentive = [i for i in range(depth) if getattr(model.blocks[i], "attn", None) is not None]
    yield "no blocks", _skip(model, range(depth))
    if attentive:
        yield "no attention", _skip(model, attentive, attention=True)
    for i in range(depth):
        yield f"no block {i}", _skip(model, [i])
    for i in attentive:
        yield f"no attention {i}", _skip(model, [i], attention=True)


def _skip(model: ViTDetector, indices, attention: bool = False) -> ViTDetector:
    """A copy in which those blocks, or only their attention, pass on what comes in."""
    small = copy.deepcopy(model)
    for i in indices:
        block = small.blocks[i]
        if attention and isinstance(block, Block):
            block.attn = None
        else:
            small.blocks[i] = nn.Identity()
    return small.eval()


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m offline.block_value", description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, help="folder of a bundle, or STAGE.pt of a run folder")
    add_data_options(parser)
    parser.add_argument("--images", type=int, default=0, help="how many, evenly spread (default: all)")
    return parser.parse_args(argv)


@one_sentence
def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    data = read_dataset(args.data, args.val, args.format, tuple(args.ignore), rules=label_rules(args))
    labels = data.labels
    if classes := class_list(args.classes):
        data = read_dataset(args.data, args.val, args.format, tuple(args.ignore), classes, label_rules(args))
    data = data.spread(args.images)
    given = load_teacher(args.model, labels, channels=1 if detect_color(data) == "gray" else 3)
    if given.input is None:
        raise RecipeError(f"{args.model} does not say what it was fed; give a bundle, or the STAGE.pt of a run folder")
    spec, strides = given.input, given.model.config()["strides"]

    def score(model: ViTDetector, name: str) -> float:
        engine = TorchEngine(model, spec["width"], spec["height"])
        detector = make_detector(engine, labels, spec, strides, vars(Thresholds()))
        return evaluate(detector, labels, spec["color"], data, name)["map50"]

    found = block_value(given.model, score)
    for name, map50 in found.items():
        print(f"{name:<16} {map50:.3f} {map50 - found['whole']:+.3f}", file=sys.stderr)
    print(json.dumps({"model": str(args.model), "data": data.name, "images": len(data), "map50": found}))


if __name__ == "__main__":
    main()
