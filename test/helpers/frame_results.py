"""Results of a frame, as the pipeline would give them, and images to draw them into."""

import numpy as np

from vit_perception.avoidance.alerts import Alert
from vit_perception.avoidance.obstacles import Obstacle
from vit_perception.detector import Detections
from vit_perception.pipeline import Result
from vit_perception.tracking.tracker import Track

LABELS = ["person", "car"]
BOX = (100, 100, 200, 180)


def result(box=BOX, threatens=None, detection=0, tracked=True, level=0, remembered=False, **known):
    """One detection, its track and obstacle unless `tracked` is false."""
    track = Track(7, 1, 0.0)
    track.box, track.detection, track.score = np.array(box, np.float32), detection, 0.8
    obstacle = Obstacle(track)
    obstacle.threatens = threatens
    for name, value in known.items():
        setattr(obstacle, name, value)
    found = Detections([box], [0.8], [1]) if detection == 0 else Detections(np.zeros((0, 4)), [], [])
    tracks = [track] if tracked and not remembered else []
    obstacles = [obstacle] if tracked else []
    return Result(found, tracks, obstacles, None, Alert(level, obstacle if level else None), {})


def images(width=640, height=512):
    gray = np.full((height, width), 90, np.uint8)
    return {"mono": gray, "rgb": np.dstack([gray + 1, gray, gray]), "bgr": np.dstack([gray, gray, gray + 1])}
