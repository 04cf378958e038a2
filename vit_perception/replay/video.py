"""The annotated video, in a form that browsers play where this OpenCV can write one."""

import contextlib
import os
import sys

import cv2

# (file, codec, whether browsers play it). VP8 in WebM plays in Chromium and Firefox, and OpenCV's own wheels write
# it; H.264 is where FFmpeg was built with it; the rest is for players such as VLC.
CODECS = (
    ("annotated.webm", "VP80", True),
    ("annotated.webm", "VP90", True),
    ("annotated.mp4", "avc1", True),
    ("annotated.mp4", "mp4v", False),
    ("annotated.avi", "MJPG", False),
)


class Video:
    """A video file that grows under a temporary name. Without any codec: one sentence, and no video.

    Args:
        folder: where to. fps: frames a second. size: (width, height). say: say(sentence).
    """

    def __init__(self, folder, fps, size, say):
        self._size, self._writer, self._name, self._temporary = size, None, "", ""
        self.plays = False  # in browsers
        for name, codec, plays in CODECS:
            temporary = os.path.join(folder, name.replace("annotated", "annotated.tmp"))
            with _quiet():
                writer = cv2.VideoWriter(temporary, int.from_bytes(codec.encode(), "little"), fps, size)
            if writer.isOpened():
                self._writer, self._name, self._temporary = writer, os.path.join(folder, name), temporary
                self.plays = plays
                break
        if self._writer is None:
            say("no video: this OpenCV can write none; `pip install opencv-python-headless` can")
        elif not self.plays:
            text = "{} plays in no browser, for this OpenCV lacks VP8, VP9 and H.264; VLC plays it"
            say(text.format(os.path.basename(self._name)))

    def add(self, picture):
        """One frame, BGR uint8; of another size than the first it is scaled."""
        if self._writer is not None:
            fits = picture.shape[1::-1] == self._size
            self._writer.write(picture if fits else cv2.resize(picture, self._size))

    def close(self):
        """Give the file its name; returns that, '' if there is no video. Raises OSError."""
        if self._writer is None:
            return ""
        self._writer.release()
        if not os.path.isfile(self._temporary) or not os.path.getsize(self._temporary):
            raise OSError("no space for the video, or its codec failed")
        os.replace(self._temporary, self._name)
        return os.path.basename(self._name)


@contextlib.contextmanager
def _quiet():
    """OpenCV's FFmpeg says on stderr what it thinks of codecs and file names while it tries them."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
