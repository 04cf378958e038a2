"""Recorded images without ROS: a folder of pictures, or a video, with the camera.yaml beside it."""

import math
import os
import re

import cv2

from ..errors import ImageError, PerceptionError
from ..files import read_text
from ..images.files import SUFFIXES, decode_bytes, read_bytes, show
from ..images.pages import count_pictures
from ..natural_order import natural_key
from .calibration_file import read_calibration

_TIME = re.compile(r"[0-9]+\.[0-9]+\.[A-Za-z]+$")
_BESIDE = (".yaml", ".yml", ".txt", ".csv", ".json", ".xml", ".md")  # that lie beside images, and are no images
DEFAULT_FPS = 10.0


class Images:
    """The pictures of a folder, in the order of their names, with the numbers in them as numbers.

    Args:
        folder: their folder. list_file: a file with one name per line, played in its order; empty takes all.

    Attributes:
        files (list of str): their paths. notes (list of str): sentences about what was left out or guessed.
        fps (float): images a second, of camera.yaml, else 10. tells_rate (bool): whether the images themselves do.
        calibration (dict): what camera.yaml says, as `read_calibration` returns it.

    Raises:
        PerceptionError: there are none, a listed one is missing, or camera.yaml is malformed.
    """

    def __init__(self, folder, list_file=""):
        self.files, self.notes = find_images(folder, list_file)
        self.calibration, self.tells_rate = read_calibration(folder), False
        self.fps = self.calibration.get("fps", DEFAULT_FPS)
        self._several = False  # whether a file was met that holds more than one picture

    def __len__(self):
        return len(self.files)

    def __iter__(self):
        """Yields as `read_file` returns. Raises ImageError for a file that is no image."""
        for path in self.files:
            yield self._read(path)

    def named(self):
        """Yields (name, image, '') of each file, or (name, None, why it cannot be read)."""
        for path in self.files:
            name = show(os.path.basename(path))
            try:
                yield name, self._read(path), ""
            except ImageError as e:
                yield name, None, str(e)

    def _read(self, path):
        data = read_bytes(path)
        image, count = decode_bytes(data, show(path)), count_pictures(data)
        if count > 1 and not self._several:
            self._several = True
            text = "{} holds {} pictures: of such files the first alone is played; save each picture as a file"
            self.notes.append(text.format(show(path), count))
        return image


class Video:
    """The frames of a video file, BGR uint8 (H, W, 3), with the attributes of `Images` but for `files`; its length is
    what the file tells.

    Raises:
        PerceptionError: OpenCV cannot open it, or camera.yaml is malformed.
    """

    def __init__(self, path):
        if not os.path.isfile(path):
            raise PerceptionError("no video '{}'".format(path))
        self._path, self.notes = path, []
        self.calibration = read_calibration(os.path.dirname(os.path.abspath(path)))
        capture = self._open()
        rate, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.release()
        self.tells_rate = math.isfinite(rate) and 0 < rate <= 1000
        self.fps = self.calibration.get("fps", rate if self.tells_rate else DEFAULT_FPS)
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
            read = 0
            while True:
                there, frame = capture.read()
                if not there:
                    break
                read += 1
                yield frame
            if not read:
                raise self._unreadable()  # old versions of OpenCV open anything
            if read < 0.95 * self._count:  # what files tell of their length is not exact
                text = "{} ends after {} of the {} frames that it announces: it is cut off, or damaged there"
                self.notes.append(text.format(self._path, read, self._count))
        finally:
            capture.release()

    def named(self):
        """As `Images.named`; frames have no names."""
        for image in self:
            yield "", image, ""


def find_images(folder, list_file=""):
    """(paths of the images to play, sentences about what is left out or guessed).

    Raises:
        PerceptionError: there are none, or a listed one is missing.
    """
    if not os.path.isdir(folder):
        raise PerceptionError("no folder '{}'; set the parameter folder to a folder of images".format(folder))
    if list_file:
        try:
            lines = read_text(os.path.expanduser(list_file), "surrogateescape").splitlines()  # of any name
        except (OSError, UnicodeDecodeError) as e:
            raise PerceptionError("cannot read the list of images: {}".format(e)) from None
        names, notes = [line.strip() for line in lines if line.strip()], []
    else:
        names, notes = _images_of(folder)
    missing = [n for n in names if not os.path.isfile(os.path.join(folder, n))]
    if missing:
        text = "{} of {} images are not in {}, first: {}"
        raise PerceptionError(text.format(len(missing), len(names), show(folder), show(missing[0])))
    if not names:
        text = "no images in {}; supported: {}".format(list_file or folder, " ".join(SUFFIXES))
        raise PerceptionError(text + ("" if list_file else _hint(folder)))
    return [os.path.join(folder, n) for n in names], notes


def _images_of(folder):
    """(names in the order of play, notes) of the images that lie in a folder."""
    # macOS leaves files "._NAME" beside those that it copies.
    found = [n for n in os.listdir(folder) if not n.startswith(".") and not os.path.isdir(os.path.join(folder, n))]
    names, notes = [n for n in found if n.lower().endswith(SUFFIXES)], []
    by_number = sorted(names, key=_order(names))
    if by_number != sorted(names):
        notes.append("images are played in the order of the numbers in their names: {} ... {}".format(
            show(by_number[0]), show(by_number[-1])))  # fmt: skip
    others = sorted(n for n in set(found) - set(names) if not n.lower().endswith(_BESIDE))
    if names and others:
        notes.append("{} files of {} are not played, first: {}".format(len(others), show(folder), show(others[0])))
    return by_number, notes


def _order(names):
    """Key that sorts `names`: by their numbers; times such as 12.5.png and 12.25.png are decimals."""
    if all(_TIME.match(n) for n in names):
        return lambda n: (int(n.partition(".")[0]), n.split(".")[1])
    return natural_key


def _hint(folder):
    inside = sorted(n for n in os.listdir(folder) if os.path.isdir(os.path.join(folder, n)))
    return "; it has sub-folders, give one of them: {}".format(", ".join(map(show, inside[:5]))) if inside else ""
