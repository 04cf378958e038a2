"""Does an object keep its id? The tracker against a plain IoU tracker, on rendered flights and on real clips.

    python bench/tracking.py [--model models/uav_thermal] [--data DIR] [--quick]

Flights (survey, search, approach) have true boxes and ids. Detections: the true boxes with the committed detector's
measured noise, with and without its false positives, and those of the model itself on the rendered images. All at 15 Hz
and with a third of the frames dropped at random. The plain tracker has the same rules for death, but matches with
the last box and knows neither velocity nor camera motion. Counted is what is published: confirmed tracks with a
detection in this frame; overlap 0.5, classes aside. True boxes that are mostly hidden or under 8 px are ignored.

With --data DIR (HIT-UAV: docs/models.md, "The data") three clips of it are replayed. Labels there have no ids
and frames no times: each number is taken for 0.1 s. Given are how many confirmed tracks there are, the median length,
and how many labelled boxes each id covers on average. The model was trained on images of these clips. The last line is
one JSON object; idf1, mota, id_switches and baseline_* are those with noise and false positives at 15 Hz.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from offline.data import read_dataset, read_image
from offline.errors import one_sentence
from offline.evaluation.tracking_metrics import Sequence, metrics
from offline.progress import track
from offline.render import Flight
from offline.simulate.noise import SCORE, DetectorNoise
from vit_perception.boxes import greedy, iou
from vit_perception.bundles.bundle import open_bundle
from vit_perception.detector import Detections, Detector
from vit_perception.engines.onnxruntime import OnnxRuntimeEngine
from vit_perception.tracking.camera_motion import CameraMotion
from vit_perception.tracking.tracker import Tracker, longest_coast

PRESETS, FPS, SIZE = ("survey", "search", "approach"), 15.0, (640, 512)
RATES = {"15hz": 0.0, "dropped": 1 / 3}  # part of the frames that is lost
SOURCES = ("noise", "noise_no_false", "model")
VISIBLE, LEAST_PX = 0.3, 8.0
CLIPS = (("1_60_50_0", 281, 406), ("1_60_60_0", 408, 539), ("1_60_30_0", 61, 149))
CLIP_STEP_S = 0.1
FIRST_SEED = 200
FIGURES = ("idf1", "mota", "id_switches", "fragmentations", "recall", "precision")


class PlainTracker:
    """The baseline: greedy IoU with each track's last box. Birth, confirmation and death as the tracker's defaults."""

    def __init__(self, iou_threshold=0.2, new_score=SCORE, confirm_hits=3, max_coast_s=0.5):
        self.iou_threshold, self.new_score = iou_threshold, new_score
        self.confirm_hits, self.max_coast_s = confirm_hits, max_coast_s
        self._tracks, self._made = [], 0

    def update(self, detections, stamp_s, motion=None):
        """[(id, box)] of the confirmed tracks with a detection in this frame."""
        boxes = np.array([t["box"] for t in self._tracks], np.float32).reshape(-1, 4)
        classes = np.array([t["class"] for t in self._tracks], np.int64)
        overlap = iou(boxes, detections.boxes) * (classes[:, None] == detections.classes[None])
        matches = greedy(overlap, self.iou_threshold)
        for t, d in matches:
            hits = self._tracks[t]["hits"] + 1
            self._tracks[t].update(box=detections.boxes[d], hits=hits, stamp=stamp_s)
        self._tracks = [t for t in self._tracks if self._lives(t, stamp_s)]
        for d in set(range(len(detections))) - {d for _, d in matches}:
            if detections.scores[d] >= self.new_score:
                self._made += 1
                new = {"id": self._made, "box": detections.boxes[d], "class": detections.classes[d]}
                self._tracks.append({**new, "hits": 1, "stamp": stamp_s})
        return [(t["id"], t["box"]) for t in self._tracks if t["hits"] >= self.confirm_hits and t["stamp"] == stamp_s]

    def _lives(self, one, stamp_s):
        unseen_s, longest = stamp_s - one["stamp"], longest_coast(one["hits"], self.max_coast_s)
        return unseen_s == 0 or (one["hits"] >= self.confirm_hits and unseen_s <= longest)


class Ours:
    """The tracker behind the same interface, with or without the camera's motion."""

    def __init__(self, camera_motion):
        self._tracker, self._camera_motion = Tracker(high_score=SCORE), camera_motion

    def update(self, detections, stamp_s, motion=None):
        tracks = self._tracker.update(detections, stamp_s, motion if self._camera_motion else None)
        return [(t.id, t.box) for t in tracks if t.detection >= 0]


