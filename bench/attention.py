"""Does attention earn its place? A ViT detector and its convolutional twin, trained alike, side by side.

    python bench/attention.py --quick                                # rendered flights, a minute: only the machinery
    python bench/attention.py --data DIR --train F.json --val F.json --ignore DontCare [--teacher PATH]
        [--like models/NAME] [--recipe ablation] [--set distil.epochs=40] [--seeds 3] --out out/attention

The two have one stem, neck, head and number of MACs (conv_twin.py), and see the same crops for the same steps, under
the same teacher if one is given. Times are medians of one thread of ONNX Runtime, in alternation. It is an ablation of
two rows (offline/ablate.py): what is done is kept in --out, and the same command goes on after a kill. The last line is
one JSON object.
"""

import argparse
import json
from pathlib import Path

from offline import ablate
from offline.errors import RecipeError, one_sentence
from offline.render import write_dataset
from vit_perception.bundles.bundle import open_bundle

QUICK_MODEL = {"stem": [8, 16, 16, 32], "dim": 64, "depth": 2, "heads": 1, "mlp": 128, "neck": 16}
QUICK = {"student": QUICK_MODEL, "crops.size": [160, 128], "distil.epochs": 0, "distil.min_steps": 60}
KEYS = ("seeds", "map50", "map50_spread", "map", "map_spread", "per_class_ap50", "params_m", "gmac", "ms_1t", "rss_mb")


def arguments(args: argparse.Namespace) -> list[str]:
    """The command line of offline.ablate."""
    changes = dict(QUICK) if args.quick else {}
    if args.like:
        made = open_bundle(args.like).made.get("model")
        if made is None:
            raise RecipeError(f"--like {args.like}: that bundle does not record its model; give a newer one")
        changes["student"] = {k: v for k, v in made.items() if k not in ("classes", "channels")} | {"ranks": {}}
    if args.data is None:
        args.data, args.ignore = args.out / "flights", ["DontCare"]
        if not (args.data / "val.json").is_file():
            write_dataset(args.data, "thermal", train=24, val=8, size=(160, 128), seed=1)
    argv = ["--data", str(args.data), "--train", args.train, "--val", args.val, "--recipe", args.recipe]
    argv += ["--rows", ",".join(rows(args)), "--seeds", str(args.seeds), "--jobs", str(args.jobs)]
    argv += ["--out", str(args.out), "--target", args.target]
    argv += [part for name in args.ignore for part in ("--ignore", name)]
    argv += ["--classes", args.classes] if args.classes else []
    argv += ["--teacher", str(args.teacher)] if args.teacher else []
    settings = [f"{k}={json.dumps(v)}" for k, v in changes.items()] + args.set
    return argv + [part for setting in settings for part in ("--set", setting)]


def rows(args: argparse.Namespace) -> list[str]:
    """The ablation's rows: with attention, without."""
    return ["distil", "distil+conv"] if args.teacher else ["none", "conv"]


@one_sentence
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="labelled images (default: flights are rendered into --out)")
    parser.add_argument("--train", default="train.json")
    parser.add_argument("--val", default="val.json")
    parser.add_argument("--ignore", action="append", default=[], metavar="CLASS")
    parser.add_argument("--classes", help="comma-separated labels that count")
    parser.add_argument("--teacher", type=Path, help="bundle or checkpoint that teaches both (default: labels alone)")
    parser.add_argument("--like", type=Path, help="bundle whose network is compared (default: the recipe's student)")
    parser.add_argument("--recipe", default="ablation", help="a shipped recipe or a yaml file (default %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of the recipe")
    parser.add_argument("--target", default="cpu", help="board of the predicted times (default %(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="how many (default %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/attention"), help="default %(default)s")
    parser.add_argument("--quick", action="store_true", help="a tiny network and few steps")
    args = parser.parse_args(argv)
    command = arguments(args)
    found = {row["row"]: row for row in ablate.compare(command)["rows"]}
    sides = dict(zip(("attention", "conv"), rows(args), strict=True))
    result: dict = {side: {k: found[row][k] for k in KEYS} for side, row in sides.items()}
    for key in KEYS:
        print(f"{key:<16}" + "".join(f"{result[side][key]!s:>60}" for side in result))
    gain = {k: round(result["attention"][k] - result["conv"][k], 4) for k in ("map50", "map", "ms_1t")}
    print(json.dumps(result | {"attention_minus_conv": gain}))


if __name__ == "__main__":
    main()
