"""What fp16 arithmetic does to a bundle's master, with and without LayerNorm and GELU in fp32. Emulated, no GPU.

    python bench/half_precision.py [--model models/NAME] [--data DIR --val val.json --ignore DontCare
        --classes Person,Car,Bicycle --limit 100] [--quick]

First each LayerNorm, GELU and softmax alone, its sums in fp16: what it reads, the largest number on its way (fp16 ends
at 65504), and how far its result is from fp32. Then the whole network, for each kind of sums (fp16_emulation.py has
them) and each set of nodes kept in fp32; what ships keeps LayerNorm and GELU. Worst over the images: the cosine of both
outputs to fp32, plain and centred (the mean of each channel over the points taken away: a constant bias makes any two
outputs look alike), the largest difference of a score; with --data also mAP50. Without --data the inputs are the golden
ones. --quick: golden inputs, no `products`. The last line is a JSON list, one object per bundle.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnx

from offline.compression.fp16_emulation import SUMS, HalfEngine, cosine, parts
from offline.data import Dataset, read_dataset, read_image
from offline.errors import one_sentence
from offline.evaluate import pick_classes
from offline.evaluation.accuracy import EVALUATION_SCORE, coco_metrics, keep_classes
from offline.progress import track
from vit_perception.bundles.bundle import Bundle, open_bundle
from vit_perception.detector import Detector, Letterbox
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine

OUTPUTS = ("logits", "boxes")
COLUMNS = ("cosine_logits", "cosine_boxes", "centred_logits", "centred_boxes", "score_difference", "map50")


def kept_nodes(bundle: Bundle) -> dict[str, set[str]]:
    """Names of the nodes kept in fp32, by variant; the last is what the bundle tells an engine's builder to keep."""
    layers = set(bundle.fp32_layers)
    return {"nothing": set(), "LayerNorm": {n for n in layers if "/norm" in n}, "as shipped": layers}


def load_batches(bundle: Bundle, data: Dataset | None) -> list[np.ndarray]:
    """Inputs float32 (1, C, H, W): the images of `data`, else the golden ones."""
    if data is None:
        return [x[None] for x in np.load(bundle.file("golden"))["images"].astype(np.float32)]
    letterbox, color = Letterbox(bundle.input), bundle.input["color"]
    order = "mono" if color == "gray" else "rgb"
    return [letterbox(read_image(s, color, bundle.input), order)[0].copy() for s in data.samples]


def differences(right: list[dict], found: list[dict]) -> dict[str, float]:
    """Worst figures of outputs `found` to the fp32 ones, image by image."""
    pairs = list(zip(right, found, strict=True))
    centres = [{k: r[k].mean(1, keepdims=True) for k in OUTPUTS} for r in right]
    row = {f"cosine_{k}": min(cosine(r[k], f[k]) for r, f in pairs) for k in OUTPUTS}
    for k in OUTPUTS:
        row[f"centred_{k}"] = min(cosine(r[k] - c[k], f[k] - c[k]) for (r, f), c in zip(pairs, centres, strict=True))
    row["score_difference"] = max(float(np.abs(scores(r) - scores(f)).max()) for r, f in pairs)
    return row


def scores(outputs: dict) -> np.ndarray:
    """A logit that is not a number is no detection, so its score is 0."""
    return np.nan_to_num(1 / (1 + np.exp(-np.clip(outputs["logits"], -60, 60))))


def map50(bundle: Bundle, data: Dataset, outputs: list[dict]) -> float:
    detector = Detector(bundle, OnnxRuntimeEngine(bundle.file("fp32")), score_threshold=EVALUATION_SCORE)
    width, height = bundle.input["width"], bundle.input["height"]
    results = []
    for sample, out in zip(data.samples, outputs, strict=True):
        scale = min(width / sample.width, height / sample.height)
        found = detector.decode(out, scale, sample.width, sample.height)
        results.append(keep_classes(found, bundle.labels, data.labels))
    return coco_metrics(data, results)["map50"]


def figures(bundle: Bundle, data: Dataset | None, kinds: tuple[str, ...]) -> dict:
    master = Path(bundle.file("fp32"))
    batches = load_batches(bundle, data)
    reference = OnnxRuntimeEngine(str(master), threads=1)
    right = [reference.infer(b) for b in batches]
    rows: list[dict] = [{"kept": "everything", "sums": "fp32"}]
    if data is not None:
        rows[0]["map50"] = map50(bundle, data, right)
    for sums in kinds:
        for kept, names in kept_nodes(bundle).items():
            engine = HalfEngine(master, names, sums)
            found = [engine.infer(b) for b in track(batches, f"{bundle.name} {sums} {kept}")]
            row = {"kept": kept, "fp32_nodes": len(names), "sums": sums, "overflowed": len(engine.overflowed)}
            row |= {k: round(v, 6) for k, v in differences(right, found).items()}
            rows.append(row if data is None else row | {"map50": map50(bundle, data, found)})
    return {
        "name": bundle.name,
        "inputs": "golden" if data is None else data.name,
        "images": len(batches),
        "nodes": len(onnx.load(str(master)).graph.node),
        "variants": rows,
        "parts": [
            {k: float(f"{v:.7g}") if type(v) is float else v for k, v in p.items()} for p in parts(master, batches)
        ],
    }


def print_tables(f: dict) -> None:
    print(f"{f['name']}: {f['images']} images of {f['inputs']}, {f['nodes']} nodes")
    print(f"  {'alone, sums in fp16':<28}{'reads':>10}{'inside':>12}{'cosine':>11}{'error':>9}")
    for p in f["parts"]:
        end = "  overflows" if p["overflows"] else ""
        print(f"  {p['name']:<28}{p['input']:10.1f}{p['inside']:12.1f}{p['cosine']:11.6f}{p['error']:9.4f}{end}")
    head = f"  {'kept in fp32':<17}{'nodes':>6}  {'sums':<11}{'overflow':>9}"
    print(head + "".join(f"{c:>17}" for c in COLUMNS))
    for r in f["variants"]:
        head = f"  {r['kept']:<17}{r.get('fp32_nodes', f['nodes']):>6}  {r['sums']:<11}{r.get('overflowed', 0):>9}"
        print(head + "".join(f"{r[c]:17.5f}" if c in r else f"{'-':>17}" for c in COLUMNS))


@one_sentence
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, help="folder of a bundle (default: all of models/)")
    parser.add_argument("--data", type=Path, help="folder with labelled images (default: the golden inputs)")
    parser.add_argument("--val", default="val.json")
    parser.add_argument("--ignore", action="append", default=[], metavar="CLASS")
    parser.add_argument("--classes", help="comma-separated labels that count")
    parser.add_argument("--limit", type=int, default=100, help="images, evenly out of all (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="golden inputs only, no dot products in fp16")
    args = parser.parse_args(argv)
    folders = [args.model] if args.model else sorted(p.parent for p in Path("models").glob("*/bundle.json"))
    rows = []
    for bundle in map(open_bundle, folders):
        if not bundle.labels:
            print(f"{bundle.name}: left out, this compares boxes and it makes masks")
            continue
        data = None
        if args.data is not None and not args.quick:
            classes = pick_classes(args.classes, bundle.labels)
            data = read_dataset(args.data, args.val, None, tuple(args.ignore), classes)
            data.samples = data.samples[:: max(1, -(-len(data) // max(1, args.limit)))]
        rows.append(figures(bundle, data, SUMS[:2] if args.quick else SUMS))
        print_tables(rows[-1])
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