TRACKERS = {"tracker": lambda: Ours(True), "no_camera_motion": lambda: Ours(False), "baseline": PlainTracker}


def corners(objects) -> np.ndarray:
    """x1, y1, x2, y2 (n, 4) of rendered truths."""
    boxes = np.array([o.bbox for o in objects], np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def without_ignored(found, boxes, ignored):
    """Tracks but those that lie on an ignored box and on no counted one."""
    tracks = np.array([box for _, box in found], np.float32).reshape(-1, 4)
    if not len(tracks) or not len(ignored):
        return found
    best = iou(tracks, boxes).max(axis=1) if len(boxes) else np.zeros(len(tracks))
    keep = (best >= 0.5) | (iou(tracks, ignored).max(axis=1) < 0.3)
    return [f for f, k in zip(found, keep, strict=True) if k]


def fly(flight: Flight, detector: Detector, seed: int) -> dict:
    """{(source, rate, tracker): Sequence} of one flight, every tracker on the same detections."""
    rng = np.random.default_rng(seed)
    noises = {"noise": DetectorNoise(*SIZE), "noise_no_false": DetectorNoise(*SIZE, false_positives=0)}
    cameras = {rate: CameraMotion() for rate in RATES}
    runs = {(s, r, t): (TRACKERS[t](), Sequence()) for s in SOURCES for r in RATES for t in TRACKERS}
    for frame in flight:
        labelled = [o for o in frame.objects if o.label is not None]
        counted = [o for o in labelled if o.visible >= VISIBLE and np.sqrt(o.bbox[2] * o.bbox[3]) >= LEAST_PX]
        ids, boxes = [o.track_id for o in counted], corners(counted)
        ignored = corners([o for o in labelled if o not in counted])
        found = {s: n.apply(boxes, [o.label for o in counted], rng, 1 / FPS, ids) for s, n in noises.items()}
        found["model"] = detector.detect(frame.image, "mono")
        for rate, lost in RATES.items():
            if rng.random() < lost:
                continue
            motion = cameras[rate].update(frame.image, "mono")
            for source in SOURCES:
                for name in TRACKERS:
                    tracker, sequence = runs[source, rate, name]
                    tracks = without_ignored(tracker.update(found[source], frame.stamp_s, motion), boxes, ignored)
                    sequence.add(ids, boxes, [i for i, _ in tracks], [b for _, b in tracks])
    return {key: sequence for key, (_, sequence) in runs.items()}


def milliseconds(rounds: int) -> dict[str, float]:
    """Medians: the trackers with 50 tracks and 50 detections, in turns, and camera motion at 640 x 512."""
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 1000, (50, 2))
    images = [frame.image for frame in Flight("survey", size=SIZE, frames=8)]
    camera, trackers = CameraMotion(), {name: make() for name, make in TRACKERS.items()}
    pan = np.array([[1, 0, 2.0], [0, 1, 2.0]])
    times: dict = {name: [] for name in (*TRACKERS, "camera_motion")}
    for i in range(rounds):
        begin = time.perf_counter()
        camera.update(images[i % len(images)], "mono")
        times["camera_motion"].append(time.perf_counter() - begin)
        centres = start + 2 * i + rng.normal(0, 0.5, start.shape)
        boxes = np.concatenate([centres - 10, centres + 10], axis=1)
        detections = Detections(boxes, rng.uniform(0.4, 0.9, 50), np.zeros(50))
        for name, tracker in trackers.items():
            begin = time.perf_counter()
            tracker.update(detections, i / FPS, pan)
            times[name].append(time.perf_counter() - begin)
    return {name: round(1e3 * float(np.median(t[3:])), 3) for name, t in times.items()}


def replay_clip(samples: list, detector: Detector, color: str) -> dict:
    """{tracker: {"lengths": frames of every id, "ids": those that lie on labels, "covered": labels with a track}}."""
    camera, trackers = CameraMotion(), {name: make() for name, make in TRACKERS.items()}
    figures: dict = {name: {"lengths": {}, "ids": set(), "covered": 0} for name in TRACKERS}
    for sample in samples:
        image = read_image(sample, color, detector.input)
        detections = detector.detect(image, "mono" if color == "gray" else "rgb")
        motion = camera.update(image, "mono" if color == "gray" else "rgb")
        for name, tracker in trackers.items():
            found = tracker.update(detections, number(sample) * CLIP_STEP_S, motion)
            one, boxes = figures[name], np.array([b for _, b in found], np.float32).reshape(-1, 4)
            for track_id, _ in found:
                one["lengths"][track_id] = one["lengths"].get(track_id, 0) + 1
            matches = greedy(iou(sample.boxes, boxes), 0.5)
            one["ids"] |= {found[k][0] for _, k in matches}
            one["covered"] += len(matches)
    return figures


