"""camera.yaml beside recorded images: as this project writes it, or as ROS's camera_calibration does."""

import math
import os

import numpy as np
import yaml

from ..avoidance.camera import Camera
from ..errors import PerceptionError
from ..files import read_text

NAMES = ("camera.yaml", "camera.yml")


def read_calibration(folder):
    """camera.yaml in `folder`, or else beside it.

    Taken are width, height, K (9 numbers), D and distortion_model, and what camera_calibration and camera_info_manager
    call them: image_width, image_height, camera_matrix, distortion_coefficients; and fps and frame_id.

    Returns:
        dict: {} if there is no file; else `path`; where it is a calibration, `K` (9 floats), `D` (floats),
        `distortion_model`, `width` and `height`; `fps` and `frame_id` where they are given.

    Raises:
        PerceptionError: it is malformed.
    """
    places = [os.path.join(p, n) for p in (folder, os.path.dirname(os.path.abspath(folder))) for n in NAMES]
    path = next((p for p in places if os.path.isfile(p)), None)
    if path is None:
        return {}
    try:
        values = yaml.safe_load(read_text(path))
        if not isinstance(values, dict):
            raise ValueError("no names and values")
        return dict(_calibration(values), path=path, **_rest(values))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, KeyError, TypeError, ValueError) as e:
        text = "{} is malformed ({}); it needs width, height, fps, frame_id, K"
        raise PerceptionError(text.format(path, " ".join(str(e).split()))) from None


def _calibration(values):
    known = _first(values, "K", "k", "camera_matrix")
    if known is None:
        return {}
    k = _numbers(known)
    if len(k) != 9:
        raise ValueError("K has {} numbers, not 9".format(len(k)))
    width, height = (_first(values, n, "image_" + n) for n in ("width", "height"))
    if width is None or height is None:
        raise ValueError("width and height of the calibrated images are missing")
    d = _first(values, "D", "d", "distortion_coefficients")
    model = values.get("distortion_model", "plumb_bob")
    found = {"K": k, "D": [] if d is None else _numbers(d), "width": int(width), "height": int(height)}
    return dict(found, distortion_model=str(model))


def _rest(values):
    found = {n: values[n] for n in ("frame_id",) if values.get(n) is not None}
    if "fps" in values:
        found["fps"] = float(values["fps"])
        if not 0 < found["fps"] <= 1000:
            raise ValueError("fps must be positive, and 1000 at most")
    return {n: str(v) if n == "frame_id" else v for n, v in found.items()}


def _first(values, *names):
    return next((values[n] for n in names if values.get(n) is not None), None)


def _numbers(matrix):
    """A flat list of floats of a list, of a list of rows, or of {rows, cols, data}."""
    flat = [float(v) for v in np.array(matrix["data"] if isinstance(matrix, dict) else matrix, np.float64).reshape(-1)]
    if not all(map(math.isfinite, flat)):
        raise ValueError("not all numbers are finite")
    return flat


def camera_of(calibration):
    """(Camera or None, why there is none, '' or a sentence) of what `read_calibration` returned."""
    if "path" not in calibration:
        return None, "no camera.yaml beside the images: no ranges, no scan"
    if "K" not in calibration:
        return None, "{} has neither K nor camera_matrix: no ranges, no scan".format(calibration["path"])
    k, width, height, d, model = (calibration[n] for n in ("K", "width", "height", "D", "distortion_model"))
    camera = Camera.from_values(k, width, height, distortion=d, model=model)
    if camera is None:
        text = "{} is no calibration (K is zero, or width and height are): no ranges, no scan"
        return None, text.format(calibration["path"])
    if camera.ignored:
        return camera, "{}: {}; the lens counts as ideal".format(calibration["path"], camera.ignored)
    return camera, ""
