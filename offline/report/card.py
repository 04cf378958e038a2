"""CARD.md: what a bundle is and is for, how good it is, how it was made. Every figure comes from the run's notes."""

import json
import platform

import numpy as np

from ..data.sample import sides
from ..evaluation.segmentation import worst
from ..progress import clock
from ..run.run import Run
from . import mask_card, tables
from .card_plots import STEPS, short_names
from .origins import attribution, before, flatters, seen

FEW_BOXES = 200  # a class with fewer in training is hardly learnt


def card(run: Run, latency: dict[str, dict]) -> str:
    """The text of CARD.md."""
    n, size = run.notes, run.input
    made = " ".join(f"{k} {clock(s)}," for k, s in n["seconds"].items()).rstrip(",")
    return f"""# {run.name}

{_what(run)} for {size["color"]} images, {size["width"]}x{size["height"]}, made by
`python -m offline.compress` with {tables.recipe_of(run)} for {run.target.board}.

![accuracy and time of every stage](stages.png)

## Intended use
{_intended(run)}

## Not intended
{_not_intended(run)}

## Accuracy
{_accuracy(run)}

## What each stage cost and gained
{_stage_table(run, latency)}

Time: one thread of ONNX Runtime on this {platform.machine()} machine, one image, medians of alternated runs; trust the
ratios. fp16 is for TensorRT: its time here says nothing. {_predicted(run)}Target: {run.target.why}.

## How it was made
- Training data: {run.train_data.summary()}{_parts(run)}{before(run)}
- Data hashes (sha256): train {run.train_data.sha256[:16]}, {_hashes(run)}
- Seed {run.recipe.seed}; time spent: {made}
- Low rank: {_lowrank(n["lowrank"])}
- Precisions: {_variants(n)}
- The log: [run.log](run.log){_losses(run)}
- The recipe in full:

```json
{json.dumps(run.identity["recipe"])}
```
{attribution(run)}
## Limits
{_limits(run)}
"""


def _what(run: Run) -> str:
    apart = f"tells {', '.join(run.segments)} apart, pixel by pixel,"
    if not run.labels:
        return f"A ViT that {apart}"
    return f"A ViT detector of {', '.join(run.labels)}" + (f", which also {apart}" if run.segments else "")


def _parts(run: Run) -> str:
    return "".join(f"\n  - {line}" for line in run.train_data.part_lines())


def _intended(run: Run) -> str:
    rows = []
    for c, label in enumerate(run.train_data.labels):
        boxes = [s.boxes[s.classes == c] for s in run.train_data.samples]
        if side := [round(float(q)) for q in _quantiles(np.concatenate(boxes))]:
            rows.append(f"{label} {side[0]} to {side[1]} pixels")
    use = run.recipe.card.intended.strip() or "For what: not stated."
    if not run.labels:
        return "\n\n".join((use, mask_card.intended(run)))
    facts = (
        f"Finding objects in {run.input['color']} images that resemble its training images, at the sizes that nine of "
        f"ten had there (square root of the area): {', '.join(rows)}."
    )
    return "\n\n".join((use, facts))


def _quantiles(boxes: np.ndarray) -> list[float]:
    return np.percentile(sides(boxes), (5, 95)).tolist() if len(boxes) else []


def _not_intended(run: Run) -> str:
    other = "colour" if run.input["color"] == "gray" else "thermal or other one-channel"
    facts = (
        f"It was not trained on {other} images. It must not be the only means to avoid obstacles, nor decide alone "
        "that nobody is there: a detector that sees nothing is no proof of free space."
    )
    return "\n\n".join(filter(None, (run.recipe.card.not_intended.strip(), facts)))


def _accuracy(run: Run) -> str:
    parts = ([_boxes(run)] if run.labels else []) + ([mask_card.accuracy(run)] if run.segments else [])
    return "\n\n".join(parts)


