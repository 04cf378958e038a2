"""The main job, start to end, on a machine with nothing but this repository: `make demo`.

1 render      a training set, and two flights over other scenes, with labels (offline/render)
2 compress    a small ViT detector out of models/rendered_teacher: distil, prune, quantise (offline/compress.py)
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
SIZE, FPS = "480x384", 10.0  # the size that the teacher was trained at
TEACHER = ROOT / "models" / "rendered_teacher"
FLIGHTS = {  # name: options of offline.render. Their scenes are those of no training set, the teacher's included
    "search": ("--flight", "search", "--frames", "100", "--seed", "2"),
    "approach": ("--flight", "approach", "--frames", "70", "--seed", "4", "--target", "Car", "--ending", "brake"),
}
SHORT = {  # what recipe quick does, in the two minutes that a demo may take for it
    "crops.objects": "0.4",  # more crops without any object than in quick: trees are no cars
    "crops.pasted": "2",
    "distil.epochs": "5",
    "distil.min_steps": "0",
    "prune.heads": "0.0",  # the teacher has two
    "prune.epochs": "7",
    "prune.min_steps": "0",
    "lowrank.epochs": "0",
    "lowrank.min_steps": "0",
    "lowrank.saving": "1.0",  # none: it wants a fine-tuning of its own
    "thresholds.fp_per_image": "1.0",  # on the validation images, as the teacher has it
    "thresholds.weak_fp_per_image": "4.0",
}


def main() -> int:
    os.environ.update(ros_environment())
    os.chdir(ROOT)
    start = time.monotonic()
    render()
    compress()
    from tools.demo_report import report

    made = {"detector": accuracy()}
    flights = {name: report(fly(name), OUT / f"{name}.png") for name in FLIGHTS}
    write_json(OUT / "summary.json", made | flights)
    print(
        f"\ndemo: {time.monotonic() - start:.0f} s after set-up; in {OUT.relative_to(ROOT)}/: search.png, approach.png,"
    )
    print("summary.json, run/samples.png, and the bundle model/ with its CARD.md")
    print(json.dumps(made | flights))
    return 0 if all(s["images_answered"] and s["scans"] for s in flights.values()) else 1


def headline(text: str) -> None:
    print(f"\n== {text}", flush=True)


def run(*arguments: str) -> None:
    """Run a command of this project; its failure ends the demo with its own message."""
    code = subprocess.call([sys.executable, "-m", *arguments])
    if code:
        sys.exit(code)


def render() -> None:
    headline("1 render: a training set, and flights over other scenes")
    run("offline.render", "--out", f"{OUT}/data", "--train", "400", "--val", "60", "--size", SIZE, "--seed", "0")
    for name, options in FLIGHTS.items():
        run("offline.render", "--out", f"{OUT}/{name}", "--size", SIZE, "--fps", str(FPS), *options)


def compress() -> None:
    headline("2 compress: distil, prune, quantise, export, evaluate, bundle, report")
    command = ["offline.compress", "--data", f"{OUT}/data", "--train", "train.json", "--val", "val.json"]
    command += ["--ignore", "DontCare", "--recipe", "quick", "--teacher", str(TEACHER), "--target", "cpu"]
    command += ["--out", f"{OUT}/model", "--run", f"{OUT}/run"]
    command += [part for key, value in SHORT.items() for part in ("--set", f"{key}={value}")]
    if (OUT / "model").exists():  # a finished demo: do it all again
        shutil.rmtree(OUT / "run", ignore_errors=True)
        shutil.rmtree(OUT / "model")
    if (OUT / "run").exists():
        command.append("--resume")
    run(*command)


def accuracy() -> dict[str, float]:
    """{variant of the bundle: mAP50 on rendered images that trained nothing}, printed as a line."""
    metrics = json.loads((OUT / "model" / "bundle.json").read_text())["metrics"]
    found = {m["variant"]: m["map50"] for m in metrics}
    print("mAP50 on held-out images: " + ", ".join(f"{variant} {value:.3f}" for variant, value in found.items()))
    return found


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
