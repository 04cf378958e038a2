"""The main job, start to end, on a machine with nothing but this repository: `make demo`.

1 render      flights over an invented world, with labels (offline/render)
2 compress    a small ViT detector for it, recipe quick (offline/compress.py)
3 fly         a camera process publishes a flight the detector has not seen, the node process answers over DDS
4 report      what came back on the topics against what was there; pictures under out/demo/
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

from offline.files import write_json
from tools.ros_environment import ROOT, ros_environment
from vit_perception.health.board import rss_mb

OUT = ROOT / "out" / "demo"
SIZE, FPS = "480x384", 10.0
FLIGHTS = {  # name: options of offline.render. Their scenes are not those of the training set
    "search": ("--flight", "search", "--frames", "100", "--seed", "2"),
    "approach": ("--flight", "approach", "--frames", "70", "--seed", "4", "--target", "Car", "--ending", "brake"),
}
SMALL = {  # a detector small enough for many steps in the few minutes that a demo may take
    "model.stem": "[8, 16, 32, 64]",
    "model.dim": "128",
    "model.heads": "2",
    "model.mlp": "512",
    "model.neck": "32",
    "teacher.epochs": "40",
    "teacher.lr": "2.0e-3",
    "distil.epochs": "8",
    "distil.lr": "1.0e-3",
    "prune.epochs": "6",
    "prune.lr": "6.0e-4",
    "lowrank.epochs": "0",
    "lowrank.min_steps": "0",
    "thresholds.score": "0.45",
    "thresholds.nms_iou": "0.5",
}


def main() -> int:
    os.environ.update(ros_environment())
    os.chdir(ROOT)
    start = time.monotonic()
    render()
    compress()
    from tools.demo_report import report

    summaries = {name: report(fly(name), OUT / f"{name}.png") for name in FLIGHTS}
    write_json(OUT / "summary.json", summaries)
    print(
        f"\ndemo: {time.monotonic() - start:.0f} s after set-up; in {OUT.relative_to(ROOT)}/: search.png, approach.png,"
    )
    print("summary.json, run/samples.png, and the bundle model/ with its CARD.md")
    print(json.dumps(summaries))
    return 0 if all(s["images_answered"] and s["scans"] for s in summaries.values()) else 1


def headline(text: str) -> None:
    print(f"\n== {text}", flush=True)


def run(*arguments: str) -> None:
    """Run a command of this project; its failure ends the demo with its own message."""
    code = subprocess.call([sys.executable, "-m", *arguments])
    if code:
        sys.exit(code)


def render() -> None:
    headline("1 render: a training set, and flights over other scenes")
    run("offline.render", "--out", f"{OUT}/data", "--train", "240", "--val", "40", "--size", SIZE, "--seed", "0")
    for name, options in FLIGHTS.items():
        run("offline.render", "--out", f"{OUT}/{name}", "--size", SIZE, "--fps", str(FPS), *options)


def compress() -> None:
    headline("2 compress: teacher, distil, prune, low rank, quantise, export, evaluate, bundle, report")
    command = ["offline.compress", "--data", f"{OUT}/data", "--train", "train.json", "--val", "val.json"]
    command += ["--ignore", "DontCare", "--recipe", "quick", "--target", "cpu"]
    command += ["--out", f"{OUT}/model", "--run", f"{OUT}/run"]
    command += [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    if (OUT / "model").exists():  # a finished demo: do it all again
        shutil.rmtree(OUT / "run", ignore_errors=True)
        shutil.rmtree(OUT / "model")
    if (OUT / "run").exists():
        command.append("--resume")
    run(*command)


def fly(name: str):
    """Start node and camera as processes of their own, listen as a navigation node would; returns what was heard."""
    headline(f"3 fly '{name}': camera process -> DDS -> vit_perception -> DDS -> this listener")
    from tools.demo_report import Recorder

    node = start("vit_perception.node", "--params-file", "config/drone.yaml", "-p", f"model:={OUT}/model")
    camera = None
    try:
        with Recorder(OUT / name) as recorder:
            recorder.wait_for_node(node)
            # As many subscribers as there are: the node and this listener. Reliable, so that the listener misses none.
            camera = start(
                "vit_perception.player", "-p", f"folder:={OUT}/{name}/frames", "-p", "reliable:=true",
                "-p", "wait_for_subscribers:=2",
            )  # fmt: skip
            recorder.listen(lambda: camera.poll() is not None)
            recorder.rss_mb = rss_mb(f"/proc/{node.pid}/status") or float("nan")
    finally:
        stop(node)
        if camera is not None:
            stop(camera)
    return recorder


def start(module: str, *ros_arguments: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", module, "--ros-args", "--log-level", "warn", *ros_arguments])


def stop(process: subprocess.Popen) -> None:
    """SIGINT, as Ctrl-C and launch send it."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


if __name__ == "__main__":
    sys.exit(main())
