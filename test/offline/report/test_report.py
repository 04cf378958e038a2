"""report.html of a real, tiny run: valid, self-contained, complete, and with the bundle's figures."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from commands import TINY, command

from offline import compress
from offline.boards.targets import find_target
from offline.data import Dataset, Sample
from offline.evaluation.accuracy import coco_metrics, precision_recall
from offline.evaluation.working_point import over
from offline.render import write_dataset
from offline.report import write_report
from offline.report.card_plots import short_names
from offline.report.frames import match_frame, rank
from offline.report.page import number, percent
from offline.report.page_plots import front_of, part_of, part_order
from offline.report.tables import cut_bars, linear_size, losses_of, lowrank_rows
from offline.run.recipe_file import load_recipe
from offline.stages.preflight import open_run
from vit_perception.detector import Detections

VOID = {"br", "img", "meta", "hr", "input", "link", "source", "col"}
SECTIONS = ["headline", "stages", "pareto", "cuts", "layers", "classes", "frames", "training", "made"]
FORBIDDEN = {"script", "link", "iframe", "object", "embed"}


class Page(HTMLParser):
    """Checks that every tag is closed in its place; collects ids, links, sources and the text outside of style."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.pieces: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, self.open
        self.text = " ".join(" ".join(self.pieces).split())

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.add(tag)
        self.open += [] if tag in VOID else [tag]
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if "href" in values else []
        self.sources += [values["src"]] if "src" in values else []
        assert tag != "img" or values["alt"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> at line {self.getpos()[0]}"

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.pieces.append(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(the finished run, its bundle's folder)."""
    folder = tmp_path_factory.mktemp("report")
    write_dataset(folder / "data", "thermal", train=6, val=4, size=(128, 96), seed=1)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    options = ["--target", "jetson-nano", "--attribution", 'Rendered & <b>"free"']
    arguments = command(folder / "data", folder / "tiny.yaml", folder / "small", *options)[3:]
    compress.main(arguments)
    args = compress.parse([*arguments, "--resume"])
    return open_run(args, load_recipe(args.recipe, args.set), find_target(args.target)), folder / "small"


def page_of(run) -> Page:
    return Page((run.folder / "report.html").read_text(encoding="utf-8"))


def check(page: Page, html: str) -> None:
    assert len(set(page.ids)) == len(page.ids)
    assert all(s.startswith("data:image/") for s in page.sources) and len(page.sources) >= 4
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert not page.tags & FORBIDDEN and not re.search(r"url\(|@import|https?://|file:", html)
    assert not re.search(r"\b(nan|inf|None|Undefined)\b", page.text, re.IGNORECASE)


def test_the_page_is_valid_self_contained_and_complete(made):
    run, _ = made
    page = page_of(run)
    check(page, (run.folder / "report.html").read_text(encoding="utf-8"))
    optional = set() if list(run.folder.glob("*.curve.jsonl")) else {"training"}
    assert [s for s in SECTIONS if s not in page.ids and s not in optional] == []
    assert "may not be yours to publish" in page.text and 'Rendered & <b>"free"' in page.text


def test_the_figures_are_those_of_the_bundle(made):
    run, folder = made
    manifest = json.loads((folder / "bundle.json").read_text())
    text = page_of(run).text
    flying = next(m for m in manifest["metrics"] if m["variant"] == "fp32")
    head = text[text.index("Size") : text.index("Stage by stage")]
    assert (
        f"Accuracy, mAP50 {flying['map50']:.3f}" in head
        and f"{manifest['files']['fp32']['bytes'] / 1e6:.2f} MB" in head
    )
    latency = run.notes["latency"]
    assert f"{latency['teacher']['ms']:.1f} → {latency['fp32']['ms']:.1f} ms" in head and "Predicted, fp16" in head
    for m in manifest["metrics"]:
        row = text[text.index(f" {m['variant']} ", text.index("Stage by stage")) :]
        assert f"{m['map']:.3f} {m['map50']:.3f}" in row[:120]
    for figure in (manifest["made"]["train"]["sha256"], manifest["files"]["int8"]["sha256"][:16]):
        assert figure in text


def test_search_goal_and_training_curves_are_shown_if_there_are_some(made):
    run, folder = made
    (run.folder / "teacher.curve.jsonl").write_text(
        "".join(json.dumps({"step": i, "lr": 1e-3, "cls": 2 - i / 50, "box": 1.0}) + "\n" for i in range(50))
    )
    tried = [
        {"name": f"c{i}", "precision": "fp16", "ms": i + 1.0, "error": 0.1, "merit": 0.1 * i, "config": {}}
        for i in range(4)
    ]
    run.notes["search"] = {"chosen": tried[2], "tried": tried}
    run.notes["goal"] = {"goal": "2 ms", "met": False, "ms": 3.0, "how": "predicted", "precision": "fp16", "merit": 0.2}
    path = write_report(run, folder, run.notes["latency"])
    page = page_of(run)
    check(page, path.read_text(encoding="utf-8"))
    assert "The 4 candidates" in page.text and "Goal 2 ms: not met" in page.text and "training" in page.ids


def test_lowrank_rows_say_why(made):
    run, _ = made
    run.recipe.lowrank.saving = 0.3
    found = {"name": "blocks.0.mlp.fc1", "rank": 8, "error": 0.01, "ms": 0.0, "used": False}
    cases = [(-0.2, False, "more work"), (0.2, False, "asks for 30%"), (0.5, False, "not faster"), (0.5, True, "split")]
    run.notes["lowrank"] = [found | {"saving": s, "used": used} for s, used, _ in cases]
    rows = lowrank_rows(run)
    assert all(say in row["why"] for row, (_, _, say) in zip(rows, cases, strict=True))
    assert [row["ms"] for row in rows] == [None, None, 0.0, 0.0]


def sample(boxes, classes, ignore=()):
    arrays = (np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(classes, np.int64))
    return Sample(Path("x.png"), 0, 100, 100, *arrays, np.asarray(ignore, np.float32).reshape(-1, 4))


A, B, FAR = [10, 10, 30, 30], [50, 50, 80, 80], [0, 60, 20, 90]


def test_frames_are_judged_by_class_overlap_and_ignore_regions():
    def counts(truth, found):
        frame = match_frame(0, truth, found)
        return frame.found, frame.missed, frame.false

    truth = sample([A, B], [0, 1])
    assert counts(truth, Detections([A, B], [0.9, 0.8], [0, 1])) == (2, 0, 0)
    assert counts(truth, Detections([A, A], [0.9, 0.8], [0, 0])) == (1, 1, 1)  # a label counts once
    assert counts(truth, Detections([A, B], [0.9, 0.8], [1, 1])) == (1, 1, 1)  # of another class
    assert counts(truth, Detections([], [], [])) == (0, 2, 0)
    assert counts(sample([], []), Detections([FAR], [0.9], [0])) == (0, 0, 1)
    assert counts(sample([], [], [[0, 50, 40, 99]]), Detections([FAR], [0.9], [0])) == (0, 0, 0)
    assert len(over(Detections([A, B], [0.9, 0.2], [0, 1]), 0.3)) == 1


def test_best_and_worst_frames_do_not_mix():
    good, none = Detections([A, B], [0.9, 0.8], [0, 1]), Detections([], [], [])
    data = Dataset("d", ["a", "b"], [sample([A, B], [0, 1])] * 4 + [sample([], [])], "")
    best, worst = rank(data, [good, none, good, none, none])
    assert [f.index for f in best] == [0, 2] and [f.index for f in worst] == [1, 3]


def test_curves_average_to_ap50():
    data = Dataset("d", ["a", "b", "c"], [sample([A, B], [0, 1])] * 3, "")
    results = [Detections([A, FAR], [0.8, 0.9], [0, 0])] * 3
    curves, metrics = precision_recall(data, results), coco_metrics(data, results)
    assert set(curves) == {"a", "b"} and curves["a"].shape == (101,)
    assert {c: pytest.approx(p.mean(), abs=1e-4) for c, p in curves.items()} == {
        c: metrics["per_class"][c]["ap50"] for c in curves
    }


def test_the_front_holds_what_nothing_beats():
    points = [("slow", 9, 0.5), ("best", 5, 0.6), ("fast", 1, 0.2), ("same", 1, 0.1), ("worse", 6, 0.6)]
    assert [p[0] for p in front_of(points)] == ["fast", "best"]


def test_curves_hold_the_losses_alone(tmp_path):
    path = tmp_path / "teacher.curve.jsonl"
    assert losses_of(path) == {}
    path.write_text(
        '{"step": 0, "cls": 2, "lr": 0.1, "grad_norm": 9}\n{"step": 1, "cls": 1, "lr": 0.1}\n{"step": 2, "cl'
    )
    assert losses_of(path) == {"step": [0, 1], "cls": [2, 1]}


def test_cut_bars_name_what_is_gone():
    teacher = {"stem": [8, 16, 16, 32], "dim": 128, "depth": 2, "heads": [4, 2], "mlp": [512, 512], "neck": 32}
    final = teacher | {"depth": 1, "heads": [3], "mlp": [256], "dim": 96}
    bars = cut_bars(teacher, final)
    assert [(b.teacher, b.final, b.full) for b in bars["Attention, heads"]] == [(4, 3, 4), (2, 0, 4)]
    assert [(b.name, b.teacher, b.final) for b in bars["Widths"]] == [("tokens", 128, 96), ("neck", 32, 32)]
    assert linear_size(final, "blocks.0.attn.qkv") == (96, 3 * 3 * 64)


def test_parts_are_in_the_order_of_the_network():
    names = [
        "heads.8.cls.1",
        "blocks.10.mlp.fc1.0",
        "blocks.2.norm1",
        "up.0",
        "embed.0",
        "stem.0.0",
        "stem.3.0.0",
        "norm",
    ]
    parts = sorted({part_of(n) for n in names}, key=part_order)
    assert parts == ["stem /2", "stem /16", "tokens", "block 2", "block 10", "neck", "head"]


def test_what_was_not_measured_is_blank():
    assert number(None) == number(float("nan")) == percent(None) == "" and number(1234567, 2, 1e6) == "1.23"


def test_sets_are_named_by_their_files_unless_these_are_alike():
    assert short_names(["hit_uav/val_flights.json", "hit_uav/val.json"]) == ["val_flights", "val"]
    alike = ["hit_uav/val.json", "asl_tid/val.json", "asl_tid/val.json (inverted)"]
    assert short_names(alike) == ["hit_uav/val", "asl_tid/val", "asl_tid/val (inverted)"]
