"""A bundle on real clips, through the node over DDS at the rate of a camera: tracks, alerts, latency, on one page.

    python -m tools.ros_environment python bench/clips.py --data DIR [--model models/uav_thermal] [--out out/clips]
    python -m tools.ros_environment python bench/clips.py --quick      # a rendered flight instead

DIR is a folder of HIT-UAV (see bench/tracking.py, which names the clips). The camera process is this one; frames are
published with the stamps of now, without a calibration: nobody knows the camera's, so there are times to contact and no
ranges. Frames there have no times: neighbours may be up to a second apart, so that objects jump more at 15 Hz than in a
flight. Latency is from an image's publication to the reception of its detections. Tracks are the ids of confirmed ones.
The page, index.html, shows frames of the data: it stays in --out. The last line is one JSON object.
"""

import argparse
import html
import json
import os
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from tracking import CLIPS

from bench.parts.rig import Client, programs, render, start_node
from offline.errors import DataError, one_sentence
from offline.files import write_text
from offline.report.samples import write_image
from vit_perception.replay.timeline import timeline

HZ, PICTURES = 15.0, 4
SPACE = "clips"
PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>Clips</title>
<style>body{{font-family:sans-serif;margin:2em;max-width:1300px}}td,th{{padding:3px 12px;text-align:right}}
img{{max-width:100%}}.row img{{width:49%}}</style>
<h1>{model} on {count} clips at {hz:g} Hz</h1>{table}{clips}
"""


class Listener:
    """What the node says of one clip after the other; times are seconds since the clip began.

    Attributes:
        points: (time, track id, None, time to contact) for the timeline. levels: (time, alert level) of each frame.
        seen: {track id: frames with it}. alerts: times at which one was raised. pictures: annotated, BGR.
    """

    def __init__(self, client: Client):
        from diagnostic_msgs.msg import DiagnosticStatus
        from sensor_msgs.msg import Image
        from vision_msgs.msg import Detection2DArray

        name = f"/{SPACE}/vit_perception"
        client.node.create_subscription(Detection2DArray, f"{name}/detections", self._on_detections, 100)
        client.node.create_subscription(DiagnosticStatus, f"{name}/alert", self._on_alert, 100)
        client.node.create_subscription(Image, f"{name}/debug_image", self._on_picture, 10)
        self.begin()

    def begin(self) -> None:
        self.points, self.levels, self.alerts, self.pictures = [], [], [], []
        self.seen: dict[str, int] = defaultdict(int)
        self._start, self._level = time.time(), 0

    def _on_detections(self, msg) -> None:
        from vit_perception.ros.messages import read_detections, stamp_to_seconds

        at = stamp_to_seconds(msg.header.stamp) - self._start
        for track in filter(None, read_detections(msg)[3]):
            self.seen[track] += 1
        self.levels.append((at, self._level))

    def _on_alert(self, msg) -> None:
        level, at = msg.level[0] % 3, time.time() - self._start
        if level > self._level:
            self.alerts.append(at)
        values = {v.key: v.value for v in msg.values}
        if level and values.get("ttc_s"):
            self.points.append((at, values.get("track_id") or 0, None, float(values["ttc_s"])))
        self._level = level

    def _on_picture(self, msg) -> None:
        self.pictures.append(np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width, 3))


def clips_of(data: Path) -> dict[str, np.ndarray]:
    """{name: uint8 (frames, H, W)} of the clips that bench/tracking.py names, in the order of their frame numbers."""
    folder, found = data / "images", {}
    for prefix, low, high in CLIPS:
        numbered = sorted((int(p.stem.rpartition("_")[2]), p) for p in folder.glob(f"{prefix}_*.jpg"))
        paths = [p for n, p in numbered if low <= n <= high]
        if not paths:
            raise DataError(f"no images {prefix}_*.jpg in {folder}; give the folder of HIT-UAV with --data")
        found[f"{prefix}, frames {low} to {high}"] = np.stack([cv2.imread(str(p), cv2.IMREAD_GRAYSCALE) for p in paths])
    return found


def play(client: Client, listener: Listener, frames: np.ndarray) -> dict:
    """Figures of one clip, played once."""
    client.spin(1.5)  # the tracks of the last clip end
    client.forget()
    listener.begin()
    client.fly([client.message(f) for f in frames], len(frames) / HZ, HZ, calibrated=False)
    client.spin(1.0)
    ms = client.end_to_end_ms() or [float("nan")]
    lengths = [n / HZ for n in listener.seen.values()]
    return {
        "frames": len(frames),
        "answered": len(client.answers),
        "p50_ms": round(float(np.percentile(ms, 50)), 1),
        "p95_ms": round(float(np.percentile(ms, 95)), 1),
        "detections_per_frame": round(float(np.mean([n for _, _, n in client.answers] or [0])), 2),
        "tracks": len(lengths),
        "median_track_s": round(float(np.median(lengths or [0])), 2),
        "longest_track_s": round(max(lengths, default=0.0), 2),
        "alerts": len(listener.alerts),
    }


def section(out: Path, number: int, name: str, listener: Listener) -> str:
    """Pictures and timeline of one clip, written to `out`; their HTML."""
    shown = listener.pictures[:: max(1, len(listener.pictures) // PICTURES)][:PICTURES]
    for k, picture in enumerate(shown):
        write_image(out / f"clip{number}_{k}.jpg", picture)
    names = [f"clip{number}_{k}.jpg" for k in range(len(shown))]
    images = "".join(f'<img src="{n}">' for n in names)
    plot = timeline(listener.points, listener.levels, calibrated=False)
    return f'<h2>{html.escape(name)}</h2><div class="row">{images}</div>{plot}'


def table_of(rows: dict[str, dict]) -> str:
    heads = ["clip", *next(iter(rows.values()))]
    lines = [[name, *row.values()] for name, row in rows.items()]
    cells = ["".join(f"<td>{html.escape(str(c))}</td>" for c in line) for line in lines]
    head = "".join(f"<th>{h.replace('_', ' ')}</th>" for h in heads)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{c}</tr>' for c in cells)}</table>"


@one_sentence
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of HIT-UAV")
    parser.add_argument("--model", type=Path, default=Path("models/uav_thermal"), help="default %(default)s")
    parser.add_argument("--threads", type=int, default=0, help="of the engine (default: it chooses)")
    parser.add_argument("--out", type=Path, default=Path("out/clips"), help="default %(default)s")
    parser.add_argument("--quick", action="store_true", help="two seconds of a rendered flight")
    args = parser.parse_args(argv)
    if not args.data and not args.quick:
        parser.error("give --data, or --quick")
    clips = {"rendered": render((640, 512), "thermal", 30)} if args.quick else clips_of(args.data)
    args.out.mkdir(parents=True, exist_ok=True)
    rows, sections = {}, []
    with programs() as (stack, folder):
        parameters = {"model": args.model.resolve(), "threads": args.threads, "debug.max_rate_hz": 2.0}
        node = start_node(stack, folder / "node.log", SPACE, **parameters)
        client = Client(SPACE)
        stack.callback(client.close)
        listener = Listener(client)
        client.connect(node)
        for number, (name, frames) in enumerate(clips.items()):
            rows[name] = play(client, listener, frames)
            sections.append(section(args.out, number, name, listener))
            print(f"{name}: {rows[name]}")
        rss = node.rss_mb
    page = PAGE.format(
        model=html.escape(args.model.name), count=len(rows), hz=HZ, table=table_of(rows), clips="".join(sections)
    )
    write_text(args.out / "index.html", page)
    print(f"one page: {args.out / 'index.html'}")
    print(
        json.dumps(
            {"model": args.model.name, "hz": HZ, "cores": os.cpu_count(), "rss_mb": round(rss, 1), "clips": rows}
        )
    )


if __name__ == "__main__":
    main()
