"""CARD.md: what a bundle is, how good it is, how it was made. Every figure comes from the run's notes."""

import json
import platform
from pathlib import Path

from .files import write_atomically
from .progress import clock
from .run import Run

STEPS = ("teacher", "distil", "prune", "fp32", "int8", "fp16")


def card(run: Run, latency: dict[str, dict]) -> str:
    """The text of CARD.md."""
    n, size = run.notes, run.input
    master = n["fp32.metrics"]
    made = " ".join(f"{k} {clock(s)}," for k, s in n["seconds"].items()).rstrip(",")
    return f"""# {run.name}

A ViT detector of {", ".join(run.labels)} for {size["color"]} images, {size["width"]}x{size["height"]}, made by
`python -m offline.compress` with recipe `{run.identity["recipe_name"]}` for {run.target.board}.

![accuracy and time of every stage](stages.png)

## Accuracy
COCO figures on {run.val_data.name} ({master["images"]} images, not trained on), by the code that flies.

{_class_table(master)}

## What each stage cost and gained
{_stage_table(run, latency)}

Time: one thread of ONNX Runtime on this {platform.machine()} machine, one image, medians of alternated runs; trust the
ratios. fp16 is for TensorRT: its time here says nothing. Target: {run.target.why}.

## How it was made
- Training data: {run.train_data.summary()}
- Data hashes (sha256): train {run.train_data.sha256[:16]}, validation {run.val_data.sha256[:16]}
- Seed {run.recipe.seed}; time spent: {made}
- Low rank: {_lowrank(n["lowrank"])}
- Precisions: {_variants(n)}
- The recipe in full:

```json
{json.dumps(run.identity["recipe"])}
```
{_attribution(run)}
## Limits
Detections are as good as the data above: other cameras, heights, seasons and classes were not measured. A detector that
sees nothing is no proof of free space.
"""


def _class_table(metrics: dict) -> str:
    rows = ["| class | boxes | AP | AP50 |", "|---|---|---|---|"]
    for label, m in metrics["per_class"].items():
        ap, ap50 = ("-" if m[k] is None else f"{m[k]:.3f}" for k in ("ap", "ap50"))
        rows.append(f"| {label} | {m['boxes']} | {ap} | {ap50} |")
    return "\n".join([*rows, f"| **all** | | **{metrics['map']:.3f}** | **{metrics['map50']:.3f}** |"])


def _stage_table(run: Run, latency: dict[str, dict]) -> str:
    rows = [
        "| stage or file | parameters | GMAC | file MB | mAP | mAP50 | ms | time ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for step in STEPS:
        if f"{step}.metrics" not in run.notes:
            continue
        m, size = run.notes[f"{step}.metrics"], run.notes.get(f"{step}.size", run.notes["lowrank.size"])
        file = run.notes["export"]["files"].get(step)
        mb = f"{file['bytes'] / 1e6:.2f}" if file else ""
        time = latency.get(step)
        ms, ratio = (f"{time['ms']:.1f}", f"{time['ratio']:.2f}") if time and step != "fp16" else ("", "")
        work = f"{size['parameters'] / 1e6:.2f} M | {size['macs'] / 1e9:.2f}"
        rows.append(f"| {step} | {work} | {mb} | {m['map']:.3f} | {m['map50']:.3f} | {ms} | {ratio} |")
    return "\n".join(rows)


def _lowrank(choices: list[dict]) -> str:
    used = [c for c in choices if c["used"]]
    if not used:
        return f"none of {len(choices)} layers split: none loses enough work at the accepted error"
    return f"{len(used)} of {len(choices)} layers split: " + ", ".join(
        f"{c['name']} to rank {c['rank']} (error {c['error']:.3f}, work -{c['saving']:.0%})" for c in used
    )


def _variants(notes: dict) -> str:
    states = "; ".join(f"{v}: {state}" for v, state in notes["variants"].items())
    widest = notes["widest_fp16"]
    where = f"{widest['value']} ({widest['tensor']})"
    return f"{states}; widest activation outside LayerNorm and GELU {where}, fp16 holds 65504"


def _attribution(run: Run) -> str:
    return f"\n## Data and attribution\n{run.attribution}\n" if run.attribution else ""


def plot_stages(run: Run, latency: dict[str, dict], path: Path) -> None:
    """Bars: mAP50 of every stage and file, and their time where it was measured."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    steps = [s for s in STEPS if f"{s}.metrics" in run.notes]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), constrained_layout=True)
    left.bar(steps, [run.notes[f"{s}.metrics"]["map50"] for s in steps], color="#4477aa")
    left.bar(steps, [run.notes[f"{s}.metrics"]["map"] for s in steps], color="#223355", label="mAP .50:.95")
    left.set(title="mAP50", ylim=(0, 1))
    left.legend(frameon=False, fontsize=7)
    timed = [s for s in steps if s in latency and s != "fp16"]
    right.bar(timed, [latency[s]["ms"] for s in timed], color="#cc6677")
    right.set(title="ms per image, one CPU thread")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    write_atomically(path, lambda p: figure.savefig(p, dpi=110, format="png"))
    plt.close(figure)
