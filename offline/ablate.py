"""What does each technique give? Every one alone, the pairs, and all together, over seeds, at equal budget.

    python -m offline.ablate --data DIR --train F.json --val F.json --ignore DontCare --teacher PATH \\
        [--recipe ablation] [--seeds 3] [--jobs 2] --out out/ablation

Every row trains the same number of steps on the same crops, and ends with a student of the same size class:
- none: the recipe's `student`, from scratch, on the labels alone;
- distil: the same under the teacher;
- prune: the student is not built but cut out of the teacher, to the predicted time of the recipe's student;
- lowrank: for the last part of the steps its linear layers are factorised where that pays;
- conv: not a technique but another network, its convolutional twin of the same MACs (conv_twin.py); a row
  only where --rows names it;
- int8: the ONNX Runtime int8 file of the row beside it; it costs no training.
A row that is done is a file in --out: run the same command again after a kill, or with more seeds, and it goes on.
The last line is one JSON object; table.md, results.json and ablation.png are in --out.
"""

import argparse
import itertools
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import torch

from . import stages
from .boards.targets import find_target
from .compression.conv_twin import conv_twin
from .compression.lowrank import factorise
from .compression.prune import importance, prune_to_cost
from .data import add_data_options
from .errors import RecipeError, one_sentence
from .files import write_json
from .model.detector import ViTDetector, build_model
from .report import ablation_report
from .run.cost import cost_on
from .run.recipe import Distilled
from .run.recipe_file import load_recipe
from .run.run import Run
from .stages.preflight import open_run

log = logging.getLogger("offline.ablate")
TECHNIQUES = ("distil", "prune", "lowrank")  # int8 is measured for every row
ROWS = ["+".join(c) or "none" for n in range(4) for c in itertools.combinations(TECHNIQUES, n)]
TWIN_ROWS = ["conv", "distil+conv"]
LOWRANK_PART = 0.3  # of the steps, after the factorisation


def train_row(run: Run, row: str) -> ViTDetector:
    """The student of one row, trained; resumable."""
    if run.has("row"):
        return run.load("row")
    on = set(row.split("+"))
    schedule: Distilled = run.recipe.distil if "distil" in on else run.recipe.distil.alone()
    run.seed(stages.SEEDS["distil"])
    if not run.has("first"):
        model = _cut(run) if "prune" in on else build_model(_student(run, "conv" in on))
        part = 1 - LOWRANK_PART if "lowrank" in on else 1.0
        stages.train_student(run, "first", model, schedule.scaled(part))
        run.save("first", model)
    model = run.load("first")
    if "lowrank" in on:
        images = [torch.from_numpy(b) for b in run.calibration()]
        r = run.recipe.lowrank
        choices = factorise(model, images, r.error, r.saving, cost_on(run))
        run.note("lowrank", [vars(c) for c in choices])
        stages.train_student(run, "second", model, schedule.scaled(LOWRANK_PART))
    run.save("row", model)
    return model


def _student(run: Run, twin: bool) -> dict:
    """The config of the recipe's student, or of its convolutional twin."""
    options = stages.student_options(run)
    return conv_twin(options, run.input["width"], run.input["height"]) if twin else options


def _cut(run: Run) -> ViTDetector:
    """The teacher, pruned to the predicted time of the recipe's student."""
    cost = cost_on(run)
    budget = cost(build_model(stages.student_options(run)).config())
    scores = importance(run.load("teacher"), run.loader(stages.SEEDS["importance"], 8), run.recipe.prune.criterion)
    return prune_to_cost(run.load("teacher"), scores, cost, budget, run.recipe.prune.depth)


def run_row(args: argparse.Namespace, row: str, seed: int) -> None:
    """Train and measure one row with one seed; its result is OUT/ROW.SEED.json."""
    folder = args.out / f"{row}.{seed}"
    recipe = load_recipe(args.recipe, [*args.set, f"seed={seed}"])
    target = find_target(args.target)
    args.run, args.resume, args.attribution = folder, (folder / "run.json").is_file(), ""
    args.backbone, args.student, args.budget_ms, args.min_map, args.also = None, None, None, None, []
    run = open_run(args, recipe, target, taught="distil" in row.split("+"))
    run.answers = args.out / "answers"  # rows of one seed see the same crops
    if args.teacher:
        stages.teacher(run, folder)
    model = train_row(run, row)
    result = ablation_report.measure(run, model, folder)
    result |= {"row": row, "seed": seed, "config": model.config(), "split": len(model.config()["ranks"])}
    result["recipe"] = recipe.as_dict()
    write_json(args.out / f"{row}.{seed}.json", result)


