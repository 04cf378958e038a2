"""The figures of the page. A figure that was not measured is None, and blank on the page."""

from dataclasses import dataclass
from pathlib import Path

from ..boards.latency_model import Prediction, predict
from ..boards.layers import layers_of_config
from ..model.blocks import HEAD_DIM
from ..model.detector import count_macs, count_parameters
from ..model.mobile_stem import block_names, is_mobile
from ..run.cost import precisions_of
from ..run.run import Run
from ..training.curve import read_curve

ABOUT = {
    "teacher": "trained on the labels",
    "search": "the chosen candidate",
    "distil": "student under the teacher",
    "prune": "cut, then fine-tuned",
    "lowrank": "split where it pays",
    "fp32": "the master file",
    "int8": "for ONNX Runtime on a CPU",
    "int8_trt": "for TensorRT, Q/DQ",
    "fp16": "for TensorRT 11 and later",
}
LEARNT = 0.05  # mAP50; a share of less says nothing
MODELS = ("teacher", "search", "distil", "prune", "lowrank")
ON_CPU = ("teacher", "fp32", "int8")  # ONNX Runtime's time of the others says nothing about their consumer


@dataclass
class Row:
    """A stage or a file. predicted: milliseconds on the target's board; minutes: spent in the stage."""

    name: str
    about: str
    parameters: int
    macs: int
    mb: float | None = None
    map: float | None = None
    map50: float | None = None
    ms: float | None = None
    ratio: float | None = None
    predicted: float | None = None
    minutes: float | None = None


def stage_rows(run: Run, latency: dict[str, dict]) -> list[Row]:
    """The stages that this run went through, in order, then the bundle's ONNX files."""
    n = run.notes
    files = {v: f for v, f in n["export"]["files"].items() if f["path"].endswith(".onnx")}
    rows = []
    for name in [s for s in MODELS if run.has(s)] + list(files):
        is_file = name in files
        model, metrics = run.load("lowrank" if is_file else name), n.get(f"{name}.metrics", {})
        macs = count_macs(model, run.input["width"], run.input["height"])
        row = Row(name, ABOUT.get(name, ""), count_parameters(model), macs)
        row.map, row.map50 = metrics.get("map"), metrics.get("map50")
        if is_file or name == "teacher":
            row.mb = (files[name]["bytes"] if is_file else (run.folder / "teacher.onnx").stat().st_size) / 1e6
        if name in ON_CPU and name in latency:
            row.ms, row.ratio = latency[name]["ms"], latency[name]["ratio"]
        if run.target.peak and (not is_file or name == "fp32"):
            row.predicted = predict_config(run, model.config()).ms
        if not is_file and name in n["seconds"]:
            row.minutes = n["seconds"][name] / 60
        rows.append(row)
    return rows


def flown(run: Run) -> str:
    """The file that the target runs: int8 on a CPU, elsewhere the master, of which TensorRT builds its engine."""
    if run.target.name == "cpu" and "int8" in run.notes["export"]["files"] and precision(run) != "fp32":
        return "int8"
    return "fp32"


def precision(run: Run) -> str | None:
    """What the search chose; else the board's usual one; None on a CPU without a search."""
    if "search" in run.notes:
        return run.notes["search"]["chosen"]["precision"]
    return precisions_of(run.target)[0] if run.target.peak else None


def predict_config(run: Run, config: dict) -> Prediction:
    """Time of a model of this config on the run's target, in the precision that flies there (fp32 on a CPU)."""
    layers = layers_of_config(config, run.input["width"], run.input["height"])
    return predict(layers, run.target, (precision(run) if run.target.peak else None) or "fp32", run.notes.get("host"))


def board_time(run: Run) -> Prediction | None:
    """Time of the final model on the board; None for a CPU, where it is measured."""
    return predict_config(run, run.load("quantise").config()) if run.target.peak else None


def recipe_of(run: Run) -> str:
    """'recipe `quick`, changed: teacher.epochs=3' for the card."""
    changed = f", changed: `{', '.join(run.changed)}`" if run.changed else ""
    return f"recipe `{run.identity['recipe_name']}`{changed}"


def kept(teacher: float | None, final: float | None) -> float | None:
    """The share of the teacher's mAP50 that is left; None where the teacher has hardly learnt anything."""
    return final / teacher if teacher and teacher >= LEARNT and final is not None else None


def headline(run: Run, rows: list[Row]) -> dict:
    """What the page opens with: the teacher's row, that of the file the target flies, the board's prediction."""
    by_name = {r.name: r for r in rows}
    teacher, final = by_name["teacher"], by_name[flown(run)]
    others = [r for r in rows if r.name in ("fp32", "int8") and r is not final]
    share = kept(teacher.map50, final.map50)
    return {
        "teacher": teacher,
        "final": final,
        "share": share,
        "board": board_time(run),
        "precision": precision(run),
        "others": others,
    }


@dataclass
class Bar:
    """One width of the network, in the teacher and in the final model; `full` is the longest bar of its group."""

    name: str
    teacher: int
    final: int
    full: int