def _boxes(run: Run) -> str:
    master, teacher = run.figures("fp32"), run.figures("teacher")
    headline = _headline(run, master)
    at = run.notes["fp32.metrics"]["recall_at"]["fp_per_image"]
    score = run.notes["fp32.metrics"]["working_point"]["score"]
    parts = [
        f"{headline}. The fp32 master, by the code that flies. COCO figures; recall at {at:g} false positives of the "
        f"class per image; precision, recall and false positives per image at the bundle's own threshold, {score:g}."
    ]
    for name, m in master.items():
        parts += [f"### {name}\n{m['images']} images{seen(run, name)}.", _class_table(m)]
        if name in teacher and teacher[name]["map50"] is not None and m["map50"] is not None:
            theirs, share = teacher[name]["map50"], tables.kept(teacher[name]["map50"], m["map50"])
            keeps = f"the master keeps {share:.0%}" if share is not None else "too little to compare the master with"
            parts.append(f"Its teacher has mAP50 {theirs:.3f} there: {keeps}.")
        parts += [_group_table(grouping, groups) for grouping, groups in m["groups"].items()]
    parts.append(
        "![precision and recall](curves.png)\n\nPrecision and recall at IoU .5; pale: the teacher; dot: the bundle's "
        f"own threshold; ring: {at:g} false positives of the class per image."
    )
    parts.append("![confusions](confusion.png)\n\nWhat was taken for what at the bundle's own threshold.")
    parts.append(
        "![frames](frames.png)\n\nWhat it finds in six validation images, which are not shown: labels white, "
        "detections at the bundle's own threshold in colour."
    )
    return "\n\n".join(parts)


def _headline(run: Run, master: dict[str, dict]) -> str:
    """mAP50 on the worst set, and whether that flatters."""
    lowest = worst(master)
    found, leak = f"**mAP50 {_cell(master[lowest]['map50'])} on {lowest}**", run.leaks()[lowest]
    if len(master) > 1:
        found += ", the worst of the sets below"
    if flatters(leak):
        found += f"; it flatters, for {leak['twins']} of these images have a near-twin among the training images"
    return found