def run_all(args: argparse.Namespace, argv: list[str]) -> None:
    """Every row that has no result yet, `--jobs` at a time, each in a process of its own."""
    rows = [(row, seed) for seed in range(args.seeds) for row in args.rows]
    waiting = [(row, seed) for row, seed in rows if not _is_done(args, row, seed)]
    log.info("%d of %d rows to do", len(waiting), len(rows))
    threads = str(max(1, (os.cpu_count() or 1) // args.jobs))
    running: dict[tuple[str, int], subprocess.Popen] = {}
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        while waiting or running:
            while waiting and len(running) < args.jobs:
                row, seed = waiting.pop(0)
                log.info("row %s, seed %d", row, seed)
                with open(args.out / f"{row}.{seed}.log", "a", encoding="utf-8") as output:
                    running[row, seed] = subprocess.Popen(
                        [sys.executable, "-m", "offline.ablate", *argv, "--only", f"{row}.{seed}"],
                        env=os.environ | {"OMP_NUM_THREADS": threads},
                        stderr=output,
                        stdout=output,
                    )
            _reap(args.out, running)
    finally:
        for process in running.values():
            process.terminate()


def _is_done(args: argparse.Namespace, row: str, seed: int) -> bool:
    """Whether the row has a result. Raises RecipeError if another recipe made it."""
    path = args.out / f"{row}.{seed}.json"
    if not path.is_file():
        return False
    recipe = json.loads(json.dumps(load_recipe(args.recipe, [*args.set, f"seed={seed}"]).as_dict()))
    made = json.loads(path.read_text(encoding="utf-8")).get("recipe", recipe)
    if made | {"card": None} != recipe | {"card": None}:  # the card trains nothing
        raise RecipeError(f"{path} was made by another recipe, it cannot stand beside this one's; give another --out")
    return True


def _reap(out: Path, running: dict) -> None:
    for (row, seed), process in list(running.items()):
        try:
            process.wait(timeout=1.0 / len(running))
        except subprocess.TimeoutExpired:
            continue
        del running[row, seed]
        if process.returncode:
            lines = (out / f"{row}.{seed}.log").read_text(encoding="utf-8").splitlines()
            raise RecipeError(f"row {row}, seed {seed} failed: {lines[-1] if lines else process.returncode}")


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m offline.ablate", description=__doc__.split("\n")[0])
    add_data_options(parser, train=True, sets=True)
    parser.add_argument("--recipe", default="ablation", help="a shipped recipe or a yaml file (default %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of the recipe")
    parser.add_argument("--teacher", type=Path, help="bundle or checkpoint; rows with distil or prune need it")
    parser.add_argument("--target", default="cpu", help="whose time decides what is cut (default %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="how many (default %(default)s)")
    parser.add_argument("--rows", type=lambda t: t.split(","), default=ROWS, help=f"of {', '.join(ROWS + TWIN_ROWS)}")
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time (default %(default)s)")
    parser.add_argument("--only", help=argparse.SUPPRESS)  # one row, in this process
    parser.add_argument("--out", required=True, type=Path, help="folder for rows, table and plots")
    args = parser.parse_args(argv)
    if unknown := [row for row in args.rows if row not in ROWS + TWIN_ROWS]:
        raise RecipeError(f"--rows: no row '{unknown[0]}'; choose from {', '.join(ROWS + TWIN_ROWS)}")
    taught = [row for row in args.rows if "distil" in row or "prune" in row]
    if taught and not args.teacher:
        raise RecipeError(f"--rows: {', '.join(taught)} need a --teacher; give one, or leave them out")
    return args


def compare(argv: list[str]) -> dict:
    """Train, measure and compare what `argv` asks for -> the figures, as in the last line of the command's output."""
    args = parse(argv)
    run_all(args, argv)
    return ablation_report.write(args.out, args.rows, args.seeds)


@one_sentence(ended="rows that are done are kept; the same command goes on")
def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    if args.only:
        row, _, seed = args.only.rpartition(".")
        run_row(args, row, int(seed))
        return
    print(json.dumps(compare(argv)))


if __name__ == "__main__":
    main()