def cut_bars(teacher: dict, final: dict) -> dict[str, list[Bar]]:
    """{what: bars} of two configs of ViTDetector; a block that only one of them has is 0 in the other."""
    blocks = range(max(teacher["depth"], final["depth"]))

    def per_block(key: str) -> list[tuple[str, int, int]]:
        a, b = ([*c[key], *[0] * (len(blocks) - c["depth"])] for c in (teacher, final))
        return [(f"block {i}", a[i], b[i]) for i in blocks]

    groups = {
        **_stem_bars(teacher["stem"], final["stem"]),
        "Attention, heads": per_block("heads"),
        "MLP, hidden units": per_block("mlp"),
        "Widths": [("tokens", teacher["dim"], final["dim"]), ("neck", teacher["neck"], final["neck"])],
    }
    return {
        title: [Bar(*row, max(1, *(v for r in values for v in r[1:]))) for row in values]
        for title, values in groups.items()
    }


def _stem_bars(teacher: list[int], final: list[int]) -> dict[str, list[tuple[str, int, int]]]:
    """Nothing where the two have stems of other kinds."""
    if len(teacher) != len(final):
        return {}
    if is_mobile(teacher):
        names = [f"stage {stage}, block {block}" for _, stage, block in (name.split(".") for name in block_names())]
        return {"Stem, hidden channels": list(zip(names, teacher, final, strict=True))}
    return {"Stem, channels": list(zip((f"stride {s}" for s in (2, 4, 8, 16)), teacher, final, strict=True))}


def backbone(run: Run) -> str:
    """Whose weights the training started from, all of them; "" if from random ones."""
    unknown = "" if run.attribution else "whose licence and training data are not known here"
    named = [
        ", ".join(filter(None, (record["file"], record.get("attribution", unknown))))
        for record in run.identity.get("backbone", [])
    ]
    return f"It, or a model that it learnt from, started from the weights {'; and from '.join(named)}." if named else ""


def lowrank_rows(run: Run) -> list[dict]:
    """What low rank found for each linear layer, with its size and why it was split or left whole."""
    config, asked = run.load("prune").config(), run.recipe.lowrank.saving
    rows = []
    for c in run.notes.get("lowrank", []):
        inputs, outputs = linear_size(config, c["name"])
        if c["used"]:
            why = "split"
        elif c["saving"] <= 0:
            why = "whole: at this error two thin layers would be more work than one"
        elif c["saving"] < asked:
            why = f"whole: it would lose {c['saving']:.0%} of its work, the recipe asks for {asked:.0%}"
        else:
            why = "whole: two thin layers are not faster on the target"
        ms = c.get("ms") if c["saving"] >= asked else None  # not looked at where too little would go
        rows.append(c | {"inputs": inputs, "outputs": outputs, "why": why, "ms": ms})
    for name, rank in config["ranks"].items():  # no figures were kept of those
        inputs, outputs = linear_size(config, name)
        row = {
            "name": name,
            "inputs": inputs,
            "outputs": outputs,
            "rank": rank,
            "used": True,
            "why": "split by the search",
        }
        rows.append(row | {"error": None, "saving": None, "ms": None})
    return sorted(rows, key=lambda r: int(r["name"].split(".")[1]))


def linear_size(config: dict, name: str) -> tuple[int, int]:
    """(in, out) of the linear layer 'blocks.I.PART' in a model of this config."""
    _, index, part = name.split(".", 2)
    dim, inner, hidden = config["dim"], config["heads"][int(index)] * HEAD_DIM, config["mlp"][int(index)]
    return {
        "attn.qkv": (dim, 3 * inner),
        "attn.proj": (inner, dim),
        "mlp.fc1": (dim, hidden),
        "mlp.fc2": (hidden, dim),
    }[part]


def class_rows(run: Run) -> list[dict]:
    """Per class: boxes, AP and AP50 of the teacher and of the file that flies."""
    teacher, final = (run.notes[f"{k}.metrics"]["per_class"] for k in ("teacher", flown(run)))
    return [{"name": c, "teacher": teacher[c], "final": final[c]} for c in final]


NOT_LOSSES = ("step", "lr", "grad_norm", "images_per_s")


def losses(run: Run) -> dict[str, dict[str, list[float]]]:
    """{stage: columns of its curve} of the stages that left one; the search's candidates are too many."""
    paths = sorted(run.folder.glob("*.curve.jsonl"), key=lambda p: p.stat().st_mtime)
    curves = {p.name.removesuffix(".curve.jsonl"): losses_of(p) for p in paths}
    return {k: v for k, v in curves.items() if v and not k.startswith("search-")}


def losses_of(path: Path) -> dict[str, list[float]]:
    """Columns of a STAGE.curve.jsonl: {"step": [...], each loss: [...]}; {} if nothing was trained."""
    rows = read_curve(path)
    names = ["step", *(k for k in rows[0] if k not in NOT_LOSSES)] if rows else []
    return {k: [row.get(k, float("nan")) for row in rows] for k in names}
