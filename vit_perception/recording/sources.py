"""Recorded images without ROS: a folder of pictures, or a video, with the camera.yaml beside it."""

import math
import os

import cv2
import yaml

from ..errors import ImageError, PerceptionError
from ..images.files import SUFFIXES, read_file
from ..natural_order import natural_key

DEFAULT_FPS = 10.0


class Images:
    """The pictures of a folder, in the order of their names: numbers in them count as numbers.

    Args:
        folder: their folder. list_file: a file with one name per line; empty takes all.

    Attributes:
        fps (float): images a second, of camera.yaml, else 10. calibration (dict): what camera.yaml says, or {}.

    Raises:
        PerceptionError: there are none, a listed one is missing, or camera.yaml is malformed.
    """

    def __init__(self, folder, list_file=""):
        self.files = find_images(folder, list_file)
        self.calibration = read_calibration(folder)
        self.fps = self.calibration.get("fps", DEFAULT_FPS)

    def __len__(self):
        return len(self.files)

    def __iter__(self):
        """Yields uint8, uint16 or float32, (H, W) or BGR (H, W, 3). Raises PerceptionError for what is no image."""
        for name in self.files:
            try:
                yield read_file(name)
            except ImageError as e:
                raise PerceptionError("cannot play: {}".format(e)) from None


class Video:
    """The frames of a video file, BGR uint8 (H, W, 3), with the attributes of `Images`; its length as the file tells.

    Raises:
        PerceptionError: OpenCV cannot open it, or camera.yaml is malformed.
    """

    def __init__(self, path):
        if not os.path.isfile(path):
            raise PerceptionError("no video '{}'".format(path))
        self._path = path
        self.calibration = read_calibration(os.path.dirname(os.path.abspath(path)))
        capture = self._open()
        rate, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.release()
        sane = math.isfinite(rate) and 0 < rate <= 1000
        self.fps = self.calibration.get("fps", rate if sane else DEFAULT_FPS)
        self._count = int(count) if 0 < count < 1e9 else 0

    def _unreadable(self):
        text = "cannot read {}: no video, or one that this OpenCV cannot decode; convert it, or play a folder"
        return PerceptionError(text.format(self._path))

    def _open(self):
        capture = cv2.VideoCapture(self._path)
        if not capture.isOpened():
            raise self._unreadable()
        return capture

    def __len__(self):
        return self._count

    def __iter__(self):
        capture = self._open()
        try:
            some = False
            while True:
                read, frame = capture.read()
                if not read:
                    break
                some = True
                yield frame
            if not some:
                raise self._unreadable()  # old versions of OpenCV open anything
        finally:
            capture.release()


def find_images(folder, list_file=""):
    """Paths of the images to play. Raises PerceptionError if there are none, or a listed one is missing."""
    if not os.path.isdir(folder):
        raise PerceptionError("no folder '{}'; set the parameter folder to a folder of images".format(folder))
    if list_file:
        try:
            # Names that are no UTF-8 stay as they are; Windows begins a file with a byte order mark.
            with open(os.path.expanduser(list_file), encoding="utf-8-sig", errors="surrogateescape") as f:
                names = [line.strip() for line in f if line.strip()]
        except (OSError, UnicodeDecodeError) as e:
            raise PerceptionError("cannot read the list of images: {}".format(e)) from None
    else:
        names = sorted((n for n in os.listdir(folder) if n.lower().endswith(SUFFIXES)), key=natural_key)
    missing = [n for n in names if not os.path.isfile(os.path.join(folder, n))]
    if missing:
        text = "{} of {} listed images are not in {}, first: {}"
        raise PerceptionError(text.format(len(missing), len(names), folder, missing[0]))
    if not names:
        raise PerceptionError("no images in {}; supported: {}".format(list_file or folder, " ".join(SUFFIXES)))
    return [os.path.join(folder, n) for n in names]


def read_calibration(folder):
    """camera.yaml in `folder` or beside it as a dict, {} if there is none. PerceptionError if it is malformed."""
    places = [os.path.join(p, "camera.yaml") for p in (folder, os.path.dirname(os.path.abspath(folder)))]
    path = next((p for p in places if os.path.isfile(p)), None)
    if path is None:
        return {}
    try:
        with open(path) as f:
            values = yaml.safe_load(f)
        if not isinstance(values, dict):
            raise ValueError("no names and values")
        if "K" in values:
            values["K"] = [float(v) for v in values["K"]]
            values["width"], values["height"] = int(values["width"]), int(values["height"])
            if len(values["K"]) != 9:
                raise ValueError("K has {} numbers, not 9".format(len(values["K"])))
        if "fps" in values:
            values["fps"] = float(values["fps"])
            if not 0 < values["fps"] <= 1000:
                raise ValueError("fps must be positive, and 1000 at most")
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as e:
        text = "{} is malformed ({}); it needs width, height, fps, frame_id, K"
        raise PerceptionError(text.format(path, " ".join(str(e).split()))) from None
    return values
