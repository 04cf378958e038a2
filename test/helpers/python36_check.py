"""What test_python36.py runs in a real Python 3.6 with the libraries of a board. Python 3.6 and later.

    python3.6 test/helpers/python36_check.py PART [PART ...]      prints {part: what it found} as JSON

imports      every onboard module is compiled and, if it needs no ROS package, imported
pipeline     frames through letterbox, decoding, tracker, obstacles and alerts; what the network would say comes from
             golden.npz, for no ONNX Runtime runs with NumPy 1.13
motion       a textured wall ahead as an obstacle by motion
onnxruntime  the fast bundle's fp32 and int8 files on ONNX Runtime, proven on golden.npz, and the same frames
tensorrt     an fp16 engine on the stand-in TensorRT (test/tensorrt_surfaces.py sets it up): built, proven, run, closed
"""

import importlib
import json
import os
import sys
import tempfile

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT)
ROS = ("rclpy", "launch", "launch_ros", "ament_index_python", "rcl_interfaces")  # and every package of messages
SCORE = 0.1  # the golden image is no flight: nothing in it is sure
FRAMES = 8


def imports():
    """{module: "imported", or the ROS package without which it was only compiled}."""
    from old_libraries import onboard_files

    found = {}
    for path in onboard_files():
        name = os.path.relpath(path, ROOT)[: -len(".py")].replace(os.sep, ".").replace(".__init__", "")
        with open(path, encoding="utf-8") as f:
            compile(f.read(), path, "exec")
        if name.startswith("launch."):
            found[name] = "launch"
            continue
        try:
            importlib.import_module(name)
            found[name] = "imported"
        except ImportError as e:
            package = (e.name or "").split(".")[0]
            if package not in ROS and not package.endswith(("_msgs", "_srvs")):
                raise
            found[name] = package
    return found


class Replay:
    """An engine that gives the first outputs of golden.npz, whatever it is shown."""

    def __init__(self, bundle):
        self.input_shape = (1, 1, bundle.input["height"], bundle.input["width"])
        self._golden = golden(bundle)

    def infer(self, batch):
        assert batch.shape == self.input_shape and batch.dtype == np.float32
        return {name: self._golden[name][:1] for name in ("logits", "boxes")}


def bundle():
    from vit_perception.bundles.bundle import open_bundle

    return open_bundle(os.path.join(ROOT, "models", "uav_thermal_tiny"))


def golden(of):
    with np.load(of.file("golden"), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def fly(of, engine):
    """Fly the first golden image past the camera; returns what the last frame of each kind of image gave."""
    from vit_perception.avoidance.camera import Camera
    from vit_perception.avoidance.class_sizes import sizes_by_index
    from vit_perception.detector import Detector
    from vit_perception.pipeline import Pipeline

    image = golden(of)["images"][0, 0].astype(np.float64) * of.input["std"][0] + of.input["mean"][0]
    mono = np.clip(np.round(255 * image), 0, 255).astype(np.uint8)
    found = {}
    for order in ("mono", "bgr"):
        pipeline = Pipeline(Detector(of, engine))
        pipeline.configure({"score_threshold": SCORE, "weak_score": SCORE})
        pipeline.obstacles.sizes = sizes_by_index(of.labels, ["person", "car"], [1.7, 1.5], [0.15, 0.2])
        for i in range(FRAMES):
            frame = np.roll(mono, i, 1)
            if order == "bgr":  # twice as large, so that it is scaled
                frame = np.stack([frame.repeat(2, 0).repeat(2, 1)] * 3, 2)
            camera = Camera(20, 20, frame.shape[1] / 2.0, frame.shape[0] / 2.0, frame.shape[1], frame.shape[0])
            result = pipeline.process(frame, order, 10 + 0.1 * i, camera)
        found[order] = {
            "boxes": result.detections.boxes.tolist(),
            "scores": result.detections.scores.tolist(),
            "classes": result.detections.classes.tolist(),
            "tracks": [t.id for t in result.tracks],
            "ranges": [o.range_m for o in result.obstacles],
            "rays": int(np.isfinite(result.scan_ranges).sum()),
            "alert": [result.alert.level, result.alert.threat],
        }
    return found


def pipeline():
    of = bundle()
    return fly(of, Replay(of))


def motion():
    """[true and told time to contact] of every image that told one, of a flight at a textured wall."""
    from textured_way import CAMERA, MOUNT, flight

    from vit_perception.motion_obstacles.watcher import MotionObstacles

    watcher, told = MotionObstacles(enabled=True), []
    for image, stamp_s, ego, truth in flight(frames=30):
        found = watcher.update(image, "mono", stamp_s, CAMERA, MOUNT, ego, np.zeros((0, 4)), 0.9, 0.75)
        told += [[truth, found[0].ttc_s]] if found else []
    return told


def onnxruntime():
    """{precision: proof}, the frames, and the version."""
    import onnxruntime

    from vit_perception.engines import open_engine

    of, found = bundle(), {"version": onnxruntime.__version__}
    for precision in ("int8", "fp32"):
        engine = open_engine(of, backend="onnxruntime", precision=precision, threads=1)
        found[precision] = engine.proof
    found["frames"] = fly(of, engine)
    engine.close()
    return found


def tensorrt():
    """The stand-in's version, what the engine says of itself, whether the second start built again, and the frames."""
    import tensorrt

    from vit_perception.engines import open_engine

    of, built = bundle(), []
    with tempfile.TemporaryDirectory() as cache:
        for _ in range(2):
            lines = []
            engine = open_engine(of, "tensorrt", "fp16", cache=cache, progress=lines.append)
            built.append(bool(lines))
            frames = fly(of, engine)
            engine.close()
    return {
        "version": tensorrt.__version__,
        "engine": [engine.name, engine.precision, engine.device],
        "proof": engine.proof,
        "built": built,
        "frames": frames,
    }


PARTS = {"imports": imports, "pipeline": pipeline, "motion": motion, "onnxruntime": onnxruntime, "tensorrt": tensorrt}


if __name__ == "__main__":
    versions = {"python": sys.version.split()[0], "numpy": np.__version__}
    print(json.dumps(dict(versions, **{part: PARTS[part]() for part in sys.argv[1:]})))
