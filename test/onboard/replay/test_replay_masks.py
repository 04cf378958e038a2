"""Replays with a bundle that segments: the mask in every picture, by itself or under the detections."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed (make setup)")

from segment_bundle import COLORS, make_segment_bundle, picture  # noqa: E402

from tools.ros_environment import ROOT  # noqa: E402

FRAMES = 4
CELLS = np.repeat(np.array([[0, 1, 2, 3]]), 6, 0).repeat(2, 1)  # a quarter of each class, from left to right


def replay(tmp_path, task, *options):
    folder = tmp_path / "flight"
    folder.mkdir()
    for i in range(FRAMES):
        cv2.imwrite(str(folder / f"{i}.png"), picture(CELLS, 640, 480))
    model, out = make_segment_bundle(tmp_path / task, task), tmp_path / "report"
    command = [
        sys.executable,
        "-m",
        "vit_perception.replay",
        str(folder),
        "--model",
        model,
        "--out",
        str(out),
        *options,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env=os.environ)
    return done, out


def colour_of(pixels, i):
    """How near the mean colour of some pixels, BGR, is to the direction in which class i's colour would move gray."""
    mean, wanted = pixels.reshape(-1, 3).mean(0), np.array(COLORS[i][::-1], float)
    return float(np.abs((mean - mean.mean()) - 0.35 * (wanted - wanted.mean())).max())


@pytest.mark.parametrize("task", ["segment", "both"])
@pytest.mark.parametrize("options", [(), ("--params", str(ROOT / "config" / "drone.yaml"))])
def test_every_picture_shows_the_mask(tmp_path, task, options):
    done, out = replay(tmp_path, task, *options)
    assert done.returncode == 0, done.stderr + done.stdout
    facts = json.loads((out / "timing.json").read_text())
    assert facts["frames"] == FRAMES and "segmentation" in facts["stages"]
    assert ("track" in facts["stages"]) == (task == "both")
    found = (out / "detections.csv").read_text().splitlines()
    assert (len(found) > 1) == (task == "both"), "white blocks are found by the one that detects"
    capture = cv2.VideoCapture(str(out / "annotated.webm"))
    shown, frame = capture.read()
    assert shown
    for i in range(3):  # of the last quarter, boxes cover much
        assert colour_of(frame[250:470, 160 * i + 30 : 160 * i + 130], i) < 12


def test_no_opacity_no_mask(tmp_path):
    params = tmp_path / "p.yaml"
    params.write_text("/**: {ros__parameters: {debug: {mask_opacity: 0.0}}}\n")
    done, out = replay(tmp_path, "both", "--params", str(params))
    assert done.returncode == 0, done.stderr
    assert "segmentation" not in json.loads((out / "timing.json").read_text())["stages"]


def test_a_replay_through_a_node_needs_detections(tmp_path):
    pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
    done, _ = replay(tmp_path, "segment", "--ros")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "--ros waits for detections, and with segment_only there are none; leave --ros out" in line