def number(sample) -> int:
    return int(sample.path.stem.rsplit("_", 1)[1])


def replay_clips(data: Path, detector: Detector, color: str) -> dict:
    """Figures of every tracker over the three clips together."""
    parts = ("train_flights.json", "val_flights.json")
    samples = [s for part in parts for s in read_dataset(data, part, None, ("DontCare",)).samples]
    clips = [
        sorted((s for s in samples if s.path.stem.startswith(prefix + "_") and low <= number(s) <= high), key=number)
        for prefix, low, high in CLIPS
    ]
    results = [replay_clip(clip, detector, color) for clip in track(clips, "clips")]
    labels = sum(len(s.boxes) for clip in clips for s in clip)
    figures: dict = {"frames": sum(len(clip) for clip in clips), "labels": labels}
    for name in TRACKERS:
        lengths = [n for r in results for n in r[name]["lengths"].values()]
        ids, covered = sum(len(r[name]["ids"]) for r in results), sum(r[name]["covered"] for r in results)
        figures[name] = {
            "tracks": len(lengths),
            "median_length": float(np.median(lengths)) if lengths else 0.0,
            "mean_length": round(float(np.mean(lengths)), 2) if lengths else 0.0,
            "labels_covered": round(covered / max(labels, 1), 3),
            "labels_per_id": round(covered / max(ids, 1), 2),
        }
    return figures


def of_preset(flown: list, todo: list, preset: str) -> dict:
    """{tracker: idf1 and id_switches} of one kind of flight, with noise and false positives at 15 Hz."""
    result = {}
    for name in TRACKERS:
        figures = metrics(*(f["noise", "15hz", name] for f, (p, _) in zip(flown, todo, strict=True) if p == preset))
        result[name] = {"idf1": round(figures["idf1"], 3), "id_switches": figures["id_switches"]}
    return result


def show(table: dict) -> None:
    print(f"{'detections':<16}{'frames':<9}{'tracker':<18}" + "".join(f"{k[:13]:>14}" for k in FIGURES))
    for (source, rate, name), figures in table.items():
        print(f"{source:<16}{rate:<9}{name:<18}" + "".join(f"{figures[k]:>14}" for k in FIGURES))


@one_sentence
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=Path("models/uav_thermal"), help="default %(default)s")
    parser.add_argument("--data", type=Path, help="folder of HIT-UAV, to replay its clips")
    parser.add_argument("--flights", type=int, default=8, help="of each preset (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one short flight of each preset, no clips")
    args = parser.parse_args(argv)
    bundle = open_bundle(args.model)
    weak = bundle.thresholds.get("weak_score", bundle.thresholds["score"])
    detector = Detector(bundle, OnnxRuntimeEngine(bundle.file("fp32"), threads=1), score_threshold=weak)
    count, frames = (1, 50) if args.quick else (args.flights, 150)
    # Seeds apart from those that the tracker's constants were chosen with.
    todo = [(preset, FIRST_SEED + i) for i in range(count) for preset in PRESETS]
    flown = [fly(Flight(p, size=SIZE, frames=frames, fps=FPS, seed=s), detector, s) for p, s in track(todo, "flights")]
    table = {k: {n: round(v, 3) for n, v in metrics(*(f[k] for f in flown)).items()} for k in flown[0]}
    show(table)
    times = milliseconds(60 if args.quick else 300)
    main_figures, baseline = table["noise", "15hz", "tracker"], table["noise", "15hz", "baseline"]
    result = {
        "flights": len(flown),
        "frames": len(flown) * frames,
        **{k: main_figures[k] for k in FIGURES},
        **{f"baseline_{k}": baseline[k] for k in FIGURES},
        "ms_per_frame_50": times["tracker"],
        "baseline_ms_per_frame_50": times["baseline"],
        "ms_camera_motion": times["camera_motion"],
        "by_flight": {preset: of_preset(flown, todo, preset) for preset in PRESETS},
        "all": {"/".join(k): v for k, v in table.items()},
    }
    if args.data and not args.quick:
        result["clips"] = replay_clips(args.data, detector, bundle.input["color"])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
