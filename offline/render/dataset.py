"""Writes flights and data sets: COCO json for training, a frame folder with camera.yaml and truth.csv for
playing.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from .flight import Flight
from .masks import class_table, palette_png
from .renderer import Frame, Truth
from .scene import CLASSES

CATEGORIES = (*CLASSES, "DontCare")
DONT_CARE = len(CLASSES)
MIN_VISIBLE, MAX_TRUNCATED, MIN_SIDE = 0.3, 0.7, 4.0  # beyond these a box becomes DontCare
HIDDEN, TINY = 0.05, 1.0  # beyond these it is left out
SHOTS = 4  # images a scene: many scenes teach more than many frames of one
HOT = 0.4  # share of the scenes with people whose ground is as warm as they are
MIX = {"survey": 0.4, "search": 0.35, "approach": 0.25}

Progress = Callable[[int], None]


def category(truth: Truth) -> int | None:
    """Category index of an object's box, DONT_CARE for what is hardly seen, None for what is not
    annotated.
    """
    if truth.label is None or truth.visible < HIDDEN or min(truth.bbox[2:]) < TINY:
        return None
    hardly = truth.visible < MIN_VISIBLE or truth.truncated > MAX_TRUNCATED or min(truth.bbox[2:]) < MIN_SIDE
    return DONT_CARE if hardly else truth.label


def write_dataset(
    out_dir: str | Path,
    look: str = "thermal",
    train: int = 200,
    val: int = 40,
    size: tuple[int, int] = (320, 256),
    seed: int = 0,
    progress: Progress | None = None,
    masks: bool = False,
    people: bool = False,
) -> Path:
    """Write the images into OUT/images, OUT/train.json and OUT/val.json in COCO's format; returns OUT.

    file_name is relative to images/. Train and val come from different scenes. Annotations carry distance_m,
    ttc_s (null when not closing in), visible and track_id beside COCO's own keys; CATEGORIES gives the
    classes. masks: write palette PNGs of the same names into OUT/masks too, and their class table
    OUT/classes.csv; the scenes then have houses. people: every image shows another scene, and looks at one person
    of 8 to 260 pixels, seen from 0 to 90 degrees (Flight's hover), on hot ground in HOT of them.
    progress is called with the number of images written so far.
    Raises ValueError for arguments out of range and OSError when the disk refuses.
    """
    if train < 1 or val < 1:
        raise ValueError(f"{train} train and {val} val images make no data set: give at least 1 of each.")
    out = Path(out_dir)
    (out / "images").mkdir(parents=True, exist_ok=True)
    if masks:
        (out / "masks").mkdir(exist_ok=True)
        _write(out / "classes.csv", class_table().encode())
    written = 0
    shots = _people if people else _shots
    for part, (split, count) in enumerate((("train", train), ("val", val))):
        coco: dict = {
            "images": [],
            "annotations": [],
            "categories": [{"id": k, "name": n} for k, n in enumerate(CATEGORIES)],
        }
        for index, frame in enumerate(shots(look, size, count, 2 * seed + part, masks)):
            name = f"{split}_{index:06d}.png"
            _write_png(out / "images" / name, frame.image)
            if frame.mask is not None:
                _write(out / "masks" / name, palette_png(frame.mask))
            _append(coco, name, frame)
            written += 1
            if progress:
                progress(written)
        _write(out / f"{split}.json", json.dumps(coco, allow_nan=False).encode())
    return out


def _shots(look: str, size, count: int, seed: int, masks: bool) -> Iterator[Frame]:
    """`count` frames, SHOTS from each of many flights, at moments drawn at random."""
    rng = np.random.default_rng([seed, 6])
    presets, weights = list(MIX), list(MIX.values())
    for start in range(0, count, SHOTS):
        preset, scene = str(rng.choice(presets, p=weights)), int(rng.integers(1 << 31))
        flight = Flight(preset, look, size, 450, 15.0, seed=scene, masks=masks, houses=masks)
        apart = (96 if flight.target else len(flight)) // SHOTS  # frames; an approach is over after 100
        for shot in range(min(SHOTS, count - start)):
            yield flight.frame(apart * shot + int(rng.integers(apart)))


def _people(look: str, size, count: int, seed: int, masks: bool) -> Iterator[Frame]:
    """`count` frames of as many scenes, each with a person that the camera looks at."""
    rng = np.random.default_rng([seed, 15])
    for _ in range(count):
        scene, hot = int(rng.integers(1 << 31)), bool(rng.random() < HOT)
        yield Flight("hover", look, size, 1, seed=scene, masks=masks, houses=masks, hot=hot).frame(0)


def _append(coco: dict, name: str, frame: Frame) -> None:
    image_id = len(coco["images"]) + 1
    height, width = frame.image.shape[:2]
    coco["images"].append({"id": image_id, "file_name": name, "width": width, "height": height})
    for truth in frame.objects:
        index = category(truth)
        if index is None:
            continue
        x, y, w, h = (round(v, 2) for v in truth.bbox)
        annotation: dict = {"id": len(coco["annotations"]) + 1, "image_id": image_id, "category_id": index}
        annotation |= {"bbox": [x, y, w, h], "area": round(w * h, 2), "iscrowd": 0}
        annotation |= {"distance_m": round(truth.distance_m, 3), "visible": round(truth.visible, 3)}
        annotation["ttc_s"] = round(truth.ttc_s, 3) if np.isfinite(truth.ttc_s) else None
        annotation["track_id"] = truth.track_id
        coco["annotations"].append(annotation)


def render_flight(flight: Flight, out_dir: str | Path, progress: Progress | None = None) -> Path:
    """Write `OUT/frames/*.png` (in time order by name), OUT/truth.csv, OUT/poses.csv and OUT/camera.yaml;
    returns OUT.

    camera.yaml: width, height, fps, frame_id, K (9 numbers, row by row). truth.csv: the fields of Truth, one
    row per frame and object. poses.csv: position and velocity (world, ENU) and rotation (world to camera, row
    by row) of each frame. Raises OSError when the disk refuses.
    """
    out = Path(out_dir)
    frames = out / "frames"
    frames.mkdir(parents=True, exist_ok=True)
    truths: list[dict] = []
    poses: list[dict] = []
    for index, frame in enumerate(flight):
        _write_png(frames / f"{index:06d}.png", frame.image)
        stamp = {"frame": index, "stamp_s": frame.stamp_s}
        truths += [stamp | _flat(truth) for truth in frame.objects]
        poses.append(stamp | _pose(frame))
        if progress:
            progress(index + 1)
    for stale in sorted(frames.glob("[0-9]*.png"))[len(flight) :]:  # of an earlier, longer flight
        stale.unlink()
    _write(out / "truth.csv", _csv(truths))
    _write(out / "poses.csv", _csv(poses))
    _write(out / "camera.yaml", _camera_yaml(flight).encode())
    return out


def _flat(truth: Truth) -> dict:
    """The fields of Truth with bbox as x, y, w, h."""
    values = asdict(truth)
    return dict(zip("xywh", values.pop("bbox"), strict=True)) | values


def _pose(frame: Frame) -> dict:
    camera = frame.camera
    keys = ["x", "y", "z", "vx", "vy", "vz", *(f"r{i}{j}" for i in range(3) for j in range(3))]
    values = np.concatenate([camera.position, camera.velocity, camera.rotation.ravel()]).tolist()
    return dict(zip(keys, values, strict=True))


def _camera_yaml(flight: Flight) -> str:
    K = ", ".join(f"{value:.6f}" for value in flight.K.ravel())
    lines = [f"# {flight.preset} flight, {flight.look} look, seed {flight.seed}"]
    lines += [f"width: {flight.width}", f"height: {flight.height}", f"fps: {flight.fps:g}"]
    lines += ["frame_id: camera_optical", f"K: [{K}]"]
    return "\n".join(lines) + "\n"


def _csv(rows: list[dict]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0] if rows else ["frame", "stamp_s"])
    for row in rows:
        writer.writerow(f"{v:.6g}" if isinstance(v, float) else v for v in row.values())
    return text.getvalue().encode()


def _write_png(path: Path, image: np.ndarray) -> None:
    done, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise OSError(f"{path} cannot be encoded as PNG.")
    _write(path, data.tobytes())


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all: write beside the file, then move into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