def _class_table(m: dict) -> str:
    at, point = m["recall_at"], m["working_point"]
    rows = [
        f"| class | boxes | AP | AP50 | recall at {at['fp_per_image']:g} FP | precision | recall | FP per image |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for label, row in m["per_class"].items():
        values = (row["ap"], row["ap50"], at["per_class"][label]["recall"], *point["per_class"][label].values())
        rows.append(f"| {label} | {row['boxes']} | {' | '.join(map(_cell, values))} |")
    totals = (*(_bold(m[k]) for k in ("map", "map50")), "", *map(_cell, point["all"].values()))
    return "\n".join([*rows, f"| **all** | | {' | '.join(totals)} |"])


def _group_table(grouping: str, groups: dict[str, dict]) -> str:
    first = next(iter(groups.values()))
    at = f"{first['recall_at']['fp_per_image']:g} FP"
    labels = list(first["per_class"])
    heads = [grouping, "images", "mAP", "mAP50", *(f"{c}: AP50, recall at {at}" for c in labels)]
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for group, m in groups.items():
        pairs = (
            f"{_cell(m['per_class'][c]['ap50'])}, {_cell(m['recall_at']['per_class'][c]['recall'])}" for c in labels
        )
        rows.append(f"| {group} | {m['images']} | {_cell(m['map'])} | {_cell(m['map50'])} | {' | '.join(pairs)} |")
    return "\n".join(rows)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _bold(value: float | None) -> str:
    return f"**{_cell(value)}**"


def _stage_table(run: Run, latency: dict[str, dict]) -> str:
    names = [d.name for d in (run.val_data, *run.also)]
    keys = {"map": "mAP", "map50": "mAP50"} if run.labels else {}
    keys |= {"miou": "mIoU"} if run.segments else {}
    heads = ["stage or file", "parameters", "GMAC", "file MB"]
    heads += [f"{k}, {name}" for name in short_names(names) for k in keys.values()] + ["ms", "time ratio"]
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for step in STEPS:
        if f"{step}.metrics" not in run.notes:
            continue
        found, size = run.figures(step), run.notes.get(f"{step}.size", run.notes["lowrank.size"])
        file = run.notes["export"]["files"].get(step)
        mb = f"{file['bytes'] / 1e6:.2f}" if file else ""
        time = latency.get(step)
        ms, ratio = (f"{time['ms']:.1f}", f"{time['ratio']:.2f}") if time and step != "fp16" else ("", "")
        work = [f"{size['parameters'] / 1e6:.2f} M", f"{size['macs'] / 1e9:.2f}", mb]
        scores = [_cell(found[name][k]) for name in names for k in keys]
        rows.append(f"| {' | '.join([step, *work, *scores, ms, ratio])} |")
    return "\n".join(rows) + _remarks(run)


def _remarks(run: Run) -> str:
    """What the figures of stages and files cannot tell, but for what holds of the master too: see `_limits`."""
    master = run.figures("fp32")
    said = [
        f"- {step} on {name}: {remark}."
        for step in STEPS
        if f"{step}.metrics" in run.notes
        for name, m in run.figures(step).items()
        for remark in m.get("remarks", [])
        if remark not in master[name].get("remarks", [])
    ]
    return "\n\n" + "\n".join(said) if said else ""


def _predicted(run: Run) -> str:
    """The time on the board, as the report tells it: never measured here, so with its error."""
    board = tables.board_time(run)
    if board is None:
        return ""
    return (
        f"Predicted for {run.target.board}: {board.ms:.1f} ms an image in {tables.precision(run)}, inference only; "
        f"error ±{board.error:.0%} leaving one published speed out, ±{board.new_design:.0%} for a design that is not "
        "among them. "
    )


def _hashes(run: Run) -> str:
    also = "".join(f", {d.name} {d.sha256[:16]}" for d in run.also)
    return f"validation {run.val_data.sha256[:16]}{also}"


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


def _losses(run: Run) -> str:
    return "; the losses: [losses.png](losses.png)" if tables.losses(run) else ""


def _limits(run: Run) -> str:
    """What the figures above say is weak, and what they do not cover."""
    lines = _box_limits(run) if run.labels else []
    lines += mask_card.limits(run) if run.segments else []
    lines.append(
        f"{'Detections are' if run.labels else 'Masks are'} as good as the data above: further cameras, heights, "
        "seasons and classes were not measured."
    )
    return "\n".join(f"- {line}" for line in lines)


def _box_limits(run: Run) -> list[str]:
    sets = run.figures("fp32")
    name = worst(sets)  # the hardest
    m = sets[name]
    found = {c: row["ap50"] for c, row in m["per_class"].items() if row["ap50"] is not None}
    weakest = min(found, key=lambda c: found[c])
    missed = m["working_point"]["per_class"][weakest]["recall"]
    lines = [
        f"The weakest class on {name} is {weakest}: AP50 {found[weakest]:.3f}; at the bundle's own threshold it misses "
        f"{1 - missed:.0%} of them."
    ]
    for grouping, groups in m["groups"].items():
        scores = {g: row["map50"] for g, row in groups.items() if row["map50"] is not None}
        if len(scores) > 1:
            low = min(scores, key=lambda g: scores[g])
            lines.append(f"The weakest {grouping} there is {low}: mAP50 {scores[low]:.3f}.")
    counts = dict(zip(run.train_data.labels, run.train_data.counts().tolist(), strict=True))
    few = [f"{c} ({n})" for c, n in counts.items() if n < FEW_BOXES]
    if few:
        lines.append(f"Classes with few training boxes, hardly learnt: {', '.join(few)}.")
    unmeasured = [c for c in run.labels if not any(s["per_class"].get(c, {}).get("boxes") for s in sets.values())]
    if unmeasured:
        lines.append(f"Classes that no figure above covers: {', '.join(unmeasured)}.")
    return lines + [f"{remark[0].upper()}{remark[1:]}." for remark in m.get("remarks", [])]
