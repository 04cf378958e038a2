"""Labelled aerial images in, a compressed ViT detector out.

    python -m offline.compress --data DIR --train F.json --val F.json --ignore DontCare \\
        --recipe quick --target jetson-nano [--budget-ms 60 | --min-map 0.8] --out models/NAME [--resume]

Read `STAGES` below as the order of the work. Each stage leaves its result in the run folder (out/runs/NAME), so a run
that was stopped at any moment goes on with --resume. The bundle appears in --out when all is done, or not at all.
"""

import argparse
import logging
import shutil
import sys
import time
from pathlib import Path

from . import stages
from .boards.targets import TARGETS, find_target
from .data import add_data_options
from .errors import RecipeError, one_sentence
from .files import check_replaceable, replace_folder
from .progress import clock
from .run.recipe_file import load_recipe, recipe_names
from .search import confirm, search
from .stages.preflight import open_run
from .training.distributed import data_parallel

log = logging.getLogger("offline.compress")

STAGES = (
    stages.pretrain,  # if the recipe says so: the teacher's backbone learns to fill in masked images, without labels
    stages.teacher,  # the best detector the recipe can train
    search,  # if a budget is given: which widths, depth, tokens and precision meet it best
    stages.distil,  # a shallower student, taught by it
    stages.prune,  # what the target pays most for and misses least is cut out, then fine-tuned under the teacher
    stages.lowrank,  # linear layers in two thin ones, where that pays
    stages.quantise,  # ranges and precisions: what the target can use
    stages.export,  # the fp32 master and its variants, held to the bundle contract
    stages.evaluate,  # every stage and every variant, with the onboard code
    confirm,  # the goal, if one was given
    stages.bundle,  # one folder, hashed
    stages.report,  # CARD.md, plots, annotated samples
)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m offline.compress", description=__doc__.split("\n")[0])
    add_data_options(parser, train=True, sets=True)
    which = f"one of {recipe_names()}, or a yaml file (default %(default)s)"
    parser.add_argument("--recipe", default="quick", help=which)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one value of the recipe"
    )
    parser.add_argument(
        "--teacher", type=Path, help="bundle or checkpoint to learn from, instead of training a teacher"
    )
    parser.add_argument(
        "--student", type=Path, help="bundle or checkpoint that the student starts as, instead of out of its teacher"
    )
    starts = "state dict to start the teacher from: of a DeiT/DINO/timm ViT, or an EfficientNet-Lite0 for stem: mobile"
    parser.add_argument("--backbone", type=Path, help=starts)
    parser.add_argument("--target", default="cpu", help=f"one of {', '.join(TARGETS)}")
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument(
        "--budget-ms", type=float, help="find the most accurate student that takes this long on the target"
    )
    goal.add_argument("--min-map", type=float, help="find the fastest student with this mAP50 (mIoU of masks)")
    parser.add_argument("--attribution", default="", help="source and licence of the data, for the card")
    parser.add_argument(
        "--also", action="append", default=[], metavar="SPLIT", help="further split to measure on, for the card"
    )
    parser.add_argument("--out", required=True, type=Path, help="folder of the bundle; its last part is the name")
    parser.add_argument(
        "--run",
        "--run-folder",  # torchrun takes --run for an option of its own
        type=Path,
        help="folder for checkpoints, log and pictures (default out/runs/NAME)",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run that the run folder holds")
    args = parser.parse_args(argv)
    args.run = args.run or Path("out/runs") / args.out.name
    return args


@data_parallel
@one_sentence(ended="the run goes on with --resume")
def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    recipe, target = load_recipe(args.recipe, args.set), find_target(args.target)
    check_replaceable(args.out)
    run_folder, out = args.run.resolve(), args.out.resolve()
    if out == run_folder or out in run_folder.parents:
        raise RecipeError(f"the run folder {run_folder} lies in --out, which the bundle takes; name another with --run")
    if (args.out / "bundle.json").is_file():
        log.warning("%s holds a bundle: it stays until this run is done, then the new one takes its place", args.out)
    run = open_run(args, recipe, target)
    start = time.monotonic()
    stages.tell_estimate(run)
    draft = run.folder / "bundle"
    draft.mkdir(exist_ok=True)
    for stage in STAGES:
        begin = time.monotonic()
        stage(run, draft)
        run.spent(stage.__name__, time.monotonic() - begin)
    with replace_folder(args.out) as folder:
        shutil.copytree(draft, folder, dirs_exist_ok=True)
    log.info(
        "bundle %s is ready after %s; pictures and checkpoints: %s",
        args.out,
        clock(time.monotonic() - start),
        run.folder,
    )


if __name__ == "__main__":
    main()
