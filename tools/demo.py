"""The main job, start to end, on a machine with nothing but this repository: `make demo`.

1 render      flights over an invented world, with labels (offline/render)
2 compress    a small ViT detector for it, recipe quick (offline/compress.py)
3 fly         a camera process publishes a flight the detector has not seen, the node process answers over DDS
4 report      what came back on the topics against what was there; pictures under out/demo/
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tools.ros_environment import ROOT, ros_environment

OUT = ROOT / "out" / "demo"
SIZE, FPS, FRAMES = (320, 256), 10.0, 150
FLIGHT = ("approach", 4)  # preset and seed: towards a car, braking with a second left


def main() -> int:
    os.environ.update(ros_environment())
    os.chdir(ROOT)
    start = time.monotonic()
    render()
    compress()
    record = fly()
    from tools.demo_report import report

    ok = report(record, OUT)
    print(f"\ndemo: {time.monotonic() - start:.0f} s after set-up; results in {OUT.relative_to(ROOT)}/")
    return 0 if ok else 1


def headline(text: str) -> None:
    print(f"\n== {text}", flush=True)


def run(*arguments: str) -> None:
    """Run a command of this project; its failure ends the demo with its own message."""
    code = subprocess.call([sys.executable, "-m", *arguments])
    if code:
        sys.exit(code)


def render() -> None:
    headline("1 render: a training set, and a flight over another scene")
    size = f"{SIZE[0]}x{SIZE[1]}"
    run(
        "offline.render",
        "--out",
        f"{OUT}/data",
        "--train",
        "240",
        "--val",
        "40",
        "--size",
        size,
        "--seed",
        "0",
    )
    shutil.rmtree(OUT / "flight", ignore_errors=True)
    preset, seed = FLIGHT
    flight = (
        "--flight",
        preset,
        "--seed",
        str(seed),
        "--frames",
        str(FRAMES),
        "--fps",
        str(FPS),
        "--target",
        "Car",
    )
    run("offline.render", "--out", f"{OUT}/flight", "--size", size, *flight, "--ending", "brake")


def compress() -> None:
    headline("2 compress: teacher, distil, prune, low rank, quantise, export, evaluate, bundle, report")
    command = ["offline.compress", "--data", f"{OUT}/data", "--train", "train.json", "--val", "val.json"]
    command += ["--ignore", "DontCare", "--recipe", "quick", "--target", "cpu"]
    command += ["--out", f"{OUT}/model", "--run", f"{OUT}/run"]
    if (OUT / "model").exists():  # a finished demo: do it all again
        shutil.rmtree(OUT / "run", ignore_errors=True)
        shutil.rmtree(OUT / "model")
    if (OUT / "run").exists():
        command.append("--resume")
    run(*command)


def fly():
    """Start node and camera as processes of their own, listen as a navigation node would; returns what was heard."""
    headline("3 fly: camera process -> DDS -> vit_perception -> DDS -> this listener")
    from tools.demo_report import Recorder

    node = start("vit_perception.node", "--params-file", "config/drone.yaml", "-p", f"model:={OUT}/model")
    camera = None
    try:
        with Recorder(OUT / "flight") as recorder:
            recorder.wait_for_node(node)
            # As many subscribers as there are: the node and this listener. Reliable, so that the listener misses none.
            camera = start(
                "vit_perception.player", "-p", f"folder:={OUT}/flight/frames", "-p", "reliable:=true",
                "-p", "wait_for_subscribers:=2",
            )  # fmt: skip
            recorder.listen(lambda: camera.poll() is not None)
            recorder.rss_mb = rss_mb(node.pid)
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


def rss_mb(pid: int) -> float:
    """Resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


if __name__ == "__main__":
    sys.exit(main())
