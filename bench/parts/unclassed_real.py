"""Real images, and a photo-real clip, for bench/unclassed.py: what is told of them, and what must not be."""

import csv
from pathlib import Path

import cv2
import numpy as np

from bench.parts.unclassed_flights import Frame, time_to_contact
from bench.parts.unclassed_watch import Watch, score
from offline.render import Camera
from offline.simulate.ego_noise import EgoErrors, EgoSensors
from vit_perception.avoidance.geometry import Ego, matrix_from_quaternion

FPS = 15.0
# Frames of TartanAir are 1 to 6 cm apart: all is taken for four times as large, which images cannot tell.
LARGER, LAST, TARTAN_K = 4.0, 100, np.array([[320.0, 0, 319.5], [0, 320.0, 239.5], [0, 0, 1]])
NED_TO_OPTICAL = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])  # of a body: x forward, y right, z down
CLIPS = (("1_60_50_0", 281, 406), ("1_60_60_0", 408, 539), ("1_60_30_0", 61, 149))  # of HIT-UAV: 60 m high, oblique
ZOOM_K = np.array([[554.0, 0, 319.5], [0, 554.0, 239.5], [0, 0, 1]])  # any focal length fits a zoom; 60 degrees


def real_part(folder: Path) -> dict:
    """{clip: figures}; folders that are not there are left out, and said so."""
    parts = {"tartanair": tartanair, "hit_uav": hit_uav, "zoom": zoom}
    return {n: run(folder / n) if (folder / n).is_dir() else "not there" for n, run in parts.items()}


def tartanair(folder: Path) -> dict:
    """The flight of frames 100 to 0, backwards: towards walls, with exact depth and an autopilot's errors."""
    poses = np.loadtxt(folder / "poses.txt")[: LAST + 1][::-1]
    places = LARGER * poses[:, 1:4] * [1, -1, -1]  # NED -> north, west, up
    flip = np.diag([1.0, -1, -1])
    rotations = []
    for quaternion in poses[:, 4:]:
        body = matrix_from_quaternion(*quaternion)  # body (FRD) -> NED
        assert body is not None
        rotations.append(NED_TO_OPTICAL @ body.T @ flip)  # world -> camera

    def camera_at(t: float) -> Camera:
        """Between frames the camera goes straight, and turns by the shortest way."""
        x = min(max(t * FPS, 0.0), LAST - 1e-6)
        i, part = int(x), x - int(x)
        turn, _ = cv2.Rodrigues(rotations[i + 1] @ rotations[i].T)
        rotation = cv2.Rodrigues(part * turn)[0] @ rotations[i]
        near = slice(max(i - 2, 0), min(i + 4, LAST + 1))
        steps = np.diff(places[near], axis=0)
        place = (1 - part) * places[i] + part * places[i + 1]
        return Camera(TARTAN_K, 640, 480, place, rotation, FPS * steps.mean(axis=0))

    watch = Watch(camera_at(0.0))
    sensors = EgoSensors(camera_at, EgoErrors(), np.random.default_rng(1))
    for i in range(LAST + 1):
        image = cv2.imread(str(_frame(folder / "frames", LAST - i)), cv2.IMREAD_GRAYSCALE)
        depth = cv2.imread(str(_frame(folder / "depth", LAST - i)), cv2.IMREAD_UNCHANGED)
        depth = LARGER * 1e-3 * cv2.resize(depth, (640, 480), interpolation=cv2.INTER_NEAREST).astype(np.float32)
        truth = time_to_contact(depth, camera_at(i / FPS))
        watch.step(Frame(image, i / FPS, np.zeros((0, 4)), truth), sensors.ego(i / FPS))
    row = watch.row()
    told = score([dict(row, lead_s=row["lead_s"] or 0.0)])
    known = [t for t, _ in watch.levels if t < 5]
    return told | {"lead_s": row["lead_s"], "active": watch.active, "frames": row["frames"], "near": len(known),
                   "told": len(watch.errors), "false": row["false"]}  # fmt: skip


def hit_uav(folder: Path) -> dict:
    """Nothing is near: every alert is false. Nobody knows the motion: it is taken for one along the optical axis."""
    frames = alerts = active = 0
    for prefix, low, high in CLIPS:
        numbered = sorted((int(p.stem.rpartition("_")[2]), p) for p in (folder / "images").glob(f"{prefix}_*.jpg"))
        paths = [p for n, p in numbered if low <= n <= high]
        watch = Watch(
            Camera(np.array([[554.0, 0, 319.5], [0, 554.0, 255.5], [0, 0, 1]]), 640, 512, np.zeros(3), np.eye(3))
        )
        for i, path in enumerate(paths):
            image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            watch.step(Frame(image, i / FPS, np.zeros((0, 4)), np.inf), None)
        row = watch.row()
        frames, alerts, active = frames + row["frames"], alerts + row["false"], active + row["active"]
    return {"frames": frames, "active": active, "false": alerts}


def zoom(folder: Path) -> dict:
    """Photos, zoomed as if the camera flew into them at 4 m/s (a), and away from them (b), with exact velocity."""
    found = {}
    for clip, speed in (("zoom_car_a", 4.0), ("zoom_car_b", -4.0)):
        with open(folder / clip / "gt.csv", newline="") as file:
            rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        paths = sorted((folder / clip / "images").iterdir())
        watch = Watch(Camera(ZOOM_K, 640, 480, np.zeros(3), np.eye(3)))
        for row, path in zip(rows, paths, strict=True):
            image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            truth = row["ttc_s_signed"] if row["ttc_s_signed"] > 0 else np.inf
            ego = Ego([speed, 0, 0], [0, 0, 0], np.eye(3), None, row["t_s"])
            watch.step(Frame(image, row["t_s"], np.zeros((0, 4)), truth), ego)
        row = watch.row()
        found[clip] = score([dict(row, lead_s=row["lead_s"] or 0.0)]) | {"lead_s": row["lead_s"], "false": row["false"]}
    return found


def _frame(folder: Path, index: int) -> Path:
    return next(p for p in (folder / f"{index:06d}{end}" for end in (".jpg", ".png")) if p.exists())
