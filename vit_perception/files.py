"""Files: written whole or not at all; text and names as people have them."""

import codecs
import contextlib
import os
import re


def write_whole(path, data):
    """Write `data` (bytes) to `path` by way of `path`.tmp, which a killed writer may leave behind, once at most.

    Raises:
        OSError: the disk; then neither file is new.
    """
    temporary = "{}.tmp".format(path)
    try:
        with open(temporary, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    finally:  # after success it is gone already
        with contextlib.suppress(OSError):
            os.remove(temporary)


def natural_key(name):
    """Key that sorts names with their numbers as numbers: frame_10.png comes after frame_9.png."""
    parts = re.split("([0-9]+)", name)  # text and digits in turn, text first
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def read_text(path):
    """Text of a file as people write them: UTF-8, or UTF-16 with its mark at the start, as Windows does.

    Raises:
        OSError: it cannot be read. UnicodeDecodeError: it is no such text.
    """
    with open(path, "rb") as f:
        data = f.read()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig")
